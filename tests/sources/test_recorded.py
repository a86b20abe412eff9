"""The player: a recorded node at work, once, in a loop, or kept alive at a moment."""

from __future__ import annotations

import gzip
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from exporter.capture import Capture, Frame, encode_node, encode_pods, encode_sample
from exporter.capture_regions import RecordedRegions
from exporter.errors import CaptureError
from exporter.hami.region import FoundRegion
from exporter.model import CoreReading, CoreWindow, Device, DriverState, GpuProcess, Memory, Process, SmSample
from exporter.roles.demo import RECORDING
from exporter.sources.recorded import Player, load
from tests.make import GIB, GPU, NODE, OTHER_GPU, cgroup, device, process, reading, region, uid
from tests.replay import Replay

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from exporter.hami.region import RegionState
    from exporter.model import DeviceReading
    from exporter.snapshot import Snapshot

BEGAN_US = 1_800_000_000_000_000


def frame(
    t: float,
    sm: Mapping[int, float] | None = None,
    *,
    boot: float = 1000.0,
    **facts: Any,  # noqa: ANN401
) -> Frame:
    """Return a second in which each PID had a share (percent) of the GPU; PIDs 7 and 8 live since before the start."""
    shares = {7: 40.0} if sm is None else sm
    end = BEGAN_US + int(t * 1e6)
    core = CoreReading(end - 1_000_000, end, tuple(SmSample(pid, end, share) for pid, share in shares.items()))
    defaults: dict[str, Any] = {
        "core": core,
        "boottime": boot + t,
        "utilization": 0.5,
        "power": 100.0,
        "energy": 100.0 * t,
    }
    answer = reading(dict.fromkeys(shares, GIB), clock=t, **(defaults | facts))
    living: dict[int, Process] = {7: process(7, cgroup("model", "model/main")), 8: process(8)}
    return Frame(t, (replace(answer, window=None),), living, ())


def recording(*frames: Frame, interval: float = 1.0) -> Capture:
    """Return a recorded node."""
    return Capture(NODE, (device(), device(OTHER_GPU, 1)), frames, interval)


class Played:
    """A player on the test's own clock."""

    def __init__(self, capture: Capture, **options: Any) -> None:  # noqa: ANN401  the player's own
        """Begin at 0; nothing is played yet."""
        self.now = 0.0
        self.player = Player(capture, monotonic=lambda: self.now, wall=lambda: 1e9 + self.now, **options)

    def at(self, now: float) -> DriverState:
        """Read at a moment."""
        self.now = now
        return self.player.read(0.5)

    def every(self, seconds: float, end: float) -> list[DriverState]:
        """Read every so many seconds, to the end."""
        return [self.at(step * seconds) for step in range(round(end / seconds) + 1)]


def only(state: DriverState, uuid: str = GPU) -> DeviceReading:
    """Return one GPU's reading."""
    return state.readings[uuid]


def window(state: DriverState) -> CoreWindow:
    """Return the window of the only reading."""
    found = only(state).window
    assert found is not None
    return found


def moments(states: Iterable[DriverState]) -> list[float]:
    """Return the moments of the recording that were handed out, each once as often as it came anew."""
    times = [state.now for state in states]
    return times[:1] + [late for early, late in pairwise(times) if late != early]


# ---------------------------------------------------------------- once


def test_who_reads_too_often_gets_each_frame_once() -> None:
    """Ten reads a second play the recording in its own time, frame by frame."""
    capture = load(RECORDING)

    states = Played(capture).every(0.1, capture.frames[-1].t - 0.1)

    assert moments(states) == [frame.t for frame in capture.frames][: len(moments(states))]
    assert len(moments(states)) >= len(capture.frames) - 2
    assert all(state.now <= step * 0.1 + capture.frames[0].t + 1e-9 for step, state in enumerate(states))


def test_who_reads_too_late_misses_no_frame() -> None:
    """A read hands out one frame at most, so whoever reads every ten seconds still gets all of them."""
    capture = load(RECORDING)

    states = Played(capture).every(10, 10 * (len(capture.frames) - 1))

    assert [state.now for state in states] == [frame.t for frame in capture.frames]


