"""HAMi-core's region: three layouts decoded, two recognised, and no bytes that can do more than be refused."""

from __future__ import annotations

import json
import random
from struct import pack_into, unpack_from
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import RegionError
from exporter.hami.region import (
    HEADER,
    LAYOUTS,
    SLOT,
    Region,
    RegionDevice,
    RegionProcess,
    decode,
    layout_of,
    slots_span,
    steady,
    tail_span,
)
from tests.cache_files import CAPTURES, MAGIC, READ, TABLE, CacheFile, Slot, recorded
from tests.make import GIB, GPU, MIB, OTHER_GPU

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BEYOND = "region_malformed", "region_not_initialised", "region_unsupported"


def read(
    content: bytes | bytearray, physical: Mapping[str, int] | None = None, size: int | None = None
) -> tuple[Region, Mapping[str, int]]:
    """Read a file by pieces, as the edge does; what is not there comes back short."""
    content = bytes(content)
    layout = layout_of(len(content) if size is None else size, content[:HEADER])
    at, length = tail_span(layout)
    tail = content[at : at + length]
    at, length = slots_span(layout, tail)
    slots, torn = steady(layout, content[at : at + length], content[at : at + length])
    return decode(layout, content[:HEADER], slots, tail, torn, physical or {})


def refused(content: bytes | bytearray, size: int | None = None) -> str:
    """Return the reason for which a file is refused."""
    with pytest.raises(RegionError) as caught:
        read(content, size=size)
    return caught.value.reason


def only(region: Region) -> RegionProcess:
    """Return the one process there is."""
    [process] = region.processes
    return process


@pytest.mark.parametrize("layout", READ)
def test_a_recorded_region_is_what_its_own_library_reads_in_it(layout: str) -> None:
    """Each layout decodes to what a program built against that version's header printed, and to NVML's bytes."""
    truth: dict[str, Any] = json.loads((CAPTURES / "truth.json").read_text())[layout]
    content, fields = recorded(layout), truth["fields"]

    region, dropped = read(content)

    assert (len(content), dropped) == (truth["file_size"], {})
    assert region == Region(
        layout=layout,
        devices=(RegionDevice(fields["uuid0"], fields["limit0"], fields["sm_limit0"] / 100),),
        processes=tuple(RegionProcess(one["pid"], one["hostpid"], (one["total"],)) for one in fields["procs"]),
        last_kernel=fields["last_kernel_time"],
    )
    driver = {one["pid"]: one["used"] for one in truth["nvml_at_the_same_moment"]}
    assert all(process.used == (driver[process.host_pid],) for process in region.processes)


@pytest.mark.parametrize("layout", READ)
def test_every_field_is_read_where_the_contracts_table_has_it(layout: str) -> None:
    """A file made from the table, with 16 devices and 1024 processes of distinct figures, comes back whole."""
    uuids = [f"GPU-{number:08d}-0000-0000-0000-000000000000" for number in range(16)]
    slots = [Slot(1 + pid, [pid * 16 + device for device in range(16)], 5000 + pid) for pid in range(1024)]
    limits, cores = range(1, 17), range(1, 17)

    region, dropped = read(CacheFile(layout, uuids, limits, cores, slots).bytes())

    assert not dropped
    assert region.devices == tuple(
        RegionDevice(uuid, limit, core / 100) for uuid, limit, core in zip(uuids, limits, cores, strict=True)
    )
    assert region.processes == tuple(RegionProcess(slot.pid, slot.host_pid, tuple(slot.used)) for slot in slots)


@pytest.mark.parametrize("layout", ["P", "v0"])
def test_the_oldest_layouts_are_recognised_and_not_read(layout: str) -> None:
    """P and v0 files, built from the contract's table, are unsupported by their size."""
    assert refused(CacheFile(layout).bytes()) == "region_unsupported"


def test_an_old_file_that_a_newer_library_has_grown_is_unsupported() -> None:
    """UUIDs at 56 in a file of the new size: its fields stand where 2.4.0 has them."""
    content = CacheFile("v0").bytes().ljust(TABLE["v1.2"].size, b"\0")

    assert refused(content) == "region_unsupported"


