"""The vocabulary: frozen values that the rooms hand to each other; no behaviour beyond a property.

Units: bytes, seconds, joules, watts, degrees Celsius, ratios (1 = one whole GPU), unless a name ends in
`_us` (microseconds). `None` always means "not known" and is never added up as 0.

Two clocks appear. `wall` is Unix time and is only ever shown. `clock` is a source's own
monotonic seconds: only differences mean anything, so a stepped wall clock moves no account.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

# ---------------------------------------------------------------- what the driver says


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU, or one MIG instance, as enumerated: `index` and `name` are NVML's, `driver` its version text.

    `parent` is the UUID of the GPU that an instance is cut from, whose `index` it bears; "" for a whole GPU.
    """

    uuid: str
    index: int
    name: str
    driver: str
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Memory:
    """A GPU's memory in bytes; `reserved` is None with NVML's v1 call, where `used` contains it."""

    total: int
    used: int
    reserved: int | None


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that the driver lists on one GPU, once, whichever of its lists name it.

    `used` is None where the driver does not say. `mps` is true for a client of an MPS server.
    """

    pid: int
    used: int | None
    mps: bool = False


@dataclass(frozen=True, slots=True)
class SmSample:
    """One PID's SM share (percent of the GPU) since the last reading, stamped by the driver."""

    pid: int
    timestamp_us: int
    sm: float


@dataclass(frozen=True, slots=True)
class CoreReading:
    """The raw answer to "who used the SMs since `last_seen_us`", asked at `now_us` (Unix µs).

    `device` has the GPU's own samples since then, (stamp in µs, percent), oldest first; None where
    the driver does not keep them.
    """

    last_seen_us: int
    now_us: int
    samples: tuple[SmSample, ...]
    device: tuple[tuple[int, float], ...] | None = None


@dataclass(frozen=True, slots=True)
class DeviceReading:
    """All that one GPU's reader learned in one pass; absent facts are None.

    `boottime` is the kernel's CLOCK_BOOTTIME just before the processes were listed: what started
    later cannot be what the driver listed. `window` is what law 9 lets us book of `core`.
    `capabilities` maps capability to its reason (`supported`, `not_supported`, …). `instances` are the readings of its
    MIG instances, which have the memory and the processes then; None: it has some, but they may not be listed.
    """

    device: Device
    wall: float
    clock: float
    boottime: float | None = None
    memory: Memory | None = None
    utilization: float | None = None
    power: float | None = None
    energy: float | None = None
    temperature: float | None = None
    processes: tuple[GpuProcess, ...] | None = None
    core: CoreReading | None = None
    window: CoreWindow | None = None
    capabilities: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    instances: tuple[DeviceReading, ...] | None = ()


@dataclass(frozen=True, slots=True)
class CoreWindow:
    """A span of really observed core time: its length and each PID's GPU-seconds in it.

    `ages` says how many seconds before the reading the driver stamped each PID's newest sample;
    `unplaced` are GPU-seconds that the driver books on the GPU, but on no PID.
    """

    seconds: float
    busy: Mapping[int, float]
    ages: Mapping[int, float]
    unplaced: float = 0.0


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """How a source is doing; the closed-list `errors` count from 0 since the program started."""

    source: str
    up: bool
    last_success: float | None
    errors: Mapping[str, int]
    reads: int
    read_seconds: float


@dataclass(frozen=True, slots=True)
class XidEvents:
    """XID events of one code on one GPU since the program started; `last` is the newest's Unix time, None: none."""

    count: int
    last: float | None


@dataclass(frozen=True, slots=True)
class DriverState:
    """What the driver's edge has in hand: newest reading per GPU, every GPU seen since start.

    MIG instances are devices with readings of their own, as long as their GPU's newest reading has them. `now` is on
    the readings' `clock`; `answered` says whether the driver ever did. `xids` is keyed (UUID of a whole GPU, code), for
    GPUs that tell of such events; known codes are there from 0.
    """

    now: float
    answered: bool
    devices: tuple[Device, ...]
    readings: Mapping[str, DeviceReading]
    status: SourceStatus
    xids: Mapping[tuple[str, int], XidEvents] = field(default_factory=lambda: MappingProxyType({}))


# ---------------------------------------------------------------- what /proc says


@dataclass(frozen=True, slots=True)
class Process:
    """A living process: `start` is its age-proof identity, in seconds since boot (one tick wide).

    `cgroup` is the whole text of /proc/<pid>/cgroup; `nspid` its PIDs from host to innermost.
    """

    pid: int
    start: float
    comm: str
    cgroup: str
    nspid: tuple[int, ...] = ()


