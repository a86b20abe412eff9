"""Law 8: what each container was promised, held against what its own pod asked for.

The annotation says which card; anybody who may edit the pod can write it. So it counts only for containers that ask, on
the node that the pod runs on, for GPUs that are there, and never for more than the request, nor for more than HAMi has
to grant on that card. Requests are trustworthy: the scheduler placed the pod by them, and they cannot be edited
afterwards. HAMi's own `bind-phase` is not, and decides nothing: a pod holds what it was given until it is finished, as
HAMi counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from operator import mul
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from exporter.errors import AnnotationError
from exporter.hami import mig_allocations
from exporter.hami.annotations import decode, place
from exporter.hami.families import NODE_FAMILIES, NVIDIA
from exporter.model import Card, ContainerGrants, Failure, Grant, Held

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from exporter.hami.annotations import Entry
    from exporter.hami.families import Family
    from exporter.model import Container, GrantedDevice, GrantSource, Pod

_MIB: Final = 1024 * 1024
#: Kubernetes allows 63 characters in a container's name and gives 36 to a UID; a key holds no more in any case.
_KEY_PART: Final = 64
#: The name under which a pod holds what cannot be placed on one of its containers.
POD: Final = ""
#: What is known of a device where nobody knows the cards.
_ANY: Final = Card()


@dataclass(frozen=True, slots=True)
class _Reading:
    """What the annotations say: entries by container name, and the source of those that ask and have none.

    `unplaced` are the devices of all entries where they fit no reading of the pod.
    """

    otherwise: GrantSource
    reasons: frozenset[str]
    family: Family = NVIDIA
    entries: Mapping[str, Entry] = field(default_factory=lambda: MappingProxyType({}))
    unplaced: Entry = ()


def grants(
    pod: Pod, cards: Mapping[str, Card] | None, node: str, families: Sequence[Family] = NODE_FAMILIES
) -> tuple[Mapping[str, ContainerGrants], frozenset[Failure]]:
    """Return each container's grants by its name, and what could not be believed; never raises.

    Every container that is not finished has an item (init, sidecar, app, ephemeral); a finished pod has none. The
    source says what an absent grant means: `none` asks for no accelerator (so: 0), `hami` holds the GPUs listed and no
    other; `dra`, `device_plugin`, `pending` and `unreadable`: it may hold some, but nothing says which. What fits no
    reading of the pod is held by the pod as a whole: one more item, under `POD`.

    `cards` are the node's GPUs and MIG instances by UUID: all, also those that do not answer now. A container none of
    whose GPUs is among them is `unreadable`. None: they are not known, as in a whole cluster, and any device is
    accepted. A grant is never more than its card can be granted now: after HAMi's memory scaling was lowered an old
    grant of a whole card shows as what is registered since.

    Of `families` the first applies that some container asks for and whose annotation is there. Keys of failures name
    the pod (`<uid>`) or the container (`<uid>/<name>`), so each counts once however often it is read.
    """
    if pod.finished:
        return {}, frozenset()
    reading = _read(pod, node, families)
    uid = pod.uid[:_KEY_PART]
    failures = {Failure(reason, uid) for reason in reading.reasons}
    living = [container for container in pod.containers if not container.finished]
    found: dict[str, ContainerGrants] = {}
    for container in living:
        entry = reading.entries.get(container.name)
        if entry is None:
            found[container.name] = ContainerGrants(_source(pod, container, reading, families))
        else:
            request = _Request((container,), reading.family, cards)
            order = tuple([device.uuid for device in entry])
            held_by_it = request.hold(entry)
            found[container.name] = ContainerGrants("hami" if held_by_it else "unreadable", held_by_it, order)
            failures.update(Failure(reason, f"{uid}/{container.name[:_KEY_PART]}") for reason in request.reasons)
    if reading.unplaced:
        askers = [one for one in living if one.kind != "ephemeral" and reading.family.asked(one)]
        request = _Request(askers, reading.family, cards)
        if held_by_all := request.hold(reading.unplaced):
            found[POD] = ContainerGrants("hami", held_by_all)
        failures.update(Failure(reason, uid) for reason in request.reasons)
    return found, frozenset(failures)


def held(pods: Iterable[tuple[Pod, Mapping[str, ContainerGrants]]]) -> Mapping[str, Held]:
    """Return what is promised of each GPU (by UUID), given the pods with their `grants`.

    Init containers run one after the other and before the apps, so a pod holds the larger of its largest init container
    and the sum of apps and sidecars, of memory and of cores each, as HAMi 2.10.0 counts it (which
    still takes a sidecar for an init container). What the pod holds as a whole counts as another app. `containers` are
    all that hold a grant. A finished container holds nothing any more: its grants are not in the mapping. A figure that
    is not known adds nothing.
    """
    totals: dict[str, Held] = {}
    for pod, by_name in pods:
        for uuid, more in _held_by(pod, by_name).items():
            so_far = totals.get(uuid, Held())
            totals[uuid] = Held(
                so_far.memory + more.memory, so_far.cores + more.cores, so_far.containers + more.containers
            )
    return totals


# ---------------------------------------------------------------- what the annotations say


def _read(pod: Pod, node: str, families: Sequence[Family]) -> _Reading:
    """Read the first annotation that somebody asked for, as far as it can be believed."""
    written = [family for family in families if family.allocated in pod.annotations]
    asked = [family for family in written if any(map(family.asked, pod.containers))]
    unasked = [pod.annotations[family.allocated] for family in written if family not in asked]
    reasons = frozenset({"grant_unasked"} if any(map(_grants_something, unasked)) else ())
    if not asked:
        chosen = [family for family in families if family.node in pod.annotations]
        asking = any(family.asked(container) for family in chosen for container in pod.containers)
        return _Reading("pending" if asking else "device_plugin", reasons)
    family = asked[0]
    if pod.node != node or pod.annotations.get(family.node, node) != node:
        # Chosen, not bound; or HAMi chose anew after binding (#1106).
        return _Reading("pending", reasons | {"grant_other_node"})
    try:
        entries = decode(pod.annotations[family.allocated])
    except AnnotationError:
        return _Reading("unreadable", reasons | {"annotation_unreadable"})
    return _placed(pod, family, entries, reasons)


def _grants_something(text: str) -> bool:
    """Tell empty slots, which HAMi may write for anybody, from devices and from what is no annotation at all."""
    try:
        return any(decode(text))
    except AnnotationError:
        return True


def _placed(pod: Pod, family: Family, entries: tuple[Entry, ...], reasons: frozenset[str]) -> _Reading:
    """Name the MIG instances and give each container its entry."""
    try:
        allocations = mig_allocations.decode(pod.annotations.get(mig_allocations.ALLOCATIONS, ""))
        entries = mig_allocations.named(entries, allocations) if allocations else entries
    except AnnotationError:
        reasons |= {"mig_allocation_unreadable"}
    placed = place(entries, [container for container in pod.containers if family.asked(container)])
    if placed is None:
        return _Reading("unreadable", reasons | {"grant_unplaced"}, family, unplaced=tuple(chain(*entries)))
    return _Reading("pending", reasons, family, placed)


def _source(pod: Pod, container: Container, reading: _Reading, families: Sequence[Family]) -> GrantSource:
    """Return why a container has no grant of HAMi's."""
    if not any(amount != 0 for amount in container.asks.values()):
        return "dra" if pod.claims else "none"
    if any(family.only_hami(container) for family in families):
        return "pending" if reading.otherwise == "device_plugin" else reading.otherwise
    return reading.otherwise if any(family.asked(container) for family in families) else "device_plugin"


