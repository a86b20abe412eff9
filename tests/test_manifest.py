"""Pod JSON, good, odd and hostile, and the copy that a capture keeps."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter import manifest
from exporter.errors import ManifestError
from exporter.hami.families import FAMILIES

if TYPE_CHECKING:
    from exporter.hami.families import Family
    from exporter.model import Pod

Json = dict[str, Any]


def a_pod(**spec: object) -> Json:
    """Return the smallest pod there is, with these fields in its spec."""
    return {"metadata": {"uid": "u1", "namespace": "team", "name": "web"}, "spec": {"nodeName": "n1", **spec}}


def a_full_pod() -> Json:
    """Return a pod with everything that is read, and with things that must never be recorded."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "uid": "u1",
            "namespace": "team",
            "name": "web-5d4f8c7b9-abcde",
            "creationTimestamp": "2026-11-21T20:44:44Z",
            "labels": {"app": "web", "cost": "42", "pod-template-hash": "5d4f8c7b9", "secret": "s3cr3t"},
            "annotations": {
                "hami.io/vgpu-devices-allocated": "GPU-1,NVIDIA,1000,10:;",
                "hami.io/vgpu-node": "n1",
                "kubernetes.io/config.hash": "abc",
                "kubectl.kubernetes.io/last-applied-configuration": "s3cr3t",
            },
            "ownerReferences": [
                {"kind": "Thing", "name": "other", "uid": "o0"},
                {"kind": "ReplicaSet", "name": "web-5d4f8c7b9", "uid": "o1", "controller": True},
            ],
        },
        "spec": {
            "nodeName": "n1",
            "restartPolicy": "Always",
            "volumes": [{"name": "s3cr3t"}],
            "resourceClaims": [{"name": "gpu", "resourceClaimName": "s3cr3t"}],
            "initContainers": [
                {"name": "fetch", "image": "s3cr3t"},
                {"name": "proxy", "restartPolicy": "Always", "command": ["s3cr3t"]},
            ],
            "containers": [
                {
                    "name": "main",
                    "image": "s3cr3t",
                    "args": ["s3cr3t"],
                    "env": [{"name": "TOKEN", "value": "s3cr3t"}],
                    "resources": {
                        "limits": {"nvidia.com/gpu": "1", "nvidia.com/gpumem": "1000", "cpu": "2"},
                        "claims": [{"name": "gpu"}],
                    },
                }
            ],
            "ephemeralContainers": [{"name": "debug", "image": "s3cr3t"}],
        },
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "initContainerStatuses": [{"name": "fetch", "state": {"terminated": {"exitCode": 0, "message": "s3cr3t"}}}],
            "containerStatuses": [
                {
                    "name": "main",
                    "containerID": "containerd://new",
                    "image": "s3cr3t",
                    "state": {"running": {"startedAt": "2026-11-21T20:44:44Z"}},
                    "lastState": {"terminated": {"containerID": "containerd://old", "exitCode": 1}},
                }
            ],
        },
    }


def ended(exit_code: int, **fields: object) -> Json:
    """Return the status of container `c` that ended with that code."""
    return {"name": "c", "state": {"terminated": {"exitCode": exit_code}}, **fields}


def test_a_whole_pod() -> None:
    """Everything the program needs is taken from its place, and nothing else."""
    pod = manifest.pod(a_full_pod(), labels=frozenset({"app", "absent"}), tenant_label="cost")
    assert (pod.uid, pod.namespace, pod.name, pod.node) == ("u1", "team", "web-5d4f8c7b9-abcde", "n1")
    assert pod.created == "2026-11-21T20:44:44Z"
    assert pod.annotations == {
        "hami.io/vgpu-devices-allocated": "GPU-1,NVIDIA,1000,10:;",
        "hami.io/vgpu-node": "n1",
    }
    assert pod.labels == {"app": "web"}
    assert (pod.owner_kind, pod.owner_name) == ("Deployment", "web")
    assert (pod.config_hash, pod.tenant, pod.claims, pod.finished) == ("abc", "42", True, False)
    assert [(one.name, one.kind) for one in pod.containers] == [
        ("fetch", "init"),
        ("proxy", "sidecar"),
        ("main", "app"),
        ("debug", "ephemeral"),
    ]
    assert pod.containers[2].ids == ("new", "old")
    assert pod.containers[2].asks == {"nvidia.com/gpu": 1, "nvidia.com/gpumem": 1000}
    assert [one.finished for one in pod.containers] == [True, False, False, False]


