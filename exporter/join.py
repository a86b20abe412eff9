"""Devices, processes, pods and grants, joined: who uses how much of which GPU at this moment.

Nothing here remembers: what the next tick has to know of this one (`Carry`) goes in and comes out as a value.
Every byte and every GPU-second lands exactly once, on a container or on a reason (law 1).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from exporter.counted import Member, figures, place, total
from exporter.model import Failure, Held, Owner, Process
from exporter.processes import TICKS
from exporter.roster import HOST, UNKNOWN_POD, UNKNOWN_PROCESS, enclosing_levels
from exporter.snapshot import Counted, DeviceUse, Joined, PairUse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from exporter.hami.region import Region, RegionState
    from exporter.model import ContainerGrants, CoreWindow, DeviceReading, DriverState, GpuProcess, ProcessState
    from exporter.roster import Roster

UNLISTED, MPS = "unlisted", "mps"
#: Reasons of memory and of core time that belong to nobody; each is published from 0.
MEMORY_REASONS: Final = (HOST, UNKNOWN_POD, UNKNOWN_PROCESS, UNLISTED)
CORE_REASONS: Final = (HOST, UNKNOWN_POD, UNKNOWN_PROCESS, MPS)
#: What an MPS server is called, in the 15 characters the kernel keeps.
MPS_SERVER: Final = "nvidia-cuda-mps"
#: Why use is absent if the driver's PIDs are not ours.
NO_HOST_PID: Final = (
    "the GPUs are in use, but the driver lists no process to us: the exporter must run in the host's PID namespace "
    "(hostPID: true)"
)
#: Used memory, in bytes, that a GPU can show without any process.
_QUIET: Final = 64 * 1024 * 1024
#: Seconds after which signs of processes without any listed one mean that we see none.
_SUSPECT_FOR: Final = 10.0
#: Seconds between the reading of the processes and of their samples.
_SLACK: Final = 0.05


@dataclass(frozen=True, slots=True)
class Carry:
    """What one tick hands to the next.

    `owners` maps each PID last seen alive to its start and owner (or reason). `listed`: the driver
    has named a process to us once, so we are in the host's PID namespace. `suspect_since` is when
    (driver's clock) signs of processes without any listed one began.
    """

    owners: Mapping[int, tuple[float, Owner | str]] = field(default_factory=lambda: MappingProxyType({}))
    listed: bool = False
    suspect_since: float | None = None


def pids_of(readings: Iterable[DeviceReading]) -> set[int]:
    """Return every PID that the driver names in these readings."""
    pids: set[int] = set()
    for reading in readings:
        pids.update(process.pid for process in reading.processes or ())
        pids.update(reading.window.busy if reading.window else ())
    return pids


def join(
    driver: DriverState,
    fresh: Mapping[str, DeviceReading],
    processes: ProcessState,
    roster: Roster | None,
    carry: Carry,
    regions: RegionState | None = None,
) -> tuple[Joined, Carry]:
    """Join one tick.

    `fresh` has the readings young enough to show, `roster` is None until pods were listed once, `regions` where nobody
    reads them.
    """
    carry = _suspect(carry, fresh.values(), driver.now)
    no_host_pid = carry.suspect_since is not None and driver.now - carry.suspect_since >= _SUSPECT_FOR
    blind = _why_blind(driver, processes, roster, carry)
    tick = _Tick(roster, processes, carry)
    bare = [DeviceUse(device, fresh.get(device.uuid), _held(roster, device.uuid)) for device in driver.devices]
    devices = bare if blind is not None else [tick.device_use(use) for use in bare]
    tick.place(regions)
    joined = Joined(
        devices=tuple(devices),
        pairs=tuple(tick.pairs({device.uuid: device.parent for device in driver.devices})),
        granted=roster.granted if roster else MappingProxyType({}),
        failures=frozenset(tick.failures) | (roster.failures if roster else frozenset()),
        pod_uids=frozenset(roster.pods) if roster and roster.current else None,
        blind=blind,
        no_host_pid=no_host_pid,
    )
    return joined, Carry(tick.last_owners(), carry.listed, carry.suspect_since)


def _held(roster: Roster | None, uuid: str) -> Held:
    return roster.held.get(uuid, Held()) if roster else Held()


def _suspect(carry: Carry, fresh: Iterable[DeviceReading], now: float) -> Carry:
    """Law 4: from another PID namespace the driver lists no process, but still answers samples and memory."""
    readings = tuple(fresh)
    if carry.listed or any(reading.processes for reading in readings):
        return replace(carry, listed=True, suspect_since=None)
    if not any(_has_traces(reading) for reading in readings):
        return replace(carry, suspect_since=None)
    return carry if carry.suspect_since is not None else replace(carry, suspect_since=now)


def _has_traces(reading: DeviceReading) -> bool:
    """Tell whether somebody uses this GPU although nobody is listed (v1 memory says nothing: it holds the reserve)."""
    if reading.processes is None:
        return False
    memory = reading.memory
    used = memory.used if memory is not None and memory.reserved is not None else 0
    return used > _QUIET or bool(reading.window and reading.window.busy)


def _why_blind(driver: DriverState, processes: ProcessState, roster: Roster | None, carry: Carry) -> str | None:
    """Return why use cannot be attributed at all, for people; None if it can."""
    if not driver.answered:
        return "the NVIDIA driver has not answered yet"
    if not processes.answered:
        return "/proc does not answer"
    if roster is None:
        return "the node's pods have not been listed yet"
    if carry.suspect_since is not None:
        return NO_HOST_PID
    return None


class _Tick:
    """The placing of one tick's processes; collects what each pair uses and what could not be placed."""

    def __init__(self, roster: Roster | None, processes: ProcessState, carry: Carry) -> None:
        self._roster = roster
        self._processes = processes.processes
        self._enclosing = enclosing_levels(processes.own_cgroup)
        self._before = carry.owners
        self._owners: dict[int, Owner | str] = {}
        self._members: dict[Owner, list[Member]] = {}
        self._regions: dict[Owner, Region | None] = {}
        self._answered: set[str] = set()
        self.failures: set[Failure] = set()

    def device_use(self, bare: DeviceUse) -> DeviceUse:
        """Return one GPU's use with everything on it placed; a GPU without a fresh process list stays bare."""
        reading = bare.reading
        if reading is None or reading.processes is None:
            return bare
        self._answered.add(reading.device.uuid)
        by_reason = dict.fromkeys(MEMORY_REASONS, 0)
        attributed = 0
        for process in reading.processes:
            owner = self._holder(process.pid, reading)
            if isinstance(owner, str):
                by_reason[owner] += process.used or 0
                continue
            attributed += process.used or 0
            self._add(owner, reading.device.uuid, process)
        use = replace(bare, attributed=attributed, core_owners=self._split(reading))
        if reading.memory is None:
            return use
        rest = reading.memory.used - attributed - sum(by_reason.values())
        by_reason[UNLISTED] = max(rest, 0)
        return replace(use, unattributed=by_reason, overcounted=max(-rest, 0))

    def _add(self, owner: Owner, uuid: str, process: GpuProcess) -> None:
        known = self._processes[process.pid]
        nspid = known.nspid if isinstance(known, Process) else ()
        self._members.setdefault(owner, []).append(Member(process.pid, nspid, uuid, process.used))

    def place(self, regions: RegionState | None) -> None:
        """Place HAMi-core's regions, behind all GPUs: their processes say whose they are."""
        if regions is None or self._roster is None:
            return
        self._regions, failures = place(regions, self._roster.grants, self._members)
        self.failures |= failures | regions.problems

    def _holder(self, pid: int, reading: DeviceReading) -> Owner | str:
        """Return whose memory it is that the driver lists under `pid` now."""
        process = self._processes.get(pid, "process_gone")
        if not isinstance(process, Process):
            return self._unknown(process, pid)
        if reading.boottime is not None and process.start + 1 / TICKS > reading.boottime:
            return self._unknown("pid_reused", pid)  # younger than the driver's answer
        return self._place(process)

    def _split(self, reading: DeviceReading) -> dict[Owner | str, float] | None:
        """Split the window's GPU-seconds by owner or reason."""
        if reading.window is None:
            return None
        split: dict[Owner | str, float] = {}
        if reading.window.unplaced:
            split[UNKNOWN_PROCESS] = reading.window.unplaced
        for pid, seconds in reading.window.busy.items():
            owner = self._spender(pid, reading, reading.window)
            split[owner] = split.get(owner, 0.0) + seconds
        return split

    def _spender(self, pid: int, reading: DeviceReading, window: CoreWindow) -> Owner | str:
        """Return who spent the SM time that the driver booked on `pid` in the window that just ended."""
        process = self._processes.get(pid, "process_gone")
        before = self._before.get(pid)
        if not isinstance(process, Process):
            return before[1] if before else self._unknown(process, pid)  # spent while it lived
        if before and before[0] != process.start:
            return self._unknown("pid_reused", pid)  # the window holds time of both
        if reading.boottime is not None and window.ages[pid] > reading.boottime - process.start + _SLACK:
            return self._unknown("pid_reused", pid)  # stamped before this process began
        if process.comm == MPS_SERVER and any(listed.mps for listed in reading.processes or ()):
            return MPS
        return self._place(process)

    def _place(self, process: Process) -> Owner | str:
        """Return whose process it is; each is placed once a tick."""
        if self._roster is None:
            return UNKNOWN_POD
        owner = self._owners.get(process.pid)
        if owner is None:
            owner, failure = self._roster.place(process.cgroup, self._enclosing)
            if failure:
                self.failures.add(Failure(failure, f"{process.pid}/{process.start}"))
            self._owners[process.pid] = owner
        return owner

    def _unknown(self, reason: str, pid: int) -> str:
        self.failures.add(Failure(reason, str(pid)))
        return UNKNOWN_PROCESS

    def last_owners(self) -> dict[int, tuple[float, Owner | str]]:
        """Return whose each PID was when last seen alive, for as long as the driver names it.

        A process that has ended is still there when the window comes in which it ended, be that some ticks later.
        """
        placed = {
            pid: (process.start, self._owners[pid])
            for pid, process in self._processes.items()
            if isinstance(process, Process) and pid in self._owners
        }
        return {pid: before for pid, before in self._before.items() if pid in self._processes} | placed

    def pairs(self, parents: Mapping[str, str]) -> Iterator[PairUse]:
        """Return each container on each GPU: it holds a grant there, or has a process on it (law 0).

        `parents` maps MIG instances to the GPU that they are cut from.
        """
        if self._roster is None:
            return
        pairs = {(grant.uuid, owner) for owner, held in self._roster.grants.items() for grant in held.grants}
        pairs |= {(member.uuid, owner) for owner, members in self._members.items() for member in members}
        for uuid, owner in sorted(pairs, key=lambda pair: (pair[0], pair[1][1:])):
            held, pod = self._roster.grants[owner], self._roster.pods[owner.pod_uid]
            grant = next((grant for grant in held.grants if grant.uuid == uuid), None)
            parent = parents.get(uuid, "")
            promised = _says_which(held, parent) and not pod.claims
            here = [member for member in self._members.get(owner, ()) if member.uuid == uuid]
            live = uuid in self._answered and bool(owner.container)
            yield PairUse(
                uuid=uuid,
                owner=owner,
                pod=pod,
                grant_source=held.source,
                memory_granted=grant.memory if grant else 0 if promised else None,
                core_granted=grant.cores if grant else 0.0 if promised else None,
                used=total(member.used for member in here) if live else None,
                processes=len(here) if live else None,
                counted=Counted() if parent else self._counted(owner, uuid, held, live=live),  # no libvgpu on MIG
            )

    def _counted(self, owner: Owner, uuid: str, held: ContainerGrants, *, live: bool) -> Counted:
        if owner not in self._regions:
            return Counted()
        return figures(self._regions[owner], held.order, self._members.get(owner, ()), uuid, live=live)


def _says_which(held: ContainerGrants, parent: str) -> bool:
    """Tell whether a GPU that the container holds no grant on is one that it was not granted: then it is 0.

    Else nothing says which card: that of a claim, what another device plugin gave, or which of a GPU's instances.
    """
    return held.source in ("hami", "none") and not any(grant.uuid == parent for grant in held.grants)
