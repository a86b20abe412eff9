"""TLS and passwords of the real server and the real program: versions, certificates, reloads, bad starts."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import ssl
import time
from typing import TYPE_CHECKING

import bcrypt
import pytest
from typing_extensions import override

from exporter.cli import main
from exporter.web_connections import Limits
from exporter.web_reload import Protection
from tests.certificates import Authority, serial
from tests.served import Running, ask, ask_on, connection_to
from tests.test_web_auth import basic
from tests.world import World

if TYPE_CHECKING:
    import http.client
    from collections.abc import Iterator
    from pathlib import Path

ALICE = f"basic_auth_users: {{alice: {bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}}}\n"
KNOWN = ("Authorization", basic("alice", "secret"))
TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key, %s}\n"
VERIFIED = "client_auth_type: RequireAndVerifyClientCert, client_ca_file: authority.crt"


class Site:
    """A directory with a web configuration, its certificates, and a client that trusts them."""

    def __init__(self, directory: Path) -> None:
        """Sign the server's certificate."""
        self.directory = directory
        self.file = directory / "web.yml"
        self.authority = Authority(directory)
        self.authority.sign("server")
        self.client = self.authority.trusting()

    def running(self, text: str, limits: Limits | None = None) -> Running:
        """Return a server with that configuration; a reload waits for nobody."""
        self.file.write_text(text)
        return Running(protection=Protection(str(self.file)), limits=limits or Limits())


@pytest.fixture(name="site")
def _site(tmp_path: Path) -> Site:
    """Return a site of one's own."""
    return Site(tmp_path)


def reload(server: Running) -> None:
    """Do what SIGHUP does, and wait for it."""

    async def work() -> None:
        assert server.protection is not None
        server.protection.reload()

    server.call(work())


def health(server: Running, context: ssl.SSLContext) -> int:
    """Ask for the server's health by TLS; return the status, or raise what TLS says."""
    return ask(server.url, "/healthz", context=context).status


def refused(server: Running, context: ssl.SSLContext) -> bool:
    """Tell whether the server ends a client's connection without an answer."""
    try:
        health(server, context)
    except (ssl.SSLError, ConnectionError):
        return True
    except OSError as error:
        return "EOF" in str(error)
    return False


def seen(connection: http.client.HTTPConnection) -> int:
    """Return the serial number of the certificate that a connection met."""
    assert isinstance(connection.sock, ssl.SSLSocket)
    certificate = connection.sock.getpeercert()
    assert certificate is not None
    return int(str(certificate["serialNumber"]), 16)


# ---------------------------------------------------------------- TLS


def test_tls_is_spoken_and_nothing_else(site: Site) -> None:
    """A client that trusts the authority is served over HTTP/1.1 whatever it offers; one that does not, is not."""
    with site.running(TLS % "") as server:
        assert server.url.startswith("https://")
        site.client.set_alpn_protocols(["h2", "http/1.1"])
        with contextlib.closing(connection_to(server.url, site.client)) as connection:
            assert ask_on(connection, "/healthz").body == b"ok\n"
            assert isinstance(connection.sock, ssl.SSLSocket)
            assert connection.sock.selected_alpn_protocol() == "http/1.1"
            assert connection.sock.version() == "TLSv1.3"
        with pytest.raises(ssl.SSLCertVerificationError):
            health(server, ssl.create_default_context())
        with pytest.raises((ConnectionError, OSError)):
            ask(server.url.replace("https", "http"), "/healthz")
        assert health(server, site.client) == 200


@pytest.mark.parametrize(
    ("options", "v12", "v13"),
    [
        ("", True, True),
        ("min_version: TLS13", False, True),
        ("max_version: TLS12", True, False),
        ("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]", False, True),  # the key is no RSA key
    ],
)
def test_versions_out_of_bounds_are_refused(site: Site, options: str, *, v12: bool, v13: bool) -> None:
    """Only the versions that the file allows come in, and TLS 1.2 only by the suites that it names."""
    with site.running(TLS % options) as server:
        for version, welcome in ((ssl.TLSVersion.TLSv1_2, v12), (ssl.TLSVersion.TLSv1_3, v13)):
            client = site.authority.trusting()
            client.minimum_version = client.maximum_version = version
            assert refused(server, client) is not welcome


