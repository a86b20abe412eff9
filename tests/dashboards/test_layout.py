"""Places on Grafana's grid."""

from __future__ import annotations

from grafanalib import core

from dashboards.layout import COLUMNS, Line, Section, line, placed


def panel(title: str) -> core.Panel:
    """Return any panel."""
    return core.Text(title=title)


def place(one: core.Panel) -> tuple[int, int, int, int]:
    """Return x, y, width and height."""
    grid = one.gridPos
    return grid.x, grid.y, grid.w, grid.h


A, B, C = panel("a"), panel("b"), panel("c")


def test_panels_of_a_line_share_the_width() -> None:
    """Two of them take a half each."""
    assert [place(one) for one in placed([line(4, A, B)])] == [(0, 0, 12, 4), (12, 0, 12, 4)]


def test_a_line_fills_the_width_when_it_can_be_divided() -> None:
    """No gap at the right edge."""
    for count in (1, 2, 3, 4, 6, 8):
        *_, last = placed([line(4, *[A] * count)])
        assert last.gridPos.x + last.gridPos.w == COLUMNS


def test_a_line_may_give_each_panel_its_own_width() -> None:
    """The next panel begins where the one before ends."""
    assert [place(one) for one in placed([Line(7, ((A, 5), (B, 16), (C, 3)))])] == [
        (0, 0, 5, 7), (5, 0, 16, 7), (21, 0, 3, 7),
    ]  # fmt: skip


def test_lines_stand_below_each_other() -> None:
    """Each begins where the one above ends, whatever its height."""
    assert [place(one)[1] for one in placed([line(4, A), line(7, B), line(9, C)])] == [0, 4, 11]


def test_a_section_is_folded_and_as_wide_as_the_screen() -> None:
    """Its title stands below the first screen."""
    row = placed([line(4, A)], [Section("More", (line(6, B),))])[-1]
    assert (row.title, row.collapsed, place(row)) == ("More", True, (0, 4, COLUMNS, 1))


def test_folded_sections_take_one_row_each() -> None:
    """The panels within take no room until they are unfolded."""
    rows = placed([line(4, A)], [Section("One", (line(6, B),)), Section("Two", (line(6, C),))])[1:]
    assert [place(row)[1] for row in rows] == [4, 5]


def test_panels_of_a_section_stand_below_its_title() -> None:
    """Where Grafana puts them when the section is unfolded."""
    (row,) = placed([], [Section("More", (line(6, A), line(3, B, C)))])
    assert [place(one) for one in row.panels] == [(0, 1, 24, 6), (0, 7, 12, 3), (12, 7, 12, 3)]


def test_placing_leaves_the_panels_as_they_were() -> None:
    """One panel may stand on two dashboards."""
    placed([line(4, A), line(4, A)])
    assert A.gridPos is None
