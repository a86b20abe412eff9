"""What pods that serve models publish, at any time: vLLM 0.33, the Production Stack's router, Xinference 4.1.

Made up, in the shape of the real ones; see serving_stub.py. All is a function of the seconds since the start.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Final, NamedTuple

#: Everything has been running for two hours when the stub starts.
AGE: Final = 7200
#: Loads swing by this part of themselves, over this many seconds.
_SWING, _PERIOD = 0.4, 600

_SECONDS: Final = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
_FIRST_TOKEN: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560,
)  # fmt: skip
_BETWEEN_TOKENS: Final = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
)  # fmt: skip
_TOKENS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_ROUTED: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_CALLS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_XINFERENCE_FIRST: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Load(NamedTuple):
    """Events: so many per second on the mean, more and less in turn from some phase on."""

    mean: float
    phase: float = 0

    def now(self, seconds: float) -> float:
        """Return events per second."""
        return self.mean * (1 + _SWING * math.sin(self._angle(seconds)))

    def done(self, seconds: float) -> float:
        """Return all events until now."""
        turn = math.cos(self.phase) - math.cos(self._angle(seconds))
        return self.mean * (AGE + seconds + _SWING * _PERIOD / math.tau * turn)

    def _angle(self, seconds: float) -> float:
        return self.phase + math.tau * (AGE + seconds) / _PERIOD


class Spread(NamedTuple):
    """How values are spread: half are below the median; a median of 0 is 0 for all."""

    median: float
    sigma: float = 0.6

    def mean(self) -> float:
        """Return the mean of a log-normal spread."""
        return self.median * math.exp(self.sigma**2 / 2)

    def below(self, bound: float) -> float:
        """Return the share of values that are no more than that."""
        return NormalDist(0, self.sigma).cdf(math.log(bound / self.median)) if self.median else 1


@dataclass
class Page:
    """A page in the text format: families in the order of their first series, all with some labels."""

    prefix: str
    labels: dict[str, str] = field(default_factory=dict)
    families: dict[str, list[str]] = field(default_factory=dict)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Add a series."""
        self._add(name, "gauge", name, value, labels)

    def counter(self, name: str, value: float, **labels: str) -> None:
        """Add a series, whole numbers as they are counted."""
        self._add(name, "counter", name, int(value), labels)

    def histogram(self, name: str, bounds: tuple[float, ...], spread: Spread, count: float, **labels: str) -> None:
        """Add buckets, sum and count."""
        for bound in bounds:
            share = int(int(count) * spread.below(bound))
            self._add(name, "histogram", f"{name}_bucket", share, {**labels, "le": str(float(bound))})
        self._add(name, "histogram", f"{name}_bucket", int(count), {**labels, "le": "+Inf"})
        self._add(name, "histogram", f"{name}_sum", int(count) * spread.mean(), labels)
        self._add(name, "histogram", f"{name}_count", int(count), labels)

    def text(self) -> str:
        """Return the page."""
        return "".join(f"{line}\n" for lines in self.families.values() for line in lines)

    def _add(self, family: str, kind: str, name: str, value: float, labels: dict[str, str]) -> None:
        full = self.prefix + family
        head = [f"# HELP {full} Made up.", f"# TYPE {full} {kind}"]
        pairs = ",".join(f'{key}="{text}"' for key, text in {**self.labels, **labels}.items())
        self.families.setdefault(family, head).append(
            f"{self.prefix}{name}{{{pairs}}} {float(value)}" if pairs else f"{self.prefix}{name} {float(value)}"
        )


# ---------------------------------------------------------------- vLLM


class Engine(NamedTuple):
    """A vLLM engine that embeds or ranks: calls of its HTTP API, each several requests of so many tokens."""

    model: str
    handler: str
    server: str
    calls: Load
    inputs: int
    tokens: int
    latency: Spread


EMBED: Final = Engine(
    "bge-m3-embed", "/v1/embeddings", "http://10.42.0.21:8000", Load(4, 1), 16, 220, Spread(0.03)
)  # fmt: skip
RERANK: Final = Engine(
    "bge-reranker-v2-m3", "/v1/rerank", "http://10.42.0.22:8000", Load(1.5, 2), 50, 380, Spread(0.09)
)  # fmt: skip


def vllm(engine: Engine, seconds: float) -> str:
    """Return an engine's page as the Production Stack has it served: of several processes, without process_*."""
    page = Page("vllm:", {"engine": "0", "model_name": engine.model})
    requests = int(engine.calls.done(seconds) * engine.inputs)
    _engine_state(page, engine, seconds)
    _engine_tokens(page, requests * engine.tokens)
    _engine_requests(page, engine, requests)
    config = {"block_size": "16", "enable_prefix_caching": "False", "gpu_memory_utilization": "0.8"}
    info = Page("vllm:", {"engine": "0", **config})
    info.gauge("cache_config_info", 1)
    http = Page("", {"handler": engine.handler, "method": "POST"})
    http.counter("http_requests_total", engine.calls.done(seconds), status="2xx")
    http.counter("http_requests_total", engine.calls.done(seconds) / 200, status="4xx")
    return page.text() + info.text() + http.text()


