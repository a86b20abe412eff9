"""A cluster made of real parts: an API server with quotas, namespaces and pods, and the quota role as a child."""

from __future__ import annotations

import sys
from itertools import count
from typing import TYPE_CHECKING, Any, Self

from tests.kube_server import KubeServer
from tests.program import Program

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MIB = 2**20
GPUMEM, GPUCORES, GPU = "nvidia.com/gpumem", "nvidia.com/gpucores", "nvidia.com/gpu"

_UIDS = count()


def namespace(name: str, **labels: str) -> dict[str, Any]:
    """Return a v1.Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def quota(name: str, hard: Mapping[str, object], *, namespace: str = "team", **spec: object) -> dict[str, Any]:
    """Return a v1.ResourceQuota, as the API server completes it."""
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": name, "namespace": namespace, "uid": f"quota-{namespace}-{name}"},
        "spec": {"hard": dict(hard), **spec},
        "status": {"hard": dict(hard), "used": dict.fromkeys(hard, "0")},
    }


def container(name: str, mib: int | None, *, cores: int | None = 30, gpus: int = 1) -> dict[str, Any]:
    """Return a container that asks for so much of each of so many GPUs; None: says nothing of it; 0 GPUs: nothing."""
    asks = {GPU: gpus, GPUMEM: mib, GPUCORES: cores} if gpus else {}
    return {
        "name": name,
        "resources": {"limits": {key: str(value) for key, value in asks.items() if value is not None}},
    }


def pod(
    name: str,
    allocated: str | None,
    *containers: dict[str, Any],
    namespace: str = "team",
    node: str = "node-a",
    init: tuple[dict[str, Any], ...] = (),
    phase: str = "Running",
) -> dict[str, Any]:
    """Return a v1.Pod that HAMi has placed on `node` with that annotation; None: nothing has placed it yet."""
    annotations = (
        {}
        if allocated is None
        else {
            "hami.io/vgpu-node": node,
            "hami.io/bind-phase": "success",
            "hami.io/vgpu-devices-allocated": allocated,
        }
    )
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{next(_UIDS)}", "annotations": annotations},
        "spec": {
            **({} if allocated is None else {"nodeName": node}),
            "containers": list(containers) or [container("main", 2000)],
            "initContainers": list(init),
        },
        "status": {"phase": phase},
    }


def slot(mib: int, cores: int = 30, card: int = 1) -> str:
    """Return one device of a device annotation."""
    return f"GPU-{card},NVIDIA,{mib},{cores}:"


class QuotaWorld(Program):
    """The API server, and the program once it is started; a context manager that ends both."""

    def __init__(self, directory: Path) -> None:
        """Make a server with one namespace, `team`."""
        super().__init__(directory)
        self.kube = KubeServer()
        self.kubeconfig = self.kube.kubeconfig(directory / "kubeconfig")
        self.kube.put(namespace("team"))

    def __enter__(self) -> Self:
        self.kube.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.end()
        self.kube.__exit__(*error)

    def start(self, *flags: str) -> Self:
        """Start the program and wait until it listens."""
        common = (f"--kubeconfig={self.kubeconfig}", "--listen=127.0.0.1:0", "--health-listen=")
        self.launch([sys.executable, "-m", "exporter", "quota", *common, *flags], NO_PROXY="127.0.0.1")
        return self

    def ready(self, *flags: str) -> Self:
        """Start the program and wait until it has listed everything."""
        self.start(*flags)
        self.wait_for(lambda: self.get("/readyz") == (200, "ok\n"))
        return self
