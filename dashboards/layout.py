"""Panels on Grafana's grid: 24 columns, rows 38 pixels high, filled from left to right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import attr
from grafanalib import core

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COLUMNS: Final = 24
#: What fits on a screen of 1080 lines below the browser's and Grafana's own bars.
SCREEN: Final = 22


@dataclass(frozen=True, slots=True)
class Line:
    """Panels side by side, `height` rows high: (panel, columns) each."""

    height: int
    panels: tuple[tuple[core.Panel, int], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """Lines below the first screen, folded in behind a title."""

    title: str
    lines: tuple[Line, ...]


def line(height: int, *panels: core.Panel) -> Line:
    """Return panels that share the width evenly."""
    return Line(height, tuple((panel, COLUMNS // len(panels)) for panel in panels))


def placed(first: Sequence[Line], sections: Sequence[Section] = ()) -> list[core.Panel]:
    """Return all panels with their places: the first screen, then folded sections."""
    panels = list(_lines(first, 0))
    top = sum(one.height for one in first)
    for section in sections:
        inner = list(_lines(section.lines, top + 1))
        grid = core.GridPos(h=1, w=COLUMNS, x=0, y=top)
        panels.append(core.RowPanel(title=section.title, collapsed=True, panels=inner, gridPos=grid))
        top += 1
    return panels


def _lines(lines: Sequence[Line], top: int) -> Iterator[core.Panel]:
    for one in lines:
        left = 0
        for panel, width in one.panels:
            yield attr.evolve(panel, gridPos=core.GridPos(h=one.height, w=width, x=left, y=top))
            left += width
        top += one.height
