"""Law 9: which span of core time one answer of the driver lets us book, and where to ask on from.

The driver takes a sample about every 200 ms and books it on one process. It tells each PID's average since a stamp as
a whole percent, cut off: with ten processes several percent of the GPU are lost that way (measured on an H200: 2 to
11 %). The GPU's own samples are whole. So the length of a window and its GPU-seconds come from the GPU's samples, and
the PIDs' averages only say how to split them; where a driver keeps no such samples the averages must do.

Windows follow each other without overlap or hole: each ends at the newest stamp, and the next begins there. Where that
chain breaks (program stopped, clock stepped, driver silent) nothing is booked and the chain starts anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from math import fsum
from typing import TYPE_CHECKING, Final

from exporter.model import CoreWindow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from exporter.model import CoreReading, SmSample

#: A window of more intervals than this was not watched: the program slept, or a clock stepped.
MAX_INTERVALS: Final = 5
#: So many answers in a row without the samples that there should be mean that the chain is broken.
MAX_SILENT_READS: Final = 3
#: Seconds for which a sample of the GPU's speaks at most (NVML promises one in 1/6 to 1 s). A longer hole was not
#: watched: the driver keeps only so many samples, or a clock stepped.
LONGEST_HOLD: Final = 1.5
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
    if core.device is not None:
        whole = [(stamp, share) for stamp, share in core.device if stamp > progress.last_seen_us]
        if not whole:
            return _silent(progress, core)
        return _close(progress, core, newest, whole[-1][0], interval, whole)
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


def _close(
    progress: Progress,
    core: CoreReading,
    newest: Mapping[int, SmSample],
    end: int,
    interval: float,
    whole: Sequence[tuple[int, float]] = (),
) -> Step:
    """End the window at `end`, if it is one that we watched."""
    following = Progress(last_seen_us=end, started=True)
    seconds = (end - progress.last_seen_us) / 1e6
    if not progress.started:
        return Step(following)
    if not 0 < seconds <= MAX_INTERVALS * interval:
        return Step(following, gap=True)
    ages = {pid: (core.now_us - sample.timestamp_us) / 1e6 for pid, sample in newest.items()}
    shares = {pid: min(sample.sm, 100.0) / 100 for pid, sample in newest.items()}
    if not whole:
        return Step(following, CoreWindow(seconds, {pid: share * seconds for pid, share in shares.items()}, ages))
    observed, total = _observed(progress.last_seen_us, whole)
    busy, unplaced = _split(total, shares)
    return Step(following, CoreWindow(observed, busy, ages, unplaced))


def _observed(begin: int, whole: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Return (seconds, GPU-seconds) of the GPU's own samples; each holds from the stamp before it, but not for long."""
    stamps = [begin, *(stamp for stamp, _ in whole)]
    spans = [min((late - early) / 1e6, LONGEST_HOLD) for early, late in pairwise(stamps)]
    return fsum(spans), fsum(span * min(share, 100.0) / 100 for span, (_, share) in zip(spans, whole, strict=True))


def _split(total: float, shares: Mapping[int, float]) -> tuple[dict[int, float], float]:
    """Split GPU-seconds in proportion to the PIDs' shares; return also what can be nobody's.

    Shares of less than one percent read 0: of a single process that is all there was, of several nobody knows.
    """
    weight = fsum(shares.values())
    if weight > 0:
        return {pid: total * share / weight for pid, share in shares.items()}, 0.0
    if len(shares) == 1:
        return dict.fromkeys(shares, total), 0.0
    return dict.fromkeys(shares, 0.0), total


def _silent(progress: Progress, core: CoreReading) -> Step:
    """Nothing new though there should be: wait for the next answer, but not for ever."""
    silent = progress.silent_reads + 1
    if silent < MAX_SILENT_READS:
        return Step(replace(progress, started=True, silent_reads=silent))
    return Step(Progress(last_seen_us=core.now_us, started=True), gap=True)


def _newest_per_pid(samples: Iterable[SmSample]) -> dict[int, SmSample]:
    """One sample per PID: some drivers answer several, of which only the newest is an average up to now."""
    newest: dict[int, SmSample] = {}
    for sample in samples:
        if sample.pid not in newest or sample.timestamp_us > newest[sample.pid].timestamp_us:
            newest[sample.pid] = sample
    return newest
