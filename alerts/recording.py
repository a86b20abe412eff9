"""Recording rules: what namespaces, tenants, nodes and the cluster were granted, use, may have, leave idle and waste.

Two groups. `vgpu-now` has figures of this moment. `vgpu-accounts` has those of the last hour (accounts.py), which are
taken from counters that outlive pods, so that pods that are gone are in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from alerts.promql import (
    CLUSTER,
    DEVICE,
    NAMESPACE,
    NODE,
    POD,
    RESOURCE,
    either,
    joined,
    labels,
    once,
    rate_once,
    select,
)
from alerts.rules import Recording
from exporter import catalogue as c

if TYPE_CHECKING:
    from exporter.catalogue import Metric

#: Namespace → tenant, one series each: what rules and dashboards join with.
TENANT: Final = "namespace:vgpu_tenant:info"
#: Many series of a namespace to its tenant.
BY_TENANT: Final = f"* on {labels(NAMESPACE)} group_left (tenant) {TENANT}"


def summed(by: tuple[str, ...], expression: str) -> str:
    """Return the sum over all labels but these."""
    return f"sum by {labels(by)} ({expression})"


def or_nothing(expression: str, like: str) -> str:
    """Return an expression, 0 where it has no series but `like` has."""
    return f"({expression} or {like} * 0)"


def tenants() -> Recording:
    """Who owns a namespace.

    What was said last serves on while nobody says anything (the quota role is away, the namespace was deleted) and
    accounts of the last hour need it; what the namespace's label said does so for a day before its pods are asked, so
    that nobody's bills move while the quota role is upgraded. One series for each namespace, whatever two replicas say
    while a label changes: two would break every join.
    """
    names, on = labels((*NAMESPACE, "tenant")), f"on {labels(NAMESPACE)}"
    of_label = select(c.NAMESPACE_INFO, window="[1d]")
    of_tenants = select(c.CONTAINER_INFO, 'tenant!=""')
    of_one = f"count by {labels(NAMESPACE)} (group by {names} ({select(c.CONTAINER_INFO)})) == 1"
    seen = f"group by {labels(NAMESPACE)} (last_over_time({select(c.NAMESPACE_MEMORY_GRANTED, window='[1h]')}))"
    expression = joined(
        f"topk by {labels(NAMESPACE)} (1,",
        f"  {once(c.NAMESPACE_INFO)}",
        f"  or {on} ({TENANT} and on {names} last_over_time({of_label}) and {on} {seen})",
        f"  or {on} (max by {names} ({of_tenants}) and {on} ({of_one}))",
        f"  or {on} ({TENANT} and {on} {seen})",
        f'  or {on} label_replace({seen}, "tenant", "$1", "namespace", "(.+)")',
        ")",
    )
    about = (
        "Always 1; the tenant of each namespace: by the namespace's label (for a day after the quota role last told "
        "it), else by its pods' if all say the same, else what was known last, else its own name. Works without the "
        "quota role."
    )
    return Recording(TENANT, expression, about, "none", ("namespace", "tenant"))


# ---------------------------------------------------------------- GPUs, nodes, the cluster


class _Figure(NamedTuple):
    """A figure: the middle and the end of the rule's name, how to get it, and what it is."""

    stem: str
    operation: str
    expr: str
    help: str
    unit: str

    def at(self, level: str, expr: str, names: tuple[str, ...], operation: str = "") -> Recording:
        """Return the rule of this figure at a level."""
        return Recording(_name(level, self.stem, operation or self.operation), expr, self.help, self.unit, names)


def _name(level: str, stem: str, operation: str) -> str:
    return f"{level}:vgpu_{stem}:{operation}"


def _gauge(metric: Metric[Any], about: str, unit: str) -> _Figure:
    """Return a figure that the exporter publishes of each GPU."""
    return _Figure(metric.name.removeprefix("vgpu_device_"), "sum", once(metric), about, unit)


_TOTAL, _USED, _RESERVED = (once(m) for m in (c.DEVICE_MEMORY_TOTAL, c.DEVICE_MEMORY_USED, c.DEVICE_MEMORY_RESERVED))

