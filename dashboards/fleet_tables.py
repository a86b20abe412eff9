"""The fleet's tables: what fires, whose the grants are, and how full each GPU is."""

from __future__ import annotations

from typing import Final

from alerts.promql import CLUSTER, DEVICE, NAMESPACE, labels
from alerts.recording import TENANT
from dashboards import fields as f
from dashboards import fleet_figures as figures
from dashboards import links
from dashboards.board import firing
from dashboards.fields import Column
from dashboards.fleet_figures import CLUSTERS, NODES, by_tenant, share
from dashboards.panels import table
from dashboards.queries import Query, gauge, total
from exporter import catalogue as c

# ---------------------------------------------------------------- what fires

#: What tells alerts apart.
_FIRING_BY: Final = labels((
    *CLUSTER, "alertname", "namespace", "pod", "container", "node", "device_uuid", "resource", "reason", "source",
    "instance",
))  # fmt: skip
_RANKS: Final = {"critical": 3, "warning": 2, "info": 1}


def _ranked(severity: str, rank: int) -> str:
    """Return the firing alerts of a severity, with a number to sort by."""
    held = f'{CLUSTERS},severity="{severity}"'
    return f"{rank} * {firing(held)}"


def _told_apart(alerts: str) -> str:
    """Return alerts, each once; those on GPUs and exporters without the namespace of our release, if they bear it."""
    return f'max by {_FIRING_BY} (label_replace({alerts}, "namespace", "", "scope", "device|exporter"))'


_RANKED: Final = " or ".join(_ranked(*one) for one in _RANKS.items())
_SINCE: Final = 'ALERTS_FOR_STATE{alertname=~"Vgpu.+"}'
_WORDS: Final = f.words({"3": ("critical", f.BAD), "2": ("warning", f.WARN), "1": ("info", f.USED)})

FIRING: Final = table(
    "What fires",
    "Alerts that fire now, the worst first, and since when their condition holds. Sources: ALERTS, ALERTS_FOR_STATE. "
    "Each alert's page in the runbook says what to do; no data is also what there is without the alert rules.",
    [
        Query(_told_apart(_RANKED), latest=True),
        Query(f"{_told_apart(_SINCE)} * 1000 and {_told_apart(firing(CLUSTERS))}", latest=True),
    ],
    [
        Column(field="A", title="Severity", width=85, steps=f.PLAIN_STEPS, mappings=tuple(_WORDS)),
        Column(field="alertname", title="Alert", width=200),
        Column(field="B", title="Since", unit=f.AGO, width=135),
        Column(field="cluster", title="Cluster"),
        Column(field="namespace", title="Namespace", width=100,
               link=links.to(links.TENANT, "This namespace", namespace=links.cell("Namespace"))),
        Column(field="pod", title="Pod",
               link=links.to(links.WORKLOAD, "This pod", namespace=links.cell("Namespace"), pod=links.cell("Pod"))),
        Column(field="node", title="Node", width=90),
    ],
    by="Severity", empty="nothing fires, or no rules are loaded",
)  # fmt: skip

# ---------------------------------------------------------------- who, and where

_ABOUT_TENANTS: Final = f'{CLUSTERS},scope="tenant"'
_OF_TENANTS: Final = f"count by {labels(NAMESPACE)} ({firing(_ABOUT_TENANTS)})"

