"""HAMi's device annotation on a pod: exporter/hami/annotations.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporter.errors import AnnotationError
from exporter.hami.annotations import MAX_DEVICES, MAX_TEXT, decode, place
from exporter.model import Container
from exporter.redaction import annotation
from tests.fuzz.inputs import grown, seed, text
from tests.fuzz.promises import refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.hami.annotations import Entry

MAX_LEN: Final = 4096
_A: Final = "GPU-8dcd427f-483b-b48f-d7e5-75fb19a52b76"
_B: Final = "GPU-ebe7c3f7-303d-558d-435e-99a160631fe4"
#: hami-contract.md 1.4 and 1.6, and #991.
EXAMPLES: Final = (
    "",
    ";;",
    f"{_A},NVIDIA,500,3:;{_B},NVIDIA,500,3:;",
    f"{_A},NVIDIA,1000,30:{_B},NVIDIA,1000,30:;",
    "GPU-init1,NVIDIA,500,10:;;",
    ";;GPU-main1,NVIDIA,2000,50:;",
    ";,,0,0:;GPU-main1,NVIDIA,2000,50:;",
    "GPU-936619fc-f6a1-74a8-0bc6-ecf6b3269313[7-9],NVIDIA,9856,14:;",
    f"{_A},NVIDIA,1000,30:;{_B},NVIDIA,1000,30:",
    f"{_A},Tesla V100-PCIE-32GB,2147483647,100:;",
)
SEEDS: Final = (*map(seed, EXAMPLES), grown(",,0,0:"), grown(";"), grown("GPU-0,NVIDIA,1,1", 1))
_ASKING: Final = (Container("init", "init"), Container("main", "app"), Container("side", "app"))


def one_input(data: bytes) -> None:
    """Decode a text; and its redacted form, which must say the same of numbers and places."""
    written = text(data)
    entries = _decoded(written)
    assert _shape(_decoded(annotation(written))) == _shape(entries)
    if entries is None:
        return
    assert len(entries) <= MAX_TEXT
    assert sum(map(len, entries)) <= MAX_DEVICES
    for device in (device for entry in entries for device in entry):
        assert device.uuid
        assert not set(device.uuid + device.family) & set(",:;"), device
        assert 0 <= device.memory_mib < 2**31
        assert 0 <= device.cores_percent < 2**31
    placed = place(entries, _ASKING)
    assert placed is None or all(placed.values())


def _decoded(written: str) -> tuple[Entry, ...] | None:
    try:
        return decode(written)
    except AnnotationError as error:
        refused(error)
        return None


def _shape(entries: Sequence[Entry] | None) -> object:
    """Return what redaction leaves alone."""
    if entries is None:
        return None
    return [[(device.memory_mib, device.cores_percent) for device in entry] for entry in entries]