@pytest.mark.parametrize(("layout", "size_of"), [("v1.1b", "v1.2"), ("v1.1a", "v1.1b"), ("v1.2", "v1.1b")])
def test_the_uuids_place_beats_the_size(layout: str, size_of: str) -> None:
    """A file of one layout's size with the other's UUIDs is read as the UUIDs say (5.3)."""
    expected = read(CacheFile(layout).bytes())
    content = CacheFile(layout).bytes().ljust(TABLE["v1.1b"].size, b"\0")[: TABLE[size_of].size]

    assert read(content) == expected


def test_where_both_places_have_uuids_the_size_decides() -> None:
    """A file of 2.8.2 that 2.8.1 has grown and written its UUIDs into is 2.8.1's."""
    content = CacheFile("v1.1b", version=(1, 2)).bytes()
    content[64:68] = b"GPU-"

    region, _ = read(content)

    assert region.layout == "v1.1b"


@pytest.mark.parametrize("version", [(0, 0), (1, 0), (1, 3), (2, 0), (2, 1), (2**32 - 1, 2**32 - 1)])
def test_a_version_that_nobody_knows_is_unsupported(version: tuple[int, int]) -> None:
    """Only 1.1 and 1.2 are read: another version may have the same size and mean something else."""
    content = CacheFile().bytes()
    pack_into("<II", content, 4, *version)

    assert refused(content) == "region_unsupported"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(TABLE["v1.2"].size),
        bytes(TABLE["v1.1b"].size),
        bytes(TABLE["v0"].size),
        CacheFile(magic=0).bytes(),
        CacheFile(uuids=()).bytes(),
        CacheFile(device_num=0).bytes(),
        CacheFile(device_num=2).bytes(),
        CacheFile("v1.1b", uuids=()).bytes(),
    ],
    ids=["empty", "zeros", "zeros-b", "zeros-0", "no-magic", "no-uuids", "no-devices", "one-of-two", "no-uuids-b"],
)
def test_a_file_that_is_not_filled_yet_is_no_failure(content: bytes) -> None:
    """Just created, without the magic number, or without (all) UUIDs: it waits for its library."""
    assert refused(content) == "region_not_initialised"


@pytest.mark.parametrize(
    "wrong",
    [
        CacheFile(magic=1),
        CacheFile(magic=-MAGIC),
        CacheFile(uuids=["XPU-1"]),
        CacheFile("v1.1b", uuids=["\x80GPU-609c"]),
        CacheFile(uuids=["GPU-\n"]),
        CacheFile(uuids=["GPU-" + "1" * 92]),
        CacheFile(uuids=[GPU, "\x1b[2J"]),
        CacheFile(uuids=[GPU, GPU]),
    ],
    ids=["magic", "negative-magic", "prefix", "shifted", "control", "too-long", "second", "twice"],
)
def test_what_no_library_writes_is_malformed(wrong: CacheFile) -> None:
    """A wrong magic number, and a UUID that is none or is there twice, refuse the file."""
    assert refused(wrong.bytes()) == "region_malformed"


def test_a_mig_instance_is_a_device() -> None:
    """MIG UUIDs of both spellings are UUIDs."""
    uuids = ["MIG-41b13c2a-5320-be5a-c26f-88e189a03e14", f"MIG-{GPU}/7/0"]

    region, _ = read(CacheFile(uuids=uuids).bytes())

    assert [device.uuid for device in region.devices] == uuids


@pytest.mark.parametrize(
    ("on_the_wire", "limit", "dropped"),
    [(0, None, 0), (1, 1, 0), (2**63 - 1, 2**63 - 1, 0), (2**63, None, 1), (2**64 - 1, None, 1)],
)
def test_a_memory_limit_of_0_is_none(on_the_wire: int, limit: int | None, dropped: int) -> None:
    """0 and what nothing can reach are no limit; the latter is counted."""
    region, problems = read(CacheFile(limits=[on_the_wire]).bytes())

    assert (region.devices[0].limit, problems.get("region_value", 0)) == (limit, dropped)


@pytest.mark.parametrize(
    ("percent", "ratio"), [(0, None), (1, 0.01), (30, 0.3), (99, 0.99), (100, None), (2**64 - 1, None)]
)
def test_a_core_limit_is_a_ratio_below_1(percent: int, ratio: float | None) -> None:
    """0 and from 100 percent on libvgpu does not limit."""
    region, _ = read(CacheFile(cores=[percent]).bytes())

    assert region.devices[0].core_limit == ratio


