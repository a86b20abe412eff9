"""What people copy from the documentation into Prometheus answers something."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import promql_parser as promql
import pytest
import yaml

from exporter.catalogue import METRICS, Kind
from tests.alerts.parsed import metrics
from tests.doc_pages import PAGES, Block, blocks, named, prose
from tests.program import ROOT
from tests.rules.checkers import PROMTOOLS, answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: What others publish and our pages join with, each as its own source or documentation names it.
FOREIGN: Final = {
    "ALERTS", "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_SM_CLOCK",
    "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", "hami_container_last_kernel_elapsed_seconds",
    "hami_gpu_memory_allocated_bytes", "hami_gpu_memory_limit_bytes", "hami_vgpu_memory_limit_bytes",
    "hami_vgpu_memory_used_bytes", "kube_pod_info", "kube_pod_labels", "kube_resourcequota",
    "scrape_duration_seconds", "up",
    "vllm:generation_tokens_total", "vllm:num_requests_running", "vllm:prompt_tokens_total",
    "xinference:model_request_limit", "xinference:model_request_total",
}  # fmt: skip
GPU: Final = "GPU-11cf3a2c-5320-be5a-c26f-88e189a03e14"
#: What the pages' stand-ins are on the recorded node.
RECORDED_NAMES: Final = {"NAMESPACE": "research", "POD": "ssh-lab-0", "NODE": "gpu-node-1"}
_PLACE: Final = f'namespace="research",pod="ssh-lab-0",container="lab",device_uuid="{GPU}"'
_MODEL: Final = 'namespace="research",pod="ssh-lab-0",model_name="bge",model_uid="bge"'
_NODE: Final = "h200-sharing-80s.prom"
_DEVICE: Final = f'node="gpu-node-1",device_uuid="{GPU}",job="vgpu-tenant-exporter",instance="{_NODE}"'
#: Others' series as they spell them, and ours that the recorded node has not.
OTHERS: Final = [
    (f'DCGM_FI_DEV_{name}{{UUID="{GPU}",gpu="0",pod="{pod}"}}', "5x180")
    for name in ("FB_USED", "GPU_UTIL", "SM_CLOCK", "UNCORRECTABLE_REMAPPED_ROWS")
    for pod in ("", "ssh-lab-0")
] + [
    (f"hami_vgpu_memory_used_bytes{{{_PLACE}}}", "5x180"),
    (f"hami_vgpu_memory_limit_bytes{{{_PLACE}}}", "9x180"),
    (f"hami_container_last_kernel_elapsed_seconds{{{_PLACE}}}", "0+60x180"),
    (f'hami_gpu_memory_allocated_bytes{{node="gpu-node-1",device_uuid="{GPU}"}}', "5x180"),
    (f'hami_gpu_memory_limit_bytes{{node="gpu-node-1",device_uuid="{GPU}"}}', "9x180"),
    ('kube_pod_labels{namespace="research",pod="ssh-lab-0",label_team="lab"}', "1x180"),
    ('kube_pod_info{namespace="research",pod="ssh-lab-0",created_by_name="ssh-lab"}', "1x180"),
    ('kube_resourcequota{namespace="serving",resource="requests.nvidia.com/gpu",type="used"}', "1x180"),
    *((f"vllm:{name}{{{_MODEL}}}", "0+9x180") for name in ("generation_tokens_total", "prompt_tokens_total")),
    (f"vllm:num_requests_running{{{_MODEL}}}", "1x180"),
    (f"xinference:model_request_limit{{{_MODEL}}}", "5x180"),
    (f"xinference:model_request_total{{{_MODEL}}}", "0+1x180"),
    (f"vgpu_device_memory_schedulable_bytes{{{_DEVICE}}}", "9x180"),
    (f'vgpu_device_xid_errors_total{{{_DEVICE},xid="79"}}', "0+1x180"),
]
#: What answers nothing where all is well.
EMPTY: Final = {
    "vgpu_source_up == 0",
    "vgpu_device_up == 0",
    'count by (job, exported_namespace) (vgpu_container_info{exported_namespace!=""})',
}
OURS: Final = {
    f"{metric.name}{end}"
    for metric in METRICS
    for end in ("", "_sum", "_count")[: 3 if metric.kind is Kind.SUMMARY else 1]
}
RECORDED: Final = {
    rule["record"]
    for group in yaml.safe_load((ROOT / "alerts/generated/recording.yaml").read_text())["groups"]
    for rule in group["rules"]
}


def _queries(block: Block) -> list[str]:
    """Return a block's queries: the whole is one, or each line is."""
    try:
        promql.parse(block.text)
    except ValueError:
        return [line for line in block.text.splitlines() if line.strip() and not line.startswith("#")]
    return [block.text.strip()]


@pytest.mark.parametrize("block", blocks("promql"), ids=named)
def test_a_query_is_promql_about_metrics_that_exist(block: Block) -> None:
    """Each line parses, and selects nothing that nobody publishes."""
    for query in _queries(block):
        promql.parse(query)
        assert metrics(query) - OURS - RECORDED - FOREIGN == set(), query


def _golden() -> Iterator[tuple[str, str]]:
    """Yield each series of the recorded node and of a cluster with quotas, with its values over three hours.

    Counters rise; times are that of the beginning.
    """
    for name in (_NODE, "quota.prom"):
        for line in (ROOT / "tests/golden" / name).read_text().splitlines():
            if line.startswith("vgpu_") and "{" in line:
                series, value = line.rsplit(" ", 1)
                target = f'job="vgpu-tenant-exporter",instance="{name}"'
                rising = re.match(r"\w+_(total|count|sum)\{", series)
                value = "0" if "_timestamp_seconds{" in series else value
                yield f"{series[:-1]},{target}}}", f"{'0+1' if rising else value}x180"


def _asked() -> list[str]:
    """Return the queries of docs/ and the README, for the recorded tenant, without those of EMPTY."""
    pages = [block for block in blocks("promql") if block.page.parent.name != "alerts"]
    queries = dict.fromkeys(query for block in pages for query in _queries(block))
    return [re.sub("NAMESPACE|POD|NODE", lambda found: RECORDED_NAMES[found[0]], q) for q in queries if q not in EMPTY]


@pytest.mark.parametrize("promtool", PROMTOOLS)
def test_a_query_answers_something(promtool: str, tmp_path: Path) -> None:
    """On the recorded node, joined with others' metrics as those spell their labels, no query of the pages is empty."""
    case = {
        "rule_files": [str(ROOT / "alerts/generated/recording.yaml")],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": one, "values": values} for one, values in [*_golden(), *OTHERS]],
                "promql_expr_test": [
                    {
                        "expr": f"count({query}) > bool 0",
                        "eval_time": "170m",
                        "exp_samples": [{"labels": "{}", "value": 1}],
                    }
                    for query in _asked()
                ],
            }
        ],
    }
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump(case))

    answer(promtool, "test", "rules", str(path))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_page_names_metrics_and_rules_that_exist(page: Path) -> None:
    """A name of ours within a sentence or a table is in the catalogue, or is recorded."""
    text = prose(page)
    metrics_named = set(re.findall(r"(?<![\w:/.{-])vgpu_[a-z0-9_]+(?![\w:…*]|\{[a-z_]+,)", text))
    rules_named = set(re.findall(r"\b[a-z_]+:vgpu_\w+:\w+", text))

    assert metrics_named - OURS == set()
    assert rules_named - RECORDED == set()
