"""GET over HTTP or TLS for `top`: bounded in size and time, with a client's certificate or a password if need be."""

from __future__ import annotations

import ssl
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

import urllib3

from exporter import __version__
from exporter.errors import ConfigError, SourceError, shorten

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from exporter.top.flags import Access

_LONGEST: Final = 64 * 2**20
_PIECE: Final = 2**16


class Page(NamedTuple):
    """An answer: its body, and the header Date, "" without one."""

    body: bytes
    date: str


class Web:
    """A client that asks servers for pages."""

    def __init__(self, access: Access) -> None:
        """Raise ConfigError if a certificate or key cannot be used."""
        self._access = access
        user = f"{access.user}:{access.password or ''}" if access.user is not None else None
        self._headers = urllib3.make_headers(basic_auth=user, accept_encoding=True) | {
            "User-Agent": f"vgpu-exporter/{__version__}"
        }
        self._pool = urllib3.PoolManager(timeout=access.timeout, retries=False, ssl_context=_context(access))

    def get(self, url: str, fields: Mapping[str, str] | None = None, accept: str = "*/*") -> Page:
        """Return the page; SourceError says why there is none."""
        headers = self._headers | {"Accept": accept}
        try:
            answer = self._pool.request(
                "GET", url, fields=dict(fields or {}), headers=headers, preload_content=False, redirect=False
            )
            page = Page(self._whole(url, answer), answer.headers.get("Date", ""))
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise SourceError("unreachable", f"{url} cannot be read: {self._why(error)}") from error
        if answer.status != HTTPStatus.OK:
            raise self._refused(url, answer.status, page.body)
        return page

    def _whole(self, url: str, answer: urllib3.BaseHTTPResponse) -> bytes:
        """Return the body, if it comes in time and is no larger than one may be."""
        end, body = time.monotonic() + self._access.timeout, bytearray()
        with answer:
            for piece in answer.stream(_PIECE, decode_content=True):
                body += piece
                if len(body) > _LONGEST:
                    raise SourceError("malformed", f"{url} answers more than {_LONGEST >> 20} MiB")
                if time.monotonic() > end:
                    raise SourceError("unreachable", f"{url} cannot be read: {self._late}")
        return bytes(body)

    @property
    def _late(self) -> str:
        return f"no whole answer within {self._access.timeout:g} s"

    def _refused(self, url: str, status: int, body: bytes) -> SourceError:
        if status == HTTPStatus.UNAUTHORIZED:
            how = "it wants --user and a password" if self._access.user is None else "it does not take this password"
            return SourceError("unauthorized", f"{url} answers 401: {how}")
        words = shorten(body[:_PIECE].decode("utf-8", "replace").strip())
        return SourceError("server_error", f"{url} answers HTTP {status}: {words}")

    def _why(self, error: Exception) -> str:
        """Return in a few words what is behind a failure."""
        for cause in _causes(error):
            if isinstance(cause, ssl.SSLCertVerificationError):
                return f"its certificate is not trusted ({cause.verify_message}); --ca-file names whom to trust"
            if isinstance(cause, ssl.SSLError):
                return f"TLS fails ({cause.reason or cause}); is it http://, or does it want --cert-file?"
            if isinstance(cause, OSError) and cause.strerror:
                return cause.strerror.lower()
        late = isinstance(error, urllib3.exceptions.TimeoutError)
        return self._late if late else f"{shorten(str(error))}; is it https://?"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that it was made of."""
    yield error
    inner = [part for part in (*error.args, error.__cause__) if isinstance(part, BaseException) and part is not error]
    for part in inner:
        yield from _causes(part)


def _context(access: Access) -> ssl.SSLContext:
    """Return what to speak TLS with."""
    context = ssl.create_default_context()
    if access.ca_file is not None:
        try:
            context = ssl.create_default_context(cafile=access.ca_file)
        except (OSError, ValueError) as error:
            raise ConfigError(f"--ca-file: {access.ca_file} is no usable PEM file: {error}") from error
    if access.cert_file is not None:
        try:
            context.load_cert_chain(access.cert_file, access.key_file, password="")  # else openssl asks at the terminal
        except (OSError, ValueError) as error:
            files = " with ".join(filter(None, (access.cert_file, access.key_file)))
            raise ConfigError(f"--cert-file: {files} cannot be used: {error}") from error
    return context
