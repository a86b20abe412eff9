"""The edge to HAMi-core's regions, on real files that a hostile tenant owns."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from exporter.errors import SOURCE_REASONS
from exporter.hami.region import FoundRegion, RegionState
from exporter.model import Failure
from exporter.sources import regions
from exporter.sources.regions import MAX_DIRECTORIES, MAX_FILES, Regions
from tests.cache_files import READ, TABLE, CacheFile, Slot, recorded, unpack_moment
from tests.make import GIB, GPU, MIB, uid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

POD = uid("model")
BOX = f"{POD}_main"
GOOD = bytes(CacheFile().bytes())
# The node's recorded containers, and what each one's region says: pod, limit in MiB, PID, bytes.
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


@pytest.fixture
def tenant() -> Iterator[Callable[[str], None]]:
    """Return another process, which runs the statement that it is given before the call returns."""
    program = "import os, sys\nfor line in sys.stdin:\n  exec(line)\n  print('done', flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as child:

        def act(statement: str) -> None:
            assert child.stdin
            assert child.stdout
            child.stdin.write(statement + "\n")
            assert child.stdout.readline() == "done\n"

        yield act
        child.kill()


def put(root: Path, content: bytes | bytearray = GOOD, *, box: str = BOX, file: str = "a.cache") -> Path:
    """Write a cache file and return its path."""
    (root / box).mkdir(exist_ok=True)
    path = root / box / file
    path.write_bytes(content)
    return path


def source(*roots: Path, **options: Any) -> Regions:  # noqa: ANN401  the source's own
    """Return a source that has all the time it needs, unless told otherwise."""
    return Regions([str(root) for root in roots], **({"budget": 60.0} | options))


def read(root: Path) -> RegionState:
    """Read a root once."""
    return source(root).read()


def pids(state: RegionState) -> list[int]:
    """Return all processes' PIDs."""
    return [process.pid for found in state.regions for process in found.region.processes]


def reasons(state: RegionState) -> dict[str, str]:
    """Return key → reason of what could not be read."""
    return {key: reason for reason, key in state.problems}


def failures(state: RegionState) -> dict[str, int]:
    """Return the source's failures that are not 0."""
    return {reason: count for reason, count in state.status.errors.items() if count}


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
    """A directory without a pod's UID and a container's name in its name can be no one's; its key is clean and short."""
    put(root)
    put(root, box=name)

    state = read(root)

    assert (len(state.regions), set(reasons(state).values())) == (1, {"region_unnamed"})
    assert all(key.isprintable() and key.isascii() and len(key) <= 128 for key in reasons(state))


def test_the_name_is_split_at_the_first_underscore_only(root: Path) -> None:
    """A UID has no underscore, and a container's name cannot have one."""
    put(root, box="uid_a_b")

    assert set(reasons(read(root)).values()) == {"region_unnamed"}


def furnish_badly(folder: Path, secret: Path) -> None:
    """Fill a container's directory with all that is no cache file."""
    (folder / "link.cache").symlink_to(secret)
    (folder / "up.cache").symlink_to(Path("../..") / secret.name)
    (folder / "loop.cache").symlink_to(folder / "loop.cache")
    (folder / "dangling.cache").symlink_to(folder / "none")
    (folder / "device.cache").symlink_to("/dev/zero")
    (folder / "directory.cache").mkdir()
    os.mkfifo(folder / "fifo.cache")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "s.cache"))


def test_what_is_no_regular_file_is_neither_followed_nor_waited_for(root: Path, tmp_path: Path) -> None:
    """Links out of the directory, FIFOs, sockets and directories named *.cache cost themselves only."""
    secret = tmp_path / "secret"
    secret.write_bytes(CacheFile(slots=[Slot(666)]).bytes())
    good = put(root)
    furnish_badly(good.parent, secret)

    state = read(root)

    assert pids(state) == [7]
    kinds = ("link", "up", "loop", "dangling", "device", "directory", "fifo", "s")
    assert reasons(state) == {f"{BOX}/{kind}.cache": "region_unreadable" for kind in kinds}


