"""The capture role: records this node's driver answers, /proc facts and pods, for a bug report, a test or a demo."""

from __future__ import annotations

import gzip
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from exporter import manifest
from exporter.capture import encode_node, encode_pods, encode_sample
from exporter.errors import ExporterError
from exporter.join import pids_of
from exporter.redaction import Redactor
from exporter.sources.driver import LIBRARY_PATHS
from exporter.sources.kube_api import PACE, KubeApi, of_node
from exporter.sources.nvml import NvmlGpus
from exporter.sources.procfs import ProcFs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from exporter.model import DeviceReading, DriverState, Process, Unreadable
    from exporter.sources import Gpus

_INTERVAL: Final = 1.0
_PODS_EVERY: Final = 10.0
_DRIVER_WITHIN: Final = 10.0


@dataclass(frozen=True, slots=True)
class CaptureSettings:
    """What to record and where to; `seconds` is how long, `redact` renames what tells who is who."""

    out: Path
    seconds: float
    redact: bool
    node: str
    procfs: str
    kubeconfig: str | None
    kubernetes: bool


def record(settings: CaptureSettings, library_paths: Sequence[str] = LIBRARY_PATHS) -> None:
    """Record, with a progress bar on standard error; Ctrl-C ends it early and keeps what there is.

    Raises ExporterError if the driver or the API server does not answer, or the file is there already.
    """
    gpus = NvmlGpus(_INTERVAL, library_paths)
    try:
        first = _first_answer(gpus)
        with _new_file(settings.out) as file, _progress(settings) as progress:
            task = progress.add_task(f"recording to {settings.out}", total=settings.seconds)
            recorder = _Recorder(settings, gpus)
            file.writelines(recorder.header(first))
            with suppress(KeyboardInterrupt):
                while recorder.passed < settings.seconds:
                    file.writelines(recorder.lines())
                    progress.update(task, completed=min(recorder.passed, settings.seconds))
                    recorder.wait()
    finally:
        gpus.close()


class _Recorder:
    """One recording under way."""

    def __init__(self, settings: CaptureSettings, gpus: Gpus) -> None:
        self._settings = settings
        self._gpus = gpus
        self._processes = ProcFs(settings.procfs)
        self._redactor = Redactor()
        self._api = KubeApi(settings.kubeconfig, PACE) if settings.kubernetes else None
        self._begun = time.monotonic()
        self._ticks = 0
        self._clocks: dict[str, float] = {}
        self._known: Mapping[int, Process | Unreadable] = {}
        self._pods: list[dict[str, Any]] | None = None
        self._pods_due = 0.0

    @property
    def passed(self) -> float:
        """Seconds recorded so far."""
        return time.monotonic() - self._begun

    def wait(self) -> None:
        """Wait for the next second."""
        self._ticks += 1
        time.sleep(max(self._ticks * _INTERVAL - self.passed, 0.0))

    def header(self, driver: DriverState) -> Iterator[str]:
        """Yield what comes before the first sample."""
        node = self._settings.node
        if self._settings.redact:
            node = self._redactor.name("node", node)
        recorded = datetime.now(UTC).isoformat(timespec="seconds")
        yield encode_node(node, driver.devices[0].driver, driver.devices, recorded)
        if self._api is None:
            yield encode_pods(0.0, ())  # known to be without names, so that it can be played

    def lines(self) -> Iterator[str]:
        """Yield what this second brings: the pods if they changed, the readings that are new."""
        if self._api is not None and self.passed >= self._pods_due:
            self._pods_due = self.passed + _PODS_EVERY
            pods = self._slim_pods(self._api)
            if pods != self._pods:
                self._pods = pods
                yield encode_pods(self.passed, pods)
        readings = self._new_readings()
        found = self._processes.look_up(pids_of(readings)).processes
        news = {pid: one for pid, one in found.items() if self._known.get(pid) != one}
        self._known = {**self._known, **news}
        yield encode_sample(self.passed, time.time_ns() // 1000, readings, self._redacted(news))

    def _new_readings(self) -> list[DeviceReading]:
        """Return the readings that were not recorded yet."""
        state = self._gpus.read(_INTERVAL / 2)
        new = [one for uuid, one in state.readings.items() if one.clock > self._clocks.get(uuid, 0.0)]
        self._clocks.update({one.device.uuid: one.clock for one in new})
        return new

    def _slim_pods(self, api: KubeApi) -> list[dict[str, Any]]:
        """Return the node's pods, allow-listed fields only."""
        slim = [manifest.slim(raw) for page in api.pages(of_node(self._settings.node)) for raw in page.items]
        slim.sort(key=manifest.key)
        return [self._redactor.pod(one) for one in slim] if self._settings.redact else slim

    def _redacted(self, found: Mapping[int, Process | Unreadable]) -> Mapping[int, Process | Unreadable]:
        if not self._settings.redact:
            return found
        return {pid: one if isinstance(one, str) else self._redactor.process(one) for pid, one in found.items()}


def _first_answer(gpus: Gpus) -> DriverState:
    """Wait until the driver has named its GPUs."""
    end = time.monotonic() + _DRIVER_WITHIN
    while time.monotonic() < end:
        state = gpus.read(_INTERVAL / 2)
        if state.devices and state.readings:
            return state
        time.sleep(0.1)
    raise ExporterError(
        f"the NVIDIA driver did not answer within {_DRIVER_WITHIN:.0f} s; the log above says why. Nothing was recorded"
    )


@contextmanager
def _new_file(path: Path) -> Iterator[Any]:
    """Open a new capture file; what was recorded stays, under another name, if the recording is cut short."""
    part = path.with_name(path.name + ".part")
    if path.exists():
        raise ExporterError(f"{path} is there already; choose another --out")
    try:
        with gzip.open(part, "wt", encoding="utf-8") as file:
            yield file
        part.rename(path)
    except OSError as error:
        raise ExporterError(f"{path} cannot be written: {error.strerror}") from error


def _progress(settings: CaptureSettings) -> Progress:
    """Return the bar; standard output stays clean."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=settings.seconds < 1)
