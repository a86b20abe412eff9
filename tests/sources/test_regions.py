"""The edge to HAMi-core's regions, on real files: what is found, what is counted, and in whose name."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from exporter.sources import regions
from exporter.sources.regions import MAX_DIRECTORIES, Regions
from tests.cache_files import BOX, GOOD, POD, CacheFile, Slot, failures, pids, put, reasons, unpack_moment
from tests.make import GIB, GPU, MIB, uid

if TYPE_CHECKING:
    from exporter.hami.region import FoundRegion, RegionState

# The node's recorded containers by pod, and what each one's region says: limit in MiB, PID, bytes.
MOMENT = {
    "6513270e-269e-4d37-b2a7-4de452e6b438": (14000, 661, 12_077_498_368),
    "7f26144b-9828-4fcd-99a5-4a7bb1fee08f": (8000, 669, 7_149_191_168),
    "fc132d0d-113d-417d-b0cb-c97d0fef7928": (2304, 674, 1_696_595_968),
    "149e259b-5d58-4705-b979-d04af47aebdd": (2304, 679, 1_801_453_568),
    "1ece615d-b9a6-442e-9e7d-6b377936d536": (2304, 684, 1_906_311_168),
    "4ba2e161-9fb9-4f50-8476-8b8c54dd0ba5": (2304, 693, 2_011_168_768),
    "6ea330a1-a66d-48b5-91a4-c01ea887ae22": (2304, 698, 2_116_026_368),
    "13932904-757f-4cba-8a22-7f39047b2c10": (2000, 703, 1_277_165_568),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return an empty directory of containers."""
    folder = tmp_path / "containers"
    folder.mkdir()
    return folder


def source(*roots: Path, **options: Any) -> Regions:  # noqa: ANN401  the source's own
    """Return a source that has all the time it needs, unless told otherwise."""
    return Regions([str(root) for root in roots], **({"budget": 60.0} | options))


def read(root: Path) -> RegionState:
    """Read a root once."""
    return source(root).read()


@pytest.mark.parametrize("seconds", [30, 50, 80])
def test_the_recorded_node_has_its_regions(root: Path, seconds: int) -> None:
    """Each recorded moment gives the eight containers' limits and counted bytes, under their pods and names."""
    unpack_moment(seconds, root)

    state = read(root)

    restarted = {"7f26144b-9828-4fcd-99a5-4a7bb1fee08f": (8000, 731, 7_149_191_168)} if seconds == 80 else {}
    assert {found.pod_uid: facts(found) for found in state.regions} == MOMENT | restarted
    assert {found.directory_container for found in state.regions} == {"vllm", "worker", "lab"}
    assert (state.problems, state.waiting, state.status.up) == (frozenset(), 0, True)


def facts(found: FoundRegion) -> tuple[int, int, int]:
    """Return a recorded region's limit in MiB, PID and counted bytes."""
    [device], [process] = found.region.devices, found.region.processes
    assert device.limit is not None
    [used] = process.used
    assert used is not None
    return device.limit // MIB, process.pid, used


def test_every_cache_file_of_a_directory_is_read(root: Path) -> None:
    """Two containers that share a directory (2.8 and older) both have their region; `libvgpu.so` is none."""
    put(root, CacheFile(slots=[Slot(1)]).bytes(), file="a.cache")
    put(root, CacheFile("v1.1b", slots=[Slot(2)]).bytes(), file="b.cache")
    put(root, b"\x7fELF", file="libvgpu.so")

    state = read(root)

    assert sorted(pids(state)) == [1, 2]
    assert {(one.pod_uid, one.directory_container, one.file) for one in state.regions} == {
        (POD, "main", "a.cache"),
        (POD, "main", "b.cache"),
    }
    assert not state.problems


def test_a_missing_root_is_up_with_none(tmp_path: Path) -> None:
    """A node without HAMi has no such directory: that is no failure."""
    state = read(tmp_path / "nowhere")

    assert (state.regions, state.status.up, failures(state)) == ((), True, {})


