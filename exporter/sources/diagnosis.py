"""The edges of `doctor` on the node: what driver, /proc and regions answer now, as findings.

The same readers and parsers as the node role's, asked once. Whatever can hang, a driver's call above all, has a daemon
thread of its own that nobody waits for beyond its time.
"""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from exporter.doctor.driver import Access, DriverFound, GpuFound
from exporter.doctor.hami import RegionsFound
from exporter.doctor.processes import ProcFound
from exporter.errors import DriverError
from exporter.sources.driver import Driver
from exporter.sources.flight import guarded
from exporter.sources.gpu import Gpu
from exporter.sources.procfs import ProcFs
from exporter.sources.regions import Regions

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from exporter.model import Device, DeviceReading

_MODULE: Final = "driver/nvidia/version"
_CONTROL: Final = "/dev/nvidiactl"
_MOUNTED: Final = "/var/run/nvidia-container-devices"
#: Processes beside the listed ones whose cgroups are looked at, and bytes of the module's version.
_NEIGHBOURS: Final = 512
_MOST: Final = 4096
#: Seconds that reading the regions may take; the node role has less, and goes on where it stopped.
_BUDGET: Final = 2.0

T = TypeVar("T")


def within(seconds: float, *calls: Callable[[], T]) -> list[T | None]:
    """Make all calls at once, each in a daemon thread; None for each that has not returned after so many seconds.

    The calls must not raise.
    """
    answers: list[T | None] = [None] * len(calls)

    def answer(number: int, call: Callable[[], T]) -> None:
        answers[number] = call()

    threads = [threading.Thread(target=answer, args=one, daemon=True) for one in enumerate(calls)]
    end = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return answers.copy()


# ---------------------------------------------------------------- the driver


def driver(library_paths: Sequence[str], interval: float, seconds: float) -> DriverFound:
    """Start NVML and read every GPU once; each may take so many `seconds`."""
    library = next(filter(os.path.exists, library_paths), "")
    nvml = Driver(library_paths, "/proc/self/maps")

    def start() -> int:
        nvml.restart()
        return nvml.count()

    [count] = within(seconds, partial(guarded, start))
    if not isinstance(count, int):
        return DriverFound(library, count or _late(seconds))
    asked = [_Asked(nvml, index, interval) for index in range(count)]
    outcomes = within(seconds, *(partial(guarded, one.read) for one in asked))
    found = (_gpu(one, outcome, seconds) for one, outcome in zip(asked, outcomes, strict=True))
    return DriverFound(library, None, tuple(found))


class _Asked:
    """One GPU that is being asked; knows its device as soon as the driver has said it."""

    def __init__(self, nvml: Driver, index: int, interval: float) -> None:
        self.index: Final = index
        self.device: Device | None = None
        self._nvml: Final = nvml
        self._interval: Final = interval

    def read(self) -> tuple[DeviceReading, list[DriverError]]:
        self.device, handle = self._nvml.identify(self.index)
        return Gpu(self.device, handle, self._interval, time.monotonic, time.time).read()


def _gpu(
    asked: _Asked, outcome: tuple[DeviceReading, list[DriverError]] | DriverError | None, seconds: float
) -> GpuFound:
    if isinstance(outcome, tuple):
        reading, problems = outcome
        return GpuFound(asked.index, asked.device, reading, tuple(problems))
    return GpuFound(asked.index, asked.device, None, (outcome or _late(seconds),))


def _late(seconds: float) -> DriverError:
    return DriverError("timeout", f"the driver has not answered for {seconds:g} s")


def access(procfs: str) -> Access:
    """Return the signs of how the driver was to get into this pod."""
    return Access(
        module=_first_words(f"{procfs}/{_MODULE}"),
        control=Path(_CONTROL).exists(),
        visible=os.environ.get("NVIDIA_VISIBLE_DEVICES"),
        mounted=Path(_MOUNTED).is_dir(),
    )


def _first_words(path: str) -> str:
    """Return how a text begins, "" if it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(_MOST).decode(errors="backslashreplace")
    except OSError:
        return ""


# ---------------------------------------------------------------- /proc and regions


def processes(root: str, listed: Collection[int]) -> ProcFound:
    """Return who PID 1, the processes that the driver lists and some others below a procfs are."""
    own = _link(f"{root}/self")
    number = int(own) if own.isascii() and own.isdigit() else None
    asked = {1, *listed, *islice(_pids(root), _NEIGHBOURS)} | ({number} if number is not None else set())
    state = ProcFs(root).look_up(asked)
    return ProcFound(root, state, frozenset(listed), number, _link(f"{root}/self/ns/pid"))


def _pids(root: str) -> Iterator[int]:
    try:
        with os.scandir(root) as entries:
            yield from (int(entry.name) for entry in entries if entry.name.isascii() and entry.name.isdigit())
    except OSError:
        return


def _link(path: str) -> str:
    """Return what a link says, "" if it is none, or may not be read."""
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""


def regions(roots: Sequence[str]) -> RegionsFound:
    """Return HAMi's regions; no figure in them is too large here."""
    state = Regions(roots, budget=_BUDGET).read()
    return RegionsFound(tuple(roots), tuple(root for root in roots if not os.path.lexists(root)), state)
