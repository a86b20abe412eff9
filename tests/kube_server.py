"""A small Kubernetes API server: list (paged) and watch over real HTTP/1.1, with faults to order.

In a test:

    with KubeServer() as server:
        server.put(pod)                      # ADDED or MODIFIED for whoever watches
        server.fail(429, retry_after=1)      # the next request
        source = WatchedPods("node-1", kubeconfig=str(server.kubeconfig(tmp_path / "config")))

As a program: `python tests/kube_server.py --pods pods.json --port 0 --kubeconfig out` prints its address and serves.
Objects are kept by resource (`pods`, `nodes`, `namespaces`, `resourcequotas`, `configmaps`), told from their `kind`.
"""

from __future__ import annotations

import argparse
import copy
import json
import secrets
import threading
import time
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import parse_qsl, urlsplit

from typing_extensions import override

if TYPE_CHECKING:
    import ssl

Object = dict[str, Any]

#: What a client has to show.
BEARER = "opensesame"

Wanted = Callable[[Object], bool]

_KINDS = {
    "pods": "Pod",
    "nodes": "Node",
    "namespaces": "Namespace",
    "resourcequotas": "ResourceQuota",
    "configmaps": "ConfigMap",
}
_RESOURCES = {kind: resource for resource, kind in _KINDS.items()}


class Request(NamedTuple):
    """One request as it came in: `verb` is `list`, `watch`, `get` or `create`, `status` what it was answered."""

    verb: str
    path: str
    query: dict[str, str]
    status: int


class Change(NamedTuple):
    """One entry of the history: what an object was before and is now; bookmarks and errors are neither."""

    version: int
    resource: str
    before: Object | None = None
    now: Object | None = None


class Ending(NamedTuple):
    """How watches end that were opened before this `generation`: last words, then properly or not."""

    generation: int
    words: bytes
    proper: bool


