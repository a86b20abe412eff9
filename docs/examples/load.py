#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["aiohttp>=3.14", "rich>=15"]
# ///
"""Load for embedding and rerank models, to see the dashboards move; vLLM, its Production Stack and Xinference.

    python load.py --url http://localhost:8000 --embed bge-m3-embed --rerank bge-reranker-v2-m3

Each request is what a search does: some texts are embedded, then documents are ranked for a question. The table at
the end has what the caller waited for each call that succeeded, waits and retries included. What is sent at once is
bounded by --concurrency: the slower the answers, the fewer the requests per second.

Exit status: 0 if all succeeded, 1 if a call failed or the run was cut short, 2 if the service is of no use at all.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

#: Statuses after which a second try may succeed. Xinference says 500 where others say 503.
RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
#: Seconds: no wait before a retry is longer, whatever Retry-After says.
LONGEST_WAIT: Final = 30.0
#: How many kinds of failure are told, and how much of each.
FAILURES_TOLD, WORDS_TOLD = 5, 200
_WORDS: Final = ("card", "memory", "share", "tenant", "kernel", "batch", "token", "queue", "grant", "limit", "node")
#: Options that count something: what, and how many by default.
_COUNTS: Final = {
    "requests": ("requests in all", 200),
    "concurrency": ("requests at once", 8),
    "texts": ("texts in each embeddings call", 4),
    "documents": ("documents in each rerank call", 20),
    "words": ("words in each text and document", 60),
}


class UselessError(Exception):
    """The service cannot be loaded at all; the text says why."""


class FailedError(Exception):
    """One call has failed for good; calls that fail alike have the same text."""


class AgainError(Exception):
    """One call has failed and may be tried again, after so many seconds if the service said when."""

    def __init__(self, text: str, wait: float | None = None) -> None:
        """Take what the service said, and its Retry-After."""
        super().__init__(text)
        self.wait = wait


@dataclass
class Calls:
    """What became of one kind of calls: seconds that each success took, waits and retries included."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0
    retries: int = 0


@dataclass
class Results:
    """What became of all."""

    embed: Calls = field(default_factory=Calls)
    rerank: Calls = field(default_factory=Calls)
    whole: Calls = field(default_factory=Calls)
    failures: Counter[str] = field(default_factory=Counter)


