"""HAMi-core's regions in a capture: as values, and as the objects of a line of the kind `regions`.

Only what is decoded is recorded, never a file's bytes; read back, it is held against the same bounds as a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from exporter.hami.region import MAX_DEVICES, MAX_SLOTS, FoundRegion, Region, RegionDevice, RegionProcess
from exporter.json_values import known, mapping, number, sequence, whole, word

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable

_MOST_BYTES: Final = 2**63 - 1
_LAST_PID: Final = 2**31 - 1
_LAST_SECOND: Final = 253_402_300_799  # of the year 9999


@dataclass(frozen=True, slots=True)
class RecordedRegions:
    """The node's regions as they were read at one moment; the fields mean what `RegionState`'s mean."""

    regions: tuple[FoundRegion, ...]
    complete: frozenset[str]
    waiting: int


def decoded(line: dict[str, Any]) -> RecordedRegions | None:
    """Return what a line tells, None if it says that nothing is known; raises KeyError, TypeError or ValueError."""
    if line["items"] is None:
        return None
    return RecordedRegions(
        regions=tuple(_found(mapping(item)) for item in sequence(line["items"])),
        complete=frozenset(map(word, sequence(line["complete"]))),
        waiting=whole(line["waiting"]),
    )


def _found(raw: dict[str, Any]) -> FoundRegion:
    devices = tuple(_device(mapping(one)) for one in sequence(raw["devices"], MAX_DEVICES))
    processes = tuple(_process(mapping(one), len(devices)) for one in sequence(raw["processes"], MAX_SLOTS))
    _check_distinct("GPU", [device.uuid for device in devices])
    _check_distinct("PID", [process.pid for process in processes])
    last_kernel = known(partial(whole, most=_LAST_SECOND), raw.get("last_kernel"))
    region = Region(word(raw["layout"]), devices, processes, last_kernel)
    return FoundRegion(word(raw["pod_uid"]), word(raw["container"]), word(raw["file"]), region)


def _device(raw: dict[str, Any]) -> RegionDevice:
    limit = known(partial(whole, most=_MOST_BYTES), raw.get("limit"))
    return RegionDevice(word(raw["uuid"]), limit, known(number, raw.get("core_limit")))


def _process(raw: dict[str, Any], devices: int) -> RegionProcess:
    used = tuple(known(partial(whole, most=_MOST_BYTES), one) for one in sequence(raw["used"], devices))
    if len(used) < devices:
        raise ValueError(f"{len(used)} figures for {devices} GPUs")
    return RegionProcess(whole(raw["pid"], _LAST_PID), whole(raw["host_pid"], _LAST_PID), used)


def _check_distinct(what: str, values: Collection[Hashable]) -> None:
    if len(set(values)) < len(values):
        raise ValueError(f"one {what} twice in a region")


def encoded(regions: RecordedRegions | None) -> dict[str, Any]:
    """Return what `decoded` reads back, to be put into a line."""
    if regions is None:
        return {"items": None}
    items = [_item(found) for found in regions.regions]
    return {"items": items, "complete": sorted(regions.complete), "waiting": regions.waiting}


def _item(found: FoundRegion) -> dict[str, Any]:
    region = found.region
    return {
        "pod_uid": found.pod_uid,
        "container": found.directory_container,
        "file": found.file,
        "layout": region.layout,
        "devices": [{"uuid": one.uuid, "limit": one.limit, "core_limit": one.core_limit} for one in region.devices],
        "processes": [{"pid": one.pid, "host_pid": one.host_pid, "used": one.used} for one in region.processes],
        "last_kernel": region.last_kernel,
    }
