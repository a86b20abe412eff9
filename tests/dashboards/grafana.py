"""What Grafana does between a dashboard and Prometheus: variables chosen and filled in, queries asked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from alerts.promql import scaled_expression

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.monitored import Prometheus

Json = dict[str, Any]

_LABEL_VALUES: Final = re.compile(r"label_values\((?P<selector>.*), *(?P<label>\w+)\)")
_VARIABLE: Final = re.compile(r"\$\{?(\w+)\}?")


class Asked(NamedTuple):
    """One query of a panel, filled in: where it stands, and its PromQL."""

    board: str
    panel: str
    panel_id: int
    letter: str
    expr: str
    latest: bool


def panels(board: Json) -> Iterator[Json]:
    """Return all panels, those in folded rows too."""
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from panel["panels"]
        else:
            yield panel


def filled(text: str, values: Mapping[str, str]) -> str:
    """Return a text with `$name` and `${name}` replaced."""
    return _VARIABLE.sub(lambda found: values[found[1]], text)


def options(prometheus: Prometheus, variable: Json, values: Mapping[str, str]) -> list[str]:
    """Return what a variable of the kind label_values offers, given those before it."""
    found = _LABEL_VALUES.fullmatch(filled(variable["query"]["query"], values))
    assert found, variable
    result: list[str] = prometheus.ask(f"label/{found['label']}/values", **{"match[]": found["selector"]})
    return sorted(result)


def chosen(
    prometheus: Prometheus, board: Json, wanted: Mapping[str, str], built_in: Mapping[str, str]
) -> dict[str, str]:
    """Return each variable's value as it goes into a query: what is wanted, else All, else the first option."""
    values = dict(built_in)
    for variable in board["templating"]["list"]:
        name = variable["name"]
        if variable["type"] == "datasource":
            continue
        offered = options(prometheus, variable, values)
        if name in wanted:
            values[name] = re.escape(wanted[name]).replace("\\-", "-").replace("\\", "\\\\")
        elif variable["includeAll"]:
            values[name] = variable.get("allValue") or f"({'|'.join(offered)})"
        else:
            values[name] = offered[0]
    return values


def queries(board: Json, values: Mapping[str, str], time_scale: float = 1) -> Iterator[Asked]:
    """Return all queries with the values filled in; look-backs that are written out are divided by `time_scale`."""
    for panel in panels(board):
        for target in panel.get("targets", ()):
            expr = filled(scaled_expression(target["expr"], time_scale), values)
            yield Asked(board["uid"], panel["title"], panel["id"], target["refId"], expr, target["instant"])


def answer(prometheus: Prometheus, asked: Asked, at: float, seconds: float, step: float = 1) -> list[Json]:
    """Return the series that a query gives at that time, or every `step` seconds within so many before it."""
    if asked.latest:
        result: list[Json] = prometheus.ask("query", query=asked.expr, time=str(at))["result"]
    else:
        span = {"start": str(at - seconds), "end": str(at), "step": str(step)}
        result = prometheus.ask("query_range", query=asked.expr, **span)["result"]
    return result
