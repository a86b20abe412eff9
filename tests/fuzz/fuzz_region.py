"""Coverage-guided fuzzing of the region decoder: `python -m tests.fuzz.fuzz_region -runs=1000000`.

Needs atheris (no dependency of the project: `pip install atheris`); options are libFuzzer's. The input is a recipe:
bytes laid over the pieces of a well-formed file with eight slots, of which there are two readings; or, now and then, it
is the header, slots and tail itself. A finding is an exception that is no RegionError, a region that breaks a promise,
a decoding of more than 10 s, and an allocation of more than 64 MB.
"""

from __future__ import annotations

import sys
from importlib import import_module
from struct import unpack_from
from typing import Any, Final

try:
    atheris: Any = import_module("atheris")
except ImportError:
    sys.exit("atheris is missing: pip install atheris")

with atheris.instrument_imports(include=["exporter"]):
    from exporter.errors import RegionError
    from exporter.hami.region import (
        HEADER,
        Region,
        decode,
        layout_of,
        slots_span,
        steady,
        tail_span,
    )

from tests.cache_files import READ, TABLE, CacheFile, Slot
from tests.make import GIB, GPU

FILES: Final = tuple(bytes(CacheFile(layout, slots=[Slot(pid) for pid in range(1, 9)]).bytes()) for layout in READ)
SIZES: Final = (*(at.size for at in TABLE.values()), 0, 1, TABLE["v1.2"].size + 1)
REASONS: Final = {"region_malformed", "region_not_initialised", "region_unsupported"}
OPTIONS: Final = ("-max_len=4096", "-timeout=10", "-malloc_limit_mb=64", "-print_final_stats=1")
_PATCH: Final = 4


def one_input(data: bytes) -> None:
    """Decode what the fuzzer made."""
    if len(data) < _PATCH:
        return
    kind, size, rest = data[0], SIZES[data[1] % len(SIZES)], data[2:]
    try:
        if kind % 8:
            patched(FILES[kind % len(FILES)], rest)
        else:
            raw(size, rest)
    except RegionError as error:
        if error.reason not in REASONS:
            raise AssertionError(error.reason) from error


def patched(content: bytes, patches: bytes) -> None:
    """Lay patches (two bytes of place, which piece, a length, the bytes) over the pieces of a good file."""
    layout = layout_of(len(content), content[:HEADER])
    tail = piece(content, *tail_span(layout))
    slots = piece(content, *slots_span(layout, bytes(tail)))
    pieces = (bytearray(content[:HEADER]), slots, tail, bytearray(slots))
    while len(patches) > _PATCH:
        (place,), size = unpack_from("<H", patches), 1 + patches[3] % 16
        chosen = pieces[patches[2] % len(pieces)]
        place %= len(chosen)
        new = patches[_PATCH : _PATCH + size][: len(chosen) - place]
        chosen[place : place + len(new)] = new
        patches = patches[_PATCH + size :]
    header, slots, tail, again = pieces
    finish(len(content), bytes(header), (bytes(slots), bytes(again)), bytes(tail))


def piece(content: bytes, at: int, length: int) -> bytearray:
    """Return a piece of a file."""
    return bytearray(content[at : at + length])


def raw(size: int, rest: bytes) -> None:
    """Take the input itself for header, slots and tail."""
    slots = rest[HEADER:]
    finish(size, rest[:HEADER].ljust(HEADER, b"\0"), (slots, slots), rest[-24:])


def finish(size: int, header: bytes, readings: tuple[bytes, bytes], tail: bytes) -> None:
    """Do what the edge does with the pieces, and hold the region against its promises."""
    layout = layout_of(size, header)
    _, length = slots_span(layout, tail)
    first, again = (reading[:length].ljust(length, b"\0") for reading in readings)
    slots, torn = steady(layout, first, again)
    region, dropped = decode(layout, header, slots, tail, torn, {GPU: GIB})
    check(region)
    if not set(dropped) <= {"region_value", "region_torn"}:
        raise AssertionError(dropped)


def check(region: Region) -> None:
    """Raise AssertionError where a region is not what it promises to be."""
    good = region.layout in READ and 1 <= len(region.devices) <= 16 and len(region.processes) <= 1024
    good &= all(device.limit is None or 0 < device.limit < 2**63 for device in region.devices)
    good &= all(device.core_limit is None or 0 < device.core_limit < 1 for device in region.devices)
    good &= all(device.uuid.isascii() and device.uuid.isprintable() for device in region.devices)
    for process in region.processes:
        good &= process.pid > 0 and process.host_pid >= 0 and len(process.used) == len(region.devices)
        good &= all(used is None or 0 <= used < 2**63 for used in process.used)
    if not good:
        raise AssertionError(region)


def main() -> None:
    """Fuzz until libFuzzer's options say stop."""
    atheris.Setup([sys.argv[0], *OPTIONS, *sys.argv[1:]], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
