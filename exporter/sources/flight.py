"""What a thread needs that calls the driver: to be seen while it is in there, and to survive whatever comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from exporter.errors import DriverError

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = TypeVar("Answer")


class Flight:
    """Driver calls under way `since` a moment of the clock, or not (None)."""

    def __init__(self) -> None:
        """None is under way."""
        self.since: float | None = None
        self._reported = False

    def begin(self, now: float) -> None:
        """Note that calls are under way from now on."""
        self.since = now
        self._reported = False

    def end(self) -> None:
        """Note that none is."""
        self.since = None

    def stalls(self, now: float, limit: float) -> bool:
        """Tell, once a flight, that it takes longer than `limit` seconds."""
        if self.since is None or self._reported or now - self.since <= limit:
            return False
        self._reported = True
        return True


def guarded(call: Callable[[], Answer]) -> Answer | DriverError:
    """Return the answer, or what went wrong, whatever it is: a thread that ends would be silent for ever."""
    try:
        return call()
    except DriverError as error:
        return error
    except Exception as error:  # noqa: BLE001 - see above
        return DriverError("unknown", repr(error))
