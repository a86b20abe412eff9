"""Whose region is it, and what it says: limits, what libvgpu counted, and what escaped it, per container and GPU.

A region lies in a directory that names a pod, rightly, and a container, often wrongly (hami-contract.md 5.1). So within
the pod the PIDs decide: the container whose GPU processes are in the region. Where several containers have such PIDs
(each has its own PID 1), the GPUs that the region sees, then its limits, then the names of all directories together may
tell them apart; else nobody gets it. What stands in a region was written by its own pod, and never leaves that pod.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from exporter.model import Failure
from exporter.snapshot import Counted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from exporter.hami.region import FoundRegion, Region, RegionState
    from exporter.model import ContainerGrants, Owner

T = TypeVar("T")


class Member(NamedTuple):
    """A process that the driver lists for a container on one GPU; `nspid` as in `model.Process`, `used` in bytes."""

    pid: int
    nspid: tuple[int, ...]
    uuid: str
    used: int | None


class _Candidate(NamedTuple):
    """A container that a region of its pod may belong to."""

    owner: Owner
    held: ContainerGrants
    members: Sequence[Member]


def place(
    state: RegionState, held: Mapping[Owner, ContainerGrants], members: Mapping[Owner, Sequence[Member]]
) -> tuple[dict[Owner, Region | None], frozenset[Failure]]:
    """Return each container's region, and which could not be placed (`region_unplaced`).

    None: it is known to have none, although its device plugin made a directory for it: libvgpu never ran there. A
    container that is absent may have one that we do not see.
    """
    by_pod: dict[str, list[FoundRegion]] = {uid: [] for uid in state.complete}
    for found in state.regions:
        by_pod.setdefault(found.pod_uid, []).append(found)
    candidates: dict[str, list[_Candidate]] = {}
    for owner, grants in held.items():
        using = members.get(owner, ())
        if owner.pod_uid in by_pod and owner.container and (grants.grants or using):
            candidates.setdefault(owner.pod_uid, []).append(_Candidate(owner, grants, using))
    placed: dict[Owner, Region | None] = {}
    failures: set[Failure] = set()
    for uid, members_of_pod in candidates.items():
        regions, unplaced = _place(by_pod[uid], members_of_pod)
        failures.update(Failure("region_unplaced", f"{uid}/{found.file}") for found in unplaced)
        if uid in state.complete and not unplaced:
            placed.update((one.owner, None) for one in members_of_pod if one.held.grants)
        placed.update(regions)
    return placed, frozenset(failures)


def _place(
    regions: Collection[FoundRegion], candidates: Sequence[_Candidate]
) -> tuple[dict[Owner, Region], list[FoundRegion]]:
    """Place a pod's regions: first those that somebody's processes are in, then the rest on who has none yet.

    Nearly every container has a PID 1, so one that works in no region of its own fits its sibling's. Therefore those
    count as well that hold a grant and do not use it now, and PIDs alone decide only if there is a region for each.
    """
    named = sorted(found.directory_container for found in regions) == sorted(one.owner.container for one in candidates)
    each = len(regions) >= sum(bool(one.held.grants) for one in candidates)
    claims = _Claims(named=named)
    idle: list[FoundRegion] = []
    for found in regions:
        counted = {process.pid for process in found.region.processes}
        known = [one for one in candidates if _living(found.region, counted, one.members)]
        possible = [one for one in candidates if one in known or (one.held.grants and not one.members)]
        if known:
            claims.claim(found, possible, known if each else ())
        else:
            idle.append(found)
    left = [one for one in candidates if one.owner not in claims.of]
    for found in idle:
        claims.claim(found, [one for one in left if _is_named(one, found) or _is_limited(one, found)])
    return claims.settled(candidates)


class _Claims:
    """Which regions each container may have; `named`: each has just one directory, so names cannot be shifted."""

    def __init__(self, *, named: bool) -> None:
        self.of: dict[Owner, list[FoundRegion]] = {}
        self._named = named
        self._unplaced: list[FoundRegion] = []

    def claim(self, found: FoundRegion, possible: Sequence[_Candidate], known: Sequence[_Candidate] = ()) -> None:
        """Give a region to the one that it fits best; one that fits several equally well is nobody's."""
        tests: list[Callable[[_Candidate], bool]] = [
            lambda one: {device.uuid for device in found.region.devices} == set(one.held.order),
            lambda one: _is_limited(one, found),
            lambda one: self._named and _is_named(one, found),
            lambda one: one in known,
        ]
        best = _narrowed(possible, tests)
        if len(best) == 1:
            self.of.setdefault(best[0].owner, []).append(found)
        elif best:
            self._unplaced.append(found)

    def settled(self, candidates: Sequence[_Candidate]) -> tuple[dict[Owner, Region], list[FoundRegion]]:
        """Return who has which region; of several, an ended init container's among them, the best or none."""
        placed: dict[Owner, Region] = {}
        for one in candidates:
            claimed = self.of.get(one.owner, [])
            best = _narrowed(claimed, [partial(_is_limited, one), partial(_is_named, one)])
            if len(best) == 1:
                placed[one.owner] = best[0].region
            else:
                self._unplaced += claimed
        return placed, self._unplaced


