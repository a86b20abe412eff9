"""The capture format: what is encoded comes back, and what cannot be played is refused with its line."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.capture import decode, encode_node, encode_pods, encode_regions, encode_sample
from exporter.capture_regions import RecordedRegions
from exporter.errors import CaptureError
from exporter.hami.region import MAX_DEVICES, MAX_SLOTS, FoundRegion, Region, RegionDevice, RegionProcess
from exporter.model import CoreReading, Device, DeviceReading, GpuProcess, Memory, Process, SmSample
from tests.make import GPU, OTHER_GPU, device, process, reading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.capture import Capture
    from exporter.model import Unreadable

DEVICES = (device(GPU, 0), device(OTHER_GPU, 1))
HEADER = encode_node("node-a", "580.0", DEVICES, "2026-11-22T03:00:00Z")

whole = st.integers(0, 2**63)
number = st.floats(0, 1e15)
words = st.text(max_size=20)
samples = st.builds(SmSample, pid=whole, timestamp_us=whole, sm=st.floats(0, 100))
whole_gpu = st.lists(st.tuples(whole, st.floats(0, 100)), max_size=3).map(tuple)
cores = st.builds(
    CoreReading,
    last_seen_us=whole,
    now_us=whole,
    samples=st.lists(samples, max_size=3).map(tuple),
    device=st.none() | whole_gpu,
)
listed = st.builds(GpuProcess, pid=whole, used=st.none() | whole, mps=st.booleans())


@st.composite
def readings(draw: st.DrawFn, gpu: Device | None = None) -> DeviceReading:
    """Return what a driver may answer for one GPU, whole or an instance, with any facts missing."""
    one = gpu or draw(st.sampled_from(DEVICES))
    uuids = draw(st.lists(words, unique=True, max_size=2)) if gpu is None else []
    instances = [draw(readings(Device(uuid, one.index, draw(words), one.driver, one.uuid))) for uuid in uuids]
    return DeviceReading(
        device=one,
        instances=tuple(instances) if gpu is not None else draw(st.none() | st.just(tuple(instances))),
        wall=0.0,
        clock=0.0,
        boottime=draw(st.none() | number),
        memory=draw(st.none() | st.builds(Memory, total=whole, used=whole, reserved=st.none() | whole)),
        utilization=draw(st.none() | st.floats(0, 1)),
        power=draw(st.none() | number),
        energy=draw(st.none() | number),
        temperature=draw(st.none() | number),
        processes=draw(st.none() | st.lists(listed, max_size=3).map(tuple)),
        core=draw(st.none() | cores),
        capabilities=draw(st.dictionaries(words, words, max_size=3)),
    )


@st.composite
def regions(draw: st.DrawFn) -> FoundRegion:
    """Return a region with up to three GPUs and processes."""
    uuids = draw(st.lists(words, unique=True, max_size=3))
    limits = st.tuples(st.none() | st.integers(1, 2**63 - 1), st.none() | st.floats(0.01, 0.99))
    devices = [RegionDevice(uuid, *draw(limits)) for uuid in uuids]
    used = st.lists(st.none() | st.integers(0, 2**63 - 1), min_size=len(uuids), max_size=len(uuids)).map(tuple)
    pids = st.integers(1, 2**31 - 1)
    processes = [
        RegionProcess(pid, draw(st.just(0) | pids), draw(used)) for pid in draw(st.lists(pids, unique=True, max_size=3))
    ]
    region = Region(draw(words), tuple(devices), tuple(processes), draw(st.none() | st.integers(1, 2**34)))
    return FoundRegion(draw(words), draw(words), draw(words), region)


known_regions = st.builds(
    RecordedRegions,
    regions=st.lists(regions(), max_size=3).map(tuple),
    complete=st.frozensets(words, max_size=3),
    waiting=whole,
)
living = st.builds(Process, pid=whole, start=number, comm=words, cgroup=words, nspid=st.lists(whole).map(tuple))
news = st.lists(living, max_size=3).map(lambda found: {one.pid: one for one in found})


def played(*lines: str) -> Capture:
    """Decode lines as a file holds them."""
    return decode("".join((HEADER, *lines)).removesuffix("\n").split("\n"))


def sample(t: float = 0.0, *answers: DeviceReading, news: Mapping[int, Process | Unreadable] | None = None) -> str:
    """Return a sample line."""
    return encode_sample(t, 1_800_000_000_000_000, answers, news or {})


@given(answers=st.lists(readings(), max_size=3), t=st.integers(0, 10**6), wall_us=st.integers(0, 2**53))
def test_a_sample_comes_back_as_it_was_told(answers: list[DeviceReading], t: int, wall_us: int) -> None:
    """Every fact that the driver told comes back, and what it did not tell is still not known."""
    [frame] = played(encode_sample(t / 1000, wall_us, answers, {})).frames

    assert frame.t == t / 1000
    assert len(frame.readings) == len(answers)
    for told, back in zip(answers, frame.readings, strict=True):
        assert_came_back(told, back, t / 1000, wall_us / 1e6)


def assert_came_back(told: DeviceReading, back: DeviceReading, t: float, wall: float) -> None:
    """Hold a reading, and its instances', against what was told; figures that are scaled are nearly the same."""
    measured = {name: getattr(back, name) for name in ("utilization", "power", "energy")}
    assert replace(told, clock=t, wall=wall, instances=back.instances, **measured) == back
    for name, value in measured.items():
        assert value == (None if getattr(told, name) is None else pytest.approx(getattr(told, name)))
    assert (told.instances is None) == (back.instances is None)
    for inner, inner_back in zip(told.instances or (), back.instances or (), strict=True):
        assert_came_back(inner, inner_back, t, wall)


