"""A node made of real parts: a driver library, an API server, a procfs tree, and the real program as a child."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Self

from tests.fake_driver import FakeDriver
from tests.kube_server import KubeServer
from tests.make import NODE, cid, uid
from tests.program import ROOT, Program

if TYPE_CHECKING:
    from pathlib import Path


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


class World(Program):
    """The parts, and the program once it is started; a context manager that ends them all."""

    def __init__(self, directory: Path, *, installed: bool = True) -> None:
        """Make the parts; `installed` says whether the driver's library is there from the beginning."""
        super().__init__(directory)
        self.driver = FakeDriver(directory, installed=installed)
        self.kube = KubeServer()
        self.proc = ProcTree(directory / "proc")
        self.containers = directory / "containers"
        self.kube.put(node())
        self.kubeconfig = self.kube.kubeconfig(directory / "kubeconfig")

    def __enter__(self) -> Self:
        self.kube.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.end()
        self.kube.__exit__(*error)

    def start(self, *flags: str, interval: str = "0.5s") -> Self:
        """Start the program and wait until it listens."""
        command = [
            sys.executable, str(ROOT / "tests" / "node_program.py"), self.driver.library, f"--node-name={NODE}",
            f"--procfs={self.proc.root}", f"--kubeconfig={self.kubeconfig}", f"--interval={interval}",
            f"--hami-containers={self.containers}", "--listen=127.0.0.1:0", "--health-listen=", *flags,
        ]  # fmt: skip
        self.launch(command)
        return self
