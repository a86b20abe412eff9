"""The edge to /proc, on a tree of real files and on the real one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.model import Process
from exporter.sources.procfs import ProcFs

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS = "0::/kubepods.slice/ours\n"


class Tree:
    """A procfs made of files."""

    def __init__(self, root: Path) -> None:
        """Make one that answers and has no process."""
        self.root = root
        (root / "self").mkdir(parents=True)
        (root / "uptime").write_text("1000.00 900.00\n")
        (root / "self/cgroup").write_text(OURS)

    def add(self, pid: int, *, start: int = 5000, comm: str = "python", cgroup: str = "0::/a\n") -> Path:
        """Add a process, or change it, and return its directory."""
        folder = self.root / str(pid)
        folder.mkdir(exist_ok=True)
        self.restart(pid, start, comm)
        (folder / "cgroup").write_text(cgroup)
        (folder / "status").write_text(f"Name:\t{comm}\nNSpid:\t{pid}\t1\n")
        return folder

    def restart(self, pid: int, start: int, comm: str = "python") -> None:
        """Give a process another start time."""
        (self.root / f"{pid}/stat").write_text(f"{pid} ({comm}) S {' '.join(['0'] * 18)} {start} 0 0\n")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Return a procfs that answers and has no process."""
    return Tree(tmp_path / "proc")


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    """Return a living child that does what it is told on its standard input, and ends with the test."""
    program = "import sys\nfor line in sys.stdin:\n  exec(line)\n  print('done', flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        yield child
        child.kill()


def remove(folder: Path) -> None:
    """Let a process end."""
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


def one(source: ProcFs, pid: int) -> object:
    """Return what the source says about one PID."""
    return source.look_up([pid]).processes[pid]


def test_a_process_is_its_start_name_cgroup_and_pids(tree: Tree) -> None:
    """A look-up gives each living process, the state of the source and our own cgroup."""
    tree.add(7, start=5000, comm="a) b", cgroup="0::/x\n")

    state = ProcFs(str(tree.root)).look_up([7])

    assert state.processes == {7: Process(7, 50.0, "a) b", "0::/x\n", (7, 1))}
    assert (state.answered, state.status.up, state.own_cgroup) == (True, True, OURS)
    assert state.status.last_success is not None
    assert set(state.status.errors.values()) == {0}


def test_bytes_that_are_no_utf_8_survive_escaped(tree: Tree) -> None:
    """A name or path in another encoding is no error."""
    (tree.add(7) / "cgroup").write_bytes(b"0::/\xff\xfe\n")

    process = one(ProcFs(str(tree.root)), 7)

    assert isinstance(process, Process)
    assert process.cgroup == "0::/\\xff\\xfe\n"


def test_a_process_that_is_gone_is_no_error(tree: Tree) -> None:
    """A PID that nobody has is gone; nothing is counted."""
    source = ProcFs(str(tree.root))

    state = source.look_up([7])

    assert state.processes == {7: "process_gone"}
    assert (state.status.up, set(state.status.errors.values())) == (True, {0})


@pytest.mark.parametrize("name", ["cgroup", "status"])
def test_a_process_that_ends_while_it_is_read_is_gone(tree: Tree, name: str) -> None:
    """A process of which one text is left and another is not has just ended."""
    (tree.add(7) / name).unlink()

    assert one(ProcFs(str(tree.root)), 7) == "process_gone"


@pytest.mark.parametrize("name", ["stat", "cgroup", "status"])
def test_a_process_that_cannot_be_read_costs_itself_only(tree: Tree, name: str) -> None:
    """A text that /proc refuses makes that process unreadable, is counted, and the others are read."""
    tree.add(8)
    text = tree.add(7) / name
    if os.getuid() == 0:  # whom no mode keeps out
        text.unlink()
        text.mkdir()
    else:
        text.chmod(0)
    source = ProcFs(str(tree.root))

    state = source.look_up([7, 8])

    assert state.processes[7] == "process_unreadable"
    assert isinstance(state.processes[8], Process)
    assert (state.status.up, state.status.errors["unreadable"], state.status.errors["malformed"]) == (True, 1, 0)
    assert source.look_up([7]).status.errors["unreadable"] == 2


def test_a_stat_that_means_nothing_is_counted_as_malformed(tree: Tree) -> None:
    """A stat that the kernel would not write makes the process unreadable and is counted by its own reason."""
    (tree.add(7) / "stat").write_text("7 (python) S\n")

    state = ProcFs(str(tree.root)).look_up([7])

    assert state.processes == {7: "process_unreadable"}
    assert (state.status.errors["malformed"], state.status.errors["unreadable"]) == (1, 0)


def test_the_texts_are_read_once_while_the_process_lives(tree: Tree) -> None:
    """As long as PID and start time stay, the owner is the one that was read first."""
    tree.add(7, cgroup="0::/first\n")
    source = ProcFs(str(tree.root))
    first = one(source, 7)
    tree.add(7, cgroup="0::/moved\n")

    assert one(source, 7) is first


