"""The pods of one node: one list, then one watch that is resumed for ever; in steady state nothing else is asked.

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
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

import urllib3
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.config import load_incluster_config, load_kube_config
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

    `connect` is how long a connection may take, `read` how long a list may stay silent. `watch` is the range that
    `timeoutSeconds` is drawn from, `grace` what a stream may stay silent beyond it. Waits after failures double from
    `backoff[0]` to `backoff[1]`, less up to half at random; they start over once a watch has held for `steady`.
    `patience` is the longest Retry-After that is honoured. `monotonic` measures spans, `wall` is the Unix time of
    the last success.
    """

    connect: float = 10
    read: float = 60
    watch: tuple[int, int] = (240, 480)
    grace: float = 15
    backoff: tuple[float, float] = (0.5, 30)
    steady: float = 10
    patience: float = 60
    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time

    def delay(self, failures: int) -> float:
        """Return how long to wait after so many failures in a row; 0 after none."""
        longest = min(self.backoff[1], self.backoff[0] * 2 ** min(failures - 1, 32))
        return _chance.uniform(longest / 2, longest) if failures else 0


PACE: Final = Pace()


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
            error = self._attempt()
            # A watch that ends properly but at once is no error, yet must not become a busy loop.
            failures = int(error is not None) if self._held() else failures + 1
            asked = error.wait if isinstance(error, _RefusedError) else 0
            self._stop.wait(max(min(asked, self._pace.patience), self._pace.delay(failures)))
        self._hang_up()

    def _attempt(self) -> ApiError | None:
        """Go as far as it goes; returns what ended it, None if that was the proper end of a watch."""
        self._opened = None
        try:
            self._list_and_watch()
        except ApiError as error:
            return self._failed(error)
        except Exception as error:  # noqa: BLE001 - the thread must outlive our mistakes, or the pods age unseen
            if not self._stop.is_set():  # `close` takes the stream from under whoever reads
                _log.exception("reading the API server's answer failed in a way nobody thought of")
            return self._failed(ApiError("malformed", f"An answer of the API server could not be used: {error!r}."))
        return None

    def _failed(self, error: ApiError) -> ApiError:
        """Count the failure; what may have caused it (version, connection, credentials) is fetched anew."""
        if not self._stop.is_set():
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
            self._stream, self._up = response, True
            self._opened = self._contact = self._pace.monotonic()
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
            status = raw if isinstance(raw, dict) else {}
            code = status.get("code")
            raise _refused("watch", code if isinstance(code, int) else 500, _text(status.get("message")))
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


# ---------------------------------------------------------------- the API server, raw


class _RefusedError(ApiError):
    """An answer that is a refusal; `wait` are the seconds after which the server wants to be asked again."""

    def __init__(self, reason: str, message: str, wait: float = 0) -> None:
        super().__init__(reason, message)
        self.wait = wait


class _Page(NamedTuple):
    """One page of a list: its raw items, the list's resourceVersion, and the token of the rest ("" = none)."""

    items: list[object]
    version: str
    rest: str


class _Api:
    """The official client as a transport: it knows where and who, we read the bytes."""

    def __init__(self, kubeconfig: str | None, pace: Pace) -> None:
        """Read the configuration anew; ApiError `config` if there is none that can be used."""
        settings = _settings(kubeconfig)
        settings.retries = False  # urllib3 would sleep as long as any Retry-After says
        settings.keep_alive = True  # a dead peer is noticed by the kernel
        self._pace = pace
        self._client = ApiClient(settings)
        self._client.user_agent = f"vgpu-exporter/{__version__}"

    def close(self) -> None:
        """Close idle connections."""
        self._client.close()

    def page(self, query: Mapping[str, str]) -> _Page:
        """GET one page of the list."""
        body = bytearray()
        with self.opened("list", query, self._pace.read) as response:
            for chunk in _chunks("list", response):
                body += chunk
                if len(body) > _LONGEST_LIST:
                    raise ApiError("malformed", f"The API server's list is longer than {_LONGEST_LIST} bytes.")
        page = _object("list", body)
        items, version = page.get("items") or [], _metadata(page, "resourceVersion")
        if not isinstance(items, list) or not version:
            raise ApiError("malformed", "The API server's answer is no list: it has no items or no resourceVersion.")
        return _Page(items, version, _metadata(page, "continue"))

    @contextmanager
    def opened(self, verb: str, query: Mapping[str, str], silence: float) -> Iterator[urllib3.BaseHTTPResponse]:
        """GET the pods; yields the response once it is 200. `silence` is how many seconds it may say nothing."""
        with self._request(verb, query, silence) as response:
            if response.status != HTTPStatus.OK:
                raise _refused(verb, response.status, _first_words(response), response.headers.get("Retry-After"))
            yield response

    def _request(self, verb: str, query: Mapping[str, str], silence: float) -> urllib3.BaseHTTPResponse:
        """Send the request and return what begins to come back, whatever its status."""
        try:
            request = self._client.param_serialize(
                "GET", _PATH, query_params=list(query.items()), auth_settings=["BearerToken"]
            )
            answer = self._client.call_api(*request, _request_timeout=(self._pace.connect, silence))
        except (ApiException, urllib3.exceptions.HTTPError) as error:
            host = self._client.configuration.host
            raise ApiError(
                "unreachable",
                f"The API server at {host} cannot be reached to {verb} pods: {shorten(str(error))}; "
                "check address, network policy and certificates. The pods known so far serve on.",
            ) from error
        except Exception as error:  # a token file that went away, a token with a line end, a credential plugin
            raise _no_config(error) from error
        response: urllib3.BaseHTTPResponse = answer.response
        return response


