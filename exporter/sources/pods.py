"""The pods of one node: one list, then one watch that is resumed for ever; in steady state nothing else is asked.

Each pod is cut down to `model.Pod` on arrival. What the API server answers, or does not, never ends the program: it is
counted by reason, and the pods known last serve on (law 4 of the metric contract).
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from typing_extensions import override

from exporter import manifest
from exporter.errors import ApiError, ManifestError, shorten
from exporter.model import PodState
from exporter.sources import Pods
from exporter.sources.health import Health
from exporter.sources.kube_api import (
    CHANCE,
    PACE,
    KubeApi,
    RefusedError,
    lines_of,
    metadata,
    of_node,
    parsed,
    refused,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import urllib3

    from exporter.model import Pod
    from exporter.sources.kube_api import Pace

_log = logging.getLogger(__name__)

#: Reasons after which the resourceVersion is not to be trusted: everything is listed again.
_LIST_AGAIN: Final = frozenset({"gone", "malformed", "server_error"})


class _Cut(NamedTuple):
    """What of a pod's labels is kept on arrival."""

    labels: frozenset[str]
    tenant_label: str


class WatchedPods(Pods):
    """The pods of one node, kept current by one daemon thread."""

    def __init__(
        self,
        node: str,
        *,
        kubeconfig: str | None = None,
        max_age: float = 900,
        labels: frozenset[str] = frozenset(),
        tenant_label: str = "",
        pace: Pace = PACE,
    ) -> None:
        """Nothing is asked before `start`.

        `kubeconfig` None: the service account of the pod we run in, else the usual kubeconfig (KUBECONFIG,
        ~/.kube/config). After `max_age` seconds without the API server the pods count as unknown. `labels`
        are the pod labels to keep; `tenant_label` the one whose value is the tenant ("" = none).
        """
        self._node, self._kubeconfig, self._max_age, self._pace = node, kubeconfig, max_age, pace
        self._wanted = _Cut(labels, tenant_label)
        self._health = Health("pods", pace.wall)
        self._stop = threading.Event()
        self._api: KubeApi | None = None
        self._stream: urllib3.BaseHTTPResponse | None = None
        self._shut_by_us = False
        self._opened: float | None = None
        # What the thread knows: each object by its key (None: it is no pod), how it is cut, where to resume the watch.
        self._objects: dict[str, Pod | None] = {}
        self._cut = self._wanted
        self._version: str | None = None
        # What `current` reads: swapped in whole, never changed in place.
        self._known: tuple[tuple[Pod, ...], frozenset[str]] | None = None
        self._contact = 0.0
        self._up = False

    def start(self) -> None:
        """Start the thread; call it once."""
        threading.Thread(target=self._run, name="pods", daemon=True).start()

    @override
    def current(self) -> PodState:
        """Return the pods as last known: a few attribute reads, never a wait.

        `pods` is None before the first complete list and when the API server has been away for `max_age`.
        """
        known, up = self._known, self._up
        status = self._health.status(up=up)
        if known is None or (not up and self._pace.monotonic() - self._contact > self._max_age):
            return PodState(None, status)
        return PodState(known[0], status, known[1])

    def relabel(self, labels: frozenset[str], tenant_label: str) -> None:
        """Keep these labels from now on; pods were cut down on arrival, so they are listed once more. Never waits."""
        self._wanted = _Cut(labels, tenant_label)
        if self._cut != self._wanted:
            self._shut()

    @override
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
            self._api = KubeApi(self._kubeconfig, self._pace)
        if self._version is None or self._cut != self._wanted:
            self._list(self._api)
        self._watch(self._api, self._version or "")

    def _list(self, api: KubeApi) -> None:
        """Replace all we know by what the API server says now; a list that fails half-way changes nothing."""
        began, cut = self._pace.monotonic(), self._wanted
        found: dict[str, Pod | None] = {}
        version = ""
        for page in api.pages(of_node(self._node)):
            version = page.version
            for raw in page.items:
                self._take(found, raw, cut)
        self._objects, self._version, self._cut = found, version, cut
        self._publish()
        self._succeeded(began)

    def _watch(self, api: KubeApi, version: str) -> None:
        """Follow changes from `version` on until the stream ends properly; ApiError if it does not."""
        seconds = CHANCE.randint(*self._pace.watch)
        query = {
            **of_node(self._node),
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
        if self._stop.is_set() or self._cut != self._wanted:  # that came before there was a stream to shut
            return
        for line in lines_of(response):
            began = self._pace.monotonic()
            self._apply(parsed("watch", line))
            self._succeeded(began)

    def _apply(self, event: Mapping[str, object]) -> None:
        """Apply one event of the watch."""
        kind, raw = event.get("type"), event.get("object")
        if kind == "ERROR":
            status = raw if isinstance(raw, dict) else {}
            code = status.get("code")
            raise refused("watch", code if isinstance(code, int) else 500, text_of(status.get("message")))
        if kind in ("ADDED", "MODIFIED"):
            self._take(self._objects, raw, self._cut)
        elif kind == "DELETED":
            self._objects.pop(manifest.key(raw), None)
        elif kind != "BOOKMARK":
            raise ApiError("malformed", f"The API server sent a watch event of unknown type {shorten(str(kind))}.")
        self._version = metadata(raw, "resourceVersion") or self._version
        if kind != "BOOKMARK":
            self._publish()

    def _take(self, objects: dict[str, Pod | None], raw: object, cut: _Cut) -> None:
        """Keep one object, cut down; one that is no pod costs itself only."""
        key = manifest.key(raw)
        try:
            objects[key] = manifest.pod(raw, labels=cut.labels, tenant_label=cut.tenant_label)
        except ManifestError as error:
            if self._objects.get(key, ...) is not None:  # not known as unreadable yet
                _log.warning("%s", error)
            objects[key] = None

    def _publish(self) -> None:
        """Swap in what `current` hands out."""
        pods = tuple(pod for pod in self._objects.values() if pod)
        self._known = pods, frozenset(key for key, pod in self._objects.items() if pod is None)

    def _succeeded(self, began: float) -> None:
        """Note that the API server told us something useful."""
        self._contact, self._up = self._pace.monotonic(), True
        self._health.succeeded(self._contact - began)
