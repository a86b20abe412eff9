"""A snapshot of the quota role, as metric families: what is unknown has no sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporter import catalogue as c
from exporter import labels
from exporter.metrics import Families, ourselves

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.catalogue import Metric
    from exporter.quota_model import Measure, QuotaSnapshot, QuotaTotals

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


def families(totals: QuotaTotals) -> Families:
    """Return all families of the quota role but those of the exporter itself, which come last in the catalogue.

    All are gauges with plain helps, so both text formats spell them alike. Two replicas give the same series.
    """
    out = Families()
    _namespaces(out, totals)
    _quotas(out, totals)
    return out


def own_families(snapshot: QuotaSnapshot, build: labels.Build) -> Families:
    """Return the families of the exporter itself; `build` says what was built."""
    out = Families()
    ourselves(out, build, snapshot.statuses, snapshot.failures, snapshot.taken)
    return out


def _namespaces(out: Families, totals: QuotaTotals) -> None:
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


def _quotas(out: Families, totals: QuotaTotals) -> None:
    """Publish each quota by itself."""
    measures = totals.measures
    for (namespace, quota, resource), hard in sorted(totals.quota_hard.items()):
        out.add(_QUOTA_HARD[measures[resource]], labels.Quota(namespace, quota, resource), hard)
    for (namespace, quota, resource), granted in sorted(totals.quota_granted.items()):
        out.add(_QUOTA_GRANTED[measures[resource]], labels.Quota(namespace, quota, resource), granted)