def test_several_roots_are_read_and_one_that_has_two_names_once(root: Path, tmp_path: Path) -> None:
    """HAMi's and Volcano's directories add up; the same directory under two names counts once."""
    put(root)
    volcano = tmp_path / "volcano"
    volcano.mkdir()
    put(volcano, CacheFile(slots=[Slot(9)]).bytes(), box=f"{uid('other')}_main")

    state = source(root, volcano, tmp_path / "missing", root.parent / "." / "containers", root / "..").read()

    assert sorted(pids(state)) == [7, 9]


@pytest.mark.parametrize("kind", ["file", "link", "loop"])
def test_a_root_that_is_no_directory_is_down_and_the_others_go_on(root: Path, tmp_path: Path, kind: str) -> None:
    """A root that is a file or a link is a failure of the source, by reason; another root is read all the same."""
    put(root)
    bad = tmp_path / "bad"
    if kind == "file":
        bad.write_text("")
    else:
        bad.symlink_to(root if kind == "link" else bad)

    state = source(bad, root).read()

    assert (pids(state), state.status.up, failures(state)) == ([7], False, {"unreadable": 1})


@pytest.mark.parametrize(
    "name", ["nounderscore", "_main", f"{POD}_", "a b_main", f"{POD}_\x1b[2J", f"{POD}_{'x' * 200}ä"]
)
def test_a_directory_that_is_not_named_by_hami_is_counted(root: Path, name: str) -> None:
    """A directory that names no pod and container can be no one's; its key is clean and short."""
    put(root)
    put(root, box=name)

    state = read(root)

    assert (len(state.regions), set(reasons(state).values())) == (1, {"region_unnamed"})
    assert all(key.isprintable() and key.isascii() and len(key) <= 128 for key in reasons(state))


def test_the_name_is_split_at_the_first_underscore_only(root: Path) -> None:
    """A UID has no underscore, and a container's name cannot have one."""
    put(root, box="uid_a_b")

    assert set(reasons(read(root)).values()) == {"region_unnamed"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (bytes(CacheFile("P").bytes()), "region_unsupported"),
        (bytes(CacheFile("v0").bytes()), "region_unsupported"),
        (GOOD[:-1], "region_malformed"),
        (GOOD + b"\0", "region_malformed"),
        (b"\0", "region_malformed"),
        (random.Random(1).randbytes(len(GOOD)), "region_malformed"),  # noqa: S311
        (bytes(CacheFile(slots=[Slot(7, [2**63])]).bytes()), "region_value"),
        (bytes(CacheFile(slots=[Slot(7, [2 * GIB])]).bytes()), "region_value"),
        (bytes(CacheFile(slots=[Slot(7, seqlock=1)]).bytes()), "region_torn"),
    ],
    ids=["P", "v0", "short", "long", "byte", "random", "negative", "over-card", "torn"],
)
def test_a_bad_file_costs_itself_only(root: Path, content: bytes, reason: str) -> None:
    """Each kind of bad file is counted by its reason, and the good one beside it is read."""
    put(root, content, file="bad.cache")
    put(root, CacheFile(slots=[Slot(9)]).bytes(), file="good.cache")

    state = source(root).read({GPU: GIB})

    assert 9 in pids(state)
    assert reasons(state) == {f"{BOX}/bad.cache": reason}
    assert state.status.up


def test_files_that_wait_for_their_library_are_no_failures(root: Path) -> None:
    """An empty and a zero-filled file are counted apart, as waiting."""
    put(root, b"", file="empty.cache")
    put(root, bytes(len(GOOD)), file="zeros.cache")

    state = read(root)

    assert (state.waiting, state.problems, state.regions) == (2, frozenset(), ())


