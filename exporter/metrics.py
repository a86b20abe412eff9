"""A snapshot, as metric families: what is unknown has no sample, and what is not in the catalogue cannot have one."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from prometheus_client.core import Metric as Family

from exporter import __version__, labels
from exporter import catalogue as c

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from exporter.catalogue import Metric
    from exporter.hami.node_register import RegisteredDevice
    from exporter.model import Device, SourceStatus
    from exporter.snapshot import Counted, DeviceUse, PairUse, Snapshot

L = TypeVar("L", bound=NamedTuple)

ROLE: Final = "node"


class Families:
    """Metric families being filled; the order is the catalogue's, so that two scrapes can be compared line by line."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._families: dict[str, Family] = {}
        self._named: dict[tuple[type, NamedTuple], dict[str, str]] = {}

    def add(self, metric: Metric[L], sample: L, value: float | None, extra: Mapping[str, str] | None = None) -> None:
        """Add one sample; `None` is not known and adds nothing. `extra` are labels that a setting switched on."""
        if value is not None:
            named = self._names(metric, sample)
            self._family(metric).add_sample(metric.name, {**named, **extra} if extra else named, value)

    def add_summary(self, metric: Metric[L], sample: L, count: int, total: float) -> None:
        """Add one summary without quantiles."""
        named = self._names(metric, sample)
        family = self._family(metric)
        family.add_sample(metric.name + "_count", named, count)
        family.add_sample(metric.name + "_sum", named, total)

    def _names(self, metric: Metric[L], sample: L) -> dict[str, str]:
        """Return the labels by name: one and the same for every metric that has this sample's."""
        named = self._named.get((metric.labels, sample))
        if named is None:
            named = self._named[metric.labels, sample] = dict(zip(metric.label_names, sample, strict=True))
        return named

    def _family(self, metric: Metric[Any]) -> Family:
        family = self._families.get(metric.name)
        if family is None:
            name = metric.name.removesuffix("_total") if metric.kind is c.Kind.COUNTER else metric.name
            self._families[metric.name] = family = Family(name, metric.help, metric.kind.value)
        return family

    def __iter__(self) -> Iterator[Family]:
        """Yield the families that have samples, in the catalogue's order."""
        return (self._families[metric.name] for metric in c.METRICS if metric.name in self._families)


def families(snapshot: Snapshot, build: labels.Build) -> Families:
    """Return all families of the node role; `build` says what was built."""
    out = Families()
    for use in snapshot.joined.devices:
        _device(out, snapshot, use)
    for registered in snapshot.registered.values():
        _registered(out, snapshot, registered)
    _xids(out, snapshot)
    _namespaces(out, snapshot)
    for pair in snapshot.joined.pairs:
        _pair(out, snapshot, pair)
    for pod in {pair.pod.uid: pair.pod for pair in snapshot.joined.pairs if pair.pod.labels}.values():
        extra = {label_name(key): value for key, value in sorted(pod.labels.items())}
        out.add(c.POD_LABELS, labels.PodLabels(snapshot.node, pod.namespace, pod.name), 1, extra)
    ourselves(out, build, snapshot.statuses, snapshot.accounts.failures, snapshot.taken)
    return out


def built(revision: str, role: str = ROLE) -> labels.Build:
    """Return this build's labels; `revision` is the source revision it was built from."""
    return labels.Build(role, __version__, revision, platform.python_version())


def ourselves(
    out: Families, build: labels.Build, statuses: Iterable[SourceStatus], failures: Mapping[str, int], taken: float
) -> None:
    """Publish how the exporter itself does; whatever the role, which `build` says."""
    for status in statuses:
        sample = labels.RoleSource(build.role, status.source)
        out.add(c.SOURCE_UP, sample, int(status.up))
        out.add(c.SOURCE_LAST_SUCCESS, sample, status.last_success)
        out.add_summary(c.SOURCE_READ_DURATION, sample, status.reads, status.read_seconds)
        for reason, count in sorted(status.errors.items()):
            out.add(c.SOURCE_ERRORS, labels.RoleSourceReason(*sample, reason), count)
    for reason, count in sorted(failures.items()):
        out.add(c.ATTRIBUTION_FAILURES, labels.RoleReason(build.role, reason), count)
    out.add(c.SNAPSHOT_TIMESTAMP, labels.Role(build.role), taken)
    out.add(c.BUILD_INFO, build, 1)


