"""The token bucket."""

from __future__ import annotations

from exporter.web_config import RateLimit
from exporter.web_rate import TokenBucket


def test_a_burst_is_let_in_and_then_one_every_interval() -> None:
    """Three at once, then nobody until a token has come back."""
    bucket = TokenBucket(RateLimit(interval=2.0, burst=3), now=100.0)

    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(101.9)
    assert bucket.take(102.1)
    assert not bucket.take(102.2)


def test_quiet_time_is_saved_up_to_the_burst() -> None:
    """However long nobody came, no more than the burst is let in at once."""
    bucket = TokenBucket(RateLimit(interval=0.1, burst=2), now=0.0)

    assert [bucket.take(1000.0) for _ in range(3)] == [True, True, False]
