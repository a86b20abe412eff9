"""Pods as JSON: what they hold, what HAMi counts, why they wait, and what quotas select them by."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import ManifestError
from exporter.hami.families import FAMILIES, NVIDIA
from exporter.holdings import holding
from exporter.model import Failure

if TYPE_CHECKING:
    from exporter.quota_model import Holding, PendingReason

Json = dict[str, Any]

MIB: Final = 2**20
COUNT, MEMORY, CORES = "nvidia.com/gpu", "nvidia.com/gpumem", "nvidia.com/gpucores"
PERCENTAGE: Final = "nvidia.com/gpumem-percentage"
VGPU: Final = {COUNT: "1", MEMORY: "4000", CORES: "30"}
A: Final = "GPU-a,NVIDIA,4000,30:"
B: Final = "GPU-b,NVIDIA,4000,30:"
KEY, NODE_KEY = "hami.io/vgpu-devices-allocated", "hami.io/vgpu-node"


def container(name: str = "main", asks: Json | None = None, **fields: object) -> Json:
    """Return a container that asks for these."""
    return {"name": name, "resources": {"limits": asks or {}}, **fields}


def pod(
    *containers: Json,
    text: str | None = None,
    node: str | None = "n1",
    init: tuple[Json, ...] = (),
    annotations: Json | None = None,
    spec: Json | None = None,
    status: Json | None = None,
) -> Json:
    """Return a pod's JSON; `text` is HAMi's annotation, `node` where it runs and where HAMi sent it."""
    written = {} if text is None else {KEY: text, NODE_KEY: "n1"}
    return {
        "metadata": {"uid": "u1", "namespace": "team", "name": "work", "annotations": written | (annotations or {})},
        "spec": {"nodeName": node, "initContainers": list(init), "containers": list(containers)} | (spec or {}),
        "status": {"phase": "Running"} | (status or {}),
    }


def held(raw: Json) -> Holding:
    """Return what is made of it."""
    found = holding(raw, FAMILIES)
    assert found is not None
    return found


def nvidia(devices: int, mib: int, cores: float) -> dict[str, object]:
    """Return amounts of NVIDIA's resources."""
    return {COUNT: devices, MEMORY: mib * MIB, CORES: pytest.approx(cores)}


# ---------------------------------------------------------------- what it holds


