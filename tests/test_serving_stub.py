"""The made-up pages of vLLM and Xinference: what dashboards are tried on must have the real ones' shape."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.error
import urllib.request
from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.serving_stub import TARGETS, page, scrape_configs, serving

ROOT = Path(__file__).parents[1]

_SAMPLE = re.compile(r"([a-z0-9_:]+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')

Series = tuple[str, frozenset[tuple[str, str]]]

#: The engine's bounds in seconds, as the buckets name them.
SECONDS = (
    "0.3 0.5 0.8 1.0 1.5 2.0 2.5 5.0 10.0 15.0 20.0 30.0 40.0 50.0 60.0 120.0 240.0 480.0 960.0 1920.0 7680.0 +Inf"
)


def sampled(path: str, seconds: float = 0) -> dict[Series, float]:
    """Return a page's series, names as they stand there."""
    found = (_SAMPLE.fullmatch(line) for line in page(path, seconds).splitlines() if not line.startswith("#"))
    return {(one[1], frozenset(_LABEL.findall(one[2] or ""))): float(one[3]) for one in map(_there, found)}


def _there(found: re.Match[str] | None) -> re.Match[str]:
    assert found, "a line that is no sample"
    return found


def kinds(path: str) -> dict[str, str]:
    """Return the types that a page declares."""
    return dict(line.split()[2:] for line in page(path, 0).splitlines() if line.startswith("# TYPE"))


def labels(path: str, name: str) -> set[frozenset[str]]:
    """Return which sets of labels a page's series of this name have."""
    return {frozenset(key for key, _ in pairs) for series, pairs in sampled(path) if series == name}


def values(path: str, name: str, label: str) -> list[str]:
    """Return a label's values, in the order of the page's series of this name."""
    return [dict(pairs)[label] for series, pairs in sampled(path) if series == name]


@pytest.mark.parametrize("path", TARGETS)
def test_no_counter_and_no_bucket_ever_falls(path: str) -> None:
    """Over ten minutes, in which loads swing once."""
    gauges = {name for name, kind in kinds(path).items() if kind == "gauge"}

    for before, after in pairwise(sampled(path, seconds) for seconds in range(0, 600, 50)):
        assert before.keys() == after.keys()
        assert all(after[one] >= value for one, value in before.items() if one[0] not in gauges)


@pytest.mark.parametrize("path", TARGETS)
def test_buckets_add_up_to_the_count(path: str) -> None:
    """Each histogram's buckets rise with `le` up to its count, so that quantiles of it are true."""
    rows: dict[Series, list[float]] = {}
    for (name, pairs), value in sampled(path, 60).items():
        if name.endswith("_bucket"):
            whole = name.removesuffix("_bucket") + "_count", frozenset(pair for pair in pairs if pair[0] != "le")
            rows.setdefault(whole, []).append(value)

    counts = sampled(path, 60)
    assert all(row == sorted(row) and row[-1] == counts[whole] for whole, row in rows.items())


def test_counters_grow_with_time() -> None:
    """A minute of the embedding engine brings requests and tokens, and of the LLM replicas too."""
    for path, name in (
        ("/vllm-embed", "vllm:prompt_tokens_total"),
        ("/router", "vllm:num_incoming_requests_total"),
        ("/xinference-worker-0", "xinference:output_tokens_total_counter"),
    ):
        before, after = (
            sum(value for (one, _), value in sampled(path, at).items() if one == name) for at in (0, 60)
        )  # fmt: skip
        assert after > before


def test_an_engine_says_model_and_rank() -> None:
    """Series of vLLM 0.33 have model_name and engine; only rejections have no engine, and the cache no model."""
    base = frozenset({"model_name", "engine"})

    assert labels("/vllm-embed", "vllm:num_requests_running") == {base}
    assert labels("/vllm-embed", "vllm:kv_cache_usage_perc") == {base}
    assert labels("/vllm-embed", "vllm:request_success_total") == {base | {"finished_reason"}}
    assert labels("/vllm-embed", "vllm:admission_rejections_total") == {frozenset({"model_name", "reason"})}
    assert not any("model_name" in one for one in labels("/vllm-embed", "vllm:cache_config_info"))
    assert values("/vllm-embed", "vllm:e2e_request_latency_seconds_bucket", "le") == SECONDS.split()


