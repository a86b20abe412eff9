"""Law 9: which core time may be booked, and that what is booked adds up to the truth."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.core_time import LONGEST_HOLD, MAX_INTERVALS, MAX_SILENT_READS, Progress, Step, advance
from exporter.model import CoreReading, SmSample

if TYPE_CHECKING:
    from collections.abc import Iterable

SECOND = 1_000_000
NOON = 1_800_000_000 * SECOND
HOUR = 3600


@dataclass
class Watch:
    """One GPU that is read again and again; times are seconds after noon."""

    progress: Progress

    def read(
        self,
        now: float,
        *samples: tuple[int, float, float],
        busy: bool | None = None,
        whole: Iterable[tuple[float, float]] | None = None,
    ) -> Step:
        """Take an answer of (PID, stamp, percent) samples; `busy` as the samples say, unless given.

        `whole` are the GPU's own (stamp, percent) samples, None where the driver keeps none.
        """
        core = CoreReading(
            self.progress.last_seen_us,
            at(now),
            tuple(SmSample(pid, at(stamp), percent) for pid, stamp, percent in samples),
            None if whole is None else tuple((at(stamp), percent) for stamp, percent in whole),
        )
        step = advance(self.progress, core, busy=bool(samples) if busy is None else busy, interval=1.0)
        self.progress = step.progress
        return step


def at(seconds: float) -> int:
    """Return Unix microseconds."""
    return NOON + round(seconds * SECOND)


def begun() -> Watch:
    """Return a watch that has had its first answer, which ended at noon."""
    watch = Watch(Progress(at(-1)))
    watch.read(0, (7, 0.0, 50))
    return watch


# ---------------------------------------------------------------- what is booked


def test_the_first_answer_books_nothing() -> None:
    """What happened before the program watched is not its to book; the next window begins where that answer ended."""
    watch = Watch(Progress(at(-1)))
    step = watch.read(0, (7, -0.1, 100))
    assert step == Step(Progress(at(-0.1), started=True))


def test_a_window_runs_from_newest_stamp_to_newest_stamp() -> None:
    """The stamps of the PIDs differ: one window for all of them, up to the newest, and each PID's age."""
    step = begun().read(1, (7, 0.9, 50), (8, 0.7, 25))
    assert step.window is not None
    assert step.window.seconds == pytest.approx(0.9)
    assert step.window.busy == pytest.approx({7: 0.45, 8: 0.225})
    assert step.window.ages == pytest.approx({7: 0.1, 8: 0.3})
    assert step.progress.last_seen_us == at(0.9)


def test_of_several_samples_of_a_pid_the_newest_counts() -> None:
    """Some drivers answer the way there too; only the newest is the average up to now."""
    step = begun().read(1, (7, 0.4, 100), (7, 0.8, 50), (7, 0.6, 100))
    assert step.window is not None
    assert step.window.busy == pytest.approx({7: 0.4})


def test_no_process_is_busier_than_the_whole_gpu() -> None:
    """An impossible percentage is taken as 100."""
    step = begun().read(1, (7, 1.0, 250))
    assert step.window is not None
    assert step.window.busy == pytest.approx({7: 1.0})


def test_idle_time_is_observed_time() -> None:
    """Without samples on an idle GPU the window closes without anyone busy, short of what may still be under way."""
    step = begun().read(1, busy=False)
    assert step.window is not None
    assert step.window.seconds == pytest.approx(0.5)
    assert step.window.busy == {}


def test_idle_time_that_is_not_certain_yet_waits() -> None:
    """Less than half a second after the last stamp nothing is booked, and nothing is lost."""
    watch = begun()
    step = watch.read(0.4, busy=False)
    assert (step.window, step.gap) == (None, False)
    assert watch.progress.last_seen_us == at(0)
    late = watch.read(1.4, (7, 1.2, 100))
    assert late.window is not None
    assert late.window.seconds == pytest.approx(1.2)


def test_a_late_answer_books_the_whole_span() -> None:
    """A read that took four intervals loses nothing: the driver averages over all of it."""
    step = begun().read(4, (7, 4.0, 25))
    assert step.window is not None
    assert step.window.busy == pytest.approx({7: 1.0})


# ---------------------------------------------------------------- where the chain breaks


