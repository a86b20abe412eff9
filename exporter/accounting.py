"""Ticks over time: the counters, and the means of the last minute.

Each reading is booked once, by its `clock`; only differences of that clock count, so neither a stepped wall clock nor a
slept minute adds anything. What gone containers used stays on their namespace for as long as the program lives.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from math import fsum
from typing import TYPE_CHECKING, Any, Final

from exporter.errors import FAILURE_REASONS
from exporter.join import CORE_REASONS
from exporter.roster import UNKNOWN_PROCESS
from exporter.snapshot import Accounts, DeviceAccount, NamespaceAccount, PairAccount

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.model import CoreWindow, DeviceReading, Failure, Owner
    from exporter.snapshot import DeviceUse, Joined, PairUse

#: Seconds that the gauges average over, and that they need to have seen to say anything.
MEAN_OVER: Final = 60.0
MEAN_FROM: Final = 15.0
#: Seconds for which the accounts of a MIG instance outlive it, so that they are scraped.
INSTANCES_FOR: Final = 900.0


@dataclass(slots=True)
class _Device:
    """One GPU's running sums; `windows` holds (clock, length) of those of the last minute that could be attributed."""

    reading: DeviceReading
    timed: bool = False
    observed: float = 0.0
    unattributed: dict[str, float] = field(default_factory=lambda: dict.fromkeys(CORE_REASONS, 0.0))
    energy: float = 0.0
    energy_unattributed: float = 0.0
    windows: deque[tuple[float, float]] = field(default_factory=deque)
    utilizations: deque[tuple[float, float]] = field(default_factory=deque)


@dataclass(slots=True)
class _Pair:
    """One container's running sums on one GPU; `born` is the reading's clock when it appeared.

    `shares` holds (clock, GPU-seconds) of the last minute's windows in which it was busy.
    """

    born: float
    last_active: float
    busy: float = 0.0
    energy: float = 0.0
    shares: deque[tuple[float, float]] = field(default_factory=deque)


@dataclass(slots=True)
class _Namespace:
    busy: float = 0.0
    memory_used: float = 0.0
    memory_granted: float = 0.0
    core_granted: float = 0.0
    energy: float = 0.0


