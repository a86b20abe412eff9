"""One pass over one GPU: every question in order, each answer or its absence, put together as a `DeviceReading`."""

from __future__ import annotations

import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar

from exporter.core_time import Progress, advance
from exporter.errors import DriverError
from exporter.model import CoreReading, DeviceReading, GpuProcess
from exporter.sources import facts
from exporter.sources.driver import CallError, Scope
from exporter.sources.facts import Fact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from exporter.model import CoreWindow, Device
    from exporter.sources.driver import Handle

Answer = TypeVar("Answer")


class Gpu:
    """One GPU as long as its handle is good; not thread-safe: its reader asks it, one pass after the other."""

    def __init__(
        self,
        device: Device,
        handle: Handle,
        interval: float,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        """`interval` seconds lie between passes; `clock` (monotonic) and `wall` (Unix) stamp them."""
        self.device: Final = device
        self._handle: Final = handle
        self._interval: Final = interval
        self._clock: Final = clock
        self._wall: Final = wall
        self._mig = False
        self._begin()

    def _begin(self) -> None:
        """Know nothing yet of what this GPU can tell."""
        self._memory = Fact("memory", facts.memory_v2, facts.memory_v1)
        self._lists = facts.process_lists()
        self._utilization = Fact("utilisation", facts.utilization)
        self._samples = Fact("utilisation of the processes", facts.new_samples, facts.old_samples)
        self._device_samples = Fact("utilisation since the last pass", facts.device_samples)
        self._power = Fact("power", facts.power)
        self._energy = Fact("energy", facts.energy)
        self._temperature = Fact("temperature", facts.new_temperature, facts.old_temperature)
        self._mig_mode = Fact("MIG mode", facts.mig)
        self._progress = Progress(last_seen_us=self._now_us())
        self._problems: list[DriverError] = []

    def read(self) -> tuple[DeviceReading, list[DriverError]]:
        """Ask for everything; return it with what went wrong. Raises `DriverError` if the GPU as a whole did."""
        self._problems = []
        wall, clock = self._wall(), self._clock()
        self._notice_mig()
        memory = self._ask(self._memory)
        # What starts after this moment cannot be what the driver lists; before it, it may.
        boottime = time.clock_gettime(time.CLOCK_BOOTTIME)
        processes = self._processes()
        utilization = self._ask(self._utilization)
        core, window = self._core(busy=bool(utilization))
        reading = DeviceReading(
            device=self.device,
            wall=wall,
            clock=clock,
            boottime=boottime,
            memory=memory,
            utilization=utilization,
            power=self._ask(self._power),
            energy=self._ask(self._energy),
            temperature=self._ask(self._temperature),
            processes=processes,
            core=core,
            window=window,
            capabilities=self._capabilities(processes or ()),
        )
        self._insist(reading)
        return reading, self._problems

    def _ask(self, fact: Fact[Answer], *arguments: object) -> Answer | None:
        """Return one fact; a failure that concerns it alone costs it alone."""
        try:
            return fact.ask(self._handle, *arguments)
        except CallError as error:
            if error.scope is not Scope.FACT:
                raise
            self._problems.append(error)
            return None

    def _insist(self, reading: DeviceReading) -> None:
        """Raise the first failure if nothing at all was answered: then it is the GPU that fails."""
        answers = (reading.memory, reading.processes, reading.utilization, reading.core, reading.power, reading.energy)
        if self._problems and all(answer is None for answer in (*answers, reading.temperature)):
            raise self._problems[0]

    def _notice_mig(self) -> None:
        """Start anew if the GPU was cut into instances, or is whole again: what it can tell is different then."""
        mig = self._ask(self._mig_mode)
        if mig is not None and mig != self._mig:
            self._begin()
            self._mig = mig

    def _processes(self) -> tuple[GpuProcess, ...] | None:
        """Return the processes of all lists that this GPU has, each once; None if one that it has is not readable."""
        failures = len(self._problems)
        lists = [self._ask(fact) for fact in self._lists]
        forbidden = any(fact.reason == "no_permission" for fact in self._lists)
        if forbidden or len(self._problems) > failures or all(listed is None for listed in lists):
            return None
        return _merged(process for listed in lists if listed for process in listed)

    def _core(self, *, busy: bool) -> tuple[CoreReading | None, CoreWindow | None]:
        """Return who used the SMs since the last pass, and what may be booked of it (law 9 of the metric contract)."""
        if self._mig:
            return None, None
        last_seen_us, now_us = self._progress.last_seen_us, self._now_us()
        # The GPU's samples first: what comes between the two answers is then in the processes' averages, too.
        whole = self._ask(self._device_samples, last_seen_us)
        samples = self._ask(self._samples, last_seen_us)
        if samples is None:
            return None, None
        core = CoreReading(last_seen_us, now_us, samples, whole)
        step = advance(self._progress, core, busy=busy, interval=self._interval)
        self._progress = step.progress
        if step.gap:
            self._problems.append(
                DriverError("sample_gap", "core time was not watched without a break: nothing booked")
            )
        return core, step.window

    def _capabilities(self, processes: tuple[GpuProcess, ...]) -> MappingProxyType[str, str]:
        """Return what this GPU can tell, and why not; SM time of MPS clients is booked on their server."""
        memory = self._memory
        shared = "mig" if self._mig else "mps" if any(process.mps for process in processes) else None
        return MappingProxyType(
            {
                "process_list": _best(fact.reason for fact in self._lists),
                "process_utilization": shared or self._samples.reason,
                "memory_v2": "not_supported" if memory.fell_back and memory.reason == "supported" else memory.reason,
                "energy": self._energy.reason,
                "power": self._power.reason,
                "temperature": self._temperature.reason,
            }
        )

    def _now_us(self) -> int:
        return int(self._wall() * 1e6)


def _merged(listed: Iterable[GpuProcess]) -> tuple[GpuProcess, ...]:
    """One process per PID: a client of an MPS server, say, is in two lists."""
    merged: dict[int, GpuProcess] = {}
    for process in listed:
        known = merged.get(process.pid)
        merged[process.pid] = process if known is None else _joined(known, process)
    return tuple(merged.values())


def _joined(one: GpuProcess, other: GpuProcess) -> GpuProcess:
    """Two lists' words on one process: the larger figure, None only if neither has one."""
    figures = [used for used in (one.used, other.used) if used is not None]
    return GpuProcess(one.pid, max(figures, default=None), one.mps or other.mps)


def _best(reasons: Iterable[str]) -> str:
    """Of the lists' reasons the one that says most: forbidden hides processes, missing does not."""
    found = set(reasons)
    return next(reason for reason in ("no_permission", "supported", "not_supported") if reason in found)