def test_a_minute_asleep_books_nothing() -> None:
    """After SIGSTOP and SIGCONT the window is longer than anything that we watched: a gap, then on from there."""
    watch = begun()
    step = watch.read(60, (7, 59.9, 100))
    assert (step.window, step.gap) == (None, True)
    after = watch.read(61, (7, 60.9, 100))
    assert after.window is not None
    assert after.window.seconds == pytest.approx(1.0)


def test_a_minute_asleep_on_an_idle_gpu_books_nothing() -> None:
    """Idle time that was not watched is no observed time either."""
    step = begun().read(60, busy=False)
    assert (step.window, step.gap) == (None, True)


@pytest.mark.parametrize("hours", [-1, 1])
@pytest.mark.parametrize("busy", [True, False])
def test_a_stepped_clock_books_nothing(hours: int, *, busy: bool) -> None:
    """An hour forward or back, busy or idle, is a gap; what follows on the new clock is booked again."""
    watch = begun()
    now = 1 + hours * HOUR
    step = watch.read(now, *([(7, now, 100.0)] if busy else []))
    assert (step.window, step.gap) == (None, True)
    after = watch.read(now + 1, (7, now + 1, 100))
    assert after.window is not None
    assert 1 <= after.window.seconds <= 1.5  # idle time ends half a second before the answer


def test_a_driver_silent_since_a_step_back_is_asked_anew() -> None:
    """Asked from a stamp that lies ahead, the driver has no sample for a busy GPU: the third such answer is a gap."""
    watch = begun()
    silent = [watch.read(second - HOUR, busy=True) for second in (1, 2, 3)]
    assert [(step.window, step.gap) for step in silent] == [(None, False), (None, False), (None, True)]
    after = watch.read(4 - HOUR, (7, 4 - HOUR, 100))
    assert after.window is not None
    assert after.window.seconds == pytest.approx(1.0)


def test_an_answer_ends_the_silence() -> None:
    """Two silent reads, an answer, two silent reads: no gap, and the answer books the whole span."""
    watch = begun()
    steps = [
        watch.read(1, busy=True),
        watch.read(2, busy=True),
        watch.read(3, (7, 3.0, 100)),
        watch.read(4, busy=True),
        watch.read(5, busy=True),
    ]
    assert not any(step.gap for step in steps)
    assert [step.window and step.window.seconds for step in steps] == [None, None, pytest.approx(3.0), None, None]


def test_a_stamp_that_does_not_move_books_nothing() -> None:
    """The same news twice is a window of no length."""
    watch = begun()
    step = watch.read(1, (7, 0.0, 100))
    assert (step.window, step.gap) == (None, True)


# ---------------------------------------------------------------- for all histories


@dataclass(frozen=True)
class Answer:
    """What one reading finds: `passed` seconds after the last, samples so many seconds old, and a clock step before."""

    passed: float
    lags: tuple[float, ...]
    busy: bool
    step: int = 0


def answers(*steps: int) -> st.SearchStrategy[list[Answer]]:
    """Histories of readings, some late, some without samples; before each the clock makes one of these steps."""
    passed = st.one_of(st.floats(0.05, 2), st.floats(0.05, 30))
    lags = st.lists(st.floats(0, 1), max_size=4).map(tuple)
    return st.lists(st.builds(Answer, passed, lags, st.booleans(), st.sampled_from(steps)), max_size=30)


def play(history: Iterable[Answer]) -> list[tuple[Step, float, float]]:
    """Read on a GPU; return each step with the moments (seconds) between which it asked."""
    watch, now, steps = Watch(Progress(at(0))), 0.0, []
    for answer in history:
        now += answer.passed + answer.step
        asked_from = (watch.progress.last_seen_us - NOON) / SECOND
        stamps = [now - min(lag, answer.passed) for lag in answer.lags]
        fresh = [(pid, stamp, 100 / len(stamps)) for pid, stamp in enumerate(stamps, 1) if at(stamp) > at(asked_from)]
        step = watch.read(now, *fresh, busy=answer.busy or bool(fresh))
        steps.append((step, asked_from, (step.progress.last_seen_us - NOON) / SECOND))
    return steps


