"""The chart as the real Helm renders it: values in, Kubernetes objects out."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import yaml

from exporter import config
from tests.rules.checkers import ROOT, checker

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: One Kubernetes object, or a part of one.
Json: TypeAlias = "dict[str, Any]"

CHART: Final = ROOT / "charts" / "vgpu-tenant-exporter"
#: The values of each supported shape, by its name, and the defaults.
SHAPES: Final[dict[str, Json]] = {
    "defaults": {},
    **{
        path.name.removesuffix("-values.yaml"): yaml.safe_load(path.read_text())
        for path in sorted((CHART / "ci").glob("*"))
    },
}
RELEASE: Final = "vgpu-tenant-exporter"
NAMESPACE: Final = "gpu"
#: Values that switch everything on that can be on together.
EVERYTHING: Final[Json] = {
    "podMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "dashboards": {"enabled": True, "grafanaOperator": {"enabled": True}},
    "webConfig": {"content": {"tls_server_config": {"cert_file": "tls.crt", "key_file": "tls.key"}}},
    "quota": {"hamiConfig": "kube-system/hami-scheduler-device"},
}


def helm(*arguments: str, values: Mapping[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    """Run Helm; `values` are given to it as a file."""
    given = ("--values", "-") if values is not None else ()
    return subprocess.run(
        [checker("helm"), *arguments, *given],
        input=json.dumps(values), capture_output=True, text=True, check=False, timeout=60, cwd=ROOT,
    )  # fmt: skip


def rendered(values: Mapping[str, Any] | None = None, chart: Path = CHART, release: str = RELEASE) -> tuple[Json, ...]:
    """Return all objects of a release with these values; rendered once, so change nothing in them."""
    return _rendered(json.dumps(values or {}, sort_keys=True), chart, release)


@cache
def _rendered(values: str, chart: Path, release: str) -> tuple[Json, ...]:
    done = helm("template", release, str(chart), "--namespace", NAMESPACE, values=json.loads(values))
    assert done.returncode == 0, done.stderr
    return tuple(found for found in yaml.load_all(done.stdout, yaml.CSafeLoader) if found)


def refusal(values: Mapping[str, Any]) -> str:
    """Return what Helm says of values that it does not render."""
    done = helm("template", RELEASE, str(CHART), values=values)
    assert done.returncode != 0, "these values were to be refused"
    return done.stderr


def objects(kind: str, values: Mapping[str, Any] | None = None) -> list[Json]:
    """Return the release's objects of a kind."""
    return [found for found in rendered(values) if found["kind"] == kind]


def the(kind: str, values: Mapping[str, Any] | None = None, name: str = RELEASE) -> Json:
    """Return the release's one object of a kind and name; the node role's have the release's."""
    [found] = (found for found in objects(kind, values) if found["metadata"]["name"] == name)
    return found


def pod_of(workload: Json) -> Json:
    """Return the pod's spec of a DaemonSet, a Deployment or a Pod."""
    spec: Json = workload["spec"]
    return spec if workload["kind"] == "Pod" else spec["template"]["spec"]


def node_pod(values: Mapping[str, Any] | None = None) -> Json:
    """Return the spec of the node role's pods."""
    return pod_of(the("DaemonSet", values))


def quota_pod(values: Mapping[str, Any] | None = None) -> Json:
    """Return the spec of the quota role's pod."""
    return pod_of(the("Deployment", values, name=f"{RELEASE}-quota"))


def container(pod: Json) -> Json:
    """Return the only container of a pod."""
    [found] = pod["containers"]
    return found  # type: ignore[no-any-return]


def environment(pod: Json) -> dict[str, str]:
    """Return the variables of the container that are plain texts."""
    return {one["name"]: one["value"] for one in container(pod).get("env", []) if "value" in one}


def flags(arguments: Iterable[str]) -> dict[str, list[str]]:
    """Return the flags of a command line as the command reads them: the texts of each."""
    found: dict[str, list[str]] = {}
    for argument in arguments:
        name, _, text = argument.removeprefix("--").partition("=")
        found.setdefault(name, []).append(text)
    return found


def settings(pod: Json) -> config.NodeSettings | config.QuotaSettings:
    """Return what the program makes of the container's environment and command line; wrong ones raise ConfigError."""
    role, *arguments = container(pod)["args"]
    given, variables = flags(arguments), environment(pod)
    known = {one.variable for one in (config.NODE if role == "node" else config.QUOTA)}
    assert {name for name in variables if name.startswith("VGPU_")} <= known
    if role == "node":
        assert given.keys() <= {setting.name for setting in config.NODE}
        return config.node_settings(given, variables | {"NODE_NAME": "n1"}, None)
    assert given.keys() <= {setting.name for setting in config.QUOTA}
    return config.quota_settings(given, variables, None, lambda path: Path(path).read_text())