@given(st.lists(news, min_size=1, max_size=3))
def test_processes_carry_on_from_sample_to_sample(found: list[dict[int, Process]]) -> None:
    """Each frame knows the processes of all samples before it, each as seen last."""
    frames = played(*(sample(t, news=new) for t, new in enumerate(found))).frames

    known: dict[int, Process] = {}
    for frame, new in zip(frames, found, strict=True):
        known |= new
        assert frame.processes == known


@given(name=words, driver=words, devices=st.lists(words, unique=True, max_size=3), own_cgroup=words)
def test_the_node_comes_back(name: str, driver: str, devices: list[str], own_cgroup: str) -> None:
    """The node's name, its GPUs and where the recorder lay come back, whatever they are called."""
    gpus = tuple(Device(uuid, index, "a GPU", driver) for index, uuid in enumerate(devices))
    header = encode_node(name, driver, gpus, "2026-11-22T03:00:00Z", own_cgroup)

    capture = decode((header + sample()).removesuffix("\n").split("\n"))

    assert (capture.node, capture.devices, capture.own_cgroup) == (name, gpus, own_cgroup)


@given(st.lists(st.dictionaries(words, words | st.lists(words, max_size=2), max_size=3), max_size=3))
def test_pods_come_back(items: list[dict[str, Any]]) -> None:
    """The pods' JSON comes back as it was, for every frame from there on."""
    first, second, third = played(sample(0), encode_pods(0.5, items), sample(1), sample(2)).frames

    assert first.pods is None
    assert second.pods == tuple(items)
    assert third.pods is second.pods


@given(st.lists(st.none() | known_regions, min_size=1, max_size=3))
def test_regions_come_back(told: list[RecordedRegions | None]) -> None:
    """The regions come back as they were read, each time until the next; before the first they are not known."""
    later = [line for t, one in enumerate(told) for line in (encode_regions(t, one), sample(t + 1), sample(t + 1.5))]

    recording = played(sample(0), *later)

    assert [frame.regions for frame in recording.frames] == [None, *(one for one in told for _ in range(2))]
    assert recording.has_regions == any(one is not None for one in told)


def test_a_capture_of_before_there_were_regions_and_instances_is_played() -> None:
    """A recording without such lines and fields has no regions, and GPUs that are whole."""
    recording = played(sample(0, reading({7: 1})), '{"kind":"truth"}\n', sample(1, reading({7: 1})))

    assert not recording.has_regions
    assert [one.instances for frame in recording.frames for one in frame.readings] == [(), ()]


def test_a_process_that_is_gone_stays_gone_until_it_is_news_again() -> None:
    """A PID that was gone or unreadable comes back as gone, and a later holder as itself."""
    frames = played(
        sample(0, news={7: process(7), 8: "process_unreadable"}),
        sample(1, news={7: "process_gone"}),
        sample(2, news={7: process(7, start=99.0)}),
    ).frames

    assert [frame.processes[7] for frame in frames] == [process(7), "process_gone", process(7, start=99.0)]
    assert {frame.processes[8] for frame in frames} == {"process_gone"}