def test_a_certificate_may_be_required(site: Site) -> None:
    """Only who has a certificate of the right authority is answered, and a password is asked for on top."""
    (site.directory / "others").mkdir()
    stranger = Authority(site.directory / "others").sign("stranger")
    guest = site.authority.sign("guest", "DNS:guest")
    with site.running(TLS % VERIFIED + ALICE) as server:
        assert health(server, site.authority.trusting(guest)) == 401
        assert ask(server.url, "/healthz", KNOWN, context=site.authority.trusting(guest)).status == 200
        assert refused(server, site.client)
        assert refused(server, site.authority.trusting(stranger))


def test_a_certificate_may_be_left_out_but_not_forged(site: Site) -> None:
    """Where one is verified if given, none is as good as the right one, and a wrong one is not."""
    (site.directory / "others").mkdir()
    stranger = Authority(site.directory / "others").sign("stranger")
    with site.running(TLS % VERIFIED.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven")) as server:
        assert health(server, site.client) == 200
        assert health(server, site.authority.trusting(site.authority.sign("guest"))) == 200
        assert refused(server, site.authority.trusting(stranger))


def test_a_certificate_may_have_to_bear_a_name(site: Site) -> None:
    """Of those that the authority signed only the names listed come in: DNS, IPv6 or URI, exactly."""
    sans = "client_allowed_sans: [prometheus.monitoring, '2001:db8::1', 'spiffe://cluster/prometheus']"
    with site.running(TLS % f"{VERIFIED}, {sans}") as server:
        for name in ("DNS:prometheus.monitoring", "DNS:x,IP:2001:db8::1", "URI:spiffe://cluster/prometheus"):
            assert health(server, site.authority.trusting(site.authority.sign("guest", name))) == 200
        for name in ("DNS:prometheus", "DNS:x.prometheus.monitoring", "email:prometheus.monitoring@x"):
            assert refused(server, site.authority.trusting(site.authority.sign("guest", name)))


def test_a_handshake_that_does_not_come_is_not_waited_for(site: Site) -> None:
    """Who connects and does not speak TLS, or speaks something else, loses the connection; others are served."""
    with site.running(TLS % "", Limits(head=0.3, connections=4)) as server:
        begun = time.monotonic()
        for said in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"):
            with socket.create_connection(server.address, timeout=5) as client, contextlib.suppress(ConnectionError):
                client.sendall(said)
                while client.recv(100):
                    pass
        assert time.monotonic() - begun < 3
        with contextlib.ExitStack() as clients:
            for _ in range(20):
                clients.enter_context(socket.create_connection(server.address, timeout=5))
            assert health(server, site.client) == 200


def test_who_asks_by_tls_and_does_not_read_is_cut_off(site: Site) -> None:
    """By TLS, too, an answer that nobody reads does not stay in memory."""
    with site.running(TLS % "", Limits(head=0.3, answer=0.3, idle=0.3)) as server:
        ask_for = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
        with (
            socket.create_connection(server.address, timeout=5) as raw,
            site.client.wrap_socket(raw, server_hostname="localhost") as client,
            pytest.raises((ConnectionError, ssl.SSLError)),
        ):
            pester(client, ask_for * 100)


def pester(client: ssl.SSLSocket, said: bytes) -> None:
    """Say something again and again, and read nothing."""
    for _ in range(1000):
        client.sendall(said)
        time.sleep(0.01)


# ---------------------------------------------------------------- reload


def test_a_new_certificate_is_met_by_the_next_and_the_open_connection_stays(site: Site) -> None:
    """After a reload newcomers meet the new certificate, while an open connection goes on under the old."""
    with (
        site.running(TLS % "") as server,
        contextlib.closing(connection_to(server.url, site.client)) as before,
        contextlib.closing(connection_to(server.url, site.client)) as after,
    ):
        assert ask_on(before, "/healthz").status == 200
        old, socket_before = serial(site.directory / "server.crt"), before.sock
        site.authority.sign("server")
        reload(server)

        assert ask_on(before, "/healthz").status == 200
        assert before.sock is socket_before
        assert ask_on(after, "/healthz").status == 200
        assert (seen(before), seen(after)) == (old, serial(site.directory / "server.crt"))
        assert seen(before) != seen(after)


def test_a_new_authority_counts_for_the_next(site: Site) -> None:
    """After a reload certificates of the old authority are refused, also with what TLS remembers of the client."""
    (site.directory / "others").mkdir()
    other = Authority(site.directory / "others")
    old, new = (site.authority.trusting(one.sign("guest")) for one in (site.authority, other))  # they trust the same
    with site.running(TLS % VERIFIED) as server:
        assert health(server, old) == 200
        assert refused(server, new)
        (site.directory / "authority.crt").write_bytes(other.pair.certificate.read_bytes())
        reload(server)

        assert refused(server, old)
        assert health(server, new) == 200


def test_a_bad_reload_keeps_the_old(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A key that does not fit is told of, and the old certificate serves on."""
    with site.running(TLS % "") as server:
        (site.directory / "server.key").write_bytes(site.authority.pair.key.read_bytes())
        reload(server)

        assert health(server, site.client) == 200
        [told] = caplog.messages
        assert "server.crt cannot be used: with its key: they do not belong together" in told


# ---------------------------------------------------------------- the program


class Secured(World):
    """The node role behind TLS and a password."""

    def __init__(self, directory: Path) -> None:
        """Make its certificates."""
        super().__init__(directory)
        self.site = Site(directory)

    @override
    def _listens(self) -> bool:
        assert self.child is not None
        assert self.child.poll() is None, self.log.read_text()
        _, found, url = self.log.read_text().partition("serving on https://127.0.0.1:")
        self.port = int(url.split("/")[0]) if found else 0
        return bool(found)

    def status(self, said: str) -> int:
        """Scrape with a password; return the status."""
        header = ("Authorization", basic("alice", said))
        return ask(f"https://127.0.0.1:{self.port}/", "/metrics", header, context=self.site.client).status


@pytest.fixture(name="secured")
def _secured(tmp_path: Path) -> Iterator[Secured]:
    """Give a node with certificates."""
    with Secured(tmp_path) as world:
        yield world


def test_the_node_serves_by_its_web_config_and_takes_another_over(secured: Secured) -> None:
    """The program asks for TLS and password; on SIGHUP another password counts, and a bad file is told of."""
    secured.site.file.write_text(TLS % "" + ALICE)
    secured.start(f"--web-config={secured.site.file}")
    secured.wait_for(lambda: secured.status("secret") == 200)
    assert secured.status("wrong") == 401

    other = bcrypt.hashpw(b"other", bcrypt.gensalt(4)).decode()
    secured.site.file.write_text(TLS % "" + f"basic_auth_users: {{alice: {other}}}")
    secured.signal(signal.SIGHUP)
    secured.wait_for(lambda: secured.status("other") == 200)
    assert secured.status("secret") == 401

    secured.site.file.write_text("nonsense")
    secured.signal(signal.SIGHUP)
    secured.wait_for(lambda: "stays as it was" in secured.log.read_text())
    assert secured.status("other") == 200
    assert "restart for the rest" not in secured.log.read_text()
    assert other not in secured.log.read_text()


@pytest.fixture(name="_log_as_it_was")
def _keep_log() -> Iterator[None]:
    """Leave the log as it was."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before


@pytest.mark.usefixtures("_log_as_it_was")
@pytest.mark.parametrize("role", ["node", "quota"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tls_server_config: {cert_file: none.crt, key_file: server.key}", "none.crt cannot be read: No such file"),
        ("basic_auth_users: {alice: plain}", "line 1: basic_auth_users: the password is not a bcrypt hash"),
        (None, "web.yml cannot be read: No such file or directory"),
    ],
)
def test_a_bad_web_config_ends_the_program_before_it_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], role: str, text: str | None, expected: str
) -> None:
    """Both roles say in one line what is wrong, and exit 2."""
    file = tmp_path / "web.yml"
    if text is not None:
        file.write_text(text)
    own = {"node": ["--node-name=n1", "--no-kubernetes"], "quota": []}[role]

    assert main([role, f"--web-config={file}", "--listen=127.0.0.1:0", *own]) == 2

    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("vgpu-exporter: --web-config: ")
    assert expected in line
