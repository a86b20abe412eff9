"""What every request passes before it is answered: who asks, whether it only reads, and how long that may take."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from aiohttp import web

from exporter.web_auth import Verdict
from exporter.web_connections import Connection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.typedefs import Handler, Middleware

    from exporter.web_reload import Protection

_METHODS: Final = ("GET", "HEAD")
_WHO: Final = {"WWW-Authenticate": 'Basic realm="vgpu-exporter", charset="UTF-8"'}
_LATER: Final = {"Retry-After": "1"}


def gate(protection: Protection | None) -> Sequence[Middleware]:
    """Return the middlewares, the outermost first; without `protection` everybody may come in."""
    protected = [_protected(protection)] if protection is not None else []
    return [_hardened(protection), *protected, _read_only]


def _hardened(protection: Protection | None) -> Middleware:
    """Return what sends every answer: no browser guesses what it is, and it takes no longer than it may."""

    async def send(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers.update(protection.headers if protection is not None else {})
        with contextlib.suppress(ConnectionError):  # aiohttp comes across that, too, and ends the connection
            await response.prepare(request)
            await response.write_eof()

    @web.middleware
    async def harden(request: web.Request, handler: Handler) -> web.StreamResponse:
        with _answering(request):
            try:
                response = await handler(request)
            except web.HTTPException as error:
                await send(request, error)
                raise
            await send(request, response)
            return response

    return harden


def _answering(request: web.Request) -> contextlib.AbstractContextManager[None]:
    """Have the connection know for how long it is being answered."""
    connection = request.transport.get_protocol() if request.transport is not None else None
    return connection.answering() if isinstance(connection, Connection) else contextlib.nullcontext()


def _protected(protection: Protection) -> Middleware:
    """Return what lets in only who may."""

    @web.middleware
    async def protect(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not protection.below_rate():
            raise web.HTTPTooManyRequests(headers=_LATER)
        verdict = await protection.passwords.check(request.headers.get("Authorization", ""), request.remote or "")
        if verdict is Verdict.BUSY:
            raise web.HTTPTooManyRequests(headers=_LATER)
        if verdict is Verdict.WRONG:
            raise web.HTTPUnauthorized(headers=_WHO)
        return await handler(request)

    return protect


@web.middleware
async def _read_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse whatever sends something; of a body the rest is not waited for."""
    refusal: web.HTTPException | None = None
    if request.method not in _METHODS:
        refusal = web.HTTPMethodNotAllowed(request.method, _METHODS)
    elif request.body_exists:
        refusal = web.HTTPRequestEntityTooLarge(0, text="413: no request has a body here")
    if refusal is None:
        return await handler(request)
    if request.body_exists:
        refusal.force_close()
    raise refusal
