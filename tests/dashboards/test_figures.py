"""What panels say of clusters that are not well: each query runs in promtool, on series made up for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest

from dashboards.book import BOARDS
from tests.dashboards.grafana import filled, panels
from tests.rules.checkers import PROMTOOLS, answer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.dashboards.grafana import Json

_BOARDS: Final[dict[str, Json]] = {board.uid: board.json() for board in BOARDS}
#: Everything is chosen, as when a dashboard is opened; the range of time is two hours.
_ALL: Final = {
    "cluster": ".*", "node": ".+", "namespace": ".+", "tenant": ".*", "instance": ".+", "model_name": ".*",
    "__rate_interval": "5m", "__range": "2h", "__range_s": "7200",
}  # fmt: skip
#: A GPU of 80 bytes as two nodes have it; of `blind` the exporter cannot say whose use is.
_GPUS: Final = {
    f'{metric}{{node="{node}", device_uuid="GPU-{node}"}}': f"{value}x200"
    for node in ("well", "blind")
    for metric, value in {
        "vgpu_device_memory_total_bytes": "80",
        "vgpu_device_memory_used_bytes": "40",
        "vgpu_device_core_utilization_ratio": "0.5",
        "vgpu_device_observed_seconds_total": "0+60",
        "vgpu_device_core_busy_seconds_total": "0+30",
    }.items()
}
_ON_WELL: Final = 'node="well", device_uuid="GPU-well"'
_TOLD: Final = {
    f'vgpu_device_memory_unattributed_bytes{{{_ON_WELL}, reason="host"}}': "8x200",
    f"vgpu_device_memory_granted_bytes{{{_ON_WELL}}}": "64x200",
    f"vgpu_device_core_granted_ratio{{{_ON_WELL}}}": "0.8x200",
    f"vgpu_device_core_attributed_seconds_total{{{_ON_WELL}}}": "0+24x200",
    f'vgpu_device_core_unattributed_seconds_total{{{_ON_WELL}, reason="host"}}': "0+6x200",
}


@pytest.fixture(params=PROMTOOLS)
def promtool(request: pytest.FixtureRequest) -> str:
    """Return each generation's promtool."""
    return str(request.param)


def asked(board: str, title: str, letter: str = "A", **chosen: str) -> str:
    """Return a panel's query with everything chosen but for what is given."""
    [expr] = (
        target["expr"]
        for panel in panels(_BOARDS[board])
        if panel["title"] == title
        for target in panel["targets"]
        if target["refId"] == letter
    )
    return filled(expr, {**_ALL, **chosen})


def offered(board: str, name: str, **chosen: str) -> str:
    """Return a query for the values that a variable offers."""
    [variable] = (one for one in _BOARDS[board]["templating"]["list"] if one["name"] == name)
    selector, _, label = variable["definition"].removeprefix("label_values(").removesuffix(")").rpartition(", ")
    return f"group by ({label}) ({filled(selector, {**_ALL, **chosen})})"


def says(
    promtool: str, tmp_path: Path, series: Mapping[str, str], expected: Mapping[str, Mapping[str, float]],
    at: str = "120m",
) -> None:  # fmt: skip
    """Let promtool compare what each query answers, to a tenth, with a scrape each minute."""
    checks = [
        {
            "expr": f"round({expr}, 0.1)",
            "eval_time": at,
            "exp_samples": [{"labels": one, "value": value} for one, value in said.items()],
        }
        for expr, said in expected.items()
    ]
    scraped = [{"series": name, "values": values} for name, values in series.items()]
    document = {"tests": [{"interval": "1m", "input_series": scraped, "promql_expr_test": checks}]}
    path = tmp_path / "case.yaml"
    path.write_text(json.dumps(document))
    assert "SUCCESS" in answer(promtool, "test", "rules", str(path))


# ---------------------------------------------------------------- fleet


def test_a_blind_exporter_does_not_move_the_shares_of_others(promtool: str, tmp_path: Path) -> None:
    """A GPU of which use or grants are not known is in neither part of a share: half of them would look like half."""
    says(promtool, tmp_path, {**_GPUS, **_TOLD}, {
        asked("vgpu-fleet", "Unattributed memory"): {"{}": 0.1},
        asked("vgpu-fleet", "Memory granted, used", "A"): {"{}": 0.8},
        asked("vgpu-fleet", "Memory granted, used", "B"): {"{}": 0.5},
        asked("vgpu-fleet", "Cores granted, busy", "A"): {"{}": 0.8},
        asked("vgpu-fleet", "Cores granted, busy", "B"): {"{}": 0.5},
    })  # fmt: skip


