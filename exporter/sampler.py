"""The tick: take what the sources have in hand, join, account, publish an immutable snapshot.

A scrape only ever reads `snapshot`; the one who waits for a driver is never the one who scrapes.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from exporter.accounting import Accounting
from exporter.errors import FAILURE_REASONS
from exporter.failure_log import FailureLog
from exporter.freshness import stale_after
from exporter.hami.node_register import NodeState
from exporter.join import NO_HOST_PID, Carry, join, pids_of
from exporter.model import Card, Failure
from exporter.roster import Roster, enrol
from exporter.snapshot import DeviceUse, Snapshot
from exporter.ticker import Ticker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from exporter.hami.node_register import RegisteredDevice
    from exporter.model import DriverState, PodState, SourceStatus
    from exporter.snapshot import Joined
    from exporter.sources import Gpus, Node, Pods, Processes, Regions

_log = logging.getLogger(__name__)

_MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Sources:
    """The edges of a node; `node` is None where nobody is asked what HAMi registered, `regions` where none are read."""

    gpus: Gpus
    processes: Processes
    pods: Pods
    node: Node | None = None
    regions: Regions | None = None


class Sampler:
    """One node's loop; `tick` may also be called by hand, with whatever clocks the sources have."""

    def __init__(
        self,
        node: str,
        sources: Sources,
        interval: float,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`interval` is in seconds; `wall` stamps the snapshots, `monotonic` tells when they are too old."""
        self._node = node
        self._sources = sources
        self._interval = interval
        self._wall = wall
        self._monotonic = monotonic
        self._accounting = Accounting(started=wall(), longest=stale_after(interval))
        self._carry = Carry()
        self._roster: Roster | None = None
        self._enrolled: tuple[object, ...] = ()
        self._failure_log = FailureLog(FAILURE_REASONS, monotonic)
        self._times_blind = 0
        self._was_blind = False
        self._ticker = Ticker(self.tick, interval)
        self._published = 0.0
        self._snapshot: Snapshot | None = None
        self._withheld: tuple[Snapshot, Snapshot] | None = None

    def current(self) -> Snapshot | None:
        """Return the newest snapshot; one too old to be live, should the loop itself be stuck, without its readings."""
        snapshot = self._snapshot
        if snapshot is None or self._monotonic() - self._published <= stale_after(self._interval):
            return snapshot
        if self._withheld is None or self._withheld[0] is not snapshot:  # one object for all scrapes: rendered once
            self._withheld = snapshot, withheld(snapshot)
        return self._withheld[1]

    def tick(self) -> Snapshot:
        """Make and publish the next snapshot."""
        driver = self._sources.gpus.read(self._interval / 2)
        oldest = driver.now - stale_after(self._interval)
        fresh = {uuid: reading for uuid, reading in driver.readings.items() if reading.clock >= oldest}
        processes = self._sources.processes.look_up(pids_of(fresh.values()))
        pods = self._sources.pods.current()
        node = self._sources.node.current() if self._sources.node else NodeState(None, None)
        registered = {device.uuid: device for device in node.devices or ()}
        roster = self._enrol(pods, driver, node.devices)
        regions = self._sources.regions.read(_most(driver, registered)) if self._sources.regions else None
        joined, self._carry = join(driver, fresh, processes, roster, self._carry, regions)
        joined = replace(joined, failures=joined.failures | _unreadable(pods))
        self._tell(joined)
        statuses = (driver.status, processes.status, pods.status, node.status, regions.status if regions else None)
        self._snapshot = Snapshot(
            node=self._node,
            taken=self._wall(),
            joined=joined,
            accounts=self._accounting.book(joined),
            statuses=self._statuses(statuses, joined),
            not_ready=None if fresh else "no GPU has a fresh reading" if driver.answered else joined.blind,
            registered=registered,
            xids=driver.xids,
        )
        self._published = self._monotonic()
        return self._snapshot

    def attempt(self) -> None:
        """Tick; a tick that fails is logged, if it is news, and costs itself only."""
        self._ticker.attempt()

    def run(self) -> None:
        """Attempt a tick every interval until stopped."""
        self._ticker.run()

    def stop(self) -> None:
        """End the loop and the sources, without waiting for a driver."""
        self._ticker.stop()
        self._sources.gpus.close()
        self._sources.pods.close()
        if self._sources.node:
            self._sources.node.close()

    def _enrol(
        self, pods: PodState, driver: DriverState, registered: Sequence[RegisteredDevice] | None
    ) -> Roster | None:
        """Return the roster, made anew only if the pods or the GPUs are others than last time.

        None until the driver has named its GPUs and the API server its pods.
        """
        if not driver.answered or (pods.status is not None and pods.status.last_success is None):
            return None
        known = (pods.pods, _cards(driver, registered))
        if self._roster is None or not all(a is b or a == b for a, b in zip(known, self._enrolled, strict=True)):
            self._roster = enrol(pods.pods, known[1], self._node)
            self._enrolled = known
        return self._roster

    def _tell(self, joined: Joined) -> None:
        """Log what newly could not be placed, and when all use became invisible."""
        self._failure_log.tell(joined.failures)
        if joined.no_host_pid and not self._was_blind:
            self._times_blind += 1
            _log.error("%s", NO_HOST_PID)
        self._was_blind = joined.no_host_pid

    def _statuses(self, statuses: Iterable[SourceStatus | None], joined: Joined) -> tuple[SourceStatus, ...]:
        """Return how each source does; blindness for want of host PIDs counts on procfs, which then says nothing."""
        return tuple(
            replace(
                status,
                up=status.up and not joined.no_host_pid,
                errors={**status.errors, "no_host_pid": self._times_blind},
            )
            if status.source == "procfs"
            else status
            for status in statuses
            if status is not None
        )


def withheld(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot that is too old to be live: only grants, XID events and the state of the sources, all down."""
    reason = "the sampler is stuck: nothing was read for too long"
    devices = tuple(DeviceUse(use.device, None, use.granted) for use in snapshot.joined.devices)
    return replace(
        snapshot,
        joined=replace(snapshot.joined, devices=devices, pairs=(), blind=reason),
        statuses=tuple(replace(status, up=False) for status in snapshot.statuses),
        not_ready=reason,
    )


def _cards(driver: DriverState, registered: Sequence[RegisteredDevice] | None) -> dict[str, Card]:
    """Return what a grant may name: the driver's GPUs and instances, and what is registered but lost since before."""
    parents = {device.uuid: device.parent for device in driver.devices}
    plugins = {device.uuid: device for device in registered or ()}
    cut = set(parents.values()) | {uuid for uuid, plugin in plugins.items() if plugin.mode == "mig"}
    cards = {}
    for uuid in {*parents, *plugins}:
        physical, parent, plugin = _physical(driver, uuid), parents.get(uuid, ""), plugins.get(uuid)
        if plugin:
            cards[uuid] = _card(plugin, physical, cut=uuid in cut)
        else:  # while nobody says what is registered it may be more than there is: HAMi oversubscribes
            cards[uuid] = Card(physical if parent or registered is not None else None, parent=parent)
    return cards


def _card(plugin: RegisteredDevice, physical: int | None, *, cut: bool) -> Card:
    factor = plugin.memory_factor(physical)
    return Card(physical, cut=cut) if factor is None else Card(plugin.memory * factor, factor * _MIB, cut=cut)


def _physical(driver: DriverState, uuid: str) -> int | None:
    reading = driver.readings.get(uuid)
    return reading.memory.total if reading is not None and reading.memory is not None else None


def _most(driver: DriverState, registered: Mapping[str, RegisteredDevice]) -> dict[str, int]:
    """Return the most bytes that a process can have on each GPU: its memory, or more where HAMi oversubscribes."""
    physical = {uuid: one.memory.total for uuid, one in driver.readings.items() if one.memory is not None}
    return {uuid: max(most, registered[uuid].memory if uuid in registered else 0) for uuid, most in physical.items()}


def _unreadable(pods: PodState) -> frozenset[Failure]:
    return frozenset(Failure("pod_unreadable", key) for key in pods.unreadable)
