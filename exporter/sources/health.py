"""How a source is doing: successes, failures by closed-list reason, durations.

What changed is logged once; what goes on failing the same way is only counted.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from exporter.errors import SOURCE_REASONS
from exporter.model import SourceStatus

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)


class Health:
    """The book-keeping of one source; safe to use from several threads."""

    def __init__(self, source: str, wall: Callable[[], float] = time.time) -> None:
        """`source` is a key of `SOURCE_REASONS`; `wall` is the clock of the last success."""
        self._source = source
        self._wall = wall
        self._lock = threading.Lock()
        self._errors = dict.fromkeys(SOURCE_REASONS[source], 0)
        self._reads = 0
        self._seconds = 0.0
        self._last_success: float | None = None
        self._failing: dict[str, str] = {}

    def succeeded(self, seconds: float, part: str = "") -> None:
        """Note one reading that worked and took `seconds`; `part` is what was read (a GPU, say)."""
        with self._lock:
            self._reads += 1
            self._seconds += seconds
            self._last_success = self._wall()
            recovered = self._failing.pop(part, None)
        if recovered:
            _log.info("%s%s answers again", self._source, f" ({part})" if part else "")

    def failed(self, reason: str, message: str, part: str = "") -> None:
        """Count a failure; the sentence is logged when it is news, not once a second."""
        with self._lock:
            self._errors[reason] += 1
            news = self._failing.get(part) != reason
            self._failing[part] = reason
        _log.log(logging.WARNING if news else logging.DEBUG, "%s: %s", self._source, message)

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