def test_the_interval_is_the_mean_of_what_was_recorded() -> None:
    """The time between two frames is their mean distance; a single frame counts as one second."""
    assert played(sample(1), sample(2), sample(5)).interval == 2.0
    assert played(sample(1)).interval == 1.0
    assert played(sample(1), sample(1)).interval == 1.0


def test_remarks_are_passed_over() -> None:
    """Lines of another kind are for readers and tests."""
    assert len(played('{"kind":"event","t":0}\n', sample(), '{"kind":"truth"}\n').frames) == 1


def test_a_sample_without_the_time_it_was_asked_is_taken_as_asked_then() -> None:
    """A GPU's line without `asked_us` was asked when the sample was taken."""
    raw = json.loads(sample(0, reading(core=CoreReading(5, 6, ()))))
    del raw["gpus"][0]["asked_us"]

    [frame] = played(json.dumps(raw)).frames

    assert frame.readings[0].core == CoreReading(5, 1_800_000_000_000_000, ())


def changed(key: str, value: object) -> str:
    """Return a sample with one fact of its GPU changed, e.g. `memory.used`."""
    raw = json.loads(sample(1, reading({7: 1}, utilization=0.5, core=CoreReading(1, 2, (SmSample(7, 2, 50),)))))
    *path, last = key.split(".")
    place: Any = raw["gpus"][0]
    for step in path:
        place = place[int(step) if step.isdigit() else step]
    place[last] = value
    return json.dumps(raw)


def regions_with(key: str, value: object) -> str:
    """Return a line of regions, one of them, with one of its values changed, e.g. `items.0.file`."""
    gpus, processes = (RegionDevice(GPU, 5, 0.5),), (RegionProcess(7, 7, (1,)), RegionProcess(8, 0, (None,)))
    found = FoundRegion("uid", "main", "a.cache", Region("v1.2", gpus, processes, 9))
    raw = json.loads(encode_regions(1, RecordedRegions((found,), frozenset({"uid"}), 1)))
    *path, last = (int(step) if step.isdigit() else step for step in key.split("."))
    place: Any = raw
    for step in path:
        place = place[step]
    place[last] = value
    return json.dumps(raw)


def twice_the_same_gpu() -> str:
    """Return a line of regions, one of them, which counts twice on the same GPU."""
    region = Region("v1.2", (RegionDevice(GPU, None, None),) * 2, (RegionProcess(7, 7, (1, 1)),), None)
    return encode_regions(1, RecordedRegions((FoundRegion("uid", "main", "a.cache", region),), frozenset(), 0)).rstrip()


