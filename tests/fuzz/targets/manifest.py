"""A pod's JSON, its minimal copy and its redacted one: exporter/manifest.py, exporter/redaction.py."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, get_args

from exporter.errors import ManifestError
from exporter.manifest import ACCELERATORS, DEVICE_ANNOTATIONS, key, pod, slim
from exporter.model import ContainerKind
from exporter.redaction import Redactor
from tests.fuzz.inputs import json_value
from tests.fuzz.promises import can_be_a_label, refused
from tests.make import GPU, cid, uid

if TYPE_CHECKING:
    from exporter.model import Container, Pod

MAX_LEN: Final = 4096
_ASKS: Final = {"nvidia.com/gpu": 2, "nvidia.com/gpumem": "4k", "nvidia.com/gpucores": "30", "cpu": "100m"}
_ENDED: Final = {"terminated": {"exitCode": 0, "containerID": f"containerd://{cid('old')}"}}
#: What Kubernetes 1.35 can say of a pod, as far as anybody here reads it, and what nobody does.
_FULL: Final = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "uid": uid("full"), "namespace": "team", "name": "web-5d4f8c7b9-x2x4z",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"app": "web", "tenant": "blue", "pod-template-hash": "5d4f8c7b9"},
        "annotations": {
            "hami.io/vgpu-devices-allocated": f";{GPU},NVIDIA,4000,30:;", "hami.io/vgpu-node": "node-a", "note": "x",
            "kubernetes.io/config.hash": "0" * 32,
        },
        "ownerReferences": [{"kind": "ReplicaSet", "name": "web-5d4f8c7b9", "controller": True, "uid": "x"}],
    },
    "spec": {
        "nodeName": "node-a", "restartPolicy": "OnFailure", "resourceClaims": [{"name": "one"}],
        "initContainers": [
            {"name": "first", "image": "x", "resources": {"requests": _ASKS}},
            {"name": "proxy", "restartPolicy": "Always", "env": [{"name": "SECRET", "value": "x"}]},
        ],
        "containers": [
            {"name": "main", "resources": {"limits": _ASKS, "requests": _ASKS, "claims": [{"name": "one"}]}},
            {"name": "tidy", "restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart"}], "command": ["x"]},
        ],
        "ephemeralContainers": [{"name": "debug"}],
    },
    "status": {
        "phase": "Running",
        "initContainerStatuses": [{"name": "first", "state": _ENDED}],
        "containerStatuses": [
            {"name": "main", "containerID": f"containerd://{cid('a')}", "state": {"running": {}}, "lastState": _ENDED},
            {"name": "tidy", "containerID": cid("b"), "state": _ENDED},
        ],
        "ephemeralContainerStatuses": [{"name": "debug", "state": _ENDED}],
    },
}  # fmt: skip
_LEAST: Final = {"metadata": {"uid": "a", "namespace": "b", "name": "c"}, "spec": {}, "status": {}}
EXAMPLES: Final = (json.dumps(_FULL), json.dumps(_LEAST))
SEEDS: Final = (
    *(example.encode() for example in EXAMPLES),
    *(bytes([number % 2, 4, *[number, 7] * 4, number]) for number in range(0, 256, 8)),
    *(bytes([0, 1, part, 3, number, 3, 0, 3, number // 2, 0, 1, number]) for part in (3, 4) for number in range(9)),
    b"null",
)
_LABELS: Final = frozenset({"app", "tenant"})
_TENANT: Final = "tenant"


def one_input(data: bytes) -> None:
    """Read any JSON, or a pod with something changed in it; the copies must read the same."""
    raw = json_value(data, EXAMPLES)
    assert key(raw)
    kept = slim(raw, labels=_LABELS, tenant_label=_TENANT)
    redacted = Redactor().pod(kept)
    json.dumps([kept, redacted], ensure_ascii=False).encode(errors="backslashreplace")  # as the capture is
    found = _pod(raw)
    assert _pod(kept) == found
    if found is None:
        return
    _check(found)
    again = _pod(redacted)
    assert again is not None
    assert [_fate(one) for one in again.containers] == [_fate(one) for one in found.containers]


def _pod(raw: object) -> Pod | None:
    try:
        return pod(raw, labels=_LABELS, tenant_label=_TENANT)
    except ManifestError as error:
        refused(error)
        return None


def _check(found: Pod) -> None:
    """Hold a pod to its promises."""
    names = (found.uid, found.namespace, found.name, found.owner_kind, found.owner_name, found.tenant, found.created)
    assert all(map(can_be_a_label, (*names, found.node, found.config_hash, *found.labels.values())))
    assert all(names[:3])
    assert bool(found.owner_kind) == bool(found.owner_name)
    assert found.annotations.keys() <= DEVICE_ANNOTATIONS
    assert all(len(value) < 65536 + 4 for value in found.annotations.values())
    assert len({container.name for container in found.containers}) == len(found.containers)
    for container in found.containers:
        _check_container(container)


def _check_container(container: Container) -> None:
    assert container.name
    assert can_be_a_label(container.name)
    assert container.kind in get_args(ContainerKind)
    assert len(set(container.ids)) == len(container.ids) <= 3
    assert all(map(can_be_a_label, container.ids))
    for name, amount in container.asks.items():
        assert name.startswith(ACCELERATORS)
        assert amount is None or 0 < amount < 10**130


def _fate(container: Container) -> object:
    """Return what redaction leaves alone."""
    return container.kind, container.finished, container.asks