def test_a_file_that_changes_its_kind_before_it_is_opened_is_not_followed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was a regular file when listed and is a link, a FIFO or a directory when opened is refused, at once."""
    secret = tmp_path / "secret"
    secret.write_bytes(GOOD)
    good = put(root)
    furnish_badly(good.parent, secret)
    monkeypatch.setattr(os.DirEntry, "is_file", None, raising=False) if False else None
    real = regions._files  # noqa: SLF001
    monkeypatch.setattr(regions, "_files", lambda *args: [(file, True) for file, _ in real(*args)])

    state = read(root)

    assert pids(state) == [7]
    assert len(state.problems) == 8


def test_a_linked_container_directory_is_not_followed(root: Path, tmp_path: Path) -> None:
    """A link in the root is no container's directory, wherever it leads; nor is a file."""
    other = tmp_path / "elsewhere"
    other.mkdir()
    put(other)
    (root / BOX).symlink_to(other / BOX)
    (root / f"{POD}_file").write_bytes(GOOD)

    state = read(root)

    assert (state.regions, state.problems) == ((), frozenset())


def test_a_tenants_lease_on_its_file_does_not_hold_us_up(root: Path) -> None:
    """A write lease makes others wait for 45 s at open: O_NONBLOCK does not, and the file costs itself only."""
    leased = put(root)
    put(root, CacheFile(slots=[Slot(9)]).bytes(), file="b.cache")
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        with leased.open("r+b") as held:
            fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            begun = time.monotonic()
            state = read(root)
            took = time.monotonic() - begun
            fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    finally:
        signal.signal(signal.SIGIO, before)

    assert (pids(state), reasons(state)) == ([9], {f"{BOX}/a.cache": "region_unreadable"})
    assert took < 5


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_or_directory_that_may_not_be_read_is_counted(root: Path) -> None:
    """Permission refused is the file's or the directory's own failure."""
    put(root).chmod(0)
    put(root, box=f"{uid('other')}_main").parent.chmod(0)

    assert set(reasons(read(root)).values()) == {"region_unreadable"}


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


@pytest.mark.parametrize("layout", READ)
@pytest.mark.parametrize("size", [0, 1, 64, 1855, 1856, 1888, 3816, 2_008_895, 2_008_896, 2_008_919, 2_008_951])
def test_truncation_between_any_two_reads_is_an_error(
    root: Path, monkeypatch: pytest.MonkeyPatch, tenant: Callable[[str], None], layout: str, size: int
) -> None:
    """Another process truncates the file before the n-th read: no region, or the true one, and the next file is read."""
    put(root, CacheFile(slots=[Slot(9)]).bytes(), box=f"{uid('zz')}_main")
    reads = preads(monkeypatch)
    for turn in range(4):
        path = put(root, CacheFile(layout).bytes())
        reads.before = {turn: lambda path=path: tenant(f"os.truncate({str(path)!r}, {size})")}

        state = read(root)

        assert pids(state) in ([9], [7, 9]), turn
        if not pids(state)[1:] and not (size == 0 and turn == 0):
            assert reasons(state) == {f"{BOX}/a.cache": "region_malformed"}


class Preads:
    """`os.pread` under watch: what is to happen before the n-th call, and how much was read in all."""

    def __init__(self) -> None:
        """Nothing is to happen yet."""
        self.before: dict[int, Callable[[], None]] = {}
        self.calls: list[tuple[int, int]] = []
        self._real = os.pread

    def __call__(self, descriptor: int, length: int, offset: int) -> bytes:
        """Do what is to be done before this call, then read."""
        self.before.pop(len(self.calls), lambda: None)()
        self.calls.append((offset, length))
        return self._real(descriptor, length, offset)


def preads(monkeypatch: pytest.MonkeyPatch) -> Preads:
    """Watch the source's reads; `calls` begin anew with each source."""
    watched = Preads()
    monkeypatch.setattr("exporter.sources.regions.os.pread", watched)
    return watched
