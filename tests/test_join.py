"""The join: every byte and every GPU-second lands once, on a container or on a reason."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from exporter.join import MPS_SERVER, Carry, join
from exporter.model import Card, Container, CoreWindow, Failure, GpuProcess, Memory
from exporter.roster import enrol
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
    regions,
    roster,
    uid,
)

if TYPE_CHECKING:
    from exporter.model import DriverState
    from exporter.snapshot import DeviceUse, Joined, PairUse

GRANT = f"{GPU},NVIDIA,2000,30:;"
MODEL = roster(pod("model", granted=GRANT))
INSIDE = cgroup("model", "model/main")


def only_pair(result: Joined) -> PairUse:
    """Return the one pair there is."""
    [pair] = result.pairs
    return pair


def only_device(result: Joined) -> DeviceUse:
    """Return the one GPU there is."""
    [use] = result.devices
    return use


def test_a_containers_memory_is_the_sum_of_its_processes() -> None:
    """Two processes of a container add up on its pair, beside the grant."""
    state = driver(reading({7: GIB, 8: 2 * GIB}))

    result, _ = joined(state, processes(process(7, INSIDE), process(8, INSIDE)), MODEL)

    pair = only_pair(result)
    assert (pair.used, pair.processes, pair.memory_granted, pair.core_granted) == (3 * GIB, 2, 2000 * MIB, 0.3)


def test_a_granted_container_is_at_zero_before_any_process() -> None:
    """A grant alone makes a pair, with 0 used (law 2)."""
    result, _ = joined(driver(reading()), processes(), MODEL)

    assert (only_pair(result).used, only_pair(result).processes) == (0, 0)


def test_an_ungranted_container_that_uses_a_gpu_is_granted_zero() -> None:
    """A pod that asked for nothing and uses a GPU has a pair with grant 0 (law 8)."""
    names = roster(pod("model"))

    result, _ = joined(driver(reading({7: GIB})), processes(process(7, INSIDE)), names)

    pair = only_pair(result)
    assert (pair.memory_granted, pair.core_granted, pair.grant_source) == (0, 0.0, "none")


def test_use_of_another_gpu_than_the_granted_one_is_granted_zero_there() -> None:
    """A container that was granted one GPU and uses another has a grant of 0 on that other."""
    state = driver(reading(), reading({7: GIB}, uuid=OTHER_GPU))

    result, _ = joined(state, processes(process(7, INSIDE)), MODEL)

    assert [(pair.uuid, pair.used, pair.memory_granted) for pair in result.pairs] == [
        (GPU, 0, 2000 * MIB),
        (OTHER_GPU, GIB, 0),
    ]


def test_a_grant_that_nobody_placed_is_absent() -> None:
    """A container that asked a plain device plugin has no figure: nothing says which card (law 8)."""
    names = roster(pod("model", asks={"nvidia.com/gpu": 1}))

    result, _ = joined(driver(reading({7: GIB})), processes(process(7, INSIDE)), names)

    pair = only_pair(result)
    assert (pair.memory_granted, pair.core_granted, pair.grant_source) == (None, None, "device_plugin")


def test_each_kind_of_stranger_has_its_reason() -> None:
    """Host, unknown pod, unknown process and unlisted memory stand apart, and all four are there from 0."""
    state = driver(reading({1: 1, 2: 2, 3: 4}, used=15))
    found = processes(process(1), process(2, cgroup("stranger", "x")), gone=[3])

    result, _ = joined(state, found, MODEL)

    assert only_device(result).unattributed == {"host": 1, "unknown_pod": 2, "unknown_process": 4, "unlisted": 8}


def test_processes_beyond_the_devices_own_figure_are_overcounted() -> None:
    """Where the processes add up to more than the device says, the difference shows as overcounted."""
    result, _ = joined(driver(reading({7: 10}, used=4)), processes(process(7, INSIDE)), MODEL)

    use = only_device(result)
    assert (use.attributed, use.overcounted, use.unattributed and use.unattributed["unlisted"]) == (10, 6, 0)


def test_memory_that_the_driver_does_not_tell_is_unknown_not_zero() -> None:
    """A process without a figure leaves its container's memory unknown; the bytes stay in the remainder."""
    state = driver(reading({7: None, 8: GIB}, used=3 * GIB))

    result, _ = joined(state, processes(process(7, INSIDE), process(8, INSIDE)), MODEL)

    assert only_pair(result).used is None
    assert only_pair(result).processes == 2
    assert only_device(result).attributed == GIB


