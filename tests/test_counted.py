"""HAMi-core's regions on containers: whose they are, and what they say beside what the driver says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from exporter.model import Container
from exporter.snapshot import Counted
from tests.make import (
    GIB,
    GPU,
    MIB,
    OTHER_GPU,
    cgroup,
    cid,
    driver,
    joined,
    pod,
    process,
    processes,
    reading,
    region,
    regions,
    roster,
    uid,
)

if TYPE_CHECKING:
    from exporter.hami.region import RegionState
    from exporter.model import Pod, Process
    from exporter.snapshot import Joined

MAIN: Final = cgroup("model", "model/main")
MODEL: Final = pod("model", granted=f"{GPU},NVIDIA,2000,30:;")
#: Two containers with a GPU each, of different size.
PAIR: Final = pod("model", containers=("a", "b"), granted=f"{GPU},NVIDIA,2000,0:;{GPU},NVIDIA,3000,0:;")
TWINS: Final = pod("model", containers=("a", "b"), granted=f"{GPU},NVIDIA,2000,0:;{GPU},NVIDIA,2000,0:;")


def join(state: RegionState, *living: Process, of: Pod = MODEL, used: int | None = GIB) -> Joined:
    """Join one GPU on which these processes have `used` bytes each."""
    listed = dict.fromkeys((one.pid for one in living), used)
    result, _ = joined(driver(reading(listed)), processes(*living), roster(of), counted=state)
    return result


def counted(result: Joined, container: str = "main", uuid: str = GPU) -> Counted:
    """Return what is counted for one container on one GPU."""
    [pair] = [one for one in result.pairs if one.owner.container == container and one.uuid == uuid]
    return pair.counted


def unplaced(result: Joined) -> list[str]:
    """Return the keys of the regions that nobody got."""
    return sorted(failure.key for failure in result.failures if failure.reason == "region_unplaced")


def member(pid: int, container: str = "main", inner: int = 1) -> Process:
    """Return a process of the pod."""
    return process(pid, cgroup("model", f"model/{container}"), inner=inner)


# ---------------------------------------------------------------- figures


def test_a_well_behaved_container_is_told_whole() -> None:
    """Limits, bytes, last kernel; nothing escaped, and libvgpu's host PID is one of the container's."""
    state = regions(("model", "main", region({1: [GIB]}, hosts={1: 700}, core_limits=[0.3], last_kernel=1_700_000_000)))

    assert counted(join(state, member(700))) == Counted(
        limit=2000 * MIB,
        core_limit=0.3,
        counted=GIB,
        uncounted=0,
        processes_uncounted=0,
        blind=False,
        last_kernel=1_700_000_000,
    )


def test_a_process_that_is_not_in_the_region_has_escaped() -> None:
    """Memory of a process that libvgpu does not know is uncounted, and so is the process."""
    told = counted(
        join(regions(("model", "main", region({1: [GIB]}, hosts={1: 700}))), member(700), member(701, inner=9))
    )

    assert (told.counted, told.uncounted, told.processes_uncounted, told.blind) == (GIB, GIB, 1, False)


def test_a_dead_process_counts_nothing() -> None:
    """A slot that outlived its process (SIGKILL leaves it) adds nothing to what is counted."""
    told = counted(join(regions(("model", "main", region({1: [GIB], 7: [5 * GIB]}))), member(700)))

    assert told.counted == GIB


def test_a_dead_process_with_an_odd_figure_hides_nothing() -> None:
    """A dead slot's figure that cannot be does not make the living's sum unknown."""
    told = counted(join(regions(("model", "main", region({1: [GIB], 7: [None]}))), member(700)))

    assert told.counted == GIB


def test_an_odd_figure_of_a_living_process_makes_the_sum_unknown() -> None:
    """A figure that was dropped is never added up as 0."""
    told = counted(join(regions(("model", "main", region({1: [None]}))), member(700)))

    assert (told.counted, told.uncounted) == (None, 0)


def test_memory_that_the_driver_does_not_tell_leaves_the_escape_unknown() -> None:
    """An escaped process without a figure of the driver's leaves the bytes unknown, but not the number."""
    told = counted(join(regions(("model", "main", region({}))), member(700), used=None))

    assert (told.uncounted, told.processes_uncounted) == (None, 1)


