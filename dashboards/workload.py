"""Workload: one pod on its GPUs. For who runs it, and for who is called when it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from alerts.promql import DEVICE, POD
from dashboards import fields as f
from dashboards import links, variables
from dashboards import workload_sections as sections
from dashboards.board import Board, firing
from dashboards.fields import Column
from dashboards.layout import Line
from dashboards.panels import NONE, stat, table, timeseries
from dashboards.queries import Query, chosen, gauge, rate, total, with_index
from dashboards.workload_sections import CARDS, CHOSEN, GRANTS
from exporter import catalogue as c

if TYPE_CHECKING:
    from grafanalib import core

    from exporter.catalogue import Metric


def _by_gpu(metric: Metric[Any], where: str = CHOSEN) -> str:
    return total(DEVICE, gauge(metric, where))


_BUSY: Final = total(DEVICE, rate(c.CONTAINER_CORE_BUSY, CHOSEN))
#: What alerts are about.
_POD: Final = chosen("cluster", "namespace", "pod")
_HERE: Final = gauge(c.CONTAINER_INFO, CHOSEN, DEVICE)


# ---------------------------------------------------------------- single figures, of now


def _now(expr: str) -> list[Query]:
    return [Query(expr, latest=True)]


def _gpus() -> core.Stat:
    return stat(
        "GPUs",
        f"GPUs on which the pod holds a grant or has a process now ({c.CONTAINER_INFO.name}). Gone: it has ended, or "
        "its node's exporter is not scraped, which the exporters' dashboard shows. Graphs and the table of containers "
        "still have what was within the range.",
        _now(f"count({_HERE})"), f.NUMBER, empty="gone",
    )  # fmt: skip


def _alerts() -> core.Stat:
    return stat(
        "Alerts",
        "Alerts that fire about this pod, by name (ALERTS of this exporter's rules); they are marked on the graphs. "
        "Each one's runbook says what to do. None: nothing fires, or the alert rules are not loaded.",
        [Query(f"count by (alertname) ({firing(_POD)})", "{{alertname}}", latest=True)],
        f.NUMBER, empty=NONE, steps=((None, f.WARN),),
    )  # fmt: skip


def _memory_full() -> core.Stat:
    granted = _by_gpu(c.CONTAINER_MEMORY_GRANTED, GRANTS)
    return stat(
        "Memory grant used",
        f"Used of granted on the GPU where it is fullest ({c.CONTAINER_MEMORY_USED.name} / "
        f"{c.CONTAINER_MEMORY_GRANTED.name}). Near 100 % the next allocation may fail; above, contexts or escaped "
        "processes take what is a neighbour's: grant more, or see Outside limits. No grant: nothing was granted, or "
        "nothing says how much.",
        _now(f"max({_by_gpu(c.CONTAINER_MEMORY_USED)} / ({granted} > 0))"),
        f.RATIO, empty="no grant", steps=f.FULL, decimals=0,
    )  # fmt: skip


def _cores_full() -> core.Stat:
    granted = _by_gpu(c.CONTAINER_CORE_GRANTED, GRANTS)
    return stat(
        "Core grant used",
        f"Core time used of granted, on the GPU where it is most (rate of {c.CONTAINER_CORE_BUSY.name} / "
        f"{c.CONTAINER_CORE_GRANTED.name}). HAMi lets a pod that is alone exceed its grant, so above 100 % is bad only "
        "beside busy neighbours. Not limited: no cores were granted.",
        _now(f"max(({_BUSY} and {_HERE}) / ({granted} > 0))"), f.RATIO, empty="not limited", decimals=0,
    )  # fmt: skip


def _escaped() -> core.Stat:
    return stat(
        "Outside limits",
        f"GPU memory of processes that libvgpu does not know ({c.CONTAINER_MEMORY_UNCOUNTED.name}): a login by SSH, a "
        "static binary, CUDA_DISABLE_CONTROL. No limit holds for them: end them, or start them with HAMi's "
        "environment. Not known: no HAMi-core region tells.",
        _now(f"sum({gauge(c.CONTAINER_MEMORY_UNCOUNTED, CHOSEN)})"), f.BYTES, empty="not known", steps=f.ANY_IS_BAD,
    )  # fmt: skip


def _processes() -> core.Stat:
    return stat(
        "Processes",
        f"GPU processes now, and those of them that libvgpu does not know ({c.CONTAINER_PROCESSES.name}, "
        f"{c.CONTAINER_PROCESSES_UNCOUNTED.name}). 0 in a pod that should serve: its model is not loaded. Any unknown "
        "one: see Outside limits.",
        [
            Query(f"sum({gauge(c.CONTAINER_PROCESSES, CHOSEN)})", "all", latest=True),
            Query(f"sum({gauge(c.CONTAINER_PROCESSES_UNCOUNTED, CHOSEN)})", "unknown", latest=True),
        ],
        f.NUMBER,
    )  # fmt: skip


def _watched() -> core.Stat:
    return stat(
        "HAMi-core",
        f"Whether libvgpu watches the pod's processes ({c.CONTAINER_HAMI_CORE_BLIND.name}). Blind: it believes in host "
        "PIDs that are not the pod's, so its core limit does nothing; recreate the pod. None: no HAMi-core region.",
        _now(f"max({gauge(c.CONTAINER_HAMI_CORE_BLIND, CHOSEN)})"), f.NUMBER, empty="none",
        mappings=sections.WATCHED,
    )  # fmt: skip


def _age(title: str, description: str, metric: Metric[Any]) -> core.Stat:
    return stat(title, description, _now(f"max({gauge(metric, CHOSEN)}) * 1000"), f.AGO, empty="not known")


_FIGURES: Final = Line(
    4,
    (
        (_gpus(), 2),
        (_alerts(), 4),
        (_memory_full(), 3),
        (_cores_full(), 3),
        (_escaped(), 2),
        (_processes(), 3),
        (_watched(), 2),
        (_age(
            "Last active",
            f"When the driver last saw the pod compute ({c.CONTAINER_LAST_ACTIVE.name}); when it was first seen if "
            "never. Long ago, and memory held: give the grant back, or find out why no work arrives.",
            c.CONTAINER_LAST_ACTIVE,
        ), 3),
        (_age(
            "Last kernel",
            f"The last kernel time in HAMi-core's region ({c.CONTAINER_LAST_KERNEL.name}); opening the region sets it, "
            "too. Much older than Last active: kernels pass by libvgpu. Not known: no region.",
            c.CONTAINER_LAST_KERNEL,
        ), 2),
    ),
)  # fmt: skip


# ---------------------------------------------------------------- graphs


def _memory() -> core.TimeSeries:
    lines = (
        ("used", c.CONTAINER_MEMORY_USED, CHOSEN, ""),
        ("counted", c.CONTAINER_MEMORY_COUNTED, CHOSEN, ""),
        ("outside", c.CONTAINER_MEMORY_UNCOUNTED, CHOSEN, " > 0"),
        ("granted", c.CONTAINER_MEMORY_GRANTED, GRANTS, ""),
        ("limit", c.CONTAINER_MEMORY_LIMIT, CHOSEN, ""),
    )
    return timeseries(
        "Memory",
        f"By GPU: used is the driver's list, counted and limit are libvgpu's, granted the scheduler's, outside what "
        f"libvgpu does not know ({c.CONTAINER_MEMORY_USED.name}, …_counted_…, …_limit_…, …_granted_…, …_uncounted_…). "
        "Counted above used is managed memory, which the driver lists under no process; used above counted is contexts "
        "and NCCL, or an escape. Counted at the limit: out of memory next; limit other than granted: recreate the pod.",
        [
            Query(f"{with_index(_by_gpu(metric, where))}{only}", f"{name}, GPU {{{{device_index}}}}")
            for name, metric, where, only in lines
        ],
        f.BYTES,
        overrides=[
            f.colored_like("/^used/", f.USED),
            f.colored_like("/^counted/", f.COUNTED),
            f.colored_like("/^outside/", f.BAD),
            f.colored_like("/^granted/", f.GRANTED),
            f.limit_lines("/^limit/", f.LIMIT),
        ],
    )


def _cores() -> core.TimeSeries:
    return timeseries(
        "Cores",
        f"Core time as shares of a GPU, by GPU: used is the rate of {c.CONTAINER_CORE_BUSY.name}, granted the "
        "scheduler's, limit libvgpu's, whole GPU all pods together (…_core_granted_…, …_core_limit_…, "
        f"{c.DEVICE_CORE_BUSY.name}). Above granted while the whole GPU is full: neighbours suffer. Below granted "
        "while it is full: others take this pod's time. No line of granted: cores are not limited.",
        [
            Query(with_index(_BUSY), "used, GPU {{device_index}}"),
            Query(with_index(_by_gpu(c.CONTAINER_CORE_GRANTED, GRANTS)), "granted, GPU {{device_index}}"),
            Query(with_index(_by_gpu(c.CONTAINER_CORE_LIMIT)), "limit, GPU {{device_index}}"),
            Query(with_index(rate(c.DEVICE_CORE_BUSY, CARDS)), "whole GPU {{device_index}}"),
        ],
        f.RATIO,
        overrides=[
            f.colored_like("/^used/", f.USED),
            f.colored_like("/^granted/", f.GRANTED),
            f.limit_lines("/^limit/", f.LIMIT),
            f.colored_like("/^whole/", f.NEUTRAL),
        ],
    )


# ---------------------------------------------------------------- neighbours


def _neighbours() -> core.Table:
    granted, used = (
        total(POD, gauge(c.CONTAINER_MEMORY_GRANTED, CARDS)),
        total(POD, gauge(c.CONTAINER_MEMORY_USED, CARDS)),
    )
    present = gauge(c.CONTAINER_INFO, CARDS, POD)
    queries = (
        with_index(present),
        granted,
        used,
        f"{used} / ({granted} > 0)",
        total(POD, gauge(c.CONTAINER_CORE_GRANTED, CARDS)),
        f"{total(POD, rate(c.CONTAINER_CORE_BUSY, CARDS))} and {present}",
    )
    return table(
        "Who is on the same GPUs now",
        "This pod and its neighbours, on the GPUs that it is or was on within the range "
        f"({c.CONTAINER_MEMORY_USED.name}, …_granted_…, rate of {c.CONTAINER_CORE_BUSY.name}). Above 100 % of its "
        "grant a neighbour takes what others were promised: tell its owner. Nobody: the pod and all others are gone.",
        [Query(expr, latest=True) for expr in queries],
        [
            Column(field="cluster", title="Cluster"),
            Column(field="device_index", title="GPU", width=55, link=links.to(
                links.GPU, "This GPU", node=links.cell("node"), device_uuid=links.cell("device_uuid")
            )),
            Column(field="namespace", title="Namespace", width=120, link=links.to(
                links.TENANT, "This namespace", namespace=links.cell("namespace")
            )),
            Column(field="pod", title="Pod", link=links.to(
                links.WORKLOAD, "This pod", namespace=links.cell("namespace"), pod=links.cell("pod")
            )),
            Column(field="node", title="Node", hidden=True),
            Column(field="device_uuid", title="GPU UUID", hidden=True),
            Column(field="B", title="Granted", unit=f.BYTES, width=90, empty="not known"),
            Column(field="C", title="Used", unit=f.BYTES, width=90, empty="not known"),
            Column(field="D", title="Of granted", unit=f.RATIO, decimals=0, width=130, bar=True, steps=f.FULL),
            Column(field="E", title="Cores granted", unit=f.RATIO, decimals=0, width=120),
            Column(field="F", title="Cores used", unit=f.RATIO, decimals=0, width=95, empty="not known"),
        ],
        by="Used", empty="nobody",
    )  # fmt: skip


WORKLOAD: Final = Board(
    uid=links.WORKLOAD,
    title="vGPU / Workload",
    about=(
        "For who runs a pod, and for who is called when it fails: what it uses, counts, may use and was granted, GPU "
        "by GPU, and who is beside it. A grant that stands on the pod as a whole is shown for each of its containers."
    ),
    variables=(
        variables.datasource(),
        variables.cluster(),
        variables.namespace(),
        variables.pod(),
        variables.container(),
        variables.device_of_pod(),
    ),
    first=(
        _FIGURES,
        Line(9, ((_memory(), 12), (_cores(), 12))),
        Line(9, ((_neighbours(), 14), (sections.containers(), 10))),
    ),
    sections=(sections.EACH, sections.ACTIVITY, sections.CARD),
    alerts=_POD,
)