@pytest.mark.parametrize(
    ("raw", "granted"),
    [
        pytest.param(pod(container(asks=VGPU), text=f"{A};"), nvidia(1, 4000, 0.3), id="one-gpu"),
        pytest.param(
            pod(container(asks=VGPU | {COUNT: "2"}), text=f"{A}{B};"), nvidia(2, 8000, 0.6), id="scenario-12-two-gpus"
        ),
        pytest.param(
            pod(container(asks={COUNT: 1, PERCENTAGE: "20"}), text="GPU-a,NVIDIA,4606,0:;"),
            nvidia(1, 4606, 0.0),
            id="scenario-2-a-percentage-as-it-was-resolved",
        ),
        pytest.param(
            pod(container(asks={COUNT: "1"}), text="GPU-a,NVIDIA,23034,100:;"), nvidia(1, 23034, 1.0), id="whole-card"
        ),
        pytest.param(
            pod(container(asks={MEMORY: "4000"}), text="GPU-a,NVIDIA,4000,0:;"),
            nvidia(1, 4000, 0.0),
            id="scenario-6-cores-without-a-limit-add-nothing",
        ),
        pytest.param(
            pod(container(asks=VGPU | {COUNT: "2"}), text=f"{A}{A};"), nvidia(2, 8000, 0.6), id="two-slices-of-one-gpu"
        ),
        pytest.param(
            pod(container("g1", VGPU), container("g2", VGPU), init=(container("init"),), text=f"{A};{B};"),
            nvidia(2, 8000, 0.6),
            id="scenario-13-no-slot-for-the-init-container",
        ),
        pytest.param(
            pod(container("g1", VGPU), container("g2", VGPU), init=(container("init"),), text=f",,0,0:;{A};{B};"),
            nvidia(2, 8000, 0.6),
            id="scenario-13-an-empty-slot-for-it",
        ),
        pytest.param(
            pod(container("app", {COUNT: "1", MEMORY: "1000"}), init=(container("init", VGPU),),
                text=f"{A};GPU-a,NVIDIA,1000,0:;"),
            nvidia(1, 4000, 0.3),
            id="the-larger-of-init-and-app-on-the-same-gpu",
        ),
        pytest.param(
            pod(container("app", VGPU), init=(container("init", VGPU | {COUNT: "3"}),),
                text=f"{A}{A}{A};{B};"),
            nvidia(3, 16000, 1.2),
            id="each-gpu-by-itself",
        ),
        pytest.param(
            pod(container("app", VGPU), init=(container("i1", VGPU | {COUNT: "2"}), container("i2", VGPU)),
                text=f"{A}{B};{A};{A};"),
            nvidia(2, 8000, 0.6),
            id="init-containers-run-one-after-the-other",
        ),
        pytest.param(
            pod(container("app", VGPU), init=(container("side", VGPU, restartPolicy="Always"),), text=f"{A};{A};"),
            nvidia(2, 8000, 0.6),
            id="scenario-14-a-sidecar-stays-beside-the-app",
        ),
        pytest.param(
            pod(container(asks={"cambricon.com/vmlu": "1", "cambricon.com/mlu.smlu.vmemory": "4"}),
                annotations={"hami.io/cambricon-mlu-devices-allocated": "n1-mlu-0,MLU,1024,10:;", NODE_KEY: "n1"}),
            {"cambricon.com/vmlu": 1, "cambricon.com/mlu.smlu.vmemory": 1024 * MIB,
             "cambricon.com/mlu.smlu.vcore": 0.1},
            id="another-family",
        ),
    ],
)  # fmt: skip
def test_what_a_pod_holds(raw: Json, granted: dict[str, object]) -> None:
    """Every device counts, as the annotation says within what was asked; init containers run before the apps."""
    found = held(raw)
    assert dict(found.granted) == granted
    assert found.failures == frozenset()


@pytest.mark.parametrize(
    ("raw", "granted"),
    [
        pytest.param(
            pod(container(asks={"volcano.sh/vgpu-number": "1", "volcano.sh/vgpu-memory": "400"}),
                annotations={"volcano.sh/vgpu-ids-new": "GPU-a,NVIDIA,400,10:;"}),
            {"volcano.sh/vgpu-number": 1, "volcano.sh/vgpu-cores": 0.1}, id="memory"),
        pytest.param(
            pod(container(asks={"amd.com/gpu": "1", "amd.com/gpumem": "400", "amd.com/gpucores": "50"}),
                annotations={"hami.io/amd-devices-allocated": "GPU-a,AMD,400,52:;"}),
            {"amd.com/gpu": 1, "amd.com/gpumem": 400 * MIB}, id="cores"),
    ],
)  # fmt: skip
def test_a_figure_in_a_unit_that_nobody_knows_is_absent(raw: Json, granted: dict[str, float]) -> None:
    """The devices are counted, the figure is not, and it is told why."""
    found = held(raw)
    assert dict(found.granted) == granted
    assert found.failures == {Failure("grant_unit_unknown", "u1/main")}


@pytest.mark.parametrize(
    ("raw", "reason", "key"),
    [
        pytest.param(pod(container(), text=f"{A};"), "grant_unasked", "u1", id="asks-for-nothing"),
        pytest.param(pod(container(asks=VGPU), text=f"{A};", node="n2"), "grant_other_node", "u1", id="edge-10-node"),
        pytest.param(pod(container(asks=VGPU), text="nonsense,"), "annotation_unreadable", "u1", id="nonsense"),
    ],
)
def test_a_forged_annotation_does_not_eat_a_quota(raw: Json, reason: str, key: str) -> None:
    """What nobody asked for, or what is for another node, is nobody's grant; it is counted."""
    found = held(raw)
    assert (dict(found.granted), found.containers) == ({}, 0)
    assert found.failures == {Failure(reason, key)}