def _engine_state(page: Page, engine: Engine, seconds: float) -> None:
    running = engine.calls.now(seconds) * engine.inputs * engine.latency.mean()
    waiting = max(0, round(running - 6))
    page.gauge("num_requests_running", round(running))
    page.gauge("num_requests_waiting", waiting)
    page.gauge("num_requests_waiting_by_reason", waiting, reason="capacity")
    page.gauge("num_requests_waiting_by_reason", 0, reason="deferred")
    page.gauge("kv_cache_usage_perc", 0)
    for state in ("awake", "weights_offloaded", "discard_all"):
        page.gauge("engine_sleep_state", state == "awake", sleep_state=state)


def _engine_tokens(page: Page, prompt: int) -> None:
    for cache in ("prefix", "external_prefix", "mm"):
        page.counter(f"{cache}_cache_queries_total", 0)
        page.counter(f"{cache}_cache_hits_total", 0)
    page.counter("num_preemptions_total", 0)
    page.counter("prompt_tokens_total", prompt)
    for source in ("local_compute", "local_cache_hit", "external_kv_transfer"):
        page.counter("prompt_tokens_by_source_total", prompt * (source == "local_compute"), source=source)
    page.counter("generation_tokens_total", 0)
    refusals = Page(page.prefix, {"model_name": page.labels["model_name"]}, page.families)
    for reason in ("max_num_queued_reqs", "max_num_queued_tokens"):
        refusals.counter("admission_rejections_total", 0, reason=reason)