# ---------------------------------------------------------------- held against the request


class _Bound:
    """How much of something was asked for: no more of `each` device, nor in all; None where somebody did not say."""

    def __init__(self, counts: Sequence[int], amounts: Sequence[int]) -> None:
        """Of so many devices each so much; an amount of 0 was not said."""
        said = bool(amounts) and all(amounts)
        self.each = max(amounts) if said else None
        self._all = sum(map(mul, counts, amounts))
        self._taken = 0

    def take(self, wanted: int, unit: int = 1) -> int:
        """Return as much of `wanted` for one device as may still be had; amounts were asked for in units of `unit`."""
        if self.each is not None:
            wanted = max(min(wanted, self.each * unit, self._all * unit - self._taken), 0)
        self._taken += wanted
        return wanted


class _Request:
    """What containers asked for together; of several each may have any of the devices.

    Less than asked stands, for the annotation is what is enforced. So does any memory that the card has to grant where
    none was asked (the whole card, scaled), and up to the whole device's cores where none were (`defaultCores`).
    `reasons` fills with what could not be believed.
    """

    def __init__(self, askers: Sequence[Container], family: Family, cards: Mapping[str, Card] | None) -> None:
        """Add up what the containers ask of the family."""
        self.reasons: set[str] = set()
        self._family, self._cards = family, cards
        counts = [family.asked(container) for container in askers]
        whole = family.core_units or 0
        self._count = sum(counts)
        self._memory = _Bound(counts, [] if family.templates else _amounts(askers, family.memory))
        self._percentages = [] if self._memory.each else _amounts(askers, family.memory_percentage)
        self._cores = _Bound(counts, [min(amount or whole, whole) for amount in _amounts(askers, family.cores)])

    def hold(self, devices: Entry) -> tuple[Grant, ...]:
        """Return what of the devices is granted, one grant per GPU or instance."""
        if len(devices) > self._count:
            self.reasons.add("grant_above_request")
        by_uuid: dict[str, Grant] = {}
        for device in devices[: self._count]:
            card = _ANY if self._cards is None else self._cards.get(device.uuid)
            if card is None:
                self.reasons.add("grant_unknown_device")
                continue
            uuid = self._named(device)
            memory = self._within(uuid, self._bytes(device, card))
            grant = Grant(uuid, memory, self._ratio(device, card), self._family.name)
            by_uuid[grant.uuid] = _together(by_uuid.get(grant.uuid), grant)
        if self._cards is not None and any(grant.memory is None for grant in by_uuid.values()):
            self.reasons.add("grant_unit_unknown")
            return ()
        return tuple(by_uuid.values())

    def _named(self, device: GrantedDevice) -> str:
        """Return the UUID of the MIG instance that was named, if the GPU has it, else the GPU's."""
        instance = self._cards.get(device.instance) if self._cards and device.instance else None
        return device.instance if instance and instance.parent == device.uuid else device.uuid

    def _within(self, uuid: str, memory: int | None) -> int | None:
        """Return no more than the instance has that was named; HAMi's templates know its size a little better."""
        size = self._cards[uuid].grantable if self._cards else None
        return memory if memory is None or size is None else min(memory, size)

    def _bytes(self, device: GrantedDevice, card: Card) -> int | None:
        """Return the memory granted; None where nothing says its unit."""
        unit = self._family.memory_unit or card.memory_unit
        if unit is None:
            self._note_unknown(device.memory_mib)
            return None
        written = device.memory_mib * unit
        within_card = written if card.grantable is None else min(written, self._share(card.grantable))
        asked_unit = self._family.asked_memory_unit or unit
        return self._noted(within_card if card.cut else self._memory.take(within_card, asked_unit), written)

    def _share(self, grantable: int) -> int:
        """Return what of a card's memory can be granted: all, or the percentage asked for, in whole MiB as HAMi."""
        if not self._percentages or not all(self._percentages):
            return grantable
        return grantable // _MIB * min(max(self._percentages), 100) // 100 * _MIB

    def _ratio(self, device: GrantedDevice, card: Card) -> float | None:
        """Return the cores granted; None where they are not limited, or nothing says their unit."""
        whole = self._family.core_units
        if not device.cores_percent or whole is None:
            self._note_unknown(device.cores_percent)
            return None
        written = device.cores_percent
        return self._noted(min(written, whole) if card.cut else self._cores.take(written), written) / whole

    def _noted(self, granted: int, written: int) -> int:
        """Return what is granted, noting where it is less than what stands in the annotation."""
        if granted < written:
            self.reasons.add("grant_above_request")
        return granted

    def _note_unknown(self, figure: int) -> None:
        """Note a figure in a unit that nobody knows; 0 is none."""
        if figure:
            self.reasons.add("grant_unit_unknown")


def _amounts(askers: Sequence[Container], name: str) -> list[int]:
    """Return how much each asks of a resource; 0 where it says no whole number."""
    return [max(container.asks.get(name) or 0, 0) for container in askers]


def _together(first: Grant | None, second: Grant) -> Grant:
    """Add two slices of one GPU (dynamic MIG); one that is not limited, or not known, leaves the whole so."""
    if first is None:
        return second
    memory = None if first.memory is None or second.memory is None else first.memory + second.memory
    cores = None if first.cores is None or second.cores is None else first.cores + second.cores
    return Grant(first.uuid, memory, cores, first.family)


# ---------------------------------------------------------------- added up


def _held_by(pod: Pod, by_name: Mapping[str, ContainerGrants]) -> dict[str, Held]:
    """Return what one pod holds, per GPU."""
    starting: dict[str, Held] = {}
    running: dict[str, Held] = {}
    kinds = {container.name: container.kind for container in pod.containers}
    for name, container in by_name.items():
        for grant in container.grants:
            memory, cores = grant.memory or 0, grant.cores or 0.0
            if kinds.get(name) == "init":
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
