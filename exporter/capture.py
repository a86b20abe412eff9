"""The format of a recorded node, version 1: what `capture` writes, and `demo` and the tests play.

JSON, one object a line, `kind` says which (docs/capture.md tells it field by field):

    node      first line: version, node name, driver, the GPUs
    pods      the node's pods from here on, as v1.Pod with allow-listed fields only (`manifest.slim`)
    regions   HAMi-core's regions from here on, decoded (`capture_regions`)
    sample    what each GPU's driver answered at `t` seconds, raw, and each PID's /proc facts when first seen
    event, truth    remarks for readers and tests; the player passes over them

Strings in, values out, and back: no file is opened here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from exporter import capture_regions
from exporter.errors import CaptureError, shorten
from exporter.json_values import known, mapping, number, sequence, whole, word
from exporter.model import CoreReading, Device, DeviceReading, GpuProcess, Memory, Process, SmSample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from exporter.capture_regions import RecordedRegions
    from exporter.model import Unreadable

T = TypeVar("T")

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Frame:
    """One recorded moment, `t` seconds into the recording.

    `readings` are raw (their `clock` is `t`, their `window` is not yet judged), `processes` all the PIDs
    known so far, `pods` the raw v1.Pods (None: never listed), `regions` HAMi-core's (None: not known).
    """

    t: float
    readings: tuple[DeviceReading, ...]
    processes: Mapping[int, Process | Unreadable]
    pods: tuple[Mapping[str, Any], ...] | None
    regions: RecordedRegions | None = None


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

    @property
    def has_regions(self) -> bool:
        """Whether HAMi-core's regions were read at any moment."""
        return any(frame.regions is not None for frame in self.frames)


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


def _line(place: int, text: str, parse: Callable[[dict[str, Any]], T]) -> T:
    """Apply `parse` to one line's object; whatever is wrong with it becomes a CaptureError that names the line."""
    try:
        return parse(mapping(json.loads(text)))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise CaptureError(f"line {place} of the capture: {what}: {shorten(text)}") from error


def _header(raw: dict[str, Any]) -> tuple[str, dict[str, Device], str]:
    if raw.get("kind") != "node" or raw.get("version") != VERSION:
        raise ValueError(f'it must be {{"kind": "node", "version": {VERSION}, …}}')
    gpus = [
        Device(str(gpu["uuid"]), int(gpu.get("index", place)), str(gpu["name"]), str(raw["driver"]))
        for place, gpu in enumerate(raw["gpus"])
    ]
    return str(raw["node"]), {gpu.uuid: gpu for gpu in gpus}, str(raw.get("own_cgroup", ""))


def _frames(numbered: Iterable[tuple[int, str]], devices: Mapping[str, Device]) -> Iterator[Frame]:
    """Yield the frames; processes, pods and regions carry on from frame to frame."""
    processes: dict[int, Process | Unreadable] = {}
    pods: tuple[Mapping[str, Any], ...] | None = None
    regions: RecordedRegions | None = None
    since = 0.0
    for line, text in numbered:
        kind = _line(line, text, lambda raw: raw.get("kind"))
        if kind == "pods":
            pods = _line(line, text, lambda raw: tuple(mapping(item) for item in raw["items"]))
        elif kind == "regions":
            regions = _line(line, text, capture_regions.decoded)
        elif kind == "sample":
            processes = processes | _line(line, text, _processes)
            since, readings = _line(line, text, partial(_readings, devices, since))
            yield Frame(since, readings, MappingProxyType(processes), pods, regions)


