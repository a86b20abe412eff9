"""The HTTP endpoint: serves the newest snapshot and never makes anyone wait for a driver.

A snapshot is rendered at most once per format, on demand, in a worker thread, and so is its page; whoever asks at the
same time shares the result. Who may ask, and for how long: web_reload.py and web_connections.py.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
from itertools import chain
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, Protocol, TypeVar

from aiohttp import web
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client import exposition as text
from prometheus_client.openmetrics import exposition as openmetrics

from exporter import page
from exporter.exposition import encode
from exporter.metrics import families
from exporter.web_connections import Crowd, Limits
from exporter.web_gate import gate
from exporter.web_tls import Door

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from prometheus_client.core import Metric as Family

    from exporter.config import Address
    from exporter.labels import Build
    from exporter.snapshot import Snapshot
    from exporter.web_reload import Protection

_NOT_YET: Final = "no snapshot yet: the first is made within a second of the start\n"
_LONGEST_HEADER: Final = 8190  # bytes, of a request's line or one header
_MOST_HEADERS: Final = 64  # a browser behind two proxies sends half as many
_LINGERING: Final = 1.0  # seconds that a body is read and thrown away, so that its sender can read why
_LIMITS: Final = Limits()
_PAGE_HEADERS: Final = {
    "Content-Security-Policy": page.POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}


def _is_ours(record: logging.LogRecord) -> bool:
    """Tell our failures from aiohttp's over what a client sent: anybody could fill the log with those."""
    traceback = record.exc_info[2] if record.exc_info else None
    return traceback is None or any(
        frame.f_globals.get("__name__", "").startswith("exporter.") for frame, _ in walk_tb(traceback)
    )


_log = logging.getLogger(__name__)
for _logger in (_log, logging.getLogger("asyncio")):  # asyncio's tells of a task of aiohttp's that failed
    _logger.addFilter(_is_ours)


class Served(Protocol):
    """A snapshot of either role."""

    @property
    def not_ready(self) -> str | None:
        """Why there is nothing good in it yet, for people; None if there is."""
        ...


S = TypeVar("S", bound=Served)


class Format(NamedTuple):
    """One way to send a snapshot."""

    openmetrics: bool
    gzipped: bool

    @property
    def content_type(self) -> str:
        """The HTTP Content-Type."""
        return openmetrics.CONTENT_TYPE_LATEST if self.openmetrics else text.CONTENT_TYPE_PLAIN_0_0_4


def negotiate(accept: str, accept_encoding: str) -> Format:
    """Choose the format that a client's Accept and Accept-Encoding headers prefer; text if it has no preference."""
    wanted = _qualities(accept)
    plain = wanted.get("text/plain", wanted.get("text/*", wanted.get("*/*", 0.0)))
    return Format(
        openmetrics=wanted.get("application/openmetrics-text", 0.0) > plain,
        gzipped=_qualities(accept_encoding).get("gzip", 0.0) > 0,
    )


def _qualities(header: str) -> dict[str, float]:
    """Return the highest quality a header gives each of its values (RFC 9110, section 12.4.2)."""
    qualities: dict[str, float] = {}
    for item in header.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        quality = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
        try:
            qualities[name] = max(qualities.get(name, 0.0), float(quality))
        except ValueError:
            continue
    return qualities


def exposition(written: bytes, found: Iterable[Family], form: Format) -> bytes:
    """Return the whole scrape: what is written already, these families and the process's own."""
    own = CollectorRegistry()
    ProcessCollector(registry=own)
    PlatformCollector(registry=own)
    body = written + encode(chain(found, own.collect()), openmetrics=form.openmetrics)
    return gzip.compress(body, compresslevel=1) if form.gzipped else body


class SnapshotRenderer(Generic[S]):
    """Renders the newest snapshot, each format and the page once; lives on one event loop."""

    def __init__(
        self,
        current: Callable[[], S | None],
        collect: Callable[[S], tuple[bytes, Iterable[Family]]],
        show: Callable[[S, str], str],
    ) -> None:
        """`current` returns the newest snapshot, None before the first.

        `collect` gives what of a snapshot is written already, in either format, and the families after it. `show` gives
        its page for people, with a sentence on top.
        """
        self.current = current
        self.show = show
        self._collect = collect
        self._of: S | None = None
        self._rendered: dict[Hashable, asyncio.Future[bytes]] = {}

    async def body(self, form: Format) -> bytes | None:
        """Return the newest snapshot in a format; None before there is one."""
        return await self._once(form, lambda snapshot: exposition(*self._collect(snapshot), form))

    async def page(self, note: str) -> bytes | None:
        """Return the newest snapshot's page with that sentence on top, in UTF-8; None before there is one."""
        return await self._once(note, lambda snapshot: self.show(snapshot, note).encode())

    async def _once(self, what: Hashable, render: Callable[[S], bytes]) -> bytes | None:
        """Return what was rendered of the newest snapshot already, or is by now; in a thread if it is the first."""
        snapshot = self.current()
        if snapshot is None:
            return None
        if snapshot is not self._of:
            self._of, self._rendered = snapshot, {}
        if what not in self._rendered:
            self._rendered[what] = asyncio.get_running_loop().run_in_executor(None, render, snapshot)
        return await asyncio.shield(self._rendered[what])


