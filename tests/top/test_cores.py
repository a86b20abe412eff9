"""Cores from counters: between scrapes, over restarts, and never out of nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter import catalogue as c
from exporter.top.cores import between, of_rates
from exporter.top.samples import of

GPU = ("", "n1", "GPU-1")
POD = (*GPU, "a", "p", "c")


def moment(busy: float | None, observed: float | None) -> dict[str, dict[tuple[str, ...], float]]:
    """Return what a scrape says of one container and its GPU."""
    told = {c.CONTAINER_CORE_BUSY.name: (POD, busy), c.DEVICE_OBSERVED.name: (GPU, observed)}
    return {name: {labels: value} for name, (labels, value) in told.items() if value is not None}


def share(*moments: tuple[float | None, float | None]) -> float | None:
    """Return the container's share over moments of (busy, observed)."""
    return of(between([moment(*one) for one in moments]), c.CONTAINER_CORE_BUSY).get(POD)


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        ([(5, 10)], None),
        ([(5, 10), (6, 14)], 0.25),
        ([(5, 10), (6, 12), (6, 14)], 0.25),
        ([(5, 10), (5, 14)], 0),
        ([(None, 10), (6, 12), (7, 14)], 0.5),
        ([(9, 90), (0, 2), (1, 4)], 0.5),
        ([(5, 10), (6, 10)], None),
        ([(5, None), (6, None)], None),
        ([(5, 10), (None, 12)], None),
    ],
    ids=["one", "two", "first and last", "idle", "new pod", "restart", "not observed", "mig", "gone"],
)
def test_the_share_is_busy_over_observed_since_the_first_moment(
    moments: list[tuple[float | None, float | None]], expected: float | None
) -> None:
    """What has no past, or is not there now, is absent: never 0."""
    assert share(*moments) == expected


def test_a_prometheus_rates_are_taken_as_they_are() -> None:
    """Busy by the second over observed by the second; what nobody observed is absent."""
    assert of_rates(moment(0.2, 0.8))[c.CONTAINER_CORE_BUSY.name] == {POD: 0.25}
    assert of_rates(moment(0.2, 0)) == {}


@given(st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 1e9)), min_size=1, max_size=6))
def test_no_history_makes_a_share_below_zero(moments: list[tuple[float, float]]) -> None:
    """Counters that go back in any way."""
    found = share(*moments)

    assert found is None or found >= 0
