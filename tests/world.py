"""A node made of real parts: a driver library, an API server, a procfs tree, and the real program as a child."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from prometheus_client.parser import text_string_to_metric_families

from tests.fake_driver import FakeDriver
from tests.kube_server import KubeServer
from tests.make import NODE, cid, uid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).parents[1]


class ProcTree:
    """A procfs tree with the few files that the exporter reads."""

    def __init__(self, root: Path) -> None:
        """Make an empty one: nobody runs."""
        self.root = root
        (root / "self").mkdir(parents=True)
        (root / "uptime").write_text("1000.00 1000.00\n")
        (root / "self" / "cgroup").write_text("0::/\n")

    def put(self, pid: int, cgroup: str, *, start: int = 100, comm: str = "python", inner: int = 1) -> None:
        """Have a process that began `start` ticks after boot and knows itself as `inner`."""
        directory = self.root / str(pid)
        directory.mkdir(exist_ok=True)
        (directory / "cgroup").write_text(cgroup)
        (directory / "status").write_text(f"Name:\t{comm}\nNSpid:\t{pid}\t{inner}\n")
        (directory / "stat").write_text(f"{pid} ({comm}) S {' '.join(['0'] * 18)} {start} 0 0\n")


def manifest(
    name: str, uuid: str | None = None, *, namespace: str = "team", mib: int = 2000, cores: int = 30, **labels: str
) -> dict[str, Any]:
    """Return a running v1.Pod with one container `main`; granted part of a GPU, unless `uuid` is None."""
    wants = {"nvidia.com/gpu": "1", "nvidia.com/gpumem": str(mib), "nvidia.com/gpucores": str(cores)} if uuid else {}
    annotations = (
        {
            "hami.io/vgpu-node": NODE,
            "hami.io/bind-phase": "success",
            "hami.io/vgpu-devices-allocated": f"{uuid},NVIDIA,{mib},{cores}:;",
        }
        if uuid
        else {}
    )
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name, "namespace": namespace, "uid": uid(name), "annotations": annotations, "labels": labels,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"nodeName": NODE, "containers": [{"name": "main", "resources": {"limits": wants}}]},
        "status": {
            "phase": "Running",
            "containerStatuses": [
                {"name": "main", "containerID": f"containerd://{cid(name + '/main')}", "state": {"running": {}}}
            ],
        },
    }  # fmt: skip


def node(**annotations: str) -> dict[str, Any]:
    """Return the v1.Node; annotation keys are HAMi's, without `hami.io/` and with `_` for `-`."""
    named = {"hami.io/" + key.replace("_", "-"): value for key, value in annotations.items()}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "annotations": named}}


class World:
    """The parts, and the program once it is started; a context manager that ends them all."""

    def __init__(self, directory: Path, *, installed: bool = True) -> None:
        """Make the parts; `installed` says whether the driver's library is there from the beginning."""
        self.directory = directory
        self.driver = FakeDriver(directory, installed=installed)
        self.kube = KubeServer()
        self.proc = ProcTree(directory / "proc")
        self.containers = directory / "containers"
        self.kube.put(node())
        self.kubeconfig = self.kube.kubeconfig(directory / "kubeconfig")
        self.program: subprocess.Popen[bytes] | None = None
        self.log = directory / "log"
        self.port = 0

    def __enter__(self) -> Self:
        self.kube.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self.program is not None and self.program.poll() is None:
            self.program.send_signal(signal.SIGCONT)
            self.program.kill()
            self.program.wait()
        self.kube.__exit__(*error)

    def start(self, *flags: str, interval: str = "0.5s") -> Self:
        """Start the program and wait until it listens."""
        command = [
            sys.executable, str(ROOT / "tests" / "node_program.py"), self.driver.library, f"--node-name={NODE}",
            f"--procfs={self.proc.root}", f"--kubeconfig={self.kubeconfig}", f"--interval={interval}",
            f"--hami-containers={self.containers}", "--listen=127.0.0.1:0", "--health-listen=", *flags,
        ]  # fmt: skip
        environment = {key: value for key, value in os.environ.items() if not key.startswith("KUBERNETES_")}
        with self.log.open("wb") as log:
            self.program = subprocess.Popen(
                command, stderr=log, cwd=self.directory, env=environment | {"PYTHONPATH": str(ROOT)}
            )
        self.wait_for(self._listens, 15)
        return self

    def _listens(self) -> bool:
        assert self.program is not None
        assert self.program.poll() is None, self.log.read_text()
        _, found, url = self.log.read_text().partition("serving on http://127.0.0.1:")
        self.port = int(url.split("/")[0]) if found else 0
        return bool(found)

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
        found = [value for (named, on), value in self.scrape().items() if named == name and set(labels.items()) <= on]
        assert len(found) <= 1, f"{name}{labels} is not one series: {found}"
        return found[0] if found else None

    def wait_for(self, condition: Callable[[], object], seconds: float = 10.0) -> None:
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