def test_speed_multiplies_the_time_of_the_recording() -> None:
    """At ten times the speed ten seconds take one, and the recorded clock still counts recorded seconds."""
    played = Played(recording(*(frame(t) for t in range(21))), speed=10.0)

    states = played.every(0.1, 1.0)

    assert played.player.interval == 0.1
    assert moments(states)[-1] == pytest.approx(10, abs=1)
    assert all(window(state).seconds == pytest.approx(1) for state in states[1:])


def test_before_the_first_read_the_first_frames_processes_are_known() -> None:
    """A player that was never read knows the first frame's processes and pods, and has nothing of the driver's."""
    player = Played(recording(frame(0), frame(1))).player

    assert player.look_up([7, 9]).processes == {7: process(7, cgroup("model", "model/main")), 9: "process_gone"}
    assert player.current().pods == ()


def test_the_stamps_are_this_moments() -> None:
    """A reading's wall time is when it is played, not when it was recorded."""
    assert only(Played(recording(frame(0))).at(5)).wall == 1e9 + 5


def test_pods_that_were_not_listed_yet_are_not_known() -> None:
    """A recording without pods so far says that the API server did not answer."""
    state = Played(recording(replace(frame(0), pods=None))).player.current()

    assert state.pods is None
    assert state.status is not None
    assert (state.status.up, state.status.last_success) == (False, None)


def test_an_object_that_is_no_pod_costs_itself_only() -> None:
    """A recorded object without what every pod has is unreadable; the others are pods."""
    pod = {"metadata": {"uid": "u", "namespace": "team", "name": "a"}, "spec": {"containers": [{"name": "main"}]}}

    state = Played(recording(replace(frame(0), pods=({}, pod)))).player.current()

    assert [one.name for one in state.pods or ()] == ["a"]
    assert len(state.unreadable) == 1


def test_a_recording_is_played_from_where_it_begins() -> None:
    """A recording whose first sample is at 100 s is played at once, and looped without a pause."""
    states = Played(recording(*(frame(100 + t) for t in range(3))), loop=True).every(1, 6)

    assert [state.now for state in states] == [100, 101, 102, 103, 104, 105, 106]


# ---------------------------------------------------------------- held


def held(capture: Capture, until: float, **options: Any) -> tuple[Played, list[DriverState]]:  # noqa: ANN401
    """Play second by second and return all states."""
    played = Played(capture, **options)
    return played, played.every(1, until)


def test_a_hold_keeps_processes_and_gauges() -> None:
    """At the held second the same processes hold the same memory, and what the driver measured stays."""
    played, states = held(recording(*(frame(t, temperature=40 + t) for t in range(10))), 30, hold=5)

    then, now = only(states[5]), only(states[-1])
    assert played.player.held
    assert (now.memory, now.processes, now.utilization, now.power, now.temperature) == (
        then.memory,
        then.processes,
        then.utilization,
        then.power,
        then.temperature,
    )
    assert states[-1].now - states[5].now == 25
    assert now.clock == states[-1].now
    assert played.player.look_up([7]).processes == {7: process(7, cgroup("model", "model/main"))}


def test_without_a_hold_the_end_is_held() -> None:
    """Played to its end, a recording stays alive there."""
    _, states = held(recording(frame(0), frame(1)), 5)

    assert [state.now for state in states] == [0, 1, 2, 3, 4, 5]


def test_a_hold_before_the_first_sample_stays_at_the_first() -> None:
    """A second before anything was recorded means the first sample."""
    played, _ = held(recording(frame(3), frame(4)), 2, hold=0)

    assert played.player.held


def test_held_processes_go_on_at_their_mean_rate_of_the_last_minute() -> None:
    """A process that swung between 20 and 60 percent goes on at 40, one that came late at its mean since it came."""
    frames = [frame(t, {7: 20 + 40 * (t % 2)} | ({8: 30.0} if t > 80 else {})) for t in range(101)]

    _, states = held(recording(*frames), 160)

    spent = {pid: sum(window(state).busy[pid] for state in states[101:]) for pid in (7, 8)}
    assert sum(window(state).seconds for state in states[101:]) == pytest.approx(60)
    assert spent[7] == pytest.approx(0.4 * 60, rel=0.02)
    assert spent[8] == pytest.approx(0.3 * 60, rel=0.02)


