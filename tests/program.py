"""The real program as a child process, and what a scraper sees of it."""

from __future__ import annotations

import http.client
import os
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Mapping, Sequence

ROOT = Path(__file__).parents[1]


class Program:
    """One child process; `directory` is where it runs and has its log."""

    def __init__(self, directory: Path) -> None:
        """Start nothing yet."""
        self.directory = directory
        self.log = directory / "log"
        self.child: subprocess.Popen[bytes] | None = None
        self.port = 0

    def launch(self, command: Sequence[str], **environment: str) -> None:
        """Start the command, with this process's environment and some more, and wait until it listens."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith(("KUBERNETES_", "VGPU_"))}
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                command, stderr=log, cwd=self.directory, env=outside | {"PYTHONPATH": str(ROOT)} | environment
            )
        self.wait_for(self._listens, 30)

    def _listens(self) -> bool:
        assert self.child is not None
        assert self.child.poll() is None, self.log.read_text()
        _, found, url = self.log.read_text().partition("serving on http://127.0.0.1:")
        self.port = int(url.split("/")[0]) if found else 0
        return bool(found)

    def end(self) -> None:
        """End it, whatever it does."""
        if self.child is not None and self.child.poll() is None:
            self.child.kill()
            self.child.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.child is not None
        self.child.send_signal(number)

    # ------------------------------------------------------------ what it serves

    def get(self, path: str) -> tuple[int, str]:
        """GET a path; returns (status, body)."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def scrape(self) -> Mapping[tuple[str, frozenset[tuple[str, str]]], float]:
        """Return all samples of a scrape."""
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.get("/metrics")[1])
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        """Return the one sample of a metric that bears these labels; None if there is none."""
        found = self.values(name, **labels)
        assert len(found) <= 1, f"{name}{labels} is not one series: {found}"
        return found[0] if found else None

    def values(self, name: str, **labels: str) -> list[float]:
        """Return the samples of a metric that bear these labels."""
        return [value for (named, on), value in self.scrape().items() if named == name and set(labels.items()) <= on]

    def wait_for(self, condition: Callable[[], object], seconds: float = 20.0) -> None:
        """Wait until a condition holds; fails with the program's log if it never does."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if condition():
                    return
            except (http.client.HTTPException, OSError):
                pass
            time.sleep(0.05)
        raise AssertionError(f"did not happen within {seconds} s; the log:\n{self.log.read_text()}")
