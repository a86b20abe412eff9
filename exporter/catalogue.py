"""Every metric this project publishes, written once: stem, unit, kind, labels and help.

The name is derived (`vgpu_` + stem + unit + `_total`), the labels are a NamedTuple, so a sample is
an instance of it and a forgotten label is a type error. `metrics.py`, the README's table,
`docs/metrics.md`, the dashboards and the alerts all read this file and nothing else about names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Generic, NamedTuple, TypeVar

from exporter.labels import (
    Build,
    Device,
    DeviceCapability,
    DeviceInfo,
    DeviceReason,
    DeviceXid,
    NamespaceOnDevice,
    NamespaceQuota,
    NamespaceReason,
    NamespaceResource,
    NamespaceTenant,
    NamespaceView,
    Node,
    OnDevice,
    OnDeviceInfo,
    PodLabels,
    Quota,
    Role,
    RoleReason,
    RoleSource,
    RoleSourceReason,
)

PREFIX: Final = "vgpu_"


class Unit(Enum):
    """A base unit: its suffix in the name, and Grafana's word for it."""

    NONE = ("", "short")
    BYTES = ("bytes", "bytes")
    BYTE_SECONDS = ("byte_seconds", "none")
    SECONDS = ("seconds", "s")
    TIMESTAMP = ("timestamp_seconds", "dateTimeAsIso")
    RATIO = ("ratio", "percentunit")
    WATTS = ("watts", "watt")
    JOULES = ("joules", "joule")
    CELSIUS = ("celsius", "celsius")


class Kind(Enum):
    """A Prometheus type."""

    GAUGE = "gauge"
    COUNTER = "counter"
    SUMMARY = "summary"


L = TypeVar("L", bound=NamedTuple)


@dataclass(frozen=True, slots=True)
class Metric(Generic[L]):
    """One metric family."""

    stem: str
    unit: Unit
    labels: type[L]
    help: str
    kind: Kind = Kind.GAUGE
    #: The name as PromQL spells it, `_total` included.
    name: str = field(init=False)

    def __post_init__(self) -> None:
        parts = (PREFIX + self.stem, self.unit.value[0], "total" if self.kind is Kind.COUNTER else "")
        object.__setattr__(self, "name", "_".join(part for part in parts if part))

    @property
    def label_names(self) -> tuple[str, ...]:
        """The label names, in the order of the NamedTuple."""
        return self.labels._fields


_C, _S = Kind.COUNTER, Kind.SUMMARY

# ------------------------------------------------------------------------------ a GPU

