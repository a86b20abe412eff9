"""Web servers that answer what a test wants, and the pages they answer with."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

from typing_extensions import override

from exporter.top import cores, rows
from exporter.top.samples import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from exporter.top.rows import Gpu
    from exporter.top.samples import Samples

GOLDEN = Path(__file__).parents[1] / "golden"
#: Nobody's real GPU.
ON = 'node="n1",device_uuid="GPU-1"'


def golden(second: int) -> str:
    """Return the recorded node's scrape at that second."""
    return (GOLDEN / f"h200-sharing-{second}s.prom").read_text()


def recorded() -> tuple[Samples, tuple[Gpu, ...]]:
    """Return the recorded node at 80 s, and its rows with the cores of the last 30 s."""
    now = parse(golden(80))
    return now, rows.gpus(now, cores.between([parse(golden(50)), now]))


def page(*lines: str, taken: float = 1000.0) -> str:
    """Return a node's scrape with these samples."""
    return "\n".join((*lines, f'vgpu_exporter_snapshot_timestamp_seconds{{role="node"}} {taken}', ""))


def vector(*samples: tuple[Mapping[str, str], float]) -> bytes:
    """Return Prometheus' answer to a query."""
    result = [{"metric": labels, "value": [0, str(value)]} for labels, value in samples]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()


class Answer(NamedTuple):
    """What a server answers with."""

    body: bytes
    status: int = 200


class Site:
    """A server; `answers` gets the path, the query and the headers of each request."""

    def __init__(self, answers: Callable[[str, str, Mapping[str, str]], Answer]) -> None:
        """Listen at once, at any free port."""
        site = self
        self.asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            @override
            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                address = urlsplit(self.path)
                query = parse_qs(address.query).get("query", [""])[0]
                site.asked.append(query or address.path)
                answer = answers(address.path, query, {name.lower(): text for name, text in self.headers.items()})
                self.send_response(answer.status)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @classmethod
    def of_pages(cls, pages: Sequence[str]) -> Self:
        """Return a server with these pages one after the other, the last for ever."""
        left = list(pages)
        return cls(lambda *_: Answer((left.pop(0) if len(left) > 1 else left[0]).encode()))

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
