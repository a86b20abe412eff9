"""A dashboard with every kind of panel, variable and override: what the checks are tried on."""

from __future__ import annotations

from typing import Final

from alerts.promql import CLUSTER, POD
from dashboards import fields, links, variables
from dashboards.board import Board
from dashboards.fields import Column
from dashboards.layout import Section, line
from dashboards.panels import bars, stat, table, text, timeseries
from dashboards.queries import Query, chosen, gauge, rate, total
from exporter import catalogue

_NODES: Final = chosen("cluster", "node")
_GPU: Final = chosen("cluster", "node", "device_uuid")
_TOTAL: Final = gauge(catalogue.DEVICE_MEMORY_TOTAL, _NODES)
_USED: Final = gauge(catalogue.DEVICE_MEMORY_USED, _NODES)
_HELD: Final = gauge(catalogue.CONTAINER_MEMORY_USED, _NODES)
_BUSY: Final = rate(catalogue.DEVICE_CORE_BUSY, _GPU)
_SHARE: Final = f"{total(CLUSTER, _USED)} / {total(CLUSTER, _TOTAL)}"

UP: Final = stat(
    "GPUs up", "How many GPUs answer, from vgpu_device_up. Look at a node whose GPUs do not.",
    [Query(total(CLUSTER, gauge(catalogue.DEVICE_UP, _NODES)), latest=True)], fields.NUMBER,
    steps=fields.ANY_IS_WARNING, mappings=fields.words({"0": ("none", fields.BAD)}),
    links=[links.to(links.GPU, "GPUs")],
)  # fmt: skip
SHARE: Final = stat(
    "Memory in use", "Share of the GPUs' memory, vgpu_device_memory_used_bytes. Add GPUs when it is full.",
    [Query(_SHARE, latest=True)], fields.RATIO, steps=fields.FULL, decimals=0,
)  # fmt: skip
MEMORY: Final = timeseries(
    "Memory", "vgpu_device_memory_used_bytes against the GPUs' memory. Move pods before it is full.",
    [Query(total(CLUSTER, _USED), "used"), Query(total(CLUSTER, _TOTAL), "physical")], fields.BYTES, stacked=True,
    overrides=[fields.colored("used", fields.USED), fields.limit_line("physical", fields.PHYSICAL)],
)  # fmt: skip
CORES: Final = timeseries(
    "Cores", "Busy share of each GPU, the rate of vgpu_device_core_busy_seconds_total. Full is fine.",
    [Query(_BUSY, "{{node}} {{device_uuid}}")], fields.RATIO, most=1, legend="right", calcs=["mean", "max"],
    overrides=[fields.by_pattern("/^node-1/", decimals=1)],
)  # fmt: skip
NODES: Final = bars(
    "Nodes", "Memory in use by node, vgpu_device_memory_used_bytes. Look at the fullest.",
    [Query(total(("cluster", "node"), _USED), "{{node}}", latest=True)], fields.BYTES, steps=fields.FULL,
    links=[links.to(links.GPU, "This node", node=links.label("node"))],
)  # fmt: skip
PODS: Final = table(
    "Pods", "Who holds memory, vgpu_container_memory_used_bytes. Open the fullest.",
    [Query(total(POD, _HELD), latest=True), Query(f"{total(POD, _HELD)} / 2", latest=True)],
    [
        Column(field="pod", title="Pod", link=links.to(links.WORKLOAD, "This pod", pod=links.cell("Pod"))),
        Column(field="A", title="Used", unit=fields.BYTES, width=120, steps=fields.FULL),
        Column(field="B", title="Share", unit=fields.RATIO, decimals=0, bar=True),
    ],
    by="Used",
)  # fmt: skip

SAMPLE: Final = Board(
    uid="vgpu-sample", title="Sample", about="Every kind of panel.",
    variables=(variables.datasource(), variables.cluster(), variables.node(), variables.device()),
    first=(line(4, UP, SHARE), line(8, MEMORY, CORES)),
    sections=(Section("More", (line(8, NODES, PODS), line(3, text("Words", "What to know.", "**Words**")))),),
)  # fmt: skip
