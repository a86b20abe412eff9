"""Every dashboard is what Grafana reads today, asks for what exists, and says what it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from dashboards.book import BOARDS
from exporter.catalogue import METRICS
from tests.dashboards import asked, form
from tests.dashboards.expressions import names, selectors
from tests.dashboards.round_trip import differences, known
from tests.dashboards.sample import SAMPLE

if TYPE_CHECKING:
    from tests.dashboards.form import Check
    from tests.dashboards.grafana import Json

#: Metrics of the catalogue that no dashboard shows, and why.
UNSHOWN: Final = {
    "vgpu_container_core_utilization_ratio": "a mean over the driver's last 60 s; shown are rates of its seconds",
    "vgpu_device_energy_joules_total": "shown as its rate, the GPU's power, and by whose it is",
    "vgpu_pod_labels": "there only where labels are allowed, for joins that only their owner can know",
}


CHECKS: Final[tuple[Check, ...]] = (
    form.is_of_today,
    form.has_no_nulls,
    form.is_known_by_id,
    form.is_described,
    form.has_units,
    form.has_good_thresholds,
    form.fits_the_grid,
    form.has_one_data_source,
    form.links_lead_somewhere,
    asked.parses,
    asked.asks_for_what_exists,
    asked.groups_by_what_exists,
    asked.counts_right,
    asked.keeps_to_the_cluster,
    asked.names_what_survives,
    asked.is_bounded,
    asked.has_fitting_units,
    asked.chains_variables,
    asked.uses_its_variables,
)
_SHOWN: Final = {board.uid: board.json() for board in (*BOARDS, SAMPLE)}
for_each_board: Final = pytest.mark.parametrize("board", _SHOWN.values(), ids=_SHOWN)


@for_each_board
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_dashboard_has_no_faults(board: Json, check: Check) -> None:
    """Each check says in its docstring what it asks for."""
    assert list(check(board)) == []


@for_each_board
def test_grafanas_own_models_lose_and_change_nothing(board: Json) -> None:
    """What the Foundation SDK reads it writes again; it adds defaults of Grafana's, and no others."""
    assert [one for one in differences(board) if not known(one)] == []


def test_dashboards_are_known_apart() -> None:
    """No two share a uid or a title."""
    assert len({board.uid for board in BOARDS}) == len({board.title for board in BOARDS}) == len(BOARDS)


def test_every_metric_is_shown_or_left_out_for_a_reason() -> None:
    """The other way round: what is published stands on some dashboard."""
    trees = [query.tree for board in BOARDS for query in asked.queries(board.json())]
    shown = {name for tree in trees for selector, _ in selectors(tree) for name in names(selector)}
    hidden = {one.name for one in METRICS if not shown & {one.name, f"{one.name}_sum", f"{one.name}_count"}}

    assert hidden == UNSHOWN.keys()
