"""What one tick makes of everything: who uses what now (join), what has added up (accounting), and the snapshot.

Frozen values as in `model.py`, whose units and two clocks hold here too. `None` is "not known", never 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.hami.node_register import RegisteredDevice
    from exporter.model import Device, DeviceReading, Failure, GrantSource, Held, Owner, Pod, SourceStatus, XidEvents


class Counted(NamedTuple):
    """What HAMi-core's region says of one container on one GPU, and what is missing there.

    `limit`, `counted` and `uncounted` in bytes, `core_limit` as a ratio of the GPU (both None: no limit, too),
    `last_kernel` in Unix seconds. `blind`: libvgpu believes in none of the container's processes.
    """

    limit: int | None = None
    core_limit: float | None = None
    counted: int | None = None
    uncounted: int | None = None
    processes_uncounted: int | None = None
    blind: bool | None = None
    last_kernel: int | None = None


@dataclass(frozen=True, slots=True)
class PairUse:
    """One container on one GPU at this moment.

    `memory_granted` is None where nothing says how much, `core_granted` also where cores are not
    limited. `used` and `processes` are None while attribution is not possible, and where the owner is a
    pod as a whole (its container is ""). `counted` is empty without a region.
    """

    uuid: str
    owner: Owner
    pod: Pod
    grant_source: GrantSource
    memory_granted: int | None
    core_granted: float | None
    used: int | None
    processes: int | None
    counted: Counted


@dataclass(frozen=True, slots=True)
class DeviceUse:
    """One GPU at this moment: its reading, if fresh, and how its memory and core time add up (law 1).

    `unattributed` maps reason to bytes; it and `overcounted` are None without a device total, all
    four are None while attribution is not possible. `core_owners` splits the reading's window
    (GPU-seconds) by owner or, where there is none, by reason.
    """

    device: Device
    reading: DeviceReading | None
    granted: Held
    attributed: int | None = None
    overcounted: int | None = None
    unattributed: Mapping[str, int] | None = None
    core_owners: Mapping[Owner | str, float] | None = None


@dataclass(frozen=True, slots=True)
class Joined:
    """One tick's join. `pod_uids` are the pods known now, None while pods are not known.

    `granted` is what each namespace holds on each GPU, keyed (device UUID, namespace). `blind`
    says why use is absent, None if it is not; `no_host_pid`, that it is for want of the host's PIDs.
    """

    devices: tuple[DeviceUse, ...]
    pairs: tuple[PairUse, ...]
    granted: Mapping[tuple[str, str], Held]
    failures: frozenset[Failure]
    pod_uids: frozenset[str] | None
    blind: str | None
    no_host_pid: bool


@dataclass(frozen=True, slots=True)
class DeviceAccount:
    """Counters of one GPU since the program started; seconds and joules.

    `timed`: the driver answers core time for it. `utilization` is the driver's own busy share, mean
    of the last 60 s.
    """

    timed: bool
    observed: float
    busy: float
    attributed: float
    unattributed: Mapping[str, float]
    energy: float | None
    energy_unattributed: float | None
    utilization: float | None


@dataclass(frozen=True, slots=True)
class PairAccount:
    """Counters of one pair; `busy` and `energy` are None where the driver does not tell.

    `utilization` is None until 15 s of it were observed; `last_active` is Unix time.
    """

    busy: float | None
    energy: float | None
    last_active: float
    utilization: float | None


@dataclass(frozen=True, slots=True)
class NamespaceAccount:
    """The counters to bill from, for one namespace on one GPU: seconds, byte-seconds, joules.

    `busy` and `energy` are None where the driver does not tell.
    """

    busy: float | None
    memory_used: float
    memory_granted: float
    core_granted: float
    energy: float | None


@dataclass(frozen=True, slots=True)
class Accounts:
    """All counters at one moment; pairs are keyed (device UUID, owner), namespaces (device UUID, namespace)."""

    devices: Mapping[str, DeviceAccount]
    pairs: Mapping[tuple[str, Owner], PairAccount]
    namespaces: Mapping[tuple[str, str], NamespaceAccount]
    failures: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a scrape serves: immutable, complete, made once a tick; `taken` is Unix time.

    `registered` is what HAMi registered of this node's GPUs, by UUID. `not_ready` is None once one GPU's reading is
    fresh, else the reason, for people. `xids` are the driver's (`DriverState`), of GPUs that are down, too.
    """

    node: str
    taken: float
    joined: Joined
    accounts: Accounts
    statuses: tuple[SourceStatus, ...]
    not_ready: str | None
    registered: Mapping[str, RegisteredDevice] = field(default_factory=lambda: MappingProxyType({}))
    xids: Mapping[tuple[str, int], XidEvents] = field(default_factory=lambda: MappingProxyType({}))
