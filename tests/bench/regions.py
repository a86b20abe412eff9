"""What reading 100 regions of 2 MB costs, of which only header, used slots and tail are touched."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Final

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
    """Return the milliseconds that each of so many readings of the 100 regions took."""
    with tempfile.TemporaryDirectory() as folder:
        furnish(Path(folder))
        edge, taken = Regions([folder], budget=60.0), []
        for _ in range(turns):
            begun = time.perf_counter()
            state = edge.read({GPU: 2**40})
            taken.append((time.perf_counter() - begun) * 1e3)
            if len(state.regions) != REGIONS:
                raise RuntimeError(f"{len(state.regions)} regions were read, {REGIONS} are there")
    return taken
