"""The driver's edge: one daemon thread per GPU, and one that (re-)initialises NVML, so that no caller ever hangs.

A question to the driver can take minutes, or never come back. So each GPU has a reader of its own, at most one pass
of it is under way, and nobody waits for it longer than he wants to. The starter initialises NVML anew when the driver
went away under us, but only while no pass and no wait for XID events is under way: NVML may not be shut down under a
call.
"""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, Literal

from typing_extensions import override

from exporter.errors import DriverError
from exporter.freshness import stale_after
from exporter.model import DriverState
from exporter.sources import Gpus
from exporter.sources.backoff import Backoff
from exporter.sources.driver import LIBRARY_PATHS, CallError, Driver, Scope, handle_of
from exporter.sources.flight import Flight, guarded
from exporter.sources.gpu import Gpu
from exporter.sources.health import Health
from exporter.sources.instances import with_instances
from exporter.sources.xid import XidWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exporter.model import Device, DeviceReading
    from exporter.sources.driver import Handle

Question = Literal["read", "end"]

#: Seconds between the first attempts to find a driver or a lost GPU again, and between the last.
RETRY: Final = (1.0, 30.0)
#: While some GPUs answer, others are lost: initialising anew may find these, but costs those a window of core time.
LOST_PACE: Final = 300.0


class _Reader:
    """What the source knows of one GPU; guarded by its condition, except `gpu` while a pass is under way."""

    def __init__(self, device: Device, backoff: Backoff) -> None:
        self.device = device
        self.gpu: Gpu | None = None  # None: its handle is no good
        self.reading: DeviceReading | None = None
        self.untaken = False  # the reading came when nobody waited for it any more; its window must not be lost
        self.flight: Final = Flight()
        self.questions: Final = SimpleQueue[Question]()
        self.backoff: Final = backoff
        self.not_before = 0.0

    def ask(self, now: float) -> bool:
        """Have the GPU read, unless it is being read, failed a moment ago, or has a reading that nobody took yet."""
        if self.flight.since is not None or self.untaken or now < self.not_before:
            return False
        self.flight.begin(now)
        self.questions.put("read")
        return True

    def hand_in(self, reading: DeviceReading) -> None:
        """Keep a reading until it is taken."""
        self.reading, self.untaken = reading, True
        self.backoff.reset()

    def take(self) -> DeviceReading | None:
        """Return the newest reading; from now on the next one may replace it."""
        self.untaken = False
        return self.reading

    def lose(self, now: float) -> None:
        """Do without the GPU for a while; its handle is looked up again then."""
        self.gpu = None
        self.not_before = now + self.backoff.next()

    def find(self, gpu: Gpu) -> None:
        """Read this GPU from now on: it was enumerated just now."""
        self.gpu, self.device, self.not_before = gpu, gpu.device, 0.0


