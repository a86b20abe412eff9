"""The tick: stale readings, failing ticks, a stuck loop, blindness; with sources written by hand."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from exporter.errors import FAILURE_REASONS
from exporter.hami import node_register
from exporter.hami.node_register import NodeState
from exporter.labels import Build
from exporter.metrics import families
from exporter.model import CoreReading, DriverState, Failure, Memory, PodState, ProcessState, XidEvents
from exporter.sampler import Sampler, Sources
from exporter.sources import Gpus, Node, Pods, Processes, Regions
from exporter.sources.no_pods import NoPods
from tests.make import (
    GIB,
    GPU,
    MIB,
    NODE,
    OTHER_GPU,
    cgroup,
    device,
    driver,
    pod,
    pods,
    process,
    processes,
    reading,
    regions,
    status,
)
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from exporter.hami.region import RegionState
    from exporter.snapshot import Snapshot

MODEL = pod("model", granted=f"{GPU},NVIDIA,2000,30:;")
INSIDE = cgroup("model", "model/main")
#: What the pods' edge says before the API server has ever answered.
NEVER_LISTED = PodState(None, replace(status("pods", up=False), last_success=None))


class Answers(Gpus, Processes, Pods):
    """All three edges: answer what they were given last; `broken` makes the driver's raise."""

    def __init__(self) -> None:
        """Begin with one idle GPU, one pod that holds a grant on it, and no process."""
        self.driver: DriverState = driver(reading())
        self.found: ProcessState = processes()
        self.pods: PodState = pods(MODEL)
        self.broken = ""
        self.closed = 0
        self.asked: list[Collection[int]] = []

    @override
    def read(self, timeout: float) -> DriverState:
        if self.broken:
            raise RuntimeError(self.broken)
        return self.driver

    @override
    def look_up(self, pids: Collection[int]) -> ProcessState:
        self.asked.append(set(pids))
        return self.found

    @override
    def current(self) -> PodState:
        return self.pods

    @override
    def close(self) -> None:
        self.closed += 1


class Registered(Node):
    """The own Node: says what a device plugin registered there, as annotation text."""

    def __init__(self, text: str = "") -> None:
        """Begin with nothing registered, unless given."""
        self.text = text
        self.known = True

    @override
    def current(self) -> NodeState:
        return NodeState(node_register.decode(self.text) if self.known else None, status("node", up=self.known))

    @override
    def close(self) -> None:
        pass


class Counted(Regions):
    """HAMi-core's regions: answers what it was given, and notes what it was told of the GPUs."""

    def __init__(self) -> None:
        """Begin without any."""
        self.state = regions()
        self.physical: list[Mapping[str, int]] = []

    @override
    def read(self, physical: Mapping[str, int]) -> RegionState:
        self.physical.append(physical)
        return self.state


class Bench:
    """A sampler on clocks of the test's own."""

    def __init__(self, interval: float = 1.0, api: Pods | None = None) -> None:
        """Nothing has ticked yet."""
        self.now = 1000.0
        self.answers = Answers()
        self.node = Registered()
        self.regions = Counted()
        sources = Sources(self.answers, self.answers, api or self.answers, self.node, self.regions)
        self.sampler = Sampler(NODE, sources, interval, wall=lambda: 5e8 + self.now, monotonic=lambda: self.now)


@pytest.fixture
def bench() -> Bench:
    """Return a sampler that has not ticked yet."""
    return Bench()


def published(snapshot: Snapshot, name: str) -> dict[str, float]:
    """Return what a scrape says under a name: the label that tells the samples apart → value."""
    build = Build("node", "0", "x", "3")
    return {
        sample.labels.get("source", sample.labels.get("reason", sample.labels.get("device_uuid", ""))): sample.value
        for family in families(snapshot, build)
        for sample in family.samples
        if sample.name == name
    }


def errors_of(snapshot: Snapshot, source: str, reason: str) -> int:
    """Return how often a source failed for a reason."""
    [state] = [state for state in snapshot.statuses if state.source == source]
    return state.errors[reason]


def up(snapshot: Snapshot) -> dict[str, bool]:
    """Return which of the sources that no tick can do without are up."""
    return {state.source: state.up for state in snapshot.statuses if state.source not in ("node", "regions")}


# ---------------------------------------------------------------- one tick


def test_before_the_first_tick_there_is_no_snapshot(bench: Bench) -> None:
    """Nothing is published before the first tick."""
    assert bench.sampler.current() is None


