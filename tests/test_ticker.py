"""The loop: it ticks, outlives what fails, and ends."""

from __future__ import annotations

import threading
from itertools import count
from typing import TYPE_CHECKING

from exporter.ticker import Ticker
from tests.waiting import until

if TYPE_CHECKING:
    import pytest


def test_it_ticks_until_it_is_stopped() -> None:
    """It goes on ticking, and the thread ends soon after the stop."""
    ticks = count()
    ticker = Ticker(lambda: next(ticks), 0.001)
    thread = threading.Thread(target=ticker.run)
    thread.start()
    until(lambda: next(ticks) > 5)

    ticker.stop()
    thread.join(5)

    assert not thread.is_alive()


def test_a_stop_ends_the_wait() -> None:
    """A stop does not wait for an interval to pass."""
    ticker = Ticker(lambda: None, 600)
    thread = threading.Thread(target=ticker.run)
    thread.start()

    ticker.stop()
    thread.join(5)

    assert not thread.is_alive()


def test_a_failing_tick_is_told_once_and_costs_itself_only(caplog: pytest.LogCaptureFixture) -> None:
    """The same failure is one line until a tick works again; another one is another line."""
    outcomes = iter([ValueError("a"), ValueError("a"), ValueError("b"), None, ValueError("b")])

    def tick() -> None:
        if error := next(outcomes):
            raise error

    ticker = Ticker(tick, 1)
    for _ in range(5):
        ticker.attempt()

    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["a", "b", "b"]