# A table: one metric, one to five lines.
# fmt: off
DEVICE_INFO = Metric(
    "device_info", Unit.NONE, DeviceInfo,
    "Always 1; the GPU's index, model, driver and HAMi's sharing mode. parent_uuid is the GPU of a MIG instance, "
    "else empty.",
)
DEVICE_UP = Metric(
    "device_up", Unit.NONE, Device,
    "1 if the driver gave a fresh reading of this GPU, 0 if it no longer answers for it.",
)
DEVICE_CAPABILITY_INFO = Metric(
    "device_capability_info", Unit.NONE, DeviceCapability,
    "Always 1; what this GPU, driver or permission can tell, and why not where it cannot.",
)
DEVICE_MEMORY_TOTAL = Metric("device_memory_total", Unit.BYTES, Device, "Physical memory of the GPU (NVML).")
DEVICE_MEMORY_RESERVED = Metric(
    "device_memory_reserved", Unit.BYTES, Device,
    "Memory the driver keeps for itself (NVML v2); absent with the older call, where used contains it.",
)
DEVICE_MEMORY_USED = Metric("device_memory_used", Unit.BYTES, Device, "Memory in use on the GPU, by whomever (NVML).")
DEVICE_MEMORY_ATTRIBUTED = Metric(
    "device_memory_attributed", Unit.BYTES, Device,
    "Of the memory in use, what processes of known containers hold: the sum over containers.",
)
DEVICE_MEMORY_UNATTRIBUTED = Metric(
    "device_memory_unattributed", Unit.BYTES, DeviceReason,
    "Memory in use that belongs to no known container, by reason: host (process outside Kubernetes), unknown_pod, "
    "unknown_process (gone or unreadable), unlisted (under no process: managed memory, the driver's own part).",
)
DEVICE_MEMORY_OVERCOUNTED = Metric(
    "device_memory_overcounted", Unit.BYTES, Device,
    "What the processes add up to beyond the GPU's own figure: two readings a moment apart; normally 0.",
)
DEVICE_MEMORY_GRANTED = Metric(
    "device_memory_granted", Unit.BYTES, Device,
    "Memory granted on this GPU: the sum of what each pod holds.",
)
DEVICE_CORE_GRANTED = Metric(
    "device_core_granted", Unit.RATIO, Device,
    "Cores granted on this GPU (1 = the whole GPU; may exceed 1): the sum of what each pod holds.",
)
DEVICE_MEMORY_SCHEDULABLE = Metric(
    "device_memory_schedulable", Unit.BYTES, Device,
    "Memory HAMi registered for scheduling, after its memory scaling; absent if unknown.",
)
DEVICE_CORE_SCHEDULABLE = Metric(
    "device_core_schedulable", Unit.RATIO, Device,
    "Cores HAMi registered for scheduling (may exceed 1 with core scaling); absent if unknown.",
)
DEVICE_SLOTS = Metric(
    "device_slots", Unit.NONE, Device,
    "How many vGPUs HAMi will place on this GPU at most; absent if unknown.",
)
DEVICE_CONTAINERS = Metric("device_containers", Unit.NONE, Device, "Containers that hold a grant on this GPU.")
DEVICE_CORE_UTILIZATION = Metric(
    "device_core_utilization", Unit.RATIO, Device,
    "The driver's own busy share of this GPU, mean of the last 60 s.",
)
DEVICE_OBSERVED = Metric(
    "device_observed", Unit.SECONDS, Device,
    "Seconds for which core time was really read: the denominator of all shares.", _C,
)
DEVICE_CORE_BUSY = Metric("device_core_busy", Unit.SECONDS, Device, "GPU-seconds of SM time, whoever used it.", _C)
DEVICE_CORE_ATTRIBUTED = Metric(
    "device_core_attributed", Unit.SECONDS, Device,
    "GPU-seconds of SM time booked on containers, gone ones included.", _C,
)
DEVICE_CORE_UNATTRIBUTED = Metric(
    "device_core_unattributed", Unit.SECONDS, DeviceReason,
    "GPU-seconds of SM time that belong to no known container, by reason: host, unknown_pod, unknown_process, mps "
    "(booked by the driver on an MPS server, whose clients cannot be told apart).", _C,
)
DEVICE_POWER = Metric("device_power", Unit.WATTS, Device, "Power draw (NVML).")
DEVICE_TEMPERATURE = Metric("device_temperature", Unit.CELSIUS, Device, "GPU temperature (NVML).")
DEVICE_ENERGY = Metric("device_energy", Unit.JOULES, Device, "Energy used since the exporter started (NVML).", _C)
DEVICE_ENERGY_UNATTRIBUTED = Metric(
    "device_energy_unattributed", Unit.JOULES, Device,
    "Energy that is estimated to belong to no container, idle energy included.", _C,
)
DEVICE_XID_ERRORS = Metric(
    "device_xid_errors", Unit.NONE, DeviceXid,
    "XID events (faults that the driver reports) since the exporter started, by code: known codes from 0, others once "
    "they happen; kept even while the GPU is down.", _C,
)
DEVICE_XID_LAST = Metric(
    "device_xid_last", Unit.TIMESTAMP, DeviceXid,
    "When the last XID event of this code came, absent if none did; kept even while the GPU is down.",
)

# ------------------------------------------------------------------------------ a namespace on a GPU

NAMESPACE_CORE_BUSY = Metric(
    "namespace_core_busy", Unit.SECONDS, NamespaceOnDevice,
    "GPU-seconds of SM time of the namespace's containers, gone ones included; absent while use cannot be attributed.",
    _C,
)
NAMESPACE_MEMORY_USED = Metric(
    "namespace_memory_used", Unit.BYTE_SECONDS, NamespaceOnDevice,
    "Byte-seconds of memory held by the namespace's containers, gone ones included; absent while use cannot be "
    "attributed.", _C,
)
NAMESPACE_MEMORY_GRANTED = Metric(
    "namespace_memory_granted", Unit.BYTE_SECONDS, NamespaceOnDevice,
    "Byte-seconds of memory granted to the namespace's containers, gone ones included.", _C,
)
NAMESPACE_CORE_GRANTED = Metric(
    "namespace_core_granted", Unit.SECONDS, NamespaceOnDevice,
    "GPU-seconds of cores granted to the namespace's containers (cores that are not limited add nothing), gone "
    "ones included.", _C,
)
NAMESPACE_ENERGY = Metric(
    "namespace_energy", Unit.JOULES, NamespaceOnDevice,
    "Estimated energy of the namespace's containers, gone ones included; absent while use cannot be attributed.", _C,
)