def test_grants_of_a_gpu_that_is_down_are_no_share_of_the_others(promtool: str, tmp_path: Path) -> None:
    """It keeps its grants and has no memory any more: the GPUs that are there are no fuller for it."""
    down = {
        'vgpu_device_memory_granted_bytes{node="down", device_uuid="GPU-down"}': "80x200",
        'vgpu_device_core_granted_ratio{node="down", device_uuid="GPU-down"}': "1x200",
    }
    says(promtool, tmp_path, {**_GPUS, **_TOLD, **down}, {
        asked("vgpu-fleet", "Memory granted, used", "A"): {"{}": 0.8},
        asked("vgpu-fleet", "Cores granted, busy", "A"): {"{}": 0.8},
    })  # fmt: skip


def test_gpu_time_adds_up_beside_a_blind_exporter(promtool: str, tmp_path: Path) -> None:
    """Of containers, of nobody and idle are shares of the time that can be told apart, 100 % in all."""
    says(promtool, tmp_path, {**_GPUS, **_TOLD}, {
        asked("vgpu-fleet", "Where GPU time goes", "A"): {"{}": 0.4},
        asked("vgpu-fleet", "Where GPU time goes", "B"): {"{}": 0.1},
        asked("vgpu-fleet", "Where GPU time goes", "C"): {"{}": 0.5},
    })  # fmt: skip


def test_the_account_of_a_namespace_that_is_gone_stays(promtool: str, tmp_path: Path) -> None:
    """Deleted, and its exporter replaced: what it used within the range is still its tenant's."""
    series = {
        f'vgpu_namespace_core_busy_seconds_total{{{_ON_WELL}, namespace="gone", job="j", instance="i"}}': "0+60x60",
        'namespace:vgpu_tenant:info{namespace="gone", tenant="lab"}': "1x100",
    }
    expr = asked("vgpu-fleet", "Tenants' accounts over this range of time", __range="3h")
    says(promtool, tmp_path, series, {expr: {'{tenant="lab"}': 1}}, at="170m")


def test_xid_events_of_before_the_range_are_not_in_it(promtool: str, tmp_path: Path) -> None:
    """The time of the last event stays for as long as the exporter lives; only what is within the range is listed."""
    series = {
        f'vgpu_device_xid_last_timestamp_seconds{{{_ON_WELL}, xid="31"}}': "60x200",
        f'vgpu_device_xid_last_timestamp_seconds{{{_ON_WELL}, xid="79"}}': "9000x200",
    }
    expr = asked("vgpu-fleet", "XID events over this range of time", "B")
    says(promtool, tmp_path, series, {expr: {f'{{{_ON_WELL}, xid="79"}}': 9_000_000}}, at="180m")


def test_what_fires_about_gpus_is_in_nobodys_namespace(promtool: str, tmp_path: Path) -> None:
    """The chart gives such alerts the release's namespace: a link there would open a tenant that it is not about."""
    same = 'alertstate="firing", severity="critical", namespace="gpu"'
    series = {
        f'ALERTS{{alertname="VgpuDeviceDown", scope="device", node="n", {same}}}': "1x200",
        f'ALERTS{{alertname="VgpuExporterDown", scope="exporter", instance="n", {same}}}': "1x200",
        f'ALERTS{{alertname="VgpuQuotaFull", scope="tenant", {same}}}': "1x200",
    }
    says(promtool, tmp_path, series, {asked("vgpu-fleet", "What fires"): {
        '{alertname="VgpuDeviceDown", node="n"}': 3,
        '{alertname="VgpuExporterDown", instance="n"}': 3,
        '{alertname="VgpuQuotaFull", namespace="gpu"}': 3,
    }})  # fmt: skip


# ---------------------------------------------------------------- tenant


def test_a_namespace_alone_is_billed_to_its_own_tenant_alone(promtool: str, tmp_path: Path) -> None:
    """Who comes by the link of a namespace has chosen no tenant: others' GPU-hours are not shown as its own."""
    series = {
        series: values
        for namespace, tenant in (("rag", "inference"), ("batch", "etl"))
        for series, values in {
            f'namespace:vgpu_tenant:info{{namespace="{namespace}", tenant="{tenant}"}}': "1x200",
            f'tenant:vgpu_core_busy_gpu_hours:increase1h{{tenant="{tenant}"}}': "0.5x200",
        }.items()
    }  # fmt: skip
    of_one = asked("vgpu-tenant", "GPU-hours", namespace="rag", __range="1h")
    of_all = asked("vgpu-tenant", "GPU-hours", namespace="(batch|rag)", __range="1h")

    says(promtool, tmp_path, series, {of_one: {"{}": 0.5}}, at="181m")
    says(promtool, tmp_path, series, {of_all: {"{}": 1}}, at="181m")