Unreadable = Literal["process_gone", "process_unreadable"]


@dataclass(frozen=True, slots=True)
class ProcessState:
    """The answer for the PIDs asked about: a process, or why there is none.

    `answered`: /proc answers now, so that "gone" can be believed. `own_cgroup` is our own cgroup text, "" if it is not
    known.
    """

    answered: bool
    processes: Mapping[int, Process | Unreadable]
    status: SourceStatus
    own_cgroup: str = ""


# ---------------------------------------------------------------- what Kubernetes says

ContainerKind = Literal["app", "init", "sidecar", "ephemeral"]


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a pod's spec with what its status adds.

    `ids` are bare container IDs (no runtime prefix), the current one first, then the previous.
    `asks` maps accelerator resource names to whole numbers (limits, else requests); None where
    the quantity is no whole number. `finished`: it ended and will not be started again.
    """

    name: str
    kind: ContainerKind
    ids: tuple[str, ...] = ()
    asks: Mapping[str, int | None] = field(default_factory=lambda: MappingProxyType({}))
    finished: bool = False


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of this node, cut down on arrival; init containers first, in spec order.

    `annotations` keeps device annotations only, `labels` the allow-listed ones. `created` is the
    API's creationTimestamp (RFC 3339: compares as text). `config_hash` is a static pod's UID as
    the kubelet's cgroups spell it. `claims`: it has resourceClaims.
    """

    uid: str
    namespace: str
    name: str
    node: str
    created: str
    containers: tuple[Container, ...]
    finished: bool = False
    claims: bool = False
    annotations: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    owner_kind: str = ""
    owner_name: str = ""
    config_hash: str = ""
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class PodState:
    """The pods last known; None if never listed, or too old to serve on (law 4).

    `unreadable` holds a key for each object that was not a pod; `status` is None with
    `--no-kubernetes`.
    """

    pods: tuple[Pod, ...] | None
    status: SourceStatus | None
    unreadable: frozenset[str] = frozenset()


# ---------------------------------------------------------------- what HAMi says

GrantSource = Literal["hami", "none", "device_plugin", "dra", "pending", "unreadable"]


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of a GPU, or MIG instance, that a grant may name.

    `grantable` are the most bytes that one container can be granted on it: what HAMi registered, after scaling.
    `memory_unit` are the bytes of one unit of memory in Volcano's annotations, which do not say it. Both None: not
    known. `parent` is the UUID of the GPU that an instance is cut from, else "". `cut`: the GPU has instances, so what
    is granted on it is the size of one, which may be more than was asked.
    """

    grantable: int | None = None
    memory_unit: int | None = None
    parent: str = ""
    cut: bool = False


@dataclass(frozen=True, slots=True)
class GrantedDevice:
    """One device of a device annotation, as written: MiB and percent for NVIDIA by HAMi, 0 percent = not limited.

    Other families, and Volcano, have other units. `instance` is the UUID of the MIG instance that the pod's
    allocations name for it, else "".
    """

    uuid: str
    family: str
    memory_mib: int
    cores_percent: int
    instance: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """What one container was promised on one GPU, or other device, held against its request (law 8).

    `memory` in bytes, always known of NVIDIA's GPUs; `cores` as a ratio of the device, None where not limited. Both are
    None where the family's units are not known. `family` is the name of one of `hami/families.py`.
    """

    uuid: str
    memory: int | None
    cores: float | None
    family: str = "NVIDIA"


@dataclass(frozen=True, slots=True)
class ContainerGrants:
    """All grants of one container, or of a pod as a whole, and where they come from.

    `order` has the GPUs of the container's entry in the annotation's order, also those that were not believed:
    libvgpu's limits go by it. () where there is no entry.
    """

    source: GrantSource
    grants: tuple[Grant, ...] = ()
    order: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """What pods hold on one GPU together: bytes, ratio (cores that are not limited add nothing), containers."""

    memory: int = 0
    cores: float = 0.0
    containers: int = 0


class Owner(NamedTuple):
    """The container that a process or a grant belongs to; the pod's UID tells namesakes apart.

    `container` is "" for a grant of the pod that cannot be placed on one of its containers.
    """

    pod_uid: str
    namespace: str
    pod: str
    container: str


class Failure(NamedTuple):
    """Something that could not be placed: closed-list reason, and a key that names it once."""

    reason: str
    key: str
