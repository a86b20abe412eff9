"""The lines of a recorded node: exporter/capture.py, exporter/capture_regions.py."""

from __future__ import annotations

import gzip
import json
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import exporter
from exporter.capture import Capture, decode
from exporter.errors import CaptureError
from exporter.hami.region import MAX_DEVICES, MAX_SLOTS
from tests.fuzz.inputs import grown, json_value, seed, text
from tests.fuzz.promises import refused

if TYPE_CHECKING:
    from exporter.hami.region import Region
    from exporter.model import DeviceReading

MAX_LEN: Final = 16384


def _example() -> str:
    """Return a few lines of each kind of the demo's recording, short of items, as one JSON array."""
    path = Path(exporter.__file__).parent / "captures" / "h200-sharing.jsonl.gz"
    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    kinds: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        kinds.setdefault(line["kind"], []).append(line)
    pods = {**kinds["pods"][0], "items": kinds["pods"][0]["items"][:1]}
    chosen = [kinds["node"][0], pods, *(kinds[kind][-1] for kind in kinds if kind not in {"node", "pods", "sample"})]
    busiest = max(kinds["sample"], key=lambda line: len(json.dumps(line)))
    return json.dumps([*chosen, *kinds["sample"][:2], {**busiest, "gone_pids": [661], "t": 1e6}])


_EXAMPLE: Final = _example()
_LINES: Final = "\n".join(map(json.dumps, json.loads(_EXAMPLE)))
#: One sample with thousands of processes, then thousands of samples.
_EMPTY: Final = '{"kind":"sample","t":0,"wall_us":0,"gpus":[]}'
_MANY: Final = "\n".join((_LINES.split("\n")[0], _EMPTY[:-1] + f',"gone_pids":{list(range(2000))}}}', _EMPTY, ""))
SEEDS: Final = (
    b"\0" + seed(_LINES),
    b"\0" + seed(_LINES.split("\n", maxsplit=1)[0]),
    b"\0",
    b"\0" + grown(_MANY, len(_EMPTY) + 1),
    *(b"\1\0\5" + bytes([line, step, 5, place, 5, place, 0, 1, value]) for line in range(8) for step, place, value in
      ((3, 0, 3), (5, 1, 9), (5, 2, 12), (5, 3, 7), (5, 4, 22), (5, 5, 30))),
)  # fmt: skip


def one_input(data: bytes) -> None:
    """Decode the bytes' lines, or those of a recording with something changed in them."""
    try:
        capture = decode(_lines(data))
    except CaptureError as error:
        refused(error)
        return
    _check(capture)


def _lines(data: bytes) -> list[str]:
    if data[:1] != b"\1":
        return text(data[1:]).split("\n")
    value = json_value(data[1:], [_EXAMPLE])
    return [json.dumps(line) for line in (value if isinstance(value, list) else [value])]


def _check(capture: Capture) -> None:
    """Hold a capture to its promises."""
    assert capture.frames
    assert 0 < capture.interval < float("inf")
    assert len({device.uuid for device in capture.devices}) == len(capture.devices)
    times = [frame.t for frame in capture.frames]
    assert times == sorted(times)
    for frame in capture.frames:
        assert all(type(pid) is int for pid in frame.processes)
        for reading in frame.readings:
            _check_reading(reading)
        for found in frame.regions.regions if frame.regions else ():
            _check_region(found.region)


def _check_region(region: Region) -> None:
    assert len(region.devices) <= MAX_DEVICES
    assert len(region.processes) <= MAX_SLOTS
    assert all(device.limit is None or 0 <= device.limit < 2**63 for device in region.devices)
    for process in region.processes:
        assert 0 <= process.pid < 2**31
        assert len(process.used) == len(region.devices)
        assert all(used is None or 0 <= used < 2**63 for used in process.used)


def _check_reading(reading: DeviceReading) -> None:
    figures = (reading.wall, reading.clock, reading.utilization, reading.power, reading.energy, reading.temperature)
    assert all(figure is None or (isfinite(figure) and figure >= 0) for figure in figures)
    if reading.memory is not None:
        assert min(reading.memory.total, reading.memory.used, reading.memory.reserved or 0) >= 0
    for process in reading.processes or ():
        assert type(process.pid) is int
        assert process.used is None or process.used >= 0
    for sample in reading.core.samples if reading.core else ():
        assert sample.sm >= 0
        assert sample.timestamp_us >= 0
