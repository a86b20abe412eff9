"""Columns: what fits, and figures that keep to their width."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.top import columns
from exporter.top.columns import amount, fitted, layout, percent


def titles(width: int) -> list[str]:
    """Return the titles of a terminal that wide."""
    return [column.title for column in layout(width, 40, tenants=True)]


def test_the_important_columns_stay_longest() -> None:
    """At 80 who, memory, cores and the bar; then the bar goes, then what was granted of cores, then remarks."""
    assert titles(80) == ["GPU, WHO", "OF PHYSICAL", "MEMORY", "GRANTED", "CORES", "GRANT", ""]
    assert titles(70) == ["GPU, WHO", "MEMORY", "GRANTED", "CORES", "GRANT", ""]
    assert titles(60) == ["GPU, WHO", "MEMORY", "GRANTED", "CORES", ""]
    assert titles(50) == ["GPU, WHO", "MEMORY", "GRANTED", "CORES"]
    assert titles(120)[1] == "TENANT"
    assert "PROC" in titles(120)


@given(st.integers(1, 300), st.integers(0, 300), st.booleans())
def test_the_columns_never_exceed_the_line(width: int, longest: int, tenants: bool) -> None:  # noqa: FBT001
    """With one blank between them; who it is always has a place."""
    widths = layout(width, longest, tenants=tenants)

    assert columns.WHO in widths
    assert sum(widths.values()) + len(widths) - 1 <= width
    assert all(each > 0 for each in widths.values())


def test_a_long_name_loses_its_middle() -> None:
    """Its end tells a ReplicaSet's pods apart."""
    assert fitted("rag/vllm-bge-m3-7dcb7965d9-xwvr7", columns.WHO, 15, "~") == "rag/vll~9-xwvr7"
    assert fitted("escape 6.4G, over grant", columns.REMARK, 12, "~") == "escape 6.4G~"


@given(st.text("abc"), st.integers(1, 20), st.sampled_from([columns.WHO, columns.USED]))
def test_every_cell_has_its_width(text: str, width: int, column: columns.Column) -> None:
    """Whatever the text."""
    assert len(fitted(text, column, width, "~")) == width


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "-"), (0, "0B"), (1023, "1023B"), (1024, "1.0K"), (150754820096, "140.4G"), (1e300, ">1024E")],
)
def test_amounts_are_binary(value: float | None, said: str) -> None:
    """As HAMi grants them; unknown is not 0."""
    assert amount(value) == said


@pytest.mark.parametrize(
    ("value", "said"), [(None, "-"), (0, "0%"), (0.001, "<1%"), (0.207, "21%"), (1.35, "135%"), (1e9, ">999%")]
)
def test_shares_are_percent(value: float | None, said: str) -> None:
    """A little is not nothing."""
    assert percent(value) == said


@given(st.floats(0, allow_nan=False, allow_infinity=False))
def test_no_figure_is_wider_than_its_column(value: float) -> None:
    """However large."""
    assert len(amount(value)) <= columns.USED.least
    assert len(percent(value)) <= columns.CORES.least