def test_namespaces_can_be_chosen_without_the_recording_rules(promtool: str, tmp_path: Path) -> None:
    """Whoever has not loaded them sees what containers hold and use; a tenant's namespaces are only its own."""
    containers = 'node="n", device_uuid="GPU", pod="p", container="c"'
    series = {
        f'vgpu_container_info{{{containers}, namespace="rag"}}': "1x200",
        f'vgpu_container_info{{{containers}, namespace="lab"}}': "1x200",
        'namespace:vgpu_tenant:info{namespace="rag", tenant="inference"}': "1x200",
    }
    says(promtool, tmp_path, series, {
        offered("vgpu-tenant", "namespace"): {'{namespace="rag"}': 1, '{namespace="lab"}': 1},
        offered("vgpu-tenant", "namespace", tenant="inference"): {'{namespace="rag"}': 1},
    })  # fmt: skip


def test_alerts_on_gpus_are_not_of_the_tenant_in_whose_namespace_the_exporter_is(promtool: str, tmp_path: Path) -> None:
    """The chart gives them the release's namespace, so that somebody can route them."""
    series = {
        'ALERTS{alertname="VgpuDeviceDown", alertstate="firing", scope="device", severity="critical", namespace="gpu"}':
            "1x200",
        'ALERTS{alertname="VgpuGrantIdle", alertstate="firing", scope="tenant", severity="info", namespace="gpu"}':
            "1x200",
    }  # fmt: skip
    says(promtool, tmp_path, series, {asked("vgpu-tenant", "Alerts", namespace="gpu"): {'{severity="info"}': 1}})


# ---------------------------------------------------------------- GPU, serving, health


def test_a_pod_is_opened_with_all_its_containers() -> None:
    """A grant of the pod as a whole stands under no container, which as a choice would show nothing."""
    urls = [
        link["url"]
        for panel in panels(_BOARDS["vgpu-gpu"])
        for override in panel["fieldConfig"]["overrides"]
        for one in override["properties"] if one["id"] == "links"
        for link in one["value"]
    ]  # fmt: skip

    assert [url for url in urls if "/d/vgpu-workload" in url] != []
    assert [url for url in urls if "var-container" in url] == []


def test_tokens_of_a_pod_whose_gpu_time_is_unknown_are_no_bargain(promtool: str, tmp_path: Path) -> None:
    """Two replicas, of which one exporter tells: the worth of a GPU-second is that of the replica it knows."""
    series = {
        f'vllm:{name}{{namespace="rag", pod="{pod}", model_name="m", engine="0"}}': values
        for pod in ("one", "two")
        for name, values in {
            "num_requests_running": "1x200",
            "prompt_tokens_total": "0+1800x200",
            "generation_tokens_total": "0+1200x200",
        }.items()
    }  # fmt: skip
    busy = {
        f'vgpu_container_core_busy_seconds_total{{{_ON_WELL}, namespace="rag", pod="one", container="c"}}': "0+30x200"
    }
    expr = asked("vgpu-serving", "Tokens per GPU-second")

    says(promtool, tmp_path, {**series, **busy}, {expr: {'{namespace="rag", model="m"}': 100}})


def test_who_is_down_in_a_job_of_all_annotated_pods_is_no_exporter(promtool: str, tmp_path: Path) -> None:
    """As VgpuExporterDown has it: somebody else's pod is not ours, one of ours that answered within the day is."""
    series = {
        'up{job="kubernetes-pods", instance="ours"}': "1x200",
        'vgpu_exporter_snapshot_timestamp_seconds{job="kubernetes-pods", instance="ours", role="node"}': "0+60x200",
        'up{job="kubernetes-pods", instance="former"}': "1x60 0x140",
        'vgpu_exporter_snapshot_timestamp_seconds{job="kubernetes-pods", instance="former", role="node"}': "0+60x60",
        'up{job="kubernetes-pods", instance="somebody"}': "0x200",
        'up{job="kubernetes-pods", instance="else"}': "1x200",
    }
    says(promtool, tmp_path, series, {asked("vgpu-health", "Exporters down"): {"{}": 1}})
