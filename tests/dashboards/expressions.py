"""Which labels a query's series bear: what a legend, a column or a `by` may name.

Worked out from the catalogue, the recording rules and the expression alone, so a label that an aggregation has dropped,
or that a metric never had, is found without any data.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final

import promql_parser as promql

from alerts import book
from exporter.catalogue import METRICS, Kind
from tests.dashboards import stacks

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What Prometheus or the cluster's operator adds to every series that is scraped.
SCRAPED: Final = frozenset({"cluster", "job", "instance"})
#: What a scrape that overwrites our labels leaves of them: queries ask that it be absent.
OVERWRITTEN: Final = frozenset({"exported_namespace"})
#: Labels that are there only where somebody switched them on.
OPTIONAL: Final = {
    "vgpu_container_info": frozenset({"tenant"}),
    "vgpu_exporter_snapshot_timestamp_seconds": frozenset({"node"}),  # by the relabelling that our monitors bring
}

CATALOGUE: Final = {
    name: metric
    for metric in METRICS
    for name in ((f"{metric.name}_sum", f"{metric.name}_count") if metric.kind is Kind.SUMMARY else (metric.name,))
}
COUNTERS: Final = stacks.COUNTERS | {name for name, metric in CATALOGUE.items() if metric.kind is not Kind.GAUGE}
RECORDED: Final = {rule.name: frozenset({"cluster", *rule.labels}) for rule in book.recordings()}

#: Metrics of others and their labels, beside those of the scrape: Prometheus's own, and every Python process's.
_PROCESS: Final = ("cpu_seconds_total", "resident_memory_bytes", "start_time_seconds", "open_fds", "max_fds")
_TARGET: Final = ("up", "scrape_duration_seconds", "scrape_samples_scraped", "scrape_series_added")
FOREIGN: Final[dict[str, frozenset[str]]] = {
    **{name: frozenset() for name in (*_TARGET, *(f"process_{name}" for name in _PROCESS))},
    "ALERTS": frozenset({"alertstate"}),
    "ALERTS_FOR_STATE": frozenset(),
}

#: Times that Grafana fills in: as a duration, or `_s` as a number.
_BUILT_IN: Final = re.compile(r"\$__(?:rate_interval|interval|range)(_s)?")
#: How many of its input's series an aggregation lets through as they are.
_CHOOSING: Final = frozenset({"topk", "bottomk", "limitk", "limit_ratio"})
_RATES: Final = frozenset({"rate", "irate", "increase"})
#: Operators of whose right side only the labels matter.
FILTERS: Final = frozenset({"and", "unless"})
#: A series' alternatives, where a metric is chosen by name: `{__name__=~"one|two"}`.
_ALTERNATIVES: Final = re.compile(r"[\w:]+(?:\|[\w:]+)*")


def parsed(expression: str, look_back: str = "5m") -> promql.Expr:
    """Return a query's tree, Grafana's intervals filled in; raises ValueError if it is no PromQL."""
    tree: promql.Expr = promql.parse(_BUILT_IN.sub(lambda name: "300" if name[1] else look_back, expression))
    return tree


def selectors(tree: promql.Expr) -> Iterator[tuple[promql.VectorSelector, tuple[str, ...]]]:
    """Return each selector with the functions, aggregations and filters around it, the innermost first.

    A filter is around what stands to its right, of which only the labels matter.
    """
    yield from _selectors(tree, ())


def _selectors(tree: promql.Expr, around: tuple[str, ...]) -> Iterator[tuple[promql.VectorSelector, tuple[str, ...]]]:
    if isinstance(tree, promql.VectorSelector):
        yield tree, around
    elif isinstance(tree, promql.MatrixSelector):
        yield tree.vector_selector, around
    else:
        for index, inner in enumerate(children(tree)):
            yield from _selectors(inner, (*_name(tree, index), *around))


def _name(tree: promql.Expr, index: int) -> tuple[str, ...]:
    if isinstance(tree, promql.Call):
        return (tree.func.name,)
    if isinstance(tree, promql.BinaryExpr):
        return (str(tree.op),) if index == 1 and str(tree.op) in FILTERS else ()
    return (str(tree.op),) if isinstance(tree, promql.AggregateExpr) else ()


def children(tree: promql.Expr) -> list[promql.Expr]:
    """Return the expressions that a node is made of."""
    if isinstance(tree, promql.Call):
        return list(tree.args)
    if isinstance(tree, promql.BinaryExpr):
        return [tree.lhs, tree.rhs]
    if isinstance(tree, promql.AggregateExpr | promql.ParenExpr | promql.UnaryExpr | promql.SubqueryExpr):
        return [tree.expr]
    return []


def nodes(tree: promql.Expr) -> Iterator[promql.Expr]:
    """Return a node and all below it."""
    yield tree
    for inner in children(tree):
        yield from nodes(inner)


def matched(selector: promql.VectorSelector) -> dict[str, str]:
    """Return the labels that a selector asks for, and which values."""
    return {matcher.name: matcher.value for matcher in selector.matchers.matchers}


def names(selector: promql.VectorSelector) -> list[str]:
    """Return the metrics that a selector may mean; none if that depends on what there is."""
    if selector.name:
        return [selector.name]
    asked = matched(selector).get("__name__", "")
    return asked.split("|") if _ALTERNATIVES.fullmatch(asked) else []


def borne(name: str) -> frozenset[str] | None:
    """Return the labels of a metric's series; None if nobody knows such a metric."""
    if name in RECORDED:
        return RECORDED[name]
    if name in CATALOGUE:
        own = frozenset(CATALOGUE[name].label_names)
        return own | SCRAPED | OPTIONAL.get(name, frozenset()) | (OVERWRITTEN if "namespace" in own else frozenset())
    if name.startswith("ALERTS"):
        return FOREIGN[name] | _alerted()
    if name in stacks.METRICS:
        return stacks.METRICS[name]
    return FOREIGN[name] | SCRAPED if name in FOREIGN else None


