"""Law 8: what each container was promised, held against what its own pod asked for.

The annotation says which card; anybody who may edit the pod can write it. So it counts only for containers that ask, on
the node that the pod runs on, for GPUs that are there, and never for more than the request. Requests are trustworthy:
the scheduler placed the pod by them, and they cannot be edited afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from exporter.errors import AnnotationError
from exporter.hami.annotations import ALLOCATED, NODE, decode, place
from exporter.model import ContainerGrants, Failure, Grant, Held

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from exporter.hami.annotations import Entry
    from exporter.model import Container, GrantedDevice, GrantSource, Pod

_MIB: Final = 1024 * 1024
#: Percent of one GPU: the most that one vGPU can hold (HAMi clamps requests to it).
_WHOLE: Final = 100
#: Kubernetes allows 63 characters in a container's name and gives 36 to a UID; a key holds no more in any case.
_KEY_PART: Final = 64


@dataclass(frozen=True, slots=True)
class Resources:
    """The resource names of one HAMi family; NVIDIA's are settings of HAMi's chart, these its defaults.

    `count` is a number of vGPUs; the others are per vGPU: `memory` in units of `memory_factor` MiB (HAMi's setting of
    that name), `memory_percentage` and `cores` in percent of a GPU, where 0 means "not asked".
    """

    count: str = "nvidia.com/gpu"
    memory: str = "nvidia.com/gpumem"
    memory_percentage: str = "nvidia.com/gpumem-percentage"
    cores: str = "nvidia.com/gpucores"
    memory_factor: int = 1

    def only_hami(self, container: Container) -> bool:
        """Tell whether it asks for what NVIDIA's own device plugin does not know."""
        return any(container.asks.get(name, 0) != 0 for name in (self.memory, self.memory_percentage, self.cores))

    def asked(self, container: Container) -> int:
        """Return how many vGPUs HAMi has to find for the container; 0 if none.

        Without a count but with another of the names it is one, as HAMi's webhook makes it (`defaultGPUNum`). A count
        that is no whole number is none: HAMi reads it so, and the API server would not have admitted it.
        """
        if self.count in container.asks:
            return max(container.asks[self.count] or 0, 0)
        return int(self.only_hami(container))


NVIDIA: Final = Resources()


@dataclass(frozen=True, slots=True)
class _Reading:
    """What the annotation says: entries by container name, and the source of those that ask and have none."""

    otherwise: GrantSource
    reason: str = ""
    entries: Mapping[str, Entry] = field(default_factory=lambda: MappingProxyType({}))


def grants(
    pod: Pod, known_uuids: Collection[str], node: str, resources: Resources = NVIDIA
) -> tuple[Mapping[str, ContainerGrants], frozenset[Failure]]:
    """Return each container's grants by its name, and what could not be believed; never raises.

    Every container that is not finished has an item (init, sidecar, app, ephemeral); a finished pod has none. The
    source says what an absent grant means: `none` asks for no accelerator (so: 0), `hami` holds the GPUs listed and no
    other; `dra`, `device_plugin`, `pending` and `unreadable`: it may hold some, but nothing says which.

    `known_uuids` are the node's GPUs and MIG instances: all, also those that do not answer now. A container none of
    whose GPUs is among them is `unreadable`. Keys of failures name the pod (`<uid>`) or the container (`<uid>/<name>`),
    so each counts once however often it is read.
    """
    if pod.finished:
        return {}, frozenset()
    reading = _read(pod, node, resources)
    failures = {Failure(reading.reason, pod.uid[:_KEY_PART])} if reading.reason else set()
    known = frozenset(known_uuids)
    found: dict[str, ContainerGrants] = {}
    for container in (container for container in pod.containers if not container.finished):
        entry = reading.entries.get(container.name)
        if entry is None:
            found[container.name] = ContainerGrants(_source(pod, container, reading, resources))
        else:
            found[container.name], reasons = _hold(entry, container, known, resources)
            key = f"{pod.uid[:_KEY_PART]}/{container.name[:_KEY_PART]}"
            failures.update(Failure(reason, key) for reason in reasons)
    return found, frozenset(failures)


def held(pods: Iterable[tuple[Pod, Mapping[str, ContainerGrants]]]) -> Mapping[str, Held]:
    """Return what is promised of each GPU (by UUID), given the pods with their `grants`.

    Init containers run one after the other and before the apps, so a pod holds the larger of its largest init container
    and the sum of apps and sidecars, of memory and of cores each, as HAMi 2.10.0 counts it (which
    still takes a sidecar for an init container). `containers` are all that hold a grant. A finished container holds
    nothing any more: its grants are not in the mapping.
    """
    totals: dict[str, Held] = {}
    for pod, by_name in pods:
        for uuid, more in _held_by(pod, by_name).items():
            so_far = totals.get(uuid, Held())
            totals[uuid] = Held(
                so_far.memory + more.memory, so_far.cores + more.cores, so_far.containers + more.containers
            )
    return totals