@dataclass
class Fault:
    """How the next requests go wrong: with a status, with a body that is no JSON, or with no answer at all."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    hang: bool = False
    verb: str | None = None


class KubeServer:
    """The server; a context manager. All methods may be called from any thread while it serves."""

    def __init__(
        self,
        *,
        token: str = BEARER,
        port: int = 0,
        bookmark_every: float | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`port` 0 picks a free one; `bookmark_every` seconds sends bookmarks to idle watches by itself; `tls`: HTTPS.

        `forbidden` are resources that nobody may read; `largest_page` is how many objects a page of a list has;
        `ahead` are seconds by which the server's clock is ahead.
        """
        self.token = token
        self.bookmark_every = bookmark_every
        self.requests: list[Request] = []
        self.open_watches = 0
        self.changed = threading.Condition()
        self.history: list[Change] = []
        self.pages: dict[str, tuple[int, list[Object]]] = {}
        self.largest_page = 500
        self.forbidden: set[str] = set()
        self.ahead = 0.0
        self.compacted = 0
        self.version = 100
        self.ending = Ending(0, b"", proper=True)
        self.released = threading.Event()
        self._faults: list[Fault] = []
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._port = port
        self._tls = tls
        self._listener: _Listener | None = None
        self.accept()

    # ------------------------------------------------------------ life

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()

    @property
    def url(self) -> str:
        """The address, `http://127.0.0.1:port`; it stays the same over `refuse` and `accept`."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    def accept(self) -> None:
        """Listen (again)."""
        self.released.clear()
        self._listener = _Listener(("127.0.0.1", self._port), self)
        self._port = self._listener.server_address[1]
        if self._tls:
            self._listener.socket = self._tls.wrap_socket(
                self._listener.socket, server_side=True, do_handshake_on_connect=False
            )
        threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True).start()

    def refuse(self) -> None:
        """Close the port and end all streams without a good-bye; objects are kept."""
        if self._listener:
            self.released.set()
            self.cut(b"")
            self._listener.shutdown()
            self._listener.drop()
            self._listener.server_close()
            self._listener = None

    def kubeconfig(self, path: Path, *, token: str | None = None) -> Path:
        """Write a kubeconfig for this server to `path` (JSON is YAML) and return it."""
        user = {"token": self.token if token is None else token}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "users": [{"name": "test", "user": user}],
        }
        path.write_text(json.dumps(config), encoding="utf-8")
        return path

    # ------------------------------------------------------------ objects

    def put(self, raw: Object) -> str:
        """Create or replace the object; returns its new resourceVersion. `kind` defaults to Pod."""
        stored = copy.deepcopy(raw)
        metadata = stored.setdefault("metadata", {})
        resource = _RESOURCES[stored.get("kind", "Pod")]
        with self.changed:
            metadata["resourceVersion"] = str(self._next_version())
            place = (resource, metadata.get("namespace", ""), metadata.get("name", ""))
            self._record(resource, self._objects.get(place), stored)
            self._objects[place] = stored
        return str(metadata["resourceVersion"])

    def delete(self, namespace: str, name: str, resource: str = "pods") -> None:
        """Delete the object; KeyError if there is none."""
        with self.changed:
            gone = self._objects.pop((resource, namespace, name))
            version = self._next_version()
            gone = gone | {"metadata": gone["metadata"] | {"resourceVersion": str(version)}}
            self._record(resource, gone, None)

    def bookmark(self) -> str:
        """Send all watches a bookmark with a resourceVersion that no object has; returns it."""
        with self.changed:
            version = self._next_version()
            self._record("", None, None)
        return str(version)

    def compact(self) -> None:
        """Forget the past: a watch from before now is told 410 by an ERROR event."""
        with self.changed:
            self.history.clear()
            self.compacted = self._next_version()

    def listed(self, resource: str, wanted: Wanted) -> tuple[int, list[Object]]:
        """Return the current version and the objects in order of namespace and name."""
        with self.changed:
            found = sorted((place, raw) for place, raw in self._objects.items() if place[0] == resource)
            return self.version, [raw for _, raw in found if wanted(raw)]

    def wait_after(self, version: int, generation: int, seconds: float) -> tuple[list[Change], Ending | None]:
        """Wait for changes after `version` or for an ending of that generation; nothing of both after `seconds`."""

        def later() -> list[Change]:
            return self.history[bisect_right(self.history, version, key=lambda change: change.version) :]

        def ending() -> Ending | None:
            return self.ending if self.ending.generation > generation else None

        with self.changed:
            patience = min(seconds, self.bookmark_every or seconds)
            if not self.changed.wait_for(lambda: later() or ending(), patience) and self.bookmark_every:
                self.bookmark()
            return later(), ending()

    def _next_version(self) -> int:
        self.version += 1
        return self.version

    def _record(self, resource: str, before: Object | None, now: Object | None) -> None:
        self.history.append(Change(self.version, resource, before, now))
        self.changed.notify_all()

    # ------------------------------------------------------------ faults

    def fail(self, status: int, *, count: int = 1, retry_after: float | None = None, verb: str | None = None) -> None:
        """Answer the next `count` requests (of that `verb`, if given) with `status`."""
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self._faults += [Fault(status=status, headers=headers, verb=verb)] * count

    def garble(self, body: bytes = b"<html>hello</html>", *, verb: str | None = None) -> None:
        """Answer the next request with 200 and `body`."""
        self._faults.append(Fault(body=body, verb=verb))

    def hang(self, *, verb: str | None = None) -> None:
        """Leave the next request without an answer until `refuse`."""
        self._faults.append(Fault(hang=True, verb=verb))

    def cut(self, words: bytes = b'{"type":"MODIFIED","object":{"meta', *, proper: bool = False) -> None:
        """End all open watches: write `words`, then drop the connection, or end the stream as HTTP wants it."""
        with self.changed:
            self.ending = Ending(self.ending.generation + 1, words, proper)
            self.changed.notify_all()

    def expire(self) -> None:
        """Tell all open watches by an ERROR event that their version is gone."""
        self.cut(_line("ERROR", _status(410)), proper=True)

    def next_fault(self, verb: str) -> Fault | None:
        """Take the next fault that is meant for this kind of request."""
        with self.changed:
            for fault in self._faults:
                if fault.verb in (None, verb):
                    self._faults.remove(fault)
                    return fault
        return None

    # ------------------------------------------------------------ what tests ask

    def wait_for_watch(self, seconds: float = 5.0, count: int = 1) -> None:
        """Return as soon as `count` watches are open; TimeoutError after `seconds`."""
        with self.changed:
            if not self.changed.wait_for(lambda: self.open_watches == count, seconds):
                raise TimeoutError(f"{self.open_watches} open watches instead of {count}")

    def asked(self, verb: str) -> list[Request]:
        """Return the requests of one kind so far."""
        return [request for request in list(self.requests) if request.verb == verb]


class _Listener(ThreadingHTTPServer):
    """The socket: remembers its connections, so that `refuse` can drop them."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], kube: KubeServer) -> None:
        self.kube = kube
        self.connections: list[Any] = []
        super().__init__(address, _Handler)

    @override
    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.append(request)
        super().process_request(request, client_address)

    @override
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients come and go."""

    def drop(self) -> None:
        """Close every connection that is still open."""
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(2)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a header and its body are two writes; nobody waits 40 ms for an ACK
    server: _Listener

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: `KubeServer.requests` is the log."""

    @override
    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((time.time() if timestamp is None else timestamp) + self.server.kube.ahead)

    def do_POST(self) -> None:
        """Answer a SelfSubjectAccessReview: may I read a resource."""
        kube = self.server.kube
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        resource = review["spec"]["resourceAttributes"]["resource"]
        fault = kube.next_fault("create")
        status = 0 if fault and fault.hang else fault.status if fault else self._deserved("")
        kube.requests.append(Request("create", self.path, {"resource": resource}, status))
        if fault and fault.hang:
            self._hang()
        elif fault and fault.body is not None:
            self._send(200, fault.body)
        elif status in (401, 403, 500):
            self._send(status, json.dumps(_status(status)).encode(), fault.headers if fault else {})
        else:
            self._send(201, json.dumps(review | {"status": {"allowed": resource not in kube.forbidden}}).encode())

    def do_GET(self) -> None:
        """Answer a list, a watch or the GET of one object."""
        kube = self.server.kube
        address = urlsplit(self.path)
        query = dict(parse_qsl(address.query))
        resource, namespace, name = _resource(address.path)
        verb = "get" if name else "watch" if query.get("watch") in ("1", "true") else "list"
        fault = kube.next_fault(verb)
        status = 0 if fault and fault.hang else fault.status if fault else self._deserved(resource)
        kube.requests.append(Request(verb, address.path, query, status))
        if fault and fault.hang:
            self._hang()
        elif fault and fault.body is not None:
            self._send(200, fault.body)
        elif status != HTTPStatus.OK:
            self._send(status, json.dumps(_status(status)).encode(), fault.headers if fault else {})
        elif name:
            self._get(kube, resource, _selector({"fieldSelector": f"metadata.name={name}"}, namespace))
        elif verb == "watch":
            self._watch(kube, resource, query, _selector(query, namespace))
        else:
            self._list(kube, resource, query, _selector(query, namespace))

    def _hang(self) -> None:
        """Say nothing for as long as the server is up."""
        self.server.kube.released.wait()
        self.close_connection = True

    def _deserved(self, resource: str) -> int:
        """Return the status that this request deserves: 401 without the token, 403, 404 for an unknown path."""
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if (scheme.lower(), token) != ("bearer", self.server.kube.token):
            return 401
        if resource in self.server.kube.forbidden:
            return 403
        return 200 if resource in _KINDS else 404

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (
            {"Content-Type": "application/json", "Content-Length": str(len(body))} | (headers or {})
        ).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    # ------------------------------------------------------------ get and list

    def _get(self, kube: KubeServer, resource: str, wanted: Wanted) -> None:
        _, found = kube.listed(resource, wanted)
        self._send(200 if found else 404, json.dumps(found[0] if found else _status(404)).encode())

    def _list(self, kube: KubeServer, resource: str, query: dict[str, str], wanted: Wanted) -> None:
        """Answer one page; the pages after the first are of the same version as that one."""
        token = query.get("continue")
        version, found = kube.pages.pop(token) if token else kube.listed(resource, wanted)
        size = min(int(query.get("limit") or kube.largest_page), kube.largest_page)
        metadata = {"resourceVersion": str(version)}
        if found[size:]:
            metadata["continue"] = secrets.token_hex(8)
            kube.pages[metadata["continue"]] = (version, found[size:])
        kind = _KINDS[resource]
        page = {"kind": f"{kind}List", "apiVersion": "v1", "metadata": metadata, "items": found[:size]}
        self._send(200, json.dumps(page).encode())

    # ------------------------------------------------------------ watch

    def _watch(self, kube: KubeServer, resource: str, query: dict[str, str], wanted: Wanted) -> None:
        """Stream what happens after `resourceVersion` until `timeoutSeconds` are over or a fault ends it."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with kube.changed:
            generation = kube.ending.generation
            kube.open_watches += 1
            kube.changed.notify_all()
        try:
            proper = self._stream(kube, Watch(resource, query, wanted, generation))
        finally:
            with kube.changed:
                kube.open_watches -= 1
                kube.changed.notify_all()
        self.close_connection = not proper
        if proper:
            self.wfile.write(b"0\r\n\r\n")

    def _stream(self, kube: KubeServer, watch: Watch) -> bool:
        """Write lines; returns whether the stream ends properly."""
        version = int(watch.query.get("resourceVersion") or 0)
        if version < kube.compacted:
            self._chunk(_line("ERROR", _status(410)))
            return True
        deadline = time.monotonic() + float(watch.query.get("timeoutSeconds") or 1800)
        while (left := deadline - time.monotonic()) > 0:
            changes, ending = kube.wait_after(version, watch.generation, left)
            for change in changes:
                self._chunk(watch.line(change))
                version = change.version
            if ending:
                self._chunk(ending.words)
                return ending.proper
        return True

    def _chunk(self, data: bytes) -> None:
        if data:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


class Watch(NamedTuple):
    """What one watch asked for, and the generation it was opened in."""

    resource: str
    query: dict[str, str]
    wanted: Wanted
    generation: int

    def line(self, change: Change) -> bytes:
        """Return the event of this change as this watch sees it, empty if it is none of its business."""
        if not change.resource:
            bookmark = {"kind": _KINDS[self.resource], "metadata": {"resourceVersion": str(change.version)}}
            return _line("BOOKMARK", bookmark) if self.query.get("allowWatchBookmarks") == "true" else b""
        if change.resource != self.resource:
            return b""
        before, now = (raw if raw and self.wanted(raw) else None for raw in (change.before, change.now))
        if now:
            return _line("MODIFIED" if before else "ADDED", now)
        return _line("DELETED", change.now or before) if before else b""


def _line(kind: str, raw: Object) -> bytes:
    return json.dumps({"type": kind, "object": raw}).encode() + b"\n"


def _status(code: int) -> Object:
    message = f"{HTTPStatus(code).phrase}, says the test"
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}


def _resource(path: str) -> tuple[str, str, str]:
    """Return resource, namespace and name of a path of the core API; empty where it has none."""
    _, *parts = path.removeprefix("/api/v1").split("/")
    namespace = parts[1] if parts[0] == "namespaces" and len(parts) > 2 else ""
    rest = parts[2:] if namespace else parts
    return rest[0], namespace, rest[1] if len(rest) > 1 else ""


def _selector(query: dict[str, str], namespace: str) -> Wanted:
    """Return the test of `fieldSelector=a.b=value,…` and of the namespace in the path."""
    pairs = [term.split("=", 1) for term in query.get("fieldSelector", "").split(",") if term]
    pairs += [["metadata.namespace", namespace]] if namespace else []

    def wanted(raw: Object) -> bool:
        return all(_field(raw, path) == value for path, value in pairs)

    return wanted


def _field(raw: object, path: str) -> object:
    for part in path.split("."):
        raw = raw.get(part) if isinstance(raw, dict) else None
    return raw


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A small Kubernetes API server for tests and demonstrations.")
    parser.add_argument("--pods", type=Path, help="a PodList, or a list of objects, as JSON")
    parser.add_argument("--port", type=int, default=0, help="0 = any free one")
    parser.add_argument("--kubeconfig", type=Path, help="where to write a kubeconfig for it")
    return parser.parse_args()


def main() -> None:
    """Serve until interrupted."""
    arguments = _arguments()
    with KubeServer(port=arguments.port, bookmark_every=60) as server, suppress(KeyboardInterrupt):
        listed = json.loads(arguments.pods.read_text(encoding="utf-8")) if arguments.pods else []
        for raw in listed["items"] if isinstance(listed, dict) else listed:
            server.put(raw)
        if arguments.kubeconfig:
            server.kubeconfig(arguments.kubeconfig)
        print(server.url, flush=True)  # noqa: T201 - a program's answer
        threading.Event().wait()


if __name__ == "__main__":
    main()
