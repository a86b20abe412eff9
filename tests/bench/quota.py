"""What the quota role costs in a large cluster: `python -m tests.bench quota`; with `memory`, over many events.

The real program as a child, and the API server in a process of its own, so that neither's CPU is the other's. Pods have
the size of real ones; of those that come, change and go one in twenty has vGPUs, as of those that stay.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
import urllib.request
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests import quota_world as world
from tests.kube_server import KubeServer
from tests.program import Program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

PODS: Final = 30_000
ONE_IN: Final = 20  # pods have vGPUs
NAMESPACES: Final = 500
QUOTAS: Final = 800
RATE: Final = 500  # events a second
#: Pods that come and go in the churn at any one time, beside those that stay.
_FLEETING: Final = 1000
_PROMETHEUS: Final = {"Accept": "text/plain;version=0.0.4", "Accept-Encoding": "gzip"}


class Usage(NamedTuple):
    """CPU seconds so far, and resident MB, of a process."""

    cpu: float
    resident: float


class Load(NamedTuple):
    """How the program does for a while: ms of each scrape, its share of a core, events a second that were sent."""

    scrapes: list[float]
    share: float
    rate: float


# ---------------------------------------------------------------- the cluster


def objects() -> Iterator[dict[str, Any]]:
    """Yield everything that is there at first."""
    for number in range(NAMESPACES):
        yield world.namespace(_team(number), team=f"team-{number % 50}")
    for number in range(QUOTAS):
        hard = {f"limits.{world.GPUMEM}": "400000", f"limits.{world.GPUCORES}": "4000", f"requests.{world.GPU}": "40"}
        yield world.quota(f"quota-{number // NAMESPACES}", hard, namespace=_team(number))
    for number in range(PODS):
        yield pod(f"pod-{number}", number)


def pod(name: str, number: int) -> dict[str, Any]:
    """Return a pod as large as real ones; some have two vGPUs."""
    raw = (
        world.pod(
            name,
            f"{world.slot(4000)}{world.slot(4000, card=2)};",
            world.container("main", 4000, gpus=2),
            namespace=_team(number // ONE_IN),
            node=f"node-{number % 200}",
        )
        if number % ONE_IN == 0
        else world.pod(
            name, None, world.container("main", None, gpus=0), namespace=_team(number), node=f"node-{number}"
        )
    )
    raw["metadata"]["managedFields"] = [{"manager": "kubelet", "fieldsV1": {f"f:field-{one}": {}}} for one in range(60)]
    raw["spec"]["tolerations"] = [{"key": f"key-{one}", "operator": "Exists"} for one in range(5)]
    raw["spec"]["containers"][0]["env"] = [{"name": f"VARIABLE_{one}", "value": "x" * 40} for one in range(15)]
    return raw


def _team(number: int) -> str:
    return f"team-{number % NAMESPACES}"


def _serve(directory: Path, orders: Connection) -> None:
    """Be the cluster: write the kubeconfig, then have as many events as ordered, and say how long that took."""
    with KubeServer() as kube:
        for raw in objects():
            kube.put(raw)
        kube.history.clear()
        kube.kubeconfig(directory / "kubeconfig")
        orders.send(0.0)
        events = _events(kube)
        while wanted := orders.recv():
            begun = time.monotonic()
            for number in range(wanted):
                time.sleep(max(begun + number / RATE - time.monotonic(), 0))
                next(events)
                if number % 10_000 == 0:
                    kube.history[:-1000] = []  # nobody is so far behind
            orders.send(time.monotonic() - begun)


def _events(kube: KubeServer) -> Iterator[None]:
    """Yield after each event: a pod comes, changes once, and goes after a while."""
    for number in count():
        raw = pod(f"fleeting-{number}", number)
        kube.put(raw)
        yield
        raw["status"]["message"] = "changed"
        kube.put(raw)
        yield
        if number >= _FLEETING:
            gone = number - _FLEETING
            of = gone // ONE_IN if gone % ONE_IN == 0 else gone
            kube.delete(_team(of), f"fleeting-{gone}")
            yield


class Cluster(Program):
    """The cluster and the quota role, each in a process of its own; a context manager that ends both."""

    def __init__(self, directory: Path) -> None:
        """Fill the API server."""
        super().__init__(directory)
        self.orders, theirs = multiprocessing.Pipe()
        self._server = multiprocessing.Process(target=_serve, args=(directory, theirs), daemon=True)

    def __enter__(self) -> Cluster:
        self._server.start()
        self.orders.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._server.terminate()
        self._server.join()

    def start(self) -> float:
        """Start the program; return the seconds until it was ready."""
        begun = time.monotonic()
        flags = (f"--kubeconfig={self.directory / 'kubeconfig'}", "--listen=127.0.0.1:0", "--health-listen=")
        self.launch([sys.executable, "-m", "exporter", "quota", *flags, "--tenant-label=team"], NO_PROXY="127.0.0.1")
        self.wait_for(lambda: self.get("/readyz")[0] == 200, 120)
        return time.monotonic() - begun

    def usage(self) -> Usage:
        """Return what the program used so far."""
        assert self.child is not None
        directory = Path(f"/proc/{self.child.pid}")
        fields = (directory / "stat").read_text().rpartition(")")[2].split()
        resident = int((directory / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return Usage((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), resident / 1e6)

    def under(self, seconds: float, events: int = 0) -> Load:
        """Scrape ten times a second while the cluster has so many events; return how that went."""
        before, begun, scrapes = self.usage().cpu, time.monotonic(), []
        if events:
            self.orders.send(events)
        while (passed := time.monotonic() - begun) < seconds:
            scrapes.append(self.timed())
            time.sleep(max(0.1 - (time.monotonic() - begun - passed), 0))
        share = (self.usage().cpu - before) / (time.monotonic() - begun)
        return Load(scrapes, share, events / self.orders.recv() if events else 0.0)

    def timed(self) -> float:
        """Scrape as Prometheus does; return the milliseconds."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/metrics", headers=_PROMETHEUS)
        begun = time.perf_counter()
        with urllib.request.urlopen(request, timeout=5) as answer:
            answer.read()
        return (time.perf_counter() - begun) * 1e3
