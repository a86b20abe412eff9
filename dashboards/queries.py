"""Queries of panels: PromQL in which `$cluster`, `$node` and so on stand for what the reader has chosen.

Each figure is taken once, whoever scraped it twice (alerts/promql.py), and from the exporter's own metrics rather than
from recording rules where that costs nothing: a Prometheus without the rules then shows nearly all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from alerts.promql import DEVICE, kept, labels, select
from exporter import catalogue as c

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.catalogue import Metric

#: The look-back of every rate: what Grafana knows to hold enough scrapes.
RATE: Final = "[$__rate_interval]"


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel; `legend` names its series (`{{label}}` is filled in).

    `latest`: only the value at the end of the range of time, as tables and single figures want it.
    """

    expr: str
    legend: str = ""
    latest: bool = False


def chosen(*variables: str) -> str:
    """Return matchers that hold the labels named to what the reader has chosen: `cluster=~"$cluster",…`."""
    return ",".join(f'{name}=~"${name}"' for name in variables)


def gauge(metric: Metric[Any], where: str, by: Iterable[str] = ()) -> str:
    """Return a gauge's series, each once, by its own labels unless `by` names others."""
    return f"max by {labels(by or kept(metric))} ({select(metric, where)})"


def rate(metric: Metric[Any], where: str, by: Iterable[str] = ()) -> str:
    """Return a counter's rate per second over what Grafana thinks fit, each series once."""
    return f"max by {labels(by or kept(metric))} (rate({select(metric, where, RATE)}))"


def increase(metric: Metric[Any], where: str, window: str = "[$__range]") -> str:
    """Return a counter's increase, over the range of time on the screen unless `window` says otherwise.

    As in alerts.promql.increase_once: the instances that an exporter had one after the other add up.
    """
    own = kept(metric)
    per_instance = f"max by {labels((*own, 'job', 'instance'))} (increase({select(metric, where, window)}))"
    return f"max by {labels(own)} (sum by {labels((*own, 'job'))} ({per_instance}))"


def with_index(expression: str) -> str:
    """Return series of GPUs with `device_index` beside, since "GPU 0" says more than a UUID."""
    index = f"topk by {labels(DEVICE)} (1, {gauge(c.DEVICE_INFO, chosen('cluster'), (*DEVICE, 'device_index'))})"
    return f"{expression} * on {labels(DEVICE)} group_left (device_index) {index}"


def total(by: Iterable[str], expression: str) -> str:
    """Return the sum over all labels but these."""
    return f"sum by {labels(by)} ({expression})"
