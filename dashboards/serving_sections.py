"""What the model serving dashboard has folded in of each stack's own metrics: vLLM, Xinference and the router."""

from __future__ import annotations

from typing import Final

from alerts.promql import labels
from dashboards import fields as f
from dashboards.fields import Column
from dashboards.layout import Line, Section, line
from dashboards.models import BY_MODEL, MODEL, NO_VLLM, PLACES, POD, VLLM, XINFERENCE, XINFERENCE_1, quantile, served
from dashboards.panels import bars, stat, table, timeseries
from dashboards.queries import RATE, Query, chosen, total

_LISTED: Final = ("namespace", "model_uid", "model_name", "model_type", "worker_address")
_NO_ROUTER: Final = "no metrics of the Production Stack's router in this Prometheus"


# ---------------------------------------------------------------- vLLM


def _percentiles(buckets: str) -> list[Query]:
    return [Query(quantile(share, buckets), f"p{share * 100:.0f} {BY_MODEL}") for share in (0.5, 0.95)]


def vllm() -> Section:
    """Latency in its parts, and what becomes of requests."""
    between = " or ".join(VLLM.buckets(f"{name}_seconds") for name in ("inter_token_latency", "time_per_output_token"))
    waiting = total((*MODEL, "reason"), VLLM.now("num_requests_waiting_by_reason", "reason"))
    first = timeseries(
        "vLLM: time to first token",
        "vllm:time_to_first_token_seconds, half of the requests and 19 of 20. For embeddings and rerankers it is the "
        "whole answer. Rising: prompts grow longer, or requests wait.",
        _percentiles(VLLM.buckets("time_to_first_token_seconds")), f.SECONDS, empty=NO_VLLM,
    )  # fmt: skip
    tokens = timeseries(
        "vLLM: time between tokens",
        "vllm:inter_token_latency_seconds (before 0.10.2 vllm:time_per_output_token_seconds); nothing for embeddings "
        "and rerankers. Rising at the same load: a neighbour on the GPU takes its time.",
        _percentiles(between), f.SECONDS, empty="no vLLM model that writes text in this Prometheus",
    )  # fmt: skip
    queue = timeseries(
        "vLLM: time in the queue",
        "How long requests waited before work on them began, vllm:request_queue_time_seconds. Its finest step is 0.3 "
        "s: less reads as a part of that. More than that steadily: add replicas.",
        _percentiles(VLLM.buckets("request_queue_time_seconds")), f.SECONDS, empty=NO_VLLM,
    )  # fmt: skip
    reasons = timeseries(
        "vLLM: why requests wait",
        "vllm:num_requests_waiting_by_reason of newer versions: capacity (the engine is full) or deferred (waiting "
        "for a transfer or the like). Capacity that stays: more KV cache or replicas.",
        [Query(waiting, f"{{{{reason}}}} {BY_MODEL}")],
        f.NUMBER, empty=NO_VLLM,
    )  # fmt: skip
    return Section("vLLM in detail", (line(7, first, tokens, queue, reasons), _vllm_flow()))


def _vllm_flow() -> Line:
    ended = total((*MODEL, "finished_reason"), VLLM.rate("request_success_total", "finished_reason"))
    handlers = 'handler=~"/(v[12]/)?(chat/completions|completions|embeddings|pooling|classify|rerank|score)"'
    calls = f"rate(http_requests_total{{{PLACES},{handlers}}}{RATE})"
    here = f"and on {labels(POD)} {served()}"
    hits, looked_up = (total(MODEL, VLLM.rate(f"prefix_cache_{what}_total")) for what in ("hits", "queries"))
    rejected = total((*MODEL, "reason"), VLLM.rate("admission_rejections_total", "reason"))
    how = timeseries(
        "vLLM: how requests ended",
        "The rate of vllm:request_success_total by finished_reason; abort and error are in it too. Many aborts: "
        "callers give up, look at latency. Errors: look at the engine's log.",
        [Query(ended, f"{{{{finished_reason}}}} {BY_MODEL}")], f.NUMBER, empty=NO_VLLM,
    )  # fmt: skip
    http = timeseries(
        "vLLM: calls per second",
        "Calls of the engines' HTTP API, http_requests_total by handler and status: one call for embeddings or "
        "rerank is several requests in the panels above. 5xx: look at the engine's log.",
        [
            Query(
                f"sum by {labels((*POD[:-1], 'handler', 'status'))} "
                f"(max by {labels((*POD, 'handler', 'method', 'status'))} ({calls}) {here})",
                "{{namespace}} {{handler}} {{status}}",
            )
        ],
        f.NUMBER, empty=NO_VLLM,
    )  # fmt: skip
    prefix = timeseries(
        "vLLM: prefix cache hits",
        "Share of the tokens looked up that were in the prefix cache: vllm:prefix_cache_hits_total over "
        "vllm:prefix_cache_queries_total. Nothing where it is off, as by default in the Production Stack "
        "(enablePrefixCaching). Low with equal prompts: the cache is too small.",
        [Query(f"{hits} / ({looked_up} > 0)", BY_MODEL)], f.RATIO, most=1,
        empty="no vLLM engine with a prefix cache in use",
    )  # fmt: skip
    refused = timeseries(
        "vLLM: preempted and rejected per second",
        "Requests thrown out of the KV cache to be done again (vllm:num_preemptions_total) and those not let in "
        "(vllm:admission_rejections_total of newer versions). Both mean too little KV cache for the load.",
        [
            Query(total(MODEL, VLLM.rate("num_preemptions_total")), f"preempted {BY_MODEL}"),
            Query(rejected, f"{{{{reason}}}} {BY_MODEL}"),
        ],
        f.NUMBER, empty=NO_VLLM,
    )  # fmt: skip
    return line(7, how, http, prefix, refused)


