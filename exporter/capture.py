"""The format of a recorded node, version 1: what `capture` writes, and `demo` and the tests play.

JSON, one object a line, `kind` says which (docs/capture.md tells it field by field):

    node      first line: version, node name, driver, the GPUs
    pods      the node's pods from here on, as v1.Pod with allow-listed fields only (`manifest.slim`)
    sample    what each GPU's driver answered at `t` seconds, raw, and each PID's /proc facts when first seen
    event, truth    remarks for readers and tests; the player passes over them

Strings in, values out, and back: no file is opened here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from math import isfinite
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from exporter.errors import CaptureError, shorten
from exporter.model import CoreReading, Device, DeviceReading, GpuProcess, Memory, Process, SmSample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from exporter.model import Unreadable

T = TypeVar("T")

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Frame:
    """One recorded moment, `t` seconds into the recording.

    `readings` are raw (their `clock` is `t`, their `window` is not yet judged), `processes` all the PIDs
    known so far, `pods` the raw v1.Pods (None: never listed).
    """

    t: float
    readings: tuple[DeviceReading, ...]
    processes: Mapping[int, Process | Unreadable]
    pods: tuple[Mapping[str, Any], ...] | None


@dataclass(frozen=True, slots=True)
class Capture:
    """A recorded node; `interval` is the mean time in seconds between two frames.

    `own_cgroup` is the cgroup text of who recorded it, "" if it is not known.
    """

    node: str
    devices: tuple[Device, ...]
    frames: tuple[Frame, ...]
    interval: float
    own_cgroup: str = ""


def decode(lines: Iterable[str]) -> Capture:
    """Decode a capture; raises CaptureError, which names the line, for anything that cannot be played."""
    numbered = enumerate(lines, start=1)
    try:
        _, first = next(numbered)
    except StopIteration:
        raise CaptureError("the capture is empty") from None
    node, devices, own_cgroup = _line(1, first, _header)
    frames = tuple(_frames(numbered, devices))
    if not frames:
        raise CaptureError("the capture holds no sample")
    span = frames[-1].t - frames[0].t
    interval = span / (len(frames) - 1) if span > 0 else 1.0
    return Capture(node, tuple(devices.values()), frames, interval, own_cgroup)


def _line(number: int, text: str, parse: Callable[[dict[str, Any]], T]) -> T:
    """Apply `parse` to one line's object; whatever is wrong with it becomes a CaptureError that names the line."""
    try:
        return parse(_object(json.loads(text)))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise CaptureError(f"line {number} of the capture: {what}: {shorten(text)}") from error


def _object(raw: object) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise TypeError("it is no JSON object")
    return raw


def _header(raw: dict[str, Any]) -> tuple[str, dict[str, Device], str]:
    if raw.get("kind") != "node" or raw.get("version") != VERSION:
        raise ValueError(f'it must be {{"kind": "node", "version": {VERSION}, …}}')
    gpus = [
        Device(str(gpu["uuid"]), int(gpu.get("index", place)), str(gpu["name"]), str(raw["driver"]))
        for place, gpu in enumerate(raw["gpus"])
    ]
    return str(raw["node"]), {gpu.uuid: gpu for gpu in gpus}, str(raw.get("own_cgroup", ""))


def _frames(numbered: Iterable[tuple[int, str]], devices: Mapping[str, Device]) -> Iterator[Frame]:
    """Yield the frames; processes and pods carry on from frame to frame."""
    processes: dict[int, Process | Unreadable] = {}
    pods: tuple[Mapping[str, Any], ...] | None = None
    since = 0.0
    for number, text in numbered:
        raw = _line(number, text, dict)
        if raw.get("kind") == "pods":
            pods = _line(number, text, lambda line: tuple(_object(item) for item in line["items"]))
        elif raw.get("kind") == "sample":
            processes = processes | _line(number, text, _processes)
            since, readings = _line(number, text, partial(_readings, devices, since))
            yield Frame(since, readings, MappingProxyType(processes), pods)


def _processes(raw: dict[str, Any]) -> dict[int, Process | Unreadable]:
    seen: dict[int, Process | Unreadable] = {
        int(pid): Process(
            int(pid),
            _number(facts["start"]),
            str(facts["comm"]),
            str(facts["cgroup"]),
            tuple(int(inner) for inner in facts.get("nspid", ())),
        )
        for pid, facts in raw.get("new_pids", {}).items()
    }
    seen.update({int(pid): "process_gone" for pid in raw.get("gone_pids", ())})
    return seen


def _readings(
    devices: Mapping[str, Device], since: float, raw: dict[str, Any]
) -> tuple[float, tuple[DeviceReading, ...]]:
    t, wall_us = _number(raw["t"]), _whole(raw["wall_us"])
    if t < since:
        raise ValueError(f"its t {t} lies before that of the sample before, {since}")
    return t, tuple(_reading(gpu, devices, t, wall_us) for gpu in raw["gpus"])


