"""A token bucket, as exporter-toolkit's `rate_limit` has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.web_config import RateLimit


class TokenBucket:
    """Lets so many requests in at once, then one every interval."""

    def __init__(self, limit: RateLimit, now: float) -> None:
        """Begin full; `now` is seconds of a clock that never goes back."""
        self._limit = limit
        self._tokens = float(limit.burst)
        self._filled = now

    def take(self, now: float) -> bool:
        """Take a token if there is one."""
        filled = self._tokens + (now - self._filled) / self._limit.interval
        self._tokens, self._filled = min(filled, self._limit.burst), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
