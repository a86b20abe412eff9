"""Links, pictures, YAML and the index of the documentation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.doc_pages import BLOCKS, PAGES, Block, blocks, named, prose
from tests.program import ROOT
from tools import picture_attribution

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("block", blocks("yaml"), ids=named)
def test_yaml_can_be_read(block: Block) -> None:
    """What is to be pasted into a file is YAML."""
    assert list(yaml.safe_load_all(block.text))


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    """No snippet escapes by another language; `text` is what a program prints."""
    assert {block.language for block in BLOCKS} <= {"", "promql", "sh", "text", "yaml"}


def _anchors(page: Path) -> list[str]:
    """Return the anchors of a page's headings by GitHub's rule; the second of the same name ends with -1."""
    found: list[str] = []
    for heading in re.findall(r"^#{1,6} (.+)$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower().strip()
        anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        again = sum(re.fullmatch(rf"{re.escape(anchor)}(-\d+)?", one) is not None for one in found)
        found.append(f"{anchor}-{again}" if again else anchor)
    return found


def test_anchors_follow_githubs_rule(tmp_path: Path) -> None:
    """Small letters, blanks to hyphens, all other punctuation gone; a name that comes again is numbered."""
    page = tmp_path / "page.md"
    page.write_text("# TLS: the file `--web-config`\n```sh\n# none\n```\n## It's A_b, c\n## [Twice](x.md)\n## Twice\n")

    assert _anchors(page) == ["tls-the-file---web-config", "its-a_b-c", "twice", "twice-1"]


def _links(page: Path) -> list[str]:
    return sorted(set(re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose(page)))))


def _dead(page: Path, link: str) -> bool:
    """Tell whether a link leads nowhere; what is elsewhere on the web has to be https."""
    if "://" in link:
        return not link.startswith("https://")
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists() or not target.is_relative_to(ROOT):
        return True
    return bool(anchor) and anchor not in _anchors(target)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    """Each file is there, in this checkout, and each anchor is one of its headings."""
    assert [link for link in _links(page) if _dead(page, link)] == []


def test_the_index_has_every_page() -> None:
    """Whoever opens docs/ finds each of its pages."""
    index = ROOT / "docs" / "README.md"
    linked = {link.partition("#")[0] for link in _links(index)}

    assert {page.name for page in index.parent.glob("*.md")} - {index.name} - linked == set()


def test_the_picture_is_what_its_program_draws() -> None:
    """docs/images/attribution.svg is up to date, or else `python -m tools.picture_attribution`."""
    assert picture_attribution.main(["--check"]) == 0