def test_a_gpu_without_device_totals_still_has_its_containers() -> None:
    """Where the driver has no device total (unified memory), containers have theirs and no remainder is made up."""
    result, _ = joined(driver(reading({7: GIB}, memory=None)), processes(process(7, INSIDE)), MODEL)

    use = only_device(result)
    assert only_pair(result).used == GIB
    assert (use.attributed, use.unattributed, use.overcounted) == (GIB, None, None)


def test_a_gpu_that_lists_no_processes_shows_no_use() -> None:
    """Where the driver cannot list processes, use is absent and the grant stays."""
    result, _ = joined(driver(reading(processes=None)), processes(), MODEL)

    assert (only_pair(result).used, only_pair(result).memory_granted) == (None, 2000 * MIB)
    assert only_device(result).attributed is None


def test_a_gpu_without_a_fresh_reading_keeps_its_grants_only() -> None:
    """A stuck GPU loses its containers' use, not their grants, and does not touch the other GPU."""
    state = driver(reading({7: GIB}), reading({8: GIB}, uuid=OTHER_GPU))
    names = roster(pod("model", granted=GRANT), pod("other", granted=f"{OTHER_GPU},NVIDIA,1000,0:;"))
    found = processes(process(8, cgroup("other", "other/main")))
    result, _ = join(state, {OTHER_GPU: state.readings[OTHER_GPU]}, found, names, Carry(listed=True))

    assert [(pair.owner.pod, pair.used, pair.memory_granted) for pair in result.pairs] == [
        ("model", None, 2000 * MIB),
        ("other", GIB, 1000 * MIB),
    ]


@pytest.mark.parametrize("late", [99.999, 100.0, 300.0])
def test_a_reused_pid_is_never_charged(late: float) -> None:
    """A process that began after the driver listed its PID is not the one listed: nobody pays."""
    state = driver(reading({7: GIB}, boottime=100.0))

    result, _ = joined(state, processes(process(7, INSIDE, start=late)), MODEL)

    assert only_pair(result).used == 0
    assert only_device(result).unattributed == {"host": 0, "unknown_pod": 0, "unknown_process": GIB, "unlisted": 0}
    assert Failure("pid_reused", "7") in result.failures


def test_core_time_goes_to_the_container_of_the_process() -> None:
    """A window's GPU-seconds are split by owner and by reason."""
    state = driver(reading({1: 1, 7: 1, 8: 1}, busy={1: 0.1, 7: 0.2, 8: 0.3}))

    result, _ = joined(state, processes(process(1), process(7, INSIDE), process(8, INSIDE)), MODEL)

    owners = only_device(result).core_owners
    assert owners is not None
    assert owners == {"host": 0.1, only_pair(result).owner: 0.5}


def test_the_last_window_of_a_process_is_its_owners() -> None:
    """A process that ended since the last tick still pays for the SM time that it used while it lived."""
    _, carry = joined(driver(reading({7: GIB})), processes(process(7, INSIDE)), MODEL)

    result, _ = joined(driver(reading(busy={7: 0.4})), processes(gone=[7]), MODEL, carry)

    assert only_device(result).core_owners == {only_pair(result).owner: 0.4}


def test_the_last_window_of_a_process_may_come_a_tick_late() -> None:
    """On a GPU that is read more slowly than it ticks, the reading may come again before the one with the end."""
    listed = driver(reading({7: GIB}))
    _, carry = joined(listed, processes(process(7, INSIDE)), MODEL)
    _, carry = joined(listed, processes(gone=[7]), MODEL, carry)

    result, carry = joined(driver(reading(busy={7: 0.4})), processes(gone=[7]), MODEL, carry)

    assert only_device(result).core_owners == {only_pair(result).owner: 0.4}
    _, carry = joined(driver(reading()), processes(), MODEL, carry)
    assert carry.owners == {}


def test_the_time_of_a_process_never_seen_alive_is_unknown() -> None:
    """SM time of a PID that was gone before we ever saw it belongs to an unknown process."""
    result, _ = joined(driver(reading(busy={7: 0.4})), processes(gone=[7]), MODEL)

    assert only_device(result).core_owners == {"unknown_process": 0.4}
    assert Failure("process_gone", "7") in result.failures


def test_a_window_in_which_a_pid_changed_hands_is_nobodys() -> None:
    """Where a PID has another start time than a tick ago, the window holds time of both holders: nobody pays."""
    _, carry = joined(driver(reading({7: GIB})), processes(process(7, INSIDE, start=50.0)), MODEL)

    found = processes(process(7, cgroup("victim", "victim/main"), start=99.0))
    names = roster(pod("model", granted=GRANT), pod("victim"))
    result, _ = joined(driver(reading({7: GIB}, busy={7: 0.4}, boottime=200.0)), found, names, carry)

    assert only_device(result).core_owners == {"unknown_process": 0.4}


