"""The chart as a whole: Helm's own check, its package, what it says after an installation."""

from __future__ import annotations

import base64
import gzip
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from exporter import __version__
from tests.charts.rendering import CHART, EVERYTHING, NAMESPACE, RELEASE, SHAPES, Json, helm
from tests.rules.checkers import ROOT

if TYPE_CHECKING:
    from pathlib import Path

ABOUT: Json = yaml.safe_load((CHART / "Chart.yaml").read_text())


def notes(**values: Any) -> str:  # noqa: ANN401  values are any
    """Return what Helm prints after an installation with these values."""
    done = helm("install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--dry-run=client", values=values)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:\n")[2]


@pytest.mark.parametrize("shape", SHAPES)
def test_helm_has_nothing_to_say(shape: str) -> None:
    """`helm lint --strict` finds neither fault nor warning in any shape."""
    done = helm("lint", "--strict", str(CHART), values=SHAPES[shape])

    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


def test_the_version_is_the_programs() -> None:
    """The default tag of the image is the release that the chart came with."""
    assert ABOUT["appVersion"] == ABOUT["version"] == __version__


def test_the_package_has_what_it_needs_and_fits_into_a_release(tmp_path: Path) -> None:
    """Helm stores the package and all that it rendered in one Secret, which takes 1 MiB."""
    packed = helm("package", str(CHART), "--destination", str(tmp_path))
    [archive] = tmp_path.iterdir()
    manifest = helm("template", RELEASE, str(CHART), values=EVERYTHING).stdout
    with tarfile.open(archive) as files:
        names = {name.removeprefix("vgpu-tenant-exporter/") for name in files.getnames()}
        contents = b"".join(extracted.read() for one in files if (extracted := files.extractfile(one)))

    assert packed.returncode == 0
    assert {"values.schema.json", "README.md", "files/defaults.yaml", "files/rules.yaml", "files/ready.py"} <= names
    assert not any(name.startswith("ci/") for name in names)
    # Helm gzips JSON that holds each file as base64, and Kubernetes stores that as base64 again.
    stored = base64.b64encode(gzip.compress(base64.b64encode(contents) + manifest.encode()))
    assert len(base64.b64encode(stored)) < 2**20


def test_where_the_image_lies_is_the_users_to_say() -> None:
    """No registry is built in: neither as a value of its own nor in front of the image's name."""
    image = yaml.safe_load((CHART / "values.yaml").read_text())["image"]

    assert image["registry"] == ""
    assert "/" not in image["repository"]


# ---------------------------------------------------------------- what it says afterwards


def test_the_notes_say_which_level_of_pod_security_is_needed() -> None:
    """The pods would be refused otherwise; the quota role alone needs none."""
    told = f"kubectl label namespace {NAMESPACE} pod-security.kubernetes.io/enforce=privileged"

    assert told in notes()
    assert told not in notes(**SHAPES["quota-only"])
    assert told not in notes(hostPID=False, hamiPath="")
    assert told in notes(hostPID=False, hamiPath="", gpuAccess="volumeMounts")


def test_the_notes_say_how_to_see_that_it_works() -> None:
    """Each step names the release's own objects."""
    told = notes()

    for step in (
        f"kubectl -n {NAMESPACE} rollout status daemonset/{RELEASE}",
        f"kubectl -n {NAMESPACE} rollout status deployment/{RELEASE}-quota",
        f"helm -n {NAMESPACE} test {RELEASE} --logs",
        f"kubectl -n {NAMESPACE} logs daemonset/{RELEASE}",
    ):
        assert step in told


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "Nothing tells Prometheus of it"),
        ({}, "Only pods of the namespace monitoring may scrape it"),
        ({"networkPolicy": {"monitoringNamespaces": []}}, "Nobody may scrape it"),
        ({"hostPID": False}, "use per tenant is absent"),
        ({"mig": {"enabled": True}}, "SYS_ADMIN"),
        ({"gpuAccess": "hostDriver"}, "set hostDriver.privileged=true"),
        ({"prometheusRule": {"enabled": True}}, "set prometheusRule.runbookUrl"),
        ({"prometheusRule": {"enabled": True}}, "lacks Grafana's address"),
        ({"dashboards": {"enabled": True}}, "The dashboards read recording rules"),
        ({"node": {"enabled": False}, "quota": {"enabled": False}}, "Nothing runs"),
    ],
)
def test_the_notes_say_what_is_half_done(values: Json, said: str) -> None:
    """Whatever the values leave open is said, with the value's name."""
    assert said in notes(**values)


def test_the_notes_are_silent_where_all_is_well() -> None:
    """The shape of the kube-prometheus-stack leaves nothing open."""
    told = notes(**SHAPES["kube-prometheus-stack"], runtimeClassName="nvidia")

    assert not any(word in told for word in ("Nothing tells", "leads nowhere", "lacks", "recording rules", "no NVIDIA"))


def test_the_readme_names_files_that_exist() -> None:
    """Links lead somewhere."""
    assert (CHART / "../../alerts/generated").resolve() == ROOT / "alerts" / "generated"
    assert (CHART / "ci").is_dir()
