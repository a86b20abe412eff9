"""Fleet: is anything wrong, where, and who has what. For the owners of the cluster; the door to all others."""

from __future__ import annotations

from typing import Final

from alerts.promql import DEVICE, NODE, labels
from alerts.recording import TENANT
from dashboards import fields as f
from dashboards import fleet_figures as figures
from dashboards import links, variables
from dashboards.board import Board, firing
from dashboards.fields import by_name
from dashboards.fleet_figures import CLUSTERS, NODES, added, share, share_of_all
from dashboards.fleet_sections import SECTIONS
from dashboards.fleet_tables import CARDS, FIRING, TENANTS
from dashboards.layout import Line, line
from dashboards.panels import stat, timeseries
from dashboards.queries import Query, gauge, rate
from exporter import catalogue as c

# ---------------------------------------------------------------- is anything wrong

_SEVERITIES: Final = {"critical": f.ANY_IS_BAD, "warning": f.ANY_IS_WARNING, "info": f.PLAIN_STEPS}


def _of_severity(severity: str) -> Query:
    """Return how many alerts fire; 0 where our rules are evaluated and none does."""
    held = firing(f'{CLUSTERS},severity="{severity}"')
    return Query(figures.count(held, f"count({TENANT}{{{CLUSTERS}}})"), severity, latest=True)


_ALERTS: Final = stat(
    "Firing alerts",
    "Alerts of this exporter that fire now, by severity; 0 is said only where its recording rules are evaluated. "
    "Source: ALERTS, by the rules in alerts/generated. Begin with critical ones; the list is below, and each has a "
    "page in the runbook.",
    [_of_severity(severity) for severity in _SEVERITIES], f.NUMBER,
    overrides=[by_name(name, thresholds=f.thresholds(steps)) for name, steps in _SEVERITIES.items()],
)  # fmt: skip

_ESCAPES: Final = stat(
    "Escapes",
    "Containers with GPU processes that libvgpu does not know: no limit holds for them. "
    f"Source: {c.CONTAINER_PROCESSES_UNCOUNTED.name}; no data where no HAMi-core region tells. Who they are stands "
    "in the section What is wrong; end those processes.",
    [Query(figures.ESCAPES, latest=True)], f.NUMBER, steps=f.ANY_IS_BAD,
)  # fmt: skip

_UNGRANTED: Final = stat(
    "Ungranted use",
    "Containers that hold memory of a GPU of which they were granted nothing. "
    f"Source: {c.CONTAINER_MEMORY_USED.name} where {c.CONTAINER_MEMORY_GRANTED.name} is 0. Who they are stands in the "
    "section What is wrong; make them ask for a vGPU.",
    [Query(figures.UNGRANTED_USERS, latest=True)], f.NUMBER, steps=f.ANY_IS_BAD,
)  # fmt: skip

_OVER_QUOTA: Final = stat(
    "Namespaces over quota",
    "Namespaces that were granted more memory, cores or vGPUs than their strictest ResourceQuota allows. "
    f"Source: {c.NAMESPACE_GRANTED_MEMORY.name} against {c.NAMESPACE_QUOTA_MEMORY.name} and their like; no data "
    "without the quota role. Either the quota was lowered under running pods, or nobody enforces it.",
    [Query(figures.OVER_QUOTA, latest=True)], f.NUMBER, steps=f.ANY_IS_BAD,
)  # fmt: skip

_WAITING: Final = stat(
    "Pods waiting",
    "Pods that ask for vGPUs and are not scheduled, for whatever reason. "
    f"Source: {c.NAMESPACE_PENDING_PODS.name}; no data without the quota role. The section What is wrong says why they "
    "wait: raise a quota, or free or add GPUs.",
    [Query(figures.WAITING, latest=True)], f.NUMBER, steps=f.ANY_IS_WARNING,
)  # fmt: skip

_DOWN: Final = stat(
    "GPUs down",
    "GPUs for which the driver no longer answers. "
    f"Source: {c.DEVICE_UP.name}. The table of GPUs names them; look for XID events, drain the node, reset the GPU.",
    [Query(f"sum({gauge(c.DEVICE_UP, NODES)} == bool 0)", latest=True)], f.NUMBER, steps=f.ANY_IS_BAD,
)  # fmt: skip

