"""The document that `--json` prints: stable keys with the unit in them, null for what is not known."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.top.rows import Frame, Gpu, Nobodys, Use


def document(frame: Frame, gpus: Sequence[Gpu]) -> str:
    """Return it as ASCII, everything that a terminal would obey escaped; `gpus` are those chosen of the frame."""
    content = {
        "data_age_seconds": frame.age,
        "core_window_seconds": frame.core_window,
        "blind_sources": frame.blind,
        "stale_exporters": frame.stale,
        "silent_exporters": frame.silent,
        "gpus": [_gpu(gpu) for gpu in gpus],
    }
    return json.dumps(content, indent=2, allow_nan=False).replace("\x7f", "\\u007f")


def _gpu(gpu: Gpu) -> dict[str, Any]:
    return {
        "cluster": gpu.cluster,
        "node": gpu.node,
        "device_uuid": gpu.uuid,
        "device_index": gpu.index,
        "device_name": gpu.name,
        "parent_uuid": gpu.parent,
        "up": gpu.up,
        "memory_total_bytes": _whole(gpu.memory_total),
        "memory_used_bytes": _whole(gpu.memory_used),
        "memory_granted_bytes": _whole(gpu.memory_granted),
        "core_used_ratio": gpu.core_used,
        "core_granted_ratio": gpu.core_granted,
        "uses": [_use(use) for use in gpu.uses],
        "unattributed": [_nobodys(nobodys) for nobodys in gpu.nobodys],
    }


def _use(use: Use) -> dict[str, Any]:
    return {
        "tenant": use.tenant,
        "namespace": use.namespace,
        "pod": use.pod,
        "memory_used_bytes": _whole(use.memory_used),
        "memory_granted_bytes": _whole(use.memory_granted),
        "memory_uncounted_bytes": _whole(use.memory_uncounted),
        "core_used_ratio": use.core_used,
        "core_granted_ratio": use.core_granted,
        "processes": _whole(use.processes),
        "grant_sources": use.grant_sources,
        "marks": use.marks,
    }


def _nobodys(nobodys: Nobodys) -> dict[str, Any]:
    return {
        "reason": nobodys.reason,
        "memory_used_bytes": _whole(nobodys.memory_used),
        "core_used_ratio": nobodys.core_used,
    }


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