class Renderer(SnapshotRenderer["Snapshot"]):
    """The node role's."""

    def __init__(self, current: Callable[[], Snapshot | None], build: Build) -> None:
        """`current` returns the newest snapshot, None before the first."""
        super().__init__(current, lambda snapshot: (b"", families(snapshot, build)), page.render)


def application(
    renderer: SnapshotRenderer[Any], note: str = "", protection: Protection | None = None
) -> web.Application:
    """Return the whole endpoint; `note` is a sentence to show on the page for people."""

    async def metrics(request: web.Request) -> web.Response:
        form = negotiate(*(",".join(request.headers.getall(name, ())) for name in ("Accept", "Accept-Encoding")))
        body = await renderer.body(form)
        if body is None:
            raise web.HTTPServiceUnavailable(text=_NOT_YET)
        headers = {"Content-Type": form.content_type, "Vary": "Accept, Accept-Encoding"}
        if form.gzipped:
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=body, headers=headers)

    async def root(_: web.Request) -> web.Response:
        html = await renderer.page(note)
        if html is None:
            raise web.HTTPServiceUnavailable(text=_NOT_YET)
        return web.Response(body=html, content_type="text/html", charset="utf-8", headers=_PAGE_HEADERS)

    app = health_application(renderer, protection)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/", root)
    return app


def health_application(renderer: SnapshotRenderer[Any], protection: Protection | None = None) -> web.Application:
    """Return /healthz and /readyz alone: no data, for a kubelet that has neither certificate nor password."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        snapshot = renderer.current()
        reason = snapshot.not_ready if snapshot is not None else _NOT_YET.strip()
        return web.Response(text="ok\n") if reason is None else web.Response(text=f"{reason}\n", status=503)

    app = web.Application(middlewares=gate(protection))
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    return app


class Server:
    """The listening endpoint: `start`, then `stop`, which lets the scrapes in flight finish."""

    def __init__(
        self,
        renderer: SnapshotRenderer[Any],
        note: str = "",
        protection: Protection | None = None,
        limits: Limits = _LIMITS,
    ) -> None:
        """Prepare; nothing listens yet. Without `protection` everybody may read everything."""
        self._renderer = renderer
        self._note = note
        self._protection = protection
        self._limits = limits
        self._runners: list[web.AppRunner] = []
        self._crowds: list[Crowd] = []
        self._watch: asyncio.Task[None] | None = None

    async def start(self, listen: Sequence[Address], health_listen: Sequence[Address]) -> list[str]:
        """Listen; return the URLs, the whole endpoint's first. Raises OSError if an address cannot be had."""
        protection = self._protection
        app = application(self._renderer, self._note, protection)
        urls = await self._serve(app, listen, lambda: protection.door if protection is not None else Door())
        if protection is not None:
            self._watch = asyncio.create_task(protection.watch())
        return urls + await self._serve(health_application(self._renderer), health_listen, Door)

    async def _serve(self, app: web.Application, addresses: Sequence[Address], door: Callable[[], Door]) -> list[str]:
        runner = web.AppRunner(
            app,
            access_log=None,
            logger=_log,
            handle_signals=False,
            keepalive_timeout=self._limits.idle,
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
            max_headers=_MOST_HEADERS,
            lingering_time=_LINGERING,
            auto_decompress=False,
            shutdown_timeout=2,  # waited for twice, and all must end within 5 s
        )
        self._runners.append(runner)
        await runner.setup()
        assert runner.server is not None  # noqa: S101  it was set up
        crowd = Crowd(runner.server, door, self._limits)
        self._crowds.append(crowd)
        found = [bound for address in addresses for bound in await crowd.listen(*address)]
        return [_url("https" if door().context else "http", *one) for one in found]

    async def stop(self) -> None:
        """Stop listening and finish what is in flight."""
        if self._watch is not None:
            self._watch.cancel()
        await asyncio.gather(*(crowd.close() for crowd in self._crowds))
        await asyncio.gather(*(runner.cleanup() for runner in self._runners))
        if self._protection is not None:
            self._protection.passwords.close()


def _url(scheme: str, host: str, port: int) -> str:
    """Return an address as a URL that works on this machine."""
    local = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"{scheme}://{local}:{port}/"
