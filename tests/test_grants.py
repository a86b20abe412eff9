"""Law 8: grants held against requests; each kind of answer, each release's annotation, and what tenants may forge."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter import manifest
from exporter.errors import FAILURE_REASONS
from exporter.grants import grants, held
from exporter.hami.families import FAMILIES, NVIDIA
from exporter.model import Card, Container, ContainerGrants, Failure, Grant, Held, Pod

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.model import ContainerKind, GrantSource

MIB: Final = 1024 * 1024
A, B, C = "GPU-aaaaaaaa", "GPU-bbbbbbbb", "GPU-cccccccc"
KNOWN: Final = {A: Card(), B: Card(), C: Card()}
NODE: Final = "gpu-1"
UID: Final = "6513270e-269e-4d37-b2a7-4de452e6b438"
COUNT, MEMORY, PERCENTAGE, CORES = (
    "nvidia.com/gpu",
    "nvidia.com/gpumem",
    "nvidia.com/gpumem-percentage",
    "nvidia.com/gpucores",
)
MIG_PLUGIN: Final = "nvidia.com/mig-1g.10gb"
VGPU: Final[dict[str, int | None]] = {COUNT: 1, MEMORY: 4000, CORES: 30}

ANNOTATION: Final = "hami.io/vgpu-devices-allocated"
NOTHING: Final = ContainerGrants("none")
NO_FAILURE: Final[frozenset[Failure]] = frozenset()


def container(
    name: str, asks: Mapping[str, int | None] | None = None, kind: ContainerKind = "app", *, finished: bool = False
) -> Container:
    """Return a container."""
    return Container(name, kind, asks=asks or {}, finished=finished)


def pod(
    *containers: Container, text: str | None = None, chosen: str | None = NODE, node: str = NODE, claims: bool = False
) -> Pod:
    """Return a pod on this node; `text` is its annotation, `chosen` the node that HAMi wrote beside it."""
    annotations = {}
    if text is not None:
        annotations[ANNOTATION] = text
    if chosen is not None:
        annotations["hami.io/vgpu-node"] = chosen
    return Pod(UID, "team", "work-0", node, "2026-01-01T00:00:00Z", containers, claims=claims, annotations=annotations)


def device(uuid: str = A, memory: int = 4000, cores: int = 30) -> str:
    """Return a device as HAMi writes it."""
    return f"{uuid},NVIDIA,{memory},{cores}:"


def hami(*given: Grant, order: str | None = None) -> ContainerGrants:
    """Return grants that come from the annotation; `order` are its devices, by default those granted."""
    uuids = [each.uuid for each in given] if order is None else order.split()
    return ContainerGrants("hami", given, tuple(uuids))


def whole_pod(*given: Grant) -> ContainerGrants:
    """Return what a pod holds as a whole."""
    return ContainerGrants("hami", given)


def grant(uuid: str = A, memory: int = 4000, cores: float | None = 0.3) -> Grant:
    """Return a grant of `memory` MiB."""
    return Grant(uuid, memory * MIB, cores)


def failed(reason: str, name: str = "") -> frozenset[Failure]:
    """Return one failure, of the pod or of a container."""
    return frozenset({Failure(reason, f"{UID}/{name}" if name else UID)})


@pytest.mark.parametrize(
    ("case", "source"),
    [
        pytest.param(pod(container("c")), "none", id="none-asks-nothing"),
        pytest.param(pod(container("c", {COUNT: 0})), "none", id="none-asks-zero"),
        pytest.param(pod(container("c"), claims=True), "dra", id="dra"),
        pytest.param(pod(container("c", {COUNT: 1}), chosen=None), "device_plugin", id="device-plugin"),
        pytest.param(pod(container("c", {MIG_PLUGIN: 1}), chosen=None), "device_plugin", id="device-plugin-mig"),
        pytest.param(pod(container("c", {"cambricon.com/vmlu": 1})), "device_plugin", id="device-plugin-other-family"),
        pytest.param(pod(container("c", {COUNT: 1})), "pending", id="pending-hami-chose-a-node"),
        pytest.param(pod(container("c", {COUNT: 1, CORES: 30}), chosen=None), "pending", id="pending-hami-resources"),
        pytest.param(pod(container("c", {MEMORY: 4000}), chosen=None), "pending", id="pending-memory-only"),
        pytest.param(pod(container("c", {COUNT: None, MEMORY: 4000}), text=";"), "pending", id="pending-odd-count"),
        pytest.param(pod(container("c", VGPU, "init"), text=";"), "pending", id="pending-init-before-2.9"),
    ],
)
def test_without_a_figure_the_source_says_why(case: Pod, source: GrantSource) -> None:
    """A container without a figure has no grant, and a source that tells 0 (`none`) from not known; nothing failed."""
    assert grants(case, KNOWN, NODE) == ({"c": ContainerGrants(source)}, NO_FAILURE)


@pytest.mark.parametrize(
    ("text", "chosen", "source", "reason"),
    [
        pytest.param(device()[:-5] + ":;", NODE, "unreadable", "annotation_unreadable", id="broken"),
        pytest.param(";" * 100_000, NODE, "unreadable", "annotation_unreadable", id="endless"),
        pytest.param(";", NODE, "unreadable", "grant_unplaced", id="no-entry"),
        pytest.param(f"{device()};", "gpu-2", "pending", "grant_other_node", id="other-node"),
        pytest.param(f"{device()};", "", "pending", "grant_other_node", id="no-node"),
    ],
)
def test_an_annotation_that_cannot_be_believed_is_counted(
    text: str, chosen: str, source: GrantSource, reason: str
) -> None:
    """A text that breaks the grammar, fits no reading, or names another node grants nothing and counts once."""
    case = pod(container("c", VGPU), text=text, chosen=chosen)
    assert grants(case, KNOWN, NODE) == ({"c": ContainerGrants(source)}, failed(reason))


@pytest.mark.parametrize("chosen", [NODE, "gpu-2", None])
def test_a_pod_of_another_node_grants_nothing_here(chosen: str | None) -> None:
    """An annotation on a pod that runs elsewhere is ignored, whichever node it names."""
    case = pod(container("c", VGPU), text=f"{device()};", node="gpu-2", chosen=chosen)
    assert grants(case, KNOWN, NODE) == ({"c": ContainerGrants("pending")}, failed("grant_other_node"))


def test_the_node_annotation_may_be_missing() -> None:
    """Without `hami.io/vgpu-node` the pod's own node is enough."""
    case = pod(container("c", VGPU), text=f"{device()};", chosen=None)
    assert grants(case, KNOWN, NODE) == ({"c": hami(grant())}, NO_FAILURE)