def label_name(key: str) -> str:
    """Return the Prometheus label of a Kubernetes label key, as kube-state-metrics spells it."""
    return "label_" + "".join(char if char.isascii() and char.isalnum() else "_" for char in key)


def _device(out: Families, snapshot: Snapshot, use: DeviceUse) -> None:
    """Publish one GPU; without a fresh reading only that it is down and what is granted on it."""
    device, reading = use.device, use.reading
    on = labels.Device(snapshot.node, device.uuid)
    out.add(
        c.DEVICE_INFO,
        labels.DeviceInfo(
            *on, str(device.index), device.name, device.driver, _sharing_mode(snapshot, device), device.parent
        ),
        1,
    )
    out.add(c.DEVICE_UP, on, int(reading is not None))
    if snapshot.joined.pod_uids is not None:
        out.add(c.DEVICE_MEMORY_GRANTED, on, use.granted.memory)
        out.add(c.DEVICE_CORE_GRANTED, on, use.granted.cores)
        out.add(c.DEVICE_CONTAINERS, on, use.granted.containers)
    if reading is None:
        return
    for capability, reason in sorted(reading.capabilities.items()):
        out.add(c.DEVICE_CAPABILITY_INFO, labels.DeviceCapability(*on, capability, reason), 1)
    if reading.memory is not None:
        out.add(c.DEVICE_MEMORY_TOTAL, on, reading.memory.total)
        out.add(c.DEVICE_MEMORY_RESERVED, on, reading.memory.reserved)
        out.add(c.DEVICE_MEMORY_USED, on, reading.memory.used)
    out.add(c.DEVICE_POWER, on, reading.power)
    out.add(c.DEVICE_TEMPERATURE, on, reading.temperature)
    _device_use(out, on, use)
    _device_account(out, on, snapshot, use)


def _sharing_mode(snapshot: Snapshot, device: Device) -> str:
    registered = snapshot.registered.get(device.parent or device.uuid)
    return registered.mode or "unknown" if registered else "unknown"


def _registered(out: Families, snapshot: Snapshot, registered: RegisteredDevice) -> None:
    """Publish what may be scheduled on a GPU; one that the driver never named since our start is down."""
    on = labels.Device(snapshot.node, registered.uuid)
    use = next((use for use in snapshot.joined.devices if use.device.uuid == registered.uuid), None)
    if use is None:
        out.add(c.DEVICE_UP, on, 0)
    physical = use.reading.memory.total if use and use.reading and use.reading.memory else None
    factor = registered.memory_factor(physical)
    out.add(c.DEVICE_MEMORY_SCHEDULABLE, on, registered.memory * factor if factor is not None else None)
    out.add(c.DEVICE_CORE_SCHEDULABLE, on, registered.cores)
    out.add(c.DEVICE_SLOTS, on, registered.slots)


def _device_use(out: Families, on: labels.Device, use: DeviceUse) -> None:
    """Publish how a GPU's memory in use adds up."""
    out.add(c.DEVICE_MEMORY_ATTRIBUTED, on, use.attributed)
    out.add(c.DEVICE_MEMORY_OVERCOUNTED, on, use.overcounted)
    for reason, used in (use.unattributed or {}).items():
        out.add(c.DEVICE_MEMORY_UNATTRIBUTED, labels.DeviceReason(*on, reason), used)