@cache
def _alerted() -> frozenset[str]:
    """Return the labels of our alerts: those of their expressions, and Prometheus's and our own."""
    own = (labels(parsed(alert.filled)) for alert in book.alerts())
    return frozenset({"alertname", "severity", "scope"}).union(SCRAPED, *own)


def labels(tree: promql.Expr) -> frozenset[str]:
    """Return the labels that an expression's series may bear; those of unknown metrics are unknown, thus none."""
    if isinstance(tree, promql.VectorSelector):
        meant = names(tree)
        return frozenset[str]().union(*(borne(name) or () for name in meant)) if meant else SCRAPED | {"__name__"}
    if isinstance(tree, promql.MatrixSelector):
        return labels(tree.vector_selector)
    if isinstance(tree, promql.AggregateExpr):
        return _aggregated(tree)
    if isinstance(tree, promql.BinaryExpr):
        return _combined(tree)
    return _called(tree) if isinstance(tree, promql.Call) else _of_children(tree)


def _of_children(tree: promql.Expr) -> frozenset[str]:
    return frozenset[str]().union(*map(labels, children(tree)))


def _called(tree: promql.Call) -> frozenset[str]:
    name = tree.func.name
    if name in {"label_replace", "label_join"}:
        return labels(tree.args[0]) | {tree.args[1].val}
    if name == "histogram_quantile":
        return labels(tree.args[1]) - {"le"}
    return frozenset() if name in {"scalar", "vector", "time"} else _of_children(tree)


def _aggregated(tree: promql.AggregateExpr) -> frozenset[str]:
    inside = labels(tree.expr)
    if str(tree.op) in _CHOOSING:
        return inside
    if tree.modifier is None:
        return frozenset()
    named = frozenset(tree.modifier.labels)
    return inside & named if str(tree.modifier.type).endswith("By") else inside - named


def _combined(tree: promql.BinaryExpr) -> frozenset[str]:
    left, right = labels(tree.lhs), labels(tree.rhs)
    operator, how = str(tree.op), tree.modifier
    if operator == "or":
        return left | right
    if operator in {"and", "unless"}:
        return left
    if not _is_vector(tree.lhs) or not _is_vector(tree.rhs):
        return left | right
    return _joined(left, right, how) if how is not None else left


def _joined(left: frozenset[str], right: frozenset[str], how: promql.BinModifier) -> frozenset[str]:
    carried = frozenset(how.group_labels or ())
    if how.card == promql.VectorMatchCardinality.ManyToOne:
        return left | (carried & right)
    if how.card == promql.VectorMatchCardinality.OneToMany:
        return right | (carried & left)
    if how.matching is None:
        return left
    named = frozenset(how.matching.labels)
    return left & named if str(how.matching.type).endswith("Include") else left - named


def _is_vector(tree: promql.Expr) -> bool:
    """Tell whether an expression has series, and is not one number."""
    if isinstance(tree, promql.Call) and tree.func.name in {"scalar", "time", "pi"}:
        return False
    return any(isinstance(node, promql.VectorSelector | promql.MatrixSelector) for node in nodes(tree)) or (
        isinstance(tree, promql.Call) and tree.func.name == "vector"
    )


def uses_rate(around: tuple[str, ...]) -> bool:
    """Tell whether a selector stands in rate, irate or increase."""
    return bool(around) and around[0] in _RATES


def only_is(around: tuple[str, ...]) -> bool:
    """Tell whether it matters only that a selector's series are there, and not their values."""
    return any(one in FILTERS | {"group", "count"} for one in around)
