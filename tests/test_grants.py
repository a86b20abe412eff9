"""Law 8: grants held against requests; each kind of answer, each release's annotation, and what tenants may forge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import FAILURE_REASONS
from exporter.grants import Resources, grants, held
from exporter.model import Container, ContainerGrants, Failure, Grant, Held, Pod

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.model import ContainerKind, GrantSource

MIB: Final = 1024 * 1024
A, B, C = "GPU-aaaaaaaa", "GPU-bbbbbbbb", "GPU-cccccccc"
KNOWN: Final = (A, B, C)
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


def hami(*given: Grant) -> ContainerGrants:
    """Return grants that come from the annotation."""
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
        pytest.param(f"{device()};{device(B)};", NODE, "unreadable", "grant_unplaced", id="more-entries-than-askers"),
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
        pytest.param(VGPU | {COUNT: 2}, device() * 2, hami(grant(A, 8000, 0.6)), id="two-slices-of-one-gpu"),
        pytest.param(
            VGPU | {COUNT: 2}, device() + device(cores=0), hami(grant(A, 8000, None)), id="one-slice-without-a-limit"
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
        pytest.param(VGPU, device() + device(B), hami(grant()), id="devices"),
        pytest.param(VGPU, device() * 2, hami(grant()), id="the-same-device-twice"),
        pytest.param(VGPU | {COUNT: 2}, device(memory=9000) * 2, hami(grant(A, 8000, 0.6)), id="slices"),
    ],
)
def test_more_than_asked_is_capped_and_counted(asks: dict[str, int | None], text: str, given: ContainerGrants) -> None:
    """Devices beyond the count, and memory and cores beyond the integer request, are cut off and counted once."""
    case = pod(container("c", asks), text=f"{text};")
    assert grants(case, KNOWN, NODE) == ({"c": given}, failed("grant_above_request", "c"))


def test_a_gpu_that_is_not_here_is_dropped_and_counted() -> None:
    """A UUID that the node does not have grants nothing; the container's other GPUs stand."""
    case = pod(container("c", VGPU | {COUNT: 2}), text=f"{device('GPU-elsewhere')}{device(B)};")
    assert grants(case, KNOWN, NODE) == ({"c": hami(grant(B))}, failed("grant_unknown_device", "c"))


def test_a_container_with_no_known_gpu_is_unreadable() -> None:
    """It asks, but nothing says which of this node's cards: not known, rather than 0."""
    case = pod(container("c", VGPU), text=f"{device('GPU-elsewhere')};")
    assert grants(case, KNOWN, NODE) == ({"c": ContainerGrants("unreadable")}, failed("grant_unknown_device", "c"))


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
    renamed = Resources("x.com/vgpu", "x.com/mem", "x.com/mem-percentage", "x.com/cores", memory_factor=1024)
    case = pod(container("c", {"x.com/vgpu": 1, "x.com/mem": 4}), text=f"{device(memory=5000)};")
    assert grants(case, KNOWN, NODE, renamed) == (
        {"c": hami(grant(memory=4096))},
        failed("grant_above_request", "c"),
    )


SIDE, GPU, G1, G2 = container("side"), container("gpu", VGPU), container("g1", VGPU), container("g2", VGPU)
INIT, GPU_INIT = container("init", kind="init"), container("init", VGPU, "init")
GPU_SIDECAR, DEBUG = container("sidecar", VGPU, "sidecar"), container("debug", kind="ephemeral")
D1, D2 = device(A), device(B)
LONE, BOTH = {"side": NOTHING, "gpu": hami(grant())}, {"g1": hami(grant()), "g2": hami(grant(B))}
WITH_INIT = {"init": NOTHING, "gpu": hami(grant())}


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        pytest.param(pod(SIDE, GPU, text=f";{D1};"), LONE, id="side,gpu-2.8"),
        pytest.param(pod(SIDE, GPU, text=f";{D1};"), LONE, id="side,gpu-2.9.0"),
        pytest.param(pod(SIDE, GPU, text=f"{D1};"), LONE, id="side,gpu-2.10.0"),
        pytest.param(pod(G1, G2, text=f"{D1};{D2};"), BOTH, id="g1,g2-every-release"),
        pytest.param(pod(INIT, GPU, text=f"{D1};"), WITH_INIT, id="init,gpu-2.8"),
        pytest.param(pod(INIT, GPU, text=f";{D1};"), WITH_INIT, id="init,gpu-2.9.0"),
        pytest.param(pod(INIT, GPU, text=f"{D1};"), WITH_INIT, id="init,gpu-2.10.0"),
        pytest.param(pod(INIT, GPU, text=f",,0,0:;{D1};"), WITH_INIT, id="init,gpu-other-empty"),
        pytest.param(pod(SIDE, G1, G2, text=f";{D1};{D2};"), {"side": NOTHING} | BOTH, id="side,g1,g2-2.8"),
        pytest.param(pod(SIDE, G1, G2, text=f";{D1};{D2};"), {"side": NOTHING} | BOTH, id="side,g1,g2-2.9.0"),
        pytest.param(pod(SIDE, G1, G2, text=f"{D1};{D2};"), {"side": NOTHING} | BOTH, id="side,g1,g2-2.10.0"),
        pytest.param(pod(INIT, G1, G2, text=f"{D1};{D2};"), {"init": NOTHING} | BOTH, id="issue-2899"),
        pytest.param(
            pod(GPU_INIT, GPU, text=f"{D1};"),
            {"init": ContainerGrants("pending"), "gpu": hami(grant())},
            id="gpu-init,gpu-2.8",
        ),
        pytest.param(
            pod(GPU_INIT, GPU, text=f"{D1};{D2};"),
            {"init": hami(grant()), "gpu": hami(grant(B))},
            id="gpu-init,gpu-2.9.0",
        ),
        pytest.param(
            pod(GPU_SIDECAR, INIT, SIDE, GPU, DEBUG, text=f"{D1};;;{D2};"),
            {"sidecar": hami(grant()), "init": NOTHING, "side": NOTHING, "gpu": hami(grant(B)), "debug": NOTHING},
            id="gpu-sidecar-2.9.0",
        ),
        pytest.param(
            pod(SIDE, GPU, container("c"), container("d"), container("e"), text=f"{D1};;,,0,0:;,,0,0:;,,0,0:;"),
            LONE | {"c": NOTHING, "d": NOTHING, "e": NOTHING},
            id="issue-991-wrong-position",
        ),
    ],
)
def test_each_release_s_annotation_reaches_the_right_container(case: Pod, expected: dict[str, ContainerGrants]) -> None:
    """Whatever slots a release writes, the card goes to the container that asked, and 0 to those that did not."""
    assert grants(case, KNOWN, NODE) == (expected, NO_FAILURE)


