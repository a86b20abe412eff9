"""How long to wait before trying again, so that what is broken is not hammered and a fleet does not try in step."""

from __future__ import annotations

import random
from typing import Final


class Backoff:
    """Delays that double from `first` to `most` seconds, each shortened by up to half at random."""

    def __init__(self, first: float, most: float) -> None:
        """Begin at `first` seconds."""
        self._first: Final = first
        self._most: Final = most
        self._delay = first

    def next(self) -> float:
        """Return the seconds to wait now; the time after will be twice as long."""
        delay = self._delay
        self._delay = min(self._most, 2 * delay)
        return delay * random.uniform(0.5, 1.0)  # noqa: S311 - no secret hangs on it

    def reset(self) -> None:
        """Begin anew: it works."""
        self._delay = self._first
