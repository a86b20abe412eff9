"""What could not be placed, in the log: once, by name, and never a flood."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.failure_log import FailureLog
from exporter.model import Failure

if TYPE_CHECKING:
    import pytest

WORDS = {"odd": "it is odd", "worse": "it is worse"}


def failures(reason: str, *keys: str) -> frozenset[Failure]:
    """Return failures of one kind."""
    return frozenset(Failure(reason, key) for key in keys)


def test_each_failure_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """What lasts is told once, each kind in its own line, with what it means."""
    log = FailureLog(WORDS, lambda: 0.0)
    found = failures("odd", "b", "a") | failures("worse", "c")

    log.tell(found)
    log.tell(found)

    assert caplog.messages == ["odd (a, b): it is odd", "worse (c): it is worse"]


def test_many_are_counted_not_named(caplog: pytest.LogCaptureFixture) -> None:
    """Of a hundred five are named."""
    FailureLog(WORDS, lambda: 0.0).tell(failures("odd", *(f"{index:03}" for index in range(100))))

    assert caplog.messages == ["odd (000, 001, 002, 003, 004 and 95 more): it is odd"]


def test_what_comes_within_a_minute_is_told_after_it(caplog: pytest.LogCaptureFixture) -> None:
    """A kind that was told is silent for a minute; what then still lasts is told."""
    now = [0.0]
    log = FailureLog(WORDS, lambda: now[0])
    log.tell(failures("odd", "a"))
    log.tell(failures("odd", "a", "b"))
    assert caplog.messages == ["odd (a): it is odd"]

    now[0] = 61.0
    log.tell(failures("odd", "a", "b"))

    assert caplog.messages[1:] == ["odd (b): it is odd"]