ALL: Final = [A, B, C, "GPU-elsewhere", "", f"{A}[1-0]"]
NUMBERS: Final = st.sampled_from([0, 1, 30, 100, 4000, 2**31 - 1, 2**31, -1])
TEXTS: Final = (
    st.lists(
        st.lists(st.builds("{},NVIDIA,{},{}:".format, st.sampled_from(ALL), NUMBERS, NUMBERS), max_size=4).map("".join),
        max_size=5,
    ).map(";".join)
    | st.text()
)
ASKS: Final = st.dictionaries(
    st.sampled_from([COUNT, MEMORY, PERCENTAGE, CORES, MIG_PLUGIN, "x.com/y"]),
    st.integers(-1, 5) | st.sampled_from([None, 100, 10**30]),
)
CONTAINERS: Final = st.lists(
    st.builds(
        Container,
        st.sampled_from(["a", "b", "c", "d", "e"]) | st.text(max_size=100),
        st.sampled_from(["app", "init", "sidecar", "ephemeral"]),
        asks=st.just({}) | ASKS,
        finished=st.booleans(),
    ),
    max_size=5,
    unique_by=lambda made: made.name,
).map(tuple)
PODS: Final = st.builds(
    Pod,
    st.just(UID) | st.text(),
    st.text(),
    st.text(),
    st.sampled_from([NODE, NODE, "gpu-2"]),
    st.text(),
    CONTAINERS,
    finished=st.booleans(),
    claims=st.booleans(),
    annotations=st.fixed_dictionaries(
        {}, optional={ANNOTATION: TEXTS, "hami.io/vgpu-node": st.sampled_from([NODE, "gpu-2"])}
    ),
)


@given(PODS)
def test_no_pod_makes_it_raise(case: Pod) -> None:
    """Every pod yields one item per container that lives, and failures of the closed list with bounded keys."""
    found, failures = grants(case, KNOWN, NODE)
    assert set(found) == {each.name for each in case.containers if not each.finished and not case.finished}
    assert all(failure.reason in FAILURE_REASONS and len(failure.key) <= 129 for failure in failures)
    assert all(total.memory >= 0 and total.cores >= 0 for total in held([(case, found)]).values())


@given(PODS)
def test_no_annotation_reaches_a_container_that_does_not_ask(case: Pod) -> None:
    """A container without a request of HAMi's holds nothing, on whatever GPU, whatever the annotation says."""
    found, _ = grants(case, KNOWN, NODE)
    for each in case.containers:
        if each.name in found and (each.kind == "ephemeral" or not {COUNT, MEMORY, PERCENTAGE, CORES} & set(each.asks)):
            assert found[each.name].grants == ()
            assert found[each.name].source != "hami"


@given(CONTAINERS, TEXTS)
def test_no_annotation_gives_more_than_the_request(containers: tuple[Container, ...], text: str) -> None:
    """Devices, memory and cores stay within the integer request, and on GPUs that are here, each named once."""
    found, _ = grants(pod(*containers, text=text), KNOWN, NODE)
    asks = {each.name: each.asks for each in containers}
    for name, holder in found.items():
        count = max(asks[name].get(COUNT, 1) or 0, 0)
        memory, cores = asks[name].get(MEMORY) or 0, asks[name].get(CORES) or 0
        assert {grant.uuid for grant in holder.grants} <= set(KNOWN)
        assert len({grant.uuid for grant in holder.grants}) == len(holder.grants) <= count
        if memory > 0:
            assert sum(grant.memory for grant in holder.grants) <= count * memory * MIB
        limit = min(cores, 100) if cores > 0 else 100
        assert sum(grant.cores or 0 for grant in holder.grants) <= count * limit / 100 + 1e-9


@given(CONTAINERS, TEXTS)
def test_rewriting_an_annotation_makes_no_new_failure_keys(containers: tuple[Container, ...], text: str) -> None:
    """Keys name the pod or a container, never what the text says, so each thing counts once and they stay few."""
    _, failures = grants(pod(*containers, text=text), KNOWN, NODE)
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


def test_pods_add_up_on_a_gpu() -> None:
    """Each pod's share of a GPU is added; containers without a grant, or not in the mapping, hold nothing."""
    case = pod(G1, G2, SIDE)
    found = {"g1": hami(grant()), "side": NOTHING}
    assert held([(case, found), (case, found)]) == {A: Held(8000 * MIB, 0.6, 2)}


def test_nobody_holds_anything_without_pods() -> None:
    """No pods, no totals."""
    assert held([]) == {}
