"""A loop that outlives what goes wrong in it: one tick every interval."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)


class Ticker:
    """Calls `tick` every `interval` seconds, from `run` to `stop`."""

    def __init__(self, tick: Callable[[], object], interval: float) -> None:
        """Nothing is called before `attempt` or `run`."""
        self._tick = tick
        self._interval = interval
        self._trouble = ""
        self._stop = threading.Event()

    def attempt(self) -> None:
        """Tick; a tick that fails is logged, if it is news, and costs itself only."""
        try:
            self._tick()
        except Exception as error:  # noqa: BLE001  nothing a driver, API server or tenant answers ends the program
            if repr(error) != self._trouble:
                _log.exception("a tick failed; the last snapshot stays, its timestamp tells its age")
            self._trouble = repr(error)
        else:
            self._trouble = ""

    def run(self) -> None:
        """Attempt a tick every interval until stopped."""
        due = time.monotonic()
        while not self._stop.is_set():
            self.attempt()
            due = max(due + self._interval, time.monotonic())
            self._stop.wait(max(due - time.monotonic(), 0))

    def stop(self) -> None:
        """End the loop after the tick under way; nobody waits for it."""
        self._stop.set()