@pytest.mark.parametrize(
    ("stamp", "last_kernel"), [(0, None), (1, 1), (253_402_300_799, 253_402_300_799), (253_402_300_800, None)]
)
def test_the_last_kernel_is_a_time_or_none(stamp: int, last_kernel: int | None) -> None:
    """0 is never, and a time after the year 9999 is dropped."""
    region, dropped = read(CacheFile(last_kernel=stamp).bytes())

    assert (region.last_kernel, bool(dropped)) == (last_kernel, stamp > 253_402_300_799)


def test_dead_slots_are_no_processes() -> None:
    """Slots with status 0 or PID 0, which newer libraries leave with their old totals, are dropped in silence."""
    region, dropped = read(CacheFile(slots=[Slot(0), Slot(3, status=0), Slot(4, status=2)]).bytes())

    assert (only(region).pid, dropped) == (4, {})


def test_slots_behind_the_count_are_garbage() -> None:
    """Only the first `proc_num` slots are read."""
    region, _ = read(CacheFile(slots=[Slot(1), Slot(2)], proc_num=1).bytes())

    assert only(region).pid == 1


@pytest.mark.parametrize(("count", "found"), [(-1, 0), (-(2**31), 0), (1025, 2), (2**31 - 1, 2)])
def test_the_number_of_slots_is_clamped(count: int, found: int) -> None:
    """Fewer than 0 are none, more than 1024 are 1024, and either is counted."""
    region, dropped = read(CacheFile(slots=[Slot(1), Slot(2)], proc_num=count).bytes())

    assert (len(region.processes), dropped) == (found, {"region_value": 1})


@pytest.mark.parametrize("count", [17, 2**31, 2**64 - 1])
def test_the_number_of_devices_is_clamped(count: int) -> None:
    """A container that sees more than 16 GPUs has the first 16 here, and that is counted."""
    uuids = [f"GPU-{number:08d}" for number in range(16)]

    region, dropped = read(CacheFile(uuids=uuids, device_num=count, slots=[]).bytes())

    assert (len(region.devices), dropped) == (16, {"region_value": 1})


@pytest.mark.parametrize("total", [2**63, 2**64 - 4096, 24 * GIB + 1])
def test_a_figure_that_cannot_be_is_unknown_and_not_0(total: int) -> None:
    """Below zero (#1181) or above the card's memory: None on that device only, and counted."""
    content = CacheFile(uuids=[GPU, OTHER_GPU], slots=[Slot(7, [total, 5])]).bytes()

    region, dropped = read(content, {GPU: 24 * GIB})

    assert (only(region).used, dropped) == ((None, 5), {"region_value": 1})


def test_a_full_card_is_no_exaggeration() -> None:
    """A figure equal to the card's memory stands, and without a known card only the sign is held against it."""
    content = CacheFile(uuids=[GPU, OTHER_GPU], slots=[Slot(7, [24 * GIB, 2**63 - 1])]).bytes()

    region, dropped = read(content, {GPU: 24 * GIB})

    assert (only(region).used, dropped) == ((24 * GIB, 2**63 - 1), {})


def test_a_pid_counts_once() -> None:
    """A PID that stands in two slots, or is negative, is dropped and counted; the library uses the first slot."""
    slots = [Slot(7, [1]), Slot(7, [2]), Slot(-7, [4])]

    region, dropped = read(CacheFile(slots=slots).bytes())

    assert (only(region), dropped) == (RegionProcess(7, 0, (1,)), {"region_value": 2})


def test_a_negative_host_pid_is_unknown() -> None:
    """The host PID that libvgpu guesses is 0 (unknown) or a PID."""
    region, _ = read(CacheFile(slots=[Slot(7, host_pid=-1)]).bytes())

    assert only(region).host_pid == 0


def pair(layout: str, first: Slot, again: Slot) -> tuple[bytes, bytes]:
    """Return two readings of a region's only slot."""
    at = TABLE[layout].procs
    one, two = (bytes(CacheFile(layout, slots=[slot]).bytes())[at : at + SLOT] for slot in (first, again))
    return one, two