def test_an_idle_container_counts_zero_from_its_region() -> None:
    """A granted container whose processes do not use the GPU has 0 everywhere, and its limit."""
    told = counted(join(regions(("model", "main", region({7: [GIB]})))))

    assert (told.limit, told.counted, told.uncounted, told.processes_uncounted) == (2000 * MIB, 0, 0, 0)
    assert told.blind is False


@pytest.mark.parametrize(("hosts", "blind"), [({1: 700}, False), ({1: 0}, True), ({1: 999}, True), ({}, True)])
def test_hami_core_is_blind_if_it_believes_in_none_of_the_processes(hosts: dict[int, int], blind: object) -> None:
    """The host PIDs of libvgpu against those that cgroup places: unknown or another's is blind."""
    assert counted(join(regions(("model", "main", region({1: [GIB]}, hosts=hosts))), member(700))).blind is blind


def test_managed_memory_is_counted_beyond_what_the_driver_lists() -> None:
    """What libvgpu counts may exceed the driver's list (managed memory): both stand, neither is bent."""
    result = join(regions(("model", "main", region({1: [3 * GIB]}))), member(700))

    assert (counted(result).counted, result.pairs[0].used) == (3 * GIB, GIB)


def test_without_nspid_nothing_is_guessed() -> None:
    """If /proc does not tell a process's inner PID, who is counted is not known; limits are."""
    blind = replace(member(700), nspid=())
    told = counted(join(regions(("model", "main", region({1: [GIB]}))), blind))

    assert told == Counted(limit=2000 * MIB)


def test_without_nspid_the_hosts_pid_does_where_libvgpu_says_it_is_the_same() -> None:
    """A container in the host's PID namespace writes host PIDs into both fields: then these are compared."""
    shared = replace(member(700), nspid=()), replace(member(701), nspid=())
    told = counted(join(regions(("model", "main", region({700: [GIB]}, hosts={700: 700}))), *shared))

    assert (told.counted, told.uncounted, told.processes_uncounted) == (GIB, GIB, 1)


def test_no_limit_is_no_figure() -> None:
    """An unlimited region (0 on the wire) publishes no limit, and never 0."""
    told = counted(join(regions(("model", "main", region({1: [GIB]}, limits=[None]))), member(700)))

    assert (told.limit, told.core_limit, told.counted) == (None, None, GIB)


def test_nothing_is_said_where_attribution_is_impossible() -> None:
    """Without the processes (here /proc is silent) only the limits are known: not counted, and not escaped either."""
    state = regions(("model", "main", region({1: [GIB]})))
    result, _ = joined(driver(reading({700: GIB})), processes(answered=False), roster(MODEL), counted=state)

    assert result.blind
    assert counted(result) == Counted(limit=2000 * MIB)


def test_without_regions_nothing_is_said() -> None:
    """Where nobody reads regions, no pair has any of these figures."""
    result, _ = joined(driver(reading({700: GIB})), processes(member(700)), roster(MODEL))

    assert counted(result) == Counted()


# ---------------------------------------------------------------- several GPUs


TWO_GPUS: Final = pod("model", granted=f"{OTHER_GPU},NVIDIA,3000,0:{GPU},NVIDIA,2000,0:;", asks={"nvidia.com/gpu": 2})


