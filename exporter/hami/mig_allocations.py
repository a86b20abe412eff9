"""Which MIG instance a container got: `hami.io/vgpu-mig-allocations`, beside the devices since 2.10.0.

A JSON array (hami-contract.md 1.6), in which the last three fields come from the device plugin, all of them or none:

    [{"containerIndex": 0, "deviceIndex": 0, "gpuUUID": "GPU-…", "profile": "1g.10gb", "placement": {…},
      "migUUID": "MIG-…", "gpuInstanceID": 7, "computeInstanceID": 0}, …]

`containerIndex` counts as the entries of the device annotation do, so 2.10.0 skips containers without a GPU, if not the
same in both; only its order means anything.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias, cast

from exporter.errors import AnnotationError, shorten

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from exporter.hami.annotations import Entry

#: The annotation on a pod.
ALLOCATIONS: Final = "hami.io/vgpu-mig-allocations"
#: Characters and allocations of one annotation; an honest one needs a hundredth of it.
MAX_TEXT: Final = 64 * 1024
MAX_ALLOCATIONS: Final = 1024
_UINT32_MAX: Final = 2**32 - 1
#: What the device plugin adds to an allocation once it made the instance.
_IDENTITY: Final = ("migUUID", "gpuInstanceID", "computeInstanceID")

#: The allocations of one container: index of the device in its entry → (UUID of the GPU, of the instance or "").
Group: TypeAlias = "dict[int, tuple[str, str]]"


@dataclass(frozen=True, slots=True)
class MigAllocation:
    """One instance cut, or to be cut, from the GPU `gpu`; `instance` is its UUID, "" until there is one."""

    container: int
    device: int
    gpu: str
    instance: str = ""


def decode(text: str) -> tuple[MigAllocation, ...]:
    """Return the allocations in the annotation's order; "" and `null`, a Go list with nothing in it, are none.

    As HAMi's own decoder it takes no allocation without indices and a GPU, none with part of an instance's identity,
    and no second one of the same container and device. Fields that nobody reads may hold anything.

    Raises AnnotationError with the offending piece, shortened.
    """
    if len(text) > MAX_TEXT:
        raise AnnotationError(f"MIG allocations of {len(text)} characters, {MAX_TEXT} are allowed: {shorten(text)}")
    found: dict[tuple[int, int], MigAllocation] = {}
    for item in _items(text) if text else ():
        allocation = _allocation(item)
        if found.setdefault((allocation.container, allocation.device), allocation) is not allocation:
            raise AnnotationError(f"two MIG allocations of container {allocation.container} device {allocation.device}")
    return tuple(found.values())


def named(entries: Sequence[Entry], allocations: Sequence[MigAllocation]) -> tuple[Entry, ...]:
    """Return the entries of the device annotation with the instance of each device that an allocation names.

    Each container's allocations belong to one entry, in the same order, whose devices at those indices are on the same
    GPUs; the indices of containers mean nothing else. There has to be exactly one way to match them.

    Raises AnnotationError if there is none, or more than one.
    """
    groups = _groups(allocations)
    first = _embed(groups, list(enumerate(entries)))
    last = _embed(groups[::-1], list(enumerate(entries))[::-1])
    if first is None or last is None or first != last[::-1]:
        raise AnnotationError(f"{len(groups)} groups of MIG allocations fit {len(entries)} entries in no one way")
    by_entry = dict(zip(first, groups, strict=True))
    return tuple(_with(entry, by_entry.get(index, {})) for index, entry in enumerate(entries))


def _groups(allocations: Sequence[MigAllocation]) -> list[Group]:
    """Return each container's allocations, in the containers' order."""
    groups: dict[int, Group] = {}
    for allocation in sorted(allocations, key=lambda one: one.container):
        groups.setdefault(allocation.container, {})[allocation.device] = (allocation.gpu, allocation.instance)
    return list(groups.values())


def _embed(groups: Sequence[Group], entries: Sequence[tuple[int, Entry]]) -> list[int] | None:
    """Return the index of the first entry that fits each group, each behind the one before; None if they run out.

    From the other end it gives the last ones: if both agree there is no other way.
    """
    left = iter(entries)
    found = [next((index for index, entry in left if _fits(group, entry)), None) for group in groups]
    return None if None in found else cast("list[int]", found)


def _fits(group: Group, entry: Entry) -> bool:
    return all(device < len(entry) and entry[device].uuid == gpu for device, (gpu, _) in group.items())


def _with(entry: Entry, group: Group) -> Entry:
    return tuple(
        replace(device, instance=group[index][1]) if index in group else device for index, device in enumerate(entry)
    )


# ---------------------------------------------------------------- JSON


def _items(text: str) -> list[object]:
    """Return the array's items; what JSON does not know (NaN), or nobody reads (nesting without end), is an error."""
    try:
        items = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"no JSON ({shorten(str(error))}): {shorten(text)}") from error
    if items is None:
        return []
    if not isinstance(items, list) or len(items) > MAX_ALLOCATIONS:
        raise AnnotationError(f"no list of up to {MAX_ALLOCATIONS} MIG allocations: {shorten(text)}")
    return items


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _allocation(raw: object) -> MigAllocation:
    if not isinstance(raw, dict):
        raise AnnotationError(f"a MIG allocation is a {type(raw).__name__}, no object")
    return MigAllocation(
        _number(raw, "containerIndex"), _number(raw, "deviceIndex"), _text(raw, "gpuUUID"), _instance(raw)
    )


def _instance(raw: Mapping[str, object]) -> str:
    """Return the instance's UUID, "" where the device plugin has not said it yet; ids may be 0."""
    there = [name for name in _IDENTITY if raw.get(name) not in (None, "")]
    if not there:
        return ""
    if len(there) < len(_IDENTITY):
        raise AnnotationError(f"part of a MIG instance's identity: only {', '.join(there)}")
    for name in _IDENTITY[1:]:
        _number(raw, name)
    return _text(raw, _IDENTITY[0])


def _number(raw: Mapping[str, object], name: str) -> int:
    number = raw.get(name)
    if type(number) is not int or not 0 <= number <= _UINT32_MAX:
        raise AnnotationError(f"{name} of a MIG allocation is {_shown(number)}, no number from 0 to {_UINT32_MAX}")
    return number


def _text(raw: Mapping[str, object], name: str) -> str:
    text = raw.get(name)
    if not isinstance(text, str) or not text:
        raise AnnotationError(f"{name} of a MIG allocation is {_shown(text)}, no text")
    return text


def _shown(value: object) -> str:
    """Return a plain value, shortened; of one with something inside only the type: it may be nested without end."""
    return shorten(str(value)) if isinstance(value, str | int | float) else f"a {type(value).__name__}"
