"""HAMi-core's cache files, made from the table in `hami-contract.md` 5.3, apart from the decoder's own offsets."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from struct import pack_into
from typing import TYPE_CHECKING, Final

from tests.make import GPU, MIB, uid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.hami.region import RegionState

CAPTURES: Final = Path(__file__).parent / "captures/regions"
MAGIC: Final = 19_920_718
READ: Final = ("v1.1a", "v1.1b", "v1.2")


@dataclass(frozen=True)
class Offsets:
    """One column of the table; those that the layout does not have are None."""

    size: int
    uuids: int
    limit: int
    sm_limit: int
    procs: int
    slot: int
    proc_num: int
    devmem: int
    used: int
    status: int
    seqlock: int | None = None
    last_kernel: int | None = None
    version: tuple[int, int] | None = None


TABLE: Final = {
    "P": Offsets(804681, 56, 1592, 1720, 1848, 784, 804664, 40, 8, 776),
    "v0": Offsets(1197897, 56, 1592, 1720, 1848, 1168, 1197880, 40, 8, 1160),
    "v1.1a": Offsets(2008953, 64, 1600, 1728, 1856, 1960, 2008896, 64, 8, 1928, None, 2008912, (1, 1)),
    "v1.1b": Offsets(2008985, 96, 1632, 1760, 1888, 1960, 2008928, 64, 16, 1936, 8, 2008944, (1, 1)),
    "v1.2": Offsets(2008953, 64, 1600, 1728, 1856, 1960, 2008896, 64, 8, 1928, 1936, 2008912, (1, 2)),
}


@dataclass(frozen=True)
class Slot:
    """One process slot; `used` are total bytes by device."""

    pid: int
    used: Sequence[int] = (100 * MIB,)
    host_pid: int = 0
    status: int = 1
    seqlock: int = 0


@dataclass(frozen=True)
class CacheFile:
    """What to write; each field on its own may be wrong on purpose."""

    layout: str = "v1.2"
    uuids: Sequence[str] = (GPU,)
    limits: Sequence[int] = (2000 * MIB,)
    cores: Sequence[int] = (30,)
    slots: Sequence[Slot] = (Slot(7),)
    last_kernel: int = 1_795_293_069
    magic: int = MAGIC
    version: tuple[int, int] | None = None
    device_num: int | None = None
    proc_num: int | None = None

    def bytes(self) -> bytearray:
        """Return the whole file."""
        at = TABLE[self.layout]
        content = bytearray(at.size)
        pack_into("<i", content, 0, self.magic)
        version = self.version or at.version
        if version:
            pack_into("<II", content, 4, *version)
        pack_into("<Q", content, at.uuids - 8, len(self.uuids) if self.device_num is None else self.device_num)
        for number, uuid in enumerate(self.uuids):
            pack_into("96s", content, at.uuids + 96 * number, uuid.encode())
        pack_into(f"<{len(self.limits)}Q", content, at.limit, *self.limits)
        pack_into(f"<{len(self.cores)}Q", content, at.sm_limit, *self.cores)
        pack_into("<i", content, at.proc_num, len(self.slots) if self.proc_num is None else self.proc_num)
        if at.last_kernel is not None:
            pack_into("<Q", content, at.last_kernel, self.last_kernel)
        for number, slot in enumerate(self.slots):
            self._put(content, at.procs + number * at.slot, slot)
        return content

    def _put(self, content: bytearray, base: int, slot: Slot) -> None:
        at = TABLE[self.layout]
        pack_into("<ii", content, base, slot.pid, slot.host_pid)
        pack_into("<i", content, base + at.status, slot.status)
        for device, total in enumerate(slot.used):
            pack_into("<Q", content, base + at.used + device * at.devmem + 32, total)
        if at.seqlock is not None:
            pack_into("<Q", content, base + at.seqlock, slot.seqlock)


def recorded(name: str) -> bytes:
    """Return a recorded cache file: a layout's name, or a path below the captures."""
    return gzip.decompress((CAPTURES / f"{name}.cache.gz").read_bytes())


def unpack_moment(seconds: int, root: Path) -> None:
    """Lay the recorded node's files of one moment out below `root`, as HAMi had them."""
    for packed in sorted((CAPTURES / f"containers-at-{seconds}s").glob("*/*.cache.gz")):
        folder = root / packed.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / packed.name.removesuffix(".gz")).write_bytes(gzip.decompress(packed.read_bytes()))


#: A pod's UID, its container's directory, and what that normally holds: one process, 7, with 100 MiB.
POD: Final = uid("model")
BOX: Final = f"{POD}_main"
GOOD: Final = bytes(CacheFile().bytes())


def put(root: Path, content: bytes | bytearray = GOOD, *, box: str = BOX, file: str = "a.cache") -> Path:
    """Write a cache file into a container's directory and return its path."""
    (root / box).mkdir(parents=True, exist_ok=True)
    path = root / box / file
    path.write_bytes(content)
    return path


def pids(state: RegionState) -> list[int]:
    """Return the PIDs of all regions' processes."""
    return [process.pid for found in state.regions for process in found.region.processes]


def reasons(state: RegionState) -> dict[str, str]:
    """Return key → reason of what could not be read."""
    return {key: reason for reason, key in state.problems}


def failures(state: RegionState) -> dict[str, int]:
    """Return the source's failures that are not 0."""
    return {reason: count for reason, count in state.status.errors.items() if count}
