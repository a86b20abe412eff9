"""Redaction: every name has its stand-in, nothing else of a person's making stays, and attribution does not notice."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import reduce
from operator import getitem
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter import manifest
from exporter.capture_regions import RecordedRegions
from exporter.cgroups import CgroupOwner, parse
from exporter.errors import AnnotationError, ManifestError, ProcError
from exporter.hami.annotations import decode
from exporter.hami.region import FoundRegion
from exporter.join import MPS_SERVER
from exporter.redaction import Redactor, annotation, cgroup
from tests.make import GPU, process, region, uid
from tests.test_cgroups import CID, HASH, INNER, MATRIX, OTHER, SHAPES, SLICE, UID

#: What must never be seen again.
PRIVATE: Final = "hush"

# ---------------------------------------------------------------- cgroups

PIECES: Final = st.sampled_from(
    [
        *("0::", "4:cpu,cpuacct:", "1:name=systemd:", f"2:name={PRIVATE}:", "0:", "/", "/", "/", "\n", ":", "..", "-"),
        *(f"pod{UID}", f"-pod{OTHER.replace('-', '_')}.slice", f"pod{HASH}", SLICE, CID, INNER, f"crio-{CID}.scope"),
        *(" (deleted)", ".scope", ".slice", ".service", "pod", "conmon", "kubepods", "docker", PRIVATE, f"{PRIVATE}-"),
    ]
)
TEXTS: Final = st.one_of(
    st.text(),
    st.lists(PIECES | st.text(max_size=3)).map("".join),
    st.lists(PIECES | st.text(max_size=3)).map(lambda pieces: "0::/" + "".join(pieces) + "\n"),
)


def owners(text: str) -> tuple[CgroupOwner, ...] | None:
    """Return what `parse` says, None if it refuses the text."""
    try:
        return parse(text)
    except ProcError:
        return None


@pytest.mark.usefixtures("search")
@given(TEXTS)
def test_redaction_moves_no_process(text: str) -> None:
    """Whatever the text, it has the same owners before and after, or is refused before and after."""
    assert owners(cgroup(text)) == owners(text)


@pytest.mark.usefixtures("search")
@given(TEXTS)
def test_no_name_is_left_in_a_cgroup(text: str) -> None:
    """What is no pod, no container and no word of the builders' is gone."""
    assert PRIVATE not in cgroup(text)


@given(TEXTS)
def test_a_redacted_cgroup_stays_as_it_is(text: str) -> None:
    """Redacting twice is redacting once."""
    assert cgroup(cgroup(text)) == cgroup(text)


@pytest.mark.parametrize("path", [shape.values[0] for shape in SHAPES], ids=[shape.id for shape in SHAPES])
def test_every_known_shape_keeps_its_owners(path: object) -> None:
    """Each shape that kernels, kubelets and runtimes write names the same owners after redaction."""
    text = f"0::{path}\n"
    assert parse(cgroup(text)) == parse(text)


@pytest.mark.parametrize("matrix", MATRIX)
def test_an_ordinary_container_s_cgroup_stays_whole(matrix: str) -> None:
    """What Kubernetes and the runtime built names nobody: not a letter of it changes."""
    assert cgroup(matrix) == matrix


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("0::/user.slice/user-1000.slice/session-alice.scope\n", "0::/user.slice/user-x.slice/session-x.scope\n"),
        ("0::/system.slice/alices-notebook.service\n", "0::/system.slice/x-x.service\n"),
        ("5:name=alice,cpu:/lxc/alice\n0::/\n", "5:x,cpu:/lxc/x\n0::/\n"),
        (f"0::/docker-alice/{CID} (deleted)", f"0::/docker-x/{CID} (deleted)"),
        (f"0::/alice-{CID}.scope/alice", f"0::/x-{CID}.scope/x"),
        (f"0::/alice.slice/alice-{SLICE}:alice:{CID}", f"0::/x.slice/x-{SLICE}:x:{CID}"),
        (f"0::/machine.slice/libpod-conmon-{CID}.scope", "0::/machine.slice/libpod-conmon-x.scope"),
        ("0::/../../alice/pod (deleted)/x", "0::/../../x/x/x"),
        ("alice\n\n0::/alice\nalice:x\n", "\n0::/x\n"),
        ("alice", ""),
    ],
)
def test_what_a_cgroup_keeps(text: str, left: str) -> None:
    """Users, services, sessions and other people's containers lose their names; the frame stays."""
    assert cgroup(text) == left