def test_what_fits_no_container_is_the_pod_s() -> None:
    """HAMi 2.3.9 wrote all containers as one entry: what they asked for together bounds what the pod holds."""
    found = held(pod(container("g1", VGPU), container("g2", VGPU), text=f"{A}{B}GPU-c,NVIDIA,1,1:;"))
    assert (dict(found.granted), found.containers) == (nvidia(2, 8000, 0.6), 1)
    assert found.failures == {Failure("grant_unplaced", "u1"), Failure("grant_above_request", "u1")}


def test_more_than_asked_is_cut() -> None:
    """An annotation of a terabyte on three cards is what the pod asked for: one card with 4000 MiB."""
    found = held(pod(container(asks=VGPU), text="GPU-a,NVIDIA,1000000,100:GPU-b,NVIDIA,1,1:GPU-c,NVIDIA,1,1:;"))
    assert dict(found.granted) == nvidia(1, 4000, 0.3)
    assert found.failures == {Failure("grant_above_request", "u1/main")}


def test_what_the_mig_instances_are_called_does_not_matter() -> None:
    """A quota counts devices; the record of instances, even a broken one, changes nothing and is no failure here."""
    found = held(pod(container(asks=VGPU), text=f"{A};", annotations={"hami.io/vgpu-mig-allocations": "broken"}))
    assert dict(found.granted) == nvidia(1, 4000, 0.3)
    assert found.failures == frozenset()


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_finished_pod_holds_nothing(phase: str) -> None:
    """Scenario 15: a completed Job's pod that is still in the API holds nothing, for us and for HAMi."""
    found = held(pod(container(asks=VGPU), text=f"{A};", status={"phase": phase}))
    assert (dict(found.granted), dict(found.hami), found.containers, found.pending) == ({}, {}, 0, None)


def test_a_pod_that_is_not_bound_holds_nothing_yet() -> None:
    """HAMi counts a pod from the moment it has chosen a node; it is bound, and holds it, a moment later or never."""
    found = held(pod(container(asks=VGPU), text=f"{A};", node=None))
    assert (dict(found.granted), found.failures) == ({}, frozenset())
    assert dict(found.hami) == {MEMORY: 4000, CORES: 30}


def test_containers_with_a_grant_are_counted() -> None:
    """Two of the three containers hold one, whatever number of GPUs."""
    found = held(pod(container("a", VGPU | {COUNT: "2"}), container("b"), container("c", VGPU), text=f"{A}{B};{A};"))
    assert (found.node, found.containers) == ("n1", 2)


# ---------------------------------------------------------------- how HAMi counts it


@pytest.mark.parametrize(
    ("raw", "hami"),
    [
        pytest.param(
            pod(container("app", VGPU), init=(container("init", VGPU),), text=f"{A};{B}{B};"),
            {MEMORY: 12000, CORES: 90},
            id="every-device-of-every-entry",
        ),
        pytest.param(pod(container(), text="GPU-a,NVIDIA,9999,99:;"), {MEMORY: 9999, CORES: 99}, id="forged-too"),
        pytest.param(pod(container(asks=VGPU), annotations={KEY: f"{A};"}), {}, id="no-chosen-node"),
        pytest.param(pod(container(asks=VGPU), text="broken,"), {}, id="unreadable"),
        pytest.param(
            pod(container(asks=VGPU), annotations={"4pd.io/vgpu-ids-new": A, "4pd.io/vgpu-node": "n1"}),
            {},
            id="written-before-hami-had-quotas",
        ),
    ],
)
def test_what_hami_counts(raw: Json, hami: dict[str, int]) -> None:
    """HAMi adds up what stands in the annotation, in its own units, and asks for no request."""
    assert dict(held(raw).hami) == hami


# ---------------------------------------------------------------- why it waits

