"""`helm test`: its pod's own command, run against real servers."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

from typing_extensions import override

from tests.charts.rendering import RELEASE, SHAPES, container, objects, pod_of, the

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TEST = f"{RELEASE}-test"


@contextmanager
def answering(*answers: tuple[int, str]) -> Iterator[str]:
    """Serve these answers one after the other, the last for ever; yields the URL."""
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        @override
        def log_message(self, *_: object) -> None:
            """Keep the test's output to itself."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/readyz"
        server.shutdown()


def run(urls: Sequence[str], patience: str) -> subprocess.CompletedProcess[str]:
    """Run the rendered command, with another interpreter, patience and URLs."""
    _, option, script = container(pod_of(the("Pod", name=TEST)))["command"]
    patient = script.replace("PATIENCE = 60.0", f"PATIENCE = {patience}")
    assert patient != script
    return subprocess.run(
        [sys.executable, "-I", option, patient, *urls], capture_output=True, text=True, check=False, timeout=30
    )


def test_ready_exporters_pass() -> None:
    """Each is named, and the pod succeeds."""
    with answering((200, "ok\n")) as one, answering((200, "ok\n")) as two:
        done = run([one, two], "5.0")

    assert (done.returncode, done.stdout) == (0, f"ready: {one}\nready: {two}\n")


def test_one_that_becomes_ready_passes() -> None:
    """It is asked again."""
    with answering((503, "no snapshot yet\n"), (200, "ok\n")) as url:
        assert run([url], "20.0").returncode == 0


def test_one_that_is_not_ready_fails_with_its_own_words() -> None:
    """What the exporter says is missing is what `helm test --logs` shows."""
    with answering((503, "no NVIDIA driver library\n")) as url:
        done = run([url], "0.0")

    assert (done.returncode, done.stdout) == (1, f"not ready: {url}: no NVIDIA driver library\n")


def test_one_that_does_not_answer_fails() -> None:
    """A name that resolves to nobody is no success."""
    done = run(["http://127.0.0.1:9/readyz"], "0.0")

    assert done.returncode == 1
    assert "refused" in done.stdout


def test_it_asks_the_services_of_the_roles_that_run() -> None:
    """On the health port, which is open to all; it holds no token and no privilege."""
    pod = pod_of(the("Pod", name=TEST))

    assert container(pod)["args"] == [
        f"http://{RELEASE}.gpu.svc:9837/readyz",
        f"http://{RELEASE}-quota.gpu.svc:9837/readyz",
    ]
    assert container(pod_of(the("Pod", SHAPES["quota-only"], TEST)))["args"] == [
        f"http://{RELEASE}-quota.gpu.svc:9837/readyz"
    ]
    assert pod["automountServiceAccountToken"] is False
    assert the("Pod", name=TEST)["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert objects("Pod", {"service": {"enabled": False}}) == []
