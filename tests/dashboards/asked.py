"""What a dashboard's queries must be: each check yields one sentence for each fault."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

import promql_parser as promql

from dashboards.links import SERVING
from tests.dashboards import stacks
from tests.dashboards.expressions import (
    COUNTERS,
    borne,
    children,
    labels,
    matched,
    names,
    nodes,
    only_is,
    parsed,
    selectors,
    uses_rate,
)
from tests.dashboards.form import links
from tests.dashboards.grafana import panels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.dashboards.grafana import Json

#: Look-backs while a query is parsed: which of them is which can be told from the tree.
_FILLED: Final = "4m7s"
_RATE: Final = {"rate", "irate"}
_BUILT_IN: Final = frozenset({"__rate_interval", "__interval", "__range", "__range_s"})
_VARIABLE: Final = re.compile(r"\$\{?(\w+)")
_LINKED: Final = re.compile(r"\$\{__field\.labels\.(\w+)")
_LEGEND: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_LABEL_VALUES: Final = re.compile(r"label_values\((?P<selector>.+), *(?P<label>\w+)\)", re.DOTALL)

#: Counters shown as they are: faults are few, and those since the exporter started all matter.
SINCE_START: Final = frozenset({"vgpu_device_xid_errors_total"})
#: What a unit's figures are made of: part of a metric's name.
_MADE_OF: Final = {
    "bytes": {"bytes"}, "watt": {"watts", "joules"}, "celsius": {"celsius"}, "joule": {"joules"}, "s": {"seconds"},
}  # fmt: skip

#: Labels with a value for each tenant, pod, GPU …, and those of which one value leaves few of them.
NARROWED: Final = {
    "instance": {"instance", "node"},
    "node": {"node"},
    "device_uuid": {"device_uuid", "node"},
    "tenant": {"tenant"},
    "namespace": {"namespace", "tenant", "device_uuid"},
    "pod": {"pod", "namespace", "device_uuid"},
    "container": {"container", "pod", "namespace", "device_uuid"},
}


class Query(NamedTuple):
    """One query of a panel, and where it stands."""

    panel: Json
    target: Json
    tree: promql.Expr

    @property
    def place(self) -> str:
        """Return where it stands, for people."""
        return f"{self.panel['title']}, {self.target['refId']}"


def queries(board: Json) -> Iterator[Query]:
    """Return all queries; raises ValueError for one that is no PromQL."""
    for panel in panels(board):
        for target in panel.get("targets", ()):
            yield Query(panel, target, parsed(target["expr"], _FILLED))


def parses(board: Json) -> Iterator[str]:
    """Each query is PromQL once Grafana has filled in its intervals, and there is one for each panel of figures."""
    for panel in panels(board):
        if panel["type"] != "text" and not panel["targets"]:
            yield f"{panel['title']} asks nothing"
        for target in panel.get("targets", ()):
            try:
                parsed(target["expr"])
            except ValueError as error:
                yield f"{panel['title']}, {target['refId']}: {error}"


def asks_for_what_exists(board: Json) -> Iterator[str]:
    """Every metric is the catalogue's, a recording rule's or a known one of others; every label is one of its own."""
    for query in queries(board):
        for selector, _ in selectors(query.tree):
            yield from (f"{query.place}: {fault}" for fault in _unknown(selector, board["uid"]))


def _unknown(selector: promql.VectorSelector, uid: str) -> Iterator[str]:
    for name in names(selector):
        there = borne(name)
        if there is None:
            yield f"nobody publishes {name}"
        elif name in stacks.METRICS and uid != SERVING:
            yield f"{name} belongs on the dashboard of model serving"
        else:
            lost = matched(selector).keys() - there - {"__name__"}
            yield from (f"{name} has no label {label}" for label in lost)


def groups_by_what_exists(board: Json) -> Iterator[str]:
    """What a query aggregates by or joins on are labels that are still there."""
    for query in queries(board):
        for node in nodes(query.tree):
            if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
                lost = set(node.modifier.labels) - labels(node.expr) - {"cluster"}
                yield from (f"{query.place}: {node.op} by {label}, which is not there" for label in lost)
            if isinstance(node, promql.BinaryExpr) and node.modifier is not None and node.modifier.matching is not None:
                sides = labels(node.lhs) & labels(node.rhs) | {"cluster"}
                lost = set(node.modifier.matching.labels) - sides
                yield from (f"{query.place}: joins on {label}, which one side lacks" for label in lost)


def counts_right(board: Json) -> Iterator[str]:
    """Counters are seen through rates over what Grafana thinks fit, gauges never; nor are the driver's 60 s gauges."""
    for query in queries(board):
        for selector, around in selectors(query.tree):
            name = selector.name or ""
            if name in COUNTERS - SINCE_START and not uses_rate(around) and not only_is(around):
                yield f"{query.place}: the counter {name} is read as it is"
            if uses_rate(around) and name not in COUNTERS and not name.endswith("_total"):
                yield f"{query.place}: a rate of the gauge {name}"
            if name.endswith("_utilization_ratio") and not only_is(around):
                yield f"{query.place}: {name} is a mean over 60 s; take a rate of seconds"
        for node in nodes(query.tree):
            if isinstance(node, promql.Call) and node.func.name in _RATE and _range(node) != _FILLED:
                yield f"{query.place}: {node.func.name} over {_range(node)}, not $__rate_interval"