def _device_account(out: Families, on: labels.Device, snapshot: Snapshot, use: DeviceUse) -> None:
    """Publish a GPU's counters; the split of its core time only while attribution is possible."""
    account = snapshot.accounts.devices.get(use.device.uuid)
    if account is None:
        return
    out.add(c.DEVICE_CORE_UTILIZATION, on, account.utilization)
    out.add(c.DEVICE_ENERGY, on, account.energy)
    if not account.timed or (use.reading and use.reading.capabilities.get("process_utilization") == "mig"):
        return  # it may have been whole before it was cut
    out.add(c.DEVICE_OBSERVED, on, account.observed)
    out.add(c.DEVICE_CORE_BUSY, on, account.busy)
    if snapshot.joined.blind is None:
        out.add(c.DEVICE_CORE_ATTRIBUTED, on, account.attributed)
        for reason, seconds in account.unattributed.items():
            out.add(c.DEVICE_CORE_UNATTRIBUTED, labels.DeviceReason(*on, reason), seconds)
        out.add(c.DEVICE_ENERGY_UNATTRIBUTED, on, account.energy_unattributed)


def _xids(out: Families, snapshot: Snapshot) -> None:
    """Publish XID events, also of a GPU that is down: 79 is how a GPU goes, and its increase must be visible then."""
    for (uuid, code), events in sorted(snapshot.xids.items()):
        sample = labels.DeviceXid(snapshot.node, uuid, str(code))
        out.add(c.DEVICE_XID_ERRORS, sample, events.count)
        out.add(c.DEVICE_XID_LAST, sample, events.last)


def _namespaces(out: Families, snapshot: Snapshot) -> None:
    """Publish the accounts to bill from; those of use only while attribution is possible: blind is not idle."""
    for (uuid, namespace), account in sorted(snapshot.accounts.namespaces.items()):
        sample = labels.NamespaceOnDevice(snapshot.node, uuid, namespace)
        out.add(c.NAMESPACE_MEMORY_GRANTED, sample, account.memory_granted)
        out.add(c.NAMESPACE_CORE_GRANTED, sample, account.core_granted)
        if snapshot.joined.blind is not None:
            continue
        out.add(c.NAMESPACE_CORE_BUSY, sample, account.busy)
        out.add(c.NAMESPACE_MEMORY_USED, sample, account.memory_used)
        out.add(c.NAMESPACE_ENERGY, sample, account.energy)


def _pair(out: Families, snapshot: Snapshot, pair: PairUse) -> None:
    """Publish one container on one GPU."""
    owner = pair.owner
    sample = labels.OnDevice(snapshot.node, pair.uuid, owner.namespace, owner.pod, owner.container)
    out.add(
        c.CONTAINER_INFO,
        labels.OnDeviceInfo(*sample, pair.pod.owner_kind, pair.pod.owner_name, pair.grant_source),
        1,
        {"tenant": pair.pod.tenant} if pair.pod.tenant else None,
    )
    out.add(c.CONTAINER_MEMORY_GRANTED, sample, pair.memory_granted)
    out.add(c.CONTAINER_CORE_GRANTED, sample, pair.core_granted)
    out.add(c.CONTAINER_MEMORY_USED, sample, pair.used)
    out.add(c.CONTAINER_PROCESSES, sample, pair.processes)
    _counted(out, sample, pair.counted)
    if pair.processes is None:
        return
    account = snapshot.accounts.pairs[pair.uuid, owner]
    if account.busy is None:
        return
    out.add(c.CONTAINER_CORE_UTILIZATION, sample, account.utilization)
    out.add(c.CONTAINER_CORE_BUSY, sample, account.busy)
    out.add(c.CONTAINER_ENERGY, sample, account.energy)
    out.add(c.CONTAINER_LAST_ACTIVE, sample, account.last_active)


def _counted(out: Families, sample: labels.OnDevice, counted: Counted) -> None:
    """Publish what HAMi-core says of a container on a GPU, and what it missed."""
    out.add(c.CONTAINER_MEMORY_LIMIT, sample, counted.limit)
    out.add(c.CONTAINER_MEMORY_COUNTED, sample, counted.counted)
    out.add(c.CONTAINER_MEMORY_UNCOUNTED, sample, counted.uncounted)
    out.add(c.CONTAINER_CORE_LIMIT, sample, counted.core_limit)
    out.add(c.CONTAINER_PROCESSES_UNCOUNTED, sample, counted.processes_uncounted)
    out.add(c.CONTAINER_HAMI_CORE_BLIND, sample, counted.blind)
    out.add(c.CONTAINER_LAST_KERNEL, sample, counted.last_kernel)