@pytest.mark.parametrize(
    ("asks", "source"),
    [
        pytest.param({}, "none", id="nothing"),
        pytest.param({COUNT: 0}, "none", id="zero"),
        pytest.param({MIG_PLUGIN: 1}, "device_plugin", id="mig-of-the-device-plugin"),
        pytest.param({COUNT: -1}, "device_plugin", id="negative"),
        pytest.param({COUNT: None}, "device_plugin", id="no-whole-number"),
    ],
)
def test_an_annotation_on_a_pod_that_does_not_ask_is_ignored(asks: dict[str, int | None], source: GrantSource) -> None:
    """Entries on a pod none of whose containers asks HAMi are counted and published nowhere."""
    case = pod(container("c", asks), container("d"), text=f"{device()};")
    assert grants(case, KNOWN, NODE) == ({"c": ContainerGrants(source), "d": NOTHING}, failed("grant_unasked"))


def test_an_empty_annotation_on_a_pod_that_does_not_ask_is_fine() -> None:
    """Empty slots for containers that ask for nothing are no failure."""
    assert grants(pod(container("c"), text=";,,0,0:;"), KNOWN, NODE) == ({"c": NOTHING}, NO_FAILURE)


@pytest.mark.parametrize(
    ("asks", "text", "given"),
    [
        pytest.param(VGPU, device(), hami(grant()), id="as-asked"),
        pytest.param({COUNT: 1}, device(memory=24564, cores=0), hami(grant(A, 24564, None)), id="whole-card-2.6"),
        pytest.param({COUNT: 1}, device(memory=24564, cores=100), hami(grant(A, 24564, 1.0)), id="whole-card-2.7"),
        pytest.param(
            {COUNT: 1, PERCENTAGE: 25}, device(memory=6141, cores=0), hami(grant(A, 6141, None)), id="percentage"
        ),
        pytest.param({MEMORY: 4000}, device(cores=0), hami(grant(A, 4000, None)), id="memory-only-is-one-gpu"),
        pytest.param({CORES: 30}, device(memory=24564), hami(grant(A, 24564)), id="cores-only-is-one-gpu"),
        pytest.param({PERCENTAGE: 50}, device(memory=9, cores=0), hami(grant(A, 9, None)), id="percentage-only"),
        pytest.param(VGPU, device(memory=3000, cores=20), hami(grant(A, 3000, 0.2)), id="less-than-asked-stands"),
        pytest.param(VGPU, device(cores=0), hami(grant(A, 4000, None)), id="cores-not-limited"),
        pytest.param({COUNT: 1, MEMORY: 0, CORES: 0}, device(), hami(grant()), id="0-is-not-asked"),
        pytest.param({COUNT: 1, MEMORY: None, CORES: None}, device(), hami(grant()), id="no-whole-numbers"),
        pytest.param(VGPU | {COUNT: 2}, device() + device(B), hami(grant(), grant(B)), id="two-gpus"),
        pytest.param(VGPU | {COUNT: 3}, device() + device(B), hami(grant(), grant(B)), id="fewer-gpus-than-asked"),
        pytest.param(VGPU | {COUNT: 2}, device() * 2, hami(grant(A, 8000, 0.6), order=f"{A} {A}"), id="two-slices"),
        pytest.param(
            VGPU | {COUNT: 2},
            device() + device(cores=0),
            hami(grant(A, 8000, None), order=f"{A} {A}"),
            id="one-slice-without-a-limit",
        ),
        pytest.param(VGPU, f"{A}[7-9],NVIDIA,4000,30:", hami(grant()), id="mig-slot"),
    ],
)
def test_a_figure_comes_from_the_annotation(asks: dict[str, int | None], text: str, given: ContainerGrants) -> None:
    """What the annotation says within the request is the grant, in bytes and ratios, without a failure."""
    assert grants(pod(container("c", asks), text=f"{text};"), KNOWN, NODE) == ({"c": given}, NO_FAILURE)


@pytest.mark.parametrize(
    ("asks", "text", "given"),
    [
        pytest.param(VGPU, device(memory=40000), hami(grant()), id="memory"),
        pytest.param(VGPU, device(cores=90), hami(grant()), id="cores"),
        pytest.param({COUNT: 1}, device(cores=2_000_000), hami(grant(cores=1.0)), id="more-than-a-whole-gpu"),
        pytest.param({COUNT: 1, CORES: 500}, device(cores=500), hami(grant(cores=1.0)), id="asked-more-than-a-gpu"),
        pytest.param(VGPU, device() + device(B), hami(grant(), order=f"{A} {B}"), id="devices"),
        pytest.param(VGPU, device() * 2, hami(grant(), order=f"{A} {A}"), id="the-same-device-twice"),
        pytest.param(
            VGPU | {COUNT: 2}, device(memory=9000) * 2, hami(grant(A, 8000, 0.6), order=f"{A} {A}"), id="slices"
        ),
    ],
)
def test_more_than_asked_is_capped_and_counted(asks: dict[str, int | None], text: str, given: ContainerGrants) -> None:
    """Devices beyond the count, and memory and cores beyond the integer request, are cut off and counted once."""
    case = pod(container("c", asks), text=f"{text};")
    assert grants(case, KNOWN, NODE) == ({"c": given}, failed("grant_above_request", "c"))


def test_a_gpu_that_is_not_here_is_dropped_and_counted() -> None:
    """A UUID that the node does not have grants nothing; the container's other GPUs stand."""
    case = pod(container("c", VGPU | {COUNT: 2}), text=f"{device('GPU-elsewhere')}{device(B)};")
    found = {"c": hami(grant(B), order=f"GPU-elsewhere {B}")}
    assert grants(case, KNOWN, NODE) == (found, failed("grant_unknown_device", "c"))


def test_a_container_with_no_known_gpu_is_unreadable() -> None:
    """It asks, but nothing says which of this node's cards: not known, rather than 0."""
    case = pod(container("c", VGPU), text=f"{device('GPU-elsewhere')};")
    found = {"c": ContainerGrants("unreadable", order=("GPU-elsewhere",))}
    assert grants(case, KNOWN, NODE) == (found, failed("grant_unknown_device", "c"))


def test_finished_containers_keep_their_place_but_hold_nothing() -> None:
    """A GPU init container that ended still takes its entry, so the app gets its own; it has no item any more."""
    case = pod(container("init", VGPU, "init", finished=True), container("app", VGPU), text=f"{device(A)};{device(B)};")
    assert grants(case, KNOWN, NODE) == ({"app": hami(grant(B))}, NO_FAILURE)


def test_a_finished_pod_holds_nothing_and_fails_nothing() -> None:
    """Nothing is read of a pod that ended."""
    case = Pod(UID, "team", "done", NODE, "", (container("c", VGPU),), finished=True)
    assert grants(case, KNOWN, NODE) == ({}, NO_FAILURE)


