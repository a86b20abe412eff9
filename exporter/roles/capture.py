"""The capture role: records what driver, /proc, HAMi and API server say of this node, for a bug report or a demo."""

from __future__ import annotations

import gzip
import io
import logging
import signal
import time
from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from exporter import manifest
from exporter.capture import encode_node, encode_pods, encode_regions, encode_sample
from exporter.capture_regions import RecordedRegions
from exporter.errors import FAILURE_REASONS, ApiError, ExporterError
from exporter.join import pids_of
from exporter.redaction import Redactor, cgroup
from exporter.sources.driver import LIBRARY_PATHS
from exporter.sources.kube_api import KubeApi, Pace, of_node
from exporter.sources.nvml import NvmlGpus
from exporter.sources.procfs import ProcFs
from exporter.sources.regions import Regions

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from exporter.model import DeviceReading, DriverState, Process, Unreadable
    from exporter.sources import Gpus

_log = logging.getLogger(__name__)

#: A slow API server must not punch holes into the samples.
_API_PACE: Final = Pace(connect=3, read=5)


@dataclass(frozen=True, slots=True)
class CaptureSettings:
    """What to record and where to; `seconds` is how long, `redact` renames what tells who is who.

    `hami_containers` is where HAMi-core's regions are, nowhere if they are not to be read.
    """

    out: Path
    seconds: float
    redact: bool
    node: str
    procfs: str
    hami_containers: tuple[str, ...]
    kubeconfig: str | None
    kubernetes: bool


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Seconds between samples, between lists of the pods, and how long to wait for the driver's first answer."""

    interval: float = 1.0
    pods_every: float = 10.0
    driver_within: float = 10.0


_RHYTHM: Final = Rhythm()


def record(
    settings: CaptureSettings, library_paths: Sequence[str] = LIBRARY_PATHS, *, rhythm: Rhythm = _RHYTHM
) -> None:
    """Record, with a progress bar on standard error; SIGINT (Ctrl-C) or SIGTERM ends it early and keeps what there is.

    Raises ExporterError if the driver, /proc or the API server does not answer at first, or if the file cannot be
    written or is there already; then nothing is left behind. Needs the main thread, because of the signals.
    """
    with (
        _Stop() as stop,
        _new_file(settings.out) as file,
        closing(NvmlGpus(rhythm.interval, library_paths)) as gpus,
        closing(_Recorder(settings, rhythm, gpus)) as recorder,
    ):
        file.writelines(recorder.header(_first_answer(gpus, rhythm, stop)))
        with _progress(settings) as progress:
            task = progress.add_task(f"recording to {settings.out}", total=settings.seconds)
            while True:
                file.writelines(recorder.lines())
                progress.update(task, completed=min(recorder.passed, settings.seconds))
                stop.sleep(min(recorder.until_next(), settings.seconds - recorder.passed))
                if stop.wanted or recorder.passed >= settings.seconds:
                    return


class _Stop:
    """Wanted from the first SIGINT or SIGTERM on, so that no line is cut in two; the handlers are put back.

    A plain flag that is looked at often: a handler must take no lock that the thread it interrupts may hold.
    """

    def __init__(self) -> None:
        self.wanted = False

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._want) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _want(self, *_: object) -> None:
        self.wanted = True

    def sleep(self, seconds: float) -> None:
        """Sleep, but not for long once it is wanted."""
        end = time.monotonic() + seconds
        while not self.wanted and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.05))