def test_what_happened_more_than_a_minute_ago_does_not_count() -> None:
    """Only the last minute makes the mean: a process that was busy before and is idle now stays idle."""
    frames = [frame(t, {7: 90.0 if t < 30 else 0.0}) for t in range(101)]

    _, states = held(recording(*frames), 110)

    assert all(not window(state).busy for state in states[101:])


def test_a_process_that_ended_before_the_hold_does_not_go_on() -> None:
    """Whoever is not listed any more uses nothing."""
    frames = [frame(t, {7: 50.0, 8: 50.0} if t < 90 else {7: 50.0}) for t in range(101)]

    _, states = held(recording(*frames), 110)

    assert set(window(states[-1]).busy) == {7}


def test_held_energy_goes_on_at_the_mean_power() -> None:
    """The energy counter goes on with the mean power of the last minute."""
    frames = [frame(t, power=100.0 + 100 * (t % 2), energy=150.0 * t) for t in range(101)]

    _, states = held(recording(*frames), 160)

    joules = (only(states[160]).energy or 0) - (only(states[100]).energy or 0)
    assert joules == pytest.approx(150 * 60, rel=0.02)


def test_a_hold_at_fifty_times_the_speed_goes_on_in_real_time() -> None:
    """Once held, a second is a second, whatever the speed was."""
    played = Played(recording(*(frame(t) for t in range(101))), speed=50.0)
    states = played.every(0.02, 12)

    arrived = next(step for step, state in enumerate(states) if state.now == 100)
    assert states[-1].now - 100 == pytest.approx(12 - arrived * 0.02, abs=1)


def test_a_gpu_without_facts_is_held_without_them() -> None:
    """What the driver never told is not made up while held."""
    _, states = held(recording(frame(0, core=None, energy=None, power=None)), 5)

    assert (only(states[-1]).window, only(states[-1]).energy, only(states[-1]).clock) == (None, None, 5)


def test_a_gpu_that_was_lost_before_the_hold_stays_lost() -> None:
    """A GPU that had been silent for long is not brought back to life by the hold; one that missed a beat goes on."""
    both = [replace(frame(t), readings=(*frame(t).readings, reading(uuid=OTHER_GPU, clock=t))) for t in range(5)]
    alone = [frame(t) for t in range(5, 30)]

    _, long_lost = held(recording(*both, *alone), 40)
    _, just_late = held(recording(*both, *alone[:3]), 40)

    assert set(long_lost[-1].readings) == {GPU}
    assert only(just_late[-1], OTHER_GPU).clock == 40


def busy_of(snapshot: Snapshot, name: str) -> float:
    """Return a pod's GPU-seconds."""
    return sum(account.busy or 0 for (_, owner), account in snapshot.accounts.pairs.items() if name in owner.pod)


def test_the_recorded_h200_goes_on_as_it_was() -> None:
    """Held at 80 s, a pod's counter grows in 60 s nearly as in the last recorded minute, and gauges stay.

    Nearly: a process that began within it had a busier minute, and together they get no more than the GPU has.
    """
    played = list(Replay(hold=80).snapshots(150))
    early, then, late = played[20], played[80], played[140]

    last_minute = busy_of(then, "embed") - busy_of(early, "embed")
    assert busy_of(late, "embed") - busy_of(then, "embed") == pytest.approx(last_minute, rel=0.08)
    [(before, after)] = [(then.accounts.devices[uuid], account) for uuid, account in late.accounts.devices.items()]
    assert after.busy - before.busy <= (after.observed - before.observed) * (1 + 1e-9)
    assert busy_of(late, "ssh-lab-0") > busy_of(then, "ssh-lab-0") > busy_of(early, "ssh-lab-0")
    assert [(pair.owner, pair.used) for pair in late.joined.pairs] == [
        (pair.owner, pair.used) for pair in then.joined.pairs
    ]
    assert set(late.accounts.failures.values()) == {0}


