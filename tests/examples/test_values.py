"""The example values for both charts: keys that the charts know, pods that Kubernetes and HAMi take, what docs say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from jsonschema import Draft202012Validator

from tests.charts.schemas import faults
from tests.examples.stacks import (
    DEFAULTS,
    EXAMPLES,
    GPU,
    GPUCORES,
    GPUMEM,
    PERCENTAGE,
    SCHEMA,
    Json,
    given,
    production_stack,
    read,
    read_all,
    resources,
    xinference,
)
from tests.quota_world import MIB
from tests.replay import Replay
from tests.rules.checkers import ROOT

if TYPE_CHECKING:
    from pathlib import Path

CHARTS = {"vllm-production-stack.yaml": production_stack, "xinference.yaml": xinference}


@pytest.fixture(name="rendered", scope="module")
def _rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Json]]:
    """Return the Deployments of both charts by the example's name."""
    directory: Path = tmp_path_factory.mktemp("charts")
    return {name: list(chart(given(name, directory))) for name, chart in CHARTS.items()}


def container(deployment: Json) -> Json:
    """Return a Deployment's one container."""
    [found] = deployment["spec"]["template"]["spec"]["containers"]
    return dict(found)


def asks(deployment: Json) -> tuple[dict[str, str], dict[str, str]]:
    """Return what a Deployment's container asks HAMi for: its requests, its limits."""
    sides = container(deployment).get("resources", {})
    found = [
        {name: amount for name, amount in (sides.get(side) or {}).items() if "/" in name}
        for side in ("requests", "limits")
    ]
    return found[0], found[1]


def test_the_production_stacks_chart_knows_every_key() -> None:
    """Names and types are those of its schema, which lets a mistyped name pass."""
    assert [
        error.message for error in Draft202012Validator(SCHEMA).iter_errors(read("vllm-production-stack.yaml"))
    ] == []


@pytest.mark.parametrize("name", ["limitGpuMem", "limitGPU"])
def test_a_key_that_the_chart_does_not_have_would_be_found(name: str) -> None:
    """Our reading of the schema refuses what the chart's own would drop in silence."""
    values = json.loads(json.dumps(read("vllm-production-stack.yaml")))
    values["servingEngineSpec"]["modelSpec"][0][name] = "8000"

    assert not Draft202012Validator(SCHEMA).is_valid(values)


def test_a_number_where_the_chart_wants_text_would_be_found() -> None:
    """Memory and cores are strings there."""
    values = read("vllm-production-stack.yaml")
    values["servingEngineSpec"]["modelSpec"][0]["limitGPUMem"] = 8000

    assert not Draft202012Validator(SCHEMA).is_valid(values)


@pytest.mark.parametrize("name", CHARTS)
def test_kubernetes_takes_the_pods(name: str, rendered: dict[str, list[Json]]) -> None:
    """Strictly, in every release that we support."""
    assert [fault for deployment in rendered[name] for fault in faults(deployment)] == []


@pytest.mark.parametrize("name", CHARTS)
def test_what_is_limited_is_requested_alike(name: str, rendered: dict[str, list[Json]]) -> None:
    """Kubernetes refuses an extended resource whose limit is not its request."""
    for deployment in rendered[name]:
        requested, limited = asks(deployment)
        assert requested == limited


def test_a_request_alone_would_be_refused() -> None:
    """The trap of the chart: requestGPUMem makes no limit."""
    sides = resources({"requestGPU": 1, "requestGPUMem": "8000"})

    assert sides == {"requests": {GPU: "1", GPUMEM: "8000"}, "limits": {GPU: "1"}}


def test_the_two_models_are_those_of_the_recording(rendered: dict[str, list[Json]]) -> None:
    """Deployments, containers and grants are those of the pods that the demo plays."""
    *engines, _ = rendered["vllm-production-stack.yaml"]
    pairs = [pair for pair in Replay().until(5).joined.pairs if pair.pod.namespace == "rag"]

    recorded = {
        (pair.pod.name.rsplit("-", 2)[0], pair.owner.container): (pair.memory_granted or 0) // MIB for pair in pairs
    }
    assert recorded == {
        (engine["metadata"]["name"], container(engine)["name"]): int(asks(engine)[1][GPUMEM]) for engine in engines
    }