def _settings(kubeconfig: str | None) -> Configuration:
    """Return where the API server is and who we are: the path given, else the pod we run in, else the usual file."""
    settings = Configuration()
    try:
        if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            load_incluster_config(client_configuration=settings)
        else:
            path = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
            load_kube_config(config_file=path, client_configuration=settings, persist_config=False)
    except Exception as error:  # YAML, base64, missing keys, credential plugins: the client lets all of it out
        raise _no_config(error) from error
    return settings


def _no_config(error: Exception) -> ApiError:
    return ApiError(
        "config",
        f"There is no usable way to the API server ({shorten(str(error))}): run in a pod with a service account, "
        "or give --kubeconfig PATH, or --no-kubernetes to go without names.",
    )


def _refused(verb: str, status: int, words: str, retry_after: str | None = None) -> _RefusedError:
    """Return the error for an answer, or an ERROR event, of that HTTP status."""
    known = {401: "unauthorized", 403: "forbidden", 410: "gone", 429: "throttled"}
    reason = known.get(status, "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "config")
    message = f"The API server answers HTTP {status} to {verb} pods ({shorten(words)}): {_ADVICE[reason]}."
    wait = 0.0
    with suppress(TypeError, ValueError):  # absent, or a date
        wait = max(0.0, float(retry_after or ""))
    return _RefusedError(reason, message, wait)


def _first_words(response: urllib3.BaseHTTPResponse) -> str:
    """Return why the server refuses: the message of its Status object, else how the body begins."""
    body = b""
    with suppress(urllib3.exceptions.HTTPError, OSError):
        body = response.read(4096, decode_content=False)
    with suppress(ApiError):
        return _text(_object("", body).get("message"))
    return body.decode("utf-8", "replace")


def _chunks(verb: str, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """Yield the body as it comes in; ApiError `closed` if it is cut off, `unreachable` if it falls silent."""
    try:
        yield from response.stream(65536, decode_content=False)
    except urllib3.exceptions.ReadTimeoutError as error:
        raise ApiError("unreachable", f"The API server fell silent while we {verb} pods; we ask again.") from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise ApiError("closed", f"The API server's answer to {verb} pods was cut off; we ask again.") from error


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[bytearray]:
    """Yield the lines of a watch; a line without an end is `closed`, an endless one `malformed`."""
    rest = bytearray()
    for chunk in _chunks("watch", response):
        rest += chunk
        if b"\n" in chunk:
            *lines, rest = rest.split(b"\n")
            yield from filter(None, lines)
        if len(rest) > _LONGEST_LINE:
            raise ApiError("malformed", f"The API server sent a watch event of more than {_LONGEST_LINE} bytes.")
    if rest:
        raise ApiError("closed", "The API server ended the watch in the middle of an object; we resume it.")


def _object(verb: str, text: bytes | bytearray) -> dict[str, object]:
    """Return the JSON object in `text`; ApiError `malformed` if it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        words = shorten(text[:200].decode("utf-8", "replace"))
        raise ApiError("malformed", f"The API server's answer to {verb} pods is no JSON object: {words}.")
    return value


def _metadata(raw: object, field: str) -> str:
    """Return a text of the object's metadata, empty if it has none."""
    metadata = raw.get("metadata") if isinstance(raw, dict) else None
    return _text(metadata.get(field)) if isinstance(metadata, dict) else ""


def _text(raw: object) -> str:
    return raw if isinstance(raw, str) else ""
