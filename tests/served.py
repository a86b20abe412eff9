"""The real server on a loop of its own thread, and clients of it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

from exporter.config import Address
from exporter.labels import Build
from exporter.server import Renderer, Server
from exporter.web_connections import Limits

if TYPE_CHECKING:
    import ssl
    from collections.abc import Coroutine, Iterable

    from exporter.server import SnapshotRenderer
    from exporter.snapshot import Snapshot
    from exporter.web_reload import Protection

T = TypeVar("T")

BUILD: Final = Build("node", "0.0.0", "golden", "3.0.0")
LOCAL: Final = Address("127.0.0.1", 0)
LIMITS: Final = Limits()


class Answer(NamedTuple):
    """What a client got; `body` as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes


class Running:
    """A server at work; `shown` is the snapshot to serve. A context manager, too."""

    def __init__(
        self,
        shown: Snapshot | None = None,
        note: str = "",
        health: Iterable[Address] = (),
        renderer: SnapshotRenderer[Any] | None = None,
        protection: Protection | None = None,
        limits: Limits = LIMITS,
    ) -> None:
        """Listen on a free port; `renderer` shows something else."""
        self.shown = shown
        self.protection = protection
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.server = Server(renderer or Renderer(lambda: self.shown, BUILD), note, protection, limits)
        [self.url, *self.health_urls] = self.call(self.server.start([LOCAL], list(health)))
        self.address = (str(urlsplit(self.url).hostname), urlsplit(self.url).port or 0)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the server's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def get(self, path: str = "/metrics", *headers: tuple[str, str], method: str = "GET") -> Answer:
        """Ask for a path on a connection of its own, with these headers and no others."""
        return ask(self.url, path, *headers, method=method)

    def close(self) -> None:
        """Stop, and end the loop."""
        self.call(self.server.stop())
        self.call(self.loop.shutdown_default_executor())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def ask(
    url: str, path: str, *headers: tuple[str, str], method: str = "GET", context: ssl.SSLContext | None = None
) -> Answer:
    """Ask a server for a path, with these headers and no others; by TLS if there is a context."""
    with contextlib.closing(connection_to(url, context)) as connection:
        return ask_on(connection, path, *headers, method=method)


def connection_to(url: str, context: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
    """Return a connection for several requests."""
    where = urlsplit(url).netloc
    if context is None:
        return http.client.HTTPConnection(where, timeout=10)
    return http.client.HTTPSConnection(where, timeout=10, context=context)


def ask_on(connection: http.client.HTTPConnection, path: str, *headers: tuple[str, str], method: str = "GET") -> Answer:
    """Ask for a path, and leave the connection open."""
    connection.putrequest(method, path, skip_accept_encoding=True)
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    return Answer(response.status, dict(response.getheaders()), response.read())