_PUBLISHED: Final = (
    _gauge(c.DEVICE_MEMORY_TOTAL, "Physical memory.", "bytes"),
    _gauge(c.DEVICE_MEMORY_SCHEDULABLE, "Memory that HAMi registered for scheduling.", "bytes"),
    _gauge(c.DEVICE_MEMORY_GRANTED, "Memory granted.", "bytes"),
    _gauge(c.DEVICE_MEMORY_USED, "Memory in use, by whomever.", "bytes"),
    _gauge(c.DEVICE_MEMORY_UNATTRIBUTED, "Memory in use that belongs to no container, all reasons.", "bytes"),
    _gauge(c.DEVICE_CORE_SCHEDULABLE, "Cores that HAMi registered for scheduling.", "GPUs"),
    _gauge(c.DEVICE_CORE_GRANTED, "Cores granted; cores that are not limited add nothing.", "GPUs"),
    _gauge(c.DEVICE_SLOTS, "vGPUs that HAMi will place at most.", "vGPUs"),
    _gauge(c.DEVICE_CONTAINERS, "Containers with a grant; one with several GPUs counts on each.", "containers"),
)
_WORKED_OUT: Final = (
    _Figure(
        "memory_free_bytes", "diff", f"{_TOTAL} - {_USED} - {or_nothing(_RESERVED, _TOTAL)}",
        "Room for one more, in truth: physical memory that nobody uses.", "bytes",
    ),
    _Figure(
        "memory_schedulable_free_bytes", "diff",
        f"{once(c.DEVICE_MEMORY_SCHEDULABLE)} - {once(c.DEVICE_MEMORY_GRANTED)}",
        "Room for one more, to the scheduler: schedulable - granted.", "bytes",
    ),
    _Figure(
        "core_schedulable_free_ratio", "diff", f"{once(c.DEVICE_CORE_SCHEDULABLE)} - {once(c.DEVICE_CORE_GRANTED)}",
        "Cores for one more: schedulable - granted.", "GPUs",
    ),
    _Figure(
        "slots_free", "diff", f"{once(c.DEVICE_SLOTS)} - {once(c.DEVICE_CONTAINERS)}",
        "vGPUs that HAMi can still place.", "vGPUs",
    ),
    _Figure("core_used_ratio", "rate5m", rate_once(c.DEVICE_CORE_BUSY), "SM time used, by whomever.", "GPUs"),
    _Figure(
        "core_unattributed_ratio", "rate5m", summed(DEVICE, rate_once(c.DEVICE_CORE_UNATTRIBUTED)),
        "SM time used that belongs to no container, all reasons.", "GPUs",
    ),
    _Figure(
        "core_idle_ratio", "rate5m", f"clamp_min({rate_once(c.DEVICE_OBSERVED)} - {rate_once(c.DEVICE_CORE_BUSY)}, 0)",
        "SM time that was observed and that nobody used.", "GPUs",
    ),
)  # fmt: skip


def _of_devices() -> list[Recording]:
    """What is worked out of each GPU, then all figures summed by node and over the cluster."""
    rules = [figure.at("device", figure.expr, DEVICE[1:]) for figure in _WORKED_OUT]
    for figure in _PUBLISHED:
        rules += _upwards(figure, figure.expr)
    for figure in _WORKED_OUT:
        rules += _upwards(figure, _name("device", figure.stem, figure.operation))
    return rules


def _upwards(figure: _Figure, expr: str) -> list[Recording]:
    operation = "sum" if figure.operation == "diff" else figure.operation
    of_nodes = _name("node", figure.stem, operation)
    return [
        figure.at("node", summed(NODE, expr), NODE[1:], operation),
        figure.at("cluster", summed(CLUSTER, of_nodes), (), operation),
    ]


def _largest_room() -> list[Recording]:
    """The room on the one GPU that has most: a vGPU cannot be spread over two."""
    rules = []
    for figure in (figure for figure in _WORKED_OUT if figure.operation == "diff"):
        largest = figure._replace(help=f"{figure.help} On the one GPU that has most.")
        of_devices, of_nodes = _name("device", figure.stem, "diff"), _name("node", figure.stem, "max")
        rules.append(largest.at("node", f"max by {labels(NODE)} ({of_devices})", NODE[1:], "max"))
        rules.append(largest.at("cluster", f"max by {labels(CLUSTER)} ({of_nodes})", (), "max"))
    return rules


