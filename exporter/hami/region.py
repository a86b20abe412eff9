"""HAMi-core's shared region: what libvgpu limits and has counted, from the pieces of its `*.cache` file.

Of its 2 MB a handful of bytes are in use, so it is read by pieces: the header, from which `layout_of` tells the layout;
the tail (`tail_span`), which has the number of slots; the used slots (`slots_span`), twice, so that `steady` can tell
which of them stood still; then `decode`. Offsets, sizes and meanings: `hami-contract.md` 5.2 to 5.6, compiled there
from five versions of the library's header. All numbers are little endian.

    layout  HAMi                      UUIDs at   seqlock in the slot at
    v1.1a   2.4.1 to 2.8.0            64         (1936: unused, stays 0; a newer library in an old file uses it)
    v1.1b   2.8.1, labelled "1.1"     96         8
    v1.2    2.8.2 to 2.10.0           64         1936

Everything here was written by a tenant: every count is clamped and every value is held against what it can be.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from struct import Struct
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from exporter.errors import RegionError, shorten

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from exporter.model import Failure, SourceStatus

#: Bytes of header to read: up to the first slot in the layout whose header is the longest.
HEADER: Final = 1888
#: Bytes of one process slot in every layout read here.
SLOT: Final = 1960
#: Devices and slots that a region has room for.
MAX_DEVICES: Final = 16
MAX_SLOTS: Final = 1024
#: File sizes (sizeof + 1): the two layouts that are only recognised, and those that are read.
SIZE_P: Final = 804_681
SIZE_V0: Final = 1_197_897
SIZE_V1: Final = 2_008_953
SIZE_V1_SHIFTED: Final = 2_008_985

_MAGIC: Final = 19_920_718
_START: Final = Struct("<iII")  # initialized_flag, major, minor
_VERSIONS: Final = ((1, 1), (1, 2))
_OLD_UUIDS: Final = 56  # where P and v0 have them
_PREFIXES: Final = (b"GPU-", b"MIG-")
_UUID: Final = re.compile(rb"(?:GPU|MIG)-[0-9A-Za-z/-]{1,91}")
# device_num, the UUIDs (16 times 96 bytes), limit, sm_limit and the slots stand in a row in every layout.
_DEVICE_NUM: Final = Struct("<Q")
_UUID_BYTES: Final = 96
_LIMITS: Final = Struct(f"<{MAX_DEVICES}Q{MAX_DEVICES}Q")
_LIMITS_BEHIND_UUIDS: Final = MAX_DEVICES * _UUID_BYTES
_SLOTS_BEHIND_UUIDS: Final = _LIMITS_BEHIND_UUIDS + _LIMITS.size
_TAIL: Final = Struct("<i12xQ")  # proc_num, utilization_switch, recent_kernel, priority, last_kernel_time
_TOTALS: Final = "32xQ24x" * MAX_DEVICES  # of each device_memory_t only the total
_NEGATIVE: Final = 2**63  # an unsigned count that went below zero (HAMi #1181)
_YEAR_10000: Final = 253_402_300_800
_UNLIMITED_PERCENT: Final = 100


@dataclass(frozen=True, slots=True)
class RegionDevice:
    """Entry i of the region's arrays, which need not all mean the same GPU (5.4 [I]).

    `uuid` is the i-th GPU that the container sees, in NVML's order, and `RegionProcess.used[i]` is counted on it; the
    limits are those of the i-th GPU *granted*, in the annotation's order. `limit` in bytes, None = no limit (0 on the
    wire; so is 2^63 and more, which nothing reaches). `core_limit` as a ratio of the GPU, None = no limit (0 on the
    wire, and from 100 % on, which is also what an absent limit is stored as).
    """

    uuid: str
    limit: int | None
    core_limit: float | None


@dataclass(frozen=True, slots=True)
class RegionProcess:
    """One process that libvgpu counts for.

    `pid` is in the container's PID namespace. `host_pid` is libvgpu's own guess, 0 = unknown and often wrong (7.2).
    `used` has the bytes counted on each of the region's devices, None where the figure cannot be.
    """

    pid: int
    host_pid: int
    used: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Region:
    """What libvgpu says about one container.

    `last_kernel` is the Unix time (s) of the last kernel launch or, if later, when a process opened the region; None if
    never.
    """

    layout: str
    devices: tuple[RegionDevice, ...]
    processes: tuple[RegionProcess, ...]
    last_kernel: int | None


@dataclass(frozen=True, slots=True)
class FoundRegion:
    """A region and where it lay: `file` in the directory of a pod and a container, whose name is often wrong (5.1)."""

    pod_uid: str
    directory_container: str
    file: str
    region: Region


@dataclass(frozen=True, slots=True)
class RegionState:
    """All regions of the node as last read, what could not be read, and how the source is doing.

    `waiting` counts the files that libvgpu has created and not filled yet. `complete` are the UIDs of pods that have a
    directory, all of whose files (there may be none) gave a region: who is missing there was never counted.
    """

    regions: tuple[FoundRegion, ...]
    problems: frozenset[Failure]
    waiting: int
    status: SourceStatus
    complete: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a region has what; `slot` reads pid, hostpid, 16 totals and status, `seqlock` that one field.

    `seqlock_first` tells whether the seqlock stands before the figures that it guards, or behind them.
    """

    name: str
    uuids: int
    slot: Struct
    seqlock: Struct
    seqlock_first: bool

    @property
    def slots(self) -> int:
        """The offset of the first slot."""
        return self.uuids + _SLOTS_BEHIND_UUIDS


