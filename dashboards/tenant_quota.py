"""Quota, granted and used of each resource: the graphs of the tenant's dashboard, and how others read the quotas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from alerts.promql import CLUSTER, CONTAINER, NAMESPACE, RESOURCE, either, labels, select
from dashboards import fields as f
from dashboards.fields import Column
from dashboards.layout import Line, Section, line
from dashboards.panels import stat, table, timeseries
from dashboards.queries import Query, chosen, gauge, rate, total
from exporter import catalogue as c

if TYPE_CHECKING:
    from grafanalib import core

    from exporter.catalogue import Metric

#: What the reader has chosen of all that has a namespace.
CHOSEN: Final = chosen("cluster", "namespace")
#: Containers that asked for a vGPU and were granted one, by themselves or with their pod as a whole.
_ASKED: Final = gauge(c.CONTAINER_INFO, f'{CHOSEN},grant_source=~"hami|unreadable"', CONTAINER)


class _Measure(NamedTuple):
    """One kind of quota: its metrics, and what stands for them where the quota role is not there.

    `held` is what containers were granted, by namespace; `used` is one figure; `about` says what it is.
    """

    title: str
    unit: str
    decimals: int | None
    hard: Metric[Any]
    granted: Metric[Any]
    view: Metric[Any]
    object_hard: Metric[Any]
    object_granted: Metric[Any]
    held: str
    used: str
    about: str


_MEMORY: Final = _Measure(
    "Memory", f.BYTES, None,
    c.NAMESPACE_QUOTA_MEMORY, c.NAMESPACE_GRANTED_MEMORY, c.NAMESPACE_QUOTA_VIEW_MEMORY,
    c.QUOTA_MEMORY, c.QUOTA_GRANTED_MEMORY,
    total(NAMESPACE, gauge(c.CONTAINER_MEMORY_GRANTED, CHOSEN)),
    f"sum({gauge(c.CONTAINER_MEMORY_USED, CHOSEN)})",
    f"GPU memory; used ({c.CONTAINER_MEMORY_USED.name}) is what the driver lists, whatever HAMi counts.",
)  # fmt: skip
_CORES: Final = _Measure(
    "Cores, in GPUs", f.NUMBER, 2,
    c.NAMESPACE_QUOTA_CORE, c.NAMESPACE_GRANTED_CORE, c.NAMESPACE_QUOTA_VIEW_CORE,
    c.QUOTA_CORE, c.QUOTA_GRANTED_CORE,
    total(NAMESPACE, gauge(c.CONTAINER_CORE_GRANTED, CHOSEN)),
    f"sum({rate(c.CONTAINER_CORE_BUSY, CHOSEN)})",
    f"Core time, 1 = one whole GPU; used is the rate of {c.CONTAINER_CORE_BUSY.name}. Pods whose cores are not limited "
    "use some and are granted none, so used above granted can be right.",
)  # fmt: skip
_DEVICES: Final = _Measure(
    "vGPUs", f.NUMBER, 0,
    c.NAMESPACE_QUOTA_DEVICES, c.NAMESPACE_GRANTED_DEVICES, c.NAMESPACE_QUOTA_VIEW_DEVICES,
    c.QUOTA_DEVICES, c.QUOTA_GRANTED_DEVICES,
    total(NAMESPACE, gauge(c.CONTAINER_INFO, f'{CHOSEN},grant_source="hami"', CONTAINER)),
    f"sum(({gauge(c.CONTAINER_PROCESSES, CHOSEN)} > bool 0) and {_ASKED})",
    f"Shares of GPUs, one per container and GPU; used are those with a GPU process ({c.CONTAINER_PROCESSES.name} above "
    "0).",
)  # fmt: skip
_MEASURES: Final = (_MEMORY, _CORES, _DEVICES)


# ---------------------------------------------------------------- the graphs


def _quota(measure: _Measure) -> str:
    """Return the sum of quotas, by resource: only where each namespace that was granted some has one.

    Of several namespaces one without a quota has no limit, and so their sum has none.
    """
    hard = gauge(measure.hard, CHOSEN)
    free = f"({gauge(measure.granted, CHOSEN)} > 0) unless on {labels(RESOURCE)} {hard}"
    return f"{total(('resource',), hard)} unless on (resource) ({free})"


def _without_role(measure: _Measure) -> str:
    """Return what containers hold, of clusters where no quota role says what namespaces were granted."""
    role = gauge(c.NAMESPACE_INFO, chosen("cluster"), CLUSTER)
    return f"sum({measure.held} unless on {labels(CLUSTER)} {role})"


def _graph(measure: _Measure) -> core.TimeSeries:
    return timeseries(
        measure.title,
        f"{measure.about} Granted and quota ({measure.granted.name}, {measure.hard.name}) come from the quota role; "
        "without it granted is what node exporters see, and no line is dashed, as where a namespace has no quota. "
        "Granted at the dashed line: the next pod is refused; far above used: give some back.",
        [
            Query(measure.used, "used"),
            Query(total(("resource",), gauge(measure.granted, CHOSEN)), "granted {{resource}}"),
            Query(_without_role(measure), "granted"),
            Query(_quota(measure), "quota {{resource}}"),
        ],
        measure.unit,
        decimals=measure.decimals,
        overrides=[
            f.by_name("used", color={"mode": "fixed", "fixedColor": f.USED}, custom__fillOpacity=25),
            f.colored_like("/^granted/", f.GRANTED),
            f.limit_lines("/^quota/", f.LIMIT),
        ],
    )


def graphs(height: int) -> Line:
    """Return quota, granted and used of memory, cores and vGPUs, side by side."""
    return line(height, *map(_graph, _MEASURES))


def worst() -> core.Stat:
    """Return the quota that is fullest."""
    granted = either(*(select(measure.granted, CHOSEN) for measure in _MEASURES))
    hard = either(*(select(measure.hard, CHOSEN) for measure in _MEASURES))
    by = f"max by {labels(RESOURCE)}"
    return stat(
        "Fullest quota",
        "Granted of the quota that is fullest: vgpu_namespace_granted_… of vgpu_namespace_quota_…, by the quota role. "
        "Above 90 % a rollout may hang, above 100 % the quota was lowered or is not enforced: see Quotas below. None "
        "known: no quota above 0 here, or no quota role.",
        [Query(f"topk(1, {by} {granted} / ({by} {hard} > 0))", "{{namespace}} {{resource}}", latest=True)],
        f.RATIO, steps=f.FULL, empty="none known", decimals=0,
    )  # fmt: skip


def waiting() -> core.Stat:
    """Return pods that wait, by reason; 0 only where the quota role watches."""
    pods = total(("reason",), gauge(c.NAMESPACE_PENDING_PODS, CHOSEN))
    watched = f'label_replace(0 * count({gauge(c.NAMESPACE_INFO, CHOSEN)}), "reason", "none", "", "")'
    return stat(
        "Pods waiting",
        f"Pods that ask for vGPUs and are not scheduled, by the scheduler's reason ({c.NAMESPACE_PENDING_PODS.name}, "
        "by the quota role). quota: raise it or end idle pods; memory, cores, no_card: no GPU has room for one more; "
        "other: read the pod's events. Pods that are refused on creation are not among them.",
        [Query(f"{pods} or on () {watched}", "{{reason}}", latest=True)],
        f.NUMBER, steps=f.ANY_IS_WARNING, empty="no quota role",
    )  # fmt: skip


# ---------------------------------------------------------------- folded in

_WHERE: Final = (
    Column(field="cluster", title="Cluster"),
    Column(field="namespace", title="Namespace", width=110),
    Column(field="resource", title="Resource", width=160),
)


def _share(field: str) -> Column:
    return Column(field=field, title="Full", unit=f.RATIO, decimals=0, width=140, bar=True, steps=f.FULL)


def _read_by_others(measure: _Measure) -> core.Table:
    hard, granted = gauge(measure.hard, CHOSEN), gauge(measure.granted, CHOSEN)
    views = [
        gauge(measure.view, f'{CHOSEN},view="{view}"', RESOURCE)
        for view in ("hami_hard", "hami_used", "kubernetes_used")
    ]
    strictest = f"{gauge(c.NAMESPACE_QUOTA_INFO, CHOSEN)} and on {labels(RESOURCE)} {hard}"
    amounts = ("Quota", "Granted", "HAMi: limit", "HAMi: count", "K8s: count")
    letters = "ABCDE"
    return table(
        f"{measure.title}: as others read it",
        f"The strictest quota and what was granted ({measure.hard.name}, {measure.granted.name}), and how HAMi, which "
        f"admits pods, and Kubernetes read the same objects ({measure.view.name}). Another limit or count of HAMi's: "
        "write one quota, with limits. and plain numbers. Kubernetes does not multiply by a pod's GPUs.",
        [Query(expr, latest=True) for expr in (hard, granted, *views, f"{granted} / ({hard} > 0)", strictest)],
        [
            *_WHERE,
            Column(field="quota", title="Strictest", width=100),
            *(
                Column(field=letter, title=title, unit=measure.unit, decimals=measure.decimals, width=110)
                for letter, title in zip(letters, amounts, strict=True)
            ),
            _share("F"),
        ],
        by="Full", empty="no quota, or no quota role",
    )  # fmt: skip


def _each(measure: _Measure) -> core.Table:
    hard, granted = gauge(measure.object_hard, CHOSEN), gauge(measure.object_granted, CHOSEN)
    return table(
        f"{measure.title}: each quota",
        f"Each ResourceQuota by itself: what it allows ({measure.object_hard.name}) and what the pods that its scopes "
        f"select were granted ({measure.object_granted.name}). HAMi knows no scopes, so one may be fuller than 100 %: "
        "give such pods a namespace of their own.",
        [Query(expr, latest=True) for expr in (hard, granted, f"{granted} / ({hard} > 0)")],
        [
            *_WHERE,
            Column(field="quota", title="Quota", width=110),
            Column(field="A", title="Allowed", unit=measure.unit, decimals=measure.decimals, width=100),
            Column(field="B", title="Granted", unit=measure.unit, decimals=measure.decimals, width=100),
            _share("C"),
        ],
        by="Full", empty="no quota, or no quota role",
    )  # fmt: skip


def _waiting_over_time() -> core.TimeSeries:
    return timeseries(
        "Pods waiting, by reason",
        f"Pods that ask for vGPUs and are not scheduled ({c.NAMESPACE_PENDING_PODS.name}). For long by quota: raise "
        "it. By memory, cores or no_card: the fleet's dashboard shows the room there is. Empty: none waits, or there "
        "is no quota role.",
        [Query(total(("reason",), gauge(c.NAMESPACE_PENDING_PODS, CHOSEN)), "{{reason}}")],
        f.NUMBER, stacked=True, decimals=0,
    )  # fmt: skip


SECTION: Final = Section(
    "Quotas: each of them, as others read them, and who waits",
    (
        *(Line(6, ((_read_by_others(measure), 14), (_each(measure), 10))) for measure in _MEASURES),
        line(7, _waiting_over_time()),
    ),
)
