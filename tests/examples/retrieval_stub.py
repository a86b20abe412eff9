"""A small server with the HTTP forms of vLLM 0.33 and of Xinference 4.1: models, embeddings, rerank, and their errors.

It computes nothing: an embedding is three numbers, and the document that comes first is the best.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Status, body, headers.
Answer = tuple[int, Any, dict[str, str]]

EMBED: Final = "bge-m3-embed"
RERANK: Final = "bge-reranker-v2-m3"
#: Those of both examples: names in vLLM, UIDs in Xinference.
MODELS: Final = (EMBED, RERANK, "bge-m3", "reranker")


def vllm_error(status: int, message: str, **headers: str) -> Answer:
    """Return an error in vLLM's form."""
    return status, {"error": {"message": message, "type": "Error", "param": None, "code": status}}, headers


def xinference_error(status: int, message: str, **headers: str) -> Answer:
    """Return an error in Xinference's form."""
    return status, {"detail": message}, headers


def vllm(path: str, body: dict[str, Any]) -> Answer:
    """Answer as an engine that serves both models, or the router before two engines."""
    if path == "/v1/models":
        return 200, {"object": "list", "data": [{"id": name, "object": "model"} for name in MODELS]}, {}
    if body.get("model") not in MODELS:
        return vllm_error(404, f"The model `{body.get('model')}` does not exist.")
    usage = {"prompt_tokens": 9, "total_tokens": 9}
    if path == "/v1/embeddings":
        about = {"id": "embd-1", "object": "list", "created": 1, "model": EMBED, "usage": usage}
        return 200, about | {"data": _embeddings(body)}, {}
    if path in ("/rerank", "/v1/rerank", "/v2/rerank"):
        documents = [{"text": text, "multi_modal": None} for text in body["documents"]]
        return 200, {"id": "score-1", "model": RERANK, "usage": usage, "results": _ranks(body, documents)}, {}
    return 404, {"detail": "Not Found"}, {}


def xinference(path: str, body: dict[str, Any]) -> Answer:
    """Answer as a supervisor with both models: /v1/rerank alone, without documents or usage."""
    if path == "/v1/models":
        return 200, {"object": "list", "data": [{"id": name, "model_type": "?"} for name in MODELS]}, {}
    if body.get("model") not in MODELS:
        return xinference_error(400, f"[address=10.0.0.1:9999] Model not found, uid: {body.get('model')}")
    if path == "/v1/embeddings":
        about = {"object": "list", "model": EMBED, "model_replica": f"{EMBED}-0", "usage": {"total_tokens": 9}}
        return 200, about | {"data": _embeddings(body)}, {}
    if path == "/v1/rerank":
        meta = {"api_version": None, "billed_units": None, "tokens": None, "warnings": None}
        return 200, {"id": "5e0c", "results": _ranks(body, [None] * len(body["documents"])), "meta": meta}, {}
    return 404, {"detail": "Not Found"}, {}


def _embeddings(body: dict[str, Any]) -> list[dict[str, Any]]:
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    return [{"index": index, "object": "embedding", "embedding": [0.1, 0.2, 0.3]} for index, _ in enumerate(texts)]


def _ranks(body: dict[str, Any], documents: list[Any]) -> list[dict[str, Any]]:
    ranks = [
        {"index": index, "document": document, "relevance_score": 1 / (1 + index)}
        for index, document in enumerate(documents)
    ]
    return ranks[: body.get("top_n") or None]


@dataclass
class Stub:
    """One running server: where it is, what it was asked, and what it does before it answers properly.

    `asked` has path, body and the Authorization header of each request. `faults` are given out first, each once, to
    POSTs; None hangs up without an answer.
    """

    url: str = ""
    asked: list[tuple[str, dict[str, Any], str | None]] = field(default_factory=list)
    faults: list[Answer | None] = field(default_factory=list)
    most_at_once: int = 0

    def bodies(self, path: str) -> list[dict[str, Any]]:
        """Return what was sent to that path."""
        return [body for asked, body, _ in self.asked if asked == path]


@contextmanager
def serving(answer: Callable[[str, dict[str, Any]], Answer]) -> Iterator[Stub]:
    """Serve in threads of its own."""
    stub, lock = Stub(), threading.Lock()
    at_work = 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet: else each answer waits 40 ms for the other side

        def do_GET(self) -> None:
            self._reply(answer(self.path, {}))

        def do_POST(self) -> None:
            nonlocal at_work
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                at_work += 1
                stub.most_at_once = max(stub.most_at_once, at_work)
                stub.asked.append((self.path, body, self.headers["Authorization"]))
                given = [stub.faults.pop(0)] if stub.faults else []
            found = given[0] if given else answer(self.path, body)
            with lock:
                at_work -= 1  # before the answer: the next call must not seem to be there at once with this one
            self._reply(found)

        def _reply(self, found: Answer | None) -> None:
            if found is None:
                self.close_connection = True
                return
            status, body, headers = found
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        @override
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing of each request."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="retrieval-stub", daemon=True)
    thread.start()
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
