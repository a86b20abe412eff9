"""Reads a `--web-config` file and those that it names, and makes of them what TLS needs.

Everything is read first, so that it can be compared with what is in use; OpenSSL then gets it by way of memory alone.
"""

from __future__ import annotations

import os
import ssl
from contextlib import ExitStack
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from exporter.errors import ConfigError, ParseError
from exporter.web_config import ClientAuth, WebConfig, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.web_config import Pem, Tls

#: A file beyond that is another than was meant.
_LARGEST_FILE: Final = 1 << 20  # bytes
_VERSIONS: Final = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_VERIFY: Final = {
    ClientAuth.NONE: ssl.CERT_NONE,
    ClientAuth.IF_GIVEN: ssl.CERT_OPTIONAL,
    ClientAuth.REQUIRED: ssl.CERT_REQUIRED,
}


class Files(NamedTuple):
    """What the web-config file says, and the bytes of the PEM files that it names, by their paths in it."""

    path: str
    config: WebConfig
    pems: Mapping[str, bytes]
    digest: bytes


class Door(NamedTuple):
    """How a new connection comes in: by TLS if there is a context, with one of these names if there are any."""

    context: ssl.SSLContext | None = None
    allowed_sans: frozenset[str] = frozenset()

    def admits(self, certificate: Mapping[str, Any] | None) -> bool:
        """Tell whether a client may come in with that certificate, as `SSLSocket.getpeercert` gives it."""
        return not self.allowed_sans or not self.allowed_sans.isdisjoint(names_of(certificate or {}))


def read(path: str) -> Files:
    """Read the web-config file and those that it names; ConfigError if one cannot be read or does not parse."""
    raw = _bytes(Path(path), f"--web-config: {path}")
    try:
        config = parse(raw.decode())
    except (ParseError, UnicodeDecodeError) as error:
        why = error if isinstance(error, ParseError) else "it is not UTF-8"
        raise ConfigError(f"--web-config: {path} cannot be used: {why}") from None
    named = {name: (key, _beside(path, name)) for key, name in _named(config.tls).items()}
    pems = {name: _bytes(beside, f"--web-config: {key} {beside}") for name, (key, beside) in named.items()}
    digest = sha256(b"".join(sha256(part).digest() for part in (raw, *pems.values()))).digest()
    return Files(path, config, pems, digest)


def _named(tls: Tls | None) -> dict[str, str]:
    """Return the files that the configuration names, by their keys."""
    if tls is None:
        return {}
    pems = {"cert_file": tls.certificate, "key_file": tls.key, "client_ca_file": tls.client_ca}
    return {key: pem.path for key, pem in pems.items() if pem is not None and pem.path}


def _beside(path: str, name: str) -> Path:
    """Return where a file is that the web-config file names: a relative path is relative to it, as with the toolkit."""
    return Path(path).parent / name


def _bytes(path: Path, what: str) -> bytes:
    """Read a file, but never one that has no end."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{what} cannot be read: {why}") from None
    if len(data) > _LARGEST_FILE:
        raise ConfigError(f"{what} cannot be used: it has more than 1 MiB")
    return data


def door(files: Files) -> Door:
    """Return how clients come in; ConfigError if certificate, key or authority are no good."""
    tls = files.config.tls
    if tls is None:
        return Door()
    try:
        return Door(_context(files, tls), tls.allowed_sans)
    except (OSError, ValueError) as error:  # no descriptor is free, or the system's OpenSSL has not that curve or suite
        raise ConfigError(f"--web-config: {files.path} cannot be used: {error}") from None


def _context(files: Files, tls: Tls) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version, made.maximum_version = (_VERSIONS[version] for version in tls.versions)
    made.options |= ssl.OP_NO_RENEGOTIATION
    if not tls.server_preference:
        made.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    made.set_alpn_protocols(["http/1.1"])
    if tls.ciphers:
        made.set_ciphers(":".join(tls.ciphers))
    if tls.curve:
        made.set_ecdh_curve(tls.curve)
    _load_certificate(made, files, tls)
    _load_authority(made, files, tls)
    return made


def _load_certificate(made: ssl.SSLContext, files: Files, tls: Tls) -> None:
    certificate, key = _pem(files, tls.certificate), _pem(files, tls.key)
    if b"-----BEGIN CERTIFICATE-----" not in certificate:
        raise _unusable(files, tls.certificate, "cert", "it holds no certificate in PEM")
    if b"PRIVATE KEY-----" not in key:
        raise _unusable(files, tls.key, "key", "it holds no private key in PEM")
    try:
        with ExitStack() as open_files:
            certificate_path, key_path = (_in_memory(data, open_files) for data in (certificate, key))
            made.load_cert_chain(certificate_path, key_path, _refuse_password)
    except _EncryptedError:
        raise _unusable(files, tls.key, "key", "it is encrypted, and nobody could tell us its password") from None
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or "one of them is damaged"
        why = "they do not belong together" if reason == "KEY_VALUES_MISMATCH" else f"OpenSSL says {reason}"
        raise _unusable(files, tls.certificate, "cert", f"with its key: {why}") from None


def _load_authority(made: ssl.SSLContext, files: Files, tls: Tls) -> None:
    made.verify_mode = _VERIFY[tls.client_auth]
    if tls.client_ca is None:
        return
    try:
        made.load_verify_locations(cadata=_pem(files, tls.client_ca).decode("ascii"))
    except (OSError, ValueError):
        raise _unusable(files, tls.client_ca, "client_ca", "it holds no certificate in PEM") from None
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # as in Go: an authority need not be a root


class _EncryptedError(Exception):
    """A key that has a password."""


def _refuse_password() -> str:
    """Stand in for OpenSSL's own way, which asks on the terminal."""
    raise _EncryptedError


def _in_memory(data: bytes, open_files: ExitStack) -> str:
    """Return the path of a file that exists in memory alone, for OpenSSL, which wants to be given paths."""
    file = open_files.enter_context(os.fdopen(os.memfd_create("pem", os.MFD_CLOEXEC), "wb"))
    file.write(data)
    file.flush()
    return f"/proc/self/fd/{file.fileno()}"


def _pem(files: Files, pem: Pem) -> bytes:
    return files.pems[pem.path] if pem.path else pem.text.encode()


def _unusable(files: Files, pem: Pem, key: str, why: str) -> ConfigError:
    what = f"{key}_file {_beside(files.path, pem.path)}" if pem.path else f"the {key} in {files.path}"
    return ConfigError(f"--web-config: {what} cannot be used: {why}")


def names_of(certificate: Mapping[str, Any]) -> frozenset[str]:
    """Return the subject alternative names of what `SSLSocket.getpeercert` gives, IP addresses as Go writes them."""
    return frozenset(
        _address(value) if kind == "IP Address" else value
        for kind, value in certificate.get("subjectAltName", ())
        if kind in ("DNS", "IP Address", "email", "URI")
    )


def _address(text: str) -> str:
    """Return OpenSSL's `2001:DB8:0:0:0:0:0:1` in its short form; what is no address stays as it is."""
    try:
        return str(ip_address(text.strip()))
    except ValueError:
        return text
