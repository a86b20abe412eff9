"""Connections: accepted up to a number, by TLS or not, and cut when they take too long over anything.

Each new connection comes in by the door that there is then, so that what TLS is spoken with can be replaced while
others stay open. Nothing here knows HTTP: a connection wraps the protocol that does, and is told when it answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections import Counter
from dataclasses import dataclass
from errno import EADDRNOTAVAIL, EAFNOSUPPORT
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exporter.web_tls import Door

_log = logging.getLogger(__name__)

_BACKLOG: Final = 128
#: Seconds before the next try when the system lets nobody in: no descriptor is free, say.
_PAUSE: Final = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may take of us: numbers, seconds and bytes.

    64 `connections`: two Prometheis, some people and tools, each of whom may be sent some MB. `head` is for TLS's
    handshake and again for a request, as quick clients do both in one round trip. `answer` is for waiting, rendering
    and reading the answer: above any sensible scrape_timeout. `idle` is above the usual scrape_interval, which keeps a
    Prometheus on one connection. `request` is what is read for one.
    """

    connections: int = 64
    head: float = 10.0
    answer: float = 60.0
    idle: float = 75.0
    request: int = 65_536


class Handler(Protocol):
    """What speaks HTTP on one connection: aiohttp's."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""

    def data_received(self, data: bytes) -> None:
        """Take what came."""

    def pause_writing(self) -> None:
        """Wait with writing."""

    def resume_writing(self) -> None:
        """Go on writing."""

    def close(self) -> None:
        """Take nothing more, and close after the answer under way."""


class Connection(asyncio.Protocol):
    """One connection, between the transport and what speaks HTTP; each of its states has its time."""

    def __init__(self, client: socket.socket, address: str, handler: Handler, crowd: Crowd) -> None:
        """The client is still at the door; see `connection_made`."""
        self.client = client
        self.address = address
        self.door = crowd.door()
        self._handler = handler
        self._crowd = crowd
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._idle = False
        self._received = 0

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        made = cast(asyncio.Transport, transport)
        if not self.door.admits(made.get_extra_info("peercert")):
            made.abort()
            return
        self._transport = made
        self._allow(self._crowd.limits.head)
        self._handler.connection_made(transport)

    @override
    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        if self._idle:
            self._idle = False
            self._allow(self._crowd.limits.head)
        self._received += len(data)
        self._handler.data_received(data)
        if self._received > self._crowd.limits.request:
            self._handler.close()

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Be answering a request: nobody takes this connection's place, and time starts anew."""
        self._crowd.waiting.pop(self, None)
        self._allow(self._crowd.limits.answer)
        try:
            yield
        finally:
            if self._timer is not None:  # else it is lost
                self._idle, self._received = True, 0
                self._crowd.waiting[self] = None
                self._allow(self._crowd.limits.idle)

    @property
    def is_in(self) -> bool:
        """Whether the client came in by the door."""
        return self._transport is not None

    def _allow(self, seconds: float) -> None:
        """Cut the connection if nothing else happens to it within that time."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.drop)

    def drop(self) -> None:
        """Cut the connection: what was not sent yet is thrown away."""
        self._crowd.forget(self)
        if self._transport is not None:
            self._transport.abort()
            return
        with contextlib.suppress(OSError):  # the client is gone already
            self.client.shutdown(socket.SHUT_RDWR)  # TLS's handshake finds out, and closes the socket

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.forget(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._handler.connection_lost(exc)

    @override
    def eof_received(self) -> None:
        """Let the transport close: who sends no more is owed no answer, and TLS cannot be closed by half."""

    @override
    def pause_writing(self) -> None:
        self._handler.pause_writing()

    @override
    def resume_writing(self) -> None:
        self._handler.resume_writing()


class Crowd:
    """The connections to one endpoint, and its listening sockets."""

    def __init__(self, handler: Callable[[], Handler], door: Callable[[], Door], limits: Limits) -> None:
        """`handler` makes what speaks HTTP on a new connection, `door` says how it comes in."""
        self.limits = limits
        #: Who has asked nothing, the longest first: whoever is next may have its place.
        self.waiting: dict[Connection, None] = {}
        self.door = door
        self._open: dict[Connection, None] = {}
        self._handler = handler
        self._sockets: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._joining: set[asyncio.Task[None]] = set()

    async def listen(self, host: str, port: int) -> list[tuple[str, int]]:
        """Listen on what the name stands for; return the addresses. OSError if there is none to be had."""
        found = await bound(host, port)
        self._sockets += found
        self._accepting += [asyncio.create_task(self._accept(one)) for one in found]
        return [one.getsockname()[:2] for one in found]

    async def _accept(self, listening: socket.socket) -> None:
        loop, trouble = asyncio.get_running_loop(), ""
        while True:
            try:
                client, address = await loop.sock_accept(listening)
            except OSError as error:
                if str(error) != trouble:
                    _log.warning("cannot let anybody in: %s", error.strerror or error)
                trouble = str(error)
                await asyncio.sleep(_PAUSE)
            else:
                trouble = ""
                self._let_in(client, address[0])

    def _let_in(self, client: socket.socket, address: str) -> None:
        if len(self._open) >= self.limits.connections:
            leaving = self._makes_room(address)
            if leaving is None:
                client.close()
                return
            leaving.drop()
        connection = Connection(client, address, self._handler(), self)
        self._open[connection] = None
        self.waiting[connection] = None
        joining = asyncio.create_task(self._join(connection))
        self._joining.add(joining)
        joining.add_done_callback(self._joining.discard)

    def _makes_room(self, address: str) -> Connection | None:
        """Return who has to leave for a newcomer from that address; None if it is the newcomer.

        Who holds more places than the newcomer would gives one up, even one that is being served: reading slowly must
        keep nobody else out. Beyond that who waits makes room, but nobody for an address that has more than it.
        """
        held = Counter(one.address for one in self._open)
        own = held[address]
        greediest, most = held.most_common(1)[0]
        if most > own + 1:
            return next(one for one in (*self.waiting, *self._open) if one.address == greediest)
        return next((one for one in self.waiting if held[one.address] >= own), None)

    async def _join(self, connection: Connection) -> None:
        """Let the client in, by way of TLS's handshake if there is one."""
        context = connection.door.context
        patience: dict[str, Any] = (
            {"ssl_handshake_timeout": self.limits.head, "ssl_shutdown_timeout": self.limits.head} if context else {}
        )
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection, connection.client, ssl=context, **patience
            )
        except OSError as error:  # also all that TLS may have against a client
            _log.debug("nobody came in: %s", error)
        finally:
            if not connection.is_in:
                self.forget(connection)

    def forget(self, connection: Connection) -> None:
        """Count a connection no more."""
        self._open.pop(connection, None)
        self.waiting.pop(connection, None)

    async def close(self) -> None:
        """Listen no more, and let nobody in who has not come in yet."""
        for task in self._accepting:
            task.cancel()
        for connection in [one for one in self._open if not one.is_in]:
            connection.drop()
        await asyncio.gather(*self._accepting, *self._joining, return_exceptions=True)
        for one in self._sockets:
            one.close()


async def bound(host: str, port: int) -> list[socket.socket]:
    """Return a listening socket for each address of a name, IPv4 and IPv6; OSError if there is none to be had."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:  # which does not say whose address there is none of
        raise OSError(error.errno, f"{host}: {error.strerror}") from error
    sockets: list[socket.socket] = []
    for left, (family, _, _, _, address) in enumerate(found, 1 - len(found)):
        try:
            sockets.append(_listening(family, address))
        except OSError as error:
            if error.errno in (EAFNOSUPPORT, EADDRNOTAVAIL) and (left or sockets):
                continue  # localhost has an address in IPv6 even where nobody else has
            for one in sockets:
                one.close()
            raise OSError(error.errno, f"{host}:{port}: {os.strerror(error.errno or 0).lower()}") from error
    return sockets


def _listening(family: int, address: Any) -> socket.socket:  # noqa: ANN401  as many shapes as families
    made = socket.create_server(address, family=family, backlog=_BACKLOG)
    made.settimeout(0)
    return made