def test_an_absurdly_long_text_is_cut_where_it_is_not_read() -> None:
    """Levels beyond what is read are dropped, and no stand-in pushes one out of sight."""
    text = "0::" + "/a" * 100_000 + f"/pod{UID}"
    assert len(cgroup(text)) <= 128 * 1024
    assert owners(cgroup(text)) == owners(text) == ()


# ---------------------------------------------------------------- processes and names


def test_a_process_loses_its_name_and_keeps_its_place() -> None:
    """Name and session are gone; PID, start, inner PIDs and owner stay."""
    one = replace(process(7, f"0::/kubepods/pod{UID}/{CID}/{PRIVATE}\n", comm=PRIVATE), nspid=(7, 12, 1))

    left = Redactor().process(one)

    assert left == replace(one, comm="redacted", cgroup=f"0::/kubepods/pod{UID}/{CID}/x\n")


def test_an_mps_server_keeps_its_name() -> None:
    """The exporter goes by the name of the MPS server: it stays."""
    assert Redactor().process(process(7, comm=MPS_SERVER)).comm == MPS_SERVER


def test_the_same_name_has_the_same_stand_in() -> None:
    """Each kind counts for itself, from 1, and never gives one stand-in twice."""
    redactor = Redactor()

    given = [redactor.name(*one) for one in [("ns", "a"), ("pod", "a"), ("ns", "b"), ("ns", "a"), ("pod", "b")]]

    assert given == ["ns-1", "pod-1", "ns-2", "ns-1", "pod-2"]


# ---------------------------------------------------------------- pods


def everywhere(shape: object, value: object) -> Any:  # noqa: ANN401  any JSON
    """Return a pod that has the value in every field that `manifest.slim` keeps."""
    if isinstance(shape, Mapping):
        return {name: everywhere(below, value) for name, below in shape.items()}
    if isinstance(shape, list):
        return [everywhere(shape[0], value)]
    assert callable(shape)
    is_accelerators = shape({"nvidia.com/gpu": 1}) is not None
    return {"nvidia.com/gpu": value} if is_accelerators else value


@pytest.mark.parametrize("value", [PRIVATE, f"GPU-{PRIVATE}", f"{PRIVATE},{PRIVATE},1,2:;", json.dumps({PRIVATE: 1})])
def test_no_field_of_a_pod_lets_a_secret_through(value: str) -> None:
    """Whatever field a text stands in, also one that the API would refuse it for, it is gone."""
    slim = manifest.slim(everywhere(manifest.ALLOWED_FIELDS, value) | {"more": value})

    assert value in slim["spec"]["nodeName"]  # type: ignore[index]
    assert PRIVATE not in json.dumps(Redactor().pod(slim)).lower()


JSON: Final = st.recursive(
    st.sampled_from(
        [None, True, 7, "", "a", "b", "Running", "Failed", "Never", "Job", f"docker://{CID}", "78e9", "9" * 70]
    ),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["name", "nvidia.com/gpu"]), inner),
    max_leaves=3,
)


def places(raw: Any, *path: str | int) -> Iterator[tuple[str | int, ...]]:  # noqa: ANN401  any JSON
    """Yield the path of everything inside."""
    for key, inner in raw.items() if isinstance(raw, dict) else enumerate(raw) if isinstance(raw, list) else ():
        yield (*path, key)
        yield from places(inner, *path, key)


WHOLE: Final = json.dumps(everywhere(manifest.ALLOWED_FIELDS, "a"))
PLACES: Final = list(places(json.loads(WHOLE)))


@st.composite
def odd_pods(draw: st.DrawFn) -> Any:  # noqa: ANN401  any JSON
    """Return a pod in which a few fields are missing, or of another type."""
    raw = json.loads(WHOLE)
    for *path, last in draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=5)):
        with suppress(KeyError, IndexError, TypeError):  # what lay there was replaced a moment ago
            reduce(getitem, path, raw)[last] = draw(JSON)
    return raw


@pytest.mark.usefixtures("search")
@given(odd_pods())
def test_any_pod_is_redacted_and_means_the_same(raw: object) -> None:
    """Whatever JSON a pod is, redaction does not fail, and all that is no name reads as before."""
    slim = manifest.slim(raw)
    redacted = json.loads(json.dumps(Redactor().pod(slim)))

    def numbers(known: object) -> object:
        try:
            pod = manifest.pod(known)
        except ManifestError:
            return None
        names = [one.name for one in pod.containers]
        containers = [
            replace(one, name="", ids=tuple(filter(re.compile("[0-9a-f]{64}").fullmatch, one.ids)))
            for one in pod.containers
        ]
        return pod.finished, pod.claims, len(set(names)), containers, bool(pod.owner_kind), bool(pod.owner_name)

    assert numbers(redacted) == numbers(slim)