# ---------------------------------------------------------------- namespaces and tenants


def _by_pod(expression: str) -> str:
    return summed(POD, expression)


_MEMORY_GRANTED, _MEMORY_USED = _by_pod(once(c.CONTAINER_MEMORY_GRANTED)), _by_pod(once(c.CONTAINER_MEMORY_USED))
_CORE_GRANTED, _CORE_USED = _by_pod(once(c.CONTAINER_CORE_GRANTED)), _by_pod(rate_once(c.CONTAINER_CORE_BUSY))
#: By pod, because a grant of which nothing says whose it is stands on the pod alone (`container=""`).
_OF_NAMESPACES: Final = (
    _Figure("memory_granted_bytes", "sum", _MEMORY_GRANTED, "Memory granted, on all GPUs.", "bytes"),
    _Figure("memory_used_bytes", "sum", _MEMORY_USED, "Memory used, on all GPUs.", "bytes"),
    _Figure(
        "memory_waste_bytes", "sum", f"clamp_min({_MEMORY_GRANTED} - {_MEMORY_USED}, 0)",
        "Memory granted and not used; a pod that uses more than it was granted saves nobody else's.", "bytes",
    ),
    _Figure("core_granted_ratio", "sum", _CORE_GRANTED, "Cores granted; those not limited add nothing.", "GPUs"),
    _Figure("core_used_ratio", "rate5m", _CORE_USED, "SM time used.", "GPUs"),
    _Figure(
        "core_waste_ratio", "rate5m", f"clamp_min({_CORE_GRANTED} - {_CORE_USED}, 0)",
        "Cores granted and not used, as above.", "GPUs",
    ),
)  # fmt: skip


def _of_namespaces() -> list[Recording]:
    rules = []
    for figure in _OF_NAMESPACES:
        name = _name("namespace", figure.stem, figure.operation)
        rules.append(figure.at("namespace", summed(NAMESPACE, figure.expr), ("namespace",)))
        rules.append(figure.at("tenant", summed((*CLUSTER, "tenant"), f"{name} {BY_TENANT}"), ("tenant",)))
    return rules


_QUOTA: Final = (c.NAMESPACE_QUOTA_MEMORY, c.NAMESPACE_QUOTA_CORE, c.NAMESPACE_QUOTA_DEVICES)
_QUOTA_GRANTED: Final = (c.NAMESPACE_GRANTED_MEMORY, c.NAMESPACE_GRANTED_CORE, c.NAMESPACE_GRANTED_DEVICES)


def _of_quotas() -> list[Recording]:
    """How full each namespace's quotas are, and what tenants may have; nothing without the quota role."""
    hard, granted = (
        f"max by {labels(RESOURCE)} {either(*map(select, metrics))}" for metrics in (_QUOTA, _QUOTA_GRANTED)
    )
    about = "Share of the quota that is granted; absent without a quota, or with one of nothing."
    rules = [Recording("namespace:vgpu_quota_granted:ratio", f"{granted} / ({hard} > 0)", about, "ratio", RESOURCE[1:])]
    units = ("bytes", "GPUs", "vGPUs")
    for metric, unit in zip(_QUOTA, units, strict=True):
        rules.append(_of_tenant_quota(metric, "What the tenant's namespaces that have a quota may be granted.", unit))
    for metric, unit in zip(_QUOTA_GRANTED, units, strict=True):
        rules.append(_of_tenant_quota(metric, "What the tenant's namespaces were granted, by resource.", unit))
    return rules


def _of_tenant_quota(metric: Metric[Any], about: str, unit: str) -> Recording:
    stem = metric.name.removeprefix("vgpu_namespace_").replace("granted_", "quota_granted_")
    by = (*CLUSTER, "tenant", "resource")
    return Recording(_name("tenant", stem, "sum"), summed(by, f"{once(metric)} {BY_TENANT}"), about, unit, by[1:])


def now() -> tuple[Recording, ...]:
    """The figures of this moment, in the order in which they build on each other."""
    return (tenants(), *_of_namespaces(), *_of_quotas(), *_of_devices(), *_largest_room())