def test_a_tick_publishes_what_it_made(bench: Bench) -> None:
    """The snapshot of a tick is the one that scrapes get, stamped with the time it was made."""
    snapshot = bench.sampler.tick()

    assert bench.sampler.current() is snapshot
    assert (snapshot.node, snapshot.taken, snapshot.not_ready) == (NODE, 5e8 + 1000, None)


def test_only_pids_of_fresh_readings_are_looked_up(bench: Bench) -> None:
    """/proc is asked about the PIDs that the driver names now, listed or sampled, and no others."""
    old, new = reading({1: GIB}, clock=50.0), reading({2: GIB}, uuid=OTHER_GPU, busy={3: 0.1}, clock=100.0)
    bench.answers.driver = driver(old, new)

    bench.sampler.tick()

    assert bench.answers.asked == [{2, 3}]


def test_an_object_that_is_no_pod_counts_once(bench: Bench) -> None:
    """An unreadable pod is a failure, counted when it appears and not at every tick."""
    bench.answers.pods = PodState((MODEL,), status("pods"), frozenset({"team/odd"}))

    bench.sampler.tick()
    snapshot = bench.sampler.tick()

    assert published(snapshot, "vgpu_attribution_failures_total")["pod_unreadable"] == 1


def test_what_could_not_be_placed_is_logged_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A process that cannot be placed is logged when it begins, not once a second."""
    bench.answers.driver = driver(reading({7: GIB}))
    bench.answers.found = processes(gone=[7])

    for _ in range(3):
        bench.sampler.tick()

    assert [record.getMessage() for record in caplog.records] == [
        f"process_gone (7): {FAILURE_REASONS['process_gone']}"
    ]


def test_a_tenant_that_forks_does_not_fill_the_log(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Ever new failures of one kind are counted, and logged once a minute with five of their names."""
    snapshots = []
    for tick in range(3):
        pids = range(100 * tick, 100 * tick + 50)
        bench.answers.driver = driver(reading(dict.fromkeys(pids, 1), clock=100.0 + tick))
        bench.answers.found = processes(gone=pids)
        snapshots.append(bench.sampler.tick())

    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("process_gone (0, 1, 10, 11, 12 and 45 more): ")
    assert published(snapshots[-1], "vgpu_attribution_failures_total")["process_gone"] == 150