def _engine_requests(page: Page, engine: Engine, requests: int) -> None:
    """Add what is observed of each request; one that writes nothing has no time between tokens and decodes in 0 s."""
    failed = {"abort": requests // 400, "error": requests // 5000}
    ended = {"stop": requests - sum(failed.values()), "length": 0, **failed, "repetition": 0}
    for reason, count in ended.items():
        page.counter("request_success_total", count, finished_reason=reason)
    nothing = Spread(0)
    page.histogram("time_to_first_token_seconds", _FIRST_TOKEN, engine.latency, requests)
    page.histogram("inter_token_latency_seconds", _BETWEEN_TOKENS, nothing, 0)
    page.histogram("request_time_per_output_token_seconds", _BETWEEN_TOKENS, nothing, requests)
    page.histogram("e2e_request_latency_seconds", _SECONDS, engine.latency, requests)
    page.histogram("request_queue_time_seconds", _SECONDS, Spread(0.004, 1.2), requests)
    page.histogram("request_inference_time_seconds", _SECONDS, engine.latency, requests)
    page.histogram("request_prefill_time_seconds", _SECONDS, engine.latency, requests)
    page.histogram("request_decode_time_seconds", _SECONDS, nothing, requests)
    page.histogram("request_prompt_tokens", _TOKENS, Spread(engine.tokens, 0.4), requests)
    page.histogram("request_generation_tokens", _TOKENS, nothing, requests)


def router(seconds: float) -> str:
    """Return the router's page: names like the engines' without `model_name`, `server` instead of a pod."""
    page = Page("vllm:")
    for engine in (EMBED, RERANK):
        here = {"server": engine.server}
        calls = engine.calls.done(seconds)
        took = Spread(engine.latency.median * 4)
        page.gauge("num_requests_running", round(engine.calls.now(seconds) * took.mean()), **here)
        page.gauge("current_qps", engine.calls.now(seconds), **here)
        page.gauge("avg_latency", took.mean(), **here)
        for name in ("gpu_prefix_cache_hit_rate", "gpu_prefix_cache_hits_total", "gpu_prefix_cache_queries_total"):
            page.gauge(name, 0, **here)
        page.gauge("healthy_pods_total", 1, **here)
        page.counter("num_incoming_requests_total", calls, model=engine.model)
        page.counter("input_tokens_total", calls * engine.inputs * engine.tokens, **here, model=engine.model)
        page.counter("request_errors_total", calls / 300, **here, model=engine.model, error_type="ClientOSError")
        page.histogram("request_latency_seconds", _ROUTED, took, calls, **here, model=engine.model, status="200")
    own = Page("router_")
    own.gauge("cpu_usage_percent", 12)
    return page.text() + own.text()


# ---------------------------------------------------------------- Xinference


class Model(NamedTuple):
    """One replica of a model in a Xinference worker; without `calls` one that was stopped and is still published."""

    uid: str
    name: str
    kind: str
    engine: str
    replica: int
    calls: Load | None
    latency: Spread


def _chat(replica: int) -> Model:
    return Model("qwen3", "qwen3", "LLM", "vLLM", replica, Load(0.4, replica), Spread(1.2))


_STOPPED: Final = Model("qwen2.5-instruct", "qwen2.5-instruct", "LLM", "vLLM", 0, None, Spread(1.5))
#: By worker: three replicas of one model, one of them beside a stopped one; one model; two models.
WORKERS: Final = (
    (_chat(0),),
    (_chat(1), _STOPPED),
    (_chat(2),),
    (Model("bge-m3", "bge-m3", "embedding", "sentence_transformers", 0, Load(3, 1), Spread(0.05)),),
    (
        Model("docs-embedding", "bge-base-en-v1.5", "embedding", "sentence_transformers", 0, Load(2, 3), Spread(0.03)),
        Model("docs-rerank", "bge-reranker-base", "rerank", "sentence_transformers", 0, Load(1, 4), Spread(0.2)),
    ),
)


def address(worker: int) -> str:
    """Return what Xinference calls a worker."""
    return f"10.42.0.{31 + worker}:30001"


def xinference_worker(worker: int, seconds: float) -> str:
    """Return the page of a worker's own metrics server."""
    page = Page("xinference:")
    where = {"worker_address": address(worker)}
    page.gauge("build_info", 1, version="4.1.0", python_version="3.12.11", xinference_role="worker", **where)
    page.gauge("config_info", 1, xinference_home="/xinference", xinference_role="worker", **where)
    for model in WORKERS[worker]:
        _replica(page, model, where, seconds)
    return page.text()


def _replica(page: Page, model: Model, where: dict[str, str], seconds: float) -> None:
    calls = model.calls.done(seconds) if model.calls else 900
    running = model.calls.now(seconds) * model.latency.mean() if model.calls else 0
    labels = {
        "model_type": model.kind, "model_uid": model.uid, "replica_index": str(model.replica),
        "model_name": model.name, "engine": model.engine, **where, "format": "pytorch", "quantization": "none",
        "gpu_index": "0",
    }  # fmt: skip
    stream = "true" if model.kind == "LLM" else "unknown"
    page.counter("model_request_total", calls, **labels, stream=stream)
    page.histogram("model_request_duration_seconds", _CALLS, model.latency, calls, **labels)
    page.gauge("model_serve_count", round(running), **labels)
    page.gauge("model_request_limit", -1 if model.kind == "LLM" else 16, **labels)
    page.gauge("model_last_load_duration_seconds", 21, model_name=model.name, model_type=model.kind, **where)
    if model.kind == "rerank":
        page.counter("model_request_errors_total", calls / 100, **labels)
    if model.kind == "LLM":
        page.histogram("time_to_first_token_seconds", _XINFERENCE_FIRST, Spread(0.12), calls, **labels, stream="true")
        page.counter("input_tokens_total_counter", int(calls) * 350, **labels)
        page.counter("output_tokens_total_counter", int(calls) * 160, **labels)
        page.counter("generate_tokens_total", int(calls) * 160, **labels)


def xinference_supervisor(seconds: float) -> str:
    """Return the supervisor's page: workers by address, and the models that it knows to run."""
    page = Page("xinference:")
    page.gauge("supervisor_uptime_seconds", AGE + seconds)
    page.gauge("workers_total", len(WORKERS))
    running = [(worker, model) for worker, models in enumerate(WORKERS) for model in models if model.calls]
    uids = {model.uid: model.kind for _, model in running}
    for kind in sorted(set(uids.values())):
        page.gauge("models_loaded_total", list(uids.values()).count(kind), model_type=kind)
    for worker, model in running:
        replicas = sum(other.uid == model.uid for _, other in running)
        known = {"model_uid": model.uid, "model_name": model.name}
        at = {"model_type": model.kind, "worker_address": address(worker)}
        page.gauge("model_info", 1, **known, **at, replica_on_worker="1", replica_total=str(replicas))
        page.gauge("model_gpu_binding", 1, **known, **at, gpu_index="0", replica_index=str(model.replica))
    for uid, name in sorted({(model.uid, model.name) for _, model in running}):
        page.gauge("model_status", 1, model_uid=uid, model_name=name, status="READY")
    for worker in range(len(WORKERS)):
        card = {"worker_address": address(worker), "gpu_index": "0", "gpu_name": "NVIDIA H200"}
        page.gauge("worker_gpu_memory_total_bytes", 2304 * 2**20, **card)
    return page.text()