# ---------------------------------------------------------------- Xinference, router


def xinference() -> Section:
    """What workers say beyond requests, and what the supervisor knows."""
    first = [
        Query(
            f"{query.expr} or {total(MODEL, XINFERENCE_1.now('time_to_first_token_ms'))} / 1000", query.legend
        )
        for query in _percentiles(XINFERENCE.buckets("time_to_first_token_seconds"))
    ]  # fmt: skip
    where = chosen("cluster", "namespace", "model_name")
    listed = f"xinference:model_info{{{where}}}"
    replica = "(cluster, namespace, model_uid, replica_index)"
    down = f"max by {replica} (xinference:model_unexpected_termination{{{where}}})"
    start = timeseries(
        "Xinference: time to first token",
        "xinference:time_to_first_token_seconds, language models only; before 2.8 the last one's "
        "(xinference:time_to_first_token_ms). Rising: prompts grow longer, or calls wait.",
        first, f.SECONDS, empty="no Xinference language models in this Prometheus",
    )  # fmt: skip
    load = bars(
        "Xinference: last load of a model took",
        "xinference:model_last_load_duration_seconds by model and worker. Minutes: the model is downloaded each time; "
        "give the workers a volume.",
        [
            Query(
                f"max by (cluster, namespace, pod, model_name) "
                f"(xinference:model_last_load_duration_seconds{{{where}}})",
                "{{model_name}} in {{pod}}", latest=True,
            )
        ],
        f.SECONDS,
    )  # fmt: skip
    lost = stat(
        "Xinference: replicas lost",
        "Replicas that are down because their worker failed, xinference:model_unexpected_termination of the "
        "supervisor; launching the model again clears it. Look at the worker's log: often it ran out of memory.",
        [Query(f"sum({down}) or sum({listed}) * 0", latest=True)], f.NUMBER, steps=f.ANY_IS_BAD,
        empty="no metrics of Xinference's supervisor",
    )  # fmt: skip
    where_models_are = table(
        "Xinference: models by the supervisor",
        "What the supervisor has started, and on which worker: xinference:model_info. A worker goes on publishing "
        "models that were stopped; the panels here show only those listed.",
        [Query(f"max by {labels(('cluster', *_LISTED))} ({listed})", latest=True)],
        [
            Column(field=name, title=title)
            for name, title in zip(_LISTED, ("Namespace", "Model", "Name", "Type", "Worker"), strict=True)
        ],
        by="Worker", empty="no metrics of Xinference's supervisor",
    )  # fmt: skip
    return Section("Xinference in detail", (line(8, start, load, lost, where_models_are),))


def router() -> Section:
    """What callers of the Production Stack see."""
    where = f'{PLACES},model=~"$model_name"'
    of_server = "cluster, namespace, pod, server, model"

    def per_second(name: str, *by: str) -> str:
        inner = ", ".join((of_server, *by))
        return total((*MODEL, *by), f"max by ({inner}) (rate(vllm:{name}{{{where}}}{RATE}))")

    took = total((*MODEL, "le"), per_second("request_latency_seconds_bucket", "status", "le"))
    incoming = timeseries(
        "Router: calls per second",
        "Calls that came in, the rate of vllm:num_incoming_requests_total; counted before an engine is chosen, and "
        "also if there is none. More than the engines' calls: they are lost on the way.",
        [Query(per_second("num_incoming_requests_total"), BY_MODEL)], f.NUMBER, empty=_NO_ROUTER,
    )  # fmt: skip
    latency = timeseries(
        "Router: latency",
        "What callers see, vllm:request_latency_seconds. Much above the engines' own: the router or the network.",
        _percentiles(took), f.SECONDS, empty=_NO_ROUTER,
    )  # fmt: skip
    errors = timeseries(
        "Router: errors per second",
        "The rate of vllm:request_errors_total by error_type, from the first one on. See the router's log.",
        [Query(per_second("request_errors_total", "error_type"), f"{{{{error_type}}}} {BY_MODEL}")], f.NUMBER,
        empty="no errors of a router in this Prometheus",
    )  # fmt: skip
    healthy = timeseries(
        "Router: engines that answer",
        "vllm:healthy_pods_total by engine address: 1 if the router reaches it. At 0 look at that engine's pod.",
        [Query(f"max by (cluster, namespace, server) (vllm:healthy_pods_total{{{PLACES}}})", "{{server}}")], f.NUMBER,
        most=1, decimals=0, empty=_NO_ROUTER,
    )  # fmt: skip
    return Section("Router of the Production Stack", (line(7, incoming, latency, errors, healthy),))