def test_a_tenant_cannot_keep_anothers_failure_out_of_the_log(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """What fails while its kind was told a moment ago, and goes on failing, is told when the minute is over."""
    noisy, quiet = pod("noisy", granted="garbage,"), pod("quiet", granted="garbage,")
    bench.answers.pods = pods(noisy)
    bench.sampler.tick()
    bench.now += 30
    bench.answers.pods = pods(noisy, quiet)
    bench.sampler.tick()
    assert quiet.uid not in caplog.text

    bench.now += 31
    bench.sampler.tick()
    bench.sampler.tick()

    assert [noisy.uid in record.getMessage() for record in caplog.records] == [True, False]
    assert caplog.text.count(quiet.uid) == 1


# ---------------------------------------------------------------- stale readings


def test_a_stale_reading_costs_its_gpu_only_and_no_grant(bench: Bench) -> None:
    """A GPU unread for more than ten seconds is down and shows no use; its grants, and the other GPU, go on."""
    bench.answers.driver = driver(reading({7: GIB}, clock=100.0), reading({8: GIB}, uuid=OTHER_GPU, clock=110.1))
    bench.answers.found = processes(process(7, INSIDE), process(8))

    snapshot = bench.sampler.tick()

    assert published(snapshot, "vgpu_device_up") == {GPU: 0, OTHER_GPU: 1}
    assert published(snapshot, "vgpu_device_memory_used_bytes") == {OTHER_GPU: GIB}
    assert published(snapshot, "vgpu_container_memory_used_bytes") == {}
    assert published(snapshot, "vgpu_device_memory_granted_bytes") == {GPU: 2000 * MIB, OTHER_GPU: 0}
    assert published(snapshot, "vgpu_container_memory_granted_bytes") == {GPU: 2000 * MIB}
    assert snapshot.not_ready is None


@pytest.mark.parametrize(("interval", "age", "is_up"), [(1.0, 10.0, 1), (1.0, 10.1, 0), (5.0, 25.0, 1), (5.0, 25.1, 0)])
def test_a_reading_is_stale_after_five_intervals_but_at_least_ten_seconds(
    interval: float, age: float, is_up: int
) -> None:
    """A reading counts for five intervals, and never for less than ten seconds."""
    bench = Bench(interval)
    bench.answers.driver = driver(reading(clock=100.0), now=100.0 + age)

    assert published(bench.sampler.tick(), "vgpu_device_up") == {GPU: is_up}


def test_a_gpu_that_comes_back_goes_on_counting(bench: Bench) -> None:
    """After a stale time the counters go on from where they were."""
    bench.answers.found = processes(process(7, INSIDE))
    bench.answers.driver = driver(reading({7: GIB}, busy={7: 0.5}, clock=101.0))
    before = bench.sampler.tick()
    bench.answers.driver = driver(reading({7: GIB}, clock=101.0), now=120.0)
    assert published(bench.sampler.tick(), "vgpu_container_core_busy_seconds_total") == {}

    bench.answers.driver = driver(reading({7: GIB}, busy={7: 0.5}, clock=121.0))

    name = "vgpu_container_core_busy_seconds_total"
    assert published(bench.sampler.tick(), name)[GPU] == published(before, name)[GPU] + 0.5


# ---------------------------------------------------------------- not ready


def test_without_a_driver_the_reason_says_so(bench: Bench) -> None:
    """A driver that never answered is the reason, and no pod is needed to say it."""
    bench.answers.driver = DriverState(100.0, False, (), {}, status("nvml", up=False))  # noqa: FBT003  its field
    bench.answers.pods = PodState(None, None)

    assert bench.sampler.tick().not_ready == "the NVIDIA driver has not answered yet"


def test_without_a_fresh_reading_the_reason_says_so(bench: Bench) -> None:
    """A driver that answers but gives no reading is another reason, whatever else is missing."""
    bench.answers.driver = driver(reading(clock=50.0), now=100.0)
    bench.answers.pods = NEVER_LISTED

    assert bench.sampler.tick().not_ready == "no GPU has a fresh reading"


def test_a_fresh_reading_is_enough_to_be_ready(bench: Bench) -> None:
    """Without pods nothing can be attributed, but the GPUs are there: ready, and blind with a reason."""
    bench.answers.pods = NEVER_LISTED

    snapshot = bench.sampler.tick()

    assert (snapshot.not_ready, snapshot.joined.blind) == (None, "the node's pods have not been listed yet")
    assert published(snapshot, "vgpu_device_memory_attributed_bytes") == {}


# ---------------------------------------------------------------- ticks that fail, loops that stick


def test_a_tick_that_fails_is_logged_and_the_next_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a source raises costs that tick only: it is logged, the old snapshot stays, the loop goes on."""
    bench = Bench(interval=0.01)
    first = bench.sampler.tick()
    bench.answers.broken = "a bug in an edge"
    loop = threading.Thread(target=bench.sampler.run)
    loop.start()
    try:
        until(lambda: caplog.records)
        assert bench.sampler.current() is first
        bench.answers.broken = ""
        until(lambda: bench.sampler.current() is not first)
    finally:
        bench.sampler.stop()
        loop.join(5)

    assert not loop.is_alive()
    record = caplog.records[0]
    assert (record.levelno, record.getMessage()) == (
        logging.ERROR,
        "a tick failed; the last snapshot stays, its timestamp tells its age",
    )
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "a bug in an edge"


def test_even_a_first_tick_may_fail(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A first tick that fails leaves no snapshot, and the second makes one."""
    bench.answers.broken = "too early"
    bench.sampler.attempt()
    assert bench.sampler.current() is None
    assert len(caplog.records) == 1

    bench.answers.broken = ""
    bench.sampler.attempt()
    assert bench.sampler.current() is not None


def test_a_stop_ends_the_loop_and_closes_driver_and_pods(bench: Bench) -> None:
    """Stopped, the loop ends at once, however long its interval, and both sources are told."""
    loop = threading.Thread(target=bench.sampler.run)
    loop.start()
    until(bench.sampler.current)

    bench.sampler.stop()

    loop.join(0.9)
    assert not loop.is_alive()
    assert bench.answers.closed == 2


def test_a_stuck_loop_withholds_its_readings(bench: Bench) -> None:
    """When no tick has come for more than ten seconds, what was read is no longer shown as live."""
    state = driver(reading({7: GIB}, busy={7: 0.5}))
    bench.answers.driver = replace(state, xids={(GPU, 79): XidEvents(1, 7.0)})
    bench.answers.found = processes(process(7, INSIDE))
    snapshot = bench.sampler.tick()

    bench.now += 10
    assert bench.sampler.current() is snapshot
    bench.now += 0.1
    late = bench.sampler.current()

    assert late is not None
    assert late.not_ready == late.joined.blind == "the sampler is stuck: nothing was read for too long"
    assert published(late, "vgpu_device_up") == {GPU: 0}
    assert published(late, "vgpu_source_up") == dict.fromkeys(("nvml", "procfs", "pods", "node", "regions"), 0)
    assert published(late, "vgpu_exporter_snapshot_timestamp_seconds") == {"": snapshot.taken}
    assert published(late, "vgpu_device_memory_granted_bytes") == {GPU: 2000 * MIB}
    assert published(late, "vgpu_device_xid_errors_total") == {GPU: 1}
    for name in ("vgpu_device_memory_used_bytes", "vgpu_container_memory_used_bytes", "vgpu_device_core_busy_seconds"):
        assert published(late, name) == {}


def test_a_stuck_loop_is_one_snapshot_for_all_scrapes(bench: Bench) -> None:
    """While the loop is stuck all scrapes get the same object, so that it too is rendered once."""
    bench.sampler.tick()
    bench.now += 60

    assert bench.sampler.current() is bench.sampler.current()


def test_a_loop_that_moves_again_shows_its_readings(bench: Bench) -> None:
    """The next tick ends the withholding."""
    bench.sampler.tick()
    bench.now += 60
    bench.sampler.current()

    snapshot = bench.sampler.tick()

    assert bench.sampler.current() is snapshot
    bench.now += 60
    late = bench.sampler.current()
    assert late is not None
    assert late.taken == snapshot.taken


# ---------------------------------------------------------------- the roster


def test_the_roster_is_kept_while_pods_and_gpus_are_the_same(bench: Bench) -> None:
    """Equal pods and GPUs, though new objects, make no new roster: its results are the very same objects."""
    first = bench.sampler.tick().joined.granted
    bench.answers.pods = pods(pod("model", granted=f"{GPU},NVIDIA,2000,30:;"))
    bench.answers.driver = driver(reading({7: GIB}, clock=101.0))

    assert bench.sampler.tick().joined.granted is first


def test_the_roster_follows_the_pods(bench: Bench) -> None:
    """A pod that comes, changes or goes is seen at the next tick."""
    bench.sampler.tick()
    bench.answers.pods = pods(MODEL, pod("other", granted=f"{GPU},NVIDIA,1000,10:;"))
    assert published(bench.sampler.tick(), "vgpu_device_memory_granted_bytes") == {GPU: 3000 * MIB}

    bench.answers.pods = pods(pod("model", granted=f"{GPU},NVIDIA,500,30:;"))
    assert published(bench.sampler.tick(), "vgpu_device_memory_granted_bytes") == {GPU: 500 * MIB}

    bench.answers.pods = pods()
    assert published(bench.sampler.tick(), "vgpu_device_memory_granted_bytes") == {GPU: 0}


def test_the_roster_follows_the_gpus(bench: Bench) -> None:
    """A grant on a GPU that this node does not have yet counts as soon as it has it."""
    bench.answers.pods = pods(pod("model", granted=f"{OTHER_GPU},NVIDIA,2000,30:;"))
    assert bench.sampler.tick().accounts.failures["grant_unknown_device"] == 1

    bench.answers.driver = driver(reading(), reading(uuid=OTHER_GPU))

    assert published(bench.sampler.tick(), "vgpu_device_memory_granted_bytes")[OTHER_GPU] == 2000 * MIB


WHOLE = pod("model", granted=f"{GPU},NVIDIA,49152,0:;")


def test_a_whole_card_is_what_hami_registered_at_most(bench: Bench) -> None:
    """A pod that asks for a whole card holds no more than the plugin registered, be that more than the card has."""
    bench.answers.pods = pods(WHOLE)
    bench.node.text = f"{GPU},10,36864,100,NVIDIA-L4,0,true,0,hami-core:"

    snapshot = bench.sampler.tick()

    assert published(snapshot, "vgpu_device_memory_granted_bytes") == {GPU: 36 * GIB}
    assert snapshot.accounts.failures["grant_above_request"] == 1


def test_a_whole_card_is_the_card_where_nothing_is_registered(bench: Bench) -> None:
    """On a node where no plugin registers, no annotation buys more than there is; while that is unknown it stands."""
    bench.answers.pods = pods(WHOLE)
    assert published(bench.sampler.tick(), "vgpu_device_memory_granted_bytes") == {GPU: 24 * GIB}

    bench.node.known = False
    assert published(bench.sampler.tick(), "vgpu_device_memory_granted_bytes") == {GPU: 48 * GIB}


@pytest.mark.parametrize(("units", "granted"), [(24576, 500 * MIB), (2457, 5000 * MIB), (2458, None)])
def test_volcanos_unit_is_told_by_what_it_registered_of_the_card(bench: Bench, units: int, granted: int | None) -> None:
    """A card of 24576 MiB that is registered as 2457 units has units of 10 MiB; what divides no way says nothing."""
    wants = {"volcano.sh/vgpu-number": 1, "volcano.sh/vgpu-memory": 500}
    annotations = {"volcano.sh/vgpu-ids-new": f"{GPU},NVIDIA,500,0:", "volcano.sh/vgpu-node": NODE}
    bench.answers.pods = pods(pod("model", asks=wants, annotations=annotations))
    bench.answers.driver = driver(reading(memory=Memory(24 * GIB, 0, 0)))
    bench.node.text = f"{GPU},10,{units},NVIDIA,true,hami-core:"

    snapshot = bench.sampler.tick()

    factor = {24576: 1, 2457: 10}.get(units)
    schedulable = published(snapshot, "vgpu_device_memory_schedulable_bytes")
    assert schedulable == ({GPU: units * factor * MIB} if factor else {})
    assert published(snapshot, "vgpu_device_memory_granted_bytes") == {GPU: granted or 0}
    assert snapshot.accounts.failures["grant_unit_unknown"] == int(granted is None)


def test_what_a_region_counts_may_exceed_the_card_where_hami_oversubscribes(bench: Bench) -> None:
    """Regions are held against the card's memory, or against what was registered where that is more."""
    bench.node.text = f"{GPU},10,49152,100,NVIDIA-L4,0,true,0,hami-core:"
    bench.sampler.tick()
    bench.node.text = ""
    bench.sampler.tick()

    assert bench.regions.physical == [{GPU: 48 * GIB}, {GPU: 24 * GIB}]


def test_a_region_that_cannot_be_read_is_a_failure(bench: Bench) -> None:
    """What the regions' source could not use counts once, and its state is published with the others."""
    bench.regions.state = replace(regions(), problems=frozenset({Failure("region_malformed", "x/a.cache")}))
    bench.sampler.tick()
    snapshot = bench.sampler.tick()

    assert snapshot.accounts.failures["region_malformed"] == 1
    assert [state.source for state in snapshot.statuses if state.up] == ["nvml", "procfs", "pods", "node", "regions"]


def test_names_that_are_too_old_are_unknown_pods(bench: Bench) -> None:
    """When the API server has been away for too long, names and grants go and use becomes `unknown_pod`."""
    bench.answers.driver = driver(reading({7: GIB}))
    bench.answers.found = processes(process(7, INSIDE))
    bench.sampler.tick()
    bench.answers.pods = PodState(None, status("pods", up=False))

    snapshot = bench.sampler.tick()

    assert snapshot.joined.pairs == ()
    assert published(snapshot, "vgpu_device_memory_granted_bytes") == {}
    assert published(snapshot, "vgpu_device_memory_unattributed_bytes")["unknown_pod"] == GIB
    assert up(snapshot) == {"nvml": True, "procfs": True, "pods": False}


# ---------------------------------------------------------------- blind for want of host PIDs


def unlisted(clock: float) -> DriverState:
    """Return a driver that sees memory in use but lists no process: as from another PID namespace."""
    return driver(reading(used=2 * GIB, clock=clock))


def test_want_of_host_pids_counts_once_per_onset(caplog: pytest.LogCaptureFixture) -> None:
    """Use without any listed process for 10 s is one error of procfs, down while it lasts; the log says why."""
    bench = Bench()
    bench.answers.driver = unlisted(100.0)
    assert bench.sampler.tick().joined.no_host_pid is False

    for clock in (110.0, 111.0, 112.0):
        bench.answers.driver = unlisted(clock)
        snapshot = bench.sampler.tick()
        assert errors_of(snapshot, "procfs", "no_host_pid") == 1
        assert up(snapshot) == {"nvml": True, "procfs": False, "pods": True}
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "hostPID: true" in caplog.text

    bench.answers.driver = driver(reading(clock=113.0))  # idle again
    snapshot = bench.sampler.tick()
    assert (errors_of(snapshot, "procfs", "no_host_pid"), up(snapshot)["procfs"]) == (1, True)

    for clock in (114.0, 124.0, 125.0):
        bench.answers.driver = unlisted(clock)
        snapshot = bench.sampler.tick()
    assert (errors_of(snapshot, "procfs", "no_host_pid"), up(snapshot)["procfs"]) == (2, False)


def test_while_host_pids_are_wanting_no_use_is_shown(bench: Bench) -> None:
    """Blind, the device's own totals stay and everything that would need an owner is absent (law 4)."""
    bench.answers.driver = unlisted(100.0)
    bench.sampler.tick()
    bench.answers.driver = unlisted(111.0)
    snapshot = bench.sampler.tick()

    assert published(snapshot, "vgpu_device_memory_used_bytes") == {GPU: 2 * GIB}
    assert published(snapshot, "vgpu_device_memory_unattributed_bytes") == {}
    assert published(snapshot, "vgpu_container_memory_used_bytes") == {}
    assert published(snapshot, "vgpu_container_memory_granted_bytes") == {GPU: 2000 * MIB}


def test_blind_is_not_billed_as_idle(bench: Bench) -> None:
    """Blind, a namespace's accounts of use are absent, not 0; what it was granted is known and billed on."""
    bench.answers.driver = unlisted(100.0)
    bench.sampler.tick()
    bench.answers.driver = unlisted(101.0)
    snapshot = bench.sampler.tick()

    for name in ("core_busy_seconds", "memory_used_byte_seconds", "energy_joules"):
        assert published(snapshot, f"vgpu_namespace_{name}_total") == {}
    assert published(snapshot, "vgpu_namespace_memory_granted_byte_seconds_total") == {GPU: 2000 * MIB}


def test_while_proc_does_not_answer_no_use_is_shown(bench: Bench) -> None:
    """A /proc that went away shows nobody as gone: use is absent, not 0, and comes back with it."""
    bench.answers.driver = driver(reading({7: GIB}))
    bench.answers.found = processes(process(7, INSIDE))
    bench.sampler.tick()

    bench.answers.found = replace(processes(answered=False), processes={7: "process_unreadable"})
    assert published(bench.sampler.tick(), "vgpu_container_memory_used_bytes") == {}

    bench.answers.found = processes(process(7, INSIDE))
    assert published(bench.sampler.tick(), "vgpu_container_memory_used_bytes") == {GPU: GIB}


# ---------------------------------------------------------------- without Kubernetes


def test_without_kubernetes_use_inside_pods_is_an_unknown_pods() -> None:
    """With --no-kubernetes a process in a pod is `unknown_pod`, one of the host `host`, and there is no pods source."""
    bench = Bench(api=NoPods())
    bench.answers.driver = driver(reading({7: GIB, 8: 2 * GIB}, core=CoreReading(0, 0, ()), busy={7: 0.5}))
    bench.answers.found = processes(process(7, INSIDE), process(8))

    snapshot = bench.sampler.tick()

    assert snapshot.joined.blind is None
    assert published(snapshot, "vgpu_device_memory_unattributed_bytes") == {
        "host": 2 * GIB,
        "unknown_pod": GIB,
        "unknown_process": 0,
        "unlisted": 0,
    }
    assert published(snapshot, "vgpu_device_core_unattributed_seconds_total")["unknown_pod"] == 0.5
    assert snapshot.joined.pairs == ()
    assert published(snapshot, "vgpu_device_memory_granted_bytes") == {}
    assert up(snapshot) == {"nvml": True, "procfs": True}
    assert "pods" not in published(snapshot, "vgpu_source_up")


def test_devices_without_a_reading_are_down(bench: Bench) -> None:
    """A GPU that was seen but never read is published as down."""
    bench.answers.driver = DriverState(100.0, True, (device(),), {}, status("nvml"))  # noqa: FBT003  its field

    assert published(bench.sampler.tick(), "vgpu_device_up") == {GPU: 0}
