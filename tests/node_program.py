"""`vgpu-exporter node` on another driver library: `python tests/node_program.py LIBRARY [flags of node]`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from exporter import config
from exporter.roles.node import serve


def main(library: str, arguments: list[str]) -> None:
    """Serve with the flags given as `--name=value`, and `--config=FILE`."""
    given = [argument.removeprefix("--").partition("=") for argument in arguments]
    file = next((value for name, _, value in given if name == "config"), None)
    flags = {name: (value if equals else "true",) for name, equals, value in given if name != "config"}

    def resolve() -> config.NodeSettings:
        return config.node_settings(flags, os.environ, Path(file).read_text() if file else None)

    serve(resolve(), "test", resolve, library_paths=[library])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