def test_both_models_may_come_to_lie_on_one_card(rendered: dict[str, list[Json]]) -> None:
    """They ask HAMi to fill a card before it takes the next, and for one vGPU each."""
    *engines, _ = rendered["vllm-production-stack.yaml"]

    for engine in engines:
        annotations = engine["spec"]["template"]["metadata"]["annotations"]
        assert annotations == {"hami.io/gpu-scheduler-policy": "binpack"}
        assert asks(engine)[1][GPU] == "1"


@pytest.mark.parametrize("name", CHARTS)
def test_an_upgrade_does_not_need_the_vgpus_twice(name: str, rendered: dict[str, list[Json]]) -> None:
    """The old pod ends before the new one starts."""
    with_gpus = [deployment for deployment in rendered[name] if asks(deployment)[1]]

    assert [deployment["spec"]["strategy"] for deployment in with_gpus] == [{"type": "Recreate"}] * len(with_gpus)


def test_hami_is_left_to_choose_scheduler_and_runtime(rendered: dict[str, list[Json]]) -> None:
    """No RuntimeClass that may not exist, no scheduler of another name."""
    for deployment in rendered["vllm-production-stack.yaml"]:
        assert deployment["spec"]["template"]["spec"].keys() == {"containers"}


def test_the_routers_selector_finds_engines_and_not_itself(rendered: dict[str, list[Json]]) -> None:
    """It looks for the engines' labels, none of them the chart's own `test`."""
    *engines, router = (
        deployment["spec"]["template"]["metadata"]["labels"] for deployment in rendered["vllm-production-stack.yaml"]
    )
    wanted = read("vllm-production-stack.yaml")["servingEngineSpec"]["labels"].items()

    assert all(wanted <= labels.items() for labels in engines)
    assert not wanted <= router.items()
    assert "test" not in dict(wanted).values()


def test_five_workers_take_a_tenth_and_a_fifth(rendered: dict[str, list[Json]]) -> None:
    """Of memory and cores, and the supervisor nothing, though by default it takes a card."""
    supervisor, worker = rendered["xinference.yaml"]

    assert asks(supervisor) == ({}, {})
    assert container(supervisor)["resources"]["requests"] == {"cpu": "1", "memory": "4Gi"}
    assert (worker["spec"]["replicas"], asks(worker)[1]) == (5, {GPU: "1", PERCENTAGE: "10", GPUCORES: "20"})


def test_the_workers_have_all_of_the_charts_arguments(rendered: dict[str, list[Json]]) -> None:
    """Lists are replaced as a whole: what the chart sets is repeated, and the port of the metrics comes last."""
    own = DEFAULTS["xinference.yaml"]["xinferenceWorker"]["worker"]["args"]
    assert container(rendered["xinference.yaml"][1])["args"] == [*own, "--metrics-exporter-port", "9100"]


def test_the_monitors_find_the_pods_and_their_ports(rendered: dict[str, list[Json]]) -> None:
    """Each PodMonitor selects one Deployment of Xinference, and a port that its pods open."""
    for monitor in read_all("xinference-monitors.yaml"):
        assert faults(monitor) == []
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        [endpoint] = monitor["spec"]["podMetricsEndpoints"]
        [selected] = (one for one in rendered["xinference.yaml"] if wanted <= one["metadata"]["labels"].items())
        assert endpoint["port"] in [port.get("name") for port in container(selected)["ports"]]
        assert monitor["metadata"]["namespace"] == selected["metadata"]["namespace"]


def test_every_monitor_is_for_the_same_prometheus() -> None:
    """The label that a Prometheus selects by is the same in all examples."""
    stack = read("vllm-production-stack.yaml")
    releases = {stack[part]["labels"]["release"] for part in ("servingEngineSpec", "routerSpec")}

    assert releases == {monitor["metadata"]["labels"]["release"] for monitor in read_all("xinference-monitors.yaml")}


def test_every_example_is_explained() -> None:
    """docs/serving.md or docs/alerting.md names each file of docs/examples."""
    pages = "".join((ROOT / "docs" / page).read_text() for page in ("serving.md", "alerting.md"))

    assert [path.name for path in EXAMPLES.iterdir() if path.is_file() and f"examples/{path.name}" not in pages] == []
