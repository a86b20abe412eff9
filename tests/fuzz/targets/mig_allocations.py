"""Which MIG instance a container got: exporter/hami/mig_allocations.py."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from exporter.errors import AnnotationError
from exporter.hami.mig_allocations import MAX_ALLOCATIONS, MigAllocation, decode, named
from exporter.model import GrantedDevice
from exporter.redaction import annotation
from tests.fuzz.inputs import Choices, grown, json_value, seed, text
from tests.fuzz.promises import refused
from tests.make import GPU, OTHER_GPU

if TYPE_CHECKING:
    from exporter.hami.annotations import Entry

MAX_LEN: Final = 4096
_FIRST: Final = {
    "containerIndex": 0, "deviceIndex": 0, "gpuUUID": GPU, "profile": "1g.10gb", "placement": {"start": 0, "size": 1},
    "migUUID": "MIG-22222222-2222-3333-4444-555555555555", "gpuInstanceID": 7, "computeInstanceID": 0,
}  # fmt: skip
_SECOND: Final = {"containerIndex": 2, "deviceIndex": 1, "gpuUUID": OTHER_GPU, "profile": "2g.20gb"}
#: hami-contract.md 1.6; the latter before the device plugin has added what it made.
EXAMPLES: Final = tuple(map(json.dumps, ([_FIRST], [_FIRST, _FIRST | {"deviceIndex": 1}, _SECOND], [_SECOND])))
SEEDS: Final = (
    *(b"\0\0" + seed(example) for example in (*EXAMPLES, "null", "", "[]")),
    *(bytes([1, entries, example, 0]) for example in range(len(EXAMPLES)) for entries in range(6)),
    *(bytes([1, 1, 0, 1, 0, 7, field, 0, 1, value]) for field in range(8) for value in (0, 5, 11)),
    *(b"\0\0" + long for long in (grown("["), grown("[{},", 3))),
)
_DEVICES: Final = (
    GrantedDevice(GPU, "NVIDIA", 10, 14),
    GrantedDevice(OTHER_GPU, "NVIDIA", 20, 28),
    GrantedDevice("GPU-0", "", 0, 0),
)
#: Entries of a device annotation; an allocation belongs to one of them, to none, or to one of several.
_ENTRIES: Final[tuple[tuple[Entry, ...], ...]] = (
    (),
    (_DEVICES[:1],),
    (_DEVICES[:1], (), _DEVICES[:2]),
    (_DEVICES[:1], _DEVICES[:1]),
    (_DEVICES, _DEVICES),
    ((), (_DEVICES[0], _DEVICES[0]), (_DEVICES[2], _DEVICES[1])),
)


def one_input(data: bytes) -> None:
    """Decode a text: the bytes', or an example with something changed in it; then name the devices of an annotation."""
    choices = Choices(data)
    patched, entries = choices.number(2), choices.one_of(_ENTRIES)
    written = json.dumps(json_value(choices.rest(), EXAMPLES)) if patched else text(choices.rest())
    annotation(written)
    try:
        allocations = decode(written)
        _check(allocations)
        _check_named(entries, named(entries, allocations))
    except AnnotationError as error:
        refused(error)


def _check(allocations: tuple[MigAllocation, ...]) -> None:
    """Hold allocations to their promises."""
    assert len(allocations) <= MAX_ALLOCATIONS
    assert len({(one.container, one.device) for one in allocations}) == len(allocations)
    for one in allocations:
        assert type(one.container) is type(one.device) is int
        assert min(one.container, one.device) >= 0
        assert one.gpu


def _check_named(before: tuple[Entry, ...], after: tuple[Entry, ...]) -> None:
    """Hold the named entries to theirs: nothing but instances is new."""
    assert len(after) == len(before)
    for old, new in zip(before, after, strict=True):
        assert [(one.uuid, one.memory_mib) for one in new] == [(one.uuid, one.memory_mib) for one in old]
        assert all(type(one.instance) is str for one in new)
