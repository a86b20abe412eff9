"""Figures of the fleet's dashboard, as PromQL: what the first screen counts, its sections list one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from alerts.promql import DEVICE, NAMESPACE, NODE, POD, RESOURCE, either, labels, select
from alerts.recording import TENANT
from dashboards.queries import chosen, gauge, rate, total
from exporter import catalogue as c

if TYPE_CHECKING:
    from exporter.catalogue import Metric

#: What the reader has chosen: of what belongs to a node, and of what belongs to none.
NODES: Final = chosen("cluster", "node")
CLUSTERS: Final = chosen("cluster")


def added(metric: Metric[Any], where: str = NODES) -> str:
    """Return a gauge, added up over all that the reader has chosen."""
    return f"sum({gauge(metric, where)})"


def share(part: str, whole: str) -> str:
    """Return a ratio; nothing where the whole is nothing."""
    return f"{part} / ({whole} > 0)"


def share_of_all(part: str, whole: str) -> str:
    """Return the ratio of two figures of GPUs, added up over those of which both are known.

    A GPU that is down has its grants and no memory, one whose exporter is blind has memory and no use: either would
    move the share of all others.
    """
    return share(f"sum({part} and {whole})", f"sum({whole} and {part})")


#: Whose a namespace is; of one that is gone by now, whose it was.
_WHOSE: Final = (
    f"({TENANT} or on {labels(NAMESPACE)} topk by {labels(NAMESPACE)} (1, last_over_time({TENANT}[$__range])))"
)


def by_tenant(of_namespaces: str, how: str = "sum", whose: str = TENANT) -> str:
    """Return a figure of namespaces as one of tenants: a recording rule says whose a namespace is."""
    joined = f"({of_namespaces}) * on {labels(NAMESPACE)} group_left (tenant) {whose}"
    return f"{how} by (cluster, tenant) ({joined})"


def account(of_namespaces: str) -> str:
    """Return what namespaces add up to over the range of time, by tenant; of namespaces that are gone, too."""
    return by_tenant(of_namespaces, whose=_WHOSE)


def count(series: str, proof: str) -> str:
    """Return how many series there are; 0 only where `proof`, one series without labels, says that there are none."""
    return f"count({series}) or {proof} * 0"


# ---------------------------------------------------------------- containers

_USED, _GRANTED = gauge(c.CONTAINER_MEMORY_USED, NODES), gauge(c.CONTAINER_MEMORY_GRANTED, NODES)
#: By pod, because a grant of which nothing says whose it is stands on the pod alone (`container=""`).
POD_USED: Final = total(POD, _USED)
POD_GRANTED: Final = total(POD, _GRANTED)
WASTED: Final = f"clamp_min({POD_GRANTED} - {POD_USED}, 0)"
CORES_GRANTED: Final = total(NAMESPACE, gauge(c.CONTAINER_CORE_GRANTED, NODES))
CORES_USED: Final = total(NAMESPACE, rate(c.CONTAINER_CORE_BUSY, NODES))

#: Processes outside HAMi's limits, by container: only where HAMi-core's region tells.
ESCAPED: Final = gauge(c.CONTAINER_PROCESSES_UNCOUNTED, NODES)
ESCAPES: Final = f"sum({ESCAPED} > bool 0)"
#: Memory held by containers that were granted none of that GPU.
UNGRANTED: Final = f"({_USED} > 0) and ({_GRANTED} == 0)"
UNGRANTED_USERS: Final = f"sum(({_USED} > bool 0) * ({_GRANTED} == bool 0))"

# ---------------------------------------------------------------- quotas


def _of_quotas(*metrics: Metric[Any]) -> str:
    """Return one figure of memory, cores and counts alike: no two of them share a resource."""
    return f"max by {labels(RESOURCE)} {either(*(select(metric, CLUSTERS) for metric in metrics))}"


QUOTA_GRANTED: Final = _of_quotas(c.NAMESPACE_GRANTED_MEMORY, c.NAMESPACE_GRANTED_CORE, c.NAMESPACE_GRANTED_DEVICES)
QUOTA: Final = _of_quotas(c.NAMESPACE_QUOTA_MEMORY, c.NAMESPACE_QUOTA_CORE, c.NAMESPACE_QUOTA_DEVICES)
QUOTA_SHARE: Final = share(QUOTA_GRANTED, QUOTA)


def _quota_role_reads(source: str) -> str:
    where = f'{CLUSTERS},role="quota",source="{source}"'
    return f"(sum({gauge(c.SOURCE_UP, where)}) > 0)"


OVER_QUOTA: Final = count(f"group by {labels(NAMESPACE)} ({QUOTA_GRANTED} > {QUOTA})", _quota_role_reads("quotas"))
WAITING: Final = f"sum({gauge(c.NAMESPACE_PENDING_PODS, CLUSTERS)}) or {_quota_role_reads('pods')} * 0"

# ---------------------------------------------------------------- nodes and GPUs

_GRANTED_ON: Final = gauge(c.NODE_GRANTED_CONTAINERS, CLUSTERS)
#: Containers with a grant on nodes from which no exporter reports.
UNWATCHED: Final = f"({_GRANTED_ON} > 0) unless on {labels(NODE)} {select(c.DEVICE_UP)}"
UNWATCHED_NODES: Final = count(UNWATCHED, f"count({_GRANTED_ON})")

MEMORY: Final = gauge(c.DEVICE_MEMORY_TOTAL, NODES)
_RESERVED: Final = f"({gauge(c.DEVICE_MEMORY_RESERVED, NODES)} or {MEMORY} * 0)"
#: Room for one more on each GPU: in truth, and to the scheduler.
FREE: Final = f"({MEMORY} - {gauge(c.DEVICE_MEMORY_USED, NODES)} - {_RESERVED})"
SCHEDULABLE: Final = f"({gauge(c.DEVICE_MEMORY_SCHEDULABLE, NODES)} - {gauge(c.DEVICE_MEMORY_GRANTED, NODES)})"
#: GPU-seconds per second; of MIG instances there are none.
BUSY: Final = rate(c.DEVICE_CORE_BUSY, NODES)
OBSERVED: Final = rate(c.DEVICE_OBSERVED, NODES)
_TELLING: Final = gauge(c.DEVICE_CORE_UTILIZATION, NODES)
#: How many GPUs tell what their cores do, and which share of them is granted.
GPUS: Final = f"count({_TELLING})"
_CORES_OF_GPUS: Final = gauge(c.DEVICE_CORE_GRANTED, NODES)
CORES_GRANTED_OF_GPUS: Final = share(f"sum({_CORES_OF_GPUS} and {_TELLING})", f"count({_TELLING} and {_CORES_OF_GPUS})")
#: Of GPUs whose core time can be attributed: GPU-seconds per second of containers, and the whole that they are part of.
ATTRIBUTED: Final = rate(c.DEVICE_CORE_ATTRIBUTED, NODES)
ATTRIBUTABLE: Final = f"sum({OBSERVED} and {ATTRIBUTED})"
#: Memory in use that belongs to no container, by GPU.
NOBODYS: Final = total(DEVICE, gauge(c.DEVICE_MEMORY_UNATTRIBUTED, NODES))
#: Its share of the GPU's memory from which an alert warns.
MUCH: Final = 0.05