def _read(pod: Pod, node: str, resources: Resources) -> _Reading:
    """Read the pod's annotation as far as it can be believed."""
    text = pod.annotations.get(ALLOCATED)
    if text is None:
        return _Reading("pending" if NODE in pod.annotations else "device_plugin")
    if pod.node != node or pod.annotations.get(NODE, node) != node:
        return _Reading("pending", "grant_other_node")  # chosen, not bound; or HAMi chose anew after binding (#1106)
    try:
        entries = decode(text)
    except AnnotationError:
        return _Reading("unreadable", "annotation_unreadable")
    asking = [container for container in pod.containers if resources.asked(container)]
    if not asking:
        return _Reading("device_plugin", "grant_unasked" if any(entries) else "")
    placed = place(entries, asking)
    return _Reading("unreadable", "grant_unplaced") if placed is None else _Reading("pending", entries=placed)


def _source(pod: Pod, container: Container, reading: _Reading, resources: Resources) -> GrantSource:
    """Return why a container has no grant of HAMi's."""
    if not any(amount != 0 for amount in container.asks.values()):
        return "dra" if pod.claims else "none"
    if resources.only_hami(container):
        return "pending" if reading.otherwise == "device_plugin" else reading.otherwise
    return reading.otherwise if resources.asked(container) else "device_plugin"


def _hold(
    entry: Entry, container: Container, known: Collection[str], resources: Resources
) -> tuple[ContainerGrants, set[str]]:
    """Hold an entry against the container's request; the second value are the failure reasons."""
    count = resources.asked(container)
    reasons = {"grant_above_request"} if len(entry) > count else set()
    by_uuid: dict[str, Grant] = {}
    for device in entry[:count]:
        if device.uuid not in known:
            reasons.add("grant_unknown_device")
            continue
        memory, cores = _within_request(device, container, resources)
        if (memory, cores) != (device.memory_mib, device.cores_percent):
            reasons.add("grant_above_request")
        grant = Grant(device.uuid, memory * _MIB, cores / _WHOLE if cores else None)
        by_uuid[device.uuid] = _together(by_uuid.get(device.uuid), grant)
    return ContainerGrants("hami" if by_uuid else "unreadable", tuple(by_uuid.values())), reasons


def _within_request(device: GrantedDevice, container: Container, resources: Resources) -> tuple[int, int]:
    """Return (MiB, percent) of one vGPU, each no more than asked.

    Less than asked stands, for the annotation is what is enforced. So does any memory where it was asked by percentage
    or not at all (the whole card, scaled), and up to 100 % cores where none were asked (`defaultCores`).
    """
    memory = container.asks.get(resources.memory) or 0
    cores = container.asks.get(resources.cores) or 0
    return (
        min(device.memory_mib, memory * resources.memory_factor) if memory > 0 else device.memory_mib,
        min(device.cores_percent, cores if cores > 0 else _WHOLE, _WHOLE),
    )


def _together(first: Grant | None, second: Grant) -> Grant:
    """Add two slices of one GPU (dynamic MIG); one that is not limited leaves the whole so."""
    if first is None:
        return second
    limited = first.cores is not None and second.cores is not None
    return Grant(
        first.uuid, first.memory + second.memory, (first.cores or 0) + (second.cores or 0) if limited else None
    )


def _held_by(pod: Pod, by_name: Mapping[str, ContainerGrants]) -> dict[str, Held]:
    """Return what one pod holds, per GPU."""
    starting: dict[str, Held] = {}
    running: dict[str, Held] = {}
    for container in pod.containers:
        for grant in by_name[container.name].grants if container.name in by_name else ():
            memory, cores = grant.memory, grant.cores or 0.0
            if container.kind == "init":
                most = starting.get(grant.uuid, Held())
                starting[grant.uuid] = Held(max(most.memory, memory), max(most.cores, cores), most.containers + 1)
            else:
                total = running.get(grant.uuid, Held())
                running[grant.uuid] = Held(total.memory + memory, total.cores + cores, total.containers + 1)
    return {uuid: _larger(starting.get(uuid, Held()), running.get(uuid, Held())) for uuid in {**starting, **running}}


def _larger(starting: Held, running: Held) -> Held:
    return Held(
        max(starting.memory, running.memory),
        max(starting.cores, running.cores),
        starting.containers + running.containers,
    )
