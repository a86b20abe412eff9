"""A recorded node in the place of the driver, /proc and the API server: the same pipeline, from the sources on.

Played at `speed`, once or in a loop; at `hold` (or at the end) the state is kept alive: the same processes
hold the same memory, and each goes on at its mean rate of the last minute. A wrap looks like all processes
restarting. Recorded stamps move along, so that time never runs backwards.
"""

from __future__ import annotations

import gzip
import time
import zlib
from collections import defaultdict
from dataclasses import replace
from math import fsum
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from exporter import manifest
from exporter.capture import decode
from exporter.core_time import Progress, advance
from exporter.errors import SOURCE_REASONS, CaptureError, ManifestError
from exporter.freshness import stale_after
from exporter.hami.region import RegionState
from exporter.model import CoreWindow, DriverState, PodState, Process, ProcessState, SourceStatus
from exporter.sources import Gpus, Pods, Processes, Regions
from exporter.sources.instances import with_instances

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from exporter.capture import Capture, Frame
    from exporter.hami.region import FoundRegion
    from exporter.model import DeviceReading, Pod, Unreadable

_MINUTE: Final = 60.0
_LARGEST: Final = 256 * 1024 * 1024  # characters; a minute of eight busy GPUs is 4 MB


def load(path: Path) -> Capture:
    """Read a capture file (`.jsonl.gz`); raises CaptureError with what is wrong and where."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            text = file.read(_LARGEST)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise CaptureError(f"the capture {path} cannot be read: {error}") from error
    try:
        # Not splitlines(): a name may hold any separator but the newline, which JSON escapes.
        return decode(text.removesuffix("\n").split("\n") if text else ())
    except CaptureError as error:
        raise CaptureError(f"{path}: {error}") from error


class Player(Gpus, Processes, Pods):
    """Plays a capture; one `read` hands out at most one new frame, so none is ever skipped."""

    def __init__(
        self,
        capture: Capture,
        *,
        speed: float = 1.0,
        loop: bool = False,
        hold: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`speed` multiplies recorded time; `hold` is the second of the recording to stay at."""
        self._capture: Final = capture
        self._speed: Final = speed
        self._loop: Final = loop
        self._last: Final = len(capture.frames) - 1 if hold is None else _frame_at(capture, hold)
        self._monotonic: Final = monotonic
        self._wall: Final = wall
        self._begun: float | None = None
        self._next = 0
        self._lap = 0
        self._frame: Frame = capture.frames[0]  # the one handed out last, and by how much its times are moved
        self._moved_by = 0.0
        self._now = 0.0
        self._held_at = 0.0
        self._reads = 0
        self._progress: dict[str, Progress] = {}  # this lap's, by GPU or instance
        self._readings: dict[str, DeviceReading] = {}  # of whole GPUs, their instances' in them
        self._recent: defaultdict[str, list[DeviceReading]] = defaultdict(list)
        self._pods: tuple[Pod, ...] | None = None
        self._raw_pods: object = None
        self._unreadable: frozenset[str] = frozenset()
        self._wall_moved_by = 0.0
        self._regions_read: float | None = None

    @property
    def interval(self) -> float:
        """Seconds between two frames, as played."""
        return self._capture.interval / self._speed

    @property
    def held(self) -> bool:
        """Whether the recording has been played to where it stays."""
        return self._next > self._last

    @property
    def regions(self) -> Regions | None:
        """HAMi-core's regions, as a source of their own; None if the recording has none: then nobody reads them."""
        return _PlayedRegions(self._region_state) if self._capture.has_regions else None

    @override
    def read(self, timeout: float) -> DriverState:
        self._reads += 1
        now = self._monotonic()
        if self._begun is None:
            self._begun = now
        if not self.held and (now - self._begun) * self._speed >= self._due():
            self._play(self._capture.frames[self._next])
        elif self.held and now - self._held_at >= self._capture.interval:
            self._extend(now - self._held_at)
        devices, readings = with_instances(
            (device, self._readings.get(device.uuid)) for device in self._capture.devices
        )
        status = self._status("nvml")
        return DriverState(now=self._now, answered=True, devices=devices, readings=readings, status=status)

    @override
    def look_up(self, pids: Collection[int]) -> ProcessState:
        known = self._frame.processes
        found: dict[int, Process | Unreadable] = {pid: self._aged(known.get(pid, "process_gone")) for pid in pids}
        status = self._status("procfs")
        return ProcessState(answered=True, processes=found, status=status, own_cgroup=self._capture.own_cgroup)

    @override
    def current(self) -> PodState:
        if self._frame.pods is not self._raw_pods:
            self._raw_pods = self._frame.pods
            self._cut_down(self._frame.pods)
        return PodState(self._pods, self._status("pods", up=self._pods is not None), self._unreadable)

    @override
    def close(self) -> None:
        pass  # nothing runs

    @property
    def _offset(self) -> float:
        """Seconds by which this lap's recorded times are moved."""
        return self._lap * (self._capture.frames[-1].t - self._capture.frames[0].t + self._capture.interval)

    def _due(self) -> float:
        """Return when the next frame plays, in seconds of the recording since the beginning."""
        return self._offset + self._capture.frames[self._next].t - self._capture.frames[0].t

    def _play(self, frame: Frame) -> None:
        """Hand out one recorded frame."""
        self._frame, self._moved_by = frame, self._offset
        self._now = self._offset + frame.t
        for raw in frame.readings:
            self._wall_moved_by = self._wall() - raw.wall
            self._hand_out(self._moved(raw))
        self._next += 1
        if self.held and self._loop:
            self._next, self._lap = 0, self._lap + 1
            self._progress = {}
        elif self.held:
            self._held_at = self._monotonic()
            oldest = self._now - stale_after(self._capture.interval)  # a hold brings no lost GPU back to life
            self._readings = {uuid: reading for uuid, reading in self._readings.items() if reading.clock >= oldest}

    def _moved(self, raw: DeviceReading) -> DeviceReading:
        """Return a recorded reading in this lap's time, its window judged by law 9 like a live one's."""
        instances = None if raw.instances is None else tuple(map(self._moved, raw.instances))
        reading = replace(raw, clock=self._now, wall=self._wall(), instances=instances)
        if raw.boottime is not None:
            reading = replace(reading, boottime=raw.boottime + self._offset)
        if raw.core is None:
            return reading
        progress = replace(self._progress.get(raw.device.uuid, Progress(0)), last_seen_us=raw.core.last_seen_us)
        step = advance(progress, raw.core, busy=bool(raw.utilization), interval=self._capture.interval)
        self._progress[raw.device.uuid] = step.progress
        return replace(reading, window=step.window)

    def _hand_out(self, reading: DeviceReading) -> None:
        self._readings[reading.device.uuid] = reading
        for one in (reading, *(reading.instances or ())):
            recent = self._recent[one.device.uuid]
            recent.append(one)
            while recent[0].clock <= one.clock - _MINUTE:
                recent.pop(0)

    def _extend(self, passed: float) -> None:
        """Keep the state alive for another `passed` seconds."""
        self._held_at += passed
        self._now += passed
        self._wall_moved_by += passed
        self._readings = {uuid: self._extended(reading, passed) for uuid, reading in self._readings.items()}

    def _extended(self, reading: DeviceReading, passed: float) -> DeviceReading:
        recent = self._recent[reading.device.uuid]
        return replace(
            reading,
            clock=self._now,
            wall=self._wall(),
            boottime=None,
            energy=None if reading.energy is None else reading.energy + _mean_power(recent) * passed,
            window=_mean_window(recent, passed),
            instances=reading.instances and tuple(self._extended(one, passed) for one in reading.instances),
        )

    def _region_state(self) -> RegionState:
        """Return the regions of this moment, none if they are not known; their stamps are moved like all others."""
        recorded = self._frame.regions
        if recorded is None:
            status = replace(self._status("regions", up=False), last_success=self._regions_read)
            return RegionState((), frozenset(), 0, status)
        self._regions_read = self._wall()
        regions = tuple(_stamped(found, self._wall_moved_by) for found in recorded.regions)
        return RegionState(regions, frozenset(), recorded.waiting, self._status("regions"), recorded.complete)

    def _aged(self, process: Process | Unreadable) -> Process | Unreadable:
        """Return the process as of this lap: started anew."""
        return replace(process, start=process.start + self._moved_by) if isinstance(process, Process) else process

    def _cut_down(self, pods: Collection[Mapping[str, object]] | None) -> None:
        """Cut the recorded pods down as the watch does."""
        if pods is None:
            self._pods, self._unreadable = None, frozenset()
            return
        known: list[Pod] = []
        unreadable: set[str] = set()
        for raw in pods:
            try:
                known.append(manifest.pod(raw))
            except ManifestError:
                unreadable.add(manifest.key(raw))
        self._pods, self._unreadable = tuple(known), frozenset(unreadable)

    def _status(self, source: str, *, up: bool = True) -> SourceStatus:
        return SourceStatus(
            source, up, self._wall() if up else None, dict.fromkeys(SOURCE_REASONS[source], 0), self._reads, 0.0
        )


