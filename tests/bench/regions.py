"""What reading 100 regions of 2 MB costs: `python -m tests.bench.regions` prints a line. Nothing here fails on time."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

from rich.console import Console

from exporter.sources.regions import Regions
from tests.cache_files import READ, CacheFile, Slot, put
from tests.make import GPU, MIB, uid

REGIONS: Final = 100
PROCESSES: Final = 4


def furnish(root: Path) -> None:
    """Make 100 containers with a region of four processes each, in all three layouts."""
    for number in range(REGIONS):
        slots = [Slot(1 + pid, [100 * MIB], 1000 * number + pid) for pid in range(PROCESSES)]
        put(root, CacheFile(READ[number % len(READ)], slots=slots).bytes(), box=f"{uid(str(number))}_main")


def measure(turns: int = 200) -> list[float]:
    """Return the seconds that each of so many readings of the 100 regions took."""
    with tempfile.TemporaryDirectory() as folder:
        furnish(Path(folder))
        edge, taken = Regions([folder], budget=60.0), []
        for _ in range(turns):
            begun = time.perf_counter()
            state = edge.read({GPU: 2**40})
            taken.append(time.perf_counter() - begun)
            if len(state.regions) != REGIONS:
                raise RuntimeError(f"{len(state.regions)} regions were read, {REGIONS} are there")
    return taken


def line(taken: list[float]) -> str:
    """Return the figures as a line."""
    milliseconds = sorted(1000 * one for one in taken)
    middle, late = statistics.median(milliseconds), milliseconds[int(0.99 * len(milliseconds))]
    figures = f"{milliseconds[0]:.1f} ms at best, {middle:.1f} ms (p50), {late:.1f} ms (p99)"
    return f"read {REGIONS} regions of 2 MB: {figures}; aim 10 ms"


if __name__ == "__main__":
    Console().print(line(measure()), highlight=False, soft_wrap=True)