def a_pod(**metadata: object) -> dict[str, Any]:
    """Return a slim pod with one container."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"uid": uid("model"), "namespace": "team", "name": "model", **metadata},
        "spec": {"nodeName": "node-a", "containers": [{"name": "main"}]},
        "status": {"phase": "Running", "containerStatuses": [{"name": "main", "containerID": f"docker://{CID}"}]},
    }


def test_what_attribution_stands_on_stays() -> None:
    """UIDs, container IDs, creation time, device annotation and requests come through letter for letter."""
    granted = {"hami.io/vgpu-devices-allocated": f"{GPU},NVIDIA,2000,30:{GPU}[1-0],NVIDIA,10240,0:;;"}
    raw = a_pod(creationTimestamp="2026-01-01T00:00:00Z", annotations=granted)
    limits = {"nvidia.com/gpu": "2", "nvidia.com/gpumem": 2000, "nvidia.com/gpucores": "3e1", "nvidia.com/mig": "1Gi"}
    raw["spec"]["containers"][0]["resources"] = {"limits": limits}

    left = Redactor().pod(raw)

    assert left["metadata"] == {**raw["metadata"], "namespace": "ns-1", "name": "pod-1", "ownerReferences": []}
    assert left["spec"]["containers"] == [{"name": "container-1", "resources": {"limits": limits}}]
    assert left["status"]["containerStatuses"] == [{"name": "container-1", "containerID": f"docker://{CID}"}]


def test_the_node_has_one_stand_in_wherever_it_stands() -> None:
    """The pod's node and the annotation's are the same after redaction if they were before, else not."""
    annotations = {"hami.io/vgpu-node": "node-a", "volcano.sh/vgpu-node": "node-b"}
    redactor = Redactor()
    header = redactor.name("node", "node-a")

    left = redactor.pod(a_pod(annotations=annotations))

    assert header == left["spec"]["nodeName"] == left["metadata"]["annotations"]["hami.io/vgpu-node"] == "node-1"
    assert left["metadata"]["annotations"]["volcano.sh/vgpu-node"] == "node-2"


@pytest.mark.parametrize(
    ("kind", "name", "template_hash", "left"),
    [
        ("ReplicaSet", "web-5d4f8c7b9", "", ("Deployment", "workload-1")),
        ("ReplicaSet", "web-custom", "custom", ("Deployment", "workload-1")),
        ("ReplicaSet", "web", "", ("ReplicaSet", "workload-1")),
        ("Job", "tidy-29000000", "", ("CronJob", "workload-1")),
        ("StatefulSet", "web", "", ("StatefulSet", "workload-1")),
        ("HushJob", "web", "", ("Kind-1", "workload-1")),
    ],
)
def test_a_workload_keeps_its_kind_and_loses_its_name(
    kind: str, name: str, template_hash: str, left: tuple[str, str]
) -> None:
    """The exporter says of the redacted pod the same kind of workload; kinds of operators have stand-ins, too."""
    raw = a_pod(
        ownerReferences=[{"kind": kind, "name": name, "controller": True}], labels={"pod-template-hash": template_hash}
    )

    pod = manifest.pod(Redactor().pod(raw))

    assert (pod.owner_kind, pod.owner_name) == left


def test_two_replica_sets_of_one_deployment_are_one_workload() -> None:
    """A rolling update does not look like two workloads."""
    redactor = Redactor()
    owners_of = [
        redactor.pod(a_pod(ownerReferences=[{"kind": "ReplicaSet", "name": name, "controller": True}]))
        for name in ("web-5d4f8c7b9", "web-7c9f8d5b4")
    ]

    assert owners_of[0]["metadata"]["ownerReferences"] == owners_of[1]["metadata"]["ownerReferences"]


# ---------------------------------------------------------------- regions

CACHE: Final = "c879b663-3f9b-4bb2-b2ee-6a2ef8e4cb5c.cache"
MIG: Final = "MIG-c879b663-3f9b-4bb2-b2ee-6a2ef8e4cb5c"


def found(
    *, pod: str = UID, container: str = "main", file: str = CACHE, uuids: tuple[str, ...] = (GPU,)
) -> FoundRegion:
    """Return a region whose process has a byte on each GPU, without a limit."""
    limits = (None,) * len(uuids)
    return FoundRegion(pod, container, file, region({7: (1,) * len(uuids)}, limits=limits, uuids=uuids))


def redacted(*regions: FoundRegion, complete: frozenset[str] = frozenset()) -> RecordedRegions:
    """Return regions as they are recorded."""
    return Redactor().regions(RecordedRegions(regions, complete, 3))


def test_a_region_loses_its_container_s_name_only() -> None:
    """The pod's UID, the file, the GPUs, whole or not, and every figure come through letter for letter."""
    told = found(uuids=(GPU, MIG, f"MIG-{GPU}/1/0"))

    left = redacted(told, complete=frozenset({UID}))

    assert left == RecordedRegions((replace(told, directory_container="container-1"),), frozenset({UID}), 3)