class NvmlGpus(Gpus):
    """All GPUs that the driver lists, now and since the start of the program."""

    def __init__(
        self,
        interval: float,
        library_paths: Sequence[str] = LIBRARY_PATHS,
        *,
        maps: str = "/proc/self/maps",
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        retry: tuple[float, float] = RETRY,
    ) -> None:
        """Start to initialise NVML at once, in a thread; `interval` seconds will lie between two `read`s.

        `library_paths` are tried in order, `maps` lists what is mapped into this process. `clock` (monotonic) and
        `wall` (Unix) stamp readings; `retry` bounds the seconds between attempts.
        """
        self._interval: Final = interval
        self._patience: Final = stale_after(interval)
        self._clock: Final = clock
        self._wall: Final = wall
        self._retry: Final = retry
        self._health: Final = Health("nvml", wall)
        self._driver: Final = Driver(library_paths, maps)
        self._turn: Final = threading.Condition()  # guards what follows
        self._readers: dict[str, _Reader] = {}
        self._starting: Final = Flight()
        self._backoff: Final = Backoff(*retry)
        self._started = 0.0
        self._unidentified = 0
        self._stale = True  # NVML must be initialised before anything else
        self._attempted = self._greeted = self._answered = self._closed = False
        self._xids: Final = XidWatch(self._turn, self._watched, self._health, clock, wall, retry)
        threading.Thread(target=self._keep_started, name="nvml", daemon=True).start()

    # ------------------------------------------------------------ what the sampler sees

    @override
    def read(self, timeout: float) -> DriverState:
        deadline = time.monotonic() + timeout
        with self._turn:
            self._await_first_attempt(timeout)
            asked = self._ask_idle()
            self._turn.wait_for(
                lambda: all(reader.flight.since is None for reader in asked), max(0.0, deadline - time.monotonic())
            )
            now = self._clock()
            stalled = self._stalled(now)
            answered, xids = self._answered, self._xids.counts()
            readers = sorted(self._readers.values(), key=lambda reader: reader.device.index)
            taken = [(reader.device, reader.take()) for reader in readers]
        for part in stalled:
            self._health.failed("timeout", f"{part or 'NVML'} has not answered for {self._patience:g} s", part)
        devices, readings = with_instances(taken)
        up = any(now - reading.clock <= self._patience for reading in readings.values())
        return DriverState(now, answered, devices, readings, self._health.status(up=up), xids)

    @override
    def close(self) -> None:
        with self._turn:
            self._closed = True
            self._xids.close()
            for reader in self._readers.values():
                reader.questions.put("end")
            self._turn.notify_all()

    def _await_first_attempt(self, timeout: float) -> None:
        """Let the very first `read` find NVML initialised, and XID events registered; no later one waits for that."""
        if not self._greeted:
            self._greeted = True
            self._turn.wait_for(lambda: (self._attempted and self._xids.settled()) or self._closed, timeout)

    def _ask_idle(self) -> list[_Reader]:
        """Ask every reader that can be asked, and return those."""
        if self._stale or self._closed or self._starting.since is not None:
            return []
        now = self._clock()
        return [reader for reader in self._readers.values() if reader.ask(now)]

    def _stalled(self, now: float) -> list[str]:
        """Return the UUIDs of the GPUs found stuck just now, "" for the start of NVML, and the wait for XID events."""
        stalled = [uuid for uuid, reader in self._readers.items() if reader.flight.stalls(now, self._patience)]
        others = {"": self._starting, "the wait for XID events": self._xids.flight}
        return stalled + [part for part, flight in others.items() if flight.stalls(now, self._patience)]

    # ------------------------------------------------------------ one GPU's thread

    def _serve(self, reader: _Reader) -> None:
        """Read one GPU whenever asked to."""
        while reader.questions.get() == "read":
            begun = self._clock()
            outcome = guarded(lambda: self._pass(reader))
            if isinstance(outcome, DriverError):
                self._failed(reader, outcome)
            else:
                self._succeeded(reader, *outcome, self._clock() - begun)

    def _pass(self, reader: _Reader) -> tuple[DeviceReading, list[DriverError]]:
        if reader.gpu is None:
            reader.gpu = self._gpu(reader.device, handle_of(reader.device.uuid))
        return reader.gpu.read()

    def _succeeded(self, reader: _Reader, reading: DeviceReading, problems: list[DriverError], seconds: float) -> None:
        """Hand in a reading, and what it lacks; only one that lacks nothing mends what was logged as broken."""
        uuid = reader.device.uuid
        self._health.succeeded(seconds, part="" if problems else uuid)
        for problem in problems:
            self._health.failed(problem.reason, f"{uuid}: {problem}", part=uuid)
        with self._turn:
            reader.hand_in(self._xids.with_capability(reading))
            self._backoff.reset()
            reader.flight.end()
            self._turn.notify_all()

    def _failed(self, reader: _Reader, error: DriverError) -> None:
        """Lose the GPU, or all of them if it was the driver that failed."""
        uuid = reader.device.uuid
        self._health.failed(error.reason, f"{uuid}: {error}", part=uuid)
        with self._turn:
            reader.lose(self._clock())
            self._stale |= isinstance(error, CallError) and error.scope is Scope.DRIVER
            reader.flight.end()
            self._turn.notify_all()

    # ------------------------------------------------------------ the starter's thread

    def _keep_started(self) -> None:
        """Initialise NVML now, and again whenever that is needed."""
        delay = 0.0
        while self._may_start(delay):
            outcome = guarded(self._start)
            if isinstance(outcome, DriverError):
                self._health.failed(outcome.reason, str(outcome))
            with self._turn:
                self._attempted = True
                self._starting.end()
                self._turn.notify_all()
            delay = self._backoff.next()

    def _may_start(self, delay: float) -> bool:
        """Wait until a start is needed, `delay` seconds more, and until no pass is under way; False: closed."""
        with self._turn:
            while not self._closed:
                self._turn.wait_for(lambda: self._closed or self._needed())
                self._turn.wait_for(lambda: self._closed, delay)
                self._turn.wait_for(lambda: self._closed or self._idle() or not self._needed())
                if self._needed() and not self._closed:
                    self._stale = True
                    self._starting.begin(self._clock())
                    return True
        return False

    def _needed(self) -> bool:
        """Tell whether to initialise: the driver went away, no GPU answers, or some have been lost for long."""
        lost = [reader.gpu is None for reader in self._readers.values()]
        patient = self._clock() - self._started < LOST_PACE
        return self._stale or all(lost) or (not patient and (any(lost) or self._unidentified > 0))

    def _idle(self) -> bool:
        flights = [self._xids.flight, *(reader.flight for reader in self._readers.values())]
        return all(flight.since is None for flight in flights)

    def _watched(self) -> dict[str, Gpu]:
        """Return the GPUs whose XID events may be waited for, by UUID: none while a start is needed."""
        if self._needed():
            return {}
        return {uuid: reader.gpu for uuid, reader in self._readers.items() if reader.gpu is not None}

    def _start(self) -> None:
        """Initialise NVML and take up all GPUs that it lists."""
        begun = self._clock()
        self._driver.restart()
        count = self._driver.count()
        found = [gpu for gpu in map(self._identified, range(count)) if gpu is not None]
        with self._turn:
            self._take_up(found)
            self._unidentified = count - len(found)
            self._started = self._clock()
            self._stale = False
        self._health.succeeded(self._clock() - begun)

    def _identified(self, index: int) -> Gpu | None:
        """Return one GPU, or None if it does not even say who it is."""
        try:
            return self._gpu(*self._driver.identify(index))
        except CallError as error:
            self._health.failed(error.reason, str(error), part=f"GPU {index}")
            return None

    def _take_up(self, found: list[Gpu]) -> None:
        """Give each GPU to its reader, a new one if it was never seen; those that did not come back are lost."""
        for reader in self._readers.values():
            reader.lose(self._clock())
        for gpu in found:
            reader = self._readers.get(gpu.device.uuid) or self._new_reader(gpu.device)
            reader.find(gpu)
        self._answered |= bool(found)

    def _new_reader(self, device: Device) -> _Reader:
        reader = self._readers[device.uuid] = _Reader(device, Backoff(*self._retry))
        threading.Thread(target=self._serve, args=(reader,), name=f"gpu-{device.index}", daemon=True).start()
        return reader

    def _gpu(self, device: Device, handle: Handle) -> Gpu:
        return Gpu(device, handle, self._interval, self._clock, self._wall)
