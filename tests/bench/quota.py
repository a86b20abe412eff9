"""A large cluster for the quota role: 30,000 pods, and as many events as are ordered.

The real program as a child, and the API server in a process of its own, so that neither's CPU is the other's. Pods have
the size of real ones (5 kB); of those that come, change and go one in twenty has vGPUs, as of those that stay.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from tests import quota_world as world
from tests.kube_server import KubeServer
from tests.program import Program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from pathlib import Path

PODS: Final = 30_000
ONE_IN: Final = 20  # pods has vGPUs
NAMESPACES: Final = 500
QUOTAS: Final = 800
#: Pods that come and go at any one time, beside those that stay.
_FLEETING: Final = 1000
#: Events that the server keeps for watches that lag behind, and how often it looks.
_KEPT: Final = 10_000


class Order(NamedTuple):
    """So many events, at most so many a second; then a pod on that node, by which one sees that all have come in."""

    events: int
    rate: float
    node: str


# ---------------------------------------------------------------- the cluster


def objects() -> Iterator[dict[str, Any]]:
    """Yield everything that is there at first."""
    for number in range(NAMESPACES):
        yield world.namespace(_namespace(number), team=f"team-{number % 50}")
    for number in range(QUOTAS):
        hard = {f"limits.{world.GPUMEM}": "400000", f"limits.{world.GPUCORES}": "4000", f"requests.{world.GPU}": "40"}
        yield world.quota(f"quota-{number // NAMESPACES}", hard, namespace=_namespace(number))
    for number in range(PODS):
        yield pod(f"pod-{number}", number)


def pod(name: str, number: int, node: str = "") -> dict[str, Any]:
    """Return a pod as large as real ones; one in so many has a part of two GPUs."""
    entry, gpus = (world.slot(4000) + world.slot(4000, card=2) + ";", 2) if number % ONE_IN == 0 else (None, 0)
    raw = world.pod(
        name,
        entry,
        world.container("main", 4000, gpus=gpus),
        namespace=_namespace(number // ONE_IN),
        node=node or f"node-{number // ONE_IN % 200}",
    )
    raw["metadata"]["managedFields"] = [{"manager": "kubelet", "fieldsV1": {f"f:field-{one}": {}}} for one in range(60)]
    raw["spec"]["tolerations"] = [{"key": f"key-{one}", "operator": "Exists"} for one in range(5)]
    raw["spec"]["containers"][0]["env"] = [{"name": f"VARIABLE_{one}", "value": "x" * 40} for one in range(15)]
    return raw


def _namespace(number: int) -> str:
    return f"namespace-{number % NAMESPACES}"


def _events(kube: KubeServer) -> Iterator[None]:
    """Have an event each time one is asked for: a pod comes, changes once, and goes after a while."""
    for number in count():
        raw = pod(f"fleeting-{number}", number)
        kube.put(raw)
        yield
        kube.put(raw | {"status": {"phase": "Running", "message": "changed"}})
        yield
        if (gone := number - _FLEETING) >= 0:
            kube.delete(_namespace(gone // ONE_IN), f"fleeting-{gone}")
            yield


def _serve(directory: Path, orders: Connection) -> None:
    """Be the cluster: write the kubeconfig, then have the events that are ordered; say how many there were a second."""
    with KubeServer() as kube:
        for raw in objects():
            kube.put(raw)
        kube.compact()
        kube.kubeconfig(directory / "kubeconfig")
        orders.send(0.0)
        events = _events(kube)
        while True:
            order: Order = orders.recv()
            begun = time.monotonic()
            for number in range(order.events):
                time.sleep(max(begun + number / order.rate - time.monotonic(), 0))
                next(events)
                if number % _KEPT == 0:
                    with kube.changed:
                        kube.history[:-_KEPT] = []
            orders.send(order.events / (time.monotonic() - begun))
            kube.put(pod("last", 0, order.node))


class Cluster(Program):
    """The cluster and the quota role, each in a process of its own; a context manager that ends both."""

    def __init__(self, directory: Path) -> None:
        """Start nothing yet."""
        super().__init__(directory)
        self._orders, theirs = multiprocessing.Pipe()
        self._server = multiprocessing.Process(target=_serve, args=(directory, theirs), daemon=True)

    def __enter__(self) -> Self:
        """Fill the API server."""
        self._server.start()
        self._orders.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._server.terminate()
        self._server.join()

    @property
    def pid(self) -> int:
        """The program's."""
        assert self.child is not None
        return self.child.pid

    def start(self) -> float:
        """Start the program; return the seconds until it was ready."""
        begun = time.monotonic()
        flags = (f"--kubeconfig={self.directory / 'kubeconfig'}", "--listen=127.0.0.1:0", "--health-listen=")
        self.launch([sys.executable, "-m", "exporter", "quota", *flags, "--tenant-label=team"], NO_PROXY="127.0.0.1")
        self.wait_for(lambda: self.get("/readyz")[0] == 200, 120)
        return time.monotonic() - begun

    def begin(self, order: Order) -> None:
        """Let events happen."""
        self._orders.send(order)

    def finish(self, order: Order) -> tuple[float, float]:
        """Wait for the end of the events; return how many there were a second, and seconds until the last was seen."""
        rate: float = self._orders.recv()
        begun = time.monotonic()
        self.wait_for(lambda: f'vgpu_node_granted_containers{{node="{order.node}"}}' in self.get("/metrics")[1], 120)
        return rate, time.monotonic() - begun
