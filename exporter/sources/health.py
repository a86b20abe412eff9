"""How a source is doing: successes, failures by closed-list reason, durations.

What changed is logged once; what goes on failing the same way is only counted, and what comes and goes is told once a
minute.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from exporter.errors import SOURCE_REASONS
from exporter.model import SourceStatus

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

#: Seconds for which a failure that was told is not told again, should it come back.
_QUIET_FOR: Final = 60.0


class Health:
    """The book-keeping of one source; safe to use from several threads."""

    def __init__(
        self,
        source: str,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`source` is a key of `SOURCE_REASONS`; `wall` is the clock of the last success, `monotonic` the log's."""
        self._source = source
        self._wall = wall
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._errors = dict.fromkeys(SOURCE_REASONS[source], 0)
        self._reads = 0
        self._seconds = 0.0
        self._last_success: float | None = None
        self._told: dict[str, set[str]] = {}  # by part: the reasons logged since its last success
        self._quiet_until: dict[tuple[str, str], float] = {}

    def succeeded(self, seconds: float, part: str = "") -> None:
        """Note one reading that worked and took `seconds`; `part` is what was read (a GPU, say)."""
        with self._lock:
            self._reads += 1
            self._seconds += seconds
            self._last_success = self._wall()
            recovered = self._told.pop(part, None)
        if recovered:
            _log.info("%s%s answers again", self._source, f" ({part})" if part else "")

    def failed(self, reason: str, message: str, part: str = "") -> None:
        """Count a failure; the sentence is logged when it is news, not once a second.

        Logged first: who sees the count finds the line.
        """
        with self._lock:
            news = self._is_news(part, reason)
        _log.log(logging.WARNING if news else logging.DEBUG, "%s: %s", self._source, message)
        with self._lock:
            self._errors[reason] += 1

    def _is_news(self, part: str, reason: str) -> bool:
        """Tell whether to log this failure, and remember that it was."""
        now = self._monotonic()
        if reason in self._told.get(part, ()) or now < self._quiet_until.get((part, reason), now):
            return False
        self._told.setdefault(part, set()).add(reason)
        self._quiet_until[part, reason] = now + _QUIET_FOR
        return True

    def status(self, *, up: bool) -> SourceStatus:
        """Return the state as a value."""
        with self._lock:
            return SourceStatus(
                source=self._source,
                up=up,
                last_success=self._last_success,
                errors=dict(self._errors),
                reads=self._reads,
                read_seconds=self._seconds,
            )
