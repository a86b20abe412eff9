"""Where `top` gets its frames: one node's /metrics, or the whole cluster's from Prometheus."""

from __future__ import annotations

import json
import time
from collections import deque
from contextlib import suppress
from email.utils import parsedate_to_datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit, urlunsplit

from exporter import catalogue as c
from exporter.errors import ParseError, SourceError, shorten
from exporter.top import cores, queries
from exporter.top.rows import Frame, gpus
from exporter.top.samples import collect, of, parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from exporter.sources.web import Web
    from exporter.top.samples import Samples, Told

#: Seconds that cores are the mean of once there is so much past: five samples of the driver a second say little.
_WINDOW: Final = 10.0
#: From when on a node's data are old, as for a GPU (law 4 of the metrics).
_OLD: Final = 15.0
_TEXT: Final = "text/plain;version=0.0.4"


class Frames(Protocol):
    """A source of frames; `measures` says that it takes two readings until cores are known."""

    measures: bool

    def read(self) -> Frame:
        """Return what there is now; SourceError if it cannot be read."""


class NodeFrames:
    """One node's exporter."""

    measures: bool = True

    def __init__(self, url: str, web: Web) -> None:
        """Know where it is; without a path it is /metrics."""
        parts = urlsplit(url)
        self._url = urlunsplit(parts._replace(path=parts.path.rstrip("/") or "/metrics"))
        self._web = web
        self._history: deque[tuple[float, Samples]] = deque()

    def read(self) -> Frame:
        """Scrape it."""
        page = self._web.get(self._url, accept=_TEXT)
        try:
            samples = parse(page.body.decode("utf-8", "replace"))
        except ParseError as error:
            raise SourceError("malformed", f"{self._url} has {error}") from error
        taken = of(samples, c.SNAPSHOT_TIMESTAMP)["", "node"]
        self._remember(taken, samples)
        window = taken - self._history[0][0]
        age = max(_seconds(page.date) - taken, 0.0)
        return Frame(
            gpus(samples, cores.between([one for _, one in self._history])),
            core_window=window or None,
            age=age,
            blind=tuple(sorted(_blind(samples))),
            stale=(self._url,) if age > _OLD else (),
        )

    def _remember(self, taken: float, samples: Samples) -> None:
        """Keep the moments that cores are worked out of; a clock that was set back begins anew."""
        if self._history and taken <= self._history[-1][0]:
            self._history.pop() if taken == self._history[-1][0] else self._history.clear()
        self._history.append((taken, samples))
        while len(self._history) > 2 and taken - self._history[1][0] >= _WINDOW:  # noqa: PLR2004  now and one before
            self._history.popleft()


def _seconds(date: str) -> float:
    """Return the server's own time, by which its data are as old as they are; ours if it does not tell."""
    with suppress(ValueError):
        return parsedate_to_datetime(date).timestamp()
    return time.time()


def _blind(samples: Samples) -> Iterator[str]:
    for (_, role, source), up in of(samples, c.SOURCE_UP).items():
        if not up:
            yield source if role == "node" else f"{source} ({role} role)"


class ClusterFrames:
    """All exporters that a Prometheus scrapes."""

    measures: bool = False

    def __init__(self, url: str, web: Web) -> None:
        """Know where its API is."""
        self._url = f"{url.rstrip('/')}/api/v1/query"
        self._web = web

    def read(self) -> Frame:
        """Ask for everything."""
        samples = collect(self._ask(queries.GAUGES_NOW))
        if not samples:
            raise SourceError("malformed", f"{self._url} has no series of vgpu-exporter")
        window, rates = self._rates()
        ages = {_target(labels): value for labels, value in self._ask(queries.AGES)}
        blind = (f"{labels.get('source', '')} of {_target(labels)}" for labels, _ in self._ask(queries.BLIND))
        return Frame(
            gpus(samples, cores.of_rates(rates)),
            core_window=window,
            age=max([0.0, *ages.values()]) if ages else None,
            blind=tuple(sorted(set(blind))),
            stale=tuple(sorted(target for target, age in ages.items() if age > queries.OLD)),
            silent=tuple(sorted({_target(labels) for labels, _ in self._ask(queries.SILENT)})),
        )

    def _rates(self) -> tuple[float | None, Samples]:
        """Return the growth of the counters, and the seconds that it is the mean of; None if there is none."""
        for window in queries.WINDOWS:
            asked = queries.rates(window).items()
            rates = collect(
                chain.from_iterable(
                    (({**labels, "__name__": name}, value) for labels, value in self._ask(query))
                    for name, query in asked
                )
            )
            if of(rates, c.DEVICE_OBSERVED):
                return window, rates
        return None, {}

    def _ask(self, query: str) -> Sequence[Told]:
        """Return the samples of an instant query."""
        page = self._web.get(self._url, {"query": query})
        with suppress(ValueError, RecursionError):
            body = json.loads(page.body)
            if isinstance(body, dict) and isinstance(body.get("data"), dict):
                return list(_samples(body["data"].get("result")))
        raise SourceError("malformed", f"{self._url} is no Prometheus: {shorten(page.body.decode('utf-8', 'replace'))}")


def _samples(result: object) -> Iterator[Told]:
    """Yield the samples of a vector; whatever else is in it, or in its place, is left out."""
    for one in result if isinstance(result, list) else ():
        with suppress(LookupError, TypeError, ValueError, AttributeError):
            yield {str(name): str(text) for name, text in one["metric"].items()}, float(one["value"][1])


def _target(labels: Mapping[str, Any]) -> str:
    return "/".join(filter(None, (labels.get("cluster"), labels.get("instance")))) or "an exporter without instance"
