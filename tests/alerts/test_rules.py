"""Alerts and recording rules as records."""

from __future__ import annotations

import pytest

from alerts.rules import Alert, Group, Recording, Threshold, at

ALERT = Alert(
    name="VgpuExample",
    scope="device",
    expr="time() - max by (node) (rate(x[5m])) > $threshold",
    wait="10m",
    severity="info",
    threshold=Threshold(7200, "seconds", is_time=True),
    summary="S.",
    description="D.",
    meaning="M.",
    impact="I.",
    mitigation=("Do.",),
)


@pytest.mark.parametrize(("value", "text"), [(0.9, "0.9"), (0, "0"), (7200.0, "7200"), (2**20, "1048576")])
def test_a_threshold_is_written_as_promql_writes_numbers(value: float, text: str) -> None:
    """No exponent and no needless fraction, so that files and the chart's values agree."""
    assert str(Threshold(value, "")) == text


def test_the_threshold_takes_the_tokens_place() -> None:
    """The expression in the files is one that Prometheus reads."""
    assert ALERT.filled == "time() - max by (node) (rate(x[5m])) > 7200"


def test_a_scaled_group_is_as_much_faster_in_every_time() -> None:
    """Interval, for, look-back and a threshold in seconds are divided."""
    group = Group("g", "1m", (ALERT, Recording("device:vgpu_x:rate5m", "rate(x[5m]) / 3600", "X.", "none", ())))

    faster = at(group, 60)
    alert, recording = faster.rules

    assert isinstance(alert, Alert)
    assert (faster.interval, alert.wait) == ("1s", "10s")
    assert alert.filled == "time() - max by (node) (rate(x[5s])) > 120"
    assert isinstance(recording, Recording)
    assert (recording.name, recording.expr) == ("device:vgpu_x:rate5m", "rate(x[5s]) / 3600")


def test_a_threshold_that_is_no_time_stays() -> None:
    """A share of a GPU does not depend on how fast the clock goes."""
    assert Threshold(0.9, "share").scaled(60).value == 0.9


def test_real_time_changes_nothing() -> None:
    """A scale of 1 gives the rules as they were written."""
    group = Group("g", "5m", (ALERT,))

    assert at(group, 1) == group