_PLAIN: Final = Layout("v1.1a", 64, Struct(f"<ii{_TOTALS}896xi28x"), Struct("<1936xQ16x"), seqlock_first=False)
_SHIFTED: Final = Layout("v1.1b", 96, Struct(f"<ii8x{_TOTALS}896xi20x"), Struct("<8xQ1944x"), seqlock_first=True)
_V1_2: Final = replace(_PLAIN, name="v1.2")
#: The layouts that are read, by name.
LAYOUTS: Final = MappingProxyType({layout.name: layout for layout in (_PLAIN, _SHIFTED, _V1_2)})


def layout_of(size: int, header: bytes) -> Layout:
    """Return the layout of a file of `size` bytes that begins with `header` (`HEADER` bytes of it).

    The size says which, and the UUIDs must stand where that layout has them. If they stand elsewhere, they are right:
    an old file stays in use under a newer library, which grows it (5.3). Raises RegionError.
    """
    if not size:
        raise RegionError("region_not_initialised", "the file is still empty")
    if size > SIZE_V1_SHIFTED:
        raise RegionError("region_unsupported", f"no known layout has {size} bytes")
    if size not in {SIZE_P, SIZE_V0, SIZE_V1, SIZE_V1_SHIFTED} or len(header) < HEADER:
        raise RegionError("region_malformed", f"truncated: {size} bytes, {len(header)} of its header")
    magic, *version = _START.unpack_from(header)
    if magic != _MAGIC:
        raise RegionError("region_malformed" if magic else "region_not_initialised", f"magic number {magic}")
    if size in {SIZE_P, SIZE_V0}:
        raise RegionError("region_unsupported", f"{size} bytes: the layout of HAMi 2.4.0 and older")
    layout = _sniffed(size, header)
    if tuple(version) not in _VERSIONS:
        raise RegionError("region_unsupported", f"version {version[0]}.{version[1]}")
    return _V1_2 if layout is _PLAIN and version[1] > 1 else layout


def _sniffed(size: int, header: bytes) -> Layout:
    """Return the layout whose UUIDs are there, the size's own first."""
    likely, other = (_PLAIN, _SHIFTED) if size == SIZE_V1 else (_SHIFTED, _PLAIN)
    for layout in (likely, other):
        if header.startswith(_PREFIXES, layout.uuids):
            return layout
    if header.startswith(_PREFIXES, _OLD_UUIDS):
        raise RegionError("region_unsupported", "UUIDs where HAMi 2.4.0 and older have them")
    found = header[likely.uuids : likely.uuids + len(_PREFIXES[0])]
    if any(found):
        raise RegionError("region_malformed", f"no GPU's UUID begins with {found!r}")
    raise RegionError("region_not_initialised", "no UUID yet")


def tail_span(layout: Layout) -> tuple[int, int]:
    """Return (offset, length) of the tail: the number of slots and the last kernel."""
    return layout.slots + MAX_SLOTS * SLOT, _TAIL.size


def slots_span(layout: Layout, tail: bytes) -> tuple[int, int]:
    """Return (offset, length) of the used slots; those behind are garbage (5.5). Raises RegionError."""
    count, _ = _tail(tail)
    return layout.slots, min(max(count, 0), MAX_SLOTS) * SLOT


def steady(layout: Layout, first: bytes, again: bytes) -> tuple[bytes, frozenset[int]]:
    """Return the slots from two readings of the same span, and the numbers of those that were being written.

    A slot stood still if its seqlock was even, and the same in both (5.6). Of the two readings the one counts that the
    two looks at the seqlock enclose. Raises RegionError if the readings are not whole slots, equally many.
    """
    if len(first) != len(again) or len(first) % SLOT:
        raise RegionError("region_malformed", f"truncated: slots of {len(first)} and {len(again)} bytes")
    looks = zip(layout.seqlock.iter_unpack(first), layout.seqlock.iter_unpack(again), strict=True)
    moving = frozenset(number for number, (one, two) in enumerate(looks) if one != two or one[0] % 2)
    return (first if layout.seqlock_first else again), moving


