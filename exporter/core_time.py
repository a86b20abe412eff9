"""Law 9: which span of core time one answer of the driver lets us book, and where to ask on from.

The driver books a sample about every 200 ms on one process and answers each PID's average since the stamp that
it is asked with. So (share x window) adds up to the truth if the windows follow each other without overlap or hole:
each window ends at the newest stamp answered, and the next begins there. Where that chain breaks (program stopped,
clock stepped, driver silent) nothing is booked and the chain starts anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from exporter.model import CoreWindow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.model import CoreReading, SmSample

#: A window of more intervals than this was not watched: the program slept, or a clock stepped.
MAX_INTERVALS: Final = 5
#: So many answers in a row without a sample while the GPU is busy mean that the chain is broken.
MAX_SILENT_READS: Final = 3
#: A sample reaches us at most so late (200 ms measured); younger idle time is not yet certain.
IDLE_LAG_US: Final = 500_000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one GPU's core time is read: ask on from `last_seen_us` (the driver's Unix µs)."""

    last_seen_us: int
    started: bool = False
    silent_reads: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """What one answer makes of a `Progress`; `window` is None if nothing is to be booked."""

    progress: Progress
    window: CoreWindow | None = None
    gap: bool = False


def advance(progress: Progress, core: CoreReading, *, busy: bool, interval: float) -> Step:
    """Judge one answer; `busy` is the device's own utilisation, `interval` seconds between readings."""
    newest = _newest_per_pid(core.samples)
    if newest:
        end = max(sample.timestamp_us for sample in newest.values())
    elif busy:
        return _silent(progress, core)
    elif progress.last_seen_us <= core.now_us:
        end = max(progress.last_seen_us, core.now_us - IDLE_LAG_US)
        if end == progress.last_seen_us:
            return Step(replace(progress, started=True, silent_reads=0))
    else:
        end = core.now_us
    return _close(progress, core, newest, end, interval)


def _close(progress: Progress, core: CoreReading, newest: dict[int, SmSample], end: int, interval: float) -> Step:
    """End the window at `end`, if it is one that we watched."""
    following = Progress(last_seen_us=end, started=True)
    seconds = (end - progress.last_seen_us) / 1e6
    if not progress.started:
        return Step(following)
    if not 0 < seconds <= MAX_INTERVALS * interval:
        return Step(following, gap=True)
    busy = {pid: min(sample.sm, 100.0) / 100 * seconds for pid, sample in newest.items()}
    ages = {pid: (core.now_us - sample.timestamp_us) / 1e6 for pid, sample in newest.items()}
    return Step(following, CoreWindow(seconds, busy, ages))


def _silent(progress: Progress, core: CoreReading) -> Step:
    """No sample though the GPU is busy: wait for the next answer, but not for ever."""
    silent = progress.silent_reads + 1
    if silent < MAX_SILENT_READS:
        return Step(replace(progress, silent_reads=silent))
    return Step(Progress(last_seen_us=core.now_us, started=True), gap=True)


def _newest_per_pid(samples: Iterable[SmSample]) -> dict[int, SmSample]:
    """One sample per PID: some drivers answer several, of which only the newest is an average up to now."""
    newest: dict[int, SmSample] = {}
    for sample in samples:
        if sample.pid not in newest or sample.timestamp_us > newest[sample.pid].timestamp_us:
            newest[sample.pid] = sample
    return newest