@pytest.mark.parametrize("field", ["uid", "name", "namespace"])
@pytest.mark.parametrize("value", [None, "", 5, ["x"], "\ud800"])
def test_a_pod_without_identity_is_none(field: str, value: object) -> None:
    """Without a text as uid, name and namespace there is no pod; the message names what is known, shortened."""
    raw = a_pod()
    raw["metadata"] |= {"name": "w" * 500, field: value}
    with pytest.raises(ManifestError) as caught:
        manifest.pod(raw)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("metadata", "key"),
    [
        ({"namespace": "team", "name": "web", "uid": "u"}, "team/web"),
        ({"name": "web"}, "web"),
        ({"uid": "u"}, "u"),
        ({}, "unnamed"),
        (None, "unnamed"),
    ],
)
def test_the_key_is_the_best_name_there_is(metadata: object, key: str) -> None:
    """An object that is no pod can still be told apart and found again for deletion."""
    assert manifest.key({"metadata": metadata}) == key


@pytest.mark.parametrize("prefix", ["containerd://", "cri-o://", "docker://", ""])
def test_container_ids_are_bare(prefix: str) -> None:
    """The runtime's prefix goes, the current id comes first, repeated and empty ones are dropped."""
    raw = a_pod(containers=[{"name": "c"}])
    raw["status"] = {
        "containerStatuses": [
            {
                "name": "c",
                "containerID": f"{prefix}b",
                "state": {"terminated": {"containerID": f"{prefix}b", "exitCode": 1}},
                "lastState": {"terminated": {"containerID": f"{prefix}a", "exitCode": 1}},
            }
        ]
    }
    assert manifest.pod(raw).containers[0].ids == ("b", "a")


def test_a_waiting_container_has_its_previous_id_only() -> None:
    """In CrashLoopBackOff the current id may be empty; the previous instance's stays known."""
    raw = a_pod(containers=[{"name": "c"}])
    last = {"terminated": {"containerID": "docker://a", "exitCode": 1}}
    waiting = {"name": "c", "containerID": "", "state": {"waiting": {}}, "lastState": last}
    raw["status"] = {"containerStatuses": [waiting]}
    assert manifest.pod(raw).containers[0].ids == ("a",)


def test_limits_go_before_requests_resource_by_resource() -> None:
    """What is asked is the limit, else the request; zero and other resources do not count."""
    resources = {
        "limits": {"nvidia.com/gpu": "2", "nvidia.com/gpucores": "0", "memory": "8Gi"},
        "requests": {"nvidia.com/gpu": "1", "nvidia.com/gpucores": "50", "nvidia.com/gpumem": "2000m", "cpu": "1"},
    }
    pod = manifest.pod(a_pod(containers=[{"name": "c", "resources": resources}]))
    assert pod.containers[0].asks == {"nvidia.com/gpu": 2, "nvidia.com/gpumem": 2}


@pytest.mark.parametrize("amount", ["half", "0.5", "-1", None, [], "1e999999999"])
def test_an_amount_that_says_nothing_is_none(amount: object) -> None:
    """An accelerator asked for in a quantity that is no whole number is asked for all the same."""
    pod = manifest.pod(a_pod(containers=[{"name": "c", "resources": {"limits": {"nvidia.com/gpu": amount}}}]))
    assert pod.containers[0].asks == {"nvidia.com/gpu": None}


