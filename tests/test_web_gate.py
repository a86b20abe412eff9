"""What a request passes: its method and body, passwords, rate and headers, over real sockets."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import bcrypt
import pytest

from exporter.web_reload import Protection
from tests.served import LOCAL, Running, ask, ask_on, connection_to
from tests.test_web_auth import basic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ALICE = f"basic_auth_users: {{alice: {bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}}}\n"
KNOWN = ("Authorization", basic("alice", "secret"))
PATHS = ("/metrics", "/", "/healthz", "/readyz", "/nothing")


@contextlib.contextmanager
def protected(directory: Path, text: str) -> Iterator[Running]:
    """Return a server with that web configuration and a health port; it has no snapshot yet."""
    file = directory / "web.yml"
    file.write_text(text)
    with Running(protection=Protection(str(file)), health=[LOCAL]) as server:
        yield server


@pytest.fixture(name="plain", scope="module")
def _plain() -> Iterator[Running]:
    """Return a server without a web configuration."""
    with Running() as server:
        yield server


# ---------------------------------------------------------------- methods and bodies


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"])
@pytest.mark.parametrize("path", ["/metrics", "/nothing"])
def test_only_reading_is_allowed_and_said_to_be(plain: Running, method: str, path: str) -> None:
    """Any other method is 405 on every path, with those that are allowed."""
    answer = plain.get(path, method=method)

    assert (answer.status, answer.headers["Allow"]) == (405, "GET,HEAD")


def sent(server: Running, request: bytes) -> bytes:
    """Send bytes and return all that comes back until the server closes."""
    with socket.create_connection(server.address, timeout=5) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(65536), b""))


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 5\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"Content-Length: 1000000\r\n\r\n" + b"x" * 1000,
        b"Content-Length: 300000\r\n\r\n" + b"x" * 300_000,
        b"Content-Length: 5\r\nContent-Encoding: gzip\r\n\r\nhello",
    ],
    ids=["length", "chunked", "promised", "long", "packed"],
)
def test_a_body_is_refused_and_ends_the_connection(plain: Running, body: bytes) -> None:
    """Nobody sends us anything: 413, and what more would come is not waited for."""
    answer = sent(plain, b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + body)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_body_with_another_method_ends_the_connection_too(plain: Running) -> None:
    """A POST is 405, and its body is not taken for a request."""
    answer = sent(
        plain, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    )

    assert answer.startswith(b"HTTP/1.1 405 ")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_request_to_become_something_else_is_answered_as_it_is(plain: Running) -> None:
    """Neither WebSocket nor HTTP/2 is spoken, and what follows is no request of ours."""
    upgrade = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

    answer = sent(plain, upgrade + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 OK")


def test_too_many_headers_are_refused(plain: Running) -> None:
    """A head of 65 headers is 400."""
    headers = "".join(f"X-{number}: x\r\n" for number in range(65))

    assert sent(plain, f"GET / HTTP/1.1\r\n{headers}\r\n".encode()).split()[1] == b"400"


def test_requests_in_one_go_are_answered_in_order(plain: Running) -> None:
    """Pipelined requests are each answered, on one connection."""
    ask_for = b"GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n"

    answer = sent(
        plain,
        ask_for % (b"/healthz", b"") + ask_for % (b"/nothing", b"") + ask_for % (b"/healthz", b"Connection: close\r\n"),
    )

    assert [part.split()[0] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200", b"404", b"200"]


# ---------------------------------------------------------------- passwords


def test_every_path_asks_for_the_password(tmp_path: Path) -> None:
    """Without the right password every path of the main port, there or not, is the same 401; with it all is as ever."""
    with protected(tmp_path, ALICE) as server:
        wrong = [(), (("Authorization", basic("alice", "x")),), (("Authorization", basic("bob", "secret")),)]
        answers = [server.get(path, *headers) for path in PATHS for headers in wrong]
        assert {(answer.status, answer.body) for answer in answers} == {(401, b"401: Unauthorized")}
        assert {answer.headers["WWW-Authenticate"] for answer in answers} == {
            'Basic realm="vgpu-exporter", charset="UTF-8"'
        }
        assert [server.get(path, KNOWN).status for path in PATHS] == [503, 503, 200, 503, 404]
        assert server.get("/metrics", method="POST").status == 401
        assert server.get("/metrics", KNOWN, method="POST").status == 405


def test_the_health_port_asks_for_nothing(tmp_path: Path) -> None:
    """A kubelet has no password: its port answers without, and adds none of the headers."""
    with protected(tmp_path, ALICE + "http_server_config: {headers: {X-Frame-Options: deny}}") as server:
        [url] = server.health_urls
        answer = ask(url, "/healthz")

    assert answer.status == 200
    assert "X-Frame-Options" not in answer.headers


def test_a_password_is_asked_for_with_every_request_of_a_connection(tmp_path: Path) -> None:
    """Who was let in once on a connection is not let in without the password on the same."""
    with protected(tmp_path, ALICE) as server, contextlib.closing(connection_to(server.url)) as connection:
        assert [ask_on(connection, "/healthz", *headers).status for headers in ((KNOWN,), (), (KNOWN,))] == [
            200, 401, 200,
        ]  # fmt: skip


def test_a_reload_counts_on_open_connections(tmp_path: Path) -> None:
    """A changed password is asked for at once, on the connection that was let in by the old one."""
    with protected(tmp_path, ALICE) as server, contextlib.closing(connection_to(server.url)) as connection:
        assert ask_on(connection, "/healthz", KNOWN).status == 200
        other = bcrypt.hashpw(b"other", bcrypt.gensalt(4)).decode()
        (tmp_path / "web.yml").write_text(f"basic_auth_users: {{alice: {other}}}")
        assert server.protection is not None
        server.loop.call_soon_threadsafe(server.protection.reload)

        assert ask_on(connection, "/healthz", KNOWN).status == 401
        assert ask_on(connection, "/healthz", ("Authorization", basic("alice", "other"))).status == 200


# ---------------------------------------------------------------- rate and headers


def test_beyond_the_rate_nobody_is_served(tmp_path: Path) -> None:
    """After the burst every request is 429 until a token is back; the health port does not count."""
    with protected(tmp_path, "rate_limit: {interval: 1h, burst: 2}") as server:
        answers = [server.get("/healthz") for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert answers[-1].headers["Retry-After"] == "1"
        assert ask(server.health_urls[0], "/healthz").status == 200


def test_the_headers_are_on_every_answer(tmp_path: Path) -> None:
    """What the file sets stands on good answers and refusals, beside our own."""
    headers = "X-Frame-Options: deny, X-XSS-Protection: '0', Content-Security-Policy: default-src 'none'"
    with protected(tmp_path, f"{ALICE}http_server_config: {{headers: {{{headers}}}}}") as server:
        for answer in (*(server.get(path, KNOWN) for path in PATHS), server.get("/")):
            assert answer.headers["X-Frame-Options"] == "deny"
            assert answer.headers["X-XSS-Protection"] == "0"
            assert answer.headers["Content-Security-Policy"] == "default-src 'none'"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