def test_an_engine_that_embeds_writes_nothing() -> None:
    """It observes no time between tokens, writes none, and its whole answer is the first token."""
    counted = {name: value for (name, _), value in sampled("/vllm-rerank").items()}

    assert counted["vllm:generation_tokens_total"] == 0
    assert counted["vllm:inter_token_latency_seconds_count"] == 0
    assert counted["vllm:request_decode_time_seconds_sum"] == 0
    assert counted["vllm:time_to_first_token_seconds_count"] == counted["vllm:e2e_request_latency_seconds_count"]


def test_the_router_has_an_engines_name_without_a_model() -> None:
    """The trap: vllm:num_requests_running of the router is by server alone, and what should count is a gauge."""
    assert labels("/router", "vllm:num_requests_running") == {frozenset({"server"})}
    assert labels("/router", "vllm:num_incoming_requests_total") == {frozenset({"model"})}
    assert kinds("/router")["vllm:healthy_pods_total"] == "gauge"
    assert "vllm:num_requests_waiting" not in kinds("/router")


def test_a_worker_labels_its_models_as_xinference_does() -> None:
    """The nine labels of 2.8 and later, and tokens of language models alone."""
    which = {"model_type", "model_uid", "replica_index", "model_name", "engine", "worker_address"}
    base = frozenset(which | {"format", "quantization", "gpu_index"})

    assert labels("/xinference-worker-0", "xinference:model_request_limit") == {base}
    assert labels("/xinference-worker-0", "xinference:model_request_total") == {base | {"stream"}}
    assert labels("/xinference-worker-0", "xinference:input_tokens_total_counter") == {base}
    assert not labels("/xinference-worker-3", "xinference:input_tokens_total_counter")


def test_the_stacks_have_the_traps_that_dashboards_must_pass() -> None:
    """Two models in one worker, three replicas of one, and one that was stopped and only the worker still names."""
    listed = values("/xinference-supervisor", "xinference:model_info", "model_uid")

    assert len(values("/xinference-worker-4", "xinference:model_request_limit", "model_uid")) == 2
    assert listed.count("qwen3") == 3
    assert set(values("/xinference-worker-1", "xinference:model_request_limit", "model_uid")) - set(listed) == {
        "qwen2.5-instruct"
    }


def test_targets_have_the_labels_of_an_operators_monitors() -> None:
    """Each is the container of one pod, and no page of an engine or worker has labels of these names itself."""
    jobs = {job["job_name"]: job["static_configs"][0]["labels"] for job in scrape_configs("127.0.0.1:1")}

    assert jobs["vllm-embed"]["container"] == "vllm"
    assert jobs["xinference-worker-4"]["pod"] == "xinference-worker-4"
    assert len({(one["namespace"], one["pod"]) for one in jobs.values()}) == len(TARGETS)
    own = {key for path in TARGETS for _, pairs in sampled(path) for key, _ in pairs}
    assert not own & {key for one in jobs.values() for key in one}


def test_each_scrape_configuration_finds_its_page() -> None:
    """The server answers what page() says, and 404 for the rest."""
    with serving() as address:
        for job in scrape_configs(address):
            with urllib.request.urlopen(f"http://{address}{job['metrics_path']}") as answer:
                assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
                assert list(text_string_to_metric_families(answer.read().decode()))
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://{address}/metrics")


def test_the_program_says_where_it_serves() -> None:
    """On the first line, as soon as it does."""
    command = [sys.executable, "-u", "-m", "tests.serving_stub", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            address = child.stdout.readline().split()[2]
            with urllib.request.urlopen(f"{address}/vllm-rerank") as answer:
                assert answer.status == 200
        finally:
            child.kill()
