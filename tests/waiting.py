"""Sources that run in threads of their own: started, waited for, and seen to end."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from exporter.sources.kube_api import Pace
    from tests.kube_server import KubeServer


class Source(Protocol):
    """What asks the API server in a thread."""

    def start(self) -> None:
        """Start the thread."""

    def close(self) -> None:
        """End it."""


S = TypeVar("S", bound=Source)


def until(condition: Callable[[], object], seconds: float = 15) -> None:
    """Return as soon as the condition holds; fail if it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.005)


def starter(
    make: Callable[..., S], thread: str, server: KubeServer, directory: Path, pace: Pace
) -> Iterator[Callable[..., S]]:
    """Yield what starts a source with these keyword arguments, by default on the server's kubeconfig.

    All are closed at the end, and their threads, by that name, are seen to end.
    """
    started: list[S] = []

    def starting(**options: Any) -> S:  # noqa: ANN401 - the constructor's own
        given = {"kubeconfig": str(server.kubeconfig(directory / "config")), "pace": pace} | options
        source = make(**given)
        started.append(source)
        source.start()
        return source

    yield starting
    for source in started:
        source.close()
    server.refuse()  # whoever hangs is let go
    until(lambda: not any(running.name == thread for running in threading.enumerate()))
