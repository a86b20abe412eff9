"""Each check of a dashboard's form finds what it is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.dashboards.form import (
    fits_the_grid,
    has_good_thresholds,
    has_no_nulls,
    has_one_data_source,
    has_units,
    is_described,
    is_known_by_id,
    is_of_today,
    links_lead_somewhere,
)
from tests.dashboards.spoiled import sets, spoiled

if TYPE_CHECKING:
    from tests.dashboards.form import Check
    from tests.dashboards.spoiled import Change

_LINK: Final = ("fieldConfig", "defaults", "links", 0, "url")
_STEPS: Final = ("fieldConfig", "defaults", "thresholds", "steps")


FAULTS: Final[list[tuple[Check, Change, str]]] = [
    (is_of_today, sets("", "schemaVersion", to=41), "schemaVersion is 41"),
    (is_of_today, sets("", "rows", to=[]), "the dashboard has rows"),
    (is_of_today, sets("Memory", "span", to=4), "span in panel"),
    (is_of_today, sets("Nodes", "options", "fieldOptions", to={}), "fieldOptions in options"),
    (is_of_today, sets("Memory", "targets", 0, "step", to=10), "step in target"),
    (has_no_nulls, sets("Memory", "interval", to=None), ".panels[2].interval"),
    (has_no_nulls, sets("Memory", *_STEPS[:-1], "mode", to=None), ".thresholds.mode"),
    (is_known_by_id, sets("", "uid", to="X1"), "the uid is X1"),
    (is_known_by_id, sets("Memory", "id", to=1), "ids are not unique"),
    (is_known_by_id, sets("Memory", "targets", 0, "refId", to="B"), "two queries of one letter"),
    (is_described, sets("Memory", "description", to="Memory, by vgpu_device_up"), "says too little"),
    (is_described, sets("Memory", "description", to="Memory in use. Add GPUs."), "names no metric"),
    (is_described, sets("Memory", "description", to="By vgpu_memory_used. Add GPUs."), "which nobody publishes"),
    (is_described, sets("Memory", "type", to="graph"), "Memory is a graph"),
    (has_units, sets("Memory", "fieldConfig", "defaults", "unit", to=""), "Memory has no unit"),
    (has_good_thresholds, sets("Memory in use", *_STEPS, 0, "value", to=0), "begin at [0]"),
    (has_good_thresholds, sets("Memory in use", *_STEPS, 1, "value", to=2), "do not ascend"),
    (has_good_thresholds, sets("Memory in use", *_STEPS, 2, "value", to=90), "are percent"),
    (fits_the_grid, sets("Memory", "gridPos", "w", to=13), "Memory lies on Cores"),
    (fits_the_grid, sets("Cores", "gridPos", "w", to=13), "Cores is wider than the page"),
    (fits_the_grid, sets("Memory", "gridPos", "h", to=19), "23 rows high"),
    (has_one_data_source, sets("Memory", "datasource", to="Prometheus"), "Memory asks Prometheus"),
    (has_one_data_source, sets("Memory", "targets", 1, "datasource", to=None), "Memory asks None"),
    (links_lead_somewhere, sets("Nodes", *_LINK, to="/d/elsewhere?x"), "opens /d/elsewhere"),
    (links_lead_somewhere, sets("Nodes", *_LINK, to="/d/vgpu-sample?var-nod=x"), "no variable nod"),
    (links_lead_somewhere, sets("Nodes", *_LINK, to="/d/vgpu-sample?var-node=x"), "drops ${__url_time_range}"),
    (links_lead_somewhere, sets("", "links", to=[]), "no menu"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "change", "found"), FAULTS, ids=[found for _, _, found in FAULTS])
def test_a_fault_is_found(check: Check, change: Change, found: str) -> None:
    """A sample dashboard with one fault: the check that is for it says so."""
    assert found in "\n".join(check(spoiled(change)))
