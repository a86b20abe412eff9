"""The laws of the metric contract, over nodes that hypothesis makes up: any processes, pods, grants and readings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.accounting import Accounting
from exporter.join import Carry, join
from exporter.labels import Build
from exporter.metrics import families
from exporter.model import CoreWindow, GpuProcess, Memory
from exporter.snapshot import Counted, Snapshot
from tests.make import (
    GPU,
    OTHER_GPU,
    cgroup,
    driver,
    pod,
    process,
    processes,
    reading,
    region,
    regions,
    roster,
    status,
    uid,
)

if TYPE_CHECKING:
    from random import Random

    from exporter.hami.region import RegionState
    from exporter.model import DeviceReading, Pod, Process
    from exporter.snapshot import Accounts, Joined

pytestmark = pytest.mark.usefixtures("search")

PIDS = st.integers(1, 6)
NAMES = st.sampled_from(["a", "b", "c"])
AMOUNTS = st.one_of(st.none(), st.integers(0, 2**40))
PLACES = st.one_of(
    st.builds(lambda name, box: cgroup(name, f"{name}/{box}"), NAMES, st.sampled_from(["main", "side"])),
    st.sampled_from(["0::/user.slice\n", "garbage", cgroup("stranger", "x"), "0::/kubepods.slice\n", ""]),
)
GRANTS = st.one_of(
    st.none(),
    st.lists(
        st.builds(lambda uuid, mib, cores, end: f"{uuid},NVIDIA,{mib},{cores}:{end}",
                  st.sampled_from([GPU, OTHER_GPU, "GPU-x"]), st.integers(0, 2**20), st.integers(0, 100),
                  st.sampled_from([";", ""])),
        max_size=3,
    ).map("".join),
    st.text(max_size=20),
)  # fmt: skip


UUIDS = st.lists(st.sampled_from([GPU, OTHER_GPU, "GPU-x"]), min_size=1, max_size=3, unique=True)
COUNTS = st.dictionaries(PIDS, st.lists(st.none() | st.integers(0, 2**40), min_size=3, max_size=3), max_size=4)
REGIONS = st.lists(
    st.tuples(
        NAMES.map(lambda name: name + "0"),  # what a pod's first UID is made of
        st.sampled_from(["main", "side"]),
        st.builds(
            lambda counts, limits, uuids, hosts: region(
                {pid: used[: len(uuids)] for pid, used in counts.items()},
                limits=limits[: len(uuids)], uuids=uuids, hosts=hosts,
            ),
            COUNTS, st.lists(AMOUNTS, min_size=3, max_size=3), UUIDS, st.dictionaries(PIDS, PIDS),
        ),
    ),
    max_size=4,
)  # fmt: skip


@dataclass(frozen=True)
class Tick:
    """One second of a made-up node."""

    readings: tuple[DeviceReading, ...]
    living: tuple[Process, ...]
    pods: tuple[Pod, ...] | None
    regions: RegionState


@st.composite
def readings(draw: st.DrawFn, uuid: str) -> DeviceReading:
    """Return any reading of one GPU; the clock is set when it is played."""
    listed = draw(st.dictionaries(PIDS, AMOUNTS, max_size=5))
    mps = draw(st.sets(st.sampled_from(sorted(listed)))) if listed else set()
    busy = draw(st.none() | st.dictionaries(PIDS, st.floats(0, 1), max_size=4))
    return reading(
        uuid=uuid,
        processes=draw(st.just(tuple(GpuProcess(pid, used, pid in mps) for pid, used in listed.items())) | st.none()),
        memory=draw(st.none() | st.builds(Memory, st.just(2**41), st.integers(0, 2**41), st.none() | st.just(0))),
        window=None if busy is None else CoreWindow(1.0, busy, dict.fromkeys(busy, 0.1)),
        energy=draw(st.none() | st.floats(0, 1e6)),
        boottime=draw(st.none() | st.just(100.0)),
    )


@st.composite
def pods(draw: st.DrawFn) -> tuple[Pod, ...] | None:
    """Return any pods, namesakes among them, or None: they are not known."""
    if draw(st.integers(0, 9)) == 0:
        return None
    return tuple(
        pod(
            name,
            namespace=draw(st.sampled_from(["x", "y"])),
            containers=draw(st.sampled_from([("main",), ("main", "side")])),
            granted=draw(GRANTS),
            asks={"nvidia.com/gpu": draw(st.integers(1, 3))},
            uid=uid(name + str(generation)),
            created=f"2026-01-0{generation + 1}T00:00:00Z",
            finished=draw(st.booleans()) and draw(st.booleans()),
        )
        for name in draw(st.lists(NAMES, unique=True))
        for generation in range(draw(st.integers(1, 2)))
    )


@st.composite
def ticks(draw: st.DrawFn) -> Tick:
    """Return any second of a node with one or two GPUs."""
    return Tick(
        tuple(draw(readings(uuid)) for uuid in draw(st.sampled_from([(GPU,), (GPU, OTHER_GPU)]))),
        tuple(
            process(
                pid,
                draw(PLACES),
                start=draw(st.sampled_from([10.0, 50.0, 100.0])),
                inner=draw(st.none() | PIDS),
                comm=draw(st.sampled_from(["w", "nvidia-cuda-mps"])),
            )
            for pid in draw(st.sets(PIDS))
        ),
        draw(pods()),
        regions(*draw(REGIONS)),
    )


def played(node: list[Tick]) -> list[tuple[Joined, Accounts, Snapshot]]:
    """Play the seconds one after another."""
    accounting, carry, results = Accounting(started=0.0, longest=10.0), Carry(listed=True), []
    for second, tick in enumerate(node):
        now = [replace(one, clock=float(second)) for one in tick.readings]
        names = None if tick.pods is None else roster(*tick.pods)
        state = driver(*now)
        joined, carry = join(state, state.readings, processes(*tick.living), names, carry, tick.regions)
        accounts = accounting.book(joined)
        statuses = (status("nvml"), status("procfs"), status("pods"))
        results.append((joined, accounts, Snapshot("n", float(second), joined, accounts, statuses, None)))
    return results


@given(st.lists(ticks(), min_size=1, max_size=3))
def test_memory_closes_to_the_byte(node: list[Tick]) -> None:
    """Used + overcounted = attributed + Σ unattributed, whatever runs there (law 1)."""
    for joined, _, _ in played(node):
        for use in joined.devices:
            if use.unattributed is None:
                continue
            assert use.reading is not None
            assert use.reading.memory is not None
            assert use.overcounted is not None
            assert use.attributed is not None
            assert use.reading.memory.used + use.overcounted == use.attributed + sum(use.unattributed.values())


@given(st.lists(ticks(), min_size=1, max_size=4))
def test_core_time_closes(node: list[Tick]) -> None:
    """Attributed core time is what the namespaces are billed, and with the reasons it is all there was (law 1)."""
    windows: dict[str, float] = {}
    seen: set[str] = set()
    for tick, (_, accounts, _) in zip(node, played(node), strict=True):
        for one in tick.readings:
            spent = sum(one.window.busy.values()) if one.window else 0.0
            windows[one.device.uuid] = windows.get(one.device.uuid, 0.0) + spent
            seen.add(one.device.uuid)
        for uuid in seen:
            account = accounts.devices[uuid]
            billed = [a.busy or 0.0 for (on, _), a in accounts.namespaces.items() if on == uuid]
            assert account.attributed == pytest.approx(sum(billed))
            assert account.busy == pytest.approx(account.attributed + sum(account.unattributed.values()))
            assert account.busy == pytest.approx(windows[uuid])


@given(st.lists(ticks(), min_size=1, max_size=3))
def test_each_series_once_and_bounded(node: list[Tick]) -> None:
    """No scrape holds a series twice, and there are at most 20 x pairs + 45 x GPUs + 250 (laws 5 and 7)."""
    for joined, _, snapshot in played(node):
        samples = [
            (sample.name, tuple(sorted(sample.labels.items())))
            for family in families(snapshot, Build("node", "v", "r", "p"))
            for sample in family.samples
        ]
        assert len(samples) == len(set(samples))
        assert len(samples) <= 20 * len(joined.pairs) + 45 * len(joined.devices) + 250


@given(st.lists(ticks(), min_size=2, max_size=4))
def test_counters_never_go_back(node: list[Tick]) -> None:
    """A counter of a series that stays never falls; only a re-created pod begins anew (law 3)."""
    before: dict[tuple[str, tuple[object, ...]], float] = {}
    for joined, accounts, _ in played(node):
        now: dict[tuple[str, tuple[object, ...]], float] = {}
        for (uuid, owner), pair in accounts.pairs.items():
            now["pair", (uuid, owner)] = pair.busy or 0.0
        for key, namespace in accounts.namespaces.items():
            now["namespace", key] = namespace.busy or 0.0
        for uuid, device in accounts.devices.items():
            now["device", (uuid,)] = device.busy
            if device.energy_unattributed is not None:
                now["energy", (uuid,)] = device.energy_unattributed
        if joined.pod_uids is not None:
            gone = {key for key in before if key[0] == "pair" and key[1][1].pod_uid not in joined.pod_uids}  # type: ignore[attr-defined]
            before = {key: value for key, value in before.items() if key not in gone}
        assert all(now[key] >= value for key, value in before.items() if key in now)
        before |= now


@given(st.lists(ticks(), min_size=1, max_size=2), st.sampled_from(["a", "b", "c"]))
def test_a_tenants_annotation_moves_no_other_tenants_numbers(node: list[Tick], liar: str) -> None:
    """Whatever one pod's annotation says, the use and grants of all others stay as they are (law 8)."""
    honest = [[pair for pair in joined.pairs if pair.owner.pod != liar] for joined, _, _ in played(node)]
    forged = [replace(tick, pods=_with_a_lie(tick.pods, liar)) for tick in node]

    for before, (joined, _, _) in zip(honest, played(forged), strict=True):
        assert before == [pair for pair in joined.pairs if pair.owner.pod != liar]


