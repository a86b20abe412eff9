"""The web configuration's files: read, made into what TLS needs, and one sentence for whatever is no good."""

from __future__ import annotations

import os
import ssl
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from exporter.errors import ConfigError
from exporter.web_config import CIPHER_SUITES
from exporter.web_tls import Door, door, names_of, read
from tests.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PAIR = "tls_server_config: {cert_file: server.crt, key_file: server.key, %s}\n"


@pytest.fixture(name="directory", scope="module")
def _directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where a server's pair, its authority and another's key are."""
    directory = tmp_path_factory.mktemp("tls")
    authority = Authority(directory)
    authority.sign("server")
    authority.sign("other")
    return directory


def written(directory: Path, text: str) -> str:
    """Write a web configuration beside the certificates; return its path."""
    file = directory / "web.yml"
    file.write_text(text)
    return str(file)


def made(directory: Path, more: str = "") -> ssl.SSLContext:
    """Return what TLS is spoken with."""
    context = door(read(written(directory, PAIR % more))).context
    assert context is not None
    return context


def refusal(path: str) -> str:
    """Return the sentence that the files are refused with; it is one line, and has nothing of a key."""
    with pytest.raises(ConfigError) as caught:
        door(read(path))
    sentence = str(caught.value)
    assert sentence.splitlines() == [sentence]
    assert "PRIVATE" not in sentence
    return sentence


def test_without_tls_the_door_is_open(tmp_path: Path) -> None:
    """A file with no certificate gives plain HTTP."""
    assert door(read(written(tmp_path, ""))) == Door()


def test_relative_paths_begin_where_the_file_is(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the program runs, the files are found beside the configuration."""
    monkeypatch.chdir("/")

    assert made(directory).verify_mode == ssl.CERT_NONE


def test_certificates_in_the_file_itself_do_as_well(directory: Path) -> None:
    """Inline PEM is the same as files, and needs no disk."""
    parts = {"cert": "server.crt", "key": "server.key", "client_ca": "authority.crt"}
    lines = ["tls_server_config:", "  client_auth_type: VerifyClientCertIfGiven"]
    for key, name in parts.items():
        lines += [f"  {key}: |", *("    " + line for line in (directory / name).read_text().splitlines())]

    context = door(read(written(directory, "\n".join(lines)))).context

    assert context is not None
    assert context.verify_mode == ssl.CERT_OPTIONAL
    assert len(context.get_ca_certs()) == 1


def test_the_options_reach_openssl(directory: Path) -> None:
    """Versions, suites, their preference and the demand for certificates are what the file says."""
    context = made(
        directory,
        "min_version: TLS12, max_version: TLS12, cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384], "
        "prefer_server_cipher_suites: false, curve_preferences: [X25519], "
        "client_auth_type: RequireAndVerifyClientCert, client_ca_file: authority.crt",
    )

    assert (context.minimum_version, context.maximum_version) == (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
    assert [suite["name"] for suite in context.get_ciphers() if suite["protocol"] == "TLSv1.2"] == [
        "ECDHE-ECDSA-AES256-GCM-SHA384"
    ]
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert not context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert made(directory).options & ssl.OP_CIPHER_SERVER_PREFERENCE


@pytest.mark.parametrize("curve", ["CurveP256", "CurveP384", "CurveP521", "X25519"])
def test_every_curve_of_the_toolkits_is_one_of_openssls(directory: Path, curve: str) -> None:
    """Each of the four names is taken."""
    assert made(directory, f"curve_preferences: [{curve}]").get_ciphers()


def test_what_this_systems_openssl_lacks_is_an_error_of_the_configuration(directory: Path) -> None:
    """A curve or suite that OpenSSL is built or told to be without, as under FIPS, is refused in one sentence."""
    files = read(written(directory, PAIR % ""))
    assert files.config.tls is not None
    for lacking in (replace(files.config.tls, curve="none"), replace(files.config.tls, ciphers=("NONE",))):
        with pytest.raises(ConfigError, match=r"web\.yml cannot be used: .*(curve|cipher)"):
            door(files._replace(config=replace(files.config, tls=lacking)))


def test_every_suite_of_gos_is_one_of_openssls(directory: Path) -> None:
    """Each of the ten names turns on just that suite of TLS 1.2."""
    for go, openssl in CIPHER_SUITES.items():
        suites = made(directory, f"cipher_suites: [{go}]").get_ciphers()
        assert [suite["name"] for suite in suites if suite["name"].startswith("ECDHE")] == [openssl]


def encrypted(key: Path) -> bytes:
    """Return a key under a password."""
    command: list[str | Path] = ["openssl", "pkey", "-in", key, "-aes128", "-passout", "pass:x"]
    return subprocess.run(command, check=True, capture_output=True).stdout


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("server.crt", lambda _: b"nothing", "server.crt cannot be used: it holds no certificate in PEM"),
        ("server.key", lambda _: b"", "server.key cannot be used: it holds no private key in PEM"),
        ("server.key", lambda old: (old.parent / "other.key").read_bytes(), "server.crt cannot be used: with its key"),
        ("server.key", lambda old: (old.parent / "other.key").read_bytes(), "they do not belong together"),
        ("server.key", encrypted, "server.key cannot be used: it is encrypted, and nobody could tell us its password"),
        ("server.crt", lambda old: old.read_bytes().replace(b"M", b"!"), "server.crt cannot be used: with its key: "),
        ("authority.crt", lambda _: b"x", "client_ca_file "),
        ("authority.crt", lambda _: "é".encode(), "authority.crt cannot be used: it holds no certificate in PEM"),
        ("server.crt", lambda _: b" " * (2**20 + 1), "server.crt cannot be used: it has more than 1 MiB"),
    ],
)  # fmt: skip
def test_what_openssl_cannot_use_is_named(
    directory: Path, name: str, content: Callable[[Path], bytes], expected: str
) -> None:
    """A certificate, key or authority that is no good is one sentence with its file and what is wrong with it."""
    file = directory / name
    before = file.read_bytes()
    path = written(directory, PAIR % "client_auth_type: VerifyClientCertIfGiven, client_ca_file: authority.crt")
    try:
        file.write_bytes(content(file))
        assert expected in refusal(path)
    finally:
        file.write_bytes(before)


