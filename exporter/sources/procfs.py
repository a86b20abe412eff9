"""The edge to /proc: who a PID is right now.

A PID is a name that is given away again: its start time tells one holder from the next. It is read at each look-up; the
texts that cannot change the owner are read once per (PID, start time), with the start time read again behind them.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from exporter.errors import ProcError
from exporter.model import Process, ProcessState
from exporter.processes import parse_nspid, parse_stat
from exporter.sources import Processes
from exporter.sources.health import Health

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from exporter.model import Unreadable

_MOST = 64 * 1024  # a cgroup text with every controller is 1 KiB; a tenant can nest deeper


class ProcFs(Processes):
    """Looks processes up below `root`, normally `/proc`; not thread-safe: one sampler asks."""

    def __init__(self, root: str = "/proc", monotonic: Callable[[], float] = time.perf_counter) -> None:
        """`monotonic` times the readings."""
        self._root: Final = root
        self._monotonic: Final = monotonic
        self._health: Final = Health("procfs")
        self._known: dict[int, Process] = {}
        self._own_cgroup = ""

    @override
    def look_up(self, pids: Collection[int]) -> ProcessState:
        begun = self._monotonic()
        if not self._alive():
            return ProcessState(
                answered=False,
                processes=dict.fromkeys(pids, "process_unreadable"),
                status=self._health.status(up=False),
                own_cgroup=self._own_cgroup,
            )
        found: dict[int, Process | Unreadable] = {pid: self._process(pid) for pid in pids}
        self._known = {pid: process for pid, process in found.items() if isinstance(process, Process)}
        self._health.succeeded(self._monotonic() - begun)
        return ProcessState(
            answered=True, processes=found, status=self._health.status(up=True), own_cgroup=self._own_cgroup
        )

    def _alive(self) -> bool:
        """Tell whether this is a procfs at all, so that "no such process" can be believed."""
        try:
            self._read("uptime")
            if not self._own_cgroup:
                self._own_cgroup = self._read("self/cgroup")
        except OSError as error:
            self._health.failed(
                "unreadable", f"{self._root}/uptime cannot be read ({error.strerror}): --procfs must name a procfs"
            )
            return False
        return True

    def _process(self, pid: int) -> Process | Unreadable:
        """Read one process, or say why not."""
        try:
            start, comm = parse_stat(self._read(f"{pid}/stat"))
            known = self._known.get(pid)
            if known is not None and known.start == start:
                return known
            return self._identify(pid, start, comm)
        except (FileNotFoundError, ProcessLookupError):
            return "process_gone"
        except OSError as error:
            self._health.failed("unreadable", f"{self._root}/{pid}: {error.strerror}", part="process")
            return "process_unreadable"
        except ProcError as error:
            self._health.failed("malformed", str(error), part="process")
            return "process_unreadable"

    def _identify(self, pid: int, start: float, comm: str) -> Process | Unreadable:
        """Read the texts of a process seen for the first time, and that it was the same one all along."""
        cgroup = self._read(f"{pid}/cgroup")
        nspid = parse_nspid(self._read(f"{pid}/status"))
        again, _ = parse_stat(self._read(f"{pid}/stat"))
        return Process(pid, start, comm, cgroup, nspid) if again == start else "process_gone"

    def _read(self, name: str) -> str:
        """Read one small file of /proc whole; what is no UTF-8 survives escaped."""
        descriptor = os.open(f"{self._root}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(descriptor, _MOST).decode(errors="backslashreplace")
        finally:
            os.close(descriptor)
