"""Rows → lines: as wide as the terminal, in red what is wrong, and nothing that a terminal would obey."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.top import columns, view
from exporter.top.choice import Choice, chosen
from exporter.top.rows import Frame, Gpu, Nobodys, Use, gpus
from exporter.top.view import ASCII, BLOCKS, Paper
from tests.top.pages import recorded

if TYPE_CHECKING:
    from rich.text import Text

hostile = st.text(st.characters() | st.sampled_from("\x1b\x07\r\n\u202e\u200f\x9b[]"), max_size=300)
figures = st.none() | st.floats(0, 1e20)
uses = st.builds(
    Use,
    hostile, hostile, hostile, figures, figures, figures, figures, figures, figures,
    st.lists(hostile, max_size=2).map(tuple),
    st.lists(st.sampled_from(["escape", "no_grant", "over_grant", "hami_core_blind"]), unique=True).map(tuple),
)  # fmt: skip
anything = st.builds(
    Gpu,
    hostile, hostile, hostile, hostile, hostile, hostile, st.booleans(), figures, figures, figures, figures, figures,
    st.lists(uses, max_size=3).map(tuple),
    st.lists(st.builds(Nobodys, hostile, figures, figures), max_size=2).map(tuple),
)  # fmt: skip


def drawn() -> list[str]:
    """Return the recorded node's table as plain lines of 80 columns."""
    shown = chosen(recorded()[1], Choice())
    paper = Paper.of(shown, 80, BLOCKS)
    return [line.plain.rstrip() for line in (view.titles(paper), *view.table(shown, paper))]


def test_the_recorded_node_at_eighty_columns() -> None:
    """The picture that everybody sees."""
    assert drawn()[:7] == [
        "GPU, WHO                   OF PHYSICAL  MEMORY GRANTED CORES GRANT",
        "gpu-node-1 #0 H200         ███▏·······   39.3G   38.6G   97%  135% of 140.4G",
        "  rag/vllm-bg…85bf7c-gwjrn ▉░·········   11.2G   13.7G   23%     -",
        "! research/ssh-lab-0       ▋··········    7.6G    2.0G    9%   10% escape 6.4G,…",
        "  rag/vllm-bg…7965d9-xwvr7 ▌··········    6.7G    7.8G   15%     -",
        "! batch/legacy-train-0     ▎··········    3.4G      0B    4%    0% no grant",
        "  xinference/…nce-worker-4 ▏··········    2.0G    2.2G   26%   20%",
    ]


def test_what_belongs_to_nobody_comes_last() -> None:
    """By reason, if there is any of it."""
    assert [line.split()[:2] for line in drawn()[-2:]] == [["nobody's:", "host"], ["nobody's:", "unlisted"]]


def test_before_there_is_a_past_cores_are_not_zero() -> None:
    """Dots in every row, and the word above."""
    now, _ = recorded()
    found = gpus(now, {})
    paper = Paper.of(found, 80, BLOCKS)
    [head] = view.header(Frame(found, None), found, "http://x", Choice(), paper)

    assert all("..." in line.plain for line in list(view.table(found, paper, measuring=True))[:11])
    assert "cores: measuring" in head.plain


@given(st.lists(anything, max_size=3), hostile, hostile, st.integers(1, 200), st.sampled_from([BLOCKS, ASCII]))
def test_no_character_of_a_label_reaches_the_terminal(
    found: list[Gpu], name: str, message: str, width: int, glyphs: view.Glyphs
) -> None:
    """Every line is one line of printable ASCII and our own glyphs, no wider than the terminal."""
    paper = Paper.of(found, width, glyphs)
    frame = Frame(tuple(found), 2.0, 1.0, (name,), (name,), (name,))
    lines = [
        *view.header(frame, found, name, Choice(), paper),
        view.titles(paper),
        *view.table(found, paper),
        view.failure(message, 3.0, paper),
        view.footer(Choice(filter="x"), 1, 9, paper),
    ]
    ours = set("".join(BLOCKS))

    assert all(len(line.plain) <= width for line in lines)
    assert all(" " <= char <= "~" or char in ours for line in lines for char in line.plain)


def red(line: Text) -> bool:
    """Tell whether a line, or a part of it, is red."""
    return any("red" in str(span.style) for span in line.spans) or "red" in str(line.style)


def test_escapes_and_use_without_a_grant_are_red_and_nothing_else_is() -> None:
    """Of the recorded node's rows two; what is over its grant alone would be yellow."""
    shown = chosen(recorded()[1], Choice())
    lines = list(view.table(shown, Paper.of(shown, 120, BLOCKS)))

    assert [line.plain.split()[1] for line in lines if red(line)] == ["research/ssh-lab-0", "batch/legacy-train-0"]


def test_a_gpu_that_does_not_answer_says_so_in_red() -> None:
    """Its figures are absent."""
    [gpu] = recorded()[1]
    down = replace(gpu, up=False, memory_used=None, memory_total=None, core_used=None, uses=(), nobodys=())
    [line] = view.table([down], Paper.of([down], 80, BLOCKS))

    assert red(line)
    assert line.plain.split()[3:] == ["-", "38.6G", "-", "135%", "not", "answering"]


def test_an_unknown_grant_says_why() -> None:
    """Another device plugin chose the card."""
    [gpu] = recorded()[1]
    use = replace(gpu.uses[0], memory_granted=None, marks=(), grant_sources=("device_plugin", "none"))
    [_, line] = view.table([replace(gpu, uses=(use,), nobodys=())], Paper.of([gpu], 120, BLOCKS))

    assert line.plain.rstrip().endswith("device_plugin")


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (Frame((), 2.0, blind=("pods",)), "source pods"),
        (Frame((), 2.0, stale=("n1",)), "old data: n1"),
        (Frame((), 2.0, silent=("n1",)), "no answer from: n1"),
    ],
)
def test_whatever_keeps_it_from_being_the_truth_is_in_the_head(frame: Frame, said: str) -> None:
    """In a red line of its own."""
    [_, line] = view.header(frame, (), "http://x", Choice(), Paper.of((), 80, BLOCKS))

    assert said in line.plain
    assert red(line)


@pytest.mark.parametrize("used", [0.0, 0.001, 0.5, 1.0, 7.0])
@pytest.mark.parametrize("granted", [None, 0.0, 0.5, 3.0])
@pytest.mark.parametrize("glyphs", [BLOCKS, ASCII])
def test_a_bar_is_always_as_wide_as_its_column(used: float, granted: float | None, glyphs: view.Glyphs) -> None:
    """Also where more is used or granted than there is; what is used at all is seen."""
    paper = Paper.of((), 80, glyphs)
    bar = paper.bar(used, granted, 1.0, "green")

    assert len(bar) == paper.columns[columns.BAR]
    assert (str(bar)[0] in glyphs.full + glyphs.parts) == (used > 0)


def test_the_last_line_tells_the_keys_or_the_filter() -> None:
    """And which rows are seen, if not all are."""
    paper = Paper.of((), 80, BLOCKS)

    assert view.footer(Choice(first=2), 10, 25, paper).plain.startswith("rows 3-12/25  q quit")
    assert view.footer(Choice(), 10, 10, paper).plain.startswith("q quit  s sort (memory)")
    assert "filter: rag" in view.footer(Choice(filter="rag"), 1, 1, paper).plain
    assert view.footer(Choice(filter="ra", typing=True), 1, 1, paper).plain.startswith(
        "filter by namespace or pod: ra_"
    )