# ------------------------------------------------------------------------------ a container on a GPU

CONTAINER_MEMORY_USED = Metric(
    "container_memory_used", Unit.BYTES, OnDevice,
    "GPU memory that the driver lists under the container's processes.",
)
CONTAINER_MEMORY_GRANTED = Metric(
    "container_memory_granted", Unit.BYTES, OnDevice,
    "GPU memory the scheduler promised, held against the request: 0 = it asked for none; absent = it asked, but "
    "nothing says how much.",
)
CONTAINER_MEMORY_LIMIT = Metric(
    "container_memory_limit", Unit.BYTES, OnDevice,
    "Memory limit that libvgpu enforces; absent without a HAMi-core region.",
)
CONTAINER_MEMORY_COUNTED = Metric(
    "container_memory_counted", Unit.BYTES, OnDevice,
    "Memory that libvgpu counted for itself; absent without a HAMi-core region.",
)
CONTAINER_MEMORY_UNCOUNTED = Metric(
    "container_memory_uncounted", Unit.BYTES, OnDevice,
    "Driver memory of the container's processes that libvgpu does not know: an escape; absent where nothing tells.",
)
CONTAINER_CORE_GRANTED = Metric(
    "container_core_granted", Unit.RATIO, OnDevice,
    "Share of the GPU's cores that the scheduler promised; absent where cores are not limited.",
)
CONTAINER_CORE_LIMIT = Metric(
    "container_core_limit", Unit.RATIO, OnDevice,
    "Core limit that libvgpu enforces; absent without a HAMi-core region.",
)
CONTAINER_CORE_UTILIZATION = Metric(
    "container_core_utilization", Unit.RATIO, OnDevice,
    "Share of the GPU's time in which the container's kernels ran: mean over the observed part of the last 60 s; "
    "absent until 15 s are seen. For shares over other spans use rate() of the busy seconds.",
)
CONTAINER_CORE_BUSY = Metric(
    "container_core_busy", Unit.SECONDS, OnDevice,
    "GPU-seconds of SM time of the container.", _C,
)
CONTAINER_ENERGY = Metric(
    "container_energy", Unit.JOULES, OnDevice,
    "Energy of the container, estimated: the GPU's energy times the container's share of its time.", _C,
)
CONTAINER_PROCESSES = Metric("container_processes", Unit.NONE, OnDevice, "GPU processes of the container now.")
CONTAINER_PROCESSES_UNCOUNTED = Metric(
    "container_processes_uncounted", Unit.NONE, OnDevice,
    "GPU processes of the container now that libvgpu does not know.",
)
CONTAINER_HAMI_CORE_BLIND = Metric(
    "container_hami_core_blind", Unit.NONE, OnDevice,
    "1 if none of the host PIDs that libvgpu believes in is one of the container's processes while it has some.",
)
CONTAINER_LAST_ACTIVE = Metric(
    "container_last_active", Unit.TIMESTAMP, OnDevice,
    "When the driver last saw SM time of the container; if never, when the exporter first saw it.",
)
CONTAINER_LAST_KERNEL = Metric(
    "container_last_kernel", Unit.TIMESTAMP, OnDevice,
    "libvgpu's last kernel time, also set when a process opens its region: no proof of a kernel.",
)
CONTAINER_INFO = Metric(
    "container_info", Unit.NONE, OnDeviceInfo,
    "Always 1; the workload that owns the pod and where the grant comes from (hami, none, device_plugin, dra, "
    "pending, unreadable).",
)
POD_LABELS = Metric(
    "pod_labels", Unit.NONE, PodLabels,
    "Always 1; the pod's labels that are on the allow-list, as label_<name>.",
)

# ------------------------------------------------------------------------------ quotas (quota role)