# ---------------------------------------------------------------- in a loop


def laps(capture: Capture, count: int) -> list[Snapshot]:
    """Play laps through the whole pipeline."""
    length = capture.frames[-1].t - capture.frames[0].t + capture.interval
    return list(Replay(capture, loop=True).snapshots(count * length))


def test_counters_never_go_back_over_three_laps() -> None:
    """Looped, the recorded H200's accounts only ever grow, that of a container that comes and goes too."""
    played = laps(load(RECORDING), 3)
    busy: dict[object, float] = {}

    assert played[-1].accounts.devices != played[95].accounts.devices
    for early, late in pairwise(played):
        for uuid, account in early.accounts.devices.items():
            now = late.accounts.devices[uuid]
            assert now.busy >= account.busy
            assert now.observed >= account.observed
            assert (now.energy or 0) >= (account.energy or 0)
        for key, booked in early.accounts.namespaces.items():
            then = late.accounts.namespaces[key]
            assert (then.busy or 0) >= (booked.busy or 0)
            assert then.memory_used >= booked.memory_used
        for pair, mine in late.accounts.pairs.items():
            assert (mine.busy or 0) >= busy.get(pair, 0)
            busy[pair] = mine.busy or 0
    assert len(busy) == 10


def test_every_process_of_every_lap_is_placed() -> None:
    """Up to the last second of each lap the processes are those of that lap: nothing is unknown, nothing fails."""
    for capture in (load(RECORDING), recording(*(frame(t, {8: 40.0}) for t in range(5)))):
        played = laps(capture, 3)

        assert set(played[-1].accounts.failures.values()) == {0}
        for snapshot in played:
            for use in snapshot.joined.devices:
                assert use.unattributed is None or use.unattributed["unknown_process"] == 0


def test_a_wrap_looks_like_all_processes_restarting() -> None:
    """In the next lap each process has started a lap later, and so has the system's clock moved."""
    played = Played(recording(*(frame(t) for t in range(5))), loop=True)

    starts, boottimes = [], []
    for now in range(10):
        state = played.at(now)
        found = played.player.look_up([7]).processes[7]
        assert isinstance(found, Process)
        starts.append(found.start)
        boottimes.append(only(state).boottime)

    assert starts == [50.0] * 5 + [55.0] * 5
    assert boottimes == [1000.0 + now for now in range(10)]


def test_core_windows_never_overlap() -> None:
    """Over three laps no moment of core time is booked twice, and the windows fit into the time played."""
    capture = load(RECORDING)
    played = Played(capture, loop=True)
    length = capture.frames[-1].t - capture.frames[0].t + capture.interval
    spans = []
    for step in range(3 * len(capture.frames)):
        state = played.at(step * 10)
        lap = step // len(capture.frames)
        for one in state.readings.values():
            assert one.core is not None
            if one.window is not None:
                begin = one.core.last_seen_us / 1e6 + lap * length
                spans.append((begin, begin + one.window.seconds))

    assert len(spans) > 2.5 * len(capture.frames)
    assert all(end <= begin + 1e-6 for (_, end), (begin, _) in pairwise(spans))
    assert sum(end - begin for begin, end in spans) <= 3 * length


# ---------------------------------------------------------------- regions


def counted(pid: int = 7, last_kernel: int | None = None) -> RecordedRegions:
    """Return the regions of a node with one of them, in which one process has 1 GiB."""
    found = FoundRegion(uid("model"), "main", "a.cache", region({pid: (GIB,)}, last_kernel=last_kernel))
    return RecordedRegions((found,), frozenset({uid("model")}), 2)


def regions_at(played: Played, now: float) -> RegionState:
    """Read the driver and then the regions, as the sampler does."""
    played.at(now)
    assert played.player.regions is not None
    return played.player.regions.read({})


