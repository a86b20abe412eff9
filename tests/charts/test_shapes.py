"""Every supported shape: what it renders is valid to every Kubernetes release and hangs together."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING

import pytest

from tests.charts.rendering import EVERYTHING, RELEASE, SHAPES, container, pod_of, rendered, settings
from tests.charts.schemas import RELEASES, faults

if TYPE_CHECKING:
    from tests.charts.rendering import Json

ALL = {**SHAPES, "everything": EVERYTHING}
every_shape = pytest.mark.parametrize("shape", ALL)
LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")


def pods(shape: str) -> list[Json]:
    """Return the specs of all pods of a shape, that of `helm test` included."""
    found = rendered(ALL[shape])
    return [pod_of(one) for one in found if one["kind"] in {"DaemonSet", "Deployment", "Pod"}]


@every_shape
def test_every_object_is_valid_in_every_kubernetes_release(shape: str) -> None:
    """No unknown field, no wrong type, from 1.28 to the newest; custom resources by their operators' own schemas."""
    assert list(chain.from_iterable(map(faults, rendered(ALL[shape])))) == []


def test_validation_would_notice_a_misspelt_field() -> None:
    """The schemas are strict, Kubernetes's and the operators'."""
    for one in rendered(EVERYTHING):
        if isinstance(one.get("spec"), dict):
            assert faults({**one, "spec": {**one["spec"], "misspelt": 1}})


def test_the_releases_begin_with_the_charts_oldest() -> None:
    """Chart.yaml's `kubeVersion` and the schemas speak of the same range."""
    assert RELEASES[0].startswith("v1.28.")
    assert len(RELEASES) >= 10


@every_shape
def test_the_program_takes_every_command_line(shape: str) -> None:
    """Each flag exists, and each value is one that the program accepts."""
    for pod in pods(shape):
        if "args" in container(pod) and "command" not in container(pod):
            assert settings(pod).listen


@every_shape
def test_every_mount_has_its_volume(shape: str) -> None:
    """A pod whose mount names no volume, or whose volumes share a name, is refused."""
    for pod in pods(shape):
        volumes = [volume["name"] for volume in pod.get("volumes", [])]
        mounts = [mount["name"] for mount in container(pod).get("volumeMounts", [])]

        assert sorted(volumes) == sorted(set(mounts))


@every_shape
def test_everything_is_mounted_read_only(shape: str) -> None:
    """The exporter writes nothing."""
    mounts = [mount for pod in pods(shape) for mount in container(pod).get("volumeMounts", [])]

    assert all(mount["readOnly"] for mount in mounts)


@every_shape
def test_labels_are_labels_and_names_unique(shape: str) -> None:
    """Kubernetes refuses label values over 63 characters, and Helm two objects of one name."""
    found = rendered(ALL[shape])
    names = [(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in found]

    assert len(set(names)) == len(names)
    assert all(LABEL.fullmatch(value) for one in found for value in one["metadata"]["labels"].values())


def test_a_long_release_name_stays_within_kubernetes_limits() -> None:
    """With the longest name that Helm allows, no object's name exceeds 63 characters and none coincide."""
    found = rendered(EVERYTHING, release="r" * 53)
    names = [(one["kind"], one["metadata"]["name"]) for one in found]

    assert max(len(name) for _, name in names) <= 63
    assert len(set(names)) == len(names)


@every_shape
def test_no_pod_requests_a_gpu(shape: str) -> None:
    """An exporter with a GPU of its own would take one away from the tenants."""
    for pod in pods(shape):
        resources = container(pod)["resources"]
        assert {*resources.get("requests", {}), *resources.get("limits", {})} <= {"cpu", "memory"}


@every_shape
def test_hami_leaves_every_pod_alone(shape: str) -> None:
    """HAMi's webhook would put its library into the exporter, and every figure would be a virtual one."""
    workloads = [one for one in rendered(ALL[shape]) if one["kind"] in {"DaemonSet", "Deployment", "Pod"}]
    metadata = [one.get("spec", {}).get("template", one)["metadata"] for one in workloads]

    assert metadata
    assert all(one["labels"]["hami.io/webhook"] == "ignore" for one in metadata)


@every_shape
def test_selectors_find_their_pods(shape: str) -> None:
    """Service, monitors and workloads select by labels that the pods, or the Services, really have."""
    found = rendered(ALL[shape])
    labels = [
        one["spec"]["template"]["metadata"]["labels"] for one in found if one["kind"] in {"DaemonSet", "Deployment"}
    ]
    services = [one["metadata"]["labels"] for one in found if one["kind"] == "Service"]
    for one in found:
        if one["kind"] in {"DaemonSet", "Deployment", "PodMonitor"}:
            assert_selects_one(one["spec"]["selector"]["matchLabels"], labels)
        elif one["kind"] == "Service":
            assert_selects_one(one["spec"]["selector"], labels)
        elif one["kind"] == "ServiceMonitor":
            assert_selects_one(one["spec"]["selector"]["matchLabels"], services)


def assert_selects_one(selector: dict[str, str], labels: list[dict[str, str]]) -> None:
    """Check that a selector finds exactly one of these sets of labels."""
    assert sum(selector.items() <= one.items() for one in labels) == 1


def test_a_users_labels_never_break_a_selector() -> None:
    """Labels of ours win over podLabels and commonLabels of the same name."""
    values = {
        "podLabels": {"app.kubernetes.io/name": "x", "a": "b"},
        "commonLabels": {"app.kubernetes.io/instance": "y"},
    }
    for one in rendered(values):
        if one["kind"] in {"DaemonSet", "Deployment"}:
            labels = one["spec"]["template"]["metadata"]["labels"]
            assert one["spec"]["selector"]["matchLabels"].items() <= labels.items()
            assert labels["a"] == "b"
            assert one["metadata"]["labels"]["app.kubernetes.io/instance"] == RELEASE
