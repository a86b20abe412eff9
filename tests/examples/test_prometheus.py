"""docs/examples/prometheus.yml: valid, and its discovery keeps what it should of a list of pods.

By promtool 3: Debian's of the second generation is built without discovery in Kubernetes.
"""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.examples.stacks import EXAMPLES, given, production_stack, read, xinference
from tests.examples.stacks import pods as running
from tests.kube_server import BEARER, KubeServer
from tests.rules.checkers import ROOT, answer

if TYPE_CHECKING:
    from pathlib import Path

JOBS = ("vgpu-tenant-exporter", "vllm", "xinference")
#: What a target has to have for the dashboards' joins.
JOINED = ("namespace", "pod", "container")


def test_it_is_valid(tmp_path: Path) -> None:
    """Beside the rules of alerts/generated, under the folder that it names."""
    shutil.copytree(ROOT / "alerts" / "generated", tmp_path / "vgpu")
    shutil.copy(EXAMPLES / "prometheus.yml", tmp_path)

    answer("promtool-3", "check", "config", "--lint=all", "--lint-fatal", str(tmp_path / "prometheus.yml"))


def discovered(job: str, kube: KubeServer, directory: Path) -> list[dict[str, str]]:
    """Return the labels of the targets that a job keeps of the server's pods."""
    configuration = read("prometheus.yml")
    del configuration["rule_files"]
    server = {"api_server": kube.url, "authorization": {"credentials": BEARER}}
    for one in configuration["scrape_configs"]:
        one["kubernetes_sd_configs"][0].update(server)
    path = directory / f"{job}.yml"
    path.write_text(yaml.safe_dump(configuration))
    found: list[dict[str, Any]] = json.loads(
        answer("promtool-3", "check", "service-discovery", "--timeout=5s", str(path), job)
    )
    return [one["labels"] for one in found if one["labels"]]


def put(kube: KubeServer, pods: list[dict[str, Any]]) -> None:
    """Give the pods addresses and put them on the server."""
    for number, pod in enumerate(pods):
        status = pod["status"] | {"podIP": f"10.42.0.{number + 1}", "hostIP": "10.0.0.1"}
        kube.put(pod | {"status": status})


def _exporter() -> dict[str, Any]:
    ports = [{"name": "metrics", "containerPort": 9400}, {"name": "health", "containerPort": 9401}]
    return {
        "metadata": {
            "name": "exporter-x", "namespace": "gpu", "uid": "e",
            "labels": {"app.kubernetes.io/name": "vgpu-tenant-exporter"},
        },
        "spec": {"nodeName": "gpu-node-1", "containers": [{"name": "exporter", "ports": ports}]},
        "status": {"phase": "Running"},
    }  # fmt: skip


@pytest.mark.live
def test_each_job_finds_its_pods(tmp_path: Path) -> None:
    """One target for each engine, router, worker, supervisor and exporter; those that serve with namespace and pod."""
    stacks = (
        *production_stack(given("vllm-production-stack.yaml", tmp_path)),
        *xinference(given("xinference.yaml", tmp_path)),
    )
    pods = [pod for deployment in stacks for pod in running(deployment, 23034)]
    with KubeServer() as kube:
        put(kube, [*pods, _exporter()])
        with ThreadPoolExecutor() as at_once:  # each takes as long as it is given
            found = dict(zip(JOBS, at_once.map(lambda job: discovered(job, kube, tmp_path), JOBS), strict=True))

    [exporter] = found["vgpu-tenant-exporter"]
    assert exporter["node"] == "gpu-node-1"
    assert exporter["__address__"].endswith(":9400")
    assert "namespace" not in exporter
    assert sorted(tuple(target[name] for name in JOINED) for target in found["vllm"] + found["xinference"]) == sorted(
        (pod["metadata"]["namespace"], pod["metadata"]["name"], pod["spec"]["containers"][0]["name"]) for pod in pods
    )
    ports = {target["__address__"].rpartition(":")[2] for target in found["xinference"]}
    assert ports == {"9100", "9997"}