BROKEN = {
    "garbage": ("{", "Expecting property name"),
    "a blank line": ("", "Expecting value"),
    "a list": ("[]", "it is no JSON object"),
    "a text": ('""', "it is no JSON object"),
    "nested beyond reason": ("[" * 100_000, "recursion"),
    "an endless number": ("9" * 5000, "limit"),
    "no time": ('{"kind":"sample","wall_us":0,"gpus":[]}', "lacks 't'"),
    "no wall time": ('{"kind":"sample","t":0,"gpus":[]}', "lacks 'wall_us'"),
    "no GPUs": ('{"kind":"sample","t":1,"wall_us":0}', "lacks 'gpus'"),
    "time is no number": ('{"kind":"sample","t":NaN,"wall_us":0,"gpus":[]}', "nan' is no number"),
    "time is endless": ('{"kind":"sample","t":1e999,"wall_us":0,"gpus":[]}', "inf' is no number"),
    "wall time is endless": ('{"kind":"sample","t":0,"wall_us":1e999,"gpus":[]}', "inf' is no whole number"),
    "time runs back": ('{"kind":"sample","t":0.4,"wall_us":0,"gpus":[]}', "lies before that of the sample before, 0.5"),
    "an unknown GPU": (changed("uuid", "GPU-x"), "line 1 names no GPU GPU-x"),
    "a GPU that is a list": (changed("uuid", []), "unhashable"),
    "pods without items": ('{"kind":"pods"}', "lacks 'items'"),
    "pods that are none": ('{"kind":"pods","items":[[]]}', "it is no JSON object"),
    "a PID that is none": ('{"kind":"sample","t":1,"wall_us":0,"gpus":[],"gone_pids":["x"]}', "invalid literal"),
    "a process without facts": ('{"kind":"sample","t":1,"wall_us":0,"gpus":[],"new_pids":{"7":{}}}', "lacks 'start'"),
    "memory is a number": (changed("memory", 0), "not subscriptable"),
    "memory is a text": (changed("memory.used", "1"), "'1' is no whole number from 0 on"),
    "memory is negative": (changed("memory.total", -1), "'-1' is no whole number from 0 on"),
    "reserved is true": (changed("memory.reserved", True), "'True' is no whole number from 0 on"),  # noqa: FBT003
    "power is a list": (changed("power_mw", []), "'[]' is no number from 0 on"),
    "energy is a text": (changed("energy_mj", "1"), "'1' is no number from 0 on"),
    "temperature is a text": (changed("temperature_c", "hot"), "'hot' is no number from 0 on"),
    "boottime is a text": (changed("boottime", "now"), "'now' is no number from 0 on"),
    "used is a text": (changed("processes.0.used", "1"), "'1' is no whole number from 0 on"),
    "a process without memory": (changed("processes", [{"pid": 7}]), "lacks 'used'"),
    "a share is negative": (changed("process_utilization.0.sm", -1), "'-1' is no number from 0 on"),
    "the GPU's samples are a number": (changed("device_samples", 5), "not iterable"),
    "a sample of the GPU is half": (changed("device_samples", [[5]]), "not enough values to unpack"),
    "a stamp of the GPU is a text": (changed("device_samples", [["5", 5]]), "'5' is no whole number from 0 on"),
    "a share of the GPU is negative": (changed("device_samples", [[5, -5]]), "'-5' is no number from 0 on"),
    "no last_seen": (changed("last_seen_us", None), "'None' is no whole number"),
    "capabilities are a list": (changed("capabilities", []), "'list' object has no attribute 'items'"),
    "instances are a number": (changed("instances", 5), "'5' is no list"),
    "an instance is a list": (changed("instances", [[]]), "it is no JSON object"),
    "an instance without a name": (changed("instances", [{"uuid": "MIG-1"}]), "lacks 'name'"),
    "an instance's UUID is a number": (changed("instances", [{"uuid": 5, "name": "a"}]), "'5' is no text"),
    "an instance is a whole GPU": (changed("instances", [{"uuid": OTHER_GPU, "name": "a"}]), "as a whole GPU"),
    "an instance's memory is a text": (
        changed("instances", [{"uuid": "MIG-1", "name": "a", "memory": {"total": "1", "used": 0}}]),
        "'1' is no whole number from 0 on",
    ),
    "regions without items": ('{"kind":"regions"}', "lacks 'items'"),
    "regions without complete": ('{"kind":"regions","items":[],"waiting":0}', "lacks 'complete'"),
    "regions without waiting": ('{"kind":"regions","items":[],"complete":[]}', "lacks 'waiting'"),
    "regions are a text": (regions_with("items", "abc"), "'abc' is no list"),
    "a region is a text": (regions_with("items.0", "abc"), "it is no JSON object"),
    "a pod's UID is a number": (regions_with("items.0.pod_uid", 5), "'5' is no text"),
    "complete is a text": (regions_with("complete", "abc"), "'abc' is no list"),
    "a complete pod is a number": (regions_with("complete", [5]), "'5' is no text"),
    "waiting is negative": (regions_with("waiting", -1), "'-1' is no whole number"),
    "a layout is nothing": (regions_with("items.0.layout", None), "'None' is no text"),
    "more GPUs than there can be": (
        regions_with("items.0.devices", [{"uuid": str(number)} for number in range(MAX_DEVICES + 1)]),
        "a list of 17, 16 are allowed",
    ),
    "more processes than there can be": (
        regions_with("items.0.processes", [{}] * (MAX_SLOTS + 1)),
        "a list of 1025, 1024 are allowed",
    ),
    "the same GPU twice": (twice_the_same_gpu(), "one GPU twice in a region"),
    "the same PID twice": (regions_with("items.0.processes.0.pid", 8), "one PID twice in a region"),
    "a limit that cannot be": (regions_with("items.0.devices.0.limit", 2**63), "is more than 9223372036854775807"),
    "a core limit is a text": (regions_with("items.0.devices.0.core_limit", "1"), "'1' is no number from 0 on"),
    "a PID that cannot be": (regions_with("items.0.processes.0.pid", 2**31), "is more than 2147483647"),
    "a host PID is nothing": (regions_with("items.0.processes.0.host_pid", None), "'None' is no whole number"),
    "a figure that cannot be": (regions_with("items.0.processes.0.used", [2**63]), "is more than 9223372036854775807"),
    "a figure too few": (regions_with("items.0.processes.0.used", []), "0 figures for 1 GPUs"),
    "a figure too many": (regions_with("items.0.processes.0.used", [1, 1]), "a list of 2, 1 are allowed"),
    "a kernel in the year 10000": (regions_with("items.0.last_kernel", 253_402_300_800), "is more than 253402300799"),
}


