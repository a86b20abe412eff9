"""One pass over one GPU: every question in order, each answer or its absence, put together as a `DeviceReading`."""

from __future__ import annotations

import time
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar

from exporter.core_time import Progress, advance
from exporter.errors import DriverError
from exporter.model import CoreReading, DeviceReading
from exporter.sources import facts
from exporter.sources.driver import CallError, Scope
from exporter.sources.facts import Fact, ProcessLists, merged
from exporter.sources.mig import Instances

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from exporter.model import CoreWindow, Device, GpuProcess
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

    @property
    def handle(self) -> Handle:
        """What NVML calls it: good until it is lost or NVML is initialised anew."""
        return self._handle

    def _begin(self) -> None:
        """Know nothing yet of what this GPU can tell."""
        self._memory = Fact("memory", facts.memory_v2, facts.memory_v1)
        self._lists = ProcessLists()
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
        reading = DeviceReading(self.device, self._wall(), self._clock())
        self._notice_mig()
        reading = self._cut(reading) if self._mig else self._whole(reading)
        reading = replace(
            reading,
            power=self._ask(self._power),
            energy=self._ask(self._energy),
            temperature=self._ask(self._temperature),
        )
        self._insist(reading)
        return replace(reading, capabilities=self._capabilities(reading)), self._problems

    def _whole(self, reading: DeviceReading) -> DeviceReading:
        """Add what a GPU tells that is not cut into instances."""
        memory = self._ask(self._memory)
        # What starts after this moment cannot be what the driver lists; before it, it may.
        boottime = time.clock_gettime(time.CLOCK_BOOTTIME)
        listed = self._lists.ask(self._ask)
        utilization = self._ask(self._utilization)
        core, window = self._core(busy=bool(utilization))
        processes = None if listed is None else merged(listed)
        return replace(
            reading,
            boottime=boottime,
            memory=memory,
            utilization=utilization,
            processes=processes,
            core=core,
            window=window,
            capabilities={
                "process_list": self._lists.reason,
                "process_utilization": self._utilization_reason(processes or ()),
                "memory_v2": self._memory.newest,
            },
        )

    def _cut(self, reading: DeviceReading) -> DeviceReading:
        """Add the GPU's MIG instances: memory, processes and cores are theirs, so it has none of its own."""
        instances = Instances(self.device, self._handle)
        reading = replace(reading, boottime=time.clock_gettime(time.CLOCK_BOOTTIME))
        readings = instances.readings(self._lists.ask(self._ask), reading)
        self._problems += instances.problems
        return replace(
            reading,
            instances=readings,
            capabilities={
                "process_list": instances.process_list(readings, self._lists.reason),
                "process_utilization": "mig",
                "memory_v2": "mig",
            },
        )

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
        answers = (reading.memory, reading.processes, reading.utilization, reading.core, reading.instances or None)
        figures = (reading.power, reading.energy, reading.temperature)
        if self._problems and all(answer is None for answer in (*answers, *figures)):
            raise self._problems[0]

    def _notice_mig(self) -> None:
        """Start anew if the GPU was cut into instances, or is whole again: what it can tell is different then."""
        mig = self._ask(self._mig_mode)
        if mig is not None and mig != self._mig:
            self._begin()
            self._mig = mig

    def _core(self, *, busy: bool) -> tuple[CoreReading | None, CoreWindow | None]:
        """Return who used the SMs since the last pass, and what may be booked of it (law 9 of the metric contract)."""
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

    def _utilization_reason(self, processes: Iterable[GpuProcess]) -> str:
        """Return whether core time per process is to be had: that of MPS clients is booked on their server."""
        return "mps" if any(process.mps for process in processes) else self._samples.reason

    def _capabilities(self, reading: DeviceReading) -> MappingProxyType[str, str]:
        """Return what this GPU can tell, and why not: what the reading says, and the figures of the whole card."""
        return MappingProxyType(
            {
                **reading.capabilities,
                "energy": self._energy.reason,
                "power": self._power.reason,
                "temperature": self._temperature.reason,
            }
        )

    def _now_us(self) -> int:
        return int(self._wall() * 1e6)