def decode(
    layout: Layout,
    header: bytes,
    slots: bytes,
    tail: bytes,
    torn: Collection[int] = (),
    physical: Mapping[str, int] = MappingProxyType({}),
) -> tuple[Region, Mapping[str, int]]:
    """Return the region, and how many values were dropped, by reason (`region_value`, `region_torn`).

    `torn` are the slots that never stood still: their processes are known, but not what they use. `physical` has the
    most bytes that a process can have on a GPU, by UUID: its memory, or what HAMi registered where it oversubscribes. A
    figure above that is None, as is one of 2^63 or more. Raises RegionError.
    """
    dropped: Counter[str] = Counter()
    if len(header) < layout.slots or len(slots) != slots_span(layout, tail)[1]:
        raise RegionError("region_malformed", f"truncated: header {len(header)} bytes, slots {len(slots)} bytes")
    count, last_kernel = _tail(tail)
    dropped["region_value"] += not 0 <= count <= MAX_SLOTS
    if last_kernel >= _YEAR_10000:
        dropped["region_value"] += 1
        last_kernel = 0
    devices = _devices(layout, header, dropped)
    most = tuple(min(physical.get(device.uuid, _NEGATIVE - 1), _NEGATIVE - 1) for device in devices)
    processes = tuple(_processes(layout, slots, most, torn, dropped))
    return Region(layout.name, devices, processes, last_kernel or None), +dropped


def _tail(tail: bytes) -> tuple[int, int]:
    """Return the number of slots, as written, and the last kernel's time."""
    if len(tail) != _TAIL.size:
        raise RegionError("region_malformed", f"truncated: tail of {len(tail)} bytes")
    count, last_kernel = _TAIL.unpack(tail)
    return count, last_kernel


def _devices(layout: Layout, header: bytes, dropped: Counter[str]) -> tuple[RegionDevice, ...]:
    """Return the devices; a container that sees more than 16 has 16 of them here."""
    (count,) = _DEVICE_NUM.unpack_from(header, layout.uuids - _DEVICE_NUM.size)
    if not count:
        raise RegionError("region_not_initialised", "no GPU yet")
    known = min(count, MAX_DEVICES)
    places = range(layout.uuids, layout.uuids + known * _UUID_BYTES, _UUID_BYTES)
    uuids = [_uuid(header[at : at + _UUID_BYTES]) for at in places]
    if len(set(uuids)) < known:
        raise RegionError("region_malformed", f"one UUID twice among {shorten(' '.join(uuids))}")
    fields = _LIMITS.unpack_from(header, layout.uuids + _LIMITS_BEHIND_UUIDS)
    limits, core_limits = fields[:known], fields[MAX_DEVICES:]
    dropped["region_value"] += (count > known) + sum([limit >= _NEGATIVE for limit in limits])
    return tuple(
        [
            RegionDevice(uuid, limit if 0 < limit < _NEGATIVE else None, _ratio(percent))
            for uuid, limit, percent in zip(uuids, limits, core_limits, strict=False)
        ]
    )


def _uuid(field: bytes) -> str:
    """Return the UUID in a NUL-padded field."""
    text, _, _ = field.partition(b"\0")
    if not text:
        raise RegionError("region_not_initialised", "fewer UUIDs than GPUs, yet")
    if not _UUID.fullmatch(text):
        raise RegionError("region_malformed", f"no UUID of a GPU: {shorten(text.decode('ascii', 'backslashreplace'))}")
    return text.decode("ascii")


def _ratio(percent: int) -> float | None:
    """Return a core limit; libvgpu's rate limiter lets 0 and everything from 100 on pass."""
    return percent / 100 if 0 < percent < _UNLIMITED_PERCENT else None


def _processes(
    layout: Layout, slots: bytes, most: tuple[int, ...], torn: Collection[int], dropped: Counter[str]
) -> Iterator[RegionProcess]:
    """Yield the living slots' processes, each PID once."""
    seen: set[int] = set()
    for number, (pid, host_pid, *totals, status) in enumerate(layout.slot.iter_unpack(slots)):
        if not status or not pid:
            continue
        if pid < 0 or pid in seen:
            dropped["region_value"] += 1
            continue
        seen.add(pid)
        if number in torn:
            dropped["region_torn"] += 1
            used: tuple[int | None, ...] = (None,) * len(most)
        else:
            used = tuple([total if total <= limit else None for total, limit in zip(totals, most, strict=False)])
            dropped["region_value"] += used.count(None)
        yield RegionProcess(pid, max(host_pid, 0), used)
