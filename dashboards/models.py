"""Models that vLLM and Xinference serve: queries of their own metrics, joined with the GPU use of the pods they run in.

Both stacks' series get namespace and pod from the scrape (a ServiceMonitor or PodMonitor); these are the join with
ours. A model is the label `model`: vLLM's `model_name`, Xinference's `model_uid`, or before its 2.8 its `model`. Where
one pod serves several, its GPU memory and time cannot be told apart: they count once, for "POD (shared)".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from alerts.promql import CLUSTER, DEVICE, either, labels, select
from dashboards.queries import RATE, chosen, gauge, rate, total
from exporter import catalogue as c

MODEL: Final = (*CLUSTER, "namespace", "model")
POD: Final = (*CLUSTER, "namespace", "pod")
SERVED: Final = (*POD, "model")
ON_CARD: Final = (*DEVICE, "namespace", "pod")
_ON_POD: Final = f"on {labels(POD)}"

#: How a legend names a model, and what panels say that have none.
BY_MODEL: Final = "{{namespace}}/{{model}}"
NO_VLLM: Final = "no vLLM metrics in this Prometheus"
NO_XINFERENCE: Final = "no Xinference metrics in this Prometheus"
NO_MODELS: Final = "no vLLM or Xinference metrics in this Prometheus"

#: Where the reader looks.
PLACES: Final = chosen("cluster", "namespace")
_CHOSEN: Final = chosen("cluster", "namespace", "model_name")
#: Pods that look as if they served models, by the names that the two charts give them.
_LOOKS: Final = ('pod=~".*(vllm|xinference).*"', 'container=~"vllm.*"')


@dataclass(frozen=True, slots=True)
class Stack:
    """One serving stack's metrics: what all names begin with, and which label says the model.

    `apart` are the labels that tell series of one model in one pod from each other, `own` the matchers that leave out
    others' series of the same name, `read` what the reader has chosen. `outlive`: models that were stopped stay on the
    page, and only those that run are meant.
    """

    prefix: str
    label: str
    apart: tuple[str, ...]
    own: str
    read: str = _CHOSEN
    outlive: bool = False

    def now(self, name: str, *by: str, where: str = "") -> str:
        """Return a gauge's series, each once, by pod, model, what keeps them apart and these labels."""
        return self._once(self._select(name, where), by)

    def rate(self, name: str, *by: str, where: str = "") -> str:
        """Return a counter's rate per second, as `now` does."""
        return self._once(f"rate({self._select(name, where)}{RATE})", by)

    def buckets(self, name: str) -> str:
        """Return a histogram's rates by model and `le`, whatever its bounds."""
        return total((*MODEL, "le"), self.rate(f"{name}_bucket", "le"))

    def _select(self, name: str, where: str) -> str:
        return f"{self.prefix}{name}{{{','.join(part for part in (self.read, self.own, where) if part)}}}"

    def _once(self, series: str, by: tuple[str, ...]) -> str:
        once = f"max by {labels((*SERVED, *self.apart, *by))} ({named(series, self.label)})"
        return f"({once} and on {labels(SERVED)} {named(_running(PLACES), self.label)})" if self.outlive else once


#: The router has a vllm:num_requests_running of its own, without a model; data-parallel ranks are apart by `engine`.
VLLM: Final = Stack("vllm:", "model_name", ("engine",), 'model_name!=""')
XINFERENCE: Final = Stack("xinference:", "model_uid", ("replica_index", "stream"), 'model_uid!=""', outlive=True)
#: Xinference before 2.8, where `model` is a replica.
XINFERENCE_1: Final = Stack("xinference:", "model", (), 'model_uid="",model!=""')


def named(series: str, label: str) -> str:
    """Return series with this label's value as the label `model`."""
    return f'label_join({series}, "model", "", "{label}")'


def quantile(share: float, buckets: str) -> str:
    """Return the value under which this share of a histogram lies; absent, not NaN, where nothing was observed."""
    return f"histogram_quantile({share}, {buckets}) >= 0"


