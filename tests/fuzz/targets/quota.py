"""A ResourceQuota's JSON: exporter/hami/quota.py."""

from __future__ import annotations

import json
from math import isfinite
from typing import Final

from exporter.errors import ManifestError
from exporter.hami.families import FAMILIES
from exporter.hami.quota import quota, resources
from tests.fuzz.inputs import json_value
from tests.fuzz.promises import can_be_a_label, refused

MAX_LEN: Final = 4096
_HARD: Final = {
    "limits.nvidia.com/gpumem": "16k", "requests.nvidia.com/gpumem": 8000, "nvidia.com/gpu": "4", "cpu": "8",
    "limits.nvidia.com/gpucores": "150", "limits.huawei.com/Ascend910A-memory": "32768", "limits.cpu": "1500m",
}  # fmt: skip
_QUOTA: Final = {
    "apiVersion": "v1", "kind": "ResourceQuota",
    "metadata": {"namespace": "team", "name": "gpus", "resourceVersion": "4711"},
    "spec": {
        "hard": _HARD, "scopes": ["NotTerminating"],
        "scopeSelector": {
            "matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high", "low"]}]
        },
    },
    "status": {"hard": _HARD, "used": dict.fromkeys(_HARD, "1")},
}  # fmt: skip
EXAMPLES: Final = (json.dumps(_QUOTA),)
SEEDS: Final = (
    EXAMPLES[0].encode(),
    *(bytes([0, 1, 3, 3, 0, 3, field, 0, 1, value]) for field in range(len(_HARD)) for value in (2, 8, 12, 17, 20)),
    *(bytes([0, 1, part, 3, field, 0, 1, value]) for part in (2, 3, 4) for field in range(3) for value in (0, 13, 24)),
    b"null",
)
_NAMES: Final = resources(FAMILIES)


def one_input(data: bytes) -> None:
    """Read any JSON, or a quota with something changed in it."""
    try:
        found = quota(json_value(data, EXAMPLES), FAMILIES)
    except ManifestError as error:
        refused(error)
        return
    if found is None:
        return
    assert found.namespace
    assert found.name
    assert can_be_a_label(found.namespace + found.name)
    assert 0 <= found.version < 10**20
    assert (found.hard.keys() | found.used.keys() | found.hami.keys()) <= _NAMES.keys()
    assert all(isfinite(amount) and amount >= 0 for amount in (*found.hard.values(), *found.used.values()))
    assert all(0 <= amount < 2**63 for amount in found.hami.values())
    assert found.hard or found.unreadable
