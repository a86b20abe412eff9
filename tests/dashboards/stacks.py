"""Metrics of vLLM and Xinference that dashboards may name, in the releases that they speak of, and their labels."""

from __future__ import annotations

from typing import Final

#: What a ServiceMonitor or PodMonitor adds beside job and instance.
_OPERATOR: Final = frozenset({"cluster", "job", "instance", "namespace", "pod", "container"})
_ENGINE: Final = _OPERATOR | {"model_name", "engine"}
#: Of workers from 2.8 on; before it a series had `model` and `type`.
_REPLICA: Final = _OPERATOR | {
    "model_uid", "model_name", "model_type", "replica_index", "worker_address", "engine", "format", "quantization",
    "gpu_index", "model",
}  # fmt: skip

_VLLM: Final = (
    "num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "gpu_cache_usage_perc",
    "prompt_tokens_total", "generation_tokens_total", "num_preemptions_total", "prefix_cache_queries_total",
    "prefix_cache_hits_total", "gpu_prefix_cache_queries_total", "gpu_prefix_cache_hits_total",
    "prompt_tokens_cached_total",
)  # fmt: skip
_VLLM_HISTOGRAMS: Final = (
    "time_to_first_token_seconds", "inter_token_latency_seconds", "time_per_output_token_seconds",
    "e2e_request_latency_seconds", "request_queue_time_seconds", "request_inference_time_seconds",
    "request_prefill_time_seconds", "request_decode_time_seconds", "request_prompt_tokens", "request_generation_tokens",
)  # fmt: skip
_XINFERENCE: Final = (
    "model_request_total", "model_request_errors_total", "model_serve_count", "model_request_limit",
    "input_tokens_total_counter", "output_tokens_total_counter", "generate_tokens_total",
)  # fmt: skip
_XINFERENCE_HISTOGRAMS: Final = ("model_request_duration_seconds", "time_to_first_token_seconds")


def _histograms(prefix: str, names: tuple[str, ...], labels: frozenset[str]) -> dict[str, frozenset[str]]:
    extra = {"bucket": {"le"}, "sum": set[str](), "count": set[str]()}
    return {f"{prefix}{name}_{part}": labels | own for name in names for part, own in extra.items()}


#: Xinference's own since 2.8, of workers and (the last two) of the supervisor.
_XINFERENCE_OTHERS: Final = {
    "model_last_load_duration_seconds": {"model_name", "model_type", "worker_address"},
    "model_info": {"model_uid", "model_name", "model_type", "worker_address", "replica_on_worker", "replica_total"},
    "model_unexpected_termination": {"model_uid", "model_name", "replica_index"},
}
#: vLLM's router, which calls an engine `server`.
_ROUTER: Final = {
    "vllm:num_incoming_requests_total": {"model", "server"},  # without `server`, which groups as an empty one
    "vllm:request_errors_total": {"server", "model", "error_type"},
    "vllm:healthy_pods_total": {"server"},
    "vllm:request_latency_seconds_bucket": {"server", "model", "status", "le"},
}

#: By name, with all labels.
METRICS: Final[dict[str, frozenset[str]]] = {
    **{f"vllm:{name}": _ENGINE for name in _VLLM},
    **_histograms("vllm:", _VLLM_HISTOGRAMS, _ENGINE),
    "vllm:request_success_total": _ENGINE | {"finished_reason"},
    "vllm:num_requests_waiting_by_reason": _ENGINE | {"reason"},
    "vllm:admission_rejections_total": _ENGINE | {"reason"},  # without `engine`, which groups as an empty one
    "http_requests_total": _OPERATOR | {"handler", "method", "status"},
    **{f"xinference:{name}": _REPLICA | {"stream"} for name in _XINFERENCE},
    **_histograms("xinference:", _XINFERENCE_HISTOGRAMS, _REPLICA | {"stream"}),
    "xinference:time_to_first_token_ms": _REPLICA | {"type", "stream"},
    **{f"xinference:{name}": _OPERATOR | labels for name, labels in _XINFERENCE_OTHERS.items()},
    **{name: _OPERATOR | labels for name, labels in _ROUTER.items()},
}
_ENDS: Final = ("_total", "_counter", "_bucket", "_sum", "_count")
#: Two are gauges, whatever their names say.
COUNTERS: Final = frozenset(name for name in METRICS if name.endswith(_ENDS)) - {
    "xinference:model_serve_count",
    "vllm:healthy_pods_total",
}