def _narrowed(possible: Sequence[T], tests: Iterable[Callable[[T], bool]]) -> Sequence[T]:
    """Return those that pass the tests, one after the other; a test that none passes says nothing."""
    for test in tests:
        if len(possible) > 1:
            possible = [one for one in possible if test(one)] or possible
    return possible


def _is_limited(one: _Candidate, found: FoundRegion) -> bool:
    return _limits(found.region) == [grant.memory for grant in one.held.grants]


def _is_named(one: _Candidate, found: FoundRegion) -> bool:
    return one.owner.container == found.directory_container


def _limits(region: Region) -> list[int | None]:
    return [device.limit for device in region.devices]


# ---------------------------------------------------------------- what a region says of one pair


def figures(
    region: Region | None, order: Sequence[str], members: Sequence[Member], uuid: str, *, live: bool
) -> Counted:
    """Return what is counted for a container on one GPU.

    `region` None: it has none (see `place`). `order` has its GPUs in the annotation's order, `members` its processes on
    all GPUs; without `live` these are not known, and only the limits are told.
    """
    here = [member for member in members if member.uuid == uuid]
    if region is None:
        return (
            Counted(uncounted=total(member.used for member in here), processes_uncounted=len(here))
            if live
            else Counted()
        )
    limit, core_limit = _limit(region, order, uuid)
    told = Counted(limit=limit, core_limit=core_limit, last_kernel=region.last_kernel)
    inner = {member.pid: _inner(member, region) for member in members}
    if not live or None in inner.values():
        return told
    counted = {process.pid for process in region.processes}
    slots = _slots(members, inner)
    missed = [member for member in here if inner[member.pid] not in counted or slots[inner[member.pid]] != member.pid]
    believed = {process.host_pid for process in region.processes}
    return told._replace(
        counted=_counted(region, set(inner.values()), uuid),
        uncounted=total(member.used for member in missed),
        processes_uncounted=len(missed),
        blind=bool(inner) and believed.isdisjoint(inner),
    )


def _slots(members: Iterable[Member], inner: Mapping[int, int | None]) -> dict[int | None, int]:
    """Return which process a slot is, by its inner PID: a container within the container has such PIDs, too."""
    slots: dict[int | None, int] = {}
    for member in sorted(members, key=lambda member: len(member.nspid)):
        slots.setdefault(inner[member.pid], member.pid)
    return slots


def _limit(region: Region, order: Sequence[str], uuid: str) -> tuple[int | None, float | None]:
    """Return the limits on a GPU: the i-th are those of the i-th GPU granted (5.4).

    A region with one GPU needs no order to tell; one whose order is not known, or of other GPUs, tells nothing.
    """
    seen = [device.uuid for device in region.devices]
    by_place = seen if len(seen) == 1 else order if sorted(order) == sorted(seen) else ()
    if uuid not in by_place:
        return None, None
    device = region.devices[by_place.index(uuid)]
    return device.limit, device.core_limit


def _counted(region: Region, living: Collection[int | None], uuid: str) -> int | None:
    """Return the bytes that libvgpu counts on a GPU for processes that live; a dead one's slot can stay for ever."""
    place = next((place for place, device in enumerate(region.devices) if device.uuid == uuid), None)
    if place is None:
        return None
    return total(process.used[place] for process in region.processes if process.pid in living)


def _living(region: Region, counted: Collection[int], members: Iterable[Member]) -> bool:
    """Tell whether one of the processes is in the region, which counts these PIDs."""
    return any(_inner(member, region) in counted for member in members)


def _inner(member: Member, region: Region) -> int | None:
    """Return the PID by which the process knows itself, as libvgpu writes it; None if it is not known.

    Without NSpid it is the host's where libvgpu itself says so, of every process: the container shares the host's PIDs.
    """
    if member.nspid:
        return member.nspid[-1]
    shared = region.processes and all(process.pid == process.host_pid for process in region.processes)
    return member.pid if shared else None


def total(figures: Iterable[int | None]) -> int | None:
    """Return the sum; one that is not known leaves all of it unknown."""
    known = list(figures)
    return None if None in known else sum(figure for figure in known if figure is not None)