def test_limits_go_by_the_annotation_and_bytes_by_the_visible_gpu() -> None:
    """The i-th limit is that of the i-th GPU granted, the d-th count that of the d-th GPU the container sees."""
    seen = region({1: [5, 7]}, uuids=[GPU, OTHER_GPU], limits=[3000 * MIB, 2000 * MIB])
    living = member(700)
    state = driver(reading({700: GIB}), reading({700: GIB}, uuid=OTHER_GPU))
    result, _ = joined(state, processes(living), roster(TWO_GPUS), counted=regions(("model", "main", seen)))

    assert [(one.limit, one.counted) for one in (counted(result), counted(result, uuid=OTHER_GPU))] == [
        (2000 * MIB, 5),
        (3000 * MIB, 7),
    ]


def test_a_container_that_sees_more_gpus_than_granted_has_no_sure_limit() -> None:
    """With more GPUs in the region than in the grant, which limit is whose is not known: absent; counts stay."""
    seen = region({1: [5, 7]}, uuids=[GPU, OTHER_GPU], limits=[2000 * MIB, None])
    told = counted(join(regions(("model", "main", seen)), member(700)))

    assert (told.limit, told.counted) == (None, 5)


def test_a_gpu_that_the_region_does_not_see_is_not_counted() -> None:
    """A process on a GPU that is not in its container's region: nothing counted there, yet the process is known."""
    state = driver(reading(), reading({700: GIB}, uuid=OTHER_GPU))
    seen = regions(("model", "main", region({1: [GIB]})))
    result, _ = joined(state, processes(member(700)), roster(MODEL), counted=seen)

    told = counted(result, uuid=OTHER_GPU)
    assert (told.limit, told.counted, told.uncounted, told.processes_uncounted) == (None, None, 0, 0)


# ---------------------------------------------------------------- whose region it is


def test_the_directorys_name_alone_decides_nothing() -> None:
    """A region under a side-car's name (2.8 and 2.10.0) is its GPU container's: it is the only one it can be of."""
    sided = pod(
        "model",
        containers=(
            Container("side", "app", (cid("model/side"),)),
            Container("main", "app", (cid("model/main"),), {"nvidia.com/gpu": 1}),
        ),
        granted=f";{GPU},NVIDIA,2000,30:;",
    )

    assert counted(join(regions(("model", "side", region({1: [GIB]}))), member(700), of=sided)).counted == GIB


def test_pids_tell_containers_apart() -> None:
    """Two regions in one directory (2.8): each belongs to the container whose processes are in it."""
    state = regions(("model", "a", region({8: [2]})), ("model", "a", region({1: [1]})))
    result = join(state, member(700, "a", inner=1), member(701, "b", inner=8), of=TWINS)

    assert [counted(result, name).counted for name in "ab"] == [1, 2]
    assert not unplaced(result)


def test_limits_tell_containers_apart_where_pids_do_not() -> None:
    """Both containers have a PID 1: the region with the container's own limit is its own."""
    state = regions(
        ("model", "a", region({1: [2]}, limits=[3000 * MIB])), ("model", "a", region({1: [1]}, limits=[2000 * MIB]))
    )
    result = join(state, member(700, "a"), member(701, "b"), of=PAIR)

    assert [counted(result, name).counted for name in "ab"] == [1, 2]


def test_visible_gpus_tell_containers_apart_where_pids_do_not() -> None:
    """Both have a PID 1 and the same limit, but another GPU each."""
    apart = pod("model", containers=("a", "b"), granted=f"{GPU},NVIDIA,2000,0:;{OTHER_GPU},NVIDIA,2000,0:;")
    state = regions(("model", "a", region({1: [2]}, uuids=[OTHER_GPU])), ("model", "a", region({1: [1]})))
    cards = driver(reading({700: GIB}), reading({701: GIB}, uuid=OTHER_GPU))
    result, _ = joined(cards, processes(member(700, "a"), member(701, "b")), roster(apart), counted=state)

    assert counted(result, "a").counted == 1
    assert counted(result, "b", OTHER_GPU).counted == 2