# ---------------------------------------------------------------- which model is where


def served(where: str = PLACES) -> str:
    """Return 1 for each pod and model that vLLM or Xinference says it serves."""
    engines = named(f'vllm:num_requests_running{{{where},model_name!=""}}', "model_name")
    former = named(f'xinference:input_tokens_total_counter{{{where},model_uid="",model!=""}}', "model")
    return f"group by {labels(SERVED)} ({engines} or {named(_running(where), 'model_uid')} or {former})"


def _running(where: str) -> str:
    """Return Xinference's models: a worker goes on naming those it stopped, the supervisor, if scraped, does not."""
    limits, known = f"xinference:model_request_limit{{{where}}}", f"xinference:model_info{{{PLACES}}}"
    listed = f"{limits} and on (cluster, namespace, model_uid, worker_address) {known}"
    return f"({listed} or {limits} unless on (cluster, namespace) {known})"


def owners() -> str:
    """Return 1 for each pod that serves chosen models, with its model; one series a pod, so that joins hold."""
    count = f"count by {labels(POD)} ({served()})"
    marked = f'label_replace({count} > 1, "shared", "(shared)", "", "")'
    shared = f'label_join({marked}, "model", " ", "pod", "shared")'
    alone = f"{served()} and {_ON_POD} {count} == 1"
    return f"group by {labels(SERVED)} ({alone} or {shared}) and {_ON_POD} {served(_CHOSEN)}"


def beside(by_pod: str) -> str:
    """Return figures of pods, each with the pod's model."""
    return f"{by_pod} * {_ON_POD} group_left (model) ({owners()})"


def by_model(by_pod: str) -> str:
    """Return figures of pods added up by model; what several models share stands by itself."""
    return total(MODEL, beside(by_pod))


def pods() -> str:
    """Return 1 for each pod with a GPU that looks as if it served models."""
    looks = either(*(select(c.CONTAINER_INFO, f"{PLACES},{look}") for look in _LOOKS))
    return f"group by {labels(POD)} {looks}"


def unwatched() -> str:
    """Return how many of these have no metrics of a model; absent if there are none of these at all."""
    return f"sum({pods()} unless {_ON_POD} {served()} or {pods()} * 0)"


# ---------------------------------------------------------------- figures by pod


def held(metric: c.Metric[Any], by: tuple[str, ...] = POD) -> str:
    """Return a gauge of containers, added up by pod, all GPUs of a pod together."""
    return total(by, gauge(metric, PLACES))


def cores(by: tuple[str, ...] = POD) -> str:
    """Return GPU-seconds per second by pod."""
    return total(by, rate(c.CONTAINER_CORE_BUSY, PLACES))


def tokens() -> str:
    """Return tokens per second by pod, read and written; none for Xinference's embedding and rerank models."""
    engines, replicas, former = (replace(stack, read=PLACES) for stack in (VLLM, XINFERENCE, XINFERENCE_1))
    return total(
        POD,
        " or ".join(
            (
                f"{engines.rate('prompt_tokens_total')} + {engines.rate('generation_tokens_total')}",
                *(
                    f"{one.rate('input_tokens_total_counter')} + {one.rate('output_tokens_total_counter')}"
                    for one in (replicas, former)
                ),
            )
        ),
    )


def requests() -> str:
    """Return requests per second by pod."""
    engines, replicas = (replace(stack, read=PLACES) for stack in (VLLM, XINFERENCE))
    finished = engines.rate("request_success_total", "finished_reason")
    return total(POD, f"{finished} or {replicas.rate('model_request_total')}")


def cards(metric: c.Metric[Any]) -> str:
    """Return a gauge of the GPUs on which chosen models run."""
    here = (
        f"group by {labels(DEVICE)} ({held(c.CONTAINER_MEMORY_USED, (*DEVICE, *POD[1:]))} and {_ON_POD} ({owners()}))"
    )
    return f"{gauge(metric, chosen('cluster'))} and on {labels(DEVICE)} {here}"
