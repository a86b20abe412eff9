"""Pages of vLLM, the Production Stack's router and Xinference, made up in the shape of the real ones.

    python -m tests.serving_stub --listen 127.0.0.1:0

prints its address and serves one page for each pod of the recorded node that serves models: two vLLM 0.33 engines
(/vllm-embed, /vllm-rerank), their router (/router), five Xinference 4.1 workers (/xinference-worker-0 to -4) and their
supervisor (/xinference-supervisor). Nothing on them was measured. Names, types, labels and bounds are those of these
versions, as far as the dashboards look; figures follow from the time since the start, so that counters grow and loads
swing. In a test: `page("/router", seconds)`, or `serving()` and `scrape_configs(address)`.
"""

from __future__ import annotations

import argparse
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from typing_extensions import override

from tests.serving_pages import EMBED, RERANK, WORKERS, router, vllm, xinference_supervisor, xinference_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: What an operator's scrape says of each page: job, endpoint, instance, namespace, pod, container, service.
_LABELS: Final = ("job", "endpoint", "instance", "namespace", "pod", "container", "service")


class Target(NamedTuple):
    """One page, and the labels that a ServiceMonitor or (without `service`) a PodMonitor would give its series."""

    write: Callable[[float], str]
    labels: dict[str, str]


def _monitored(*values: str) -> dict[str, str]:
    return {name: value for name, value in zip(_LABELS, values, strict=True) if value}


#: By path.
TARGETS: Final = {
    "/vllm-embed": Target(
        partial(vllm, EMBED),
        _monitored(
            "vllm-bge-m3-embed-engine-service", "service-port", "10.42.0.21:8000", "rag",
            "vllm-bge-m3-embed-deployment-vllm-54fb85bf7c-gwjrn", "vllm", "vllm-bge-m3-embed-engine-service",
        ),
    ),
    "/vllm-rerank": Target(
        partial(vllm, RERANK),
        _monitored(
            "vllm-bge-reranker-v2-m3-engine-service", "service-port", "10.42.0.22:8000", "rag",
            "vllm-bge-reranker-v2-m3-deployment-vllm-7dcb7965d9-xwvr7", "vllm",
            "vllm-bge-reranker-v2-m3-engine-service",
        ),
    ),
    "/router": Target(
        router,
        _monitored(
            "vllm-router-service", "router-sport", "10.42.0.20:8000", "rag",
            "vllm-deployment-router-6d5c8b7f94-q2xkz", "router-container", "vllm-router-service",
        ),
    ),
    **{
        f"/xinference-worker-{worker}": Target(
            partial(xinference_worker, worker),
            _monitored(
                "xinference/xinference-worker", "metrics", f"10.42.0.{31 + worker}:9100", "xinference",
                f"xinference-worker-{worker}", "worker", "",
            ),
        )
        for worker in range(len(WORKERS))
    },
    "/xinference-supervisor": Target(
        xinference_supervisor,
        _monitored(
            "xinference/xinference-supervisor", "web", "10.42.0.30:9997", "xinference",
            "xinference-supervisor-7c9d6f5b84-m4tzp", "supervisor", "",
        ),
    ),
}  # fmt: skip


def page(path: str, seconds: float) -> str:
    """Return a page as it is that long after the start."""
    return TARGETS[path].write(seconds)


def scrape_configs(address: str) -> list[dict[str, Any]]:
    """Return one scrape configuration for each page, with the labels that an operator's monitor gives its target."""
    return [
        {
            "job_name": path.removeprefix("/"),
            "metrics_path": path,
            "static_configs": [{"targets": [address], "labels": dict(target.labels)}],
        }
        for path, target in TARGETS.items()
    ]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    started = time.monotonic()

    def do_GET(self) -> None:
        known = self.path in TARGETS
        body = page(self.path, time.monotonic() - self.started).encode() if known else b""
        self.send_response(HTTPStatus.OK if known else HTTPStatus.NOT_FOUND)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of each scrape."""


@contextmanager
def serving(host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve all pages in threads of their own, and give HOST:PORT."""
    server = ThreadingHTTPServer((host, port), _Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="serving-stub", daemon=True)
    thread.start()
    try:
        yield f"{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="Made-up pages of vLLM and Xinference.")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="port 0 = any free one")
    host, _, port = parser.parse_args().listen.rpartition(":")
    with serving(host, int(port)) as address, suppress(KeyboardInterrupt):
        print(f"serving on http://{address} {' '.join(TARGETS)}", flush=True)  # noqa: T201 - a program's answer
        threading.Event().wait()


if __name__ == "__main__":
    main()