class _Recorder:
    """One recording under way."""

    def __init__(self, settings: CaptureSettings, rhythm: Rhythm, gpus: Gpus) -> None:
        self._settings = settings
        self._rhythm = rhythm
        self._gpus = gpus
        self._processes = ProcFs(settings.procfs)
        self._regions = Regions(settings.hami_containers) if settings.hami_containers else None
        self._redactor = Redactor()
        self._api = KubeApi(settings.kubeconfig, _API_PACE) if settings.kubernetes else None
        self._begun = self._due = self._pods_due = time.monotonic()
        self._clocks: dict[str, float] = {}
        self._pids: set[int] = set()
        self._known: Mapping[int, Process | Unreadable] = {}
        self._pods: list[dict[str, Any]] | None = None
        self._known_regions: RecordedRegions | None = None
        self._problems: Counter[str] = Counter()

    @property
    def passed(self) -> float:
        """Seconds recorded so far."""
        return time.monotonic() - self._begun

    def close(self) -> None:
        """Close the connection to the API server, and tell what the recording lacks."""
        if self._api is not None:
            self._api.close()
        for reason, count in sorted(self._problems.items()):
            _log.warning("not recorded, up to %d at once: %s: %s", count, reason, FAILURE_REASONS[reason])

    def until_next(self) -> float:
        """Return how many seconds to wait until the next sample is due; one that is late moves those after it."""
        now = time.monotonic()
        self._due = max(self._due + self._rhythm.interval, now)
        return self._due - now

    def header(self, driver: DriverState) -> Iterator[str]:
        """Yield what comes before the first sample; ExporterError if /proc or the API server does not answer."""
        found = self._processes.look_up(())
        if not found.answered:
            raise ExporterError(
                f"{self._settings.procfs} is no procfs: --procfs must name the host's. Nothing was recorded"
            )
        gpus = [device for device in driver.devices if not device.parent]  # instances are told in their GPU's samples
        self._clocks = {gpu.uuid: 0.0 for gpu in gpus}
        self._begun = self._due = time.monotonic()
        node, own_cgroup = self._settings.node, found.own_cgroup
        if self._settings.redact:
            node, own_cgroup = self._redactor.name("node", node), cgroup(own_cgroup)
        recorded = datetime.now(UTC).isoformat(timespec="seconds")
        yield encode_node(node, gpus[0].driver, gpus, recorded, own_cgroup)
        if self._api is None:
            yield encode_pods(0.0, ())  # known to be without names, so that it can be played
            return
        yield from self._changed_pods(self._api)
        if not self._pods:
            _log.warning("the API server knows no pod on the node %s: is --node-name right?", self._settings.node)

    def lines(self) -> Iterator[str]:
        """Yield what this moment brings: the pods and regions if they changed, the readings that are new."""
        if self._api is not None and time.monotonic() >= self._pods_due:
            try:
                yield from self._changed_pods(self._api)
            except ApiError as error:
                _log.warning("the pods recorded so far stay: %s", error)
        state = self._gpus.read(self._rhythm.interval / 2)
        readings = self._new_readings(state.readings)
        news = self._news(readings)
        if self._regions is not None:
            yield from self._changed_regions(self._regions)
        yield encode_sample(self.passed, time.time_ns() // 1000, readings, self._redacted(news))

    def _changed_pods(self, api: KubeApi) -> Iterator[str]:
        """Yield the node's pods, allow-listed fields only, if they are others than before."""
        self._pods_due = time.monotonic() + self._rhythm.pods_every
        query = of_node(self._settings.node)
        pods = sorted((manifest.slim(raw) for page in api.pages(query) for raw in page.items), key=manifest.key)
        if pods != self._pods:
            self._pods = pods
            yield encode_pods(self.passed, map(self._redactor.pod, pods) if self._settings.redact else pods)

    def _changed_regions(self, source: Regions) -> Iterator[str]:
        """Yield HAMi-core's regions if they are others than before; that they cannot be read is news, too.

        No figure is too large here: where HAMi oversubscribes it may exceed the card, and that is not known.
        """
        state = source.read({})
        self._problems |= Counter(problem.reason for problem in state.problems)
        regions = RecordedRegions(state.regions, state.complete, state.waiting) if state.status.up else None
        if regions != self._known_regions:
            self._known_regions = regions
            redacted = self._redactor.regions(regions) if regions is not None and self._settings.redact else regions
            yield encode_regions(self.passed, redacted)

    def _new_readings(self, readings: Mapping[str, DeviceReading]) -> list[DeviceReading]:
        """Return the readings that were not recorded yet, of the GPUs that the first line names."""
        new = [one for uuid, one in readings.items() if uuid in self._clocks and one.clock > self._clocks[uuid]]
        self._clocks.update({one.device.uuid: one.clock for one in new})
        return new

    def _news(self, readings: Collection[DeviceReading]) -> Mapping[int, Process | Unreadable]:
        """Return who the PIDs are that the driver names, and those it named last time, as far as that is news."""
        everywhere = [one for reading in readings for one in (reading, *(reading.instances or ()))]
        named = pids_of(everywhere) | {one.pid for reading in readings if reading.core for one in reading.core.samples}
        found = self._processes.look_up(named | self._pids).processes
        self._pids = named
        news = {pid: one for pid, one in found.items() if self._known.get(pid) != one}
        self._known = {**self._known, **news}
        return news

    def _redacted(self, found: Mapping[int, Process | Unreadable]) -> Mapping[int, Process | Unreadable]:
        if not self._settings.redact:
            return found
        return {pid: one if isinstance(one, str) else self._redactor.process(one) for pid, one in found.items()}


def _first_answer(gpus: Gpus, rhythm: Rhythm, stop: _Stop) -> DriverState:
    """Wait until the driver has named its GPUs."""
    end = time.monotonic() + rhythm.driver_within
    while time.monotonic() < end and not stop.wanted:
        state = gpus.read(rhythm.interval / 2)
        if state.devices and state.readings:
            return state
        stop.sleep(0.1)
    if stop.wanted:
        raise ExporterError("stopped before the driver had answered. Nothing was recorded")
    raise ExporterError(
        f"the NVIDIA driver did not answer within {rhythm.driver_within:g} s; the log above says why. "
        "Nothing was recorded"
    )


@contextmanager
def _new_file(path: Path) -> Iterator[TextIO]:
    """Open a new capture file, for its owner's eyes only; it has its name once it is whole, and is gone if it fails.

    Never follows or replaces what is there: as root, in a directory that others may write to, it could be anything.
    """
    part = path.with_name(path.name + ".part") if path.name else path
    try:
        if path.exists():
            raise ExporterError(f"{path} is there already; choose another --out")
        part.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        raise ExporterError(
            f"{part} is there already: a recording is under way, or was killed; remove it or choose another --out"
        ) from None
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with _compressed(part) as file:
            yield file
        if path.exists():
            raise ExporterError(f"{path} has come to be there meanwhile; choose another --out")
        part.rename(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _compressed(path: Path) -> Iterator[TextIO]:
    """Open a gzip file whose header does not tell its name; what is no UTF-8 is written as JSON escapes it."""
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", errors="backslashreplace") as file,
    ):
        yield file


def _unwritable(path: Path, error: OSError) -> ExporterError:
    return ExporterError(f"{path} cannot be written: {error.strerror or error}")


def _progress(settings: CaptureSettings) -> Progress:
    """Return the bar; standard output stays clean."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=settings.seconds < 1)
