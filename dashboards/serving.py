"""Model serving: what vLLM and Xinference say of their models, beside the GPU memory and cores of their pods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alerts.promql import labels
from dashboards import fields as f
from dashboards import links, serving_pods, serving_sections, variables
from dashboards.board import Board
from dashboards.layout import line
from dashboards.models import (
    BY_MODEL,
    MODEL,
    NO_MODELS,
    NO_VLLM,
    NO_XINFERENCE,
    PLACES,
    POD,
    VLLM,
    XINFERENCE,
    by_model,
    cores,
    held,
    quantile,
    tokens,
    unwatched,
)
from dashboards.panels import stat, timeseries
from dashboards.queries import Query, total
from exporter import catalogue as c

if TYPE_CHECKING:
    from dashboards.layout import Line

_FAILED: Final = 'finished_reason=~"abort|error"'
_FINISHED: Final = VLLM.rate("request_success_total", "finished_reason")


def _strip() -> Line:
    waiting = VLLM.now("num_requests_waiting")
    engines = stat(
        "vLLM models",
        "How many models vLLM engines serve, by vllm:num_requests_running (the router's series of that name is left "
        "out). If it says that there are no metrics: let Prometheus scrape the engines (the chart's "
        "serviceMonitor.enabled), with the labels namespace and pod.",
        [Query(f"count(group by {_by_model()} ({VLLM.now('num_requests_running')}))")], f.NUMBER, empty=NO_VLLM,
    )  # fmt: skip
    replicas = stat(
        "Xinference models",
        "How many models Xinference workers serve, by xinference:model_request_limit (2.8 and later). If it says that "
        "there are no metrics: start the workers with --metrics-exporter-port and scrape that port with a PodMonitor.",
        [Query(f"count(group by {_by_model()} ({XINFERENCE.now('model_request_limit')}))")], f.NUMBER,
        empty=NO_XINFERENCE,
    )  # fmt: skip
    without = stat(
        "Pods without metrics",
        "Pods with a GPU that look like vLLM or Xinference by name (vgpu_container_info) and of which no model's "
        "metrics reach this Prometheus. Of these the panels here show nothing: see the two figures to the left for "
        "what to do.",
        [Query(unwatched(), latest=True)], f.NUMBER, steps=f.ANY_IS_WARNING,
    )  # fmt: skip
    queued = stat(
        "Waiting",
        "Requests that wait in vLLM engines, vllm:num_requests_waiting. If it stays above 0 the engine is full: more "
        "KV cache (GPU memory), more replicas, or fewer requests.",
        [Query(f"sum({waiting})")], f.NUMBER, steps=((None, f.NEUTRAL), (1, f.WARN)), empty=NO_VLLM,
    )  # fmt: skip
    failed = stat(
        "Failed",
        "Share of requests that failed: vLLM's that ended by error or abort (often the caller hung up; "
        "vllm:request_success_total counts these too), and xinference:model_request_errors_total over all.",
        [Query(_failed_in_vllm(), "vLLM"), Query(_failed_in_xinference(), "Xinference")], f.RATIO,
        steps=((None, f.NEUTRAL), (0.01, f.WARN), (0.05, f.BAD)), decimals=1, empty=NO_MODELS,
    )  # fmt: skip
    cache = stat(
        "Fullest KV cache",
        "The fullest engine's KV cache, vllm:kv_cache_usage_perc. Near 100 % requests wait or are preempted: give the "
        "engine more memory, or send it less.",
        [Query(f"max({_kv_cache()})")], f.RATIO, steps=f.FULL, decimals=0, empty=NO_VLLM,
    )  # fmt: skip
    written = stat(
        "Tokens per second now",
        "Tokens read and written by all chosen models, vllm:prompt_tokens_total and so on as in the graph below. 0 "
        "with requests: they may be models that count none (Xinference's embeddings and rerankers).",
        [Query(f"sum({by_model(tokens())})")], f.NUMBER, decimals=0, empty=NO_MODELS,
    )  # fmt: skip
    busy = stat(
        "GPUs busy with models",
        "GPU-seconds per second that the models' pods use, from vgpu_container_core_busy_seconds_total: 1 is one whole "
        "GPU. Compare with what they were granted, below.",
        [Query(f"sum({by_model(cores())})")], f.NUMBER, decimals=2, empty=NO_MODELS,
    )  # fmt: skip
    return line(4, engines, replicas, without, queued, failed, cache, written, busy)


def _by_model() -> str:
    return f"({', '.join(MODEL)})"


def _failed_in_vllm() -> str:
    return f"sum({VLLM.rate('request_success_total', 'finished_reason', where=_FAILED)}) / (sum({_FINISHED}) > 0)"


def _failed_in_xinference() -> str:
    """Return the share; a worker that never failed has no series of failures, so its requests say that it is 0."""
    errors, calls = XINFERENCE.rate("model_request_errors_total"), XINFERENCE.rate("model_request_total")
    return f"(sum({errors}) or sum({calls}) * 0) / (sum({calls}) > 0)"


def _kv_cache() -> str:
    """Return the share in use by pod and model, by vLLM's name for it since 0.9 or the one before."""
    return f"{VLLM.now('kv_cache_usage_perc')} or {VLLM.now('gpu_cache_usage_perc')}"