def test_a_sample_older_than_its_process_is_nobodys() -> None:
    """A sample stamped before the process began is of an earlier holder of the PID."""
    window = CoreWindow(1.0, {7: 0.4}, {7: 0.9})  # stamped 0.9 s before the reading
    state = driver(reading({7: GIB}, boottime=100.0, window=window))

    result, _ = joined(state, processes(process(7, INSIDE, start=99.5)), MODEL)

    assert only_device(result).core_owners == {"unknown_process": 0.4}


def test_an_mps_servers_time_is_mps_not_its_pods() -> None:
    """SM time booked on an MPS server has the reason mps; its memory stays with its container."""
    listed = (GpuProcess(7, 66 * MIB), GpuProcess(8, GIB, mps=True))
    state = driver(reading(processes=listed, busy={7: 0.5}, memory=Memory(24 * GIB, GIB + 66 * MIB, 0)))

    result, _ = joined(state, processes(process(7, INSIDE, comm=MPS_SERVER), process(8, INSIDE)), MODEL)

    assert only_device(result).core_owners == {"mps": 0.5}
    assert only_pair(result).used == GIB + 66 * MIB


def test_a_process_merely_named_like_an_mps_server_pays_for_itself() -> None:
    """Without an MPS client on the GPU the name alone hides nothing."""
    state = driver(reading({7: GIB}, busy={7: 0.5}))

    result, _ = joined(state, processes(process(7, INSIDE, comm=MPS_SERVER)), MODEL)

    assert only_device(result).core_owners == {only_pair(result).owner: 0.5}


def test_a_forged_inner_cgroup_does_not_move_use_to_another_tenant() -> None:
    """A tenant that makes a cgroup named like a victim's container below its own pays for itself."""
    forged = INSIDE.strip() + cgroup("victim", "victim/main").removeprefix("0::")
    names = roster(pod("model", granted=GRANT), pod("victim", namespace="other", granted=GRANT))

    result, _ = joined(driver(reading({7: GIB})), processes(process(7, forged)), names)

    assert [(pair.owner.pod, pair.used) for pair in result.pairs] == [("victim", 0), ("model", GIB)]


def test_nested_docker_is_charged_to_the_outer_pod() -> None:
    """A container that a pod's own Docker started is charged to the pod's container (scenario 9)."""
    nested = INSIDE.strip() + f"/docker/{cid('inner')}"

    result, _ = joined(driver(reading({7: GIB})), processes(process(7, nested)), MODEL)

    assert only_pair(result).used == GIB


@pytest.mark.parametrize("outer", [f"0::/docker/{cid('kind-node')}", cgroup("outer", "kind-node").strip()])
def test_a_nested_cluster_is_charged_to_its_own_pod(outer: str) -> None:
    """In kind, on a host's Docker or in another cluster's pod, the levels outside our own pod do not count."""
    inner = cgroup("model", "model/main").removeprefix("0::")
    ours = outer + cgroup("exporter", "exporter/main").removeprefix("0::")
    found = replace(processes(process(7, outer + inner)), own_cgroup=ours)

    result, _ = joined(driver(reading({7: GIB})), found, MODEL)

    assert only_pair(result).used == GIB


def test_a_forged_cgroup_below_a_pod_not_yet_known_charges_nobody() -> None:
    """A level with an unknown pod's UID ends the search: what lies below it cannot name a victim."""
    forged = cgroup("brand-new", "x").strip() + INSIDE.removeprefix("0::")

    result, _ = joined(driver(reading({7: GIB})), processes(process(7, forged)), MODEL)

    assert only_pair(result).used == 0
    assert only_device(result).unattributed == {"host": 0, "unknown_pod": GIB, "unknown_process": 0, "unlisted": 0}


def test_a_pods_only_container_is_charged_before_its_status_names_it() -> None:
    """A container ID that the API server does not know yet can only be the pod's one container."""
    fresh = cgroup("model", "not-yet-in-status")

    result, _ = joined(driver(reading({7: GIB})), processes(process(7, fresh)), MODEL)

    assert only_pair(result).used == GIB


STATIC_HASH = "0123456789abcdef" * 2
STATIC = pod(
    "static",
    namespace="kube-system",
    config_hash=STATIC_HASH,
    owner_kind="Node",
    containers=(Container("main", "app"),),
)


def in_static_pod(container: str) -> str:
    """Return the cgroup text of a process in the static pod: its level bears the hash, not the mirror's UID."""
    return f"0::/kubepods/burstable/pod{STATIC_HASH}/{cid(container)}\n"