@given(answers(0))
def test_windows_follow_each_other_without_overlap(history: list[Answer]) -> None:
    """Each window lies behind the one before, and together they are no longer than the time that passed."""
    booked = [(begin, end, step.window.seconds) for step, begin, end in play(history) if step.window is not None]
    assert all(seconds == pytest.approx(end - begin) for begin, end, seconds in booked)
    assert all(later[0] >= earlier[1] - 1e-6 for earlier, later in pairwise(booked))
    assert sum(seconds for _, _, seconds in booked) <= sum(answer.passed for answer in history) + 1e-6


@given(answers(0, 0, 0, -HOUR, HOUR))
def test_no_window_is_longer_than_was_watched(history: list[Answer]) -> None:
    """Whatever the clock does, a window is positive and at most five intervals, and its shares fit into it."""
    for step, _, _ in play(history):
        if step.window is not None:
            assert 0 < step.window.seconds <= MAX_INTERVALS
            assert sum(step.window.busy.values()) <= step.window.seconds + 1e-6
            assert not step.gap


@given(answers(0, 0, 0, -HOUR, HOUR))
def test_the_first_answer_never_books(history: list[Answer]) -> None:
    """Whatever it says."""
    assert all(step.window is None for step, _, _ in play(history)[:1])


@given(answers(0, 0, 0, -HOUR, HOUR), st.integers(MAX_SILENT_READS + 2, 10))
def test_every_break_heals(history: list[Answer], quiet: int) -> None:
    """However a history went, a GPU that is read and busy every second is booked again after a few reads."""
    watch, now = Watch(Progress(at(0))), 0.0
    for answer in history:
        now += answer.passed + answer.step
        watch.read(now, *((pid, now - lag, 10.0) for pid, lag in enumerate(answer.lags, 1)), busy=answer.busy)
    windows = []
    for second in range(quiet):
        stamp = now + second + 1
        fresh = [(7, stamp, 100.0)] if at(stamp) > watch.progress.last_seen_us else []
        windows.append(watch.read(stamp, *fresh, busy=True).window)
    assert windows[-1] is not None
    assert windows[-1].busy == pytest.approx({7: windows[-1].seconds})


@given(st.lists(st.sampled_from([7, 8, 9]), min_size=40, max_size=300), st.data())
def test_what_is_booked_adds_up_to_what_the_driver_sampled(turns: list[int], data: st.DataObject) -> None:
    """A driver books each 200 ms on one process and answers averages: their sum is each process's turns."""
    slot, reads = 0.2, [0]
    while reads[-1] < len(turns) - 1:
        reads.append(min(len(turns) - 1, reads[-1] + data.draw(st.integers(1, 20))))
    watch, booked = Watch(Progress(at(-1))), Counter[int]()
    watch.read(0, (turns[0], 0.0, 100))
    for earlier, later in pairwise(reads):
        span = turns[earlier + 1 : later + 1]
        newest = {pid: index * slot for index, pid in enumerate(turns[: later + 1]) if index > earlier}
        shares = [(pid, stamp, 100 * span.count(pid) / len(span)) for pid, stamp in newest.items()]
        step = watch.read(later * slot, *shares)
        assert step.window is not None
        booked.update(step.window.busy)
    truth = Counter(turns[1:])
    assert {pid: booked[pid] for pid in truth} == pytest.approx({pid: slot * count for pid, count in truth.items()})


# ---------------------------------------------------------------- with the GPU's own samples


def test_the_gpus_own_samples_give_the_sum_and_the_pids_the_split() -> None:
    """Averages of PIDs are cut off to whole percents; the GPU's samples are not, so these are what is booked."""
    watch = begun()

    window = watch.read(1, (7, 1.0, 20), (8, 1.0, 20), whole=[(0.2, 42), (0.4, 44), (1.0, 43)]).window

    assert window is not None
    assert window.seconds == 1.0
    assert window.busy == {7: pytest.approx(0.215), 8: pytest.approx(0.215)}
    assert window.unplaced == 0


def test_an_idle_gpu_is_observed_by_its_own_samples() -> None:
    """Samples of 0 % without any PID are observed time in which nothing was busy."""
    step = begun().read(1, whole=[(0.5, 0), (1.0, 0)])

    assert step.window is not None
    assert (step.window.seconds, step.window.busy, step.window.unplaced) == (1.0, {}, 0)


