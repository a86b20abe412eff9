"""What the two charts make of their values, by our own reading of their templates: the parts that the examples use.

vllm-stack 0.1.12, github vllm-project/production-stack at 66b60661: helm/values.schema.json, templates/_helpers.tpl
(`chart.resources`), deployment-vllm-multi.yaml, deployment-router.yaml, service-vllm.yaml.
xinference, github xorbitsai/xinference-helm-charts at 33cd7fb1: values.yaml,
templates/deployment-{supervisor,worker}.yaml.
Neither chart is here. Helm itself merges the values (`given`), its schema validation is ours (`SCHEMA`).
"""

from __future__ import annotations

import json
import subprocess
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import yaml

from tests.rules.checkers import ROOT, checker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: One Kubernetes object, or a part of one.
Json: TypeAlias = "dict[str, Any]"

EXAMPLES: Final = ROOT / "docs" / "examples"
GPU, GPUMEM, GPUCORES = "nvidia.com/gpu", "nvidia.com/gpumem", "nvidia.com/gpucores"
PERCENTAGE: Final = "nvidia.com/gpumem-percentage"


def read(name: str) -> Json:
    """Return an example with one document."""
    found: Json = yaml.safe_load((EXAMPLES / name).read_text())
    return found


def read_all(name: str) -> list[Json]:
    """Return an example's documents."""
    return list(yaml.safe_load_all((EXAMPLES / name).read_text()))


# ---------------------------------------------------------------- the charts' defaults, as far as they matter here

DEFAULTS: Final[dict[str, Json]] = {
    "vllm-production-stack.yaml": {
        "servingEngineSpec": {
            "labels": {"environment": "test", "release": "test"}, "runtimeClassName": "nvidia", "schedulerName": "",
            "strategy": {}, "serviceMonitor": {"enabled": False},
        },
        "routerSpec": {
            "labels": {"environment": "router", "release": "router"}, "serviceMonitor": {"enabled": False},
        },
    },
    "xinference.yaml": {
        "config": {"worker_num": 1},
        "xinferenceSupervisor": {
            "supervisor": {
                "ports": [{"containerPort": 9997, "name": "web"}, {"containerPort": 9999, "name": "oscar"}],
                "resources": {"requests": {"cpu": "1", "memory": "4Gi", GPU: "1"}, "limits": {GPU: "1"}},
            },
        },
        "xinferenceWorker": {
            "strategy": {"type": "Recreate"},
            "worker": {
                "args": [
                    "-e", "http://service-supervisor:9997", "--host", "$(POD_IP)", "--worker-port", "30001",
                    "--log-level", "debug",
                ],
                "ports": [{"containerPort": 30001}],
                "resources": {"requests": {"cpu": "2", "memory": "8Gi", GPU: "1"}, "limits": {GPU: "1"}},
            },
        },
    },
}  # fmt: skip