def test_a_static_pods_process_is_its_mirrors() -> None:
    """The API server knows a static pod by a UID of its own, the cgroup path by the hash of its manifest."""
    result, _ = joined(driver(reading({7: GIB})), processes(process(7, in_static_pod("main"))), roster(STATIC))

    assert (only_pair(result).owner.pod, only_pair(result).used) == ("static", GIB)


@pytest.mark.parametrize("stolen", [uid("victim"), STATIC_HASH])
@pytest.mark.parametrize("kind", ["", "Node"])
def test_a_forged_hash_does_not_take_anothers_use(stolen: str, kind: str) -> None:
    """A tenant that writes another pod's UID, or a static pod's hash, on its own pod gets nothing of theirs."""
    names = roster(
        pod("victim", namespace="other", containers=(Container("main", "app"),)),
        STATIC,
        pod("liar", config_hash=stolen, owner_kind=kind),
    )
    found = processes(process(7, cgroup("victim", "new")), process(8, in_static_pod("new")))

    result, _ = joined(driver(reading({7: GIB, 8: GIB})), found, names)

    used = {pair.owner.pod: pair.used for pair in result.pairs}
    assert used["victim"] == GIB
    assert "liar" not in used
    assert used.get("static") == (None if kind and stolen == STATIC_HASH else GIB)  # of two mirrors, nobody's


def test_an_unknown_container_of_several_is_not_guessed() -> None:
    """In a pod of two containers an unknown ID is unknown_pod, never one of the two."""
    names = roster(pod("model", containers=("a", "b")))

    result, _ = joined(driver(reading({7: GIB})), processes(process(7, cgroup("model", "new"))), names)

    assert result.pairs == ()
    assert only_device(result).unattributed == {"host": 0, "unknown_pod": GIB, "unknown_process": 0, "unlisted": 0}


def test_of_two_pods_with_one_name_the_newer_bears_it() -> None:
    """While a re-created pod's predecessor is still known, the old one's use is unknown_pod (law 3)."""
    old = pod("model", granted=GRANT, uid=uid("old"), created="2026-01-01T00:00:00Z")
    new = pod("model", granted=GRANT, uid=uid("new"), created="2026-01-02T00:00:00Z", containers=(
        Container("main", "app", (cid("new/main"),), {"nvidia.com/gpu": 1}),
    ))  # fmt: skip
    found = processes(process(7, cgroup("old", "model/main")), process(8, cgroup("new", "new/main")))

    result, _ = joined(driver(reading({7: GIB, 8: 1})), found, roster(old, new))

    assert (only_pair(result).owner.pod_uid, only_pair(result).used) == (uid("new"), 1)
    assert only_device(result).unattributed == {"host": 0, "unknown_pod": GIB, "unknown_process": 0, "unlisted": 0}


def test_a_finished_pod_has_no_pair() -> None:
    """A Completed pod that the API still names holds nothing (law 3, scenario 15)."""
    result, _ = joined(driver(reading()), processes(), roster(pod("model", granted=GRANT, finished=True)))

    assert result.pairs == ()
    assert only_device(result).granted.memory == 0


def test_a_garbage_cgroup_text_costs_its_process_only() -> None:
    """A process whose cgroup text means nothing is unknown; the others are placed."""
    found = processes(process(7, INSIDE), process(8, "\x00garbage"))

    result, _ = joined(driver(reading({7: GIB, 8: 1})), found, MODEL)

    assert only_pair(result).used == GIB
    assert only_device(result).unattributed == {"host": 0, "unknown_pod": 0, "unknown_process": 1, "unlisted": 0}
    assert "cgroup_unreadable" in {failure.reason for failure in result.failures}


@pytest.mark.parametrize("missing", ["nvml", "procfs", "pods"])
def test_without_one_of_the_three_sources_use_is_absent(missing: str) -> None:
    """Until driver, /proc and API server have all answered once, no use is shown, and the reason is named (law 4)."""
    state = replace(driver(reading({7: GIB})), answered=missing != "nvml")
    found = replace(processes(process(7, INSIDE)), answered=missing != "procfs")

    result, _ = joined(state, found, None if missing == "pods" else MODEL)

    assert result.blind is not None
    assert {pair.used for pair in result.pairs} <= {None}
    assert only_device(result).attributed is None
    assert only_device(result).unattributed is None


