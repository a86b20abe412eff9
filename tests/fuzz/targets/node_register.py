"""What HAMi registered of a node's GPUs, in every release's form: exporter/hami/node_register.py."""

from __future__ import annotations

import json
from typing import Final, get_args

from exporter.errors import AnnotationError
from exporter.hami.node_register import MAX_DEVICES, Mode, RegisteredDevice, decode
from tests.fuzz.inputs import Choices, grown, json_value, seed, text
from tests.fuzz.promises import refused

MAX_LEN: Final = 4096
_V100: Final = "GPU-00552014-5c87-89ac-b1a6-7b53aa24b0ec"
#: hami-contract.md 2.1 and 2.2.
_COLONS: Final = (
    f"{_V100},10,32768,100,NVIDIA-Tesla V100-PCIE-32GB,true:",
    f"{_V100},10,32768,100,NVIDIA-Tesla V100-PCIE-32GB,0,true:",
    f"{_V100},7,32768,100,NVIDIA-A100,0,true,0,mig:GPU-1,10,8192,100,NVIDIA-NVIDIA GeForce GTX 1080 Ti,1,false,1,mps:",
    f"{_V100},10,32768,NVIDIA-Tesla V100-PCIE-32GB,true,hami-core:",
    f"{_V100},10,32768,NVIDIA-Tesla V100-PCIE-32GB,true:",
    "null",
)
_A100: Final = {
    "id": "GPU-0", "index": 1, "count": 7, "devmem": 81920, "devcore": 100, "type": "NVIDIA-A100", "numa": 1,
    "mode": "mig", "health": True, "migProfiles": [
        {"name": "1g.10gb", "memoryMB": 9856, "core": 14, "sliceCount": 1, "placements": [{"start": 0, "size": 1}]}
    ],
}  # fmt: skip
_JSON: Final = (json.dumps([_A100]), json.dumps([_A100, {"id": "GPU-1", "devmem": 1}]))
SEEDS: Final = (
    *(b"\0" + seed(example) for example in (*_COLONS, *_JSON)),
    *(b"\1" + example.encode() for example in _JSON),
    *(bytes([1, 0, 1, 0, 7, field, 0, 1, value]) for field in range(10) for value in (0, 7, 12)),
    *(b"\0" + long for long in (grown("GPU-1,1,1,x,true:"), grown("["), grown("[{},", 3))),
)
_CARDS: Final = (None, 0, 1, 2**30, 150_754_820_096)


def one_input(data: bytes) -> None:
    """Decode a text: the bytes', or a release's JSON with something changed in it."""
    written = json.dumps(json_value(data[1:], _JSON)) if data[:1] == b"\1" else text(data[1:])
    try:
        devices = decode(written)
    except AnnotationError as error:
        refused(error)
        return
    assert len(devices) <= MAX_DEVICES
    assert len({device.uuid for device in devices}) == len(devices)
    for device in devices:
        _check(device, Choices(data).one_of(_CARDS))


def _check(device: RegisteredDevice, physical: int | None) -> None:
    """Hold a device to its promises, and to what can be a label."""
    assert 0 < len(device.uuid) <= 96
    assert device.uuid.isascii()
    assert device.uuid.isprintable()
    assert type(device.slots) is int
    assert 0 <= device.slots < 2**31
    assert 0 <= device.memory < 2**51
    assert 0.0 <= device.cores < 2**31
    assert device.mode in get_args(Mode)
    assert type(device.healthy) is bool
    assert device.index is None or 0 <= device.index < 2**31
    factor = device.memory_factor(physical)
    assert factor is None or factor > 0