NAMESPACE_QUOTA_MEMORY = Metric(
    "namespace_quota_memory", Unit.BYTES, NamespaceResource,
    "Memory the namespace may be granted: the strictest unscoped ResourceQuota; absent = none, 0 = nothing "
    "allowed.",
)
NAMESPACE_QUOTA_CORE = Metric(
    "namespace_quota_core", Unit.RATIO, NamespaceResource,
    "Cores the namespace may be granted (1 = a whole GPU; may exceed 1): the strictest unscoped ResourceQuota.",
)
NAMESPACE_QUOTA_DEVICES = Metric(
    "namespace_quota_devices", Unit.NONE, NamespaceResource,
    "vGPUs the namespace may be granted: the strictest unscoped ResourceQuota.",
)
NAMESPACE_QUOTA_INFO = Metric(
    "namespace_quota_info", Unit.NONE, NamespaceQuota,
    "Always 1; which ResourceQuota is the strictest.",
)
NAMESPACE_GRANTED_MEMORY = Metric(
    "namespace_granted_memory", Unit.BYTES, NamespaceResource,
    "Memory granted to pods of the namespace that are not finished, every GPU counted.",
)
NAMESPACE_GRANTED_CORE = Metric(
    "namespace_granted_core", Unit.RATIO, NamespaceResource,
    "Cores granted to pods of the namespace that are not finished (may exceed 1).",
)
NAMESPACE_GRANTED_DEVICES = Metric(
    "namespace_granted_devices", Unit.NONE, NamespaceResource,
    "vGPUs granted to pods of the namespace that are not finished.",
)
QUOTA_MEMORY = Metric("quota_memory", Unit.BYTES, Quota, "Memory this one ResourceQuota allows.")
QUOTA_CORE = Metric(
    "quota_core", Unit.RATIO, Quota,
    "Cores this one ResourceQuota allows (may exceed 1).",
)
QUOTA_DEVICES = Metric("quota_devices", Unit.NONE, Quota, "vGPUs this one ResourceQuota allows.")
QUOTA_GRANTED_MEMORY = Metric(
    "quota_granted_memory", Unit.BYTES, Quota,
    "Memory granted to the pods that the quota's scopes select.",
)
QUOTA_GRANTED_CORE = Metric(
    "quota_granted_core", Unit.RATIO, Quota,
    "Cores granted to the pods that the quota's scopes select (may exceed 1).",
)
QUOTA_GRANTED_DEVICES = Metric(
    "quota_granted_devices", Unit.NONE, Quota,
    "vGPUs granted to the pods that the quota's scopes select.",
)
NAMESPACE_QUOTA_VIEW_MEMORY = Metric(
    "namespace_quota_view_memory", Unit.BYTES, NamespaceView,
    "How others read the same quotas: kubernetes_used, hami_hard, hami_used.",
)
NAMESPACE_QUOTA_VIEW_CORE = Metric(
    "namespace_quota_view_core", Unit.RATIO, NamespaceView,
    "How others read the same quotas (may exceed 1): kubernetes_used, hami_hard, hami_used.",
)
NAMESPACE_QUOTA_VIEW_DEVICES = Metric(
    "namespace_quota_view_devices", Unit.NONE, NamespaceView,
    "How others read the same quotas: kubernetes_used, hami_hard, hami_used.",
)
NAMESPACE_PENDING_PODS = Metric(
    "namespace_pending_pods", Unit.NONE, NamespaceReason,
    "Unscheduled pods that ask for vGPUs, by the scheduler's message: quota, memory, cores, no_card, other.",
)
NAMESPACE_INFO = Metric(
    "namespace_info", Unit.NONE, NamespaceTenant,
    "Always 1; the tenant: a label of the namespace, else its name.",
)
NODE_GRANTED_CONTAINERS = Metric(
    "node_granted_containers", Unit.NONE, Node,
    "Containers with a grant on the node: tells nodes that no exporter watches.",
)

# ------------------------------------------------------------------------------ ourselves

SOURCE_UP = Metric("source_up", Unit.NONE, RoleSource, "1 if the source's last reading is fresh.")
SOURCE_LAST_SUCCESS = Metric(
    "source_last_success", Unit.TIMESTAMP, RoleSource,
    "When the source last answered; absent if it never did.",
)
SOURCE_ERRORS = Metric("source_errors", Unit.NONE, RoleSourceReason, "Failed readings of the source, by reason.", _C)
SOURCE_READ_DURATION = Metric(
    "source_read_duration", Unit.SECONDS, RoleSource,
    "How long readings of the source took.", _S,
)
ATTRIBUTION_FAILURES = Metric(
    "attribution_failures", Unit.NONE, RoleReason,
    "Pods, processes or regions that could not be placed or read, each counted once, by reason.", _C,
)
SNAPSHOT_TIMESTAMP = Metric(
    "exporter_snapshot", Unit.TIMESTAMP, Role,
    "When the data of this scrape was put together; never withheld.",
)
BUILD_INFO = Metric(
    "exporter_build_info", Unit.NONE, Build,
    "Always 1; version and revision of the exporter, version of Python.",
)

# fmt: on

#: Every metric, in the order of the documentation.
METRICS: Final[tuple[Metric[Any], ...]] = tuple(
    value for value in list(globals().values()) if isinstance(value, Metric)
)
