"""How a server is asked: passwords, certificates, and what is said of one that does not answer as it should."""

from __future__ import annotations

import base64
import socket
import ssl
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from exporter.errors import ConfigError, SourceError
from exporter.sources import web
from exporter.sources.web import Web
from exporter.top.flags import Access
from tests.certificates import Authority
from tests.top.pages import Answer, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

RIGHT, WRONG = "geheim", "falsch"
KNOWN = "Basic " + base64.b64encode(f"u:{RIGHT}".encode()).decode()


def guarded(_path: str, _query: str, headers: Mapping[str, str]) -> Answer:
    """Answer who knows the password."""
    return Answer(b"hello") if headers.get("authorization") == KNOWN else Answer(b"who?", 401)


def refusal(url: str, access: Access | None = None) -> str:
    """Return why there is no page."""
    with pytest.raises(SourceError) as caught:
        Web(access or Access(timeout=5)).get(url)
    return str(caught.value)


def test_the_password_is_sent_and_its_lack_is_told() -> None:
    """Without repeating a wrong one."""
    with Site(guarded) as site:
        assert Web(Access(user="u", password=RIGHT)).get(site.url).body == b"hello"
        assert refusal(site.url).endswith("answers 401: it wants --user and a password")
        wrong = refusal(site.url, Access(user="u", password=WRONG))

    assert wrong.endswith("answers 401: it does not take this password")
    assert WRONG not in wrong


def test_other_refusals_are_told_in_the_servers_words() -> None:
    """What a terminal would obey among them escaped."""
    with Site(lambda *_: Answer(b"\x1b[2Jgo away", 503)) as site:
        assert refusal(site.url).endswith("answers HTTP 503: '\\x1b[2Jgo away'")


def test_nobody_at_the_address_is_told_at_once() -> None:
    """Refused, and a name that nobody has."""
    assert refusal("http://127.0.0.1:1") == "http://127.0.0.1:1 cannot be read: connection refused"
    assert "cannot be read: " in refusal("http://nobody.invalid")


def serving(listener: socket.socket, talk: Callable[[socket.socket], None]) -> str:
    """Talk to the one who connects, in a thread; returns the address."""

    def run() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            talk(connection)

    listener.bind(("127.0.0.1", 0))
    listener.listen()
    threading.Thread(target=run, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"], ids=["nothing", "half"])
def test_a_server_that_stops_talking_is_given_up(said: bytes) -> None:
    """After the time that an answer may take."""
    with socket.socket() as listener:
        done = threading.Event()

        def talk(connection: socket.socket) -> None:
            connection.sendall(said)
            done.wait(10)

        why = refusal(serving(listener, talk), Access(timeout=0.2))
        done.set()

    assert why.endswith("no whole answer within 0.2 s")


def test_a_server_that_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """No page is larger than one may be."""
    monkeypatch.setattr(web, "_LONGEST", 2**20)
    with Site(lambda *_: Answer(b"x" * (2**20 + 1))) as site:
        assert refusal(site.url).endswith("answers more than 1 MiB")


def test_what_is_no_http_is_told() -> None:
    """An SSH server, say."""
    with socket.socket() as listener:
        url = serving(listener, lambda connection: connection.sendall(b"SSH-2.0-x\r\n"))
        assert "cannot be read: " in refusal(url)


class Secured(Site):
    """A server of the authority, which wants a certificate of its clients if told so."""

    def __init__(self, authority: Authority, *, wants_certificate: bool = False) -> None:
        """Speak TLS."""
        super().__init__(lambda *_: Answer(b"hello"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.sign("server"))
        if wants_certificate:
            context.load_verify_locations(authority.pair.certificate)
            context.verify_mode = ssl.CERT_REQUIRED
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]  # refused clients are expected
        self.secure = self.url.replace("http:", "https:")


def test_only_who_is_trusted_is_read(tmp_path: Path) -> None:
    """The authority is named by a flag; a stranger's certificate is told as such."""
    authority = Authority(tmp_path)
    with Secured(authority) as site:
        found = Web(Access(ca_file=str(authority.pair.certificate))).get(site.secure)
        why = refusal(site.secure)

    assert found.body == b"hello"
    assert "its certificate is not trusted (" in why
    assert "--ca-file" in why


def test_a_server_that_wants_a_certificate_gets_ours(tmp_path: Path) -> None:
    """Without one it is said that it may be that."""
    authority = Authority(tmp_path)
    client, ca = authority.sign("client"), str(authority.pair.certificate)
    with Secured(authority, wants_certificate=True) as site:
        shown = Access(ca_file=ca, cert_file=str(client.certificate), key_file=str(client.key))
        found = Web(shown).get(site.secure)
        why = refusal(site.secure, Access(ca_file=ca))

    assert found.body == b"hello"
    assert "cannot be read: " in why


def test_tls_to_who_speaks_none_is_told() -> None:
    """The usual slip."""
    with Site.of_pages(["hello"]) as site:
        assert "is it http://" in refusal(site.url.replace("http:", "https:"))


def test_a_key_that_is_encrypted_never_asks_at_the_terminal(tmp_path: Path) -> None:
    """It cannot be used, and that is said."""
    pair = Authority(tmp_path).pair
    secret = tmp_path / "secret.key"
    subprocess.run(
        ["openssl", "pkey", "-in", pair.key, "-aes128", "-passout", "pass:geheim", "-out", secret], check=True
    )

    with pytest.raises(ConfigError, match=r"--cert-file: .* cannot be used"):
        Web(Access(cert_file=str(pair.certificate), key_file=str(secret)))
