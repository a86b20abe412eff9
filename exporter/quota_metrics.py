"""A snapshot of the quota role, as metric families: what is unknown has no sample."""

from __future__ import annotations

from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

from prometheus_client.core import Metric as Family

from exporter import catalogue as c
from exporter import labels
from exporter.exposition import encode
from exporter.metrics import Families, ourselves

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.catalogue import Metric
    from exporter.quota_model import Measure, QuotaSnapshot, QuotaTotals

L = TypeVar("L", bound=NamedTuple)

ROLE: Final = "quota"

_HARD: Final[Mapping[Measure, Metric[labels.NamespaceResource]]] = {
    "memory": c.NAMESPACE_QUOTA_MEMORY,
    "core": c.NAMESPACE_QUOTA_CORE,
    "devices": c.NAMESPACE_QUOTA_DEVICES,
}
_GRANTED: Final[Mapping[Measure, Metric[labels.NamespaceResource]]] = {
    "memory": c.NAMESPACE_GRANTED_MEMORY,
    "core": c.NAMESPACE_GRANTED_CORE,
    "devices": c.NAMESPACE_GRANTED_DEVICES,
}
_QUOTA_HARD: Final[Mapping[Measure, Metric[labels.Quota]]] = {
    "memory": c.QUOTA_MEMORY,
    "core": c.QUOTA_CORE,
    "devices": c.QUOTA_DEVICES,
}
_QUOTA_GRANTED: Final[Mapping[Measure, Metric[labels.Quota]]] = {
    "memory": c.QUOTA_GRANTED_MEMORY,
    "core": c.QUOTA_GRANTED_CORE,
    "devices": c.QUOTA_GRANTED_DEVICES,
}
_VIEW: Final[Mapping[Measure, Metric[labels.NamespaceView]]] = {
    "memory": c.NAMESPACE_QUOTA_VIEW_MEMORY,
    "core": c.NAMESPACE_QUOTA_VIEW_CORE,
    "devices": c.NAMESPACE_QUOTA_VIEW_DEVICES,
}


class Sink(Protocol):
    """What takes samples: `Families`, or a `Text`."""

    def add(self, metric: Metric[L], sample: L, value: float) -> None:
        """Add one sample."""
        ...


class Text:
    """The totals in either text format; a series that is as it was last time is not spelt again.

    Of the thousands of series of a large cluster few change in a second. To spell them all takes 80 ms, in which every
    scrape waits for its turns.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._spelt: dict[tuple[str, NamedTuple], tuple[float, bytes]] = {}
        self._lines: dict[str, list[bytes]] = {}

    def of(self, totals: QuotaTotals) -> bytes:
        """Return these totals as text, to the byte as `exposition.encode` writes their families."""
        self._lines = {}
        publish(self, totals)
        if len(self._spelt) > 2 * sum(map(len, self._lines.values())):
            self._spelt = {}  # most are gone for good
        named = (self._lines[metric.name] for metric in c.METRICS if metric.name in self._lines)
        return b"".join(chain.from_iterable(named))

    def add(self, metric: Metric[L], sample: L, value: float) -> None:
        """Add one sample; `publish` calls it."""
        key = metric.name, sample
        spelt = self._spelt.get(key)
        if spelt is None or spelt[0] != value:
            spelt = self._spelt[key] = value, _line(metric, sample, value)
        lines = self._lines.get(metric.name)
        if lines is None:
            lines = self._lines[metric.name] = [_head(metric)]
        lines.append(spelt[1])


def _line(metric: Metric[L], sample: L, value: float) -> bytes:
    """Spell one sample as everything is spelt."""
    alone = Families()
    alone.add(metric, sample, value)
    return encode(alone, openmetrics=False).removeprefix(_head(metric))


@cache
def _head(metric: Metric[Any]) -> bytes:
    return encode([Family(metric.name, metric.help, metric.kind.value)], openmetrics=False)


def publish(out: Sink, totals: QuotaTotals) -> None:
    """Publish all of the quota role but what the exporter says of itself, which comes last in the catalogue.

    All are gauges with plain helps, so both text formats spell them alike. Two replicas give the same series.
    """
    _namespaces(out, totals)
    _quotas(out, totals)


def own_families(snapshot: QuotaSnapshot, build: labels.Build) -> Families:
    """Return the families of the exporter itself; `build` says what was built."""
    out = Families()
    ourselves(out, build, snapshot.statuses, snapshot.failures, snapshot.taken)
    return out


def _namespaces(out: Sink, totals: QuotaTotals) -> None:
    """Publish what each namespace may be granted, holds and waits for."""
    measures = totals.measures
    for (namespace, resource), hard in sorted(totals.hard.items()):
        out.add(_HARD[measures[resource]], labels.NamespaceResource(namespace, resource), hard)
    for (namespace, resource), quota in sorted(totals.binding.items()):
        out.add(c.NAMESPACE_QUOTA_INFO, labels.NamespaceQuota(namespace, resource, quota), 1)
    for (namespace, resource), granted in sorted(totals.granted.items()):
        out.add(_GRANTED[measures[resource]], labels.NamespaceResource(namespace, resource), granted)
    for (namespace, resource, view), amount in sorted(totals.views.items()):
        out.add(_VIEW[measures[resource]], labels.NamespaceView(namespace, resource, view), amount)
    for (namespace, reason), pods in sorted(totals.pending.items()):
        out.add(c.NAMESPACE_PENDING_PODS, labels.NamespaceReason(namespace, reason), pods)
    for namespace, tenant in sorted(totals.tenants.items()):
        out.add(c.NAMESPACE_INFO, labels.NamespaceTenant(namespace, tenant), 1)
    for node, containers in sorted(totals.containers.items()):
        out.add(c.NODE_GRANTED_CONTAINERS, labels.Node(node), containers)


def _quotas(out: Sink, totals: QuotaTotals) -> None:
    """Publish each quota by itself."""
    measures = totals.measures
    for (namespace, quota, resource), hard in sorted(totals.quota_hard.items()):
        out.add(_QUOTA_HARD[measures[resource]], labels.Quota(namespace, quota, resource), hard)
    for (namespace, quota, resource), granted in sorted(totals.quota_granted.items()):
        out.add(_QUOTA_GRANTED[measures[resource]], labels.Quota(namespace, quota, resource), granted)