def _range(call: promql.Call) -> str:
    inner = call.args[0]
    return promql.display_duration(inner.range) if isinstance(inner, promql.MatrixSelector) else "a subquery"


def keeps_to_the_cluster(board: Json) -> Iterator[str]:
    """Where a cluster can be chosen, every selector is held to it, or joined by cluster with one that is."""
    if not any(variable["name"] == "cluster" for variable in board["templating"]["list"]):
        yield "no variable cluster"
    for query in queries(board):
        yield from (f"{query.place}: {name} of all clusters" for name in sorted(set(_of_all_clusters(query.tree))))


def _of_all_clusters(tree: promql.Expr) -> list[str]:
    if isinstance(tree, promql.VectorSelector):
        return [] if matched(tree).get("cluster") == "$cluster" else [tree.name or "?"]
    if isinstance(tree, promql.MatrixSelector):
        return _of_all_clusters(tree.vector_selector)
    inner = children(tree)
    sides = [_of_all_clusters(one) for one in inner]
    if isinstance(tree, promql.BinaryExpr) and _joins_on_cluster(tree):
        held = [not side and any(selectors(one)) for one, side in zip(inner, sides, strict=True)]
        if held[0] or (held[1] and str(tree.op) != "unless"):
            return []
    return [name for side in sides for name in side]


def _joins_on_cluster(tree: promql.BinaryExpr) -> bool:
    how = tree.modifier.matching if tree.modifier is not None else None
    if str(tree.op) == "or" or how is None:
        return str(tree.op) != "or"
    return ("cluster" in how.labels) == str(how.type).endswith("Include")


def names_what_survives(board: Json) -> Iterator[str]:
    """The series bear what a legend, a link or a table's columns name; none is left without a name beside others."""
    for query in queries(board):
        there = labels(query.tree)
        lost = set(_LEGEND.findall(query.target["legendFormat"])) - there
        yield from (f"{query.place}: the legend names {label}, which is not there" for label in lost)
        taken = {label for url in links(query.panel) for label in _LINKED.findall(url)} - there
        yield from (f"{query.place}: a link takes {label}, which is not there" for label in taken)
    for panel in panels(board):
        if panel["type"] == "table":
            yield from _lost_columns(panel)
        elif len(panel.get("targets", ())) > 1:
            unnamed = [target["refId"] for target in panel["targets"] if target["legendFormat"] == "__auto"]
            yield from (f"{panel['title']}: query {letter} has no legend" for letter in unnamed)


def _lost_columns(panel: Json) -> Iterator[str]:
    trees = [parsed(target["expr"]) for target in panel["targets"]]
    letters = [target["refId"] for target in panel["targets"]]
    there = frozenset[str]().union(*map(labels, trees))
    values = {f"Value #{letter}" for letter in letters} if len(letters) > 1 else {"Value"}
    [kept] = [one["options"] for one in panel["transformations"] if one["id"] == "filterFieldsByName"]
    lost = [name for name in kept["include"]["names"] if name not in there | values]
    yield from (f"{panel['title']}: a column {name}, which is not there" for name in lost)