def test_a_region_s_container_has_the_stand_in_that_its_pod_s_has() -> None:
    """The directory's word is the same as the pod's container's after redaction if it was before."""
    redactor = Redactor()
    pod = redactor.pod(a_pod())

    left = redactor.regions(RecordedRegions((found(container="main"), found(container="side")), frozenset(), 0))

    assert pod["spec"]["containers"][0]["name"] == "container-1"
    assert [one.directory_container for one in left.regions] == ["container-1", "container-2"]


def test_what_a_tenant_could_have_written_into_a_region_is_gone() -> None:
    """File names and UUIDs that nobody but a person made up have stand-ins, another one for each."""
    regions = [
        found(file=f"{PRIVATE}.cache", uuids=(f"GPU-{PRIVATE}", f"MIG-{PRIVATE}")),
        found(file=f"{CACHE}{PRIVATE}.cache", uuids=(f"{GPU}-{PRIVATE}",)),
        found(file=CACHE.replace("-4bb2-", "-1bb2-"), pod=PRIVATE),
    ]

    left = redacted(*regions, complete=frozenset({PRIVATE}))

    assert PRIVATE not in repr(left)
    assert [one.file for one in left.regions] == ["file-1", "file-2", "file-3"]
    assert [device.uuid for one in left.regions for device in one.region.devices] == ["GPU-1", "GPU-2", "GPU-3", GPU]
    assert left.complete == {left.regions[2].pod_uid}


# ---------------------------------------------------------------- device annotations

FIELDS: Final = st.sampled_from([GPU, "NVIDIA", "2000", "0", "30", PRIVATE, "", "a b", "1e3", "-1", "²", "GPU-x"])
ANNOTATIONS: Final = st.one_of(
    st.text(),
    st.lists(FIELDS | st.sampled_from([",", ",", ":", ";", "[1-0]"])).map("".join),
    st.lists(st.tuples(FIELDS, FIELDS, FIELDS, FIELDS).map(",".join)).map(":;".join),
)


def entries(text: str) -> list[list[tuple[int, int]]] | None:
    """Return what an annotation grants, but for the names; None if it is unreadable."""
    try:
        return [[(one.memory_mib, one.cores_percent) for one in entry] for entry in decode(text)]
    except AnnotationError:
        return None


@pytest.mark.usefixtures("search")
@given(ANNOTATIONS)
def test_an_annotation_grants_the_same_and_tells_no_more(text: str) -> None:
    """An annotation has the same entries, or is as unreadable as before; words that HAMi never writes are gone."""
    left = annotation(text)

    assert entries(left) == entries(text)
    assert PRIVATE not in left


@pytest.mark.parametrize(
    "text",
    [
        f"{GPU},NVIDIA,2000,30:;",
        f"{GPU}[1-0],NVIDIA,10240,0:;;{GPU},NVIDIA,1,0:{GPU},NVIDIA,1,0:;",
        f"MIG-{GPU}/1/0,NVIDIA,2000,30:;",
        "success",
        json.dumps([{"containerIndex": 0, "gpuUUID": GPU, "profile": "1g.10gb", "placement": {"start": 0, "size": 1}}]),
    ],
)
def test_what_hami_writes_stays(text: str) -> None:
    """What HAMi itself writes comes through letter for letter."""
    assert annotation(text) == text


def test_an_overlong_annotation_stays_unreadable() -> None:
    """An annotation that is refused for its length does not become readable by being shortened."""
    text = f"{GPU},{PRIVATE * 20_000},1,1:;"

    assert entries(annotation(text)) is entries(text) is None
    assert PRIVATE not in annotation(text)


def test_a_name_that_is_no_text_gets_no_stand_in() -> None:
    """A container whose name cannot be written is none for the node; redacted it must not become one."""
    odd = {"metadata": {"uid": "u", "namespace": "n", "name": "p"}, "spec": {"containers": [{"name": "\udc88"}]}}

    redacted = Redactor().pod(manifest.slim(odd))

    assert manifest.pod(redacted).containers == manifest.pod(odd).containers == ()
