"""The edge to HAMi-core's regions, against a tenant who owns the directory and works on it while we read."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from exporter.hami.region import HEADER, SLOT
from exporter.sources import regions
from exporter.sources.regions import MAX_ENTRIES, MAX_FILES, Regions
from tests.cache_files import BOX, GOOD, READ, TABLE, CacheFile, Slot, pids, put, reasons
from tests.make import GIB, uid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exporter.hami.region import RegionState

    Act = Callable[[str], None]

NEIGHBOUR: Final = f"{uid('zz')}_main"  # read behind the tenant's


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a directory of containers with one well-behaved neighbour, whose process is 9."""
    put(tmp_path / "containers", CacheFile(slots=[Slot(9)]).bytes(), box=NEIGHBOUR)
    return tmp_path / "containers"


@pytest.fixture
def tenant() -> Iterator[Act]:
    """Return another process, which has run the statement that it is given when the call returns."""
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


class Preads:
    """`os.pread` under watch: what is to happen before the n-th call, and what was read."""

    def __init__(self) -> None:
        """Nothing is to happen yet."""
        self.before: dict[int, Callable[[], None]] = {}
        self.calls: list[tuple[int, int]] = []
        self._real = os.pread

    def plan(self, before: dict[int, Callable[[], None]]) -> None:
        """Count calls from 0 again, and do these things before them."""
        self.before, self.calls = before, []

    def __call__(self, descriptor: int, length: int, offset: int) -> bytes:
        """Do what is to be done before this call, then read."""
        self.before.pop(len(self.calls), lambda: None)()
        self.calls.append((offset, length))
        return self._real(descriptor, length, offset)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Preads:
    """Watch the source's reads."""
    watched = Preads()
    monkeypatch.setattr("exporter.sources.regions.os.pread", watched)
    return watched


def read(root: Path) -> RegionState:
    """Read a root once, with all the time that it takes."""
    return Regions([str(root)], budget=60.0).read()


def furnish_badly(folder: Path, secret: Path) -> set[str]:
    """Fill a container's directory with all that is no cache file, and return its keys."""
    secret.write_bytes(CacheFile(slots=[Slot(666)]).bytes())
    folder.mkdir(exist_ok=True)
    (folder / "link.cache").symlink_to(secret)
    (folder / "up.cache").symlink_to(Path("../..") / secret.name)
    (folder / "loop.cache").symlink_to(folder / "loop.cache")
    (folder / "dangling.cache").symlink_to(folder / "none")
    (folder / "device.cache").symlink_to("/dev/zero")
    (folder / "directory.cache").mkdir()
    os.mkfifo(folder / "fifo.cache")
    os.mknod(folder / "socket.cache", stat.S_IFSOCK | 0o600)
    return {f"{folder.name}/{entry.name}" for entry in folder.iterdir()}


def test_what_is_no_regular_file_is_neither_followed_nor_waited_for(root: Path, tmp_path: Path) -> None:
    """Links out of the directory, FIFOs, sockets and directories named *.cache cost themselves only."""
    bad = furnish_badly(root / BOX, tmp_path / "secret")
    put(root)

    state = read(root)

    assert sorted(pids(state)) == [7, 9]
    assert reasons(state) == dict.fromkeys(bad, "region_unreadable")