def _latency(share: float) -> str:
    """Return vLLM's latency: to the end for models that write, else to the "first token", whose buckets are finer."""
    writes = f"group by {_by_model()} ({VLLM.now('generation_tokens_total')} > 0)"
    whole, first = VLLM.buckets("e2e_request_latency_seconds"), VLLM.buckets("time_to_first_token_seconds")
    on = f"on {_by_model()}"
    return quantile(share, f"{whole} and {on} {writes} or {first} unless {on} {writes}")


def _vllm() -> Line:
    finished = timeseries(
        "vLLM: requests per second",
        "Requests that ended, however they ended, by model: the rate of vllm:request_success_total. Each text of an "
        "embeddings call and each document of a rerank call is one request. A drop to 0 with calls coming in: look at "
        "the engine's log.",
        [Query(total(MODEL, _FINISHED), BY_MODEL)], f.NUMBER, empty=NO_VLLM,
    )  # fmt: skip
    latency = timeseries(
        "vLLM: latency",
        "Half of the requests, and 19 of 20, took no longer: vllm:e2e_request_latency_seconds for models that write "
        "text; for embeddings and rerankers vllm:time_to_first_token_seconds, which is the same there with finer "
        "buckets. Rising with Waiting: too much load; rising alone: a neighbour on the GPU.",
        [Query(_latency(0.5), f"p50 {BY_MODEL}"), Query(_latency(0.95), f"p95 {BY_MODEL}")], f.SECONDS, empty=NO_VLLM,
    )  # fmt: skip
    queue = timeseries(
        "vLLM: running and waiting",
        "Requests in work and in the queue (dashed), vllm:num_requests_running and vllm:num_requests_waiting. A queue "
        "while the cores below idle: the KV cache or max_num_seqs is the limit; while they are busy: the GPU is.",
        [
            Query(total(MODEL, VLLM.now("num_requests_running")), f"running {BY_MODEL}"),
            Query(total(MODEL, VLLM.now("num_requests_waiting")), f"waiting {BY_MODEL}"),
        ],
        f.NUMBER, overrides=[f.limit_lines("/^waiting/", f.WARN)], empty=NO_VLLM,
    )  # fmt: skip
    cache = timeseries(
        "vLLM: KV cache in use",
        "Share of the KV cache that requests hold, the fullest engine of each model: vllm:kv_cache_usage_perc "
        "(before 0.9 vllm:gpu_cache_usage_perc). Its size is fixed at the start, so GPU memory stays flat while this "
        "moves. Embedding models may have none. Near 100 %: give the container more memory.",
        [Query(f"max by {_by_model()} ({_kv_cache()})", BY_MODEL)], f.RATIO, most=1, empty=NO_VLLM,
    )  # fmt: skip
    return line(6, finished, latency, queue, cache)