@pytest.mark.parametrize(
    "resource",
    [
        *("nvidia.com/gpu", "nvidia.com/mig-1g.10gb", "volcano.sh/vgpu-number", "4pd.io/vgpu", "cambricon.com/vmlu"),
        *("hygon.com/dcunum", "metax-tech.com/sgpu", "mthreads.com/vgpu", "iluvatar.ai/BI-V150-vgpu"),
        *("enflame.com/gcu", "kunlunxin.com/xpu", "aws.amazon.com/neuroncore", "amd.com/gpu", "vastaitech.com/va"),
        *("birentech.com/gpu", "huawei.com/Ascend910B3", "gpu.intel.com/i915", "habana.ai/gaudi"),
    ],
)
def test_accelerators_of_every_family(resource: str) -> None:
    """Every family that HAMi schedules, and the usual device plugins, count as accelerators."""
    pod = manifest.pod(a_pod(containers=[{"name": "c", "resources": {"requests": {resource: "1"}}}]))
    assert pod.containers[0].asks == {resource: 1}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_what_a_family_writes_and_asks_is_kept(family: Family) -> None:
    """Each family's annotations, and every resource of it, are there to hold one against the other; and in a copy."""
    resources = [family.count, family.memory, family.memory_percentage, family.cores]
    limits = {name: "3" for name in resources if name}
    raw = a_pod(containers=[{"name": "c", "resources": {"limits": limits}}])
    written = {family.allocated: "x,y,1,1:;", family.node: "n1", "hami.io/vgpu-mig-allocations": "[]"}
    raw["metadata"]["annotations"] = written
    for pod in (manifest.pod(raw), manifest.pod(manifest.slim(raw))):
        assert pod.annotations == written
        assert pod.containers[0].asks == dict.fromkeys(limits, 3)


@pytest.mark.parametrize("resource", ["cpu", "volcano.sh/other", "aws.amazon.com/efa", "example.com/nvidia.com/gpu"])
def test_other_resources_are_no_accelerators(resource: str) -> None:
    """What is no accelerator is not kept."""
    pod = manifest.pod(a_pod(containers=[{"name": "c", "resources": {"requests": {resource: "1"}}}]))
    assert pod.containers[0].asks == {}


@pytest.mark.parametrize(
    ("spec", "claims"),
    [
        ({}, False),
        ({"resourceClaims": []}, False),
        ({"resourceClaims": [{"name": "gpu"}]}, True),
        ({"containers": [{"name": "c", "resources": {"claims": [{"name": "gpu"}]}}]}, True),
        ({"initContainers": [{"name": "c", "resources": {"claims": [{"name": "gpu"}]}}]}, True),
        ({"resourceClaims": "gpu"}, False),
    ],
)
def test_resource_claims(spec: Json, claims: bool) -> None:  # noqa: FBT001 - a parameter of the table
    """A pod that uses dynamic resource allocation anywhere says so."""
    assert manifest.pod(a_pod(**spec)).claims is claims


@pytest.mark.parametrize(
    ("kind", "container", "policy", "exit_code", "finished"),
    [
        ("app", {}, "Always", 0, False),
        ("app", {}, "Always", 1, False),
        ("app", {}, None, 0, False),
        ("app", {}, "OnFailure", 0, True),
        ("app", {}, "OnFailure", 1, False),
        ("app", {}, "Never", 1, True),
        ("app", {"restartPolicy": "Never"}, "Always", 1, True),
        ("app", {"restartPolicy": "Always"}, "Never", 0, False),
        ("app", {"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart"}]}, "Always", 42, False),
        ("init", {}, "Always", 0, True),
        ("init", {}, "Always", 1, False),
        ("init", {}, "Never", 1, True),
        ("init", {"restartPolicy": "Always"}, "Always", 0, False),
        ("init", {"restartPolicy": "Always"}, "Never", 0, False),
        ("ephemeral", {}, "Always", 1, True),
    ],
)
def test_a_container_is_finished_once_it_will_not_start_again(
    kind: str, container: Json, policy: str | None, exit_code: int, *, finished: bool
) -> None:
    """Whether an ended container comes back is for its kind, its policy and its exit code to say."""
    listed = {"app": "containers", "init": "initContainers", "ephemeral": "ephemeralContainers"}[kind]
    reported = {"app": "containerStatuses", "init": "initContainerStatuses", "ephemeral": "ephemeralContainerStatuses"}
    raw = a_pod(restartPolicy=policy, **{listed: [{"name": "c", **container}]})
    raw["status"] = {"phase": "Running", reported[kind]: [ended(exit_code)]}
    assert manifest.pod(raw).containers[0].finished is finished


