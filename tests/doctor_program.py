"""`vgpu-exporter doctor` on another driver library: `python tests/doctor_program.py LIBRARY [flags of doctor]`."""

from __future__ import annotations

import sys
from functools import partial

from exporter import cli
from exporter.roles import doctor


def main(library: str, arguments: list[str]) -> int:
    """Run the real command."""
    doctor.diagnose = partial(doctor.diagnose, library_paths=[library])
    return cli.main(["doctor", *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