@pytest.mark.parametrize(("line", "expected"), BROKEN.values(), ids=BROKEN.keys())
def test_a_line_that_cannot_be_played_is_named(line: str, expected: str) -> None:
    """Whatever is wrong with a line is told in one line, with its number, what is wrong and the text."""
    with pytest.raises(CaptureError) as caught:
        played(sample(0.5), line + "\n")

    sentence = str(caught.value)
    assert sentence.startswith("line 3 of the capture: ")
    assert expected in sentence
    assert sentence.splitlines() == [sentence]
    assert len(sentence) < 400


@pytest.mark.parametrize(
    "header",
    [
        "{",
        "[]",
        "{}",
        '{"kind":"sample","version":1}',
        '{"kind":"node","version":2,"node":"a","driver":"b","gpus":[]}',
        '{"kind":"node","version":1,"driver":"b","gpus":[]}',
        '{"kind":"node","version":1,"node":"a","driver":"b","gpus":[{}]}',
        '{"kind":"node","version":1,"node":"a","driver":"b","gpus":[{"uuid":"a","name":"b","index":1e999}]}',
        '{"kind":"node","version":1,"node":"a","driver":"b","gpus":5}',
    ],
)
def test_a_first_line_that_is_no_node_of_version_1_is_refused(header: str) -> None:
    """The first line must be a node of the version we know."""
    with pytest.raises(CaptureError, match=r"^line 1 of the capture: "):
        decode([header, sample()])


def test_an_empty_capture_is_refused() -> None:
    """No line at all, and no sample, are told as such."""
    with pytest.raises(CaptureError, match=r"^the capture is empty$"):
        decode([])
    with pytest.raises(CaptureError, match=r"^the capture holds no sample$"):
        decode([HEADER])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
keys = st.sampled_from(
    [
        *("uuid", "memory", "memory.used", "memory.reserved", "utilization", "power_mw", "processes", "processes.0"),
        *("processes.0.pid", "processes.0.used", "last_seen_us", "process_utilization", "process_utilization.0"),
        *("process_utilization.0.sm", "capabilities", "boottime", "energy_mj", "temperature_c", "asked_us"),
        *("device_samples", "instances", "instances.0"),
    ]
)


@given(key=keys, value=json_values)
def test_any_value_for_any_fact_is_played_or_refused(key: str, value: object) -> None:
    """Whatever JSON stands for a fact, it is a frame of known types or one CaptureError."""
    if key.rpartition(".")[2].isdigit():
        parent, _, _ = key.rpartition(".")
        line = changed(parent, [value])
    else:
        line = changed(key, value)
    try:
        [frame] = played(line).frames
    except CaptureError:
        return
    for back in frame.readings:
        assert back.memory is None or isinstance(back.memory.used, int)
        assert all(isinstance(one.used, int | None) for one in back.processes or ())
        assert all(0 <= one.sm < float("inf") for one in (back.core.samples if back.core else ()))
        assert all(isinstance(fact, float | int | None) for fact in (back.power, back.energy, back.temperature))


region_keys = st.sampled_from(
    [
        *("items", "items.0", "items.0.pod_uid", "items.0.devices", "items.0.devices.0", "items.0.devices.0.limit"),
        *("items.0.devices.0.core_limit", "items.0.processes", "items.0.processes.0", "items.0.processes.0.pid"),
        *("items.0.processes.0.used", "items.0.processes.0.used.0", "items.0.last_kernel", "complete", "waiting"),
    ]
)


@given(key=region_keys, value=json_values)
def test_any_value_for_any_fact_of_a_region_is_played_or_refused(key: str, value: object) -> None:
    """Whatever JSON stands for a fact of a region, it is within the bounds of a file, or one CaptureError."""
    try:
        [frame] = played(regions_with(key, value) + "\n", sample(2)).frames
    except CaptureError:
        return
    for found in frame.regions.regions if frame.regions else ():
        assert all(device.limit is None or 0 <= device.limit < 2**63 for device in found.region.devices)
        assert all(len(one.used) == len(found.region.devices) for one in found.region.processes)
