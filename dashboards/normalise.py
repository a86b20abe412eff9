"""grafanalib's JSON as today's Grafana writes it itself: schema 42, no legacy keys, nothing left to be migrated.

grafanalib 0.7.1 writes for Grafana 5 to 9: keys that were dropped since, nulls for all that is unset, a bar gauge and a
table from before Grafana 7, and thresholds that begin at the word "null". Grafana migrates old files, but only partly,
and not those that say they are new. So all is rewritten here, in one place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dashboards.variables import DATASOURCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from dashboards.fields import Json

#: The last version of the classic format.
SCHEMA: Final = 42

_DASHBOARD_KEYS: Final = ("uid", "title", "description", "tags", "links", "refresh", "time")
_PANEL_KEYS: Final = (
    "id", "type", "title", "description", "gridPos", "fieldConfig", "options", "transformations", "interval", "targets",
)  # fmt: skip
_VARIABLE_KEYS: Final = ("name", "label", "type", "query", "hide", "sort", "refresh", "multi", "includeAll", "allValue")
_TABLE_CELL: Final = {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": False, "inspect": False}


def dashboard(raw: Json) -> Json:
    """Return a dashboard of grafanalib, already made plain JSON, as Grafana would save it."""
    kept = _some(raw, _DASHBOARD_KEYS)
    kept["links"] = [_link(link) for link in raw["links"]]
    kept["panels"] = [_panel(panel) for panel in raw["panels"]]
    kept["templating"] = {"list": [_variable(variable) for variable in raw["templating"]["list"]]}
    kept["annotations"] = raw["annotations"]
    return kept | {
        "editable": False, "graphTooltip": 1, "schemaVersion": SCHEMA, "version": 1, "timezone": "browser",
        "fiscalYearStartMonth": 0, "timepicker": {}, "preload": False,
    }  # fmt: skip


def _some(raw: Json, keys: tuple[str, ...]) -> Json:
    """Return these keys, but for unset ones."""
    return {key: raw[key] for key in keys if raw.get(key) not in (None, "", [], {})}


def _link(raw: Json) -> Json:
    return {key: value for key, value in raw.items() if value is not None}


# ---------------------------------------------------------------- panels


def _panel(raw: Json) -> Json:
    if raw["type"] == "row":
        return _row(raw)
    panel = _some(raw, _PANEL_KEYS)
    panel["transparent"] = False
    if raw["type"] == "text":
        shown = {"mode": "markdown", "content": raw["options"]["content"]}
        return panel | {"options": shown, "fieldConfig": {"defaults": {}, "overrides": []}}
    panel["datasource"] = DATASOURCE
    panel["targets"] = [_target(target) for target in raw["targets"]]
    panel["fieldConfig"] = {
        "defaults": _defaults(raw["fieldConfig"]["defaults"]),
        "overrides": raw["fieldConfig"].get("overrides", []),
    }
    return _KINDS[raw["type"]](panel)


def _row(raw: Json) -> Json:
    inner = [_panel(panel) for panel in raw["panels"]]
    return _some(raw, ("id", "type", "title", "gridPos")) | {"collapsed": True, "panels": inner}


def _target(raw: Json) -> Json:
    latest = raw["instant"]
    return {
        "refId": raw["refId"], "expr": raw["expr"], "legendFormat": raw["legendFormat"] or "__auto",
        "format": raw["format"], "instant": latest, "range": not latest, "editorMode": "code", "datasource": DATASOURCE,
    }  # fmt: skip


def _defaults(raw: Json) -> Json:
    """Return what all fields of a panel share, without what is unset."""
    return _some(raw, tuple(raw))


def _stat(panel: Json) -> Json:
    panel["fieldConfig"]["defaults"].pop("custom", None)
    panel["options"] |= {"wideLayout": True, "showPercentChange": False}
    panel["options"]["reduceOptions"]["fields"] = ""
    return panel


def _timeseries(panel: Json) -> Json:
    custom = panel["fieldConfig"]["defaults"]["custom"]
    custom["scaleDistribution"] = {"type": "linear"}
    for key in ("axisSoftMin", "axisSoftMax", "pointSize"):
        custom.pop(key)
    panel["options"]["legend"]["showLegend"] = True
    return panel


def _bargauge(panel: Json) -> Json:
    """Grafana 7 took a bar gauge's fields out of its options."""
    old = panel["options"]["fieldOptions"]
    defaults = panel["fieldConfig"]["defaults"]
    defaults |= {key: old["defaults"][key] for key in ("unit", "min", "max") if old["defaults"][key] is not None}
    defaults |= {"color": {"mode": "thresholds"}, "links": old["defaults"]["links"]}
    panel["options"] = {
        "displayMode": panel["options"]["displayMode"], "orientation": "horizontal", "valueMode": "color",
        "namePlacement": "auto", "showUnfilled": True, "sizing": "auto", "minVizWidth": 8, "minVizHeight": 16,
        "maxVizHeight": 300, "reduceOptions": {"calcs": old["calcs"], "fields": "", "values": False},
        "legend": {"showLegend": False, "displayMode": "list", "placement": "bottom", "calcs": []},
    }  # fmt: skip
    return panel


def _table(panel: Json) -> Json:
    """Grafana 10 named cells anew, and takes colours from the field."""
    defaults = panel["fieldConfig"]["defaults"]
    defaults |= {"custom": _TABLE_CELL, "color": {"mode": "thresholds"}}
    defaults.pop("unit", None)
    panel["options"] = {
        "showHeader": True, "cellHeight": "sm", "sortBy": panel["options"]["sortBy"],
        "footer": {"show": False, "reducer": ["sum"], "countRows": False, "fields": ""},
    }  # fmt: skip
    return panel


_KINDS: Final[dict[str, Callable[[Json], Json]]] = {
    "stat": _stat, "timeseries": _timeseries, "bargauge": _bargauge, "table": _table,
}  # fmt: skip


# ---------------------------------------------------------------- variables


def _variable(raw: Json) -> Json:
    variable = _some(raw, _VARIABLE_KEYS) | {"options": [], "skipUrlSync": False, "hide": raw["hide"]}
    if raw["type"] == "datasource":
        return variable | {"regex": "", "current": {}, "includeAll": False, "multi": False, "refresh": 1}
    query = raw["query"]
    variable |= {"datasource": DATASOURCE, "definition": query, "query": _query(query), "regex": raw["regex"] or ""}
    everything: Any = {"text": ["All"], "value": ["$__all"]} if raw["multi"] else {"text": "All", "value": "$__all"}
    return variable | {
        "multi": raw["multi"],
        "includeAll": raw["includeAll"],
        "current": everything if raw["includeAll"] else {},
    }


def _query(query: str) -> Json:
    return {
        "query": query,
        "refId": "PrometheusVariableQueryEditor-VariableQuery",
        "qryType": 1 if "label_values" in query else 3,
    }
