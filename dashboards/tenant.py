"""Tenant: what a tenant may have, was granted, uses and would pay for. For its owner, and for whoever bills it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alerts.promql import POD
from dashboards import fields as f
from dashboards import links, variables
from dashboards import tenant_accounts as accounts
from dashboards import tenant_quota as quota
from dashboards.board import Board, firing
from dashboards.fields import Column
from dashboards.layout import Line, line
from dashboards.panels import NONE, stat, table
from dashboards.queries import Query, gauge, rate, total, with_index
from dashboards.tenant_quota import CHOSEN
from exporter import catalogue as c

if TYPE_CHECKING:
    from grafanalib import core

_GRANTED: Final = total(POD, gauge(c.CONTAINER_MEMORY_GRANTED, CHOSEN))
_USED: Final = total(POD, gauge(c.CONTAINER_MEMORY_USED, CHOSEN))
_UNCOUNTED: Final = gauge(c.CONTAINER_MEMORY_UNCOUNTED, CHOSEN)

#: Alerts about tenants: those about GPUs and exporters may bear the namespace of the exporter's own release.
_ABOUT: Final = f'{CHOSEN},scope="tenant"'


def _alerts() -> core.Stat:
    return stat(
        "Alerts",
        "Alerts that fire about these namespaces, by severity (ALERTS of this exporter's rules). They are marked on "
        "the graphs; each one's runbook says what to do. None: nothing fires, or the alert rules are not loaded.",
        [Query(f"count by (severity) ({firing(_ABOUT)})", "{{severity}}", latest=True)],
        f.NUMBER, empty=NONE,
        overrides=[f.colored("critical", f.BAD), f.colored("warning", f.WARN)],
    )  # fmt: skip


def _escaped() -> core.Stat:
    return stat(
        "Outside HAMi's limits",
        f"GPU memory of processes that libvgpu does not know ({c.CONTAINER_MEMORY_UNCOUNTED.name}): no limit holds for "
        "them, a neighbour may run out. The table shows whose; end them, or have them started with HAMi's environment. "
        "Not known: no container has a HAMi-core region.",
        [Query(f"sum({_UNCOUNTED})", latest=True)],
        f.BYTES, steps=f.ANY_IS_BAD, empty="not known",
    )  # fmt: skip


def _unused() -> core.Stat:
    return stat(
        "Granted, not used",
        f"Memory that pods were granted and do not use, each pod by itself ({c.CONTAINER_MEMORY_GRANTED.name} - "
        f"{c.CONTAINER_MEMORY_USED.name}). Nobody else can have it: ask for less, or end pods that are long idle.",
        [Query(f"sum(clamp_min({_GRANTED} - {_USED}, 0))", latest=True)],
        f.BYTES,
    )  # fmt: skip


def _pods() -> core.Table:
    queries = (
        with_index(gauge(c.CONTAINER_INFO, CHOSEN, POD)),
        _GRANTED,
        _USED,
        f"{_USED} / ({_GRANTED} > 0)",
        total(POD, _UNCOUNTED),
        total(POD, gauge(c.CONTAINER_CORE_GRANTED, CHOSEN)),
        f"{total(POD, rate(c.CONTAINER_CORE_BUSY, CHOSEN))} and {gauge(c.CONTAINER_INFO, CHOSEN, POD)}",
        f"{gauge(c.CONTAINER_LAST_ACTIVE, CHOSEN, POD)} * 1000",
    )
    return table(
        "Pods now, by GPU",
        "Pods that hold a grant or a GPU process now, one row for each of their GPUs; gone ones are under GPU-hours "
        "below. Used is what the driver lists, outside what libvgpu does not know; cores granted - are not limited. "
        f"Idle since is {c.CONTAINER_LAST_ACTIVE.name}, if never, when first seen. Red: grant more, or use less.",
        [Query(expr, latest=True) for expr in queries],
        _POD_COLUMNS, by="Used", empty="no pod on a GPU that an exporter watches",
    )  # fmt: skip


_POD_COLUMNS: Final = (
    Column(field="cluster", title="Cluster"),
    Column(field="namespace", title="Namespace", width=130),
    Column(field="pod", title="Pod", link=links.to(
        links.WORKLOAD, "This pod", namespace=links.cell("namespace"), pod=links.cell("pod")
    )),
    Column(field="node", title="Node", width=130),
    Column(field="device_index", title="GPU", width=60, link=links.to(
        links.GPU, "This GPU", node=links.cell("node"), device_uuid=links.cell("device_uuid")
    )),
    Column(field="device_uuid", title="GPU UUID", hidden=True),
    Column(field="B", title="Granted", unit=f.BYTES, width=100, empty="not known"),
    Column(field="C", title="Used", unit=f.BYTES, width=100, empty="not known"),
    Column(field="D", title="Used of granted", unit=f.RATIO, decimals=0, width=190, bar=True, steps=f.FULL),
    Column(field="E", title="Outside", unit=f.BYTES, width=100, steps=f.ANY_IS_BAD, empty="not known"),
    Column(field="F", title="Cores granted", unit=f.RATIO, decimals=0, width=125),
    Column(field="G", title="Cores used", unit=f.RATIO, decimals=0, width=100, empty="not known"),
    Column(field="H", title="Idle since", unit=f.AGO, width=160, empty="not known"),
)  # fmt: skip

_FIGURES: Final = Line(
    4,
    (
        (_alerts(), 3),
        (quota.worst(), 4),
        (quota.waiting(), 3),
        (_escaped(), 3),
        (_unused(), 3),
        (accounts.gpu_hours(), 5),
        (accounts.energy(), 3),
    ),
)

TENANT: Final = Board(
    uid=links.TENANT,
    title="vGPU / Tenant",
    about=(
        "For a tenant's owner and for whoever bills it: what the tenant may be granted, was granted, uses and would "
        "pay for. All tenants adds all of them up. Quotas and waiting pods need the quota role; all else does not."
    ),
    variables=(
        variables.datasource(),
        variables.cluster(),
        variables.tenant(),
        variables.namespace_of_tenant(),
    ),
    first=(_FIGURES, quota.graphs(8), line(10, _pods())),
    sections=(accounts.ACCOUNTS, accounts.PODS, quota.SECTION),
    alerts=_ABOUT,
)
