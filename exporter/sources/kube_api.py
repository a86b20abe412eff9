"""The API server as bytes and raw JSON: the official client does configuration, authentication and transport.

Its generated models are never loaded: they cost 23 MB. Every failure is an ApiError with its closed-list reason.
"""

from __future__ import annotations

import json
import os
import random
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

import urllib3
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.config import load_incluster_config, load_kube_config

from exporter import __version__
from exporter.errors import ApiError, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

CHANCE: Final = random.SystemRandom()  # the nodes of a cluster must not come back in step

_PAGE: Final = "500"
_LONGEST_OBJECT: Final = 4 * 2**20  # in etcd it is at most 1.5 MiB
_LONGEST_LIST: Final = 256 * 2**20
_ADVICE: Final = {
    "unauthorized": "the token is not (or no longer) valid; it is read again",
    "forbidden": "give the service account a ClusterRole with {permission}, as the chart does",
    "throttled": "the API server is busy; we wait as long as it asks",
    "gone": "that resourceVersion is too old; everything is listed again",
    "server_error": "the API server has a problem of its own; its log says more",
    "config": "this address does not look like a Kubernetes API server",
}


class Resource(NamedTuple):
    """What is asked for: its path, its word in messages, the permission it takes, what an HTTP 404 means (and why).

    `query` selects some of a collection, for a watch.
    """

    path: str
    word: str
    permission: str
    missing: tuple[str, str] = ("config", _ADVICE["config"])
    query: Mapping[str, str] = MappingProxyType({})


PODS: Final = Resource("/api/v1/pods", "pods", "the verbs list and watch on pods")


def of_node(node: str) -> dict[str, str]:
    """Return the query that selects the pods of a node."""
    return {"fieldSelector": f"spec.nodeName={node}"}


@dataclass(frozen=True, slots=True)
class Pace:
    """Every span of time in seconds that the source goes by, and its clocks.

    `connect` is how long a connection may take, `read` how long a list may stay silent. `watch` is the range that
    `timeoutSeconds` is drawn from, `grace` what a stream may stay silent beyond it. `every` is the range that the wait
    between two readings of a single object is drawn from. Waits after failures double from `backoff[0]` to
    `backoff[1]`, less up to half at random; they start over once a watch has held for `steady`. `patience` is the
    longest Retry-After that is honoured. `monotonic` measures spans, `wall` is the Unix time of the last success.
    """

    connect: float = 10
    read: float = 60
    watch: tuple[int, int] = (240, 480)
    grace: float = 15
    every: tuple[float, float] = (240, 360)  # 5 min ± 20 % (rule 6 of the house)
    backoff: tuple[float, float] = (0.5, 30)
    steady: float = 10
    patience: float = 60
    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time

    def delay(self, failures: int) -> float:
        """Return how long to wait after so many failures in a row; 0 after none."""
        longest = min(self.backoff[1], self.backoff[0] * 2 ** min(failures - 1, 32))
        return CHANCE.uniform(longest / 2, longest) if failures else 0

    def pause(self) -> float:
        """Return how long to wait between two readings of a single object, anew each time."""
        return CHANCE.uniform(*self.every)


PACE: Final = Pace()


class RefusedError(ApiError):
    """An answer that is a refusal; `wait` are the seconds after which the server wants to be asked again."""

    def __init__(self, reason: str, message: str, wait: float = 0) -> None:
        super().__init__(reason, message)
        self.wait = wait


class Page(NamedTuple):
    """One page of a list: its raw items, the list's resourceVersion, and the token of the rest ("" = none)."""

    items: list[object]
    version: str
    rest: str


