"""The runbook and the table of recording rules."""

from __future__ import annotations

import re

import pytest

from alerts import book
from alerts.rules import Recording
from alerts.runbook import recording_table, runbook, with_table

TEXT = runbook((group, book.alerts_of(group)) for group in book.ALERTS)
PAGES = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", TEXT, flags=re.MULTILINE | re.DOTALL))
RULE = Recording("device:vgpu_x:sum", "x", "What it is.", "bytes", ("node", "device_uuid", "reason"))


def test_every_alert_has_its_page_in_order() -> None:
    """A link from an alert always arrives."""
    assert list(PAGES) == [alert.name for alert in book.alerts()]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_one_screen(name: str) -> None:
    """Meaning, impact, checks and steps, without scrolling."""
    page = PAGES[name]

    assert len(page.splitlines()) <= 40
    for part in ("What it means", "What users feel", "Check this first", "Do this"):
        assert f"**{part}.**" in page


def test_every_alert_that_a_text_refers_to_exists() -> None:
    """`VgpuSomething` in a step is a page that one can go to; in a description, an alert that can fire."""
    texts = [TEXT, *(alert.description for alert in book.alerts())]
    named = {name for text in texts for name in re.findall(r"\bVgpu[A-Z]\w+", text)}

    assert named == {alert.name for alert in book.alerts()}


def test_a_figure_has_one_row_with_its_levels() -> None:
    """The table says at which levels there is a figure, and by what it is split besides."""
    rules = [RULE, Recording("cluster:vgpu_x:sum", "x", "What it is.", "bytes", ())]

    assert recording_table(rules).splitlines()[2:] == [
        "| device, cluster | `vgpu_x:sum` | bytes | reason | What it is. |"
    ]


def test_only_what_is_between_the_markers_changes() -> None:
    """The guide around the table is written by people."""
    text = "before\n<!-- recording:begin -->\nold\n<!-- recording:end -->\nafter\n"

    filled = with_table(text, [RULE])

    assert filled == text.replace("old", recording_table([RULE]))


def test_a_guide_without_markers_is_refused() -> None:
    """A table that is written nowhere would be missed by nobody."""
    with pytest.raises(ValueError, match="markers"):
        with_table("no table here", [RULE])
