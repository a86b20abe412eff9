"""HAMi's device-config.yaml: exporter/device_config.py."""

from __future__ import annotations

from typing import Final

from exporter.device_config import LARGEST_FACTOR, DeviceConfig, parse
from exporter.errors import DeviceConfigError
from tests.fuzz.inputs import grown, seed, text
from tests.fuzz.promises import refused

MAX_LEN: Final = 2048
_LONGEST: Final = 8192  # there is no limit but that of depth: the file is HAMi's chart's
EXAMPLES: Final = (
    "nvidia:\n  resourceCountName: nvidia.com/gpu\n  resourceMemoryName: nvidia.com/gpumem\n  memoryFactor: 10\n",
    "resourceCoreName: example.com/cores\nresourceMemoryPercentageName: example.com/percent\nmemoryFactor: 0\n",
    "nvidia: &a {resourceCountName: a/b, more: *a}\n",
    "nvidia: []\ncambricon:\n  - a\n",
    "memoryFactor: '2147483648'\n",
)
SEEDS: Final = (*map(seed, EXAMPLES), grown("[", 0, 0xA7), grown("nvidia: {a, a,", 3, 0xA7))


def one_input(data: bytes) -> None:
    """Parse a text."""
    try:
        said = parse(text(data)[:_LONGEST])
    except DeviceConfigError as error:
        refused(error)
        return
    names = (said.count, said.memory, said.memory_percentage, said.cores)
    assert any(names) or said.memory_factor is not None
    assert all(name.isascii() and name.isprintable() and len(name) < 400 for name in names)
    assert said.memory_factor is None or 1 <= said.memory_factor <= LARGEST_FACTOR
    assert said.over(DeviceConfig()) == said
    assert len(said.families()) > 1
