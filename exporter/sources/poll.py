"""One object of the API server, asked for now and then: one GET every 5 min ± 20 %.

That much can be old, so nothing is watched. What the API server answers, or does not, never ends the program: it is
counted by reason, and what was known last serves on.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from exporter.errors import ApiError, ParseError
from exporter.sources import kube_api
from exporter.sources.health import Health
from exporter.sources.kube_api import KubeApi, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.model import SourceStatus
    from exporter.sources.kube_api import Pace, Resource

_log = logging.getLogger(__name__)

PACE: Final = replace(kube_api.PACE, backoff=(1, 60))

T = TypeVar("T")


class _Known(NamedTuple, Generic[T]):
    """What the last object that could be used said, and when (monotonic seconds)."""

    value: T
    at: float


class Poll(Generic[T]):
    """One object, kept current by one daemon thread."""

    def __init__(
        self,
        source: str,
        resource: Resource,
        cut: Callable[[Mapping[str, object]], T],
        *,
        kubeconfig: str | None = None,
        max_age: float = inf,
        pace: Pace = PACE,
    ) -> None:
        """Nothing is asked before `start`.

        `source` is a key of `SOURCE_REASONS`. `cut` turns raw JSON into what is kept; it raises ParseError for what
        cannot be used. `kubeconfig` None: the service account of the pod we run in, else the usual kubeconfig
        (KUBECONFIG, ~/.kube/config). After `max_age` seconds without an answer nothing is known.
        """
        self._source, self._resource, self._cut = source, resource, cut
        self._kubeconfig, self._max_age, self._pace = kubeconfig, max_age, pace
        self._health = Health(source, pace.wall)
        self._stop = threading.Event()
        self._known: _Known[T] | None = None
        self._answers = False

    def start(self) -> None:
        """Start the thread; call it once."""
        threading.Thread(target=self._run, name=self._source, daemon=True).start()

    def known(self) -> tuple[T | None, SourceStatus]:
        """Return what was known last and how the source does; never waits for the API server.

        Up as long as the last reading worked and is not older than two rounds (a GET may hang).
        """
        known, answers = self._known, self._answers
        age = self._pace.monotonic() - known.at if known else inf
        up = answers and age <= 2 * self._pace.every[1]
        return known.value if known and (up or age <= self._max_age) else None, self._health.status(up=up)

    def close(self) -> None:
        """Stop asking; the thread ends by itself, nobody waits for it."""
        self._stop.set()

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        """Ask until `close`: at the pace while the API server answers, with growing waits while it does not."""
        failures = 0
        while not self._stop.is_set():
            error = self._attempt()
            failures = failures + 1 if error else 0
            self._stop.wait(self._after(error, failures))

    def _after(self, error: ApiError | None, failures: int) -> float:
        """Return how long to wait: never shorter than the server asks for, within our patience."""
        if error is None:
            return self._pace.pause()
        asked = error.wait if isinstance(error, RefusedError) else 0
        return max(min(asked, self._pace.patience), self._pace.delay(failures))

    def _attempt(self) -> ApiError | None:
        """Read once; returns the error after which it is worth asking again soon."""
        try:
            self._read()
        except ApiError as error:
            return self._failed(error)
        except ParseError as error:  # the same text would come again
            self._failed(ApiError("malformed", f"The answer to get {self._resource.word} cannot be used: {error}."))
        except Exception as error:  # noqa: BLE001 - the thread must outlive our mistakes
            _log.exception("reading %s failed in a way nobody thought of", self._resource.word)
            return self._failed(ApiError("malformed", f"{self._resource.word} could not be used: {error!r}."))
        return None

    def _failed(self, error: ApiError) -> ApiError:
        if not self._stop.is_set():
            self._answers = False
            self._health.failed(error.reason, str(error))
        return error

    def _read(self) -> None:
        """GET the object, with credentials read anew: they change, and it is rarely done."""
        began = self._pace.monotonic()
        api = KubeApi(self._kubeconfig, self._pace, self._resource)
        try:
            value = self._cut(api.get())
        finally:
            api.close()
        now = self._pace.monotonic()
        self._known, self._answers = _Known(value, now), True
        self._health.succeeded(now - began)