def test_a_container_of_the_device_plugin_beside_one_of_hami() -> None:
    """In one pod each container has its own source, and only those that ask HAMi take part in the placing."""
    case = pod(
        container("cpu"), container("mig", {MIG_PLUGIN: 1}), container("gpu", VGPU), text=f";;{device()};", claims=True
    )
    assert grants(case, KNOWN, NODE)[0] == {
        "cpu": ContainerGrants("dra"),
        "mig": ContainerGrants("device_plugin"),
        "gpu": hami(grant()),
    }


def test_resource_names_can_be_other_ones() -> None:
    """HAMi's chart can rename its resources (#991 uses nvidia.com/vgpu) and scale memory by a factor."""
    renamed = replace(NVIDIA, count="x.com/vgpu", memory="x.com/mem", asked_memory_unit=1024 * MIB)
    case = pod(container("c", {"x.com/vgpu": 1, "x.com/mem": 4}), text=f"{device(memory=5000)};")
    assert grants(case, KNOWN, NODE, [renamed]) == (
        {"c": hami(grant(memory=4096))},
        failed("grant_above_request", "c"),
    )


# ---------------------------------------------------------------- what the card has to grant


@pytest.mark.parametrize(
    ("asks", "memory", "granted"),
    [
        pytest.param({COUNT: 1}, 40_000, 16_000, id="whole-card"),
        pytest.param({COUNT: 1, MEMORY: 0, PERCENTAGE: 0}, 40_000, 16_000, id="0-is-not-asked"),
        pytest.param({COUNT: 1, PERCENTAGE: None}, 40_000, 16_000, id="no-whole-percentage"),
        pytest.param({COUNT: 1, PERCENTAGE: 33}, 16_000, 5_280, id="percentage"),
        pytest.param({COUNT: 1, PERCENTAGE: 300}, 40_000, 16_000, id="more-than-all"),
        pytest.param({COUNT: 1, MEMORY: 4000, PERCENTAGE: 1}, 4001, 4000, id="memory-goes-before-percentage"),
        pytest.param({COUNT: 1, MEMORY: 10**30}, 40_000, 16_000, id="asked-for-more-than-a-card"),
    ],
)
def test_no_more_than_the_card_has_to_grant(asks: dict[str, int | None], memory: int, granted: int) -> None:
    """Whatever was asked, HAMi could not grant more than it registered of the card, or that percentage of it."""
    case = pod(container("c", asks), text=f"{device(memory=memory)};")
    found = {"c": hami(grant(memory=granted))}
    assert grants(case, {A: Card(16_000 * MIB)}, NODE) == (found, failed("grant_above_request", "c"))


def test_a_percentage_is_whole_mib_as_hami_reckons() -> None:
    """A third of a card is rounded down to MiB: what HAMi writes is not cut, and one more is."""
    for written, failures in ((33, NO_FAILURE), (34, failed("grant_above_request", "c"))):
        case = pod(container("c", {COUNT: 1, PERCENTAGE: 33}), text=f"{device(memory=written)};")
        assert grants(case, {A: Card(101 * MIB)}, NODE) == ({"c": hami(grant(memory=33))}, failures)


def test_after_scaling_was_lowered_an_old_grant_is_what_is_registered_now() -> None:
    """A whole card granted at scaling 2 shows as what the card can be granted at scaling 1, and is counted."""
    case = pod(container("c", {COUNT: 1}), text=f"{device(memory=32_000)};")
    assert grants(case, {A: Card(32_000 * MIB)}, NODE) == ({"c": hami(grant(memory=32_000))}, NO_FAILURE)
    assert grants(case, {A: Card(16_000 * MIB)}, NODE)[0] == {"c": hami(grant(memory=16_000))}


# ---------------------------------------------------------------- who wrote it

V_COUNT, V_MEMORY, V_PERCENTAGE = (
    "volcano.sh/vgpu-number",
    "volcano.sh/vgpu-memory",
    "volcano.sh/vgpu-memory-percentage",
)
VOLCANO: Final = "volcano.sh/vgpu-ids-new"
OLD: Final = "4pd.io/vgpu-ids-new"


def written(case: Pod, **annotations: str) -> Pod:
    """Return the pod with these annotations instead: `hami`, `old` and `volcano`."""
    keys = {"hami": ANNOTATION, "old": OLD, "volcano": VOLCANO}
    return replace(case, annotations={keys[name]: text for name, text in annotations.items()})


def test_hami_before_2_3_9_is_read() -> None:
    """HAMi 2.2 to 2.3.4 wrote `4pd.io/vgpu-ids-new`, joined with semicolons, for the same resources."""
    case = written(pod(container("c", VGPU), container("side"), container("d", VGPU)), old=f"{device()};;{device(B)}")
    assert grants(case, KNOWN, NODE) == (
        {
            "c": hami(replace(grant(), family="4pd")),
            "side": NOTHING,
            "d": hami(replace(grant(B), family="4pd")),
        },
        NO_FAILURE,
    )


def test_the_old_node_annotation_counts_for_the_old_annotation() -> None:
    """Each writer's devices are for the node that the same writer chose."""
    case = written(pod(container("c", VGPU)), old=device())
    elsewhere = replace(case, annotations={**case.annotations, "4pd.io/vgpu-node": "gpu-2", "hami.io/vgpu-node": NODE})
    assert grants(elsewhere, KNOWN, NODE) == ({"c": ContainerGrants("pending")}, failed("grant_other_node"))


def test_hami_goes_before_its_old_name() -> None:
    """A pod that two releases of HAMi wrote on holds what the newer one says."""
    case = written(pod(container("c", VGPU)), old=f"{device(B)};", hami=f"{device()};")
    assert grants(case, KNOWN, NODE) == ({"c": hami(grant())}, NO_FAILURE)


@pytest.mark.parametrize(
    ("asks", "memory", "granted"),
    [
        pytest.param({V_COUNT: 1, V_MEMORY: 400}, 400, 4000, id="memory-in-units"),
        pytest.param({V_COUNT: 1, V_MEMORY: 400}, 300, 3000, id="less-than-asked"),
        pytest.param({V_COUNT: 1}, 1600, 16_000, id="whole-card"),
        pytest.param({V_COUNT: 1, V_PERCENTAGE: 50}, 800, 8000, id="percentage"),
    ],
)
def test_volcano_counts_in_the_unit_of_its_plugin(asks: dict[str, int | None], memory: int, granted: int) -> None:
    """With `gpu-memory-factor` 10 Volcano's annotation and its memory resource are in units of 10 MiB."""
    case = written(pod(container("c", asks)), volcano=device(memory=memory))
    found = {"c": hami(replace(grant(memory=granted), family="Volcano"))}
    assert grants(case, {A: Card(16_000 * MIB, 10 * MIB)}, NODE) == (found, NO_FAILURE)


