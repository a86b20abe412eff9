"""Figures of the exporter's own dashboard, as PromQL, by target of Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from alerts.promql import CLUSTER, DEVICE, NODE, TARGET, labels, select
from dashboards.queries import RATE, chosen
from exporter import catalogue as c

if TYPE_CHECKING:
    from exporter.catalogue import Metric

#: What the reader has chosen.
WHERE: Final = chosen("cluster", "instance")
_CLUSTERS: Final = chosen("cluster")
_RANGE: Final = "[$__range]"


def each(metric: Metric[Any], *names: str) -> str:
    """Return a gauge's series by target and its own labels, or these of them."""
    return f"max by {labels((*TARGET, *(names or metric.label_names)))} ({select(metric, WHERE)})"


def grown(metric: Metric[Any], window: str = _RANGE) -> str:
    """Return by how much a counter grew over the range of time, by target and its own labels."""
    return f"max by {labels((*TARGET, *metric.label_names))} (increase({select(metric, WHERE, window)}))"


_OURS: Final = f"and on {labels(TARGET)} {select(c.SNAPSHOT_TIMESTAMP)}"


def of_exporters(foreign: str, window: str = "") -> str:
    """Return a metric that Prometheus, or the client library, has of every target, by target of ours.

    With a `window`, of a counter, its rate per second.
    """
    series = f"{foreign}{{{WHERE}}}{window}"
    return f"max by {labels(TARGET)} ({f'rate({series})' if window else series} {_OURS})"


_JOB: Final = labels((*CLUSTER, "job"))
_ON_TARGET: Final = f"on {labels(TARGET)}"
#: Whether targets answer, of whom VgpuExporterDown speaks: a job of ours by name, who answered within the last day, or
#: a job in which whoever answers is ours. In one that scrapes all annotated pods others' failures are not ours.
UP: Final = (
    f'max by {labels(TARGET)} (up{{{WHERE},job=~".*vgpu-tenant-exporter.*"}}'
    f" or up{{{WHERE}}} and {_ON_TARGET} last_over_time({select(c.SNAPSHOT_TIMESTAMP, window='[1d]')})"
    f" or up{{{WHERE}}} and on {_JOB} {select(c.SNAPSHOT_TIMESTAMP)}"
    f" unless on {_JOB} (up{{{_CLUSTERS}}} == 1 unless {_ON_TARGET} {select(c.SNAPSHOT_TIMESTAMP)}))"
)
#: CPUs that each process takes.
PROCESSOR: Final = of_exporters("process_cpu_seconds_total", RATE)
#: Which node a target reports from: by the scrape's label, or by its GPUs.
_SAID: Final = select(c.SNAPSHOT_TIMESTAMP, WHERE + ',node!=""')
NODE_OF: Final = f"group by {labels((*TARGET, 'node'))} ({_SAID} or {select(c.DEVICE_UP, WHERE)})"
SNAPSHOT_AGE: Final = f"(time() - {each(c.SNAPSHOT_TIMESTAMP)})"
SOURCE_AGE: Final = f"(time() - {each(c.SOURCE_LAST_SUCCESS)})"

_BY_SOURCE: Final = labels((*TARGET, *c.SOURCE_READ_DURATION.label_names))


def _read(part: str, window: str) -> str:
    series = f"{c.SOURCE_READ_DURATION.name}_{part}{{{WHERE}}}{window}"
    return f"max by {_BY_SOURCE} (increase({series}))"


def read_time(window: str) -> str:
    """Return the mean seconds of a reading, by target and source."""
    return f"{_read('sum', window)} / ({_read('count', window)} > 0)"


READ_TIME: Final = read_time(_RANGE)

# ---------------------------------------------------------------- how it is scraped

_BUILDS: Final = labels((*CLUSTER, "role", "version", "revision", "python_version"))
BUILDS: Final = f"count by {_BUILDS} ({each(c.BUILD_INFO)})"
VERSIONS: Final = f"count(group by (version, revision) ({each(c.BUILD_INFO)}))"
_SOMEBODY: Final = f"count({each(c.SNAPSHOT_TIMESTAMP)})"


def _mislabelled(metric: Metric[Any]) -> str:
    return f'{metric.name}{{{_CLUSTERS},exported_namespace!=""}}'


#: Series whose namespace the scrape has replaced by the exporter's own, by job.
OVERWRITTEN: Final = (
    f"count by {labels((*CLUSTER, 'job'))} ({_mislabelled(c.CONTAINER_INFO)} or {_mislabelled(c.NAMESPACE_INFO)})"
)
OVERWRITTEN_SERIES: Final = f"sum({OVERWRITTEN}) or {_SOMEBODY} * 0"

_TARGETS_OF_GPU: Final = f"group by {labels((*TARGET, *DEVICE[1:]))} ({select(c.DEVICE_UP, _CLUSTERS)})"
#: How many targets report the same GPUs, by node.
TARGETS_OF_NODE: Final = f"max by {labels(NODE)} (count by {labels(DEVICE)} ({_TARGETS_OF_GPU}))"
TWICE_NODES: Final = f"sum({TARGETS_OF_NODE} > bool 1)"

# ---------------------------------------------------------------- what it stores

_SERIES: Final = f'{{__name__=~"vgpu_.+",{WHERE}}}'
#: The metrics with most series.
SERIES_BY_METRIC: Final = f"topk(40, count by (__name__) ({_SERIES}))"
