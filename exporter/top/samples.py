"""What is read for the table: the series of one moment, each once, without figures that cannot be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from prometheus_client.parser import text_string_to_metric_families

from exporter import catalogue as c
from exporter.errors import ParseError, shorten

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.catalogue import Metric

#: What names a series: the cluster ("" if nobody names it), then its own labels in the catalogue's order. So the first
#: three are the GPU's in all that is of a GPU.
Labels = tuple[str, ...]
Series = Mapping[Labels, float]
#: By metric name; a metric without series is absent.
Samples = Mapping[str, Series]
#: One sample as it was told: its labels, the name among them as `__name__`, and its value.
Told = tuple[Mapping[str, str], float]

CONTAINERS: Final[tuple[Metric[Any], ...]] = (
    c.CONTAINER_MEMORY_USED,
    c.CONTAINER_MEMORY_GRANTED,
    c.CONTAINER_MEMORY_UNCOUNTED,
    c.CONTAINER_CORE_GRANTED,
    c.CONTAINER_PROCESSES,
    c.CONTAINER_PROCESSES_UNCOUNTED,
    c.CONTAINER_HAMI_CORE_BLIND,
)
DEVICES: Final[tuple[Metric[Any], ...]] = (
    c.DEVICE_UP,
    c.DEVICE_MEMORY_TOTAL,
    c.DEVICE_MEMORY_USED,
    c.DEVICE_MEMORY_GRANTED,
    c.DEVICE_CORE_GRANTED,
)
#: What the table shows as it is, besides cores.
GAUGES: Final[tuple[Metric[Any], ...]] = (
    *DEVICES,
    c.DEVICE_INFO,
    c.DEVICE_MEMORY_UNATTRIBUTED,
    *CONTAINERS,
    c.CONTAINER_INFO,
    c.NAMESPACE_INFO,
)
#: What cores are worked out of.
BUSY: Final[tuple[Metric[Any], ...]] = (c.DEVICE_CORE_BUSY, c.DEVICE_CORE_UNATTRIBUTED, c.CONTAINER_CORE_BUSY)
COUNTERS: Final[tuple[Metric[Any], ...]] = (c.DEVICE_OBSERVED, *BUSY)
_READ: Final = {metric.name: metric for metric in (*GAUGES, *COUNTERS, c.SOURCE_UP, c.SNAPSHOT_TIMESTAMP)}


def parse(text: str) -> Samples:
    """Return what a node's /metrics says, in the text format; ParseError if it is not a node's."""
    try:
        samples = collect(_told(text))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ParseError(f"no metrics of vgpu-exporter but {shorten(text)}") from error
    if not any(name in samples for name in _READ):
        raise ParseError(f"no metrics of vgpu-exporter but {shorten(text)}")
    if ("", "node") not in samples.get(c.SNAPSHOT_TIMESTAMP.name, {}):
        raise ParseError("no metrics of a node: it is the quota role, or has not read anything yet")
    return samples


def _told(text: str) -> Iterator[Told]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield {**sample.labels, "__name__": sample.name}, sample.value


def collect(told: Iterable[Told]) -> Samples:
    """Return the samples that are read here; of several of one series the largest.

    Left out: a value that is no figure from 0 on, a series whose namespace a scrape has overwritten.
    """
    found: dict[str, dict[Labels, float]] = {}
    for labels, value in told:
        metric = _READ.get(labels.get("__name__", ""))
        if metric is None or labels.get("exported_namespace") or not 0 <= value < math.inf:
            continue
        series = found.setdefault(metric.name, {})
        key = tuple(labels.get(name, "") for name in ("cluster", *metric.label_names))
        series[key] = max(value, series.get(key, 0.0))
    return found


def of(samples: Samples, metric: Metric[Any]) -> Series:
    """Return a metric's series."""
    return samples.get(metric.name, {})