@pytest.mark.parametrize("layout", ["v1.1b", "v1.2"])
@pytest.mark.parametrize(("one", "two"), [(1, 1), (2, 4), (2, 3), (3, 4), (2**64 - 1, 2**64 - 1)])
def test_a_slot_whose_seqlock_moves_or_is_odd_is_moving(layout: str, one: int, two: int) -> None:
    """An odd seqlock, or one that changed between the two readings, says that the slot is being written."""
    _, moving = steady(LAYOUTS[layout], *pair(layout, Slot(7, seqlock=one), Slot(7, seqlock=two)))

    assert moving == {0}


@pytest.mark.parametrize(("layout", "taken"), [("v1.1a", 2), ("v1.1b", 1), ("v1.2", 2)])
def test_the_reading_between_the_two_seqlocks_is_taken(layout: str, taken: int) -> None:
    """Where the seqlock stands before the figures the first reading lies between its two looks, else the second."""
    readings = pair(layout, Slot(7, [1], seqlock=6), Slot(7, [2], seqlock=6))

    slots, moving = steady(LAYOUTS[layout], *readings)

    assert (slots, moving) == (readings[taken - 1], frozenset())


def test_a_torn_slot_has_a_process_without_figures() -> None:
    """A slot that never stood still is still its process's, so that it is no escape; what it uses is unknown."""
    region, dropped = read(CacheFile(slots=[Slot(7, seqlock=5), Slot(8, [2])]).bytes())

    assert [process.used for process in region.processes] == [(None,), (2,)]
    assert dropped == {"region_torn": 1}


def boundaries(layout: str) -> Iterator[int]:
    """Yield every boundary of a field of the header, the first slots and the tail, and a byte to each side."""
    at = TABLE[layout]
    slot = (0, 4, 8, 16, at.used, at.status, at.status + 4, 1936, 1944)
    fields = [0, 4, 8, 12, 16, 24, 56, at.uuids - 8, at.uuids, at.uuids + 96, at.limit, at.sm_limit, at.procs]
    fields += [at.procs + number * at.slot + field for number in (0, 1, 1023) for field in slot]
    fields += [at.proc_num + field for field in (0, 4, 8, 12, 16, 24)] + [at.size]
    yield from (field + step for field in fields for step in (-1, 0, 1) if 0 <= field + step < at.size)


@pytest.mark.parametrize("layout", TABLE)
def test_a_truncated_file_is_refused_at_every_boundary(layout: str) -> None:
    """Cut at each field's boundary, a byte to each side, and each 997th byte, a file gives no region."""
    content = bytes(CacheFile(layout).bytes())
    sizes = {at.size for at in TABLE.values()}

    for cut in {*boundaries(layout), *range(0, len(content), 997)} - sizes:
        assert refused(content[:cut]) == ("region_malformed" if cut else "region_not_initialised"), cut


@pytest.mark.property
@pytest.mark.parametrize("layout", TABLE)
def test_a_truncated_file_is_refused_at_every_byte(layout: str) -> None:
    """Cut at each of its bytes, a file gives no region; but 2.8.1's, cut to the others' size, has lost nothing."""
    content = bytes(CacheFile(layout).bytes())

    given = [cut for cut in range(len(content)) if not refuses(cut, content[: min(cut, HEADER)])]

    assert given == ([TABLE["v1.2"].size] if layout == "v1.1b" else [])
    assert all(read(content[:cut]) == read(content) for cut in given)


def refuses(size: int, header: bytes) -> bool:
    """Tell whether a file is refused by its size and header."""
    try:
        layout_of(size, header)
    except RegionError:
        return True
    return False


@pytest.mark.parametrize("layout", READ)
def test_a_file_cut_behind_its_size_is_refused_unless_nothing_needed_is_missing(layout: str) -> None:
    """Cut at every boundary after its size was asked for, a file is refused or what it was, never something else."""
    content = bytes(CacheFile(layout).bytes())
    whole = read(content)
    at, length = tail_span(LAYOUTS[layout])

    for cut in {*boundaries(layout), *range(0, len(content), 997)}:
        if cut < at + length:
            assert refused(content[:cut], size=len(content)) == "region_malformed", cut
        else:
            assert read(content[:cut], size=len(content)) == whole


