"""The fleet's folded sections: the first screen's figures one by one, and what fewer readers ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from alerts.promql import DEVICE, NAMESPACE, NODE, labels
from dashboards import fields as f
from dashboards import fleet_figures as figures
from dashboards import links
from dashboards.fields import Column
from dashboards.fleet_figures import CLUSTERS, NODES, added, share
from dashboards.layout import Line, Section, line
from dashboards.panels import table, timeseries
from dashboards.queries import Query, gauge, increase, rate, total
from dashboards.xid_column import XID
from exporter import catalogue as c

if TYPE_CHECKING:
    from exporter.catalogue import Metric

#: Seconds per hour, in PromQL.
_HOURS: Final = "/ 3600"
_OF_NAMESPACE: Final = links.to(links.TENANT, "This namespace", namespace=links.cell("Namespace"))
_OF_POD: Final = links.to(links.WORKLOAD, "This pod", namespace=links.cell("Namespace"), pod=links.cell("Pod"))
_OF_GPU: Final = links.to(links.GPU, "This GPU", node=links.cell("Node"), device_uuid=links.cell("UUID"))
#: Of tables that list trouble: empty is also what they are where nothing is known.
_NOBODY: Final = "nobody, if the figure above says 0"

_CLUSTER: Final = Column(field="cluster", title="Cluster")
_NODE: Final = Column(field="node", title="Node")
_UUID: Final = Column(field="device_uuid", title="UUID", link=_OF_GPU)
_WHO: Final = (
    _CLUSTER,
    Column(field="namespace", title="Namespace", link=_OF_NAMESPACE),
    Column(field="pod", title="Pod", link=_OF_POD),
    Column(field="container", title="Container"),
    _NODE,
    _UUID,
)

# ---------------------------------------------------------------- what is wrong, one by one

_ESCAPES: Final = table(
    "Escapes",
    "Containers with processes that libvgpu does not know, and the memory these hold. "
    f"Sources: {c.CONTAINER_PROCESSES_UNCOUNTED.name}, {c.CONTAINER_MEMORY_UNCOUNTED.name}. Find these processes (a "
    "login by SSH, a static binary, CUDA_DISABLE_CONTROL), end them, and have them started with HAMi's environment.",
    [
        Query(f"{figures.ESCAPED} > 0", latest=True),
        Query(f"{gauge(c.CONTAINER_MEMORY_UNCOUNTED, NODES)} and ({figures.ESCAPED} > 0)", latest=True),
    ],
    [
        *_WHO, Column(field="A", title="Processes", unit=f.NUMBER, width=85),
        Column(field="B", title="Memory", unit=f.BYTES, width=95),
    ],
    by="Memory", empty=_NOBODY,
)  # fmt: skip

_UNGRANTED: Final = table(
    "Ungranted use",
    "Containers that hold memory of a GPU of which they were granted nothing. "
    f"Source: {c.CONTAINER_MEMORY_USED.name} where {c.CONTAINER_MEMORY_GRANTED.name} is 0. They see GPUs by "
    "NVIDIA_VISIBLE_DEVICES or as privileged containers: make them ask for a vGPU.",
    [Query(figures.UNGRANTED, latest=True)],
    [*_WHO, Column(field="A", title="Memory", unit=f.BYTES, width=95)],
    by="Memory", empty=_NOBODY,
)  # fmt: skip

_QUOTAS: Final = table(
    "Quotas",
    "How much of its strictest ResourceQuota each namespace was granted; a quota of nothing has no share. Sources: "
    f"{c.NAMESPACE_GRANTED_MEMORY.name} and {c.NAMESPACE_QUOTA_MEMORY.name}, and the same of cores and devices. Above "
    "100 % somebody lowered the quota or nobody enforces it; near it the next pod is refused.",
    [
        Query(figures.QUOTA_SHARE, latest=True),
        Query(f"{figures.QUOTA_GRANTED} > bool {figures.QUOTA}", latest=True),
        Query(gauge(c.NAMESPACE_QUOTA_INFO, CLUSTERS), latest=True),
    ],
    [
        _CLUSTER, Column(field="namespace", title="Namespace", link=_OF_NAMESPACE),
        Column(field="resource", title="Resource"), Column(field="quota", title="ResourceQuota"),
        Column(field="A", title="Granted", unit=f.RATIO, decimals=0, bar=True, steps=f.FULL),
        Column(field="B", title="Over", width=60, steps=f.PLAIN_STEPS,
               mappings=tuple(f.words({"1": ("over", f.BAD), "0": ("no", f.GOOD)}))),
    ],
    by="Granted",
)  # fmt: skip

_WAITING: Final = table(
    "Pods waiting",
    "Pods that ask for vGPUs and are not scheduled, by what the scheduler says. "
    f"Source: {c.NAMESPACE_PENDING_PODS.name} (quota role). quota: raise it, or give grants back; memory, cores, "
    "no_card: no GPU has room, see Room on each GPU; other: describe the pod.",
    [Query(f"{gauge(c.NAMESPACE_PENDING_PODS, CLUSTERS)} > 0", latest=True)],
    [
        _CLUSTER, Column(field="namespace", title="Namespace", link=_OF_NAMESPACE),
        Column(field="reason", title="Reason"), Column(field="A", title="Pods", unit=f.NUMBER),
    ],
    by="Pods", empty=_NOBODY,
)  # fmt: skip

# ---------------------------------------------------------------- nodes, and room for one more


def _of_nodes(of_devices: str) -> Query:
    """Return a figure of GPUs, added up by node."""
    return Query(total(NODE, of_devices), latest=True)


_NODES: Final = table(
    "Nodes",
    "GPUs and memory of each node: physical, granted, used, the largest free memory on one GPU, cores granted and used "
    f"(in GPUs) and power. Sources: {c.DEVICE_MEMORY_TOTAL.name}, _granted_bytes, _used_bytes; "
    f"{c.DEVICE_CORE_GRANTED.name}, {c.DEVICE_CORE_BUSY.name}, {c.DEVICE_POWER.name}. A node that is missing has no "
    "exporter, or a driver that does not answer.",
    [
        Query(f"count by {labels(NODE)} ({gauge(c.DEVICE_UP, NODES)} == 1)", latest=True),
        _of_nodes(figures.MEMORY),
        _of_nodes(gauge(c.DEVICE_MEMORY_GRANTED, NODES)),
        _of_nodes(gauge(c.DEVICE_MEMORY_USED, NODES)),
        Query(f"max by {labels(NODE)} ({figures.FREE})", latest=True),
        _of_nodes(gauge(c.DEVICE_CORE_GRANTED, NODES)),
        _of_nodes(figures.BUSY),
        _of_nodes(gauge(c.DEVICE_CONTAINERS, NODES)),
        _of_nodes(gauge(c.DEVICE_POWER, NODES)),
    ],
    [
        _CLUSTER,
        Column(field="node", title="Node", link=links.to(links.GPU, "GPUs of this node", node=links.cell("Node"))),
        Column(field="A", title="GPUs up", unit=f.NUMBER),
        Column(field="B", title="Physical", unit=f.BYTES), Column(field="C", title="Granted", unit=f.BYTES),
        Column(field="D", title="Used", unit=f.BYTES), Column(field="E", title="Largest free", unit=f.BYTES),
        Column(field="F", title="Cores granted", unit=f.NUMBER, decimals=2),
        Column(field="G", title="Cores used", unit=f.NUMBER, decimals=2),
        Column(field="H", title="Containers", unit=f.NUMBER), Column(field="I", title="Power", unit=f.WATTS),
    ],
    by="Used",
)  # fmt: skip

_CORES_LEFT: Final = f"{gauge(c.DEVICE_CORE_SCHEDULABLE, NODES)} - {gauge(c.DEVICE_CORE_GRANTED, NODES)}"
_SLOTS_LEFT: Final = f"{gauge(c.DEVICE_SLOTS, NODES)} - {gauge(c.DEVICE_CONTAINERS, NODES)}"

_ROOM: Final = table(
    "Room on each GPU",
    "Free memory in truth (physical - used - the driver's own), and what HAMi would still grant: memory, cores (in "
    f"GPUs) and vGPUs. Sources: {c.DEVICE_MEMORY_TOTAL.name}, {c.DEVICE_MEMORY_SCHEDULABLE.name}, "
    f"{c.DEVICE_CORE_SCHEDULABLE.name}, {c.DEVICE_SLOTS.name}; the latter are missing where HAMi registered nothing. A "
    "pod that finds no room on one GPU waits, however much there is in sum.",
    [
        Query(gauge(c.DEVICE_INFO, NODES, (*DEVICE, "device_index", "device_name", "sharing_mode")), latest=True),
        Query(figures.FREE, latest=True),
        Query(figures.SCHEDULABLE, latest=True),
        Query(_CORES_LEFT, latest=True),
        Query(_SLOTS_LEFT, latest=True),
    ],
    [
        _CLUSTER, _NODE, Column(field="device_index", title="GPU", width=50, link=_OF_GPU),
        Column(field="device_name", title="Model"), Column(field="sharing_mode", title="Sharing"),
        Column(field="B", title="Free in truth", unit=f.BYTES), Column(field="C", title="Free to HAMi", unit=f.BYTES),
        Column(field="D", title="Cores left", unit=f.NUMBER, decimals=2),
        Column(field="E", title="vGPUs left", unit=f.NUMBER), _UUID,
    ],
    by="Free in truth",
)  # fmt: skip

# ---------------------------------------------------------------- nobody's

_MEANINGS: Final = (
    "host: a process outside Kubernetes, end it; unknown_pod, unknown_process: see Exporter health"
)  # fmt: skip

_NOBODYS_MEMORY: Final = timeseries(
    "Unattributed memory, by reason",
    f"Memory in use that belongs to no known container. Source: {c.DEVICE_MEMORY_UNATTRIBUTED.name}. {_MEANINGS}; "
    "unlisted: managed memory of a tenant, or the driver's own part.",
    [Query(total(("reason",), gauge(c.DEVICE_MEMORY_UNATTRIBUTED, NODES)), "{{reason}}")], f.BYTES, stacked=True,
)  # fmt: skip

_NOBODYS_CORES: Final = timeseries(
    "Unattributed cores, by reason, in GPUs",
    f"GPUs' worth of time that belongs to no known container. Source: {c.DEVICE_CORE_UNATTRIBUTED.name}. {_MEANINGS}; "
    "mps: booked on an MPS server, whose clients cannot be told apart.",
    [Query(total(("reason",), rate(c.DEVICE_CORE_UNATTRIBUTED, NODES)), "{{reason}}")], f.NUMBER, stacked=True,
)  # fmt: skip

# ---------------------------------------------------------------- accounts


def _account(metric: Metric[Any], scale: str = "") -> Query:
    """Return what tenants add up to over the range of time, gone pods included."""
    return Query(f"{figures.account(total(NAMESPACE, increase(metric, NODES)))} {scale}".rstrip(), latest=True)


_ACCOUNTS: Final = table(
    "Tenants' accounts over this range of time",
    "GPU-hours computed and granted, GiB-hours of memory used and granted, and estimated energy, gone pods included. "
    f"Sources: {c.NAMESPACE_CORE_BUSY.name}, {c.NAMESPACE_CORE_GRANTED.name}, {c.NAMESPACE_MEMORY_USED.name}, "
    f"{c.NAMESPACE_MEMORY_GRANTED.name}, {c.NAMESPACE_ENERGY.name} (estimated). Granted far above used over a month is "
    "what to talk about; what is billed stands on the tenant's dashboard.",
    [
        _account(c.NAMESPACE_CORE_BUSY, _HOURS), _account(c.NAMESPACE_CORE_GRANTED, _HOURS),
        _account(c.NAMESPACE_MEMORY_USED, f"{_HOURS} / 2^30"), _account(c.NAMESPACE_MEMORY_GRANTED, f"{_HOURS} / 2^30"),
        _account(c.NAMESPACE_ENERGY),
    ],
    [
        _CLUSTER,
        Column(field="tenant", title="Tenant",
               link=links.to(links.TENANT, "This tenant", tenant=links.cell("Tenant"))),
        Column(field="A", title="GPU-hours used", unit=f.PLAIN, decimals=2),
        Column(field="B", title="GPU-hours granted", unit=f.PLAIN, decimals=2),
        Column(field="C", title="GiB-hours used", unit=f.PLAIN, decimals=1),
        Column(field="D", title="GiB-hours granted", unit=f.PLAIN, decimals=1),
        Column(field="E", title="Energy (estimated)", unit=f.JOULES),
    ],
    by="GPU-hours granted",
)  # fmt: skip

_IDLE: Final = f"clamp_min({figures.OBSERVED} - {figures.BUSY}, 0)"

_SHARES: Final = timeseries(
    "Where GPU time goes",
    "Shares of the observed time: of containers, of nobody known, and idle; they add up to 100 %. "
    f"Sources: {c.DEVICE_CORE_ATTRIBUTED.name}, {c.DEVICE_CORE_UNATTRIBUTED.name}, {c.DEVICE_OBSERVED.name}. Much idle "
    "time while cores are granted: look for grants to give back.",
    [
        Query(share(f"sum({figures.ATTRIBUTED})", figures.ATTRIBUTABLE), "containers"),
        Query(share(f"sum({rate(c.DEVICE_CORE_UNATTRIBUTED, NODES)})", figures.ATTRIBUTABLE), "unattributed"),
        Query(share(f"sum({_IDLE} and {figures.ATTRIBUTED})", figures.ATTRIBUTABLE), "idle"),
    ],
    f.RATIO, stacked=True, most=1,
    overrides=[f.colored("containers", f.USED), f.colored("unattributed", f.NOBODYS), f.colored("idle", f.IDLE)],
)  # fmt: skip

# ---------------------------------------------------------------- power and faults

_POWER: Final = timeseries(
    "Power",
    "Power of all GPUs, and the part that is estimated to be nobody's (idle power is). Sources: "
    f"{c.DEVICE_POWER.name}; {c.DEVICE_ENERGY_UNATTRIBUTED.name}, estimated. Much of nobody's is what idle GPUs cost.",
    [
        Query(added(c.DEVICE_POWER), "all"),
        Query(f"sum({rate(c.DEVICE_ENERGY_UNATTRIBUTED, NODES)})", "nobody's (estimated)"),
    ],
    f.WATTS, overrides=[f.colored("all", f.USED), f.colored("nobody's (estimated)", f.NOBODYS)],
)  # fmt: skip

_TEMPERATURE: Final = timeseries(
    "Temperature",
    f"The hottest GPU, and the mean of all (NVML). Source: {c.DEVICE_TEMPERATURE.name}. GPUs slow down above what "
    "their maker allows: see which one it is on the node's dashboard, and its fans.",
    [
        Query(f"max({gauge(c.DEVICE_TEMPERATURE, NODES)})", "hottest"),
        Query(f"avg({gauge(c.DEVICE_TEMPERATURE, NODES)})", "mean"),
    ],
    f.CELSIUS, least=None,
)  # fmt: skip

_XIDS: Final = table(
    "XID events over this range of time",
    "Faults that the driver reported, by code, and when the last one came. Sources: "
    f"{c.DEVICE_XID_ERRORS.name}, {c.DEVICE_XID_LAST.name}; no GPU has a row where the driver tells nothing. Codes 48, "
    "79, 95 and the like need a reset or a repair; 13, 31 and 43 are faults of programs.",
    [
        Query(f"{increase(c.DEVICE_XID_ERRORS, NODES)} > 0", latest=True),
        Query(f"({gauge(c.DEVICE_XID_LAST, NODES)} > time() - $__range_s) * 1000", latest=True),
    ],
    [
        _CLUSTER, _NODE, XID, Column(field="A", title="Events", unit=f.NUMBER, decimals=0, width=80),
        Column(field="B", title="Last", unit=f.AGO), _UUID,
    ],
    by="Last", empty="none, where the driver tells of XIDs (Exporter health)",
)  # fmt: skip

SECTIONS: Final = (
    Section("What is wrong, one by one", (line(8, _ESCAPES, _UNGRANTED), line(8, _QUOTAS, _WAITING))),
    Section("Nodes, and room for one more", (line(8, _NODES), line(8, _ROOM))),
    Section("Nobody's: what belongs to no container", (line(8, _NOBODYS_MEMORY, _NOBODYS_CORES),)),
    Section("Accounts", (Line(8, ((_ACCOUNTS, 14), (_SHARES, 10))),)),
    Section("Power and faults", (line(8, _POWER, _TEMPERATURE, _XIDS),)),
)