class _PlayedRegions(Regions):
    """The regions of a player; what a process can have was held against its figures when they were recorded."""

    def __init__(self, state: Callable[[], RegionState]) -> None:
        self._state = state

    @override
    def read(self, physical: Mapping[str, int]) -> RegionState:
        return self._state()


def _stamped(found: FoundRegion, moved_by: float) -> FoundRegion:
    """Return a region whose last kernel is as long ago as it was when it was recorded."""
    last = found.region.last_kernel
    return found if last is None else replace(found, region=replace(found.region, last_kernel=round(last + moved_by)))


def _frame_at(capture: Capture, second: float) -> int:
    """Return the index of the last frame that is not later than `second`."""
    return max((index for index, frame in enumerate(capture.frames) if frame.t <= second), default=0)


def _mean_window(recent: list[DeviceReading], passed: float) -> CoreWindow | None:
    """Return a window of `passed` seconds in which each process listed last goes on at its mean rate.

    Its rate is over the part of the last minute in which it was listed.
    """
    if recent[-1].core is None:
        return None
    busy: dict[int, float] = {}
    for pid in {process.pid for process in recent[-1].processes or ()}:
        windows = [
            reading.window
            for reading in recent
            if reading.window and any(process.pid == pid for process in reading.processes or ())
        ]
        seconds = fsum(window.seconds for window in windows)
        spent = fsum(window.busy.get(pid, 0.0) for window in windows)
        if spent:
            busy[pid] = spent / seconds * passed
    most = max(fsum(busy.values()) / passed, 1.0)  # their means are over different parts of the minute
    return CoreWindow(passed, {pid: spent / most for pid, spent in busy.items()}, dict.fromkeys(busy, 0.0))


def _mean_power(recent: list[DeviceReading]) -> float:
    """Return watts: the mean of the last minute."""
    known = [reading.power for reading in recent if reading.power is not None]
    return fsum(known) / len(known) if known else 0.0