def test_a_larger_file_is_of_a_layout_to_come() -> None:
    """A file larger than any layout known is unsupported."""
    assert refused(CacheFile("v1.1b").bytes() + b"\0") == "region_unsupported"


@pytest.mark.parametrize("size", sorted({at.size for at in TABLE.values()}))
def test_random_bytes_are_refused(size: int) -> None:
    """Noise of each layout's size has no magic number."""
    assert refused(random.Random(size).randbytes(size)) == "region_malformed"  # noqa: S311


@pytest.mark.parametrize("layout", READ)
def test_readings_of_odd_lengths_are_refused(layout: str) -> None:
    """Pieces that are no whole slots, or not as many as the tail says, never reach the decoder's arithmetic."""
    content = bytes(CacheFile(layout).bytes())
    at, length = tail_span(LAYOUTS[layout])
    tail = content[at : at + length]

    for first, again in ((b"", b"x"), (b"x", b"x"), (bytes(SLOT), bytes(2 * SLOT))):
        with pytest.raises(RegionError):
            steady(LAYOUTS[layout], first, again)
    for header, slots, end in ((b"", bytes(SLOT), tail), (content[:HEADER], b"", tail), (content[:HEADER], b"", b"")):
        with pytest.raises(RegionError):
            decode(LAYOUTS[layout], header, slots, end)


WORDS = st.one_of(st.just(0), st.integers(0, 2**64 - 1), st.sampled_from([1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]))


@given(st.sampled_from(READ), st.data(), st.integers(-3, 40))
def test_any_words_anywhere_give_a_region_or_an_error(layout: str, data: st.DataObject, count: int) -> None:
    """Words changed at will in header, slots and tail: a bounded, clean region, or a RegionError of a known reason."""
    content = CacheFile(layout, slots=[Slot(pid) for pid in range(1, 9)], proc_num=count).bytes()
    at = TABLE[layout]
    places = st.one_of(st.integers(0, at.procs + 8 * SLOT), st.integers(at.proc_num, at.size - 8))
    for place, word in data.draw(st.lists(st.tuples(places, WORDS), max_size=8)):
        pack_into("<Q", content, place, word)

    check(content, len(content))


@given(st.binary(max_size=2 * HEADER), st.sampled_from([at.size for at in TABLE.values()]), st.booleans())
def test_any_bytes_give_a_region_or_an_error(content: bytes, size: int, magic: bool) -> None:  # noqa: FBT001
    """Bytes at will, with the magic number or without, of any size: a region or a RegionError, nothing else."""
    check(bytearray(MAGIC.to_bytes(4, "little") + content if magic else content), size)


def check(content: bytearray, size: int) -> None:
    """Read a file and hold the answer against what every region is."""
    try:
        region, dropped = read(content, {GPU: GIB}, size)
    except RegionError as error:
        assert error.reason in BEYOND  # noqa: PT017
        return
    assert set(dropped) <= {"region_value", "region_torn"}
    assert 1 <= len(region.devices) <= 16
    assert len(region.processes) <= 1024
    assert all(device.limit is None or 0 < device.limit < 2**63 for device in region.devices)
    assert all(device.core_limit is None or 0 < device.core_limit < 1 for device in region.devices)
    for process in region.processes:
        assert process.pid > 0
        assert len(process.used) == len(region.devices)
        assert all(used is None or 0 <= used < 2**63 for used in process.used)


def test_the_recorded_escape_is_not_in_its_region() -> None:
    """At 80 s ssh-lab-0 holds 6 GB more; its region still has its first process only, and the grant's limit."""
    lab = "containers-at-80s/13932904-757f-4cba-8a22-7f39047b2c10_lab/c879b663-3f9b-4bb2-b2ee-6a2ef8e4cb5c"

    region, _ = read(recorded(lab))

    assert [device.limit for device in region.devices] == [2000 * MIB]
    assert only(region) == RegionProcess(703, 703, (1_277_165_568,))


def test_a_recorded_seqlock_is_where_the_table_has_it() -> None:
    """The recorded 1.2 file has an even seqlock, which moved, at 1936: the offset is not a guess."""
    assert unpack_from("<Q", recorded("v1.2"), TABLE["v1.2"].procs + 1936)[0] % 2 == 0
    assert unpack_from("<Q", recorded("v1.2"), TABLE["v1.2"].procs + 1936)[0] > 0