_UNWATCHED: Final = stat(
    "Nodes unwatched",
    "Nodes with granted vGPUs from which no exporter reports; the choice of nodes above does not matter. "
    f"Source: {c.NODE_GRANTED_CONTAINERS.name} of the quota role, without {c.DEVICE_UP.name}. What happens there is "
    "missing in all figures: see tolerations and node selector of the DaemonSet.",
    [Query(figures.UNWATCHED_NODES, latest=True)], f.NUMBER, steps=f.ANY_IS_BAD,
    links=[links.to(links.HEALTH, "Exporter health")],
)  # fmt: skip

_NOBODYS: Final = stat(
    "Unattributed memory",
    "GPU memory in use that belongs to no known container, as a share of that of the GPUs that tell. "
    f"Source: {c.DEVICE_MEMORY_UNATTRIBUTED.name} by {c.DEVICE_MEMORY_TOTAL.name}; no data while nothing can be "
    "attributed. A few hundred MiB a GPU are the driver's own; for more, see the section Nobody's.",
    [Query(share_of_all(figures.NOBODYS, figures.MEMORY))], f.RATIO, decimals=1,
    steps=((None, f.GOOD), (figures.MUCH, f.WARN)),
)  # fmt: skip

# ---------------------------------------------------------------- how much there is, and how full

_WHOLE: Final = gauge(c.DEVICE_INFO, NODES + ',parent_uuid=""', DEVICE)

_GPUS: Final = stat(
    "GPUs and nodes",
    f"GPUs that an exporter sees, and their nodes; MIG instances do not count. Source: {c.DEVICE_INFO.name}. Fewer "
    "than you own: see Nodes unwatched, and whether a driver fails (Exporter health).",
    [
        Query(f"count({_WHOLE})", "GPUs", latest=True),
        Query(f"count(group by {labels(NODE)} ({_WHOLE}))", "nodes", latest=True),
    ],
    f.NUMBER,
)  # fmt: skip

_MEMORY_SHARES: Final = stat(
    "Memory granted, used",
    "Memory granted, and memory in use by whomever, as shares of the physical memory. Sources: "
    f"{c.DEVICE_MEMORY_GRANTED.name}, {c.DEVICE_MEMORY_USED.name}, {c.DEVICE_MEMORY_TOTAL.name}. Granted above 100 % "
    "is HAMi's memory scaling; used near 100 % means that allocations fail soon.",
    [
        Query(share_of_all(gauge(c.DEVICE_MEMORY_GRANTED, NODES), figures.MEMORY), "granted"),
        Query(share_of_all(gauge(c.DEVICE_MEMORY_USED, NODES), figures.MEMORY), "used"),
    ],
    f.RATIO, decimals=0,
)  # fmt: skip

_WASTE: Final = stat(
    "Granted, not used",
    "Memory that pods were granted and do not use; a pod beyond its grant saves nobody else's. "
    f"Source: {c.CONTAINER_MEMORY_GRANTED.name} - {c.CONTAINER_MEMORY_USED.name}. The table of tenants says whose; a "
    "little is headroom, much over days is money.",
    [Query(f"sum({figures.WASTED})")], f.BYTES,
)  # fmt: skip

_ROOM: Final = stat(
    "Room for one more",
    "The largest free memory on any one GPU: in truth (nobody uses it), and to HAMi's scheduler (nobody was granted "
    f"it). Sources: {c.DEVICE_MEMORY_TOTAL.name}, _used_bytes, _reserved_bytes; {c.DEVICE_MEMORY_SCHEDULABLE.name}, "
    "_granted_bytes. A new vGPU needs both; scheduler above truth: the next pod may run out of memory.",
    [Query(f"max({figures.FREE})", "in truth"), Query(f"max({figures.SCHEDULABLE})", "to HAMi")], f.BYTES,
)  # fmt: skip

