"""What grafanalib writes for old Grafanas, as today's writes it itself."""

from __future__ import annotations

import json
from typing import Any, Final, cast

import pytest
from grafanalib import core
from grafanalib._gen import DashboardEncoder

from dashboards import normalise
from dashboards.variables import DATASOURCE
from tests.dashboards.grafana import panels
from tests.dashboards.sample import SAMPLE

TODAY: Final = SAMPLE.json()
PANELS: Final = {panel["title"]: panel for panel in panels(TODAY)}


def raw(*parts: core.Panel, variables: tuple[core.Template, ...] = ()) -> dict[str, Any]:
    """Return what grafanalib makes of panels and variables, as JSON."""
    whole = core.Dashboard(title="T", panels=list(parts), templating=core.Templating(list(variables))).auto_panel_ids()
    return cast(dict[str, Any], json.loads(json.dumps(whole, cls=DashboardEncoder)))


def test_the_dashboard_says_that_nothing_is_left_to_migrate() -> None:
    """Grafana would not migrate a file that says 42, and need not."""
    assert raw()["schemaVersion"] == 12
    assert (TODAY["schemaVersion"], TODAY["editable"], TODAY["graphTooltip"]) == (42, False, 1)
    assert not {"rows", "style", "sharedCrosshair", "__inputs"} & TODAY.keys()


def test_grafanalib_still_needs_it() -> None:
    """What it writes by itself is no dashboard of today: the day this fails, normalise.py may shrink."""
    [bar] = raw(core.BarGauge(title="B"))["panels"]

    assert "fieldOptions" in bar["options"]
    assert bar["maxDataPoints"] == 100
    assert raw()["refresh"] == "10s"


@pytest.mark.parametrize("title", ["GPUs up", "Memory", "Nodes", "Pods"])
def test_panels_and_queries_ask_the_chosen_data_source(title: str) -> None:
    """By its variable, in each panel and each query."""
    panel = PANELS[title]

    assert [one["datasource"] for one in (panel, *panel["targets"])] == [DATASOURCE] * (1 + len(panel["targets"]))


@pytest.mark.parametrize(("title", "latest"), [("GPUs up", True), ("Memory", False)])
def test_a_query_asks_for_the_latest_value_or_a_range(title: str, latest: bool) -> None:  # noqa: FBT001 — parameter
    """One of both, said outright."""
    target = PANELS[title]["targets"][0]

    assert (target["instant"], target["range"]) == (latest, not latest)
    assert not {"intervalFactor", "step", "metric", "target", "query"} & target.keys()


def test_a_query_without_a_legend_is_named_by_its_labels() -> None:
    """As the editor's "Auto" says it."""
    assert PANELS["GPUs up"]["targets"][0]["legendFormat"] == "__auto"
    assert PANELS["Memory"]["targets"][0]["legendFormat"] == "used"


def test_a_bar_gauge_keeps_its_unit_and_links() -> None:
    """Grafana 7 moved them from the options to the field."""
    defaults = PANELS["Nodes"]["fieldConfig"]["defaults"]

    assert (defaults["unit"], defaults["min"], defaults["color"]) == ("bytes", 0, {"mode": "thresholds"})
    assert [link["title"] for link in defaults["links"]] == ["This node"]
    assert PANELS["Nodes"]["options"]["reduceOptions"]["calcs"] == ["lastNotNull"]


def test_a_table_has_cells_of_today_and_keeps_its_order() -> None:
    """`displayMode` became `cellOptions` in Grafana 10."""
    table = PANELS["Pods"]

    assert table["fieldConfig"]["defaults"]["custom"]["cellOptions"] == {"type": "auto"}
    assert table["options"]["sortBy"] == [{"desc": True, "displayName": "Used"}]


def test_a_graph_shows_its_legend() -> None:
    """Grafana 9.2 hides one that does not say so."""
    assert PANELS["Memory"]["options"]["legend"]["showLegend"] is True


def test_words_ask_nothing() -> None:
    """A panel of words has no data source, queries or thresholds."""
    assert not {"datasource", "targets", "interval"} & PANELS["Words"].keys()
    assert PANELS["Words"]["fieldConfig"] == {"defaults": {}, "overrides": []}


def test_a_section_is_folded_around_its_panels() -> None:
    """Panels of a folded row stand within it."""
    [row] = [panel for panel in TODAY["panels"] if panel["type"] == "row"]

    assert (row["collapsed"], [panel["title"] for panel in row["panels"]]) == (True, ["Nodes", "Pods", "Words"])


def test_all_is_chosen_where_several_may_be() -> None:
    """The word All, which grafanalib writes there, selects nothing."""
    source, cluster, _, device = TODAY["templating"]["list"]

    assert (source["type"], source["current"]) == ("datasource", {})
    assert cluster["current"] == {"text": ["All"], "value": ["$__all"]}
    assert (device["current"], device["multi"]) == ({}, False)


def test_a_variable_says_its_query_in_both_ways() -> None:
    """As text for people and tools, and in the editor's form."""
    cluster = TODAY["templating"]["list"][1]

    assert cluster["definition"] == cluster["query"]["query"] == "label_values(vgpu_exporter_build_info, cluster)"
    assert (cluster["query"]["qryType"], cluster["refresh"], cluster["datasource"]) == (1, 2, DATASOURCE)


def test_a_kind_that_nobody_wrote_is_refused() -> None:
    """Rather than passed on in a shape of long ago."""
    with pytest.raises(KeyError):
        normalise.dashboard(raw(core.Heatmap(title="H")))
