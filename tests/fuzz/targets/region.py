"""HAMi-core's shared region: exporter/hami/region.py.

The input is a recipe: bytes laid over the pieces of a well-formed file with eight slots, of which there are two
readings; or, now and then, it is the header, slots and tail itself.
"""

from __future__ import annotations

from struct import unpack_from
from typing import TYPE_CHECKING, Final

from exporter.errors import RegionError
from exporter.hami.region import HEADER, MAX_DEVICES, MAX_SLOTS, SLOT, decode, layout_of, slots_span, steady, tail_span
from tests.cache_files import READ, TABLE, CacheFile, Slot, recorded
from tests.fuzz.promises import refused
from tests.make import GIB, GPU

if TYPE_CHECKING:
    from exporter.hami.region import Region

MAX_LEN: Final = 4096
_FILES: Final = tuple(bytes(CacheFile(layout, slots=[Slot(pid) for pid in range(1, 9)]).bytes()) for layout in READ)
_SIZES: Final = (*(at.size for at in TABLE.values()), 0, 1, TABLE["v1.2"].size + 1)
_REASONS: Final = {"region_malformed", "region_not_initialised", "region_unsupported"}
_PATCH: Final = 4


def _raw_seed(name: str) -> bytes:
    """Return a recorded file's header, first slot and tail, as `_raw` takes them apart."""
    content = recorded(name)
    at, length = tail_span(layout_of(len(content), content[:HEADER]))
    size = _SIZES.index(len(content))
    return bytes([0, size]) + content[: HEADER + SLOT] + content[at : at + length]


SEEDS: Final = (
    *map(_raw_seed, READ),
    *(bytes([1 + kind, 0, 64, 0, piece, 3, 255, 1, 2, 3]) for kind in range(len(READ)) for piece in range(4)),
    b"\1\0\0\0\2\3\xff\xff\xff\x7f",
)


def one_input(data: bytes) -> None:
    """Decode what the fuzzer made."""
    if len(data) < _PATCH:
        return
    kind, size, rest = data[0], _SIZES[data[1] % len(_SIZES)], data[2:]
    try:
        if kind % 8:
            _patched(_FILES[kind % len(_FILES)], rest)
        else:
            _raw(size, rest)
    except RegionError as error:
        refused(error, _REASONS)


def _patched(content: bytes, patches: bytes) -> None:
    """Lay patches (two bytes of place, which piece, a length, the bytes) over the pieces of a good file."""
    layout = layout_of(len(content), content[:HEADER])
    tail = _piece(content, *tail_span(layout))
    slots = _piece(content, *slots_span(layout, bytes(tail)))
    pieces = (bytearray(content[:HEADER]), slots, tail, bytearray(slots))
    while len(patches) > _PATCH:
        (place,), size = unpack_from("<H", patches), 1 + patches[3] % 16
        chosen = pieces[patches[2] % len(pieces)]
        place %= len(chosen)
        new = patches[_PATCH : _PATCH + size][: len(chosen) - place]
        chosen[place : place + len(new)] = new
        patches = patches[_PATCH + size :]
    header, slots, tail, again = pieces
    _finish(len(content), bytes(header), (bytes(slots), bytes(again)), bytes(tail))


def _piece(content: bytes, at: int, length: int) -> bytearray:
    return bytearray(content[at : at + length])


def _raw(size: int, rest: bytes) -> None:
    """Take the input itself for header, slots and tail."""
    slots = rest[HEADER:]
    _finish(size, rest[:HEADER].ljust(HEADER, b"\0"), (slots, slots), rest[-24:])


def _finish(size: int, header: bytes, readings: tuple[bytes, bytes], tail: bytes) -> None:
    """Do what the edge does with the pieces, and hold the region to its promises."""
    layout = layout_of(size, header)
    _, length = slots_span(layout, tail)
    first, again = (reading[:length].ljust(length, b"\0") for reading in readings)
    slots, torn = steady(layout, first, again)
    region, dropped = decode(layout, header, slots, tail, torn, {GPU: GIB})
    assert set(dropped) <= {"region_value", "region_torn"}
    _check(region)


def _check(region: Region) -> None:
    """Hold a region to its promises, and to what can be a label."""
    assert region.layout in READ
    assert 1 <= len(region.devices) <= MAX_DEVICES
    assert len(region.processes) <= MAX_SLOTS
    for device in region.devices:
        assert device.limit is None or 0 < device.limit < 2**63
        assert device.core_limit is None or 0 < device.core_limit < 1
        assert device.uuid.isascii()
        assert device.uuid.isprintable()
    for process in region.processes:
        assert process.pid > 0
        assert process.host_pid >= 0
        assert len(process.used) == len(region.devices)
        assert all(used is None or 0 <= used < 2**63 for used in process.used)
