"""`python -m dashboards [--check] [--out DIR]`: write the dashboards."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from alerts.__main__ import stale
from dashboards import board
from dashboards.book import BOARDS

if TYPE_CHECKING:
    from collections.abc import Sequence

_GENERATED: Final = Path(__file__).parent / "generated"


def files(out: Path = _GENERATED) -> dict[Path, str]:
    """Return each dashboard's file and text; the file is named after the dashboard's uid."""
    return {out / f"{one.uid}.json": board.text(one) for one in BOARDS}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or with --check print what would change and return 1 if anything would."""
    parser = argparse.ArgumentParser(prog="python -m dashboards", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; print a diff and exit 1 if stale")
    parser.add_argument("--out", type=Path, default=_GENERATED, metavar="DIR", help="write to DIR")
    asked = parser.parse_args(arguments)
    if asked.check:
        diff = stale(files(asked.out))
        sys.stdout.write(
            f"{diff}Out of date: run `python -m dashboards`.\n" if diff else "Dashboards are up to date.\n"
        )
        return 1 if diff else 0
    asked.out.mkdir(parents=True, exist_ok=True)
    for path, text in files(asked.out).items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