class Accounting:
    """The books of one node, from `started` (Unix time) on; `longest` is the longest span (s) one reading may close."""

    def __init__(self, started: float, longest: float) -> None:
        """Open empty books."""
        self._started = started
        self._longest = longest
        self._devices: dict[str, _Device] = {}
        self._pairs: dict[tuple[str, Owner], _Pair] = {}
        self._namespaces: dict[tuple[str, str], _Namespace] = {}
        self._failing: frozenset[Failure] = frozenset()
        self._failures = Counter(dict.fromkeys(FAILURE_REASONS, 0))

    def book(self, joined: Joined) -> Accounts:
        """Book one tick and return how the accounts stand."""
        self._failures.update(failure.reason for failure in joined.failures - self._failing)
        self._failing = joined.failures
        self._open(joined)
        for use in joined.devices:
            if use.reading is not None:
                self._book_device(use, use.reading, joined)
        self._forget_instances(joined)
        if joined.pod_uids is not None:
            self._pairs = {key: pair for key, pair in self._pairs.items() if key[1].pod_uid in joined.pod_uids}
        return self._state(joined)

    def _forget_instances(self, joined: Joined) -> None:
        """Close the accounts of MIG instances that were destroyed a while ago: each new one has a UUID of its own."""
        here = {use.device.uuid for use in joined.devices}
        now = max((device.reading.clock for device in self._devices.values()), default=0.0)
        gone = {
            uuid
            for uuid, device in self._devices.items()
            if device.reading.device.parent and uuid not in here and now - device.reading.clock > INSTANCES_FOR
        }
        if gone:
            self._devices = {uuid: device for uuid, device in self._devices.items() if uuid not in gone}
            self._namespaces = {key: account for key, account in self._namespaces.items() if key[0] not in gone}

    def _open(self, joined: Joined) -> None:
        """Give each new pair and its namespace an account that starts at 0."""
        clocks = {use.device.uuid: use.reading.clock for use in joined.devices if use.reading is not None}
        for pair in joined.pairs:
            key = (pair.uuid, pair.owner)
            if key not in self._pairs:
                self._pairs[key] = _Pair(self._clock_before(pair, clocks), last_active=self._wall_before(pair))
            self._namespace(pair.uuid, pair.owner.namespace)

    def _clock_before(self, pair: PairUse, clocks: Mapping[str, float]) -> float:
        """Return where a new pair's observation begins: the window being booked now is its first."""
        device = self._devices.get(pair.uuid)
        return device.reading.clock if device else clocks.get(pair.uuid, 0.0)

    def _wall_before(self, pair: PairUse) -> float:
        """Return since when a new pair can be said to be idle: not since before it was there."""
        device = self._devices.get(pair.uuid)
        return device.reading.wall if device else self._started

    def _namespace(self, uuid: str, namespace: str) -> _Namespace:
        return self._namespaces.setdefault((uuid, namespace), _Namespace())

    def _book_device(self, use: DeviceUse, reading: DeviceReading, joined: Joined) -> None:
        """Book a GPU's reading, if it is a new one."""
        uuid = use.device.uuid
        device = self._devices.get(uuid)
        if device is None:
            self._devices[uuid] = device = _Device(reading)
        elif reading.clock <= device.reading.clock:
            return
        passed = reading.clock - device.reading.clock
        joules = _energy_since(device.reading, reading)
        device.reading = reading
        device.timed = device.timed or reading.core is not None
        device.energy += joules
        if 0 < passed <= self._longest:
            self._book_holdings(uuid, passed, joined)
        if reading.utilization is not None:
            device.utilizations.append((reading.clock, reading.utilization))
        if reading.window is not None:
            split = use.core_owners
            if split is not None:
                device.windows.append((reading.clock, reading.window.seconds))
            else:
                split = {UNKNOWN_PROCESS: fsum((*reading.window.busy.values(), reading.window.unplaced))}
            joules -= self._book_window(device, reading, reading.window, split, joules)
        device.energy_unattributed += max(joules, 0.0)  # what rounding leaves below 0 must not take a counter back
        _forget(device.windows, reading.clock)
        _forget(device.utilizations, reading.clock)

    def _book_holdings(self, uuid: str, passed: float, joined: Joined) -> None:
        """Book `passed` seconds of what is used and granted on a GPU."""
        for pair in joined.pairs:
            if pair.uuid == uuid:
                self._namespace(uuid, pair.owner.namespace).memory_used += (pair.used or 0) * passed
        for (on, namespace), held in joined.granted.items():
            if on == uuid:
                account = self._namespace(uuid, namespace)
                account.memory_granted += held.memory * passed
                account.core_granted += held.cores * passed

    def _book_window(
        self,
        device: _Device,
        reading: DeviceReading,
        window: CoreWindow,
        split: Mapping[Owner | str, float],
        joules: float,
    ) -> float:
        """Book a window's GPU-seconds; return the joules that its containers are estimated to have used."""
        uuid = reading.device.uuid
        per_second = joules / max(window.seconds, fsum(split.values()))
        device.observed += window.seconds
        booked = 0.0
        for owner, seconds in split.items():
            if isinstance(owner, str):
                device.unattributed[owner] += seconds
                continue
            energy = seconds * per_second
            booked += energy
            self._book_owner((uuid, owner), seconds, energy, reading)
        return booked

    def _book_owner(self, key: tuple[str, Owner], seconds: float, energy: float, reading: DeviceReading) -> None:
        """Book GPU-seconds and joules on a namespace and, while its pod is known, on the pair."""
        uuid, owner = key
        account = self._namespace(uuid, owner.namespace)
        account.busy += seconds
        account.energy += energy
        pair = self._pairs.get(key)
        if pair is not None and seconds > 0:
            pair.busy += seconds
            pair.energy += energy
            pair.last_active = reading.wall
            pair.shares.append((reading.clock, seconds))

    def _state(self, joined: Joined) -> Accounts:
        """Return all accounts as values; pairs only those that this tick shows."""
        attributed: defaultdict[str, list[float]] = defaultdict(list)
        for (uuid, _), account in self._namespaces.items():
            attributed[uuid].append(account.busy)
        return Accounts(
            devices={uuid: _device_account(device, fsum(attributed[uuid])) for uuid, device in self._devices.items()},
            pairs={(pair.uuid, pair.owner): self._pair_account(pair.uuid, pair.owner) for pair in joined.pairs},
            namespaces={key: self._namespace_account(key[0], account) for key, account in self._namespaces.items()},
            failures=dict(self._failures),
        )

    def _told(self, uuid: str, busy: float, energy: float) -> tuple[float | None, float | None]:
        """Return GPU-seconds and joules on a GPU, each None if the driver does not tell them."""
        device = self._devices.get(uuid)
        timed = device is not None and device.timed
        return busy if timed else None, energy if device and timed and device.reading.energy is not None else None

    def _namespace_account(self, uuid: str, account: _Namespace) -> NamespaceAccount:
        busy, energy = self._told(uuid, account.busy, account.energy)
        return NamespaceAccount(busy, account.memory_used, account.memory_granted, account.core_granted, energy)

    def _pair_account(self, uuid: str, owner: Owner) -> PairAccount:
        account = self._pairs[uuid, owner]
        busy, energy = self._told(uuid, account.busy, account.energy)
        return PairAccount(busy, energy, account.last_active, self._mean(uuid, account))

    def _mean(self, uuid: str, account: _Pair) -> float | None:
        """Return a pair's share of the observed part of the last minute, of which it must have lived 15 s."""
        device = self._devices.get(uuid)
        if device is None:
            return None
        _forget(account.shares, device.reading.clock)
        seen = fsum(length for clock, length in device.windows if clock > account.born)
        return fsum(share for _, share in account.shares) / seen if seen >= MEAN_FROM else None


def _device_account(device: _Device, attributed: float) -> DeviceAccount:
    """Add up a GPU's account from its parts, so that it closes by construction."""
    shares = [share for _, share in device.utilizations]
    known = device.reading.energy is not None
    return DeviceAccount(
        timed=device.timed,
        observed=device.observed,
        busy=attributed + fsum(device.unattributed.values()),
        attributed=attributed,
        unattributed=dict(device.unattributed),
        energy=device.energy if known else None,
        energy_unattributed=device.energy_unattributed if known else None,
        utilization=fsum(shares) / len(shares) if shares else None,
    )


def _energy_since(before: DeviceReading, now: DeviceReading) -> float:
    """Return the joules between two readings; 0 if the driver's counter began anew or is not known."""
    if before.energy is None or now.energy is None:
        return 0.0
    return max(now.energy - before.energy, 0.0)


def _forget(recent: deque[Any], now: float) -> None:
    """Drop the entries, clock first, that are older than the gauges look back."""
    while recent and recent[0][0] <= now - MEAN_OVER:
        recent.popleft()