def has_fitting_units(board: Json) -> Iterator[str]:
    """A figure in bytes is made of bytes, one in seconds of seconds; times are in milliseconds, as Grafana has it."""
    for panel in panels(board):
        for unit, target in _units(panel):
            found = {name for selector, _ in selectors(parsed(target["expr"])) for name in names(selector)}
            if unit in _MADE_OF and not any(part in name for part in _MADE_OF[unit] for name in found):
                yield f"{panel['title']}, {target['refId']}: {unit} of {sorted(found)}"
            if unit.startswith("dateTime") and "* 1000" not in target["expr"]:
                yield f"{panel['title']}, {target['refId']}: a time in seconds"


def _units(panel: Json) -> Iterator[tuple[str, Json]]:
    """Return each query with the unit that it is shown in."""
    if panel["type"] != "table":
        unit = panel.get("fieldConfig", {"defaults": {}})["defaults"].get("unit", "")
        yield from ((unit, target) for target in panel.get("targets", ()) if unit)
        return
    titles = next(one["options"]["renameByName"] for one in panel["transformations"] if one["id"] == "organize")
    for override in panel["fieldConfig"]["overrides"]:
        units = [one["value"] for one in override["properties"] if one["id"] == "unit"]
        for target in panel["targets"]:
            if override["matcher"]["options"] in (titles.get(f"Value #{target['refId']}"), titles.get("Value")):
                yield from ((unit, target) for unit in units)


def is_bounded(board: Json) -> Iterator[str]:
    """No graph draws a line, and no bar, for each of all tenants, pods or GPUs there are: the variables choose."""
    for query in queries(board):
        if query.panel["type"] not in {"timeseries", "bargauge", "stat"}:
            continue
        held = {name for one, _ in selectors(query.tree) for name, value in matched(one).items() if "$" in value}
        chosen = any(isinstance(node, promql.AggregateExpr) and str(node.op) == "topk" for node in nodes(query.tree))
        for label in labels(query.tree) & NARROWED.keys():
            if not NARROWED[label] & held and not chosen:
                yield f"{query.place}: a series for each {label} there is"


def chains_variables(board: Json) -> Iterator[str]:
    """Data source, cluster, then what that leaves; all labelled, reloaded with the time, All where several may be."""
    known: list[str] = []
    for variable in board["templating"]["list"]:
        name = variable["name"]
        if not variable.get("label"):
            yield f"{name} has no label"
        if variable["type"] == "query":
            yield from (f"{name}: {fault}" for fault in _of_query(variable, known, board["uid"]))
        known.append(name)
    if known[:2] != ["datasource", "cluster"]:
        yield f"variables begin with {known[:2]}"


def _of_query(variable: Json, before: list[str], board: str) -> Iterator[str]:
    found = _LABEL_VALUES.fullmatch(variable["definition"])
    if found is None or variable["query"]["query"] != variable["definition"]:
        yield f"does not ask for label_values: {variable['definition']}"
        return
    ((selector, _),) = selectors(parsed(found["selector"]))
    yield from _unknown(selector, board)
    if found["label"] not in labels(selector):
        yield f"asks for what does not exist: {variable['definition']}"
    used = set(_VARIABLE.findall(variable["definition"]))
    if not used <= set(before) or ("cluster" in before and "cluster" not in used):
        yield f"depends on {sorted(used)}, after {before}"
    if variable["refresh"] != 2 or variable["sort"] != 1:
        yield "is not sorted, or not reloaded with the range of time"
    everything = variable["current"].get("value") in ("$__all", ["$__all"])
    if variable["multi"] != variable["includeAll"] or everything != variable["includeAll"]:
        yield "several values, All and All as the first choice do not go together"


def uses_its_variables(board: Json) -> Iterator[str]:
    """Queries name variables that exist, and each variable is named by one."""
    there = {variable["name"] for variable in board["templating"]["list"]}
    texts = [query.target["expr"] for query in queries(board)]
    used = {name for text in texts for name in _VARIABLE.findall(text)} - _BUILT_IN
    chained = {name for one in board["templating"]["list"] for name in _VARIABLE.findall(one.get("definition", ""))}
    yield from (f"no variable {name}" for name in used - there)
    yield from (f"nothing asks for {name}" for name in there - used - chained - {"datasource"})
