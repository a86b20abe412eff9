"""The part of Prometheus' HTTP API that is asked: instant queries and rules, over real HTTP, with faults to order."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Sequence

_RULES = [{"type": "alerting", "name": "VgpuExporterBlind"}, {"type": "recording", "name": "node:vgpu_x:sum"}]


class PrometheusApi:
    """The server; a context manager.

    `series`, `overwritten` and `targets` answer the queries for series, those with exported_namespace and targets that
    give the same; 0 is an empty answer. `firing` are the labels of alerts, `rules` whether any of ours are loaded.
    """

    def __init__(
        self,
        *,
        series: int | str = 1,
        overwritten: int = 0,
        targets: int = 1,
        rules: bool = True,
        firing: Sequence[dict[str, str]] = (),
    ) -> None:
        """Listen at once, at any free port."""
        self.queries: list[str] = []
        self.credentials: set[str | None] = set()
        self._numbers = {"exported_namespace": overwritten, "group by": targets, "": series}
        self._groups = [{"name": "vgpu", "rules": _RULES if rules else []}]
        self._firing = firing
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, path: str, query: str) -> dict[str, Any]:
        """Return the `data` of an answer."""
        if path == "/api/v1/rules":
            return {"groups": self._groups}
        self.queries.append(query)
        if query.startswith("ALERTS"):
            return {"resultType": "vector", "result": [{"metric": one, "value": [0, "1"]} for one in self._firing]}
        number = next(number for mark, number in self._numbers.items() if mark in query)
        return {"resultType": "vector", "result": [{"metric": {}, "value": [0, str(number)]}] if number else []}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            @override
            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                api.credentials.add(self.headers["Authorization"])
                address = urlsplit(self.path)
                data = api.answer(address.path, parse_qs(address.query).get("query", [""])[0])
                body = json.dumps({"status": "success", "data": data}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        return Handler