def test_a_file_or_directory_that_may_not_be_read_is_counted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permission refused is the file's or the directory's own failure."""
    other = f"{uid('other')}_main"
    put(root)
    put(root, file="secret.cache")
    put(root, box=other)
    real = os.open

    def refusing(path: str, flags: int, *, dir_fd: int | None = None) -> int:
        if path in {"secret.cache", other}:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path, flags, dir_fd=dir_fd)

    monkeypatch.setattr("exporter.sources.regions.os.open", refusing)
    state = read(root)

    assert reasons(state) == {f"{BOX}/secret.cache": "region_unreadable", other: "region_unreadable"}
    assert (pids(state), state.status.up) == ([7], True)


def test_what_is_gone_is_forgotten_and_what_changed_is_read_again(root: Path) -> None:
    """Each reading shows the directories as they are: a container that left has no region any more."""
    edge = source(root)
    put(root)
    other = put(root, CacheFile(slots=[Slot(8)]).bytes(), box=f"{uid('other')}_main")
    assert sorted(pids(edge.read())) == [7, 8]

    other.unlink()
    other.parent.rmdir()
    put(root, CacheFile(slots=[Slot(9)]).bytes())

    assert pids(edge.read()) == [9]


def test_a_reading_that_takes_too_long_goes_on_next_time(root: Path) -> None:
    """With the budget spent after one directory each has its turn, and is known only then: what is old is not shown."""
    for number in range(1, 4):
        put(root, CacheFile(slots=[Slot(number)]).bytes(), box=f"{uid(str(number))}_main")
    edge = source(root, budget=-1.0)

    states = [edge.read() for _ in range(4)]

    assert [pids(state) for state in states] == [[1], [2], [3], [1]]
    assert [state.complete for state in states[:2]] == [{uid("1")}, {uid("2")}]
    assert (failures(states[-1]), states[-1].status.up) == ({"slow": 4}, True)


def test_a_pod_of_which_a_directory_was_not_read_is_not_complete(root: Path) -> None:
    """While one of a pod's directories waits for its turn, who is missing in the other may well be in that one."""
    put(root, box=f"{POD}_a")
    put(root, box=f"{POD}_b")
    edge = source(root, budget=-1.0)

    assert edge.read().complete == frozenset()
    assert source(root).read().complete == {POD}


@pytest.mark.parametrize("spoil", ["empty", "torn-header", "link", "name"])
def test_a_pod_with_a_file_that_gave_no_region_is_not_complete(root: Path, spoil: str) -> None:
    """A file that is not filled yet, or cannot be read, may be anybody's; a directory without files is complete."""
    (root / BOX).mkdir()
    assert read(root).complete == {POD}
    put(root)
    assert read(root).complete == {POD}
    if spoil == "link":
        (root / BOX / "b.cache").symlink_to(root / BOX / "a.cache")
    elif spoil == "name":
        (root / f"{POD}").mkdir()
    else:
        put(root, b"" if spoil == "empty" else GOOD[:100], file="b.cache")

    assert read(root).complete == ({POD} if spoil == "name" else set())


def test_more_directories_than_a_node_can_have_are_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many directories some are read, and the source says so."""
    monkeypatch.setattr(regions, "MAX_DIRECTORIES", 3)
    for number in range(5):
        put(root, box=f"{uid(str(number))}_main")

    state = read(root)

    assert (len(state.regions), failures(state)) == (3, {"too_many": 1})
    assert state.complete == frozenset()  # another directory of any pod may not have been read
    assert MAX_DIRECTORIES >= 4096


def test_a_root_that_vanishes_and_comes_back_is_followed(root: Path, tmp_path: Path) -> None:
    """The root is opened anew at each reading."""
    edge = source(root)
    put(root)
    assert pids(edge.read()) == [7]

    root.rename(tmp_path / "away")
    gone = edge.read()
    (tmp_path / "away").rename(root)

    assert (gone.regions, gone.status.up, pids(edge.read())) == ((), True, [7])


def test_no_descriptor_is_left_open(root: Path) -> None:
    """After good and bad files, links and roots that are none, as many descriptors are open as before."""
    put(root)
    put(root, b"x", file="bad.cache")
    (root / BOX / "link.cache").symlink_to("/etc/passwd")
    put(root, box="unnamed")
    (root / "file").write_text("")
    edge = source(root, root, root / "file", root / "none")
    edge.read()
    before = open_descriptors()

    edge.read()

    assert open_descriptors() == before


def open_descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))
