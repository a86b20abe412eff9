"""What one client may take of the server: time, places and memory, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import time
from typing import TYPE_CHECKING

import pytest

from exporter import web_connections
from exporter.server import Format, SnapshotRenderer
from exporter.web_connections import Limits, bound
from tests.served import LOCAL, Running, ask
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

ASK = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
SHORT = 0.3


class Ready:
    """A snapshot with nothing in it."""

    not_ready = None


@pytest.fixture(name="open_sockets")
def _open_sockets() -> Iterator[contextlib.ExitStack]:
    """Close the clients at the end."""
    with contextlib.ExitStack() as stack:
        yield stack


def client(
    server: Running, stack: contextlib.ExitStack, said: bytes = b"", address: str = "127.0.0.1"
) -> socket.socket:
    """Return a connection, from that address, on which that was said."""
    connection = stack.enter_context(socket.create_connection(server.address, timeout=5, source_address=(address, 0)))
    connection.sendall(said)
    return connection


def is_closed(connection: socket.socket) -> bool:
    """Wait for the server's next word; tell whether it was none."""
    try:
        return connection.recv(65536) == b""
    except ConnectionError:
        return True


def rest(connection: socket.socket) -> bytes:
    """Return all that still comes until the server ends the connection."""
    got = bytearray()
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(1_000_000):
            got += part
    return bytes(got)


def answered(connection: socket.socket) -> bool:
    """Ask on a connection and tell whether an answer came."""
    try:
        connection.sendall(ASK)
        return connection.recv(65536).startswith(b"HTTP/1.1 200")
    except ConnectionError:
        return False


def pester(connection: socket.socket, said: bytes) -> None:
    """Say something again and again for 15 s, and read nothing."""
    for _ in range(1000):
        connection.sendall(said)
        time.sleep(0.015)


@contextlib.contextmanager
def serving(size: int, limits: Limits) -> Iterator[Running]:
    """Return a server with a scrape of so many bytes, rendered already."""
    snapshot = Ready()
    renderer = SnapshotRenderer(lambda: snapshot, lambda _: (b"#" * size + b"\n", ()), lambda _, note: note)
    with Running(renderer=renderer, limits=limits, health=[LOCAL]) as server:
        server.call(renderer.body(Format(openmetrics=False, gzipped=False)))
        yield server


# ---------------------------------------------------------------- time


@pytest.mark.parametrize("said", [b"", ASK[:20], ASK[:-2]], ids=["nothing", "a line", "all but the end"])
def test_a_request_that_does_not_come_is_not_waited_for(open_sockets: contextlib.ExitStack, said: bytes) -> None:
    """Who opens a connection has so long to ask, whether it says nothing or half of it."""
    with Running(limits=Limits(head=SHORT)) as server:
        begun = time.monotonic()
        assert is_closed(client(server, open_sockets, said))
        assert SHORT * 0.9 < time.monotonic() - begun < 3


def test_a_request_that_drips_is_not_waited_for(open_sockets: contextlib.ExitStack) -> None:
    """A byte now and then buys no time, neither for the first request nor for a later one."""
    with Running(limits=Limits(head=SHORT)) as server:
        for greeting in (b"", ASK):
            connection = client(server, open_sockets, greeting)
            if greeting:
                assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            begun = time.monotonic()
            with contextlib.suppress(ConnectionError):
                for byte in ASK * 3:
                    connection.sendall(bytes([byte]))
                    time.sleep(SHORT / 20)
                    if byte == ASK[-1] and time.monotonic() - begun > SHORT * 2:
                        break
            assert is_closed(connection)


def test_an_idle_connection_lives_longer_than_a_slow_request(open_sockets: contextlib.ExitStack) -> None:
    """Between two scrapes a Prometheus may be silent for longer than within one, and then no more."""
    with Running(limits=Limits(head=SHORT, idle=SHORT * 4)) as server:
        connection = client(server, open_sockets)
        assert answered(connection)
        time.sleep(SHORT * 2)
        assert answered(connection)
        begun = time.monotonic()
        assert is_closed(connection)
        assert SHORT * 3 < time.monotonic() - begun < 5


def test_who_does_not_read_is_cut_off(open_sockets: contextlib.ExitStack) -> None:
    """A client that asks and does not read the answer loses the connection, and the next is served."""
    with serving(50_000_000, Limits(answer=SHORT)) as server:
        connection = client(server, open_sockets, SCRAPE)
        time.sleep(SHORT * 3)
        assert 0 < len(rest(connection)) < 50_000_000
        assert ask(server.url, "/healthz").status == 200


def test_who_asks_again_and_again_and_does_not_read_is_cut_off(open_sockets: contextlib.ExitStack) -> None:
    """Many small answers that nobody reads end like one that is large."""
    with serving(100_000, Limits(head=SHORT, answer=SHORT, idle=SHORT)) as server:
        connection = client(server, open_sockets)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with pytest.raises(ConnectionError):
            pester(connection, SCRAPE * 20)


# ---------------------------------------------------------------- places


def test_who_has_waited_longest_makes_room(open_sockets: contextlib.ExitStack) -> None:
    """When all places are taken a newcomer is served, and the longest idle connection is closed for it."""
    with Running(limits=Limits(connections=3)) as server:
        first, second, third = (client(server, open_sockets) for _ in range(3))
        assert all(map(answered, (second, first, third)))

        assert answered(client(server, open_sockets))

        assert is_closed(second)
        assert answered(first)
        assert answered(third)


