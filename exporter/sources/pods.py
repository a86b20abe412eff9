"""This node's pods: one list, then one watch that is resumed for ever; in steady state nothing else is asked.

The official client does configuration, authentication and transport; the JSON stays raw, because its
models cost 23 MB. Each pod is cut down to `model.Pod` on arrival. What the API server answers, or does not, never
ends the program: it is counted by reason, and the pods known last serve on (law 4 of the metric contract).
"""

from __future__ import annotations

import json
import logging
import os
import random
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import urllib3
from kubernetes.client import ApiClient, Configuration
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config
from typing_extensions import override

from exporter import __version__, manifest
from exporter.errors import ApiError, ManifestError, shorten
from exporter.model import PodState
from exporter.sources import Pods
from exporter.sources.health import Health

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from exporter.model import Pod

_log = logging.getLogger(__name__)
_chance = random.SystemRandom()  # the nodes of a cluster must not come back in step

_PATH: Final = "/api/v1/pods"
_PAGE: Final = "500"
_LONGEST_LINE: Final = 4 * 2**20  # an object in etcd is at most 1.5 MiB
_LONGEST_LIST: Final = 256 * 2**20
_LONGEST_WAIT: Final = 60.0  # s; a server that says "come back in an hour" is asked earlier
#: Reasons after which the resourceVersion is not to be trusted: everything is listed again.
_LIST_AGAIN: Final = frozenset({"gone", "malformed", "server_error"})
_ADVICE: Final = {
    "unauthorized": "the token is not (or no longer) valid; it is read again",
    "forbidden": "give the service account a ClusterRole with the verbs list and watch on pods, as the chart does",
    "throttled": "the API server is busy; we wait as long as it asks",
    "gone": "that resourceVersion is too old; everything is listed again",
    "server_error": "the API server has a problem of its own; its log says more",
    "config": "this address does not look like a Kubernetes API server",
}


@dataclass(frozen=True, slots=True)
class Pace:
    """Every span of time in seconds that the source goes by, and its clocks.

    `watch` is the range that `timeoutSeconds` is drawn from; `grace` what a stream may stay silent beyond it.
    Waits after failures double from `backoff[0]` to `backoff[1]`, less up to half at random; they start over once a
    watch has held for `steady`. `monotonic` measures spans, `wall` is the Unix time of the last success.
    """

    connect: float = 10
    read: float = 60
    watch: tuple[int, int] = (240, 480)
    grace: float = 15
    backoff: tuple[float, float] = (0.5, 30)
    steady: float = 10
    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time

    def delay(self, failures: int) -> float:
        """Return how long to wait after so many failures in a row; 0 after none."""
        longest = min(self.backoff[1], self.backoff[0] * 2 ** min(failures - 1, 32))
        return _chance.uniform(longest / 2, longest) if failures else 0


PACE: Final = Pace()


class WatchedPods(Pods):
    """The pods of one node, kept current by one daemon thread."""

    def __init__(  # everything has a default but the node
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
        self._labels, self._tenant_label = labels, tenant_label
        self._health = Health("pods", pace.wall)
        self._stop = threading.Event()
        self._api: _Api | None = None
        self._stream: urllib3.BaseHTTPResponse | None = None
        self._opened: float | None = None
        # What the thread knows: each object by its key (None: it is no pod), and where to resume the watch.
        self._objects: dict[str, Pod | None] = {}
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

    @override
    def close(self) -> None:
        """Stop watching; the thread ends by itself, nobody waits for it."""
        self._stop.set()
        if stream := self._stream:
            with suppress(ValueError, RuntimeError, OSError):  # it ended a moment ago
                stream.shutdown()

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        """List and watch until `close`, with growing waits between attempts that lead nowhere."""
        failures = 0
        while not self._stop.is_set():
            wait = self._attempt()
            failures = 0 if self._held() else failures + 1
            # A watch that ends properly but at once is no error, yet must not become a busy loop.
            self._stop.wait(max(wait, self._pace.delay(failures)))
        self._hang_up()

    def _attempt(self) -> float:
        """Go as far as it goes; returns the seconds that the server asks us to wait."""
        self._opened = None
        try:
            self._list_and_watch()
        except ApiError as error:
            return self._failed(error)
        except Exception as error:  # the thread must outlive a mistake of ours, or the pods would age unseen
            _log.exception("reading the API server's answer failed in a way nobody thought of")
            return self._failed(ApiError("malformed", f"an answer of the API server could not be used: {error!r}"))
        return 0

    def _failed(self, error: ApiError) -> float:
        """Count the failure; what may have caused it (version, connection, credentials) is fetched anew."""
        if not self._stop.is_set():
            self._up = False
            self._health.failed(error.reason, str(error))
        if error.reason in _LIST_AGAIN:
            self._version = None
        self._hang_up()
        return error.wait if isinstance(error, _Refusal) else 0

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
            self._api = _Api(self._kubeconfig, self._pace)
        if self._version is None:
            self._list(self._api)
        self._watch(self._api, self._version or "")

    def _list(self, api: _Api) -> None:
        """Replace all we know by what the API server says now; a list that fails half-way changes nothing."""
        began = self._pace.monotonic()
        found: dict[str, Pod | None] = {}
        query = {"fieldSelector": f"spec.nodeName={self._node}", "limit": _PAGE}
        while True:
            page = api.page(query)
            for raw in page.items:
                self._take(found, raw)
            if not page.rest:
                break
            query["continue"] = page.rest
        self._objects, self._version = found, page.version
        self._publish()
        self._succeeded(began)

    def _watch(self, api: _Api, version: str) -> None:
        """Follow changes from `version` on until the stream ends properly; ApiError if it does not."""
        seconds = _chance.randint(*self._pace.watch)
        query = {
            "fieldSelector": f"spec.nodeName={self._node}",
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
        }
        with api.opened("watch", query, seconds + self._pace.grace) as response:
            self._stream, self._opened, self._up = response, self._pace.monotonic(), True
            try:
                self._follow(response)
            finally:
                self._stream = None
        self._succeeded(self._pace.monotonic())

    def _follow(self, response: urllib3.BaseHTTPResponse) -> None:
        """Apply the events of the stream as they come."""
        if self._stop.is_set():  # `close` came before there was a stream to shut
            return
        for line in _lines(response):
            began = self._pace.monotonic()
            self._apply(_object("watch", line))
            self._succeeded(began)

    def _apply(self, event: Mapping[str, object]) -> None:
        """Apply one event of the watch."""
        kind, raw = event.get("type"), event.get("object")
        if kind == "ERROR":
            raise _refusal("watch", _code(raw), json.dumps(raw))
        if kind in ("ADDED", "MODIFIED"):
            self._take(self._objects, raw)
        elif kind == "DELETED":
            self._objects.pop(manifest.key(raw), None)
        elif kind != "BOOKMARK":
            raise ApiError("malformed", f"The API server sent a watch event of unknown type {shorten(str(kind))}.")
        self._version = _metadata(raw, "resourceVersion") or self._version
        if kind != "BOOKMARK":
            self._publish()

    def _take(self, objects: dict[str, Pod | None], raw: object) -> None:
        """Keep one object, cut down; one that is no pod costs itself only."""
        key = manifest.key(raw)
        try:
            objects[key] = manifest.pod(raw, labels=self._labels, tenant_label=self._tenant_label)
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