def test_more_than_asked_of_volcano_is_cut_in_its_unit() -> None:
    """A request of 400 units of 10 MiB is 4000 MiB, however much the annotation claims."""
    case = written(pod(container("c", {V_COUNT: 1, V_MEMORY: 400})), volcano=device(memory=9999))
    found = {"c": hami(replace(grant(), family="Volcano"))}
    assert grants(case, {A: Card(memory_unit=10 * MIB)}, NODE) == (found, failed("grant_above_request", "c"))


@pytest.mark.parametrize("memory", [0, 400])
def test_without_volcano_s_unit_there_is_no_figure(memory: int) -> None:
    """Where nothing says what a unit is the container is unreadable and counted, but its order is known."""
    case = written(pod(container("c", {V_COUNT: 1})), volcano=device(memory=memory))
    found = {"c": ContainerGrants("unreadable", order=(A,))}
    assert grants(case, KNOWN, NODE) == (found, failed("grant_unit_unknown", "c"))


@pytest.mark.parametrize(
    ("asks", "key"), [({V_COUNT: 1}, ANNOTATION), ({V_COUNT: 1}, OLD), ({COUNT: 1}, VOLCANO), ({}, VOLCANO)]
)
def test_an_annotation_that_nobody_asked_for_is_ignored(asks: dict[str, int | None], key: str) -> None:
    """Devices under the key of a scheduler that no container asks are counted and published nowhere."""
    case = replace(pod(container("c", asks)), annotations={key: f"{device()};"})
    found, failures = grants(case, {A: Card(memory_unit=MIB)}, NODE)
    assert (found["c"].grants, found["c"].source in ("device_plugin", "none")) == ((), True)
    assert failures == failed("grant_unasked")


def test_what_was_asked_for_stands_beside_what_was_not() -> None:
    """A forged annotation of another scheduler, readable or not, changes nothing and is counted."""
    for forged in (f"{device(B)};", "x,y"):
        case = written(pod(container("c", VGPU)), hami=f"{device()};", volcano=forged)
        assert grants(case, KNOWN, NODE) == ({"c": hami(grant())}, failed("grant_unasked"))


# ---------------------------------------------------------------- which container

SIDE, GPU, G1, G2 = container("side"), container("gpu", VGPU), container("g1", VGPU), container("g2", VGPU)
INIT, GPU_INIT = container("init", kind="init"), container("init", VGPU, "init")
GPU_SIDECAR, DEBUG = container("sidecar", VGPU, "sidecar"), container("debug", kind="ephemeral")
D1, D2 = device(A), device(B)

#: Pods, each container with what it was given: the simulated outcome of hami-contract.md 1.5, and more.
PODS_OF_ALL_RELEASES: Final = [
    pytest.param([(SIDE, ""), (GPU, D1)], id="side,gpu"),
    pytest.param([(G1, D1), (G2, D2)], id="g1,g2"),
    pytest.param([(INIT, ""), (GPU, D1)], id="init,gpu"),
    pytest.param([(SIDE, ""), (G1, D1), (G2, D2)], id="side,g1,g2"),
    pytest.param([(G1, D1), (SIDE, ""), (G2, D2)], id="g1,side,g2"),
    pytest.param([(INIT, ""), (G1, D1), (G2, D2)], id="init,g1,g2-issue-2899"),
    pytest.param([(GPU, D1), (SIDE, ""), (DEBUG, "")], id="gpu,side,debug"),
]
PODS_WITH_GPU_INIT: Final = [
    pytest.param([(GPU_INIT, D1), (GPU, D2)], id="gpu-init,gpu"),
    pytest.param([(GPU_SIDECAR, D1), (GPU, D2)], id="gpu-sidecar,gpu"),
    pytest.param([(GPU_SIDECAR, D1), (INIT, ""), (SIDE, ""), (GPU, D2)], id="gpu-sidecar,init,side,gpu"),
    pytest.param([(GPU_INIT, D1), (SIDE, "")], id="gpu-init,side"),
]


def outcome(text: str, given: list[tuple[Container, str]], key: str = ANNOTATION) -> dict[str, tuple[str, ...]]:
    """Return the GPUs that each container is found to hold; nothing may have failed."""
    case = replace(pod(*(each for each, _ in given)), annotations={key: text})
    found, failures = grants(case, KNOWN, NODE)
    assert failures == NO_FAILURE
    assert all(held_by.source == ("hami" if held_by.grants else "none") for held_by in found.values())
    return {name: tuple(grant.uuid for grant in held_by.grants) for name, held_by in found.items()}


def expected(given: list[tuple[Container, str]]) -> dict[str, tuple[str, ...]]:
    """Return the GPUs that each container was really given."""
    return {each.name: ((A,) if text == D1 else (B,) if text else ()) for each, text in given}


@pytest.mark.parametrize("given", PODS_OF_ALL_RELEASES)
def test_2_2_to_2_3_4_join_the_app_containers(given: list[tuple[Container, str]]) -> None:
    """HAMi 2.2 to 2.3.4 joined an entry per app container, empty ones too, without a last semicolon."""
    assert outcome(";".join(text for each, text in given if each.kind == "app"), given, OLD) == expected(given)


@pytest.mark.parametrize("given", PODS_OF_ALL_RELEASES)
def test_2_3_11_to_2_8_3_write_the_app_containers(given: list[tuple[Container, str]]) -> None:
    """HAMi 2.3.11 to 2.8.3 wrote an entry per app container, empty ones too, and none for init containers."""
    assert outcome("".join(f"{text};" for each, text in given if each.kind == "app"), given) == expected(given)


@pytest.mark.parametrize("given", [*PODS_OF_ALL_RELEASES, *PODS_WITH_GPU_INIT])
@pytest.mark.parametrize("empty", ["", ",,0,0:"])
def test_2_9_0_writes_init_containers_first(given: list[tuple[Container, str]], empty: str) -> None:
    """HAMi 2.9.0 writes an entry per init container, then per app container, empty ones in either spelling (#991)."""
    text = "".join(f"{text or empty};" for each, text in given if each.kind != "ephemeral")
    assert outcome(text, given) == expected(given)


@pytest.mark.parametrize("given", [*PODS_OF_ALL_RELEASES, *PODS_WITH_GPU_INIT])
def test_2_10_0_leaves_out_containers_without_a_gpu(given: list[tuple[Container, str]]) -> None:
    """HAMi 2.10.0 writes entries for containers with a GPU only, init containers first (#3079)."""
    assert outcome("".join(f"{text};" for _, text in given if text), given) == expected(given)


@pytest.mark.parametrize("early", [GPU_INIT, GPU_SIDECAR], ids=["init", "sidecar"])
def test_up_to_2_8_3_a_gpu_init_container_has_no_entry(early: Container) -> None:
    """HAMi up to 2.8.3 gave init containers and native sidecars nothing: theirs is pending, the app's stands."""
    found = {early.name: ContainerGrants("pending"), "gpu": hami(grant())}
    assert grants(pod(early, GPU, text=f"{D1};"), KNOWN, NODE) == (found, NO_FAILURE)