_CORE_SHARES: Final = stat(
    "Cores granted, busy",
    "Cores granted and time in which kernels ran, as shares of the GPUs; what is not limited counts as "
    f"granted nothing. Sources: {c.DEVICE_CORE_GRANTED.name}, {c.DEVICE_CORE_BUSY.name}, {c.DEVICE_OBSERVED.name}. "
    "Much granted and little busy is waste; busy near 100 % slows everybody.",
    [
        Query(figures.CORES_GRANTED_OF_GPUS, "granted"),
        Query(share(f"sum({figures.BUSY})", f"sum({figures.OBSERVED})"), "busy"),
    ],
    f.RATIO, decimals=0,
)  # fmt: skip

_POWER: Final = stat(
    "Power",
    f"Power that all GPUs draw now (NVML). Source: {c.DEVICE_POWER.name}. Beyond what the racks allow: see Power and "
    "faults below.",
    [Query(added(c.DEVICE_POWER))], f.WATTS,
)  # fmt: skip

# ---------------------------------------------------------------- over time

_MEMORY: Final = timeseries(
    "Memory",
    "Memory held by containers and by nobody known, stacked, with what was granted and what there is as dashed lines. "
    f"Sources: {c.DEVICE_MEMORY_ATTRIBUTED.name}, _unattributed_bytes, _granted_bytes, _total_bytes. Granted above "
    "physical is overcommitment; use far below granted is waste.",
    [
        Query(added(c.DEVICE_MEMORY_ATTRIBUTED), "used by containers"),
        Query(f"sum({figures.NOBODYS})", "unattributed"),
        Query(added(c.DEVICE_MEMORY_GRANTED), "granted"),
        Query(f"sum({figures.MEMORY})", "physical"),
    ],
    f.BYTES, stacked=True,
    overrides=[
        f.colored("used by containers", f.USED), f.colored("unattributed", f.NOBODYS),
        f.limit_line("granted", f.GRANTED), f.limit_line("physical", f.PHYSICAL),
    ],
)  # fmt: skip

_CORES: Final = timeseries(
    "Cores, in GPUs",
    "GPUs' worth of time in which kernels ran, of containers and of nobody known, stacked; cores granted and GPUs that "
    f"tell as dashed lines. Sources: {c.DEVICE_CORE_ATTRIBUTED.name}, {c.DEVICE_CORE_UNATTRIBUTED.name}, "
    f"{c.DEVICE_CORE_GRANTED.name}, {c.DEVICE_CORE_UTILIZATION.name} (counted). Use far below granted is waste; at the "
    "top, GPUs are short.",
    [
        Query(f"sum({rate(c.DEVICE_CORE_ATTRIBUTED, NODES)})", "used by containers"),
        Query(f"sum({rate(c.DEVICE_CORE_UNATTRIBUTED, NODES)})", "unattributed"),
        Query(added(c.DEVICE_CORE_GRANTED), "granted"),
        Query(figures.GPUS, "GPUs"),
    ],
    f.NUMBER, stacked=True,
    overrides=[
        f.colored("used by containers", f.USED), f.colored("unattributed", f.NOBODYS),
        f.limit_line("granted", f.GRANTED), f.limit_line("GPUs", f.PHYSICAL),
    ],
)  # fmt: skip

FLEET: Final = Board(
    uid=links.FLEET,
    title="vGPU / Fleet",
    about=(
        "All GPUs of the clusters: is anything wrong (first row), how much is there and how full is it (second row), "
        "who has it and where. Names in tables open the dashboard of that tenant, GPU or pod."
    ),
    variables=(variables.datasource(), variables.cluster(), variables.node()),
    first=(
        Line(4, (
            (_ALERTS, 5), (_ESCAPES, 2), (_UNGRANTED, 3), (_OVER_QUOTA, 4), (_WAITING, 2), (_DOWN, 2), (_UNWATCHED, 3),
            (_NOBODYS, 3),
        )),
        line(4, _GPUS, _MEMORY_SHARES, _WASTE, _ROOM, _CORE_SHARES, _POWER),
        Line(7, ((_MEMORY, 7), (_CORES, 7), (FIRING, 10))),
        line(7, TENANTS, CARDS),
    ),
    sections=SECTIONS,
    alerts=CLUSTERS,
)  # fmt: skip