def test_a_directory_each_tells_twins_apart() -> None:
    """Same PIDs, GPUs and limits, but one directory for each container (2.9 and 2.10): the names cannot be shifted."""
    state = regions(("model", "b", region({1: [2]})), ("model", "a", region({1: [1]})))
    result = join(state, member(700, "a"), member(701, "b"), of=TWINS)

    assert [counted(result, name).counted for name in "ab"] == [1, 2]


def test_a_directory_of_one_twin_alone_tells_nothing() -> None:
    """With one region for two twins its directory's name may be shifted: nobody gets it."""
    result = join(regions(("model", "a", region({1: [2]}))), member(700, "a"), member(701, "b"), of=TWINS)

    assert [counted(result, name) for name in "ab"] == [Counted(), Counted()]
    assert unplaced(result) == [f"{uid('model')}/0.cache"]


def test_twins_in_one_directory_get_nothing() -> None:
    """What fits several containers equally well is nobody's, and counted as such; nothing has escaped either."""
    state = regions(("model", "a", region({1: [2]})), ("model", "a", region({1: [1]})))
    result = join(state, member(700, "a"), member(701, "b"), of=TWINS)

    assert [counted(result, name) for name in "ab"] == [Counted(), Counted()]
    assert unplaced(result) == [f"{uid('model')}/0.cache", f"{uid('model')}/1.cache"]


def test_an_idle_region_is_the_containers_that_has_none_yet() -> None:
    """One container works in its region; the other region, whose processes ended, can only be the other's."""
    state = regions(("model", "a", region({9: [2]})), ("model", "a", region({1: [1]})))
    result = join(state, member(700, "a"), of=TWINS)

    assert [counted(result, name).counted for name in "ab"] == [1, 0]
    assert not unplaced(result)


def test_a_region_never_leaves_its_pod() -> None:
    """A region that names another container's PIDs moves nobody's numbers: the directory's pod is the kernel's word."""
    victim = pod("victim", granted=f"{GPU},NVIDIA,2000,30:;")
    forged = region({1: [50 * GIB]}, hosts={1: 700})
    state = driver(reading({700: GIB}))
    found = processes(process(700, cgroup("victim", "victim/main"), inner=1))
    result, _ = joined(state, found, roster(MODEL, victim), counted=regions(("model", "main", forged)))

    by_pod = {pair.owner.pod: pair.counted for pair in result.pairs}
    assert by_pod["victim"] == Counted()
    assert by_pod["model"].counted == 0


def test_a_pod_that_is_gone_has_no_pair() -> None:
    """HAMi keeps a gone pod's directory for minutes: it is nobody's, and no failure."""
    result = join(regions(("gone", "main", region({1: [GIB]}))), member(700))

    assert counted(result) == Counted()
    assert not unplaced(result)


def test_an_escape_takes_no_siblings_region() -> None:
    """One container escaped and has a PID 1, as has the idle one's region: that region's limit is the idle one's."""
    result = join(regions(("model", "b", region({1: [2]}, limits=[3000 * MIB]))), member(700, "a"), of=PAIR)

    assert (counted(result, "a").limit, counted(result, "a").uncounted) == (None, GIB)
    assert (counted(result, "b").limit, counted(result, "b").counted) == (3000 * MIB, 0)


def test_a_sidecar_without_a_grant_takes_no_region() -> None:
    """A process of a GPU-less side-car has a PID 1, too: the region stays with the container that has the grant."""
    sided = pod(
        "model",
        containers=(
            Container("side", "app", (cid("model/side"),)),
            Container("main", "app", (cid("model/main"),), {"nvidia.com/gpu": 1}),
        ),
        granted=f";{GPU},NVIDIA,2000,30:;",
    )
    result = join(regions(("model", "main", region({1: [2]}))), member(700, "side"), of=sided)

    assert counted(result, "side") == Counted()
    assert counted(result).limit == 2000 * MIB


