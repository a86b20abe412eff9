"""How long is waited before trying again."""

from __future__ import annotations

from exporter.sources.backoff import Backoff


def test_delays_double_up_to_a_bound() -> None:
    """Each delay is between half and all of 1, 2, 4, 8, 8, 8 seconds."""
    backoff = Backoff(1.0, 8.0)
    for whole in (1, 2, 4, 8, 8, 8):
        assert whole / 2 <= backoff.next() <= whole


def test_delays_differ() -> None:
    """A fleet that lost its driver at the same moment does not come back in step."""
    assert len({Backoff(1.0, 8.0).next() for _ in range(20)}) > 1


def test_success_starts_anew() -> None:
    """After a reset the first delay is the first again."""
    backoff = Backoff(1.0, 8.0)
    for _ in range(5):
        backoff.next()
    backoff.reset()
    assert backoff.next() <= 1
