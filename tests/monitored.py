"""A real Prometheus that scrapes the demo and evaluates our rules, time running faster."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import yaml

from tests.rules.checkers import ROOT, running, serving
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

#: From the 80th second on the recorded node stays as it is, with all that is wrong there.
DEMO: Final = (sys.executable, "-u", "-m", "exporter", "demo", "--hold", "80", "--listen", "127.0.0.1:0")
ANNOUNCED: Final = "http://([^/]+)/metrics"


class Prometheus:
    """One running server's HTTP API, and the folder of the rules that it was given."""

    def __init__(self, address: str, rules: Path) -> None:
        """Know where it listens and what it evaluates."""
        self.address = address
        self.rules = rules

    def ready(self) -> bool:
        """Whether it answers queries."""
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=10):
                return True
        except urllib.error.HTTPError:
            return False

    def ask(self, path: str, **parameters: str) -> Any:  # noqa: ANN401 - whatever that path answers
        """Return an answer's `data`."""
        url = f"http://{self.address}/api/v1/{path}?{urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def series(self, expression: str) -> list[dict[str, Any]]:
        """Return an instant query's samples."""
        result: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return result

    def value(self, expression: str) -> float:
        """Return the one value of an instant query."""
        [sample] = self.series(expression)
        return float(sample["value"][1])


@contextmanager
def scraped(directory: Path, jobs: list[dict[str, Any]], *, time_scale: int) -> Iterator[Prometheus]:
    """Run a Prometheus with these scrape configurations; each `for` and look-back of our rules is divided."""
    subprocess.run(
        [sys.executable, "-m", "alerts", "--time-scale", str(time_scale), "--out", str(directory)], cwd=ROOT, check=True
    )
    configuration = directory / "prometheus.yml"
    configuration.write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
                "rule_files": ["recording.yaml", "alerts.yaml"],
                "scrape_configs": jobs,
            }
        )
    )
    storage = (f"--storage.tsdb.path={directory / 'data'}", "--storage.tsdb.retention.time=1h")
    with serving("prometheus", directory, f"--config.file={configuration}", *storage) as address:
        prometheus = Prometheus(address, directory)
        until(prometheus.ready)
        yield prometheus


@contextmanager
def demo_scraped(
    directory: Path,
    *,
    time_scale: int,
    speed: int = 20,
    others: Iterable[dict[str, Any]] = (),
    clusters: Iterable[str] = ("",),
) -> Iterator[Prometheus]:
    """Run the demo, played `speed` times as fast, and a Prometheus that scrapes it and these other jobs.

    It is scraped once for each of the clusters, whose name becomes the label `cluster`; "" is none.
    """
    with running([*DEMO, "--speed", str(speed)], directory / "demo.log", ANNOUNCED) as demo:
        jobs = [job(f"vgpu-tenant-exporter{name}", demo, cluster=name) for name in clusters]
        with scraped(directory, [*jobs, *others], time_scale=time_scale) as prometheus:
            yield prometheus


def job(name: str, target: str, *, cluster: str = "", **more: object) -> dict[str, Any]:
    """Return the scrape configuration of one exporter at HOST:PORT."""
    labels = {"cluster": cluster} if cluster else {}
    return {"job_name": name, "honor_labels": True, "static_configs": [{"targets": [target], "labels": labels}], **more}