@pytest.mark.parametrize("running", [False, True], ids=["idle", "running"])
def test_an_init_containers_region_is_not_the_mains(*, running: bool) -> None:
    """An init container's directory outlives it (2.9, 2.10): its limit and last kernel are never the main one's."""
    asks = {"nvidia.com/gpu": 1}
    started = pod(
        "model",
        containers=(
            Container("ainit", "init", (cid("model/ainit"),), asks, finished=True),
            Container("main", "app", (cid("model/main"),), asks),
        ),
        granted=f"{GPU},NVIDIA,1000,0:;{GPU},NVIDIA,2000,30:;",
    )
    init = ("model", "ainit", region({1: [5]}, limits=[1000 * MIB], last_kernel=111))
    main = ("model", "main", region({1: [GIB]}, last_kernel=222))
    result = join(regions(init, main), *([member(700)] if running else []), of=started)

    assert (counted(result).limit, counted(result).last_kernel) == (2000 * MIB, 222)
    assert counted(result).counted == (GIB if running else 0)


@pytest.mark.parametrize("seen", [[GPU, OTHER_GPU], [GPU, "GPU-x"]], ids=["a-gpu-twice", "a-gpu-not-granted"])
def test_gpus_that_do_not_fit_the_grant_have_no_sure_limit(seen: list[str]) -> None:
    """Two slices of a GPU shift the limits behind it, and another GPU in the region says that it is no fit at all."""
    twice = f"{GPU},NVIDIA,2000,0:{GPU},NVIDIA,2000,0:{OTHER_GPU},NVIDIA,2000,0:;"
    once = f"{GPU},NVIDIA,2000,0:{OTHER_GPU},NVIDIA,2000,0:;"
    odd = pod("model", granted=twice if OTHER_GPU in seen else once, asks={"nvidia.com/gpu": 3})
    state = driver(reading({700: GIB}), reading({700: GIB}, uuid=OTHER_GPU))
    found = regions(("model", "main", region({1: [5, 7]}, uuids=seen, limits=[1, 2])))
    result, _ = joined(state, processes(member(700)), roster(odd), counted=found)

    assert [counted(result, uuid=uuid).limit for uuid in (GPU, OTHER_GPU)] == [None, None]
    assert counted(result).counted == 5


def test_a_container_in_the_container_hides_no_escape() -> None:
    """Docker in Docker has a PID 1 of its own: the slot is the outer container's process, the inner one escaped."""
    inner = replace(member(701), nspid=(701, 57, 1))
    told = counted(join(regions(("model", "main", region({1: [GIB]}))), member(700), inner))

    assert (told.counted, told.uncounted, told.processes_uncounted) == (GIB, GIB, 1)


# ---------------------------------------------------------------- no region at all


def test_a_container_without_a_region_in_its_directory_escaped_whole() -> None:
    """HAMi made the directory, libvgpu never wrote there (CUDA_DISABLE_CONTROL): all its processes are uncounted."""
    told = counted(join(regions(complete=["model"]), member(700)))

    assert told == Counted(uncounted=GIB, processes_uncounted=1)


def test_without_a_directory_nothing_is_said() -> None:
    """No directory for the pod: another plugin, another root; that no process is counted there means nothing."""
    assert counted(join(regions(complete=["another"]), member(700))) == Counted()


def test_a_file_that_gave_no_region_leaves_it_open() -> None:
    """While a pod's file cannot be read (yet), whether its processes are counted is not known."""
    assert counted(join(regions(complete=[]), member(700))) == Counted()


def test_a_container_that_was_granted_nothing_escapes_nothing() -> None:
    """A container without a grant has no libvgpu to escape from, whoever shares its pod."""
    mixed = pod(
        "model",
        containers=(
            Container("main", "app", (cid("model/main"),), {"nvidia.com/gpu": 1}),
            Container("side", "app", (cid("model/side"),)),
        ),
        granted=f"{GPU},NVIDIA,2000,30:;",
    )
    result = join(regions(complete=["model"]), member(700, "side"), of=mixed)

    assert counted(result, "side") == Counted()
    assert counted(result, "main") == Counted(uncounted=0, processes_uncounted=0)