def test_a_card_at_the_wrong_position_reaches_the_one_that_asked() -> None:
    """HAMi 2.4 wrote the only GPU at position 0 while the second of five containers asked (#991)."""
    given = [(SIDE, ""), (GPU, D1), (container("c"), ""), (container("d"), ""), (container("e"), "")]
    assert outcome(f"{D1};;,,0,0:;,,0,0:;,,0,0:;", given) == expected(given)


# ---------------------------------------------------------------- the pod as a whole

SMALL, LARGE = container("small", VGPU | {MEMORY: 1000, CORES: 10}), container("large", VGPU)


@pytest.mark.parametrize(
    ("askers", "text", "given", "cut"),
    [
        pytest.param([G1, G2], f"{D1}{D2};", [grant(), grant(B)], False, id="2.3.9-concatenated"),
        pytest.param([G1, G2], f"{D1};", [grant()], False, id="one-was-left-out"),
        pytest.param([G1], f"{D1};{D2};", [grant()], True, id="more-devices-than-asked"),
        pytest.param(
            [SMALL, LARGE], f"{device(memory=9999, cores=90)};", [grant()], True, id="each-at-most-the-largest"
        ),
        pytest.param(
            [SMALL, LARGE], f"{D1}{D2};", [grant(), grant(B, 1000, 0.1)], True, id="at-most-the-sum-of-the-requests"
        ),
        pytest.param(
            [SMALL, LARGE],
            f"{device(A, 1000, 10)}{D2};",
            [grant(A, 1000, 0.1), grant(B)],
            False,
            id="within-the-sum-in-any-order",
        ),
        pytest.param(
            [SMALL, container("any", {COUNT: 1})],
            f"{device(memory=20_000, cores=100)}{D2};",
            [grant(memory=16_000, cores=1.0), grant(B, 4000, 0.1)],
            True,
            id="somebody-asked-for-a-whole-card",
        ),
        pytest.param([G1, G2], f"{device(cores=0)};", [grant(cores=None)], False, id="cores-not-limited"),
        pytest.param([GPU_SIDECAR, G1, G2], f"{D1};", [grant()], False, id="with-a-sidecar"),
        pytest.param([SIDE, G1, G2], f"{device(memory=9999)};", [grant()], True, id="beside-one-that-asks-nothing"),
    ],
)
def test_what_cannot_be_placed_is_the_pod_s(
    askers: list[Container], text: str, given: list[Grant], *, cut: bool
) -> None:
    """Entries that fit no reading are held by the pod, within what its containers asked for together."""
    cards = {A: Card(16_000 * MIB), B: Card(16_000 * MIB)}
    found, failures = grants(pod(*askers, text=text), cards, NODE)
    sources: dict[str, GrantSource] = {each.name: "unreadable" if each.asks else "none" for each in askers}
    assert found == {name: ContainerGrants(source) for name, source in sources.items()} | {"": whole_pod(*given)}
    assert failures == failed("grant_unplaced") | (failed("grant_above_request") if cut else NO_FAILURE)


def test_devices_of_the_pod_that_are_not_here_are_dropped() -> None:
    """A UUID that the node does not have grants the pod nothing, and counts; with none left the pod has no item."""
    for text, uuids in ((f"{device('GPU-x')}{D2};", {B}), (device("GPU-x"), set())):
        found, failures = grants(pod(G1, G2, text=text), KNOWN, NODE)
        assert {grant.uuid for grant in found.get("", NOTHING).grants} == uuids
        assert failures == failed("grant_unplaced") | failed("grant_unknown_device")
        assert ("" in found) == bool(uuids)


def test_only_those_that_still_run_hold_the_pod_s_devices() -> None:
    """A container that ended asks for nothing any more; when all have, the pod holds nothing."""
    done = [replace(each, finished=True) for each in (G1, G2)]
    found, _ = grants(pod(done[0], G2, text=f"{D1}{D2};"), KNOWN, NODE)
    assert found == {"g2": ContainerGrants("unreadable"), "": whole_pod(grant())}
    assert "" not in grants(pod(*done, text=f"{D1}{D2};"), KNOWN, NODE)[0]


# ---------------------------------------------------------------- MIG

MIG1, MIG2 = "MIG-11111111", "MIG-22222222"
MIG_CARDS: Final = {A: Card(), B: Card(), MIG1: Card(parent=A), MIG2: Card(parent=B)}


def allocation(index: int, gpu: str, instance: str = "", device_index: int = 0) -> dict[str, object]:
    """Return an allocation as HAMi 2.10.0 writes it, with the instance's identity if there is one."""
    identity = {"migUUID": instance, "gpuInstanceID": 0, "computeInstanceID": 0} if instance else {}
    placed = {"profile": "1g.10gb", "placement": {"start": 0, "size": 1}}
    return {"containerIndex": index, "deviceIndex": device_index, "gpuUUID": gpu, **placed, **identity}


def cut_up(case: Pod, *allocations: dict[str, object]) -> Pod:
    """Return the pod with MIG allocations beside its devices."""
    return replace(case, annotations={**case.annotations, "hami.io/vgpu-mig-allocations": json.dumps(allocations)})


@pytest.mark.parametrize("index", [0, 1])
def test_a_grant_names_the_mig_instance(index: int) -> None:
    """HAMi 2.10.0 says which instance it is; whether the container's index was compacted does not matter."""
    case = cut_up(pod(SIDE, GPU, text=f"{D1};"), allocation(index, A, MIG1))
    found = {"side": NOTHING, "gpu": hami(grant(MIG1), order=A)}
    assert grants(case, MIG_CARDS, NODE) == (found, NO_FAILURE)


@pytest.mark.parametrize(
    ("card", "found"),
    [
        pytest.param(Card(16_000 * MIB, cut=True), hami(grant(memory=9984, cores=0.15)), id="cut"),
        pytest.param(Card(8_000 * MIB, cut=True), hami(grant(memory=8_000, cores=0.15)), id="cut-and-smaller"),
        pytest.param(Card(16_000 * MIB), hami(grant(memory=4000, cores=0.1)), id="whole"),
    ],
)
def test_a_slice_of_a_gpu_that_is_cut_may_be_larger_than_asked(card: Card, found: ContainerGrants) -> None:
    """HAMi rounds up to an instance's size; on a GPU that is not cut no text in the annotation buys that."""
    case = pod(container("c", {COUNT: 1, MEMORY: 4000, CORES: 10}), text=f"{A}[7-9],NVIDIA,9984,15:;")
    assert grants(case, {A: card}, NODE)[0] == {"c": found}


