"""The sample dashboard with one fault: what a check must find."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import TYPE_CHECKING, Any

from tests.dashboards.grafana import panels
from tests.dashboards.sample import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.dashboards.grafana import Json

    Change = Callable[[Json], None]


def spoiled(change: Change) -> Json:
    """Return the sample's JSON, changed."""
    board = deepcopy(_sample())
    change(board)
    return board


@cache
def _sample() -> Json:
    return SAMPLE.json()


def sets(title: str, *path: str | int, to: object) -> Change:
    """Return a change: a value in the panel of this title, or ("") in the dashboard itself."""

    def change(board: Json) -> None:
        place: Any = next(panel for panel in panels(board) if panel["title"] == title) if title else board
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return change


def asks(expr: str, title: str = "Memory") -> Change:
    """Return a change: the first query of the panel of this title."""
    return sets(title, "targets", 0, "expr", to=expr)
