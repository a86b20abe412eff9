"""The pages that people read, and the blocks in them to copy from."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.program import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FENCED: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES: Final = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "alerts/RUNBOOK.md")),
    ROOT / "charts/vgpu-tenant-exporter/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        """Where it stands."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_in(page: Path) -> Iterator[Block]:
    """Yield a page's blocks."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCED.finditer(text):
        yield Block(page, text[: found.start()].count("\n") + 1, found[1], found[2])


BLOCKS: Final = [block for page in PAGES for block in blocks_in(page)]


def blocks(*languages: str) -> list[Block]:
    """Return all blocks of these languages; "" is a block without one."""
    return [block for block in BLOCKS if block.language in languages]


def named(place: Block | Path) -> str:
    """Return a name for a block, or a page, in a test's report."""
    return place.name if isinstance(place, Block) else str(place.relative_to(ROOT))


def prose(page: Path) -> str:
    """Return a page without its blocks."""
    return _FENCED.sub("", page.read_text(encoding="utf-8"))