def test_a_named_instance_grants_no_more_than_it_has() -> None:
    """Whatever the annotation says, an instance of 10 GB is granted as 10 GB at most."""
    cards = {A: Card(80_000 * MIB, cut=True), MIG1: Card(9_984 * MIB, parent=A)}
    case = cut_up(pod(container("c", VGPU), text=f"{device(memory=79_000)};"), allocation(0, A, MIG1))
    assert grants(case, cards, NODE)[0] == {"c": hami(grant(MIG1, memory=9_984), order=A)}


def test_two_instances_of_one_gpu_are_two_grants() -> None:
    """Slices that have a name are not added up as those of the GPU are."""
    cards = {A: Card(), MIG1: Card(parent=A), MIG2: Card(parent=A)}
    case = pod(container("c", VGPU | {COUNT: 2}), text=f"{D1}{D1};")
    named = cut_up(case, allocation(0, A, MIG1), allocation(0, A, MIG2, device_index=1))
    assert grants(named, cards, NODE)[0] == {"c": hami(grant(MIG1), grant(MIG2), order=f"{A} {A}")}


@pytest.mark.parametrize(
    ("instance", "cards"),
    [
        pytest.param("", MIG_CARDS, id="not-made-yet"),
        pytest.param("MIG-elsewhere", MIG_CARDS, id="unknown-instance"),
        pytest.param(MIG2, MIG_CARDS, id="instance-of-another-gpu"),
        pytest.param(B, MIG_CARDS, id="another-gpu"),
        pytest.param(MIG1, None, id="cards-are-not-known"),
    ],
)
def test_without_a_known_instance_the_grant_is_the_gpu_s(instance: str, cards: dict[str, Card] | None) -> None:
    """Only an instance that is cut from the very GPU in the device annotation takes the grant over."""
    case = cut_up(pod(GPU, text=f"{D1};"), allocation(0, A, instance))
    assert grants(case, cards, NODE) == ({"gpu": hami(grant())}, NO_FAILURE)


@pytest.mark.parametrize(
    "allocations",
    [
        pytest.param([allocation(0, B, MIG2)], id="another-gpu"),
        pytest.param([allocation(0, A, MIG1), allocation(1, A, MIG1)], id="more-containers-than-entries"),
        pytest.param([{"containerIndex": 0}], id="no-allocation"),
    ],
)
def test_allocations_that_do_not_fit_are_counted(allocations: list[dict[str, object]]) -> None:
    """Allocations that match the devices in no way leave every grant on its GPU."""
    case = cut_up(pod(GPU, text=f"{D1};"), *allocations)
    assert grants(case, MIG_CARDS, NODE) == ({"gpu": hami(grant())}, failed("mig_allocation_unreadable"))


def test_instances_of_what_cannot_be_placed_are_the_pod_s() -> None:
    """The pod as a whole holds the instances where the entries fit no container."""
    case = cut_up(pod(G1, G2, text=f"{D1};"), allocation(0, A, MIG1))
    assert grants(case, MIG_CARDS, NODE)[0][""] == whole_pod(grant(MIG1))


# ---------------------------------------------------------------- a pod's life


def manifest_of(**changes: dict[str, object]) -> Pod:
    """Return a pod read from its JSON: bound here, HAMi's annotation on it, running; `changes` go into its parts."""
    metadata: dict[str, object] = {"uid": UID, "namespace": "team", "name": "work-0"}
    annotations = {ANNOTATION: f"{device()};", "hami.io/vgpu-node": NODE, "hami.io/bind-phase": "success"}
    limits = {name: str(amount) for name, amount in VGPU.items()}
    raw = {
        "metadata": metadata | {"annotations": annotations | changes.get("annotations", {})} | changes.get("meta", {}),
        "spec": {"nodeName": NODE, "containers": [{"name": "c", "resources": {"limits": limits}}]}
        | changes.get("spec", {}),
        "status": {"phase": "Running"} | changes.get("status", {}),
    }
    return manifest.pod(raw)


@pytest.mark.parametrize("phase", ["allocating", "failed", "success", "nonsense", ""])
def test_the_bind_phase_decides_nothing(phase: str) -> None:
    """A tenant can write it, and HAMi counts every pod that is not finished: so does the grant."""
    case = manifest_of(annotations={"hami.io/bind-phase": phase})
    assert grants(case, KNOWN, NODE) == ({"c": hami(grant())}, NO_FAILURE)


