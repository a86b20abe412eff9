"""Pods and GPUs of models, folded in on the model serving dashboard."""

from __future__ import annotations

from typing import Final

from alerts.promql import DEVICE, labels
from dashboards import fields as f
from dashboards import links, models
from dashboards.fields import Column
from dashboards.layout import Line, Section, line
from dashboards.models import BY_MODEL, NO_MODELS, ON_CARD, PLACES, POD, VLLM, beside, by_model, cores, held
from dashboards.panels import bars, table, timeseries
from dashboards.queries import Query, gauge, total, with_index
from exporter import catalogue as c

_WORKLOAD: Final = links.to(
    links.WORKLOAD, "This workload", namespace=links.cell("Namespace"), pod=links.cell("Pod")
)  # fmt: skip


def pods() -> Section:
    """A line for each pod that serves."""
    used, granted = held(c.CONTAINER_MEMORY_USED), held(c.CONTAINER_MEMORY_GRANTED)
    waiting = total(POD, VLLM.now("num_requests_waiting"))
    cache = f"max by {labels(POD)} ({VLLM.now('kv_cache_usage_perc')} or {VLLM.now('gpu_cache_usage_perc')})"
    active = f"max by {labels(POD)} ({gauge(c.CONTAINER_LAST_ACTIVE, PLACES)}) * 1000"
    figures = (
        used, granted, f"({used} / ({granted} > 0))", cores(), models.requests(), waiting, cache, f"({active})",
        f"count by {labels(POD)} ({models.served()})",
    )  # fmt: skip
    return Section(
        "Pods that serve",
        (
            line(
                9,
                table(
                    "Pods and their models",
                    "Each pod with the model it serves, its GPU memory and cores (the vgpu_container_… metrics, all "
                    "its GPUs together) and what its own metrics say. Several models in one pod share one line, POD "
                    "(shared), for the GPU cannot tell them apart: one model per worker is the only exact layout. "
                    "Open a pod for its limits.",
                    [Query(beside(figure), latest=True) for figure in figures],
                    [
                        Column(field="namespace", title="Namespace", link=links.to(
                            links.TENANT, "This namespace", namespace=links.cell("Namespace"))),
                        Column(field="model", title="Model"),
                        Column(
                            field="I", title="Models", unit=f.NUMBER, width=80, steps=((None, f.NEUTRAL), (2, f.WARN))
                        ),
                        Column(field="pod", title="Pod", link=_WORKLOAD),
                        Column(field="A", title="Used", unit=f.BYTES, width=100),
                        Column(field="B", title="Granted", unit=f.BYTES, width=100),
                        Column(
                            field="C", title="Of grant", unit=f.RATIO, decimals=0, width=150, bar=True, steps=f.FULL
                        ),
                        Column(field="D", title="Cores", unit=f.RATIO, decimals=1, width=90),
                        Column(field="E", title="Requests per second", unit=f.NUMBER, decimals=1, width=160),
                        Column(field="F", title="Waiting", unit=f.NUMBER, width=90),
                        Column(field="G", title="KV cache", unit=f.RATIO, decimals=0, width=90),
                        Column(field="H", title="Idle since", unit=f.AGO, width=150),
                    ],
                    by="Used", empty=NO_MODELS,
                ),
            ),
        ),
    )  # fmt: skip


def cards() -> Section:
    """What the models' GPUs hold, and whom."""
    used = held(c.CONTAINER_MEMORY_USED, ON_CARD)
    of_models, on_cards = f"sum({by_model(used)})", f"sum({models.cards(c.DEVICE_MEMORY_USED)})"
    each = f"count by {labels(DEVICE)} ({beside(used)})"
    stacked = timeseries(
        "Memory of the models' cards",
        "The GPUs on which the chosen models run, together: each model's memory, in grey all else in use there "
        "(vgpu_device_memory_used_bytes), to what these GPUs have. Much grey: the models' neighbours; open the GPU.",
        [
            Query(by_model(used), BY_MODEL),
            Query(f"clamp_min({on_cards} - {of_models}, 0)", "Others"),
            Query(f"sum({models.cards(c.DEVICE_MEMORY_GRANTED)})", "Granted"),
            Query(f"sum({models.cards(c.DEVICE_MEMORY_TOTAL)})", "Physical"),
        ],
        f.BYTES, stacked=True, empty=NO_MODELS,
        overrides=[
            f.colored("Others", f.NOBODYS), f.limit_line("Granted", f.GRANTED), f.limit_line("Physical", f.PHYSICAL),
        ],
    )  # fmt: skip
    many = bars(
        "Pods with models on each card",
        "How many pods that serve models hold a share of each GPU. Many on one and none on the next: see the "
        "scheduler's policy. From vgpu_container_memory_used_bytes.",
        [Query(with_index(f"({each})"), "{{node}}, GPU {{device_index}}", latest=True)], f.NUMBER,
        links=[links.to(links.GPU, "This GPU", node=links.label("node"), device_uuid=links.label("device_uuid"))],
    )  # fmt: skip
    shares = table(
        "Models on each card",
        "One line for each pod and GPU: memory and cores there, from the vgpu_container_… metrics. Several lines "
        "with one GPU are models that share it. Open the GPU to see all who are on it.",
        [
            Query(with_index(f"({beside(used)})"), latest=True),
            Query(with_index(f"({beside(held(c.CONTAINER_MEMORY_GRANTED, ON_CARD))})"), latest=True),
            Query(with_index(f"({beside(cores(ON_CARD))})"), latest=True),
            Query(with_index(f"({beside(held(c.CONTAINER_CORE_GRANTED, ON_CARD))})"), latest=True),
        ],
        [
            Column(field="node", title="Node"),
            Column(field="device_index", title="Index", width=65),
            Column(field="device_uuid", title="GPU", link=links.to(
                links.GPU, "This GPU", node=links.cell("Node"), device_uuid=links.cell("GPU"))),
            Column(field="namespace", title="Namespace"),
            Column(field="model", title="Model"),
            Column(field="pod", title="Pod", link=_WORKLOAD),
            Column(field="A", title="Used", unit=f.BYTES, width=100),
            Column(field="B", title="Granted", unit=f.BYTES, width=100),
            Column(field="C", title="Cores", unit=f.RATIO, decimals=1, width=90),
            Column(field="D", title="Cores granted", unit=f.RATIO, decimals=0, width=125),
        ],
        by="GPU", empty=NO_MODELS,
    )  # fmt: skip
    return Section("Cards with models", (Line(8, ((stacked, 16), (many, 8))), line(9, shares)))