def _reading(gpu: dict[str, Any], devices: Mapping[str, Device], t: float, wall_us: int) -> DeviceReading:
    if gpu["uuid"] not in devices:
        raise ValueError(f"line 1 names no GPU {gpu['uuid']}")
    memory, samples, processes = gpu.get("memory"), gpu.get("process_utilization"), gpu.get("processes")
    return DeviceReading(
        device=devices[gpu["uuid"]],
        wall=wall_us / 1e6,
        clock=t,
        boottime=_known(_number, gpu.get("boottime")),
        memory=None
        if memory is None
        else Memory(_whole(memory["total"]), _whole(memory["used"]), _known(_whole, memory.get("reserved"))),
        utilization=_scaled(_known(_number, gpu.get("utilization")), 0.01),
        power=_scaled(_known(_number, gpu.get("power_mw")), 0.001),
        energy=_scaled(_known(_number, gpu.get("energy_mj")), 0.001),
        temperature=_known(_number, gpu.get("temperature_c")),
        processes=None
        if processes is None
        else tuple(
            GpuProcess(_whole(one["pid"]), _known(_whole, one["used"]), bool(one.get("mps"))) for one in processes
        ),
        core=None
        if samples is None
        else CoreReading(
            _whole(gpu["last_seen_us"]),
            _whole(gpu.get("asked_us", wall_us)),
            tuple(SmSample(_whole(one["pid"]), _whole(one["timestamp_us"]), _number(one["sm"])) for one in samples),
            _known(_device_samples, gpu.get("device_samples")),
        ),
        capabilities={str(name): str(reason) for name, reason in gpu.get("capabilities", {}).items()},
    )


def _known(parse: Callable[[Any], T], value: object) -> T | None:
    """Return a fact that the driver may not have told."""
    return None if value is None else parse(value)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value < 0:
        raise ValueError(f"{shorten(str(value))} is no number from 0 on")
    return value


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{shorten(str(value))} is no whole number from 0 on")
    return value


def _device_samples(raw: list[list[float]]) -> tuple[tuple[int, float], ...]:
    return tuple((_whole(stamp), _number(share)) for stamp, share in raw)


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def encode_node(node: str, driver: str, devices: Iterable[Device], recorded: str, own_cgroup: str = "") -> str:
    """Return the first line; `recorded` is an RFC 3339 time, `own_cgroup` the cgroup text of who records."""
    gpus = [{"uuid": device.uuid, "index": device.index, "name": device.name} for device in devices]
    head = {"kind": "node", "version": VERSION, "node": node, "driver": driver, "recorded": recorded}
    return _text(head | ({"own_cgroup": own_cgroup} if own_cgroup else {}) | {"gpus": gpus})


def encode_pods(t: float, pods: Iterable[Mapping[str, Any]]) -> str:
    """Return a line that says which pods the node has from `t` on."""
    return _text({"kind": "pods", "t": round(t, 3), "items": list(pods)})


def encode_sample(
    t: float, wall_us: int, readings: Iterable[DeviceReading], processes: Mapping[int, Process | Unreadable]
) -> str:
    """Return one sample; `processes` are those that are news since the last."""
    return _text(
        {
            "kind": "sample",
            "t": round(t, 3),
            "wall_us": wall_us,
            "gpus": [_gpu(reading) for reading in readings],
            "new_pids": {str(pid): _facts(one) for pid, one in processes.items() if isinstance(one, Process)},
            "gone_pids": [pid for pid, one in processes.items() if not isinstance(one, Process)],
        }
    )


def _facts(process: Process) -> dict[str, Any]:
    return {"start": process.start, "comm": process.comm, "cgroup": process.cgroup, "nspid": list(process.nspid)}


def _gpu(reading: DeviceReading) -> dict[str, Any]:
    """Return what `_reading` reads back; facts that the driver did not tell are left out."""
    memory, core = reading.memory, reading.core
    gpu = {
        "uuid": reading.device.uuid,
        "boottime": reading.boottime,
        "memory": memory and {"total": memory.total, "reserved": memory.reserved, "used": memory.used},
        "utilization": _scaled(reading.utilization, 100),
        "power_mw": _scaled(reading.power, 1000),
        "energy_mj": _scaled(reading.energy, 1000),
        "temperature_c": reading.temperature,
        "processes": reading.processes is not None
        and [{"pid": one.pid, "used": one.used} | ({"mps": True} if one.mps else {}) for one in reading.processes],
        "last_seen_us": core and core.last_seen_us,
        "asked_us": core and core.now_us,
        "process_utilization": core is not None
        and [{"pid": one.pid, "timestamp_us": one.timestamp_us, "sm": one.sm} for one in core.samples],
        "device_samples": core and core.device,
        "capabilities": dict(reading.capabilities),
    }
    return {key: value for key, value in gpu.items() if value is not None and value is not False}


def _text(line: dict[str, Any]) -> str:
    return json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n"