class KubeApi:
    """The official client as a transport: it knows where and who, we read the bytes."""

    def __init__(self, kubeconfig: str | None, pace: Pace, resource: Resource = PODS) -> None:
        """Read the configuration anew; ApiError `config` if there is none that can be used."""
        settings = _settings(kubeconfig)
        settings.retries = False  # urllib3 would sleep as long as any Retry-After says
        settings.keep_alive = True  # a dead peer is noticed by the kernel
        self._pace, self._resource = pace, resource
        self._client = ApiClient(settings)
        self._client.user_agent = f"vgpu-exporter/{__version__}"

    def close(self) -> None:
        """Close idle connections."""
        self._client.close()

    def get(self) -> dict[str, object]:
        """GET the resource as the single object that its path names, as raw JSON."""
        return self._whole("get", {}, _LONGEST_OBJECT)

    def post(self, body: Mapping[str, object]) -> dict[str, object]:
        """POST the body to the resource and return what is answered, as raw JSON."""
        return self._whole("create", {}, _LONGEST_OBJECT, body)

    def pages(self, query: Mapping[str, str]) -> Iterator[Page]:
        """List what `query` selects, a page after the other."""
        rest = ""
        while True:
            page = self._page({**query, "limit": _PAGE} | ({"continue": rest} if rest else {}))
            yield page
            rest = page.rest
            if not rest:
                return

    def _page(self, query: Mapping[str, str]) -> Page:
        """GET one page of the list."""
        page = self._whole("list", query, _LONGEST_LIST)
        items, version = page.get("items") or [], metadata(page, "resourceVersion")
        if not isinstance(items, list) or not version:
            raise ApiError("malformed", "The API server's answer is no list: it has no items or no resourceVersion.")
        return Page(items, version, metadata(page, "continue"))

    def _whole(
        self, verb: str, query: Mapping[str, str], longest: int, body: Mapping[str, object] | None = None
    ) -> dict[str, object]:
        """Return an answer of at most `longest` bytes as JSON."""
        text = bytearray()
        with self.opened(verb, query, self._pace.read, body) as response:
            for chunk in _chunks(verb, response, self._resource):
                text += chunk
                if len(text) > longest:
                    word = self._resource.word
                    raise ApiError("malformed", f"The API server's answer to {verb} {word} exceeds {longest} bytes.")
        return parsed(verb, text, self._resource)

    @contextmanager
    def opened(
        self, verb: str, query: Mapping[str, str], silence: float, body: Mapping[str, object] | None = None
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """GET the resource, or POST the body to it; yields the response once it is 200, or 201.

        `silence` is how many seconds it may say nothing.
        """
        with self._request(verb, query, silence, body) as response:
            if response.status not in (HTTPStatus.OK, HTTPStatus.CREATED):
                words, retry_after = _first_words(response), response.headers.get("Retry-After")
                raise refused(verb, response.status, words, retry_after, self._resource)
            yield response

    def _request(
        self, verb: str, query: Mapping[str, str], silence: float, body: Mapping[str, object] | None
    ) -> urllib3.BaseHTTPResponse:
        """Send the request and return what begins to come back, whatever its status."""
        try:
            request = self._client.param_serialize(
                "GET" if body is None else "POST",
                self._resource.path,
                query_params=list(query.items()),
                header_params={} if body is None else {"Content-Type": "application/json"},
                body=body,
                auth_settings=["BearerToken"],
            )
            answer = self._client.call_api(*request, _request_timeout=(self._pace.connect, silence))
        except (ApiException, urllib3.exceptions.HTTPError) as error:
            host = self._client.configuration.host
            raise ApiError(
                "unreachable",
                f"The API server at {host} cannot be reached to {verb} {self._resource.word}: "
                f"{shorten(str(error))}; check address, network policy and certificates. What is known serves on.",
            ) from error
        except ValueError:  # it quotes the header that cannot be sent, and with it the token
            raise _no_config("the token has a character that no header may have, such as a line end") from None
        except Exception as error:  # a token file that went away, a credential plugin
            raise _no_config(str(error)) from error
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
        raise _no_config(str(error)) from error
    return settings


def _no_config(why: str) -> ApiError:
    return ApiError(
        "config",
        f"There is no usable way to the API server ({shorten(why)}): run in a pod with a service account, "
        "or give --kubeconfig PATH.",
    )


def refused(
    verb: str, status: int, words: str, retry_after: str | None = None, resource: Resource = PODS
) -> RefusedError:
    """Return the error for an answer, or an ERROR event, of that HTTP status."""
    known = {401: "unauthorized", 403: "forbidden", 410: "gone", 429: "throttled"}
    reason = known.get(status, "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "config")
    advice = _ADVICE[reason].format(permission=resource.permission)
    if status == HTTPStatus.NOT_FOUND:
        reason, advice = resource.missing
    message = f"The API server answers HTTP {status} to {verb} {resource.word} ({shorten(words)}): {advice}."
    wait = 0.0
    with suppress(TypeError, ValueError):  # absent, or a date
        wait = max(0.0, float(retry_after or ""))
    return RefusedError(reason, message, wait)


def _first_words(response: urllib3.BaseHTTPResponse) -> str:
    """Return why the server refuses: the message of its Status object, else how the body begins."""
    body = b""
    with suppress(urllib3.exceptions.HTTPError, OSError):
        body = response.read(4096, decode_content=False)
    with suppress(ApiError):
        return text_of(parsed("", body).get("message"))
    return body.decode("utf-8", "replace")


def _chunks(verb: str, response: urllib3.BaseHTTPResponse, resource: Resource) -> Iterator[bytes]:
    """Yield the body as it comes in; ApiError `closed` if it is cut off, `unreachable` if it falls silent."""
    try:
        yield from response.stream(65536, decode_content=False)
    except urllib3.exceptions.ReadTimeoutError as error:
        message = f"The API server fell silent while we {verb} {resource.word}; we ask again."
        raise ApiError("unreachable", message) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        message = f"The API server's answer to {verb} {resource.word} was cut off; we ask again."
        raise ApiError("closed", message) from error


def lines_of(response: urllib3.BaseHTTPResponse, resource: Resource = PODS) -> Iterator[bytearray]:
    """Yield the lines of a watch; a line without an end is `closed`, an endless one `malformed`."""
    rest = bytearray()
    for chunk in _chunks("watch", response, resource):
        rest += chunk
        if b"\n" in chunk:
            *lines, rest = rest.split(b"\n")
            yield from filter(None, lines)
        if len(rest) > _LONGEST_OBJECT:
            raise ApiError("malformed", f"The API server sent a watch event of more than {_LONGEST_OBJECT} bytes.")
    if rest:
        raise ApiError("closed", "The API server ended the watch in the middle of an object; we resume it.")


def parsed(verb: str, text: bytes | bytearray, resource: Resource = PODS) -> dict[str, object]:
    """Return the JSON object in `text`; ApiError `malformed` if it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        words = shorten(text[:200].decode("utf-8", "replace"))
        raise ApiError("malformed", f"The API server's answer to {verb} {resource.word} is no JSON object: {words}.")
    return value


def metadata(raw: object, field: str) -> str:
    """Return a text of the object's metadata, empty if it has none."""
    metadata = raw.get("metadata") if isinstance(raw, dict) else None
    return text_of(metadata.get(field)) if isinstance(metadata, dict) else ""


def text_of(raw: object) -> str:
    """Return a JSON string, "" for anything else."""
    return raw if isinstance(raw, str) else ""