@given(st.lists(ticks(), min_size=1, max_size=2), st.sampled_from(["a", "b", "c"]), st.randoms())
def test_a_tenants_regions_move_no_other_tenants_numbers(node: list[Tick], liar: str, random: Random) -> None:
    """Whatever lies in one pod's directory, all that is said of others stays, and so does its own use (law 8)."""
    forged = [replace(tick, regions=_without(tick.regions, uid(liar + "0"), random)) for tick in node]

    for (before, _, _), (after, _, _) in zip(played(node), played(forged), strict=True):
        assert before.devices == after.devices
        assert [replace(pair, counted=Counted()) for pair in before.pairs] == [
            replace(pair, counted=Counted()) for pair in after.pairs
        ]
        others = [[pair for pair in one.pairs if pair.owner.pod != liar] for one in (before, after)]
        assert others[0] == others[1]


def _without(state: RegionState, liar: str, random: Random) -> RegionState:
    """Return what was read with some of a pod's files gone, and whether they were all there another matter."""
    kept = tuple(found for found in state.regions if found.pod_uid != liar or random.random() < 0.5)
    return replace(state, regions=kept, complete=state.complete ^ {liar})


@given(st.lists(ticks(), min_size=1, max_size=3))
def test_escapes_are_part_of_what_is_used(node: list[Tick]) -> None:
    """Uncounted memory and processes never exceed those that the driver lists for the container."""
    for joined, _, _ in played(node):
        for pair in joined.pairs:
            if pair.counted.uncounted is not None and pair.used is not None:
                assert 0 <= pair.counted.uncounted <= pair.used
            if pair.counted.processes_uncounted is not None:
                assert pair.processes is not None
                assert 0 <= pair.counted.processes_uncounted <= pair.processes


def _with_a_lie(known: tuple[Pod, ...] | None, liar: str) -> tuple[Pod, ...] | None:
    """Return the pods with one of them claiming the whole GPU."""
    if known is None:
        return None
    lie = {"hami.io/vgpu-devices-allocated": f"{GPU},NVIDIA,999999,100:;" * 2, "hami.io/vgpu-node": "node-a"}
    return tuple(
        pod(one.name, namespace=one.namespace, containers=one.containers, uid=one.uid, created=one.created,
            finished=one.finished, annotations=lie if one.name == liar else one.annotations)
        for one in known
    )  # fmt: skip