def test_a_pid_that_changed_hands_is_read_again(tree: Tree) -> None:
    """Another start time is another process: its texts are read anew."""
    tree.add(7, start=5000, cgroup="0::/first\n")
    source = ProcFs(str(tree.root))
    one(source, 7)
    tree.add(7, start=5001, comm="next", cgroup="0::/second\n")

    assert one(source, 7) == Process(7, 50.01, "next", "0::/second\n", (7, 1))


def test_a_pid_that_is_no_longer_asked_about_is_forgotten(tree: Tree) -> None:
    """A PID asked about again after a pause is read again, even with the same start time."""
    tree.add(7, cgroup="0::/first\n")
    source = ProcFs(str(tree.root))
    one(source, 7)
    tree.add(7, cgroup="0::/moved\n")
    source.look_up([])

    process = one(source, 7)

    assert isinstance(process, Process)
    assert process.cgroup == "0::/moved\n"


def test_a_process_that_ends_and_one_that_comes_are_told_apart(tree: Tree) -> None:
    """A known process that ends is gone, and the next holder of its PID is known by its own texts."""
    folder = tree.add(7)
    source = ProcFs(str(tree.root))
    assert isinstance(one(source, 7), Process)

    remove(folder)
    assert one(source, 7) == "process_gone"

    tree.add(7, start=9000, cgroup="0::/next\n")
    assert one(source, 7) == Process(7, 90.0, "python", "0::/next\n", (7, 1))


def test_without_a_procfs_nothing_has_answered(tmp_path: Path) -> None:
    """A root that is no procfs never answered: the source is down, and each look-up counts."""
    source = ProcFs(str(tmp_path / "nowhere"))

    source.look_up([7])
    state = source.look_up([7])

    assert (state.answered, state.status.up, state.status.last_success, state.own_cgroup) == (False, False, None, "")
    assert (state.status.errors["unreadable"], state.status.reads) == (2, 0)


def test_a_procfs_that_comes_late_is_taken(tmp_path: Path) -> None:
    """A root that becomes a procfs answers from then on; one that goes away answers no more."""
    source = ProcFs(str(tmp_path / "proc"))
    source.look_up([])
    tree = Tree(tmp_path / "proc")

    assert source.look_up([]).answered
    (tree.root / "uptime").unlink()
    state = source.look_up([])
    assert (state.answered, state.status.up, state.own_cgroup) == (False, False, OURS)


def test_a_procfs_that_went_away_says_nobody_is_gone(tree: Tree) -> None:
    """Where /proc itself cannot be read, no process is taken for one that ended; back again, it is the one it was."""
    tree.add(7)
    source = ProcFs(str(tree.root))
    first = one(source, 7)
    away = tree.root.rename(tree.root.with_name("away"))

    assert one(source, 7) == "process_unreadable"

    away.rename(tree.root)
    assert one(source, 7) is first


def test_the_readings_are_timed() -> None:
    """Each look-up that worked adds its duration, by the clock that was given."""
    ticks = iter(range(100))
    source = ProcFs(monotonic=lambda: float(next(ticks)))

    source.look_up([])
    state = source.look_up([])

    assert (state.status.reads, state.status.read_seconds) == (2, 2.0)


def test_a_real_child_is_found_until_it_exits(child: subprocess.Popen[str]) -> None:
    """On the real /proc a living child has a start, a name, a cgroup and its PIDs; ended and reaped it is gone."""
    source = ProcFs()

    process = one(source, child.pid)

    assert isinstance(process, Process)
    assert process.start > 0
    assert process.comm.startswith("python")
    assert process.cgroup == Path(f"/proc/{child.pid}/cgroup").read_text()
    assert process.nspid[0] == child.pid
    child.communicate()
    assert one(source, child.pid) == "process_gone"


@pytest.mark.parametrize("name", ["x) S 1 (y", "a\nNSpid:\t1\t1", "\rNSpid:\t1\t1", "\x0bNSpid:\t1\t1", "\\"])
def test_a_real_child_with_a_hostile_name_is_who_it_is(child: subprocess.Popen[str], name: str) -> None:
    """A process that calls itself like a line of /proc changes nothing but its name."""
    before = one(ProcFs(), child.pid)
    _tell(child, f"open('/proc/self/comm', 'w', newline='').write({name!r})")

    after = one(ProcFs(), child.pid)

    assert isinstance(before, Process)
    assert after == Process(before.pid, before.start, name, before.cgroup, before.nspid)


def _tell(child: subprocess.Popen[str], line: str) -> None:
    """Have the child execute a line, and wait until it has."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(line + "\n")
    child.stdin.flush()
    assert child.stdout.readline() == "done\n"
