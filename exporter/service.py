"""A role at work: the loop in its thread, the endpoint on the main one, signals obeyed, ended in time."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import threading
from typing import TYPE_CHECKING, Final, Protocol

from exporter.errors import ExporterError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exporter.config import Address
    from exporter.server import Server

_log = logging.getLogger(__name__)

#: Seconds from a signal to the end, whoever is stuck.
_LAST_MOMENT: Final = 4.5


class Sampler(Protocol):
    """A role's loop."""

    def attempt(self) -> None:
        """Make and publish the next snapshot; never raises."""
        ...

    def run(self) -> None:
        """Go on doing so until stopped."""
        ...

    def stop(self) -> None:
        """End that, and the sources, without waiting for any."""
        ...


def run(
    sampler: Sampler,
    server: Server,
    listen: Sequence[Address],
    health_listen: Sequence[Address] = (),
    *,
    on_hangup: Callable[[], None] | None = None,
    on_listening: Callable[[list[str]], None] | None = None,
) -> None:
    """Sample and serve until SIGTERM or SIGINT; raises ExporterError if an address cannot be had.

    `on_hangup` is called on SIGHUP, `on_listening` with the URLs once they answer.
    """
    asyncio.run(_serve(sampler, server, listen, health_listen, on_hangup, on_listening))
    sampler.stop()


async def _serve(
    sampler: Sampler,
    server: Server,
    listen: Sequence[Address],
    health_listen: Sequence[Address],
    on_hangup: Callable[[], None] | None,
    on_listening: Callable[[list[str]], None] | None,
) -> None:
    """Sample and serve until told to stop, then finish the scrapes in flight."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _begin_to_stop, stop)
    if on_hangup is not None:
        loop.add_signal_handler(signal.SIGHUP, on_hangup)
    await loop.run_in_executor(None, sampler.attempt)  # so that the first scrape finds something
    gc.collect()
    gc.freeze()  # modules stay for good: going through them again takes the collector 40 ms, and nobody is served
    threading.Thread(target=sampler.run, name="sampler", daemon=True).start()
    try:
        urls = await server.start(listen, health_listen)
    except OSError as error:
        await server.stop()
        raise ExporterError(f"cannot listen: {error.strerror or error}; choose another --listen") from error
    if on_listening is not None:
        on_listening(urls)
    await stop.wait()
    _log.info("stopping")
    await server.stop()


def _begin_to_stop(stop: asyncio.Event) -> None:
    """Begin an orderly end, and make sure that there is one."""
    stop.set()
    last = threading.Timer(_LAST_MOMENT, os._exit, (0,))
    last.daemon = True
    last.start()