@pytest.mark.parametrize("state", [{"running": {}}, {"waiting": {"reason": "CrashLoopBackOff"}}, {}, None])
def test_a_container_that_did_not_end_is_not_finished(state: object) -> None:
    """Running, waiting or unknown is not finished, whatever the last run was."""
    raw = a_pod(restartPolicy="Never", containers=[{"name": "c"}])
    raw["status"] = {"containerStatuses": [{"name": "c", "state": state, "lastState": {"terminated": {"exitCode": 0}}}]}
    assert not manifest.pod(raw).containers[0].finished


@pytest.mark.parametrize(
    ("phase", "finished"), [("Succeeded", True), ("Failed", True), ("Running", False), ([], False)]
)
def test_a_finished_pod_finishes_all_its_containers(phase: object, finished: bool) -> None:  # noqa: FBT001 - a table
    """A pod that is over has no container that is not, sidecars and unstarted ones included."""
    raw = a_pod(containers=[{"name": "c"}], initContainers=[{"name": "s", "restartPolicy": "Always"}])
    raw["status"] = {"phase": phase}
    pod = manifest.pod(raw)
    assert pod.finished is finished
    assert [one.finished for one in pod.containers] == [finished, finished]


@pytest.mark.parametrize(
    ("kind", "name", "template_hash", "workload"),
    [
        ("ReplicaSet", "web-5d4f8c7b9", "5d4f8c7b9", ("Deployment", "web")),
        ("ReplicaSet", "web-aeiou", "aeiou", ("Deployment", "web")),
        ("ReplicaSet", "web-5d4f8c7b9", "", ("Deployment", "web")),
        ("ReplicaSet", "web-5d4f8c7b9", "other", ("Deployment", "web")),
        ("ReplicaSet", "web-api", "", ("ReplicaSet", "web-api")),
        ("ReplicaSet", "-5d4f8c7b9", "", ("ReplicaSet", "-5d4f8c7b9")),
        ("Job", "tidy-29000000", "", ("CronJob", "tidy")),
        ("Job", "tidy-2900000000", "", ("CronJob", "tidy")),
        ("Job", "train-7", "", ("Job", "train-7")),
        ("StatefulSet", "db-29000000", "", ("StatefulSet", "db-29000000")),
        ("", "", "", ("", "")),
    ],
)
def test_the_workload_behind_generated_names(
    kind: str, name: str, template_hash: str, workload: tuple[str, str]
) -> None:
    """Generated hashes are stripped so that people find the name they gave."""
    assert manifest.workload(kind, name, template_hash) == workload


@pytest.mark.parametrize(
    "references", [None, [], [{"kind": "Job", "name": "x"}], [{"controller": "yes", "kind": "Job", "name": "x"}], [5]]
)
def test_without_a_controller_there_is_no_owner(references: object) -> None:
    """Only the controller owns a pod; anything else leaves the owner empty."""
    raw = a_pod()
    raw["metadata"]["ownerReferences"] = references
    assert manifest.pod(raw).owner_kind == manifest.pod(raw).owner_name == ""


