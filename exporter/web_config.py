"""The text of a `--web-config` file, in the format of Prometheus's exporter-toolkit 0.16, as a frozen record.

Every key that the toolkit knows is honoured, or refused with a ParseError that says where and why: none is passed over.
`http2` alone changes nothing: HTTP/2 is an offer that we never make, and its clients speak HTTP/1.1 as well. A message
may show a key or a plain value, and never a certificate, a key or a password's hash.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from exporter.errors import ParseError, shorten
from exporter.web_yaml import Section, root

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Go's name of each suite of TLS 1.2 that it holds for secure, and OpenSSL's.
CIPHER_SUITES: Final = {
    f"TLS_ECDHE_{signature}_WITH_{suite}": f"ECDHE-{signature}-{openssl}"
    for signature in ("ECDSA", "RSA")
    for suite, openssl in (
        ("AES_128_CBC_SHA", "AES128-SHA"),
        ("AES_256_CBC_SHA", "AES256-SHA"),
        ("AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
        ("AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
        ("CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305"),
    )
}
#: The suites of TLS 1.3: always on, with the toolkit, too.
_TLS13_SUITES: Final = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
_CURVES: Final = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
_VERSIONS: Final = ("TLS12", "TLS13")
_SECTIONS: Final = ("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit")
_TLS_KEYS: Final = (
    "cert_file", "cert", "key_file", "key", "client_ca_file", "client_ca", "client_auth_type", "client_allowed_sans",
    "min_version", "max_version", "cipher_suites", "prefer_server_cipher_suites", "curve_preferences",
)  # fmt: skip
#: The headers that may be set, and the values that each may have; none named means any.
_HEADERS: Final[dict[str, tuple[str, ...]]] = {
    "Content-Security-Policy": (),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-Content-Type-Options": ("nosniff",),
    "X-XSS-Protection": (),
    "Strict-Transport-Security": (),
}
#: The last character of the salt has but two bits, and four spellings.
_HASH: Final = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
#: One check at cost 16 takes 5 s, and a scrape ends after 10.
_COSTS: Final = range(4, 17)
_SECONDS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(h|ms|us|µs|ns|m|s)")


class ClientAuth(Enum):
    """What is asked of a client's certificate, by the toolkit's name."""

    NONE = "NoClientCert"
    IF_GIVEN = "VerifyClientCertIfGiven"
    REQUIRED = "RequireAndVerifyClientCert"


@dataclass(frozen=True, slots=True)
class Pem:
    """A PEM text, or the path of the file that has it, relative to the web-config file."""

    path: str = ""
    text: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Tls:
    """How TLS is spoken.

    `versions` are the oldest and newest, `TLS12` or `TLS13`; `ciphers` and `curve` are OpenSSL's names, without any its
    default; `allowed_sans` are the client's names one of which must be in its certificate, without any none need be.
    """

    certificate: Pem
    key: Pem
    client_ca: Pem | None = None
    client_auth: ClientAuth = ClientAuth.NONE
    allowed_sans: frozenset[str] = frozenset()
    versions: tuple[str, str] = _VERSIONS
    ciphers: tuple[str, ...] = ()
    server_preference: bool = True
    curve: str = ""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A token bucket: one request every `interval` seconds, and `burst` of them at once."""

    interval: float
    burst: int


@dataclass(frozen=True, slots=True)
class WebConfig:
    """The whole file; `users` maps names to bcrypt hashes, `headers` are set on every answer."""

    tls: Tls | None = None
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    rate_limit: RateLimit | None = None


def parse(text: str) -> WebConfig:
    """Parse the file's text; ParseError says which line, which key and what was expected."""
    file = Section("", root(text), _SECTIONS)
    http = file.section("http_server_config", ("http2", "headers"))
    http.flag("http2", default=True)
    return WebConfig(
        tls=_tls(file.section("tls_server_config", _TLS_KEYS)),
        users=_users(file.section("basic_auth_users", None)),
        headers=_headers(http.section("headers", tuple(_HEADERS))),
        rate_limit=_rate_limit(file.section("rate_limit", ("interval", "burst"))),
    )


def cost(hashed: str) -> int:
    """Return the cost of a bcrypt hash: one more takes twice as long. ValueError if it is none, or would take ages."""
    match = _HASH.fullmatch(hashed)
    if match is None:
        raise ValueError("a bcrypt hash ($2a$, $2b$ or $2y$)")
    if int(match[1]) not in _COSTS:
        raise ValueError(f"a bcrypt hash of a cost from {_COSTS[0]} to {_COSTS[-1]}: more outlasts a scrape")
    return int(match[1])


# ---------------------------------------------------------------- tls_server_config


def _tls(section: Section) -> Tls | None:
    if not section.given():
        return None
    certificate, key = _pem(section, "cert"), _pem(section, "key")
    if certificate is None or key is None:
        raise ParseError("tls_server_config needs cert_file (or cert) and key_file (or key)")
    auth = _client_auth(section)
    versions = _versions(section)
    return Tls(
        certificate,
        key,
        client_ca=_client_ca(section, auth),
        client_auth=auth,
        allowed_sans=_allowed_sans(section, auth),
        versions=versions,
        ciphers=_ciphers(section, versions),
        server_preference=section.flag("prefer_server_cipher_suites", default=True),
        curve=_curve(section),
    )


