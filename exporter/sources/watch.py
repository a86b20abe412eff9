"""A collection of the API server, kept current: one list, then one watch that is resumed for ever.

In steady state nothing else is asked. Each object is cut down on arrival. What the API server answers, or does not,
never ends the program: it is counted by reason, and what was known last serves on.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from exporter import manifest
from exporter.errors import ApiError, ManifestError, shorten
from exporter.sources.health import Health
from exporter.sources.kube_api import (
    CHANCE,
    PACE,
    KubeApi,
    RefusedError,
    lines_of,
    metadata,
    parsed,
    refused,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import urllib3

    from exporter.model import SourceStatus
    from exporter.sources.kube_api import Pace, Resource

_log = logging.getLogger(__name__)

T = TypeVar("T")

#: Reasons after which the resourceVersion is not to be trusted: everything is listed again.
_LIST_AGAIN: Final = frozenset({"gone", "malformed", "server_error"})


@dataclass(frozen=True, slots=True)
class Known(Generic[T]):
    """What a watch knows now.

    `objects` is keyed by `manifest.key`; None before the first complete list, and once the API server has been away for
    too long. `unreadable` are the keys of objects that could not be cut down.
    """

    objects: Mapping[str, T] | None
    unreadable: frozenset[str]
    status: SourceStatus


class Watch(Generic[T]):
    """The objects that a query selects, kept current by one daemon thread."""

    def __init__(
        self,
        source: str,
        resource: Resource,
        cut: Callable[[object], T | None],
        *,
        kubeconfig: str | None = None,
        max_age: float = 900,
        pace: Pace = PACE,
    ) -> None:
        """Nothing is asked before `start`.

        `source` is a key of `SOURCE_REASONS`. `cut` turns raw JSON into what is kept, or None for what is of no
        interest; it raises ManifestError for what cannot be used. `kubeconfig` None: the service account of the pod we
        run in, else the usual kubeconfig (KUBECONFIG, ~/.kube/config). After `max_age` seconds without the API server
        nothing is known.
        """
        self._source, self._resource = source, resource
        self._kubeconfig, self._max_age, self._pace = kubeconfig, max_age, pace
        self._wanted = cut
        self._health = Health(source, pace.wall)
        self._stop = threading.Event()
        self._api: KubeApi | None = None
        self._stream: urllib3.BaseHTTPResponse | None = None
        self._shut_by_us = False
        self._opened: float | None = None
        # What the thread knows: each object by its key (None: unreadable), how it is cut, where to resume the watch.
        self._objects: dict[str, T | None] = {}
        self._cut = cut
        self._version: str | None = None
        # What `known` reads. The thread changes its objects under the lock, and they are copied only when asked for.
        self._lock = threading.Lock()
        self._listed = False
        self._copy: tuple[Mapping[str, T], frozenset[str]] | None = None
        self._contact = 0.0
        self._up = False

    def start(self) -> None:
        """Start the thread; call it once."""
        threading.Thread(target=self._run, name=self._source, daemon=True).start()

    def known(self) -> Known[T]:
        """Return what is known now; never waits for the API server. The same objects until one changes."""
        up = self._up
        status = self._health.status(up=up)
        if not self._listed or (not up and self._pace.monotonic() - self._contact > self._max_age):
            return Known(None, frozenset(), status)
        with self._lock:
            if self._copy is None:
                good = {key: one for key, one in self._objects.items() if one is not None}
                self._copy = good, frozenset(self._objects.keys() - good.keys())
            return Known(*self._copy, status)

    def recut(self, cut: Callable[[object], T | None]) -> None:
        """Cut otherwise from now on; what is there was cut down on arrival, so it is listed once more. Never waits."""
        self._wanted = cut
        self._shut()

    def close(self) -> None:
        """Stop watching; the thread ends by itself, nobody waits for it."""
        self._stop.set()
        self._shut()

    def _shut(self) -> None:
        """Take the stream from under the thread that reads it."""
        if stream := self._stream:
            self._shut_by_us = True
            with suppress(ValueError, RuntimeError, OSError):  # it ended a moment ago
                stream.shutdown()

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        """List and watch until `close`, with growing waits between attempts that lead nowhere."""
        failures = 0
        while not self._stop.is_set():
            error = self._attempt()
            # A watch that ends properly but at once is no error, yet must not become a busy loop.
            failures = int(error is not None) if self._held() else failures + 1
            asked = error.wait if isinstance(error, RefusedError) else 0
            self._stop.wait(max(min(asked, self._pace.patience), self._pace.delay(failures)))
        self._hang_up()

    def _attempt(self) -> ApiError | None:
        """Go as far as it goes; returns what ended it, None if that was the proper end of a watch."""
        self._opened, self._shut_by_us = None, False
        try:
            self._list_and_watch()
        except ApiError as error:
            return self._failed(error)
        except Exception as error:  # noqa: BLE001 - the thread must outlive our mistakes, or the pods age unseen
            if not self._shut_by_us:
                _log.exception("reading the API server's answer failed in a way nobody thought of")
            return self._failed(ApiError("malformed", f"An answer of the API server could not be used: {error!r}."))
        return None

    def _failed(self, error: ApiError) -> ApiError:
        """Count the failure; what may have caused it (version, connection, credentials) is fetched anew."""
        if not (self._stop.is_set() or self._shut_by_us):
            self._up = False
            self._health.failed(error.reason, str(error))
        if error.reason in _LIST_AGAIN:
            self._version = None
        self._hang_up()
        return error

    def _held(self) -> bool:
        """Whether the last watch held long enough to call the connection sound."""
        return self._opened is not None and self._pace.monotonic() - self._opened >= self._pace.steady

    def _hang_up(self) -> None:
        """Drop connections and credentials."""
        if self._api:
            self._api.close()
        self._api = None

    def _list_and_watch(self) -> None:
        """List if there is nothing to resume from; then watch until the stream ends properly."""
        if self._api is None:
            self._api = KubeApi(self._kubeconfig, self._pace, self._resource)
        if self._version is None or self._cut is not self._wanted:
            self._list(self._api)
        self._watch(self._api, self._version or "")

    def _list(self, api: KubeApi) -> None:
        """Replace all we know by what the API server says now; a list that fails half-way changes nothing."""
        began, cut = self._pace.monotonic(), self._wanted
        found: dict[str, T | None] = {}
        version = ""
        for page in api.pages(self._resource.query):
            version = page.version
            for raw in page.items:
                self._take(found, raw, cut)
        with self._lock:
            self._objects, self._copy, self._listed = found, None, True
        self._version, self._cut = version, cut
        self._succeeded(began)

    def _watch(self, api: KubeApi, version: str) -> None:
        """Follow changes from `version` on until the stream ends properly; ApiError if it does not."""
        seconds = CHANCE.randint(*self._pace.watch)
        query = {
            **self._resource.query,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
        }
        with api.opened("watch", query, seconds + self._pace.grace) as response:
            self._stream, self._up = response, True
            self._opened = self._contact = self._pace.monotonic()
            try:
                self._follow(response)
            finally:
                self._stream = None
        self._succeeded(self._pace.monotonic())

    def _follow(self, response: urllib3.BaseHTTPResponse) -> None:
        """Apply the events of the stream as they come."""
        if self._stop.is_set() or self._cut is not self._wanted:  # that came before there was a stream to shut
            return
        for line in lines_of(response, self._resource):
            began = self._pace.monotonic()
            self._apply(parsed("watch", line, self._resource))
            self._succeeded(began)

    def _apply(self, event: Mapping[str, object]) -> None:
        """Apply one event of the watch."""
        kind, raw = event.get("type"), event.get("object")
        if kind == "ERROR":
            status = raw if isinstance(raw, dict) else {}
            code = status.get("code")
            raise refused(
                "watch", code if isinstance(code, int) else 500, text_of(status.get("message")), None, self._resource
            )
        if kind in ("ADDED", "MODIFIED", "DELETED"):
            with self._lock:
                self._copy = None
                if kind == "DELETED":
                    self._objects.pop(manifest.key(raw), None)
                else:
                    self._take(self._objects, raw, self._cut)
        elif kind != "BOOKMARK":
            raise ApiError("malformed", f"The API server sent a watch event of unknown type {shorten(str(kind))}.")
        self._version = metadata(raw, "resourceVersion") or self._version

    def _take(self, objects: dict[str, T | None], raw: object, cut: Callable[[object], T | None]) -> None:
        """Keep one object, cut down; one that cannot be costs itself only."""
        key = manifest.key(raw)
        try:
            kept = cut(raw)
        except ManifestError as error:
            if self._objects.get(key, ...) is not None:  # not known as unreadable yet
                _log.warning("%s", error)
            objects[key] = None
            return
        if kept is None:
            objects.pop(key, None)
        else:
            objects[key] = kept

    def _succeeded(self, began: float) -> None:
        """Note that the API server told us something useful."""
        self._contact, self._up = self._pace.monotonic(), True
        self._health.succeeded(self._contact - began)