def _processes(raw: dict[str, Any]) -> dict[int, Process | Unreadable]:
    seen: dict[int, Process | Unreadable] = {
        int(pid): Process(
            int(pid),
            number(facts["start"]),
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
    t, wall_us = number(raw["t"]), whole(raw["wall_us"])
    if t < since:
        raise ValueError(f"its t {t} lies before that of the sample before, {since}")
    return t, tuple(_gpu_reading(gpu, devices, t, wall_us) for gpu in raw["gpus"])


def _gpu_reading(gpu: dict[str, Any], devices: Mapping[str, Device], t: float, wall_us: int) -> DeviceReading:
    """Return one GPU's reading, with those of its instances in it."""
    if gpu["uuid"] not in devices:
        raise ValueError(f"line 1 names no GPU {gpu['uuid']}")
    reading = _reading(gpu, devices[gpu["uuid"]], t, wall_us)
    instances = known(sequence, gpu.get("instances", []))
    if instances is None:
        return replace(reading, instances=None)
    cut = [(mapping(one), _instance(one, reading.device, devices)) for one in instances]
    return replace(reading, instances=tuple(_reading(one, device, t, wall_us) for one, device in cut))


def _instance(raw: dict[str, Any], parent: Device, devices: Mapping[str, Device]) -> Device:
    uuid = word(raw["uuid"])
    if uuid in devices:
        raise ValueError(f"line 1 names {shorten(uuid)} as a whole GPU")
    return Device(uuid, parent.index, word(raw["name"]), parent.driver, parent.uuid)


def _reading(gpu: dict[str, Any], device: Device, t: float, wall_us: int) -> DeviceReading:
    memory, samples, processes = gpu.get("memory"), gpu.get("process_utilization"), gpu.get("processes")
    return DeviceReading(
        device=device,
        wall=wall_us / 1e6,
        clock=t,
        boottime=known(number, gpu.get("boottime")),
        memory=None
        if memory is None
        else Memory(whole(memory["total"]), whole(memory["used"]), known(whole, memory.get("reserved"))),
        utilization=_scaled(known(number, gpu.get("utilization")), 0.01),
        power=_scaled(known(number, gpu.get("power_mw")), 0.001),
        energy=_scaled(known(number, gpu.get("energy_mj")), 0.001),
        temperature=known(number, gpu.get("temperature_c")),
        processes=None
        if processes is None
        else tuple(GpuProcess(whole(one["pid"]), known(whole, one["used"]), bool(one.get("mps"))) for one in processes),
        core=None
        if samples is None
        else CoreReading(
            whole(gpu["last_seen_us"]),
            whole(gpu.get("asked_us", wall_us)),
            tuple(SmSample(whole(one["pid"]), whole(one["timestamp_us"]), number(one["sm"])) for one in samples),
            known(_device_samples, gpu.get("device_samples")),
        ),
        capabilities={str(name): str(reason) for name, reason in gpu.get("capabilities", {}).items()},
    )


def _device_samples(raw: list[list[float]]) -> tuple[tuple[int, float], ...]:
    return tuple((whole(stamp), number(share)) for stamp, share in raw)


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


def encode_regions(t: float, regions: RecordedRegions | None) -> str:
    """Return a line that says which regions HAMi-core has from `t` on; None: not known."""
    return _text({"kind": "regions", "t": round(t, 3)} | capture_regions.encoded(regions))


def encode_sample(
    t: float, wall_us: int, readings: Iterable[DeviceReading], processes: Mapping[int, Process | Unreadable]
) -> str:
    """Return one sample; `readings` are of whole GPUs, `processes` those that are news since the last."""
    return _text(
        {
            "kind": "sample",
            "t": round(t, 3),
            "wall_us": wall_us,
            "gpus": [_whole_gpu(reading) for reading in readings],
            "new_pids": {str(pid): _facts(one) for pid, one in processes.items() if isinstance(one, Process)},
            "gone_pids": [pid for pid, one in processes.items() if not isinstance(one, Process)],
        }
    )


def _facts(process: Process) -> dict[str, Any]:
    return {"start": process.start, "comm": process.comm, "cgroup": process.cgroup, "nspid": list(process.nspid)}


def _whole_gpu(reading: DeviceReading) -> dict[str, Any]:
    """Return a GPU with its instances; that they may not be listed is told apart from that it has none."""
    if reading.instances == ():
        return _gpu(reading)
    return _gpu(reading) | {"instances": None if reading.instances is None else list(map(_gpu, reading.instances))}


def _gpu(reading: DeviceReading) -> dict[str, Any]:
    """Return what `_reading` reads back; facts that the driver did not tell are left out."""
    memory, core = reading.memory, reading.core
    gpu = {
        "uuid": reading.device.uuid,
        "name": reading.device.name if reading.device.parent else None,
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