def test_an_endless_annotation_is_cut_visibly() -> None:
    """A cut annotation ends in an item that no grammar takes, so it cannot pass for a shorter grant."""
    raw = a_pod()
    raw["metadata"]["annotations"] = {"hami.io/vgpu-devices-allocated": "GPU-1,NVIDIA,1,1:;" * 10_000}
    value = manifest.pod(raw).annotations["hami.io/vgpu-devices-allocated"]
    assert len(value) < 65_600
    assert len(value.split(":")[-1].split(",")) == 2


def test_labels_and_annotations_are_texts() -> None:
    """A value that is no text is as if it were not there; an empty text is a value."""
    raw = a_pod()
    raw["metadata"]["labels"] = {"a": 5, "b": "", "c": "\ud800", "d": "x"}
    raw["metadata"]["annotations"] = {"hami.io/vgpu-node": ["n1"]}
    pod = manifest.pod(raw, labels=frozenset("abcd"), tenant_label="a")
    assert (pod.labels, pod.annotations, pod.tenant) == ({"b": "", "d": "x"}, {}, "")


def test_a_container_without_a_name_of_its_own_is_left_out() -> None:
    """Two containers never share a name: a second one, or one without, would double a series."""
    pod = manifest.pod(a_pod(containers=[{"name": "c"}, {"name": "c"}, {}, 7], initContainers=[{"name": 7}]))
    assert [one.name for one in pod.containers] == ["c"]


def test_slim_gives_nothing_away() -> None:
    """The recorded copy holds no image, argument, environment, volume or label that nobody asked for."""
    slim = manifest.slim(a_full_pod(), labels=frozenset({"app"}))
    text = json.dumps(slim)
    assert "s3cr3t" not in text
    assert "10.0.0.1" not in text
    assert slim["metadata"]["labels"] == {"app": "web", "pod-template-hash": "5d4f8c7b9"}  # type: ignore[index]


def test_slim_leaves_the_original_alone() -> None:
    """The copy shares nothing that could be changed through it."""
    raw = a_full_pod()
    before = deepcopy(raw)
    manifest.slim(raw)["metadata"]["labels"]["x"] = "y"  # type: ignore[index]
    assert raw == before


# ---------------------------------------------------------------- anything at all

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["Always", "Never", "u1"]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3),
    max_leaves=10,
)
OPTIONS: Json = {"labels": frozenset({"app", "cost"}), "tenant_label": "team"}


def _places(raw: object) -> list[list[object]]:
    """Return the path to every place in the JSON."""
    below = raw.items() if isinstance(raw, dict) else enumerate(raw) if isinstance(raw, list) else ()
    return [[], *([step, *path] for step, value in below for path in _places(value))]


@st.composite
def broken_pods(draw: st.DrawFn) -> object:
    """Return a full pod with anything at all in up to three places."""
    whole: list[Any] = [a_full_pod()]
    for _ in range(draw(st.integers(0, 3))):
        *path, last = [0, *draw(st.sampled_from(_places(whole[0])))]
        holder: Any = whole
        for step in path:
            holder = holder[step]
        holder[last] = draw(anything)
    return whole[0]


def _outcome(raw: object) -> Pod | None:
    try:
        return manifest.pod(raw, **OPTIONS)
    except ManifestError:
        return None


@given(anything | broken_pods())
def test_any_json_is_a_pod_or_a_manifest_error(raw: object) -> None:
    """No JSON makes the parser raise anything but ManifestError, and its key is always a text."""
    _outcome(raw)
    assert manifest.key(raw)


@given(anything | broken_pods())
def test_slim_changes_nothing_that_is_read(raw: object) -> None:
    """A pod read from the recorded copy is the pod itself, whatever the JSON; and slimming twice is slimming once."""
    slim = manifest.slim(raw, **OPTIONS)
    assert _outcome(slim) == _outcome(raw)
    assert json.dumps(manifest.slim(slim, **OPTIONS)) == json.dumps(slim)