@cache
def _merged(name: str, directory: Path) -> str:
    """Return the example's values over the chart's defaults, as the real Helm merges them."""
    chart = directory / name
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("{apiVersion: v2, name: values, version: 0.0.1}")
    (chart / "values.yaml").write_text(json.dumps(DEFAULTS[name]))
    (chart / "templates" / "values.yaml").write_text("{{ toYaml .Values }}\n")
    command = [checker("helm"), "template", "x", str(chart), "--values", str(EXAMPLES / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def given(name: str, directory: Path) -> Json:
    """Return the values that the chart's templates see."""
    found: Json = yaml.safe_load(_merged(name, directory))
    return found


# ---------------------------------------------------------------- vLLM Production Stack

_TEXT: Final = {"type": "string"}
_AMOUNT: Final = {"type": ["integer", "number", "string"]}
_LABELS: Final = {"type": "object", "additionalProperties": _TEXT}
_MONITOR: Final = {
    "type": "object", "additionalProperties": False, "properties": {"enabled": {"type": "boolean"}},
}  # fmt: skip
#: The chart's own types of the keys that the example uses; but here, other keys are refused.
SCHEMA: Final[Json] = {
    "type": "object", "additionalProperties": False, "required": ["servingEngineSpec"],
    "properties": {
        "servingEngineSpec": {
            "type": "object", "additionalProperties": False,
            "properties": {
                "labels": _LABELS, "strategy": {"type": "object"}, "runtimeClassName": _TEXT, "schedulerName": _TEXT,
                "serviceMonitor": _MONITOR,
                "modelSpec": {
                    "type": "array",
                    "items": {
                        "type": "object", "additionalProperties": False,
                        "required": ["name", "repository", "tag", "modelURL", "requestCPU", "requestMemory"],
                        "properties": {
                            "name": _TEXT, "repository": _TEXT, "tag": _TEXT, "modelURL": _TEXT,
                            "replicaCount": {"type": "integer"}, "requestCPU": {"type": "integer"},
                            "requestMemory": _TEXT, "limitCPU": _AMOUNT, "limitMemory": _TEXT, "requestGPU": _AMOUNT,
                            "requestGPUMem": _TEXT, "limitGPUMem": _TEXT, "requestGPUMemPercentage": _TEXT,
                            "limitGPUMemPercentage": _TEXT, "requestGPUCores": _TEXT, "limitGPUCores": _TEXT,
                            "podAnnotations": {"type": "object"},
                            "vllmConfig": {
                                "type": "object", "additionalProperties": False,
                                "properties": {
                                    "runner": {"enum": ["auto", "pooling"]},
                                    # The chart allows more words than vLLM 0.33, which knows these.
                                    "convert": {"enum": ["embed", "classify"]},
                                    "maxModelLen": {"type": "integer"}, "gpuMemoryUtilization": _AMOUNT,
                                    "extraArgs": {"type": "array", "items": _TEXT},
                                },
                            },
                        },
                    },
                },
            },
        },
        "routerSpec": {
            "type": "object", "additionalProperties": False,
            "properties": {"labels": _LABELS, "serviceMonitor": _MONITOR},
        },
    },
}  # fmt: skip

#: What each key becomes: the resource's name, by the side that it is rendered on.
_RENDERED: Final = {
    "requests": {
        "requestMemory": "memory", "requestCPU": "cpu", "requestGPU": GPU, "requestGPUMem": GPUMEM,
        "requestGPUMemPercentage": PERCENTAGE, "requestGPUCores": GPUCORES,
    },
    "limits": {
        "limitMemory": "memory", "limitCPU": "cpu", "requestGPU": GPU, "limitGPUMem": GPUMEM,
        "limitGPUMemPercentage": PERCENTAGE, "limitGPUCores": GPUCORES,
    },
}  # fmt: skip


def resources(model: Json) -> Json:
    """Return a model's requests and limits: each side has its own keys, only the count goes to both."""
    return {
        side: {resource: str(model[key]) for key, resource in keys.items() if key in model}
        for side, keys in _RENDERED.items()
    }


def production_stack(values: Json, release: str = "vllm", namespace: str = "rag") -> Iterator[Json]:
    """Yield the Deployment of each engine, and that of the router."""
    engines, router = values["servingEngineSpec"], values["routerSpec"]
    common = {"app.kubernetes.io/instance": release, "app.kubernetes.io/part-of": "vllm-stack"}
    for model in engines["modelSpec"]:
        own = {"model": model["name"], "helm-release-name": release, "app.kubernetes.io/component": "serving-engine"}
        container = {
            "name": "vllm",
            "image": f"{model['repository']}:{model['tag']}",
            "command": ["vllm", "serve", model["modelURL"], *model["vllmConfig"]["extraArgs"]],
            "ports": _ports(("container-port", 8000), ("zmq-port", 55555), ("ucx-port", 9999)),
            "resources": resources(model),
        }
        yield _deployment(
            f"{release}-{model['name']}-deployment-vllm", namespace, own | common | engines["labels"], container,
            replicas=model["replicaCount"], strategy=engines["strategy"],
            annotations=model.get("podAnnotations"), runtime=engines["runtimeClassName"],
        )  # fmt: skip
    labels = {"app.kubernetes.io/name": "router", "app.kubernetes.io/component": "router"} | common | router["labels"]
    container = {
        "name": "router-container",
        "image": "lmcache/lmstack-router:latest",
        "ports": _ports(("router-cport", 8000), ("lmcache-port", 9000)),
    }
    yield _deployment(f"{release}-deployment-router", namespace, labels, container)


# ---------------------------------------------------------------- Xinference


def xinference(values: Json, release: str = "xinference", namespace: str = "xinference") -> Iterator[Json]:
    """Yield the Deployments of supervisor and workers."""
    image = {"image": values["config"]["xinference_image"]}
    common = {"app.kubernetes.io/name": "xinference", "app.kubernetes.io/instance": release}
    supervisor = values["xinferenceSupervisor"]["supervisor"]
    labels = {"app": "xinference-supervisor", **common}
    yield _deployment(f"{release}-supervisor", namespace, labels, {"name": "supervisor", **image, **supervisor})
    worker = values["xinferenceWorker"]
    yield _deployment(
        f"{release}-worker", namespace, {"app": "xinference-worker", **common},
        {"name": "worker", **image, **worker["worker"]},
        replicas=values["config"]["worker_num"], strategy=worker["strategy"],
    )  # fmt: skip


# ---------------------------------------------------------------- Kubernetes


def _ports(*ports: tuple[str, int]) -> list[Json]:
    return [{"name": name, "containerPort": port} for name, port in ports]


def _deployment(  # noqa: PLR0913  what two charts set
    name: str, namespace: str, labels: Json, container: Json, *, replicas: int = 1, strategy: Json | None = None,
    annotations: Json | None = None, runtime: str = "",
) -> Json:  # fmt: skip
    spec = {"containers": [container], **({"runtimeClassName": runtime} if runtime else {})}
    metadata = {"labels": labels, **({"annotations": annotations} if annotations else {})}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels},
            "template": {"metadata": metadata, "spec": spec}, **({"strategy": strategy} if strategy else {}),
        },
    }  # fmt: skip


def pods(deployment: Json, card: int) -> Iterator[Json]:
    """Yield the running pods of a Deployment, with what HAMi grants each on a card of so many MiB."""
    template, name = deployment["spec"]["template"], deployment["metadata"]["name"]
    [container] = template["spec"]["containers"]
    for number in range(deployment["spec"]["replicas"]):
        metadata = {
            **template["metadata"], "name": f"{name}-{number}", "namespace": deployment["metadata"]["namespace"],
            "uid": f"{name}-{number}",
        }  # fmt: skip
        metadata["annotations"] = {**metadata.get("annotations", {}), **_allocated(container, card)}
        yield {
            "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
            "spec": {**template["spec"], "nodeName": "gpu-node-1"}, "status": {"phase": "Running"},
        }  # fmt: skip


def _allocated(container: Json, card: int) -> dict[str, str]:
    """Return the annotations of HAMi's scheduler: a percentage is of the card's memory, rounded down."""
    limits = container.get("resources", {}).get("limits", {})
    if GPU not in limits:
        return {}
    mib = int(limits.get(GPUMEM) or card * int(limits[PERCENTAGE]) // 100)
    device = f"GPU-1,NVIDIA,{mib},{limits.get(GPUCORES, 0)}:"
    return {"hami.io/vgpu-node": "gpu-node-1", "hami.io/vgpu-devices-allocated": device * int(limits[GPU]) + ";"}
