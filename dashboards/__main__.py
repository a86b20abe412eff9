"""`python -m dashboards [--check] [--out DIR]`: write the dashboards, and the table of them in their guide."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from alerts.__main__ import stale
from dashboards import board
from dashboards.book import BOARDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dashboards.board import Board

_GENERATED: Final = Path(__file__).parent / "generated"
_GUIDE: Final = Path(__file__).parent.parent / "docs" / "dashboards.md"
_MARKED: Final = re.compile(r"(<!-- boards:begin.*?-->\n).*(<!-- boards:end -->)", re.DOTALL)


def files(out: Path | None = None) -> dict[Path, str]:
    """Return each file and its text: the dashboards, named after their uids, and the guide unless they go elsewhere."""
    texts = {(out or _GENERATED) / f"{one.uid}.json": board.text(one) for one in BOARDS}
    return texts if out else texts | {_GUIDE: with_table(_GUIDE.read_text(encoding="utf-8"), BOARDS)}


def with_table(guide: str, boards: Iterable[Board]) -> str:
    """Return a document with the table between its markers made anew; raises ValueError if it has no markers."""
    rows = ["| Dashboard | For whom, and what it shows |", "| --- | --- |"]
    rows += [f"| **{one.title.removeprefix('vGPU / ')}** `{one.uid}` | {one.about} |" for one in boards]
    filled, times = _MARKED.subn(lambda found: f"{found[1]}{chr(10).join(rows)}\n{found[2]}", guide)
    if times != 1:
        raise ValueError(f"expected the markers boards:begin and boards:end once, found them {times} times")
    return filled


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or with --check print what would change and return 1 if anything would."""
    parser = argparse.ArgumentParser(prog="python -m dashboards", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; print a diff and exit 1 if stale")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the dashboards alone, to DIR")
    asked = parser.parse_args(arguments)
    if asked.check:
        diff = stale(files(asked.out))
        sys.stdout.write(
            f"{diff}Out of date: run `python -m dashboards`.\n" if diff else "Dashboards are up to date.\n"
        )
        return 1 if diff else 0
    for path, text in files(asked.out).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
