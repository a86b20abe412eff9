"""How a source is doing: what is counted, and what is told when."""

from __future__ import annotations

import logging

import pytest

from exporter.sources.health import Health


class Bench:
    """A source's health, on a clock of the test's own."""

    def __init__(self) -> None:
        """Nothing has been read yet."""
        self.now = 1000.0
        self.health = Health("nvml", wall=lambda: self.now, monotonic=lambda: self.now)


@pytest.fixture
def bench(caplog: pytest.LogCaptureFixture) -> Bench:
    """Return a source that nobody has read, and keep what it tells."""
    caplog.set_level(logging.INFO)
    return Bench()


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines told since the last look."""
    lines = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return lines


def test_what_goes_on_failing_is_told_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """However long it lasts, each reason is told once, and that it is over."""
    for _ in range(300):
        bench.health.failed("unknown", "power", part="GPU-a")
        bench.health.failed("timeout", "energy", part="GPU-a")
        bench.now += 1
    bench.health.succeeded(0.1, part="GPU-a")

    assert told(caplog) == ["nvml: power", "nvml: energy", "nvml (GPU-a) answers again"]
    assert bench.health.status(up=True).errors["unknown"] == 300


def test_what_comes_and_goes_is_told_once_a_minute(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A failure every other second is counted each time, and told, with its end, once a minute."""
    for _ in range(45):
        bench.health.failed("sample_gap", "gap", part="GPU-a")
        bench.now += 1
        bench.health.succeeded(0.1, part="GPU-a")
        bench.now += 1

    assert told(caplog) == ["nvml: gap", "nvml (GPU-a) answers again"] * 2
    assert bench.health.status(up=True).errors["sample_gap"] == 45


def test_a_failure_that_came_back_quietly_and_stays_is_told(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """What was not told because it had just been told is told if it lasts: the log never ends on a false recovery."""
    bench.health.failed("unknown", "power")
    bench.health.succeeded(0.1)
    assert told(caplog) == ["nvml: power", "nvml answers again"]

    for _ in range(120):
        bench.now += 1
        bench.health.failed("unknown", "power")

    assert told(caplog) == ["nvml: power"]


def test_each_part_is_told_for_itself(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """One GPU's failure does not hide another's, and one's recovery is not the other's."""
    bench.health.failed("unknown", "power of a", part="GPU-a")
    bench.health.failed("unknown", "power of b", part="GPU-b")
    bench.health.succeeded(0.1, part="GPU-b")

    assert told(caplog) == ["nvml: power of a", "nvml: power of b", "nvml (GPU-b) answers again"]
