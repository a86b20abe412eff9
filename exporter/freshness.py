"""How old a reading may be and still count as live: one rule for the sampler, the driver's edge and the player."""

from __future__ import annotations

from typing import Final

_INTERVALS: Final = 5
_AT_LEAST: Final = 10.0


def stale_after(interval: float) -> float:
    """Return the age in seconds from which a reading no longer counts; `interval` seconds lie between two."""
    return max(_INTERVALS * interval, _AT_LEAST)