def test_regions_are_played_with_their_moment() -> None:
    """Each frame's regions are read as they were, with the pods that are complete and the files that wait."""
    first, second = counted(7), counted(8)
    played = Played(recording(replace(frame(0), regions=first), replace(frame(1), regions=second)))

    states = [regions_at(played, now) for now in (0, 1)]

    assert [state.regions for state in states] == [first.regions, second.regions]
    assert [(state.complete, state.waiting) for state in states] == [(first.complete, 2)] * 2
    assert all((state.status.up, state.problems) == (True, frozenset()) for state in states)


def test_a_recording_without_regions_has_no_source_of_them() -> None:
    """Where no regions were recorded there is nothing to ask, as on a node where they are not read."""
    assert Played(recording(frame(0), frame(1))).player.regions is None


def test_regions_that_were_not_known_are_absent_and_their_source_down() -> None:
    """At a moment without regions there are none, nobody is complete, and the source was up when it last was."""
    played = Played(recording(frame(0), replace(frame(1), regions=counted()), frame(2)))

    before, then, after = (regions_at(played, now) for now in (0, 1, 2))

    for state, seen in ((before, None), (after, 1e9 + 1)):
        assert (state.regions, state.complete, state.waiting) == ((), frozenset(), 0)
        assert (state.status.up, state.status.last_success) == (False, seen)
    assert (then.status.up, then.status.last_success) == (True, 1e9 + 1)


def test_a_hold_keeps_the_regions() -> None:
    """Held, the regions stay as the processes do, and their last kernel stays as long ago as it was."""
    played = Played(recording(frame(0), replace(frame(1), regions=counted(last_kernel=998))))

    states = [regions_at(played, now) for now in range(60)]

    assert [len(state.regions) for state in states] == [0] + [1] * 59
    ages = {1e9 + now - (state.regions[0].region.last_kernel or 0) for now, state in enumerate(states) if state.regions}
    assert ages == {1001 - 998}  # the frame's wall clock says 1001


def test_the_last_kernel_moves_along_in_each_lap() -> None:
    """A kernel of five seconds before its sample is one of five seconds ago whenever that sample is played."""
    frames = (replace(frame(t), regions=counted(last_kernel=1000 + t - 5)) for t in range(3))
    played = Played(recording(*frames), loop=True)

    for now in range(9):
        [found] = regions_at(played, now).regions
        assert found.region.last_kernel == 1e9 + now - 5


# ---------------------------------------------------------------- MIG


def instance(number: int, t: float = 0.0, pid: int = 7) -> DeviceReading:
    """Return a reading of an instance on which a process has 1 GiB."""
    cut = Device(f"MIG-{number}", 0, "NVIDIA L4 MIG", "580.0", GPU)
    memory, processes = Memory(4 * GIB, GIB, 0), (GpuProcess(pid, GIB),)
    return replace(reading(), device=cut, clock=t, memory=memory, processes=processes, core=None, boottime=1000.0 + t)


def cut_frame(t: float, *instances: DeviceReading) -> Frame:
    """Return a moment of a GPU that is cut into instances."""
    [whole] = frame(t, core=None).readings
    return replace(frame(t), readings=(replace(whole, instances=instances),))


def test_instances_follow_their_gpu() -> None:
    """Each whole GPU is followed by its instances, with readings of their own, as the driver's edge has them."""
    state = Played(recording(cut_frame(0, instance(1), instance(2)))).at(5)

    assert [one.uuid for one in state.devices] == [GPU, "MIG-1", "MIG-2", OTHER_GPU]
    assert set(state.readings) == {GPU, "MIG-1", "MIG-2"}
    assert only(state, "MIG-1").memory == Memory(4 * GIB, GIB, 0)
    assert {one.wall for one in state.readings.values()} == {1e9 + 5}
    assert only(state).instances == (only(state, "MIG-1"), only(state, "MIG-2"))


def test_an_instance_that_is_gone_from_its_gpu_is_gone() -> None:
    """Only the newest reading of a GPU says which instances it has; that they may not be listed says none."""
    hidden = replace(cut_frame(2), readings=(replace(cut_frame(2).readings[0], instances=None),))
    played = Played(recording(cut_frame(0, instance(1), instance(2)), cut_frame(1, instance(2)), hidden))

    known = [{one.uuid for one in played.at(now).devices} - {GPU, OTHER_GPU} for now in range(3)]

    assert known == [{"MIG-1", "MIG-2"}, {"MIG-2"}, set()]
    assert only(played.at(2)).instances is None