@pytest.mark.parametrize("sign", ["samples", "memory"])
def test_signs_of_processes_without_any_listed_one_mean_no_host_pid(sign: str) -> None:
    """From another PID namespace use is absent at once, and after 10 s the missing host PID namespace is named."""
    busy = {7: 0.3} if sign == "samples" else {}
    used = 0 if sign == "samples" else GIB
    carry = Carry()
    results = []
    for clock in (100.0, 105.0, 110.0):
        result, carry = joined(driver(reading(used=used, busy=busy, clock=clock)), processes(gone=busy), MODEL, carry)
        results.append((result.blind is not None, result.no_host_pid, only_pair(result).used))

    assert results == [(True, False, None), (True, False, None), (True, True, None)]


def test_one_listed_process_ever_proves_the_host_pid_namespace() -> None:
    """Memory that a crashed process left behind does not blind an exporter that has seen a process before."""
    carry = Carry()
    _, carry = joined(driver(reading({7: GIB})), processes(process(7, INSIDE)), MODEL, carry)

    result, _ = joined(driver(reading(used=GIB, clock=200.0)), processes(), MODEL, carry)

    assert result.blind is None
    assert only_device(result).unattributed == {"host": 0, "unknown_pod": 0, "unknown_process": 0, "unlisted": GIB}


def test_the_v1_memory_call_is_no_sign_of_blindness() -> None:
    """NVML's older memory call counts the driver's reserve as used: an idle GPU is not taken for a blind exporter."""
    result, _ = joined(driver(reading(memory=Memory(24 * GIB, GIB, None))), processes(), MODEL, Carry())

    assert result.blind is None


MIG = "MIG-11111111-2222-3333-4444-555555555555"


def mig(listed: dict[int, int | None] | None = None, **facts: Any) -> DriverState:  # noqa: ANN401  fields of a reading
    """Return a GPU that is cut into one instance, with processes there."""
    whole = reading(memory=None, processes=None, core=None)
    one = reading(listed, uuid=MIG, core=None, **facts)
    return driver(whole, replace(one, device=replace(one.device, parent=GPU)))


def test_a_gpu_cut_into_instances_is_no_sign_of_blindness() -> None:
    """A MIG GPU lists its processes on its instances, if we may see them at all: silence on itself blinds nobody."""
    result, _ = joined(mig(processes=None), processes(), MODEL, Carry())

    assert result.blind is None


def test_memory_on_an_instance_without_any_process_is_one() -> None:
    """From another PID namespace the instances' lists are empty, too: then use is withheld there as well (law 4)."""
    result, _ = joined(mig(used=GIB), processes(), MODEL, Carry())

    assert result.blind


def test_an_instance_has_the_use_and_its_gpu_the_grant_that_names_only_the_gpu() -> None:
    """Which instance a grant of the GPU is for is not known: granted nothing there would be wrong, so it is absent."""
    result, _ = joined(
        mig({7: GIB}), processes(process(7, INSIDE)), roster(pod("model", granted=GRANT), uuids=[GPU, MIG])
    )

    by_uuid = {pair.uuid: pair for pair in result.pairs}
    assert (by_uuid[GPU].memory_granted, by_uuid[GPU].used) == (2000 * MIB, None)
    assert (by_uuid[MIG].memory_granted, by_uuid[MIG].core_granted, by_uuid[MIG].used) == (None, None, GIB)


def test_nobody_escapes_on_an_instance() -> None:
    """HAMi puts no libvgpu into containers on MIG: that it counts nothing there says nothing."""
    names = roster(pod("model", granted=GRANT), uuids=[GPU, MIG])
    result, _ = joined(mig({7: GIB}), processes(process(7, INSIDE)), names, counted=regions(complete=["model"]))

    assert {pair.counted.processes_uncounted for pair in result.pairs if pair.uuid == MIG} == {None}


def test_a_grant_of_the_pod_as_a_whole_uses_nothing_itself() -> None:
    """What no container could be told for is granted under the container "": the use stays with who uses it."""
    names = roster(pod("model", containers=("main", "side"), granted=GRANT))
    result, _ = joined(driver(reading({7: GIB})), processes(process(7, INSIDE)), names)

    told = {pair.owner.container: (pair.grant_source, pair.memory_granted, pair.used) for pair in result.pairs}
    assert told == {"": ("hami", 2000 * MIB, None), "main": ("unreadable", None, GIB)}
    assert only_device(result).granted.memory == 2000 * MIB


def test_expired_pods_leave_use_to_unknown_pods() -> None:
    """When the API server has been away too long, names and grants are gone and use is unknown_pod (law 4)."""
    result, _ = joined(driver(reading({7: GIB})), processes(process(7, INSIDE)), enrol(None, {GPU: Card()}, "node-a"))

    assert result.pairs == ()
    assert result.pod_uids is None
    assert only_device(result).unattributed == {"host": 0, "unknown_pod": GIB, "unknown_process": 0, "unlisted": 0}
