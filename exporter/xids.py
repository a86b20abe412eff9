"""The XID codes that people on call ask about, and what each means in a few words.

An XID is the number under which NVIDIA's driver reports a fault in the kernel's log and to NVML's listeners; NVIDIA's
catalogue (docs.nvidia.com/deploy/xid-errors) has them all. The phrases are our own.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Code → what happened; counted from 0 on every GPU that tells of XID events.
KNOWN: Final[Mapping[int, str]] = MappingProxyType(
    {
        13: "a kernel did something illegal: nearly always a bug of the application",
        31: "a kernel used memory that is not its own (MMU fault): nearly always a bug of the application",
        43: "work was stopped because the application had faulted; the GPU itself is well",
        45: "work was cleaned up because its application ended or had faulted before",
        48: "memory held an error that ECC cannot correct",
        63: "bad memory was marked to be remapped or retired; it takes effect at the next reset",
        64: "bad memory could not be remapped or retired",
        74: "an NVLink failed",
        79: "the GPU has fallen off the bus: nothing reaches it any more",
        94: "an uncorrectable memory error was contained: it hit one application only",
        95: "an uncorrectable memory error was not contained: the GPU must be reset",
        119: "the GPU's own processor (GSP) no longer answers the driver",
    }
)