def percentile(seconds: Sequence[float], percent: int) -> float | None:
    """Return the time in which that share of calls was done (nearest rank); None if there are too few to tell."""
    if len(seconds) * (100 - percent) < 100:  # noqa: PLR2004 - percent
        return None
    return sorted(seconds)[-(-len(seconds) * percent // 100) - 1]


# ---------------------------------------------------------------- one call


@dataclass
class Client:
    """Calls of one service, each tried again while that may help."""

    session: aiohttp.ClientSession
    url: str
    retries: int
    backoff: float

    async def embed(self, calls: Calls, model: str, texts: list[str]) -> None:
        """Embed the texts; FailedError if that does not succeed."""

        def good(found: object) -> bool:
            return isinstance(found, list) and len(found) == len(texts) and all(map(_is_embedding, found))

        await self._timed(calls, "/v1/embeddings", {"model": model, "input": texts}, lambda it: good(it.get("data")))

    async def rerank(self, calls: Calls, model: str, documents: list[str]) -> None:
        """Rank the documents and take the best 3; FailedError if that does not succeed."""
        top = min(3, len(documents))

        def good(found: object) -> bool:
            return isinstance(found, list) and len(found) == top and all(_is_rank(one, len(documents)) for one in found)

        body = {"model": model, "query": "who uses the card?", "documents": documents, "top_n": top}
        await self._timed(calls, "/v1/rerank", body, lambda it: good(it.get("results")))

    async def models(self) -> list[str]:
        """Return the names of the models; UselessError if this is no such service."""
        try:
            answer = await self._once("GET", "/v1/models", None)
        except (AgainError, FailedError) as error:
            raise UselessError(str(error)) from error
        found = answer.get("data")
        if not isinstance(found, list) or not all(isinstance(one, dict) and "id" in one for one in found):
            raise UselessError(f"{self.url}/v1/models does not list models: is this an OpenAI-compatible service?")
        return [str(one["id"]) for one in found]

    async def _timed(
        self, calls: Calls, path: str, body: dict[str, Any], good: Callable[[dict[str, Any]], bool]
    ) -> None:
        """Count the call, as a success only if the answer is good; FailedError if it is none."""
        began = time.perf_counter()
        try:
            _require(path, good(await self._persistent(calls, path, body)))
        except FailedError:
            calls.failed += 1
            raise
        calls.seconds.append(time.perf_counter() - began)

    async def _persistent(self, calls: Calls, path: str, body: dict[str, Any]) -> dict[str, Any]:
        for attempt in range(self.retries):
            try:
                return await self._once("POST", path, body)
            except AgainError as error:
                calls.retries += 1
                wait = self.backoff * 2**attempt * random.uniform(0.5, 1) if error.wait is None else error.wait  # noqa: S311
                await asyncio.sleep(min(wait, LONGEST_WAIT))
        try:
            return await self._once("POST", path, body)
        except AgainError as error:
            raise FailedError(str(error)) from error

    async def _once(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        try:
            async with self.session.request(method, self.url + path, json=body) as response:
                return _read(path, response, await response.text(errors="replace"))
        except TimeoutError as error:
            raise AgainError(f"{path}: no answer in time") from error
        except aiohttp.ClientError as error:
            raise AgainError(f"{path}: {_reason(error)}") from error


def _read(path: str, response: aiohttp.ClientResponse, text: str) -> dict[str, Any]:
    """Return the answer's object, or raise what became of the call."""
    if response.status in RETRIED:
        after = response.headers.get("Retry-After", "")
        raise AgainError(f"{path}: {response.status} {_said(text)}", float(after) if after.isdecimal() else None)
    if not response.ok:
        raise FailedError(f"{path}: {response.status} {_said(text)}")
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise FailedError(f"{path}: the answer is no JSON object; is this an OpenAI-compatible service?")
    return answer


def _require(path: str, good: bool) -> None:  # noqa: FBT001 - what is required
    if not good:
        raise FailedError(f"{path}: the answer has not what was asked for")


def _said(text: str) -> str:
    """Return what a service says of an error: in vLLM's form, in Xinference's, or in none."""
    with suppress(ValueError, AttributeError):
        raw = json.loads(text)
        error = raw.get("error", raw)
        text = str(error if isinstance(error, str) else error.get("message") or error.get("detail") or text)
    return " ".join(text.split())[:WORDS_TOLD] or "without a word"


def _reason(error: aiohttp.ClientError) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _is_embedding(found: object) -> bool:
    """Tell whether it has numbers; Xinference's sparse ones come as a mapping."""
    return isinstance(found, dict) and isinstance(found.get("embedding"), list | dict) and bool(found["embedding"])


def _is_rank(found: object, documents: int) -> bool:
    if not isinstance(found, dict) or not isinstance(found.get("relevance_score"), int | float):
        return False
    return isinstance(found.get("index"), int) and 0 <= found["index"] < documents


# ---------------------------------------------------------------- all of them


@dataclass
class Load:
    """All requests, and what became of them so far."""

    client: Client
    chosen: argparse.Namespace
    results: Results = field(default_factory=Results)
    stopped: bool = False

    async def check(self) -> None:
        """UselessError if the service is not there or lacks a model."""
        known = await self.client.models()
        for model in filter(None, (self.chosen.embed, self.chosen.rerank)):
            if model not in known:
                raise UselessError(f"{self.client.url} has no model {model!r}; it has: {', '.join(known) or 'none'}")

    async def run(self, progress: Progress) -> None:
        """Make all requests, so many at once."""
        bar = progress.add_task("requests", total=self.chosen.requests, failed=0)
        numbers = iter(range(self.chosen.requests))

        async def work() -> None:
            for number in numbers:
                if self.stopped:
                    return
                await self._request(random.Random(number))  # noqa: S311 - the same texts in each run
                progress.update(bar, advance=1, failed=self.results.whole.failed)

        async with asyncio.TaskGroup() as group:
            for _ in range(self.chosen.concurrency):
                group.create_task(work())

    async def _request(self, chance: random.Random) -> None:
        began = time.perf_counter()
        try:
            for call in self._calls(chance):
                await call
        except FailedError as error:
            self.results.whole.failed += 1
            self.results.failures[str(error)] += 1
        else:
            self.results.whole.seconds.append(time.perf_counter() - began)

    def _calls(self, chance: random.Random) -> Iterator[Awaitable[None]]:
        """Yield a request's calls, one after the other."""
        if self.chosen.embed:
            texts = [_text(chance, self.chosen.words) for _ in range(self.chosen.texts)]
            yield self.client.embed(self.results.embed, self.chosen.embed, texts)
        if self.chosen.rerank:
            documents = [_text(chance, self.chosen.words) for _ in range(self.chosen.documents)]
            yield self.client.rerank(self.results.rerank, self.chosen.rerank, documents)


def _text(chance: random.Random, words: int) -> str:
    """Return some words, others each time: equal ones would come out of a cache."""
    return " ".join(chance.choices(_WORDS, k=words))


async def loaded(chosen: argparse.Namespace) -> tuple[Results, float]:
    """Make all requests, or those before an interruption; return what became of them, and in how many seconds."""
    key = os.environ.get("LOAD_API_KEY")
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {key}"} if key else None,
        timeout=aiohttp.ClientTimeout(total=chosen.timeout),
        connector=aiohttp.TCPConnector(limit=chosen.concurrency),
    ) as session:
        load = Load(Client(session, chosen.url, chosen.retries, chosen.backoff), chosen)
        await load.check()
        began = time.perf_counter()
        _stop_at_interrupt(load)
        with suppress(asyncio.CancelledError), _bar() as progress:
            await load.run(progress)
        return load.results, time.perf_counter() - began


def _stop_at_interrupt(load: Load) -> None:
    """Let Ctrl-C end the run: what is under way is given up, and whoever misses that takes up nothing more."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - this runs in one

    def stop() -> None:
        load.stopped = True
        task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop)


# ---------------------------------------------------------------- what is said


def _bar() -> Progress:
    failed = TextColumn("{task.fields[failed]} failed")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), failed, TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


def table(results: Results, seconds: float) -> Table:
    """Return a line for each kind of calls, and one for whole requests."""
    found = Table(title=f"{len(results.whole.seconds) / max(seconds, 1e-9):.1f} requests per second in {seconds:.1f} s")
    for title in ("call", "succeeded", "failed", "retries", "p50", "p95", "slowest"):
        found.add_column(title, justify="left" if title == "call" else "right")
    rows = {"embeddings": results.embed, "rerank": results.rerank, "whole request": results.whole}
    for name, calls in rows.items():
        if calls.seconds or calls.failed:
            times = percentile(calls.seconds, 50), percentile(calls.seconds, 95), max(calls.seconds, default=None)
            retries = results.embed.retries + results.rerank.retries if calls is results.whole else calls.retries
            found.add_row(name, *map(str, (len(calls.seconds), calls.failed, retries)), *map(_milliseconds, times))
    return found


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Load for embedding and rerank models of vLLM or Xinference.",
        epilog="LOAD_API_KEY in the environment is sent as a bearer token.",
    )
    parser.add_argument("--url", required=True, type=_url, help="of the router, an engine or Xinference's supervisor")
    parser.add_argument("--embed", metavar="MODEL", help="the embedding model; Xinference: its UID")
    parser.add_argument("--rerank", metavar="MODEL", help="the rerank model; Xinference: its UID")
    for name, (what, default) in _COUNTS.items():
        parser.add_argument(
            f"--{name}", type=_positive, default=default, metavar="N", help=f"{what} (default {default})"
        )
    parser.add_argument("--retries", default=4, type=int, metavar="N", help="further tries of each call (default 4)")
    parser.add_argument("--backoff", default=0.25, type=float, metavar="SECONDS",
                        help="before the first further try, then doubled (default 0.25)")  # fmt: skip
    parser.add_argument("--timeout", default=60, type=float, metavar="SECONDS", help="of each try (default 60)")
    chosen = parser.parse_args(arguments)
    if not chosen.embed and not chosen.rerank:
        parser.error("name a model: --embed, --rerank or both")
    return chosen


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"expected http://HOST:PORT or https://…, not {text!r}")
    return text.rstrip("/").removesuffix("/v1")


def main(arguments: Sequence[str] | None = None) -> int:
    """Load, print the table, and return the exit status."""
    chosen = _arguments(arguments)
    try:
        results, seconds = asyncio.run(loaded(chosen))
    except UselessError as error:
        print(f"load.py: {error}", file=sys.stderr)  # noqa: T201 - a program's answer
        return 2
    console = Console()
    console.print(table(results, seconds))
    for text, times in results.failures.most_common(FAILURES_TOLD):
        console.print(f"{times} failed: {text}", style="red", markup=False, highlight=False)
    missing = chosen.requests - len(results.whole.seconds)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