def test_a_flood_of_silent_connections_keeps_nobody_out(open_sockets: contextlib.ExitStack) -> None:
    """However many open connections say nothing, whoever asks is answered."""
    with Running(limits=Limits(connections=4)) as server:
        for _ in range(20):
            client(server, open_sockets)
            assert ask(server.url, "/healthz").status == 200


def test_who_is_being_served_is_not_sent_away_for_another(open_sockets: contextlib.ExitStack) -> None:
    """When every place is being answered a newcomer is turned away, until one is free."""
    with serving(50_000_000, Limits(connections=2)) as server:
        readers = [client(server, open_sockets, SCRAPE) for _ in range(2)]
        assert all(reader.recv(1) for reader in readers)

        assert not answered(client(server, open_sockets))

        for reader in readers:
            reader.close()
        until(lambda: answered(client(server, open_sockets)))


def test_who_reads_slowly_on_every_place_gives_one_up_to_another_address(open_sockets: contextlib.ExitStack) -> None:
    """Connections from one address that take all places, and read nothing, keep no other address out."""
    with serving(50_000_000, Limits(connections=4)) as server:
        readers = [client(server, open_sockets, SCRAPE) for _ in range(4)]
        assert all(reader.recv(1) for reader in readers)

        other = client(server, open_sockets, address="127.0.0.2")
        assert answered(other)
        for _ in range(8):
            client(server, open_sockets)
        assert answered(other)
        assert not answered(client(server, open_sockets))
        assert 0 < len(rest(readers[0])) < 50_000_000
        open_sockets.close()


def test_addresses_that_have_their_share_keep_it(open_sockets: contextlib.ExitStack) -> None:
    """Who is being served goes on where the newcomer's address would have as many places as its own."""
    with serving(50_000_000, Limits(connections=3)) as server:
        readers = [client(server, open_sockets, SCRAPE, address) for address in ("127.0.0.1", "127.0.0.1", "127.0.0.2")]
        assert all(reader.recv(1) for reader in readers)

        assert not answered(client(server, open_sockets, address="127.0.0.2"))
        assert answered(client(server, open_sockets, address="127.0.0.3"))
        open_sockets.close()


def test_each_port_has_places_of_its_own(open_sockets: contextlib.ExitStack) -> None:
    """A kubelet is answered on its port when all places of the other are being served."""
    with serving(50_000_000, Limits(connections=1, answer=SHORT * 3)) as server:
        assert client(server, open_sockets, SCRAPE).recv(1)

        assert ask(server.health_urls[0], "/healthz").status == 200


def test_a_closed_connection_leaves_its_place(open_sockets: contextlib.ExitStack) -> None:
    """Connections that come and go do not use the places up, however they go."""
    with Running(limits=Limits(connections=2)) as server:
        steady = client(server, open_sockets)
        assert answered(steady)
        for said in (b"", ASK, b"nonsense\r\n\r\n", ASK[:5]) * 5:
            with contextlib.ExitStack() as one:
                client(server, one, said)
            assert answered(steady)


# ---------------------------------------------------------------- the system


def test_without_descriptors_the_server_waits_for_better_times(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, open_sockets: contextlib.ExitStack
) -> None:
    """When the system lets nobody in it is told once, and tried again."""
    monkeypatch.setattr(web_connections, "_PAUSE", 0.01)
    with Running() as server:
        accept = server.loop.sock_accept
        refused: list[socket.socket] = []

        async def refuse(listening: socket.socket) -> tuple[socket.socket, object]:
            if len(refused) < 3:
                refused.append((await accept(listening))[0])
                refused[-1].close()
                raise OSError(errno.EMFILE, "Too many open files")
            return await accept(listening)

        monkeypatch.setattr(server.loop, "sock_accept", refuse)
        for _ in range(4):  # the first is still accepted as ever
            client(server, open_sockets)
        time.sleep(0.2)
        assert ask(server.url, "/healthz").status == 200

    assert caplog.messages == ["cannot let anybody in: Too many open files"]


def test_a_name_without_an_address_is_an_error_that_names_it() -> None:
    """Neither a name nor an address that is not ours can be listened on; the error says which it was."""
    with pytest.raises(OSError, match=r"^.Errno -[0-9]+. no\.such\.invalid: "):
        asyncio.run(bound("no.such.invalid", 0))
    with pytest.raises(OSError, match=r"203\.0\.113\.1:0: cannot assign requested address"):
        asyncio.run(bound("203.0.113.1", 0))


def test_a_name_is_served_at_the_addresses_that_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where localhost has an IPv6 address that nobody can have, the other is served."""

    async def listening(*addresses: str) -> list[str]:
        async def resolve(*_: object, **__: object) -> list[tuple[object, ...]]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
        found = await bound("localhost", 0)
        names = [one.getsockname()[0] for one in found]
        for one in found:
            one.close()
        return names

    assert asyncio.run(listening("203.0.113.1", "127.0.0.1")) == ["127.0.0.1"]
    assert asyncio.run(listening("127.0.0.1", "203.0.113.1")) == ["127.0.0.1"]
    with pytest.raises(OSError, match="cannot assign requested address"):
        asyncio.run(listening("203.0.113.1", "203.0.113.2"))
