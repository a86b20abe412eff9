"""What newly could not be placed or read, in the log: named, but no more of a kind than one line a minute."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.model import Failure

_log = logging.getLogger(__name__)

#: Failures of one kind are logged once in so many seconds, so many by name.
_QUIET_FOR: Final = 60.0
_NAMED: Final = 5


class FailureLog:
    """Remembers what was told."""

    def __init__(self, words: Mapping[str, str], monotonic: Callable[[], float] = time.monotonic) -> None:
        """`words` says what each reason means."""
        self._words = words
        self._monotonic = monotonic
        self._told: frozenset[Failure] = frozenset()
        self._quiet_until: dict[str, float] = {}

    def tell(self, failures: frozenset[Failure]) -> None:
        """Log what is new among the failures there are now."""
        news = failures - self._told
        loud = frozenset(failure for failure in news if self._monotonic() >= self._quiet_until.get(failure.reason, 0.0))
        for reason in sorted({failure.reason for failure in loud}):
            self._tell_of(reason, sorted(failure.key for failure in loud if failure.reason == reason))
        self._told = failures - (news - loud)  # what is still there when the minute is over is told then

    def _tell_of(self, reason: str, keys: list[str]) -> None:
        """Log one kind of failure, and no more of it for a minute: a tenant must not fill the log."""
        self._quiet_until[reason] = self._monotonic() + _QUIET_FOR
        more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
        _log.warning("%s (%s%s): %s", reason, ", ".join(keys[:_NAMED]), more, self._words[reason])