NODES: Final = "0/3 nodes are available: "


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        pytest.param(NODES + "1 1/8 ResourceQuotaNotFit, 2 node unregistered.", "quota", id="hami-quota"),
        pytest.param("pods exceeded quota: budget, requested: nvidia.com/gpu=1", "quota", id="kubernetes-quota"),
        pytest.param(NODES + "3 2/8 CardInsufficientMemory, 6/8 CardInsufficientCore.", "memory", id="hami-memory"),
        pytest.param(NODES + "3 Insufficient nvidia.com/gpumem.", "memory", id="kubernetes-memory"),
        pytest.param(NODES + "3 8/8 CardInsufficientCore.", "cores", id="hami-cores"),
        pytest.param(NODES + "3 8/8 CardComputeUnitsExhausted.", "cores", id="hami-no-core-left"),
        pytest.param(NODES + "2 Insufficient nvidia.com/gpucores, 1 Insufficient cpu.", "cores", id="kubernetes-cores"),
        pytest.param(NODES + "3 Insufficient nvidia.com/gpu. preemption: 0/3", "no_card", id="kubernetes-devices"),
        pytest.param(NODES + "1 Insufficient huawei.com/Ascend910B2, 2 x", "no_card", id="another-family"),
        pytest.param(NODES + "1 NodeUnfitPod, 2 node unregistered.", "no_card", id="hami-2.9"),
        pytest.param(NODES + "3 node unregisterd.", "no_card", id="hami-2.3-misspelled"),
        pytest.param(NODES + "3 8/8 CardTypeMismatch", "no_card", id="hami-type"),
        pytest.param(NODES + "3 8/8 CardUuidMismatch", "no_card", id="hami-uuid"),
        pytest.param(NODES + "3 8/8 NumaNotFit", "no_card", id="hami-numa"),
        pytest.param("no available node, all node scores do not meet", "no_card", id="hami-2.3"),
        pytest.param("0/1 nodes are unavailable: 1 hami-vgpuDeviceSharing error.", "no_card", id="volcano"),
        pytest.param(NODES + "3 Insufficient memory, 2 Insufficient cpu.", "other", id="the-host-s-memory"),
        pytest.param(NODES + "3 node(s) had untolerated taint {gpu: on}.", "other", id="taint"),
        pytest.param("Insufficient ", "other", id="cut-off"),
        pytest.param("", "other", id="nothing-said"),
    ],
)
def test_why_a_pod_waits(message: str, reason: PendingReason) -> None:
    """The scheduler's message says it; of several reasons the namespace's own quota goes before the cluster's cards."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    raw = pod(container(asks=VGPU), node=None, status={"phase": "Pending", "conditions": [{"type": "X"}, condition]})
    assert held(raw).pending == reason


@pytest.mark.parametrize("conditions", [None, [], "x", [{"type": "PodScheduled", "status": "True"}], [5]])
def test_a_pod_that_nobody_looked_at_yet_waits_too(conditions: object) -> None:
    """Without a word of the scheduler the reason is another one."""
    raw = pod(container(asks=VGPU), node=None, status={"phase": "Pending", "conditions": conditions})
    assert held(raw).pending == "other"


def test_who_is_not_pending() -> None:
    """A bound pod waits for no scheduler, a finished one no more, and one that asks for no vGPU is not ours."""
    assert held(pod(container(asks=VGPU), status={"phase": "Pending"})).pending is None
    assert held(pod(container(asks=VGPU), node=None, status={"phase": "Failed"})).pending is None
    assert held(pod(container(), text=f"{A};", node=None)).pending is None


# ---------------------------------------------------------------- what quotas select it by


def test_facts_for_scopes() -> None:
    """Quotas select by deadline, quality of service, priority and affinity; a pod without them has none."""
    raw = pod(
        container(asks=VGPU),
        spec={"activeDeadlineSeconds": 0, "priorityClassName": "high"},
        status={"qosClass": "BestEffort"},
    )
    found, plain = held(raw), held(pod(container(asks=VGPU)))
    assert (found.terminating, found.best_effort, found.priority_class) == (True, True, "high")
    assert (plain.terminating, plain.best_effort, plain.priority_class, plain.cross_namespace) == (False,) * 2 + (
        "",
        False,
    )


REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"


@pytest.mark.parametrize(
    ("affinity", "crosses"),
    [
        pytest.param({"podAffinity": {REQUIRED: [{"namespaces": ["other"]}]}}, True, id="named"),
        pytest.param({"podAntiAffinity": {REQUIRED: [{}, {"namespaceSelector": {}}]}}, True, id="all"),
        pytest.param(
            {"podAffinity": {PREFERRED: [{"podAffinityTerm": {"namespaces": ["other"]}}]}}, True, id="preferred"
        ),
        pytest.param({"podAffinity": {REQUIRED: [{"namespaces": []}]}}, False, id="its-own"),
        pytest.param({"nodeAffinity": {REQUIRED: {"namespaces": ["x"]}}}, False, id="nodes"),
        pytest.param("x", False, id="nonsense"),
    ],
)
def test_affinity_to_other_namespaces(affinity: object, *, crosses: bool) -> None:
    """Terms that name or select namespaces cross them, as Kubernetes' quotas tell it."""
    assert held(pod(container(asks=VGPU), spec={"affinity": affinity})).cross_namespace is crosses