def _xinference() -> Line:
    calls = XINFERENCE.rate("model_request_total")
    took = XINFERENCE.buckets("model_request_duration_seconds")
    rate = timeseries(
        "Xinference: requests per second",
        "Calls by model, the rate of xinference:model_request_total. A call is one, however many texts it holds, so "
        "this does not compare with vLLM's.",
        [Query(total(MODEL, calls), BY_MODEL)], f.NUMBER, empty=NO_XINFERENCE,
    )  # fmt: skip
    latency = timeseries(
        "Xinference: latency",
        "Half of the calls, and 19 of 20, took no longer: xinference:model_request_duration_seconds. For streams it "
        "is the time until the stream begins. Rising with calls in work: add replicas; rising alone: a neighbour on "
        "the GPU.",
        [Query(quantile(0.5, took), f"p50 {BY_MODEL}"), Query(quantile(0.95, took), f"p95 {BY_MODEL}")], f.SECONDS,
        empty=NO_XINFERENCE,
    )  # fmt: skip
    limits = f"{XINFERENCE.now('model_request_limit')} >= 0"
    work = timeseries(
        "Xinference: calls in work",
        "xinference:model_serve_count by model, from a model's first call on; dashed what is allowed at once where "
        "that is limited (xinference:model_request_limit). At the limit callers are refused: raise it or add "
        "replicas.",
        [
            Query(total(MODEL, XINFERENCE.now("model_serve_count")), BY_MODEL),
            Query(total(MODEL, limits), f"limit {BY_MODEL}"),
        ],
        f.NUMBER, overrides=[f.limit_lines("/^limit/", f.LIMIT)], empty=NO_XINFERENCE,
    )  # fmt: skip
    errors = total(MODEL, XINFERENCE.rate("model_request_errors_total"))
    failures = timeseries(
        "Xinference: failed per second",
        "Calls that failed or were refused, the rate of xinference:model_request_errors_total. See the worker's log; "
        "out of memory there means that the grant is too small or shared by several models.",
        [Query(f"{errors} or {total(MODEL, calls)} * 0", BY_MODEL)], f.NUMBER, empty=NO_XINFERENCE,
    )  # fmt: skip
    return line(6, rate, latency, work, failures)


def _worth() -> str:
    """Return tokens by GPU-second: of pods whose GPU time is known, as the others' tokens would look gratis."""
    return f"{by_model(f'({tokens()} and on {labels(POD)} {cores()})')} / ({by_model(cores())} > 0)"


def _cards() -> Line:
    taken = timeseries(
        "GPU memory of models",
        "Driver memory of the pods that serve each model (vgpu_container_memory_used_bytes), stacked, and what was "
        "granted to all of them, dashed. Several models in one pod cannot be told apart and stand as POD (shared). A "
        "flat line is normal: vLLM takes its share at the start. Used at granted: the next model does not fit.",
        [
            Query(by_model(held(c.CONTAINER_MEMORY_USED)), BY_MODEL),
            Query(f"sum({by_model(held(c.CONTAINER_MEMORY_GRANTED))})", "Granted"),
        ],
        f.BYTES, stacked=True, overrides=[f.limit_line("Granted", f.GRANTED)], empty=NO_MODELS,
    )  # fmt: skip
    used = timeseries(
        "Cores of models",
        "GPU time of the pods that serve each model, 100 % is one whole GPU: the rate of "
        "vgpu_container_core_busy_seconds_total, stacked; dashed what was granted to those whose cores are limited. "
        "Busy without requests: see who else runs in the pod.",
        [
            Query(by_model(cores()), BY_MODEL),
            Query(f"sum({by_model(held(c.CONTAINER_CORE_GRANTED))})", "Granted"),
        ],
        f.RATIO, stacked=True, overrides=[f.limit_line("Granted", f.GRANTED)], empty=NO_MODELS,
    )  # fmt: skip
    rates = timeseries(
        "Tokens per second",
        "Tokens read and written: vllm:prompt_tokens_total and vllm:generation_tokens_total; "
        "xinference:input_tokens_total_counter and xinference:output_tokens_total_counter, which only language models "
        "have. Falling while requests wait: the GPU is shared with somebody.",
        [Query(by_model(tokens()), BY_MODEL)], f.NUMBER, empty=NO_MODELS,
    )  # fmt: skip
    worth = timeseries(
        "Tokens per GPU-second",
        "Tokens read and written for each second of GPU time of the model's pods "
        "(vgpu_container_core_busy_seconds_total): what a GPU is worth with this model. Low beside others of its "
        "size: small batches, or prompts too long.",
        [Query(_worth(), BY_MODEL)], f.NUMBER, empty=NO_MODELS,
    )  # fmt: skip
    return line(6, taken, used, rates, worth)


SERVING: Final = Board(
    uid=links.SERVING, title="vGPU / Model serving",
    about="What models do with their GPUs: requests, latency and tokens of vLLM and Xinference, GPU memory and cores.",
    variables=(
        variables.datasource(), variables.cluster(), variables.serving_namespace(), variables.model_name(),
    ),
    first=(_strip(), _vllm(), _xinference(), _cards()),
    sections=(
        serving_pods.pods(), serving_pods.cards(), serving_sections.vllm(), serving_sections.xinference(),
        serving_sections.router(),
    ),
    alerts=PLACES,
)  # fmt: skip