def test_a_lone_process_under_one_percent_is_not_lost() -> None:
    """A single PID whose average is cut off to 0 is booked all that the GPU's samples say."""
    window = begun().read(1, (7, 1.0, 0), whole=[(1.0, 1)]).window

    assert window is not None
    assert window.busy == {7: pytest.approx(0.01)}


def test_what_several_processes_under_one_percent_used_is_nobodys() -> None:
    """Of several PIDs that all read 0 nobody knows whose the rest is: it is unplaced, not guessed."""
    window = begun().read(1, (7, 1.0, 0), (8, 1.0, 0), whole=[(1.0, 1)]).window

    assert window is not None
    assert window.busy == {7: 0, 8: 0}
    assert window.unplaced == pytest.approx(0.01)


def test_busy_time_that_no_pid_is_named_for_is_nobodys() -> None:
    """Where the GPU was busy and the driver names no PID, the time is booked, but on nobody."""
    window = begun().read(1, whole=[(1.0, 30)]).window

    assert window is not None
    assert window.unplaced == pytest.approx(0.3)


def test_a_process_that_started_after_an_idle_time_is_not_billed_for_it() -> None:
    """The driver's average of a young PID covers its own life only; the GPU's samples say how much there was."""
    watch = begun()

    window = watch.read(4, (7, 4.0, 50), whole=[(1.0, 0), (2.0, 0), (3.0, 0), (4.0, 50)]).window

    assert window is not None
    assert window.busy == {7: pytest.approx(0.5)}


def test_samples_already_booked_are_not_booked_again() -> None:
    """A sample at or before the end of the last window does not count, should the driver answer it once more."""
    watch = begun()
    watch.read(1, (7, 1.0, 50), whole=[(1.0, 50)])

    window = watch.read(2, (7, 2.0, 50), whole=[(0.5, 90), (1.0, 90), (2.0, 50)]).window

    assert window is not None
    assert window.busy == {7: pytest.approx(0.5)}


def test_what_ran_out_of_the_drivers_buffer_is_not_observed() -> None:
    """Where the oldest sample kept is much younger than the last stamp, it does not speak for the time between."""
    whole = [(3.0 + second / 5, 100.0) for second in range(1, 6)]

    step = begun().read(4, (7, 4.0, 25), whole=whole)

    assert step.window is not None
    assert step.window.seconds == pytest.approx(0.8 + LONGEST_HOLD)
    assert step.window.busy == {7: pytest.approx(0.8 + LONGEST_HOLD)}
    assert step.progress.last_seen_us == at(4)


def test_a_gpu_that_samples_once_a_second_is_observed_whole() -> None:
    """The slowest GPUs take a sample a second, some a little late: nothing of that is a hole."""
    window = begun().read(3, whole=[(0.9, 50), (2.1, 50), (3.0, 50)]).window

    assert window is not None
    assert window.seconds == pytest.approx(3.0)


def test_no_own_samples_three_times_is_a_gap() -> None:
    """A GPU always samples itself: three answers without any break the chain, idle or not."""
    watch = begun()

    assert [watch.read(now, whole=[], busy=False).gap for now in (1, 2, 3)] == [False, False, True]


@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(st.floats(0.01, 0.5), st.floats(0, 100)), min_size=1, max_size=6),
            st.dictionaries(st.integers(1, 5), st.integers(0, 100), max_size=4),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_every_gpu_second_of_the_own_samples_is_booked_once(
    answers: list[tuple[list[tuple[float, float]], dict[int, int]]],
) -> None:
    """Whatever the PIDs say, what is booked and unplaced adds up to the GPU's own samples."""
    watch, now, truth, booked = begun(), 0.0, 0.0, 0.0
    for spans, shares in answers:
        whole = []
        for span, percent in spans:
            whole.append((now + span, percent))
            truth += (at(now + span) - at(now)) / SECOND * percent / 100
            now += span
        step = watch.read(now, *((pid, now, sm) for pid, sm in shares.items()), whole=whole)
        assert step.window is not None
        booked += sum(step.window.busy.values()) + step.window.unplaced

    assert booked == pytest.approx(truth)