TENANTS: Final = table(
    "Tenants",
    "What each tenant was granted and uses, what lies idle, and how full its fullest quota is; cores in GPUs. Sources: "
    f"{c.CONTAINER_MEMORY_GRANTED.name}, {c.CONTAINER_MEMORY_USED.name}, {c.CONTAINER_CORE_GRANTED.name}, "
    f"{c.CONTAINER_CORE_BUSY.name}, {c.NAMESPACE_GRANTED_MEMORY.name} by quota; whose a namespace is says {TENANT} "
    "(the recording rules). The most wasteful comes first: talk with its owner, or open its dashboard by its name.",
    [
        Query(by_tenant(total(NAMESPACE, figures.POD_GRANTED)), latest=True),
        Query(by_tenant(total(NAMESPACE, figures.POD_USED)), latest=True),
        Query(by_tenant(total(NAMESPACE, figures.WASTED)), latest=True),
        Query(by_tenant(figures.CORES_GRANTED), latest=True),
        Query(by_tenant(figures.CORES_USED), latest=True),
        Query(by_tenant(figures.QUOTA_SHARE, "max"), latest=True),
        Query(by_tenant(_OF_TENANTS), latest=True),
    ],
    [
        Column(field="cluster", title="Cluster"),
        Column(field="tenant", title="Tenant",
               link=links.to(links.TENANT, "This tenant", tenant=links.cell("Tenant"))),
        Column(field="A", title="Granted", unit=f.BYTES, width=90),
        Column(field="B", title="Used", unit=f.BYTES, width=90),
        Column(field="C", title="Wasted", unit=f.BYTES, width=90),
        Column(field="D", title="Cores granted", unit=f.NUMBER, decimals=2, width=120),
        Column(field="E", title="Cores used", unit=f.NUMBER, decimals=2, width=100),
        Column(field="F", title="Fullest quota", unit=f.RATIO, decimals=0, width=130, bar=True, steps=f.FULL),
        Column(field="G", title="Alerts", unit=f.NUMBER, width=60, steps=f.ANY_IS_WARNING),
    ],
    by="Wasted",
)  # fmt: skip

_OF_GPU: Final = links.to(links.GPU, "This GPU", node=links.cell("Node"), device_uuid=links.cell("UUID"))

CARDS: Final = table(
    "GPUs",
    "How full each GPU is: memory granted, used and unattributed as shares of the physical memory, the share of time "
    f"in which it was busy, and containers with a grant. Sources: {c.DEVICE_MEMORY_GRANTED.name}, _used_bytes, "
    f"_unattributed_bytes, {c.DEVICE_CORE_BUSY.name}, {c.DEVICE_CONTAINERS.name}, {c.DEVICE_UP.name}. The fullest "
    "comes first: its next allocation fails; open its dashboard by its number.",
    [
        Query(gauge(c.DEVICE_INFO, NODES, (*DEVICE, "device_index")), latest=True),
        Query(share(gauge(c.DEVICE_MEMORY_GRANTED, NODES), figures.MEMORY), latest=True),
        Query(share(gauge(c.DEVICE_MEMORY_USED, NODES), figures.MEMORY), latest=True),
        Query(share(figures.BUSY, figures.OBSERVED), latest=True),
        Query(share(figures.NOBODYS, figures.MEMORY), latest=True),
        Query(gauge(c.DEVICE_CONTAINERS, NODES), latest=True),
        Query(gauge(c.DEVICE_UP, NODES), latest=True),
    ],
    [
        Column(field="cluster", title="Cluster"),
        Column(field="node", title="Node"),
        Column(field="device_index", title="GPU", width=45, link=_OF_GPU),
        Column(field="G", title="State", width=65, steps=f.PLAIN_STEPS,
               mappings=tuple(f.words({"1": ("up", f.GOOD), "0": ("down", f.BAD)}))),
        Column(field="B", title="Granted", unit=f.RATIO, decimals=0, width=120, bar=True, steps=f.FULL),
        Column(field="C", title="Used", unit=f.RATIO, decimals=0, width=120, bar=True, steps=f.FULL),
        Column(field="D", title="Busy", unit=f.RATIO, decimals=0, width=120, bar=True),
        Column(field="E", title="Unattributed", unit=f.RATIO, decimals=1, width=110,
               steps=((None, f.NEUTRAL), (figures.MUCH, f.WARN))),
        Column(field="F", title="Containers", unit=f.NUMBER, width=95),
        Column(field="device_uuid", title="UUID", hidden=True),
    ],
    by="Used",
)  # fmt: skip
