"""PromQL, put together from catalogue metrics: selectors, and the aggregations that make them safe.

Safe means: two scrapes of one exporter (another `job`, `instance` or replica label) count once; an exporter that was
replaced goes on where it was; a `cluster` label stays if there is one; series whose labels a scrape has overwritten
(`exported_namespace`) count for nobody rather than for the namespace of the monitoring.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.catalogue import Metric

#: Metrics that are not ours: Prometheus' own, and one of kube-state-metrics.
UP: Final = "up"
DEPLOYMENT_CONDITION: Final = "kube_deployment_status_condition"
FOREIGN: Final = frozenset({UP, DEPLOYMENT_CONDITION})

#: Label sets to aggregate by; `cluster` first, which costs nothing where nobody sets it.
CLUSTER: Final = ("cluster",)
NODE: Final = (*CLUSTER, "node")
DEVICE: Final = (*NODE, "device_uuid")
NAMESPACE: Final = (*CLUSTER, "namespace")
RESOURCE: Final = (*NAMESPACE, "resource")
POD: Final = (*DEVICE, "namespace", "pod")
CONTAINER: Final = (*POD, "container")
TARGET: Final = (*CLUSTER, "job", "instance")

_DURATION: Final = re.compile(r"(?<=[\[:])\d+[smhd](?=[\]:])|(?<=offset )\d+[smhd]")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
#: Seconds from step to step of `integral_once`, and where they stand in an expression as a factor.
_STEP: Final = 15
_STEP_FACTOR: Final = re.compile(rf"\b{_STEP}(?= \* sum_over_time)")


def labels(names: Iterable[str]) -> str:
    """Return a label list as `by`, `on` and `group_left` take it."""
    return f"({', '.join(names)})"


def select(metric: Metric[Any], where: str = "", window: str = "") -> str:
    """Return a selector; `where` are further matchers, `window` is what follows, e.g. `[5m]`.

    Of what has a namespace, series whose namespace the scrape has overwritten are left out.
    """
    matchers = [where] if where else []
    if "namespace" in metric.label_names:
        matchers.insert(0, 'exported_namespace=""')
    return f"{metric.name}{'{' + ','.join(matchers) + '}' if matchers else ''}{window}"


def kept(metric: Metric[Any]) -> tuple[str, ...]:
    """Return the labels that identify the metric's series, whoever scraped them."""
    return (*CLUSTER, *metric.label_names)


def once(metric: Metric[Any], where: str = "", by: Iterable[str] = ()) -> str:
    """Return a gauge's series, each once, by its own labels unless `by` names others."""
    return f"max by {labels(by or kept(metric))} ({select(metric, where)})"


def rate_once(metric: Metric[Any], window: str = "5m", where: str = "") -> str:
    """Return a counter's rate per second, each series once."""
    return f"max by {labels(kept(metric))} (rate({select(metric, where, f'[{window}]')}))"


def increase_once(metric: Metric[Any], window: str = "1h") -> str:
    """Return a counter's increase, each series once, for accounts that must be complete.

    Within a job the instances that an exporter had one after the other add up; so do two that it has at once, which
    count twice (`VgpuScrapedTwice`). Of two jobs that scrape the same exporter, and of replicas that scrape the same
    instance, the fuller view counts.
    """
    return _complete(f"increase({select(metric, window=f'[{window}]')})", kept(metric))


def integral_once(gauge: str, own: Iterable[str]) -> str:
    """Return what a gauge, with its labels `own`, adds up to in an hour, in its unit times seconds, as `increase_once`.

    In steps of 15 s, as nothing says how often a target is scraped. Series are added up before they are made one: the
    other way round takes Prometheus seven times as long.
    """
    return _complete(f"{_STEP} * sum_over_time({gauge}[1h:{_STEP}s])", own)


def _complete(of_series: str, own: Iterable[str]) -> str:
    per_instance = f"max by {labels((*own, 'job', 'instance'))} ({of_series})"
    return f"max by {labels(own)} (sum by {labels((*own, 'job'))} ({per_instance}))"


def either(*expressions: str) -> str:
    """Return the union of expressions, in brackets."""
    return f"({' or '.join(expressions)})"


def joined(*parts: str) -> str:
    """Return an expression of several lines."""
    return "\n".join(parts)


def seconds(duration: str) -> int:
    """Return a duration such as `15m` in seconds."""
    return int(duration[:-1]) * _SECONDS[duration[-1]]


def scaled(duration: str, scale: float) -> str:
    """Return a duration divided by `scale`, to the millisecond."""
    if scale == 1:
        return duration
    milliseconds = round(seconds(duration) * 1000 / scale)
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"


def scaled_expression(expression: str, scale: float) -> str:
    """Return an expression with every look-back, offset and step, and what a step counts for, divided by `scale`."""
    faster = _DURATION.sub(lambda found: scaled(found[0], scale), expression)
    return _STEP_FACTOR.sub(f"{_STEP / scale:g}", faster)
