"""The flags of `top`, and what they come to; a password is in the environment or a file, never among the flags."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from exporter.errors import ConfigError
from exporter.top.choice import Choice
from exporter.top.rows import SORTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PASSWORD: Final = "VGPU_EXPORTER_TOP_PASSWORD"  # noqa: S105  the variable's name
_HERE: Final = "http://127.0.0.1:9836"
_ADDRESS: Final = re.compile(
    r"https?://(\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9._-]+)(:[0-9]{1,5})?(/[!$%&'()*+,;=:a-zA-Z0-9._~/-]*)?"
)
_SECRET: Final = f"a password does not belong there: use --user with {PASSWORD} or --password-file"


@dataclass(frozen=True, slots=True)
class Access:
    """How to get in: PEM files of authorities to trust, of our certificate and its key; a user and the password.

    `timeout` in seconds is for the whole of an answer.
    """

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class TopSettings:
    """What to show: the address of a node's metrics, or of a Prometheus (`cluster`); `interval` in seconds."""

    url: str
    cluster: bool
    access: Access
    choice: Choice
    interval: float
    once: bool
    json: bool


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags to a command's parser."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--url", metavar="URL", type=_url, default=_HERE, help=f"one node's exporter [{_HERE}]")
    where.add_argument("--prometheus", metavar="URL", type=_url, help="a Prometheus: all nodes that it scrapes")
    parser.add_argument("--once", action="store_true", help="print the table once")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--interval", metavar="SECONDS", type=_seconds, default=2.0, help="between two looks [2]")
    parser.add_argument("--sort", choices=SORTS, default=SORTS[0], help="what comes first on a GPU [memory]")
    parser.add_argument("--filter", metavar="TEXT", default="", help="only namespaces and pods with that text")
    parser.add_argument("--tenants", action="store_true", help="a row for each tenant instead of each pod")
    parser.add_argument("--ca-file", metavar="FILE", help="certificates of those whom to trust [the system's]")
    parser.add_argument("--cert-file", metavar="FILE", help="our certificate, where one is wanted")
    parser.add_argument("--key-file", metavar="FILE", help="its key, if that is not in the same file")
    parser.add_argument("--user", metavar="NAME", help=f"user; the password is in {PASSWORD}, or in the")
    parser.add_argument("--password-file", metavar="FILE", help="file that holds the user's password")
    parser.epilog = (
        "Keys: q quit, s sort, t tenants or pods, / filter, arrows, PgUp, PgDn, Home and End scroll. "
        "Exit code: 0 done, 1 it cannot be read, 2 wrong use."
    )


def _url(text: str) -> str:
    """Parse an address; what is wrong with it is said without repeating a password."""
    if re.match(r"[^/]*//[^/]*@", text):
        raise argparse.ArgumentTypeError(_SECRET)
    if not _ADDRESS.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an address such as {_HERE}")
    return text


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.5 <= value <= 3600:  # noqa: PLR2004  said in the sentence below
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0.5 to 3600")
    return value


def settings(given: argparse.Namespace, environ: Mapping[str, str], read: Callable[[str, str], str]) -> TopSettings:
    """Return what the flags say; `read` returns a flag's file. ConfigError says what does not go together."""
    url = given.prometheus or given.url
    if given.key_file and not given.cert_file:
        raise ConfigError("--key-file is nothing without --cert-file")
    if (given.ca_file or given.cert_file) and not url.startswith("https://"):
        raise ConfigError(f"--ca-file and --cert-file are for TLS: {url} should begin with https://")
    return TopSettings(
        url=url,
        cluster=given.prometheus is not None,
        access=Access(given.ca_file, given.cert_file, given.key_file, given.user, _password(given, environ, read)),
        choice=Choice(given.sort, given.filter, given.tenants),
        interval=given.interval,
        once=given.once,
        json=given.json,
    )


def _password(given: argparse.Namespace, environ: Mapping[str, str], read: Callable[[str, str], str]) -> str | None:
    if given.user is None:
        if given.password_file:
            raise ConfigError("--password-file is nothing without --user")
        return None
    if given.password_file:
        return read("--password-file", given.password_file).removesuffix("\n").removesuffix("\r")
    if PASSWORD not in environ:
        raise ConfigError(f"--user needs a password: set {PASSWORD}, or give --password-file")
    return environ[PASSWORD]