def test_what_cannot_be_read_is_named(directory: Path, tmp_path: Path) -> None:
    """The file itself or one of those that it names may be missing, a directory, or no text."""
    path = written(tmp_path, PAIR % "")
    assert refusal(path) == f"--web-config: cert_file {tmp_path}/server.crt cannot be read: No such file or directory"
    assert refusal(str(tmp_path)) == f"--web-config: {tmp_path} cannot be read: Is a directory"
    assert refusal(str(tmp_path / "none")).endswith("/none cannot be read: No such file or directory")
    assert "cannot be read: embedded null byte" in refusal(
        written(directory, 'tls_server_config: {cert_file: "\\0", key_file: b}')
    )
    (tmp_path / "web.yml").write_bytes(b"\xff")
    assert refusal(path) == f"--web-config: {path} cannot be used: it is not UTF-8"
    assert refusal(written(tmp_path, "a: 1")).startswith(f"--web-config: {path} cannot be used: line 1: unknown key")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_key_that_one_may_not_read_is_named(directory: Path) -> None:
    """Permissions are told in a sentence."""
    key = directory / "server.key"
    key.chmod(0)
    try:
        assert refusal(written(directory, PAIR % "")).endswith("server.key cannot be read: Permission denied")
    finally:
        key.chmod(0o600)


def test_the_digest_tells_any_change_of_any_file(directory: Path) -> None:
    """The same files have the same digest, and another byte in any of them gives another."""
    path = written(directory, PAIR % "client_auth_type: VerifyClientCertIfGiven, client_ca_file: authority.crt")
    digests = [read(path).digest, read(path).digest]
    assert len(set(digests)) == 1

    for name in ("server.crt", "server.key", "authority.crt", "web.yml"):
        with (directory / name).open("a") as file:
            file.write("\n")
        digests.append(read(path).digest)

    assert len(set(digests)) == 5


def test_no_key_stands_in_what_is_printed(directory: Path) -> None:
    """Whoever logs the configuration logs neither an inline key nor a hash."""
    text = "tls_server_config: {cert: CERT, key: SECRET}\nbasic_auth_users: {a: $2b$04$%s}\n"
    config = read(written(directory, text % ("." * 53))).config

    assert "SECRET" not in repr(config)
    assert "$2b$" not in repr(config)


def test_a_client_is_known_by_any_of_its_names() -> None:
    """DNS, IP, e-mail and URI names count, an IPv6 address in its short form, and what else there is does not."""
    certificate = {
        "subject": ((("commonName", "nobody"),),),
        "subjectAltName": (
            ("DNS", "prometheus"), ("IP Address", "2001:DB8:0:0:0:0:0:1"), ("IP Address", "<invalid>"),
            ("email", "a@b"), ("URI", "spiffe://x"), ("Registered ID", "1.2"),
        ),
    }  # fmt: skip

    assert names_of(certificate) == {"prometheus", "2001:db8::1", "<invalid>", "a@b", "spiffe://x"}
    assert Door(allowed_sans=frozenset({"a@b"})).admits(certificate)
    assert not Door(allowed_sans=frozenset({"nobody"})).admits(certificate)
    assert not Door(allowed_sans=frozenset({"a@b"})).admits(None)
    assert Door().admits(None)
