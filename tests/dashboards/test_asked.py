"""Each check of a dashboard's queries finds what it is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.dashboards.asked import (
    asks_for_what_exists,
    chains_variables,
    counts_right,
    groups_by_what_exists,
    has_fitting_units,
    is_bounded,
    keeps_to_the_cluster,
    names_what_survives,
    parses,
    uses_its_variables,
)
from tests.dashboards.spoiled import asks, sets, spoiled

if TYPE_CHECKING:
    from tests.dashboards.form import Check
    from tests.dashboards.spoiled import Change

_HELD: Final = 'vgpu_container_memory_used_bytes{cluster=~"$cluster"}'
_COLUMNS: Final = ("transformations", 1, "options", "include", "names")
_NODE: Final = 'vgpu_device_up{cluster=~"$cluster",node=~"$node"}'

FAULTS: Final[list[tuple[Check, Change, str]]] = [
    (parses, asks("sum(("), "Memory, A"),
    (parses, sets("Memory", "targets", to=[]), "asks nothing"),
    (asks_for_what_exists, asks("vgpu_device_memory"), "nobody publishes vgpu_device_memory"),
    (asks_for_what_exists, asks("node:vgpu_memory:sum"), "nobody publishes node:vgpu_memory:sum"),
    (asks_for_what_exists, asks('vgpu_device_up{gpu="0"}'), "vgpu_device_up has no label gpu"),
    (asks_for_what_exists, asks("vllm:num_requests_running"), "on the dashboard of model serving"),
    (groups_by_what_exists, asks("sum by (pod) (vgpu_device_up)"), "sum by pod"),
    (groups_by_what_exists, asks("sum by (node) (vgpu_device_up) * on (pod) vgpu_device_up"), "joins on pod"),
    (counts_right, asks("vgpu_device_core_busy_seconds_total"), "is read as it is"),
    (counts_right, asks("rate(vgpu_device_core_busy_seconds_total[5m])"), "rate over 5m"),
    (counts_right, asks("rate(vgpu_device_up[$__rate_interval])"), "a rate of the gauge"),
    (counts_right, asks("max(vgpu_device_core_utilization_ratio)"), "is a mean over 60 s"),
    (keeps_to_the_cluster, asks("vgpu_device_up"), "vgpu_device_up of all clusters"),
    (keeps_to_the_cluster, asks(f"vgpu_device_info unless on (cluster) {_NODE}"), "vgpu_device_info of all"),
    (keeps_to_the_cluster, asks("vgpu_device_power_watts * 2"), "vgpu_device_power_watts of all"),
    (keeps_to_the_cluster, asks(f"vgpu_node_info or on (cluster) {_NODE}"), "vgpu_node_info of all"),
    (names_what_survives, sets("Cores", "targets", 0, "legendFormat", to="{{pod}}"), "the legend names pod"),
    (names_what_survives, sets("Memory", "targets", 0, "legendFormat", to="__auto"), "has no legend"),
    (names_what_survives, asks("sum(vgpu_device_up)", "Nodes"), "a link takes node"),
    (names_what_survives, sets("Pods", *_COLUMNS, to=["pods"]), "a column pods"),
    (is_bounded, asks(_HELD), "a series for each pod"),
    (has_fitting_units, asks("vgpu_device_up"), "bytes of ['vgpu_device_up']"),
    (has_fitting_units, asks("vgpu_device_info", "Pods"), "bytes of ['vgpu_device_info']"),
    (has_fitting_units, sets("Memory", "fieldConfig", "defaults", "unit", to="dateTimeFromNow"), "in seconds"),
    (chains_variables, sets("", "templating", "list", 2, "refresh", to=1), "node: is not sorted"),
    (chains_variables, sets("", "templating", "list", 2, "label", to=""), "node has no label"),
    (chains_variables, sets("", "templating", "list", 2, "current", to={}), "do not go together"),
    (chains_variables, sets("", "templating", "list", 2, "definition", to="up"), "does not ask for"),
    (uses_its_variables, asks('vgpu_device_up{node=~"$nodes"}'), "no variable nodes"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "change", "found"), FAULTS, ids=[found for _, _, found in FAULTS])
def test_a_fault_is_found(check: Check, change: Change, found: str) -> None:
    """A sample dashboard with one fault: the check that is for it says so."""
    assert found in "\n".join(check(spoiled(change)))