def test_a_terminating_pod_still_holds_its_grant() -> None:
    """Until its containers are gone the card is not free."""
    case = manifest_of(meta={"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30})
    assert grants(case, KNOWN, NODE) == ({"c": hami(grant())}, NO_FAILURE)


@pytest.mark.parametrize(
    "status", [{"phase": "Succeeded"}, {"phase": "Failed"}, {"phase": "Failed", "reason": "Evicted"}]
)
def test_a_pod_that_ended_holds_nothing(status: dict[str, object]) -> None:
    """Succeeded, failed and evicted pods keep their annotation, but no card."""
    assert grants(manifest_of(status=status), KNOWN, NODE) == ({}, NO_FAILURE)


@pytest.mark.parametrize("changes", [{"annotations": {"hami.io/vgpu-node": "gpu-2"}}, {"spec": {"nodeName": ""}}])
def test_an_annotation_for_another_node_holds_nothing(changes: dict[str, dict[str, object]]) -> None:
    """A pod that is not bound yet, or that HAMi meant for another node, has its annotation ignored and counted."""
    found, failures = grants(manifest_of(**changes), KNOWN, NODE)
    assert [held_by.grants for held_by in found.values()] in ([()], [])
    assert failures == failed("grant_other_node")


# ---------------------------------------------------------------- the whole cluster's families


@pytest.mark.parametrize(
    ("family", "asks", "text", "given", "reasons"),
    [
        pytest.param(
            "MLU",
            {"cambricon.com/vmlu": 1, "cambricon.com/mlu.smlu.vmemory": 20, "cambricon.com/mlu.smlu.vcore": 10},
            "n1-cambricon-mlu-0,MLU,5120,10:;",
            grant("n1-cambricon-mlu-0", 5120, 0.1),
            set(),
            id="mlu",
        ),
        pytest.param(
            "MLU",
            {"cambricon.com/vmlu": 1, "cambricon.com/mlu.smlu.vmemory": 20},
            "n1-cambricon-mlu-0,MLU,5121,100:;",
            grant("n1-cambricon-mlu-0", 5120, 1.0),
            {"grant_above_request"},
            id="mlu-above-request",
        ),
        pytest.param(
            "Mthreads",
            {"mthreads.com/vgpu": 1, "mthreads.com/sgpu-memory": 32, "mthreads.com/sgpu-core": 8},
            "n1-mthreads-0,Mthreads,16384,8:;",
            grant("n1-mthreads-0", 16384, 0.5),
            set(),
            id="mthreads-half",
        ),
        pytest.param(
            "Ascend910B3",
            {"huawei.com/Ascend910B3": 1, "huawei.com/Ascend910B3-memory": 10_000},
            "n1-Ascend910B3-0,Ascend910B3,16384,5:;",
            grant("n1-Ascend910B3-0", 16384, None),
            {"grant_unit_unknown"},
            id="ascend-rounds-up-to-a-template",
        ),
        pytest.param(
            "AMD",
            {"amd.com/gpu": 1},
            "u1,AMD Instinct (TM) MI300X,196608,304:;",
            grant("u1", 196608, None),
            {"grant_unit_unknown"},
            id="amd-counts-compute-units",
        ),
        pytest.param(
            "AWSNeuron",
            {"aws.amazon.com/neuroncore": 2},
            "n1-AWSNeuron-0,AWSNeuron,0,3:;",
            Grant("n1-AWSNeuron-0", None, None),
            {"grant_unit_unknown"},
            id="aws-has-a-bit-mask",
        ),
        pytest.param(
            "GCU", {"enflame.com/gcu": 1}, "n1-GCU-0,GCU,100,100:;", Grant("n1-GCU-0", None, 1.0),
            {"grant_unit_unknown"}, id="gcu-is-a-whole-one",
        ),
        pytest.param(
            "Biren", {"birentech.com/gpu": 1}, "b0,Biren,65536,0:;", grant("b0", 65536, None), set(), id="biren"
        ),
        pytest.param(
            "Volcano", {V_COUNT: 1}, f"{A},NVIDIA,400,50:;", Grant(A, None, 0.5), {"grant_unit_unknown"}, id="volcano"
        ),
    ],
)  # fmt: skip
def test_without_cards_every_family_is_held_against_its_request(
    family: str, asks: dict[str, int | None], text: str, given: Grant, reasons: set[str]
) -> None:
    """In a whole cluster any device is accepted, in the family's own units; a unit that nobody knows is no figure."""
    key = next(one.allocated for one in FAMILIES if one.name == family)
    case = replace(pod(container("c", asks)), annotations={key: text})
    found, failures = grants(case, None, NODE, FAMILIES)
    assert found == {"c": hami(replace(given, family=family))}
    assert failures == {Failure(reason, f"{UID}/c") for reason in reasons}


def test_two_devices_of_one_id_without_figures_stay_without() -> None:
    """What is not known is not added up as 0."""
    asks = {"aws.amazon.com/neuron": 2}
    key = "hami.io/aws-neuron-devices-allocated"
    case = replace(pod(container("c", asks)), annotations={key: "n,AWSNeuron,0,3:n,AWSNeuron,0,3:;"})
    found, _ = grants(case, None, NODE, FAMILIES)
    assert found["c"].grants == (Grant("n", None, None, "AWSNeuron"),)
    assert held([(case, found)]) == {"n": Held(0, 0.0, 1)}


# ---------------------------------------------------------------- anything at all

GRANTABLE: Final = 8000 * MIB
#: Two cards of which HAMi registered all, one of which nothing is known, and an instance of the first.
HERE: Final = {A: Card(GRANTABLE, 2 * MIB), B: Card(GRANTABLE, MIB), C: Card(), MIG1: Card(parent=A)}
UUIDS: Final = st.sampled_from([A, B, C, A, B, C, MIG1, "GPU-elsewhere", "", f"{A}[1-0]"])
NUMBERS: Final = st.sampled_from([0, 1, 30, 100, 4000, 9000, 2**31 - 1])
LINES: Final = st.lists(
    st.lists(st.builds("{},NVIDIA,{},{}:".format, UUIDS, NUMBERS, NUMBERS), max_size=4).map("".join), max_size=5
).map(";".join)
TEXTS: Final = LINES | st.builds("{}{}".format, LINES, st.sampled_from([",,", ";a,b,c,-1:", "\ud800"])) | st.text()
ALLOCATIONS: Final = st.text(max_size=5) | st.lists(
    st.builds(allocation, st.integers(-1, 3), UUIDS, st.sampled_from(["", MIG1, A]), st.integers(0, 2)), max_size=3
).map(json.dumps)
AMOUNTS: Final = st.integers(-1, 5) | st.sampled_from([None, 100, 4000, 10**30])
HAMIS: Final = (COUNT, MEMORY, PERCENTAGE, CORES)
ASKS: Final = st.one_of(
    st.fixed_dictionaries({COUNT: st.integers(1, 3)}, optional=dict.fromkeys([MEMORY, PERCENTAGE, CORES], AMOUNTS)),
    st.fixed_dictionaries({V_COUNT: st.integers(1, 3)}, optional=dict.fromkeys([V_MEMORY, V_PERCENTAGE], AMOUNTS)),
    st.dictionaries(st.sampled_from([*HAMIS, V_COUNT, MIG_PLUGIN, "cambricon.com/vmlu"]), AMOUNTS),
)
CONTAINERS: Final = st.lists(
    st.builds(
        Container,
        st.sampled_from(["a", "b", "c", "d", "e"]) | st.text(min_size=1, max_size=100),
        st.sampled_from(["app", "app", "init", "sidecar", "ephemeral"]),
        asks=ASKS,
        finished=st.sampled_from([False, False, True]),
    ),
    max_size=5,
    unique_by=lambda made: made.name,
).map(tuple)
ANNOTATIONS: Final = st.fixed_dictionaries(
    {},
    optional={
        ANNOTATION: TEXTS,
        OLD: TEXTS,
        VOLCANO: TEXTS,
        "hami.io/cambricon-mlu-devices-allocated": TEXTS,
        "hami.io/vgpu-mig-allocations": ALLOCATIONS,
        "hami.io/vgpu-node": st.sampled_from([NODE, NODE, NODE, "gpu-2"]),
    },
)
PODS: Final = st.builds(
    Pod,
    st.just(UID) | st.text(),
    st.text(),
    st.text(),
    st.sampled_from([NODE, NODE, NODE, "gpu-2"]),
    st.text(),
    CONTAINERS,
    finished=st.sampled_from([False, False, False, True]),
    claims=st.booleans(),
    annotations=ANNOTATIONS,
)


@given(PODS, st.booleans())
def test_no_pod_makes_it_raise(case: Pod, whole_cluster: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
    """Every pod yields one item per container that lives, and failures of the closed list with bounded keys."""
    found, failures = grants(case, None, NODE, FAMILIES) if whole_cluster else grants(case, HERE, NODE)
    names = {each.name for each in case.containers if not each.finished and not case.finished}
    unplaced = any(failure.reason == "grant_unplaced" for failure in failures)
    assert set(found) in ({*names}, {*names, ""} if unplaced else {*names})
    assert all(failure.reason in FAILURE_REASONS and len(failure.key) <= 129 for failure in failures)
    assert all(total.memory >= 0 and total.cores >= 0 for total in held([(case, found)]).values())


@given(PODS)
def test_no_annotation_reaches_a_container_that_does_not_ask(case: Pod) -> None:
    """A container without a request for vGPUs holds nothing, on whatever GPU, whatever the annotations say."""
    found, _ = grants(case, HERE, NODE)
    for each in case.containers:
        if each.name in found and (each.kind == "ephemeral" or not {*HAMIS, V_COUNT, V_MEMORY} & set(each.asks)):
            assert found[each.name].grants == ()
            assert found[each.name].source != "hami"


def asked(each: Container, name: str) -> int:
    """Return how much a container asks of a resource, in whole numbers above 0; 0 for anything else."""
    return max(each.asks.get(name) or 0, 0)


def counted(each: Container) -> int:
    """Return how many vGPUs a container asks for: one where it only says how large."""
    only_size = any(each.asks.get(name, 0) != 0 for name in (MEMORY, PERCENTAGE, CORES))
    return asked(each, COUNT) if COUNT in each.asks else int(only_size)


@given(CONTAINERS, TEXTS, ALLOCATIONS)
def test_no_annotation_gives_more_than_the_request_or_the_card(
    containers: tuple[Container, ...], text: str, allocations: str
) -> None:
    """What a container, or the pod, holds stays within its requests and on cards that are here, each named once."""
    case = pod(*containers, text=text)
    case = replace(case, annotations={**case.annotations, "hami.io/vgpu-mig-allocations": allocations})
    found, _ = grants(case, HERE, NODE)
    living = [each for each in containers if not each.finished and each.kind != "ephemeral" and counted(each)]
    for name, holder in found.items():
        askers = [each for each in living if name in ("", each.name)]
        counts = [counted(each) for each in askers]
        assert {grant.uuid for grant in holder.grants} <= set(HERE)
        assert len({grant.uuid for grant in holder.grants}) == len(holder.grants) <= sum(counts)
        memory = [grant.memory or 0 for grant in holder.grants]
        if all(asked(each, MEMORY) for each in askers):
            assert sum(memory) <= sum(counted(each) * asked(each, MEMORY) * MIB for each in askers)
        assert all(grant.memory is not None for grant in holder.grants)
        assert sum(grant.memory or 0 for grant in holder.grants if grant.uuid in (A, B)) <= sum(counts) * GRANTABLE
        cores = [min(asked(each, CORES) or 100, 100) * counted(each) / 100 for each in askers]
        assert sum(grant.cores or 0 for grant in holder.grants) <= sum(cores) + 1e-9


@given(CONTAINERS, ANNOTATIONS)
def test_rewriting_an_annotation_makes_no_new_failure_keys(
    containers: tuple[Container, ...], annotations: dict[str, str]
) -> None:
    """Keys name the pod or a container, never what the text says, so each thing counts once and they stay few."""
    _, failures = grants(replace(pod(*containers), annotations=annotations), HERE, NODE)
    assert {failure.key for failure in failures} <= {UID, *(f"{UID}/{each.name[:64]}" for each in containers)}


def test_failure_keys_are_bounded() -> None:
    """Names longer than Kubernetes allows do not make longer keys."""
    case = Pod("u" * 9999, "team", "p", NODE, "", (container("c" * 9999, VGPU),), annotations={ANNOTATION: device("x")})
    assert grants(case, KNOWN, NODE)[1] == {Failure("grant_unknown_device", f"{'u' * 64}/{'c' * 64}")}


def test_init_containers_hold_what_the_apps_hold_afterwards() -> None:
    """Per pod and GPU: the larger of the largest init container and apps with sidecars, memory and cores each."""
    case = pod(
        container("i1", VGPU, "init"),
        container("s", VGPU, "sidecar"),
        container("i2", VGPU, "init"),
        container("a1", VGPU),
        container("a2", VGPU),
    )
    by_name = {
        "i1": hami(grant(A, 9000, 0.1), grant(B, 500, None)),
        "s": hami(grant(A, 1000, 0.25)),
        "i2": hami(grant(A, 100, 0.2)),
        "a1": hami(grant(A, 2000, 0.25)),
        "a2": hami(grant(A, 3000, None), grant(C, 700, 0.5)),
    }
    assert held([(case, by_name)]) == {
        A: Held(9000 * MIB, 0.5, 5),
        B: Held(500 * MIB, 0.0, 1),
        C: Held(700 * MIB, 0.5, 1),
    }


@pytest.mark.parametrize(
    ("text", "memory", "containers"),
    [
        pytest.param(f"{device(memory=2000)};", 2000, 1, id="2.8.3-init-has-none"),
        pytest.param(f"{device()};{device(memory=2000)};", 4000, 2, id="2.9.0-init-first"),
        pytest.param(f"{device(memory=1000)};{device(memory=2000)};", 2000, 2, id="2.10.0-smaller-init"),
    ],
)
def test_there_is_one_ledger_for_every_release(text: str, memory: int, containers: int) -> None:
    """What 2.8.3, 2.9.0 or 2.10.0 wrote for an init container and an app: the larger of both is held, not the sum."""
    case = pod(GPU_INIT, GPU, text=text)
    assert held([(case, grants(case, KNOWN, NODE)[0])]) == {A: Held(memory * MIB, 0.3, containers)}


def test_a_native_sidecar_runs_beside_the_app() -> None:
    """2.9.0 and 2.10.0 write a sidecar's entry among the init containers; what it holds is added to the app's."""
    case = pod(GPU_SIDECAR, GPU, text=f"{D1};{D1};")
    assert held([(case, grants(case, KNOWN, NODE)[0])]) == {A: Held(8000 * MIB, 0.6, 2)}


def test_an_init_container_that_ended_holds_nothing() -> None:
    """Once it is done only the app's grant is left, whatever the init container had (2.10.0 shrinks so, too)."""
    case = pod(replace(GPU_INIT, finished=True), GPU, text=f"{D1};{device(memory=2000)};")
    assert held([(case, grants(case, KNOWN, NODE)[0])]) == {A: Held(2000 * MIB, 0.3, 1)}


def test_what_the_pod_holds_as_a_whole_counts_once() -> None:
    """Devices that cannot be placed are held while the pod runs, by one holder on each GPU, beside its containers."""
    found = {"g1": hami(grant()), "": whole_pod(grant(), grant(B))}
    assert held([(pod(G1, G2), found)]) == {A: Held(8000 * MIB, 0.6, 2), B: Held(4000 * MIB, 0.3, 1)}


def test_pods_add_up_on_a_gpu() -> None:
    """Each pod's share of a GPU is added; containers without a grant, or not in the mapping, hold nothing."""
    case = pod(G1, G2, SIDE)
    found = {"g1": hami(grant()), "side": NOTHING}
    assert held([(case, found), (case, found)]) == {A: Held(8000 * MIB, 0.6, 2)}


def test_nobody_holds_anything_without_pods() -> None:
    """No pods, no totals."""
    assert held([]) == {}
