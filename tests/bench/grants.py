"""What decoding the annotations of 1,000 pods into grants costs: two containers with a part of two GPUs each."""

from __future__ import annotations

import time
from typing import Final

from exporter.grants import grants
from exporter.model import Card
from tests.make import GIB, GPU, NODE, OTHER_GPU, pod

PODS: Final = 1000
_ENTRY: Final = f"{GPU},NVIDIA,4000,30:{OTHER_GPU},NVIDIA,4000,30:;"
_ASKS: Final = {"nvidia.com/gpu": 2, "nvidia.com/gpumem": 4000, "nvidia.com/gpucores": 30}


def measure(turns: int = 50) -> list[float]:
    """Return the milliseconds that each of so many decodings of all pods took."""
    cards = {GPU: Card(24 * GIB), OTHER_GPU: Card(24 * GIB)}
    pods = [pod(f"model-{one}", containers=("main", "side"), granted=2 * _ENTRY, asks=_ASKS) for one in range(PODS)]
    taken = []
    for _ in range(turns):
        begun = time.perf_counter()
        found = [grants(one, cards, NODE) for one in pods]
        taken.append((time.perf_counter() - begun) * 1e3)
        if sum(len(given.grants) for by_name, _ in found for given in by_name.values()) != 4 * PODS:
            raise RuntimeError("not every container has its two grants")
    return taken
