"""Values for tests, each with sensible defaults: say only what the test is about."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from exporter.errors import SOURCE_REASONS
from exporter.hami.region import FoundRegion, Region, RegionDevice, RegionProcess, RegionState
from exporter.join import Carry, join
from exporter.model import (
    Card,
    Container,
    CoreReading,
    CoreWindow,
    Device,
    DeviceReading,
    DriverState,
    GpuProcess,
    Memory,
    Pod,
    PodState,
    Process,
    ProcessState,
    SourceStatus,
)
from exporter.roster import Roster, enrol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from exporter.snapshot import Joined

GPU = "GPU-11111111-2222-3333-4444-555555555555"
OTHER_GPU = "GPU-99999999-2222-3333-4444-555555555555"
NODE = "node-a"
GIB = 2**30
MIB = 2**20


def status(source: str, *, up: bool = True) -> SourceStatus:
    """Return a source that answers."""
    return SourceStatus(source, up, 1000.0, dict.fromkeys(SOURCE_REASONS[source], 0), 1, 0.001)


def device(uuid: str = GPU, index: int = 0) -> Device:
    """Return a GPU."""
    return Device(uuid, index, "NVIDIA L4", "580.0")


def reading(
    listed: Mapping[int, int | None] | None = None,
    *,
    uuid: str = GPU,
    used: int | None = None,
    busy: Mapping[int, float] | None = None,
    clock: float = 100.0,
    **facts: Any,  # noqa: ANN401  any other field of a DeviceReading
) -> DeviceReading:
    """Return a reading of a 24 GiB GPU.

    `listed` maps PIDs to the bytes that the driver lists under them, `used` is the device's own figure (default: their
    sum), `busy` maps PIDs to GPU-seconds in a window of one second.
    """
    listed = listed or {}
    total = sum(value or 0 for value in listed.values())
    window = None if busy is None else CoreWindow(1.0, dict(busy), dict.fromkeys(busy, 0.1))
    defaults: dict[str, Any] = {
        "memory": Memory(24 * GIB, total if used is None else used, 0),
        "processes": tuple(GpuProcess(pid, value) for pid, value in listed.items()),
        "core": CoreReading(0, 0, ()),
        "window": window,
    }
    return DeviceReading(device=device(uuid), wall=1000.0 + clock, clock=clock, **(defaults | facts))


def driver(*readings: DeviceReading, now: float | None = None, answered: bool = True) -> DriverState:
    """Return a driver that has just answered these readings."""
    newest = max((one.clock for one in readings), default=100.0)
    return DriverState(
        now=newest if now is None else now,
        answered=answered,
        devices=tuple(one.device for one in readings),
        readings={one.device.uuid: one for one in readings},
        status=status("nvml"),
    )


def cid(name: str) -> str:
    """Return a container ID (64 hex digits) that stands for a name."""
    return name.encode().hex().ljust(64, "0")[:64]


def uid(name: str) -> str:
    """Return a pod UID that stands for a name."""
    digits = name.encode().hex().ljust(32, "0")[:32]
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def cgroup(pod: str, container: str) -> str:
    """Return the cgroup text of a process in a pod's container (v2, systemd, containerd)."""
    slice_ = f"kubepods-burstable-pod{uid(pod).replace('-', '_')}.slice"
    return f"0::/kubepods.slice/kubepods-burstable.slice/{slice_}/cri-containerd-{cid(container)}.scope\n"


def process(
    pid: int,
    where: str = "0::/system.slice/ssh.service\n",
    *,
    start: float = 50.0,
    comm: str = "python",
    inner: int | None = None,
) -> Process:
    """Return a living process; by default one of the host. `inner` is its PID in its container (default: the same)."""
    return Process(pid, start, comm, where, (pid,) if inner is None else (pid, inner))


def processes(*living: Process, gone: Iterable[int] = (), answered: bool = True) -> ProcessState:
    """Return what /proc says."""
    found = {one.pid: one for one in living} | dict.fromkeys(gone, "process_gone")
    return ProcessState(answered=answered, processes=found, status=status("procfs"))  # type: ignore[arg-type]


def pod(
    name: str = "model",
    *,
    namespace: str = "team",
    containers: Iterable[str | Container] = ("main",),
    granted: str | None = None,
    asks: Mapping[str, int | None] | None = None,
    **fields: Any,  # noqa: ANN401  any other field of a Pod
) -> Pod:
    """Return a running pod; each container's ID stands for `<pod>/<container>`.

    `granted` is HAMi's annotation; with it each container asks for one GPU unless `asks` says otherwise.
    """
    wants = asks if asks is not None else ({"nvidia.com/gpu": 1} if granted is not None else {})
    members = tuple(
        one
        if isinstance(one, Container)
        else Container(one, "app", (cid(f"{name}/{one}"),), MappingProxyType(dict(wants)))
        for one in containers
    )
    annotations = {} if granted is None else {"hami.io/vgpu-devices-allocated": granted, "hami.io/vgpu-node": NODE}
    defaults: dict[str, Any] = {"created": "2026-01-01T00:00:00Z", "uid": uid(name), "annotations": annotations}
    return Pod(namespace=namespace, name=name, node=NODE, containers=members, **(defaults | fields))


def pods(*known: Pod) -> PodState:
    """Return the API server's answer."""
    return PodState(known, status("pods"))


def region(
    counts: Mapping[int, Iterable[int | None]],
    *,
    limits: Iterable[int | None] = (2000 * MIB,),
    uuids: Iterable[str] = (GPU,),
    hosts: Mapping[int, int] | None = None,
    core_limits: Iterable[float | None] | None = None,
    last_kernel: int | None = None,
) -> Region:
    """Return a region: `counts` maps container PIDs to bytes per GPU, `hosts` the same PIDs to libvgpu's guess."""
    seen, most = tuple(uuids), tuple(limits)
    cores = tuple(core_limits) if core_limits is not None else (None,) * len(seen)
    return Region(
        "v1.2",
        tuple(RegionDevice(*one) for one in zip(seen, most, cores, strict=True)),
        tuple(RegionProcess(pid, (hosts or {}).get(pid, 0), tuple(used)) for pid, used in counts.items()),
        last_kernel,
    )


def regions(*found: tuple[str, str, Region], complete: Iterable[str] | None = None) -> RegionState:
    """Return what was read: (pod, the directory's container, region); `complete` pods are those of the regions."""
    uids = {uid(name) for name in (complete if complete is not None else [pod for pod, _, _ in found])}
    files = (FoundRegion(uid(pod), box, f"{number}.cache", one) for number, (pod, box, one) in enumerate(found))
    return RegionState(tuple(files), frozenset(), 0, status("regions"), frozenset(uids))


def roster(*known: Pod, uuids: Iterable[str] = (GPU, OTHER_GPU)) -> Roster:
    """Return the roster of these pods."""
    return enrol(known, dict.fromkeys(uuids, Card()), NODE)


def joined(
    state: DriverState,
    found: ProcessState,
    names: Roster | None,
    carry: Carry | None = None,
    counted: RegionState | None = None,
) -> tuple[Joined, Carry]:
    """Join one tick in which every reading is fresh."""
    return join(state, state.readings, found, names, carry or Carry(listed=True), counted)