# ---------------------------------------------------------------- most pods of a cluster


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(pod(container(asks={"cpu": "1"})), id="cpu"),
        pytest.param(pod(container(asks={COUNT: "0"})), id="asks-for-0"),
        pytest.param(pod(container(asks={"nvidia.com/mig-1g.10gb": "1"})), id="the-device-plugin-s"),
        pytest.param(pod(container(), annotations={"hami.io/bind-phase": "success"}), id="a-word-of-hami"),
        pytest.param(pod(), id="no-containers"),
    ],
)
def test_a_pod_without_accelerators_of_hami_is_nothing(raw: Json) -> None:
    """Nothing is kept of it."""
    assert holding(raw, FAMILIES) is None


@pytest.mark.parametrize("raw", [None, [], {}, {"metadata": {"uid": "u", "name": "n"}}, {"metadata": {"uid": 5}}])
def test_what_is_no_pod_is_refused(raw: object) -> None:
    """Without uid, namespace and name it is none, whether it asks for anything or not."""
    with pytest.raises(ManifestError):
        holding(raw, FAMILIES)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["1", VGPU]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["resources", "limits", "conditions", "affinity", "podAffinity", REQUIRED, KEY, COUNT]),
            inner,
        )
    ),
    max_leaves=20,
)


@given(json_values, json_values, json_values, json_values)
def test_any_json_is_a_holding_or_none(containers: object, annotations: object, spec: object, status: object) -> None:
    """A pod with a name is cut down or left out, whatever else stands in it."""
    raw = pod(container(asks=VGPU))
    raw["metadata"]["annotations"] = annotations
    raw["spec"] |= {"containers": containers, "affinity": spec, "activeDeadlineSeconds": spec}
    raw["status"] = {"conditions": status, "qosClass": status}
    found = holding(raw, FAMILIES)
    assert found is None or found.namespace == "team"


# ---------------------------------------------------------------- by other names


def test_resources_by_names_of_the_owners_choice_count_like_any() -> None:
    """HAMi's chart can rename NVIDIA's resources to any domain: a pod that asks by such names holds its grant."""
    chosen = replace(NVIDIA, count="example.com/vgpu", memory="example.com/vgpu-mib", cores="example.com/vgpu-share")
    families = [chosen if family is NVIDIA else family for family in FAMILIES]
    raw = pod(container(asks={chosen.count: "1", chosen.memory: "3000", chosen.cores: "30"}), text=f"{A};")

    found = holding(raw, families)

    assert found is not None
    assert found.granted == {chosen.count: 1, chosen.memory: 3000 * MIB, chosen.cores: pytest.approx(0.3)}
    assert holding(raw, [family for family in families if family is not chosen]) is not None  # the annotation is there
    assert holding(pod(container(asks={chosen.count: "1"})), FAMILIES) is None