def test_a_file_that_becomes_something_else_before_it_is_opened_is_refused(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was a regular file when it was listed and is a link, FIFO or directory when opened is refused, at once."""
    bad = furnish_badly(root / BOX, tmp_path / "secret")
    listed = regions._files  # noqa: SLF001  the moment between listing and opening cannot be hit otherwise
    monkeypatch.setattr(regions, "_files", lambda *place: [(file, True) for file, _ in listed(*place)])

    state = read(root)

    assert (pids(state), reasons(state)) == ([9], dict.fromkeys(bad, "region_unreadable"))


def test_a_linked_container_directory_is_not_followed(root: Path, tmp_path: Path) -> None:
    """A link in the root is no container's directory, wherever it leads."""
    put(tmp_path / "elsewhere")
    (root / BOX).symlink_to(tmp_path / "elsewhere" / BOX)

    state = read(root)

    assert (pids(state), state.problems) == ([9], frozenset())


def test_a_directory_that_becomes_a_link_before_it_is_opened_is_refused(root: Path, tmp_path: Path) -> None:
    """The directory is opened without following links too: the root's listing is not trusted."""
    put(tmp_path / "elsewhere")
    (root / BOX).symlink_to(tmp_path / "elsewhere" / BOX)
    with os.scandir(root) as entries:
        names = [entry.name for entry in entries]
    edge = Regions([str(root)])
    edge._names = lambda *_: names  # type: ignore[method-assign]  # noqa: SLF001

    state = edge.read()

    assert (pids(state), reasons(state)) == ([9], {BOX: "region_unreadable"})


def test_a_lease_on_a_file_does_not_hold_us_up(root: Path) -> None:
    """A write lease lets others wait for 45 s at open: O_NONBLOCK does not, and the file costs itself only."""
    leased = put(root)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    begun = time.monotonic()
    try:
        with leased.open("r+b") as held:
            fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            state = read(root)
            fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    finally:
        signal.signal(signal.SIGIO, before)

    assert (pids(state), reasons(state)) == ([9], {f"{BOX}/a.cache": "region_unreadable"})
    assert time.monotonic() - begun < 10


def cuts(layout: str) -> list[int]:
    """Return sizes that lie in the header, the slot, the garbage behind it, and the tail."""
    at = TABLE[layout]
    ends = (0, 64, at.procs, HEADER, at.procs + SLOT, at.proc_num, at.proc_num + 24, at.size)
    return sorted({end - step for end in ends for step in (0, 1) if end - step >= 0})


@pytest.mark.parametrize("layout", READ)
def test_truncation_between_any_two_reads_is_an_error(root: Path, reads: Preads, tenant: Act, layout: str) -> None:
    """Another process cuts the file before the n-th read: no region or the true one, never another."""
    needed = [HEADER, TABLE[layout].proc_num + 24, *[TABLE[layout].procs + SLOT] * 2]
    for size in cuts(layout):
        for turn in range(4):
            path = put(root, CacheFile(layout).bytes())
            reads.plan({turn: lambda path=path, size=size: tenant(f"os.truncate({str(path)!r}, {size})")})  # type: ignore[misc]

            state = read(root)

            missing = size < max(needed[turn:])
            assert pids(state) == ([9] if missing else [7, 9]), (size, turn)
            assert reasons(state) == ({f"{BOX}/a.cache": "region_malformed"} if missing else {}), (size, turn)


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("act", ["os.unlink({0!r})", "os.truncate({0!r}, 2**40)", "os.rename({0!r}, {0!r} + '.old')"])
def test_a_file_that_grows_or_vanishes_while_it_is_read_is_still_itself(
    root: Path, reads: Preads, tenant: Act, act: str, turn: int
) -> None:
    """Grown to a terabyte, removed or renamed between two reads: what was opened is read, a few KB of it."""
    path = put(root)
    reads.plan({turn: lambda: tenant(act.format(str(path)))})

    state = read(root)

    assert (pids(state), state.problems) == ([7, 9], frozenset())


def test_a_file_that_vanishes_before_it_is_opened_was_never_there(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HAMi's monitor removes what is old: gone between listing and opening is no failure."""
    monkeypatch.setattr(regions, "_files", lambda *_: [("gone.cache", True)])

    assert (read(root).regions, read(root).problems) == ((), frozenset())


def test_a_directory_that_vanishes_before_it_is_opened_was_never_there(root: Path) -> None:
    """The same for a container's whole directory."""
    edge = Regions([str(root)])
    edge._names = lambda *_: [NEIGHBOUR, BOX]  # type: ignore[method-assign]  # noqa: SLF001

    state = edge.read()

    assert (pids(state), state.problems) == ([9], frozenset())


def test_a_file_that_is_cut_and_grown_all_the_time_gives_a_region_or_an_error(root: Path) -> None:
    """A thread truncates, grows and rewrites the file for a second: never a crash, never another's process."""
    path, stop = put(root), threading.Event()

    def work() -> None:
        with path.open("r+b") as file:
            while not stop.is_set():
                for size in (0, HEADER, len(GOOD), 2 * len(GOOD)):
                    os.ftruncate(file.fileno(), size)
                os.pwrite(file.fileno(), GOOD[: 2 * HEADER], 0)
                os.ftruncate(file.fileno(), len(GOOD))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        end = time.monotonic() + 1
        while time.monotonic() < end:
            state = read(root)
            assert 9 in pids(state)
            assert set(pids(state)) <= {7, 9}
            assert set(reasons(state).values()) <= {"region_malformed", "region_unsupported"}
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("layout", ["v1.1b", "v1.2"])
def test_a_slot_that_was_being_written_is_read_again(root: Path, reads: Preads, layout: str) -> None:
    """An odd seqlock that is even at the second look gives the figure of then, and nothing is counted."""
    slots = [Slot(1, [10]), Slot(2, [20], seqlock=5), Slot(3, [30]), Slot(4, [40], seqlock=7)]
    done = [Slot(1, [11]), Slot(2, [21], seqlock=6), Slot(3, [31]), Slot(4, [41], seqlock=8)]
    path = put(root, CacheFile(layout, slots=slots).bytes())
    reads.plan({4: lambda: void(path.write_bytes(CacheFile(layout, slots=done).bytes()))})

    state = read(root)

    [found] = [one for one in state.regions if one.region.processes[0].pid != 9]
    assert [process.used for process in found.region.processes] == [(10,), (21,), (30,), (41,)]
    assert not state.problems


def void(_: object) -> None:
    """Drop a value."""


def test_a_slot_that_a_crash_left_open_is_given_up_after_three_tries(root: Path, reads: Preads) -> None:
    """A seqlock that stays odd costs two readings and three more pairs of that slot alone, then it is torn."""
    put(root, CacheFile(slots=[Slot(1), Slot(2, seqlock=1), Slot(3)]).bytes())

    state = read(root)

    assert reasons(state) == {f"{BOX}/a.cache": "region_torn"}
    slot = (TABLE["v1.2"].procs + SLOT, SLOT)
    assert reads.calls.count(slot) == 6


def test_only_header_used_slots_and_tail_are_read(root: Path, reads: Preads) -> None:
    """Of 2 MB, a region with three processes costs 4 reads of 13.6 KB together."""
    (root / NEIGHBOUR / "a.cache").unlink()
    put(root, CacheFile(slots=[Slot(1), Slot(2), Slot(3)]).bytes())

    read(root)

    at = TABLE["v1.2"]
    assert reads.calls == [(0, HEADER), (at.proc_num, 24), (at.procs, 3 * SLOT), (at.procs, 3 * SLOT)]


def test_ten_thousand_files_in_one_directory_are_its_own_trouble(root: Path) -> None:
    """Of ten thousand cache files 16 are read, the directory is counted once, and its neighbour has its region."""
    (root / BOX).mkdir()
    for number in range(10_000):
        (root / BOX / f"{number}.cache").write_bytes(b"")

    begun = time.monotonic()
    state = read(root)

    assert (pids(state), state.waiting, reasons(state)) == ([9], MAX_FILES, {BOX: "region_excess"})
    assert time.monotonic() - begun < 5


def test_ten_thousand_entries_of_other_names_are_not_searched(root: Path) -> None:
    """A directory's listing is followed for 256 entries."""
    (root / BOX).mkdir()
    for number in range(MAX_ENTRIES + 50):
        (root / BOX / f"{number}.txt").write_bytes(b"")

    assert reasons(read(root)) == {BOX: "region_excess"}


def test_hostile_directories_have_a_bounded_share_of_memory(root: Path) -> None:
    """Thirty-two directories of 16 full regions with forged figures stay within their slots and 64 MB."""
    uuids = [f"GPU-{number:08d}" for number in range(16)]
    slots = [Slot(1 + pid, [2**62 + pid] * 16, 2**30 + pid) for pid in range(1024)]
    full = CacheFile(uuids=uuids, slots=slots).bytes()
    for box in range(32):
        path = put(root, full, box=f"{uid(str(box))}_main")
        for number in range(15):
            os.link(path, path.with_name(f"{number}.cache"))

    tracemalloc.start()
    try:
        state = read(root)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert 9 in pids(state)
    assert len(pids(state)) <= 32 * 1024
    assert set(reasons(state).values()) == {"region_excess"}
    assert peak < 64 * 2**20


def test_a_region_that_names_anothers_pids_stays_in_its_own_directory(root: Path) -> None:
    """Forged PIDs, host PIDs and GPUs are told under the directory's own pod: the neighbour's region is as it was."""
    put(root, CacheFile(slots=[Slot(9, [24 * GIB], host_pid=9)]).bytes())

    state = read(root)

    [neighbour] = [found for found in state.regions if f"{found.pod_uid}_main" == NEIGHBOUR]
    assert [process.used for process in neighbour.region.processes] == [(100 * 2**20,)]
    assert len(state.regions) == 2


def test_a_tenants_file_names_are_clean_in_keys(root: Path) -> None:
    """A name with escapes, or of bytes that are no text, is escaped and cut in the failure's key."""
    for name in (b"\x1b[2J\n.cache", b"\xff\xfe.cache", b"n" * 249 + b".cache"):
        (root / BOX).mkdir(exist_ok=True)
        Path(os.fsdecode(os.fsencode(root / BOX) + b"/" + name)).write_bytes(b"x")

    keys = reasons(read(root))

    assert len(keys) == 3
    assert all(key.isascii() and key.isprintable() and len(key) <= 128 for key in keys)