def _pem(section: Section, key: str) -> Pem | None:
    """Return what `key` or `key_file` says."""
    text, path = section.text(key), section.text(f"{key}_file")
    if text and path:
        raise section.refusal(key, f"{key}_file is given, too; which one holds?")
    return Pem(path, text) if text or path else None


def _client_auth(section: Section) -> ClientAuth:
    verified = tuple(auth.value for auth in ClientAuth)
    remark = "; Python's TLS cannot ask for a certificate without verifying it"
    return ClientAuth(section.choice("client_auth_type", verified, remark))


def _client_ca(section: Section, auth: ClientAuth) -> Pem | None:
    """Return who signs the clients' certificates; the toolkit would fall back on all that the system trusts."""
    authority = _pem(section, "client_ca")
    if authority is None and auth is not ClientAuth.NONE:
        raise section.refusal("client_auth_type", "who signs the clients' certificates? client_ca_file is missing")
    if authority is not None and auth is ClientAuth.NONE:
        given = "client_ca_file" if authority.path else "client_ca"
        raise section.refusal(given, "client_auth_type does not ask for a client's certificate")
    return authority


def _allowed_sans(section: Section, auth: ClientAuth) -> frozenset[str]:
    if "client_allowed_sans" not in section.given():
        return frozenset()
    names = frozenset(section.texts("client_allowed_sans"))
    if auth is not ClientAuth.REQUIRED:
        raise section.refusal("client_allowed_sans", "needs the client_auth_type RequireAndVerifyClientCert")
    if not names:
        raise section.refusal("client_allowed_sans", "lists nobody")
    return names


def _versions(section: Section) -> tuple[str, str]:
    remark = " (OpenSSL holds what is older for broken)"
    oldest = section.choice("min_version", _VERSIONS, remark)
    newest = section.choice("max_version", _VERSIONS, remark) if section.text("max_version") else _VERSIONS[-1]
    if oldest > newest:
        raise section.refusal("max_version", f"{newest} is below min_version, {oldest}")
    return oldest, newest


def _ciphers(section: Section, versions: tuple[str, str]) -> tuple[str, ...]:
    """Return the suites of TLS 1.2 in their order."""
    names = section.texts("cipher_suites")
    for name in names:
        if name not in CIPHER_SUITES and name not in _TLS13_SUITES:
            raise section.refusal("cipher_suites", f"{shorten(name)} is none of {', '.join(CIPHER_SUITES)}")
    ciphers = tuple(CIPHER_SUITES[name] for name in names if name in CIPHER_SUITES)
    if names and not ciphers and "TLS12" in versions:
        raise section.refusal("cipher_suites", "has no suite for TLS12; set min_version to TLS13")
    return ciphers


def _curve(section: Section) -> str:
    names = section.texts("curve_preferences")
    for name in names:
        if name not in _CURVES:
            raise section.refusal("curve_preferences", f"{shorten(name)} is none of {', '.join(_CURVES)}")
    if len(names) > 1:
        raise section.refusal("curve_preferences", "Python's TLS can be held to one curve only; name one, or none")
    return _CURVES[names[0]] if names else ""


# ---------------------------------------------------------------- the other sections


def _users(section: Section) -> dict[str, str]:
    """Return each user's hash. Only the line is told: who mixed up name and hash would find the hash in the log."""
    users = {}
    for name, line in section.lines().items():
        if ":" in name:
            raise ParseError(f"line {line}: basic_auth_users: a name has a colon, which no browser could send")
        users[name] = section.text(name)
        try:
            cost(users[name])
        except ValueError as error:
            raise ParseError(f"line {line}: basic_auth_users: the password is not {error}") from None
    return users


def _headers(section: Section) -> dict[str, str]:
    headers = {name: section.text(name) for name in section.given()}
    for name, value in headers.items():
        if _HEADERS[name] and value not in _HEADERS[name]:
            raise section.refusal(name, f"{shorten(value)} is not {' or '.join(_HEADERS[name])}")
        if not (value.isascii() and value.isprintable()):
            raise section.refusal(name, f"{shorten(value)} is not one line of ASCII")
    return headers


def _rate_limit(section: Section) -> RateLimit | None:
    if not section.given():
        return None
    interval, burst = section.text("interval"), section.text("burst") or "0"
    if not interval:
        raise section.refusal("burst", "without an interval nothing would be limited")
    if not re.fullmatch("[0-9]{1,9}", burst):
        raise section.refusal("burst", f"{shorten(burst)} is not a whole number")
    try:
        seconds = _seconds(interval)
    except ValueError as error:
        raise section.refusal("interval", f"{shorten(interval)} is not {error}") from None
    if seconds and not int(burst):
        raise section.refusal("interval", "without a burst of 1 or more nobody would ever be served")
    return RateLimit(seconds, int(burst)) if seconds else None


def _seconds(text: str) -> float:
    """Parse Go's durations: `1s`, `1m30s`, `0`."""
    if text == "0":
        return 0.0
    if not re.fullmatch(f"(?:{_DURATION.pattern})+", text):
        raise ValueError("a duration such as 500ms, 1s or 1m30s")
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(text))
