"""What one tick makes of everything: who uses what now (join), what has added up (accounting), and the snapshot.

Frozen values as in `model.py`, whose units and two clocks hold here too. `None` is "not known", never 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.model import Device, DeviceReading, Failure, GrantSource, SourceStatus


class Pair(NamedTuple):
    """The labels of one container on one GPU."""

    uuid: str
    namespace: str
    pod: str
    container: str


@dataclass(frozen=True, slots=True)
class PairUse:
    """One container on one GPU at this moment (join) with its accounts (accounting).

    `used`, `processes` are None while attribution is not possible. `memory_granted` None = unknown.
    """

    pair: Pair
    pod_uid: str
    workload_kind: str
    workload: str
    tenant: str
    grant_source: GrantSource
    memory_granted: int | None
    core_granted: float | None
    used: int | None
    processes: int | None


@dataclass(frozen=True, slots=True)
class DeviceUse:
    """One GPU at this moment: its reading, if fresh, and how its memory adds up (law 1).

    `unattributed` maps reason to bytes; it, `attributed`, `overcounted` and `core_owners` are None
    while attribution is not possible. `core_owners` splits the reading's window: a `Pair`
    or the reason it belongs to none.
    """

    device: Device
    reading: DeviceReading | None
    containers: int
    memory_granted: int
    core_granted: float
    attributed: int | None = None
    overcounted: int | None = None
    unattributed: Mapping[str, int] | None = None
    core_owners: Mapping[Pair | str, float] | None = None


@dataclass(frozen=True, slots=True)
class Joined:
    """One tick's join: everything that needs no memory of earlier ticks.

    `pod_uids` are the pods known now, None while pods are not known: accounts of others may go.
    """

    devices: tuple[DeviceUse, ...]
    pairs: tuple[PairUse, ...]
    failures: frozenset[Failure]
    pod_uids: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class DeviceAccount:
    """Counters of one GPU since the program started; seconds and joules."""

    observed: float = 0.0
    busy: float = 0.0
    attributed: float = 0.0
    unattributed: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    energy: float = 0.0
    energy_unattributed: float = 0.0
    utilization: float | None = None


@dataclass(frozen=True, slots=True)
class PairAccount:
    """Counters of one pair; `utilization` is None until 15 s of it were observed."""

    busy: float = 0.0
    energy: float = 0.0
    last_active: float = 0.0
    utilization: float | None = None


@dataclass(frozen=True, slots=True)
class NamespaceAccount:
    """The counters to bill from, for one namespace on one GPU."""

    busy: float = 0.0
    memory_used: float = 0.0
    memory_granted: float = 0.0
    core_granted: float = 0.0
    energy: float = 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a scrape serves: immutable, complete, made once a tick.

    `ready` is None when at least one GPU's reading is fresh, else the reason for people.
    `blind` says why use is absent, None if it is not.
    """

    node: str
    taken: float
    devices: tuple[DeviceUse, ...]
    pairs: tuple[PairUse, ...]
    device_accounts: Mapping[str, DeviceAccount]
    pair_accounts: Mapping[Pair, PairAccount]
    namespace_accounts: Mapping[tuple[str, str], NamespaceAccount]
    pod_labels: tuple[tuple[str, str, Mapping[str, str]], ...]
    statuses: tuple[SourceStatus, ...]
    failures: Mapping[str, int]
    not_ready: str | None
    blind: str | None