def test_held_instances_stay_alive_with_their_gpu() -> None:
    """Held, an instance has a fresh reading with the same processes for as long as its GPU has one."""
    _, states = held(recording(*(cut_frame(t, instance(1, t)) for t in range(3))), 60)

    end = states[-1]
    assert only(end, "MIG-1").clock == only(end).clock == end.now == 60
    assert only(end, "MIG-1").processes == (GpuProcess(7, GIB),)
    assert only(end).instances == (only(end, "MIG-1"),)


def test_instances_move_with_their_lap() -> None:
    """In the next lap the instances' clocks and the system's have moved as their GPU's have."""
    played = Played(recording(*(cut_frame(t, instance(1, t)) for t in range(3))), loop=True)

    states = played.every(1, 8)

    assert [only(state, "MIG-1").clock for state in states] == list(range(9))
    assert [only(state, "MIG-1").boottime for state in states] == [1000.0 + now for now in range(9)]


# ---------------------------------------------------------------- from a file


def test_a_file_comes_back_whatever_its_names_hold(tmp_path: Path) -> None:
    """Line separators that are no newline (U+2028, NEL, FS) in a name end no line of the file."""
    hostile = "a\u2028b\x85c\x1cd\ne\r\n"
    path = tmp_path / "node.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
        file.write(encode_node(hostile, hostile, [device()], hostile))
        file.write(encode_pods(0, [{"name": hostile}]))
        file.write(encode_sample(0, BEGAN_US, [reading()], {7: process(7, hostile, comm=hostile)}))

    capture = load(path)

    assert capture.node == hostile
    assert capture.frames[0].processes == {7: process(7, hostile, comm=hostile)}
    assert capture.frames[0].pods == ({"name": hostile},)


def compressed(text: str) -> bytes:
    """Return a gzip file of a text."""
    return gzip.compress(text.encode())


def corrupt() -> bytes:
    """Return the recording with bytes in its middle overwritten."""
    content = bytearray(RECORDING.read_bytes())
    content[50:90] = b"\xff" * 40
    return bytes(content)


NODE_LINE = encode_node(NODE, "580.0", [device()], "2026-11-22T03:00:00Z")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the capture is empty"),
        (compressed(""), "the capture is empty"),
        (compressed(NODE_LINE), "the capture holds no sample"),
        (b"plain text", "Not a gzipped file"),
        (RECORDING.read_bytes()[:-2000], "ended before the end-of-stream marker"),
        (corrupt(), "Error -3 while decompressing data"),
        (gzip.compress(b"\xff\xfe"), "can't decode byte 0xff"),
        (compressed(NODE_LINE + "{}\nno JSON\n"), "line 3 of the capture: Expecting value"),
        (compressed("{}\n"), "line 1 of the capture: it must be"),
        (compressed(NODE_LINE + "\n"), "line 2 of the capture: Expecting value"),
    ],
    ids=[
        *("empty file", "empty text", "no sample", "no gzip", "truncated", "corrupt", "no UTF-8", "garbage"),
        *("another version", "blank line"),
    ],
)
def test_a_file_that_cannot_be_played_is_named(tmp_path: Path, content: bytes, expected: str) -> None:
    """Whatever is wrong with a file is told in one line with its path."""
    path = tmp_path / "node.jsonl.gz"
    path.write_bytes(content)

    with pytest.raises(CaptureError) as caught:
        load(path)

    assert str(path) in str(caught.value)
    assert expected in str(caught.value)
    assert str(caught.value).splitlines() == [str(caught.value)]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A missing file, and a directory, are told as such."""
    with pytest.raises(CaptureError, match=r"nothing\.gz cannot be read: .*No such file"):
        load(tmp_path / "nothing.gz")
    with pytest.raises(CaptureError, match="Is a directory"):
        load(tmp_path)
