"""GPU: who is on this card now, what was granted of it, and how it is. For whoever an alert or a tenant sent here."""

from __future__ import annotations

from typing import Any, Final

from alerts.promql import CLUSTER, DEVICE
from dashboards import fields as f
from dashboards import gpu_sections, links, variables
from dashboards.board import Board
from dashboards.fields import Column
from dashboards.gpu_sections import CHOSEN, GREYS, REASON, of
from dashboards.layout import Line, line
from dashboards.panels import stat, table, timeseries
from dashboards.queries import Query, chosen, gauge, rate, total
from exporter import catalogue as c

_POD: Final = (*CLUSTER, "namespace", "pod")
_CONTAINER: Final = (*_POD, "container")

_ANSWERS: Final = f.words({"1": ("answers", f.GOOD), "0": ("gone", f.BAD)})


def _share(part: c.Metric[Any], whole: c.Metric[Any]) -> str:
    return f"{of(part)} / ({of(whole)} > 0)"


# ---------------------------------------------------------------- is it well, is it full


def _identity() -> str:
    """Return whether it answers, with its name; a GPU that is gone may have none."""
    name = gauge(c.DEVICE_INFO, CHOSEN, (*DEVICE, "device_index", "device_name"))
    on = "on (cluster, node, device_uuid)"
    return f"{of(c.DEVICE_UP)} * {on} group_left (device_index, device_name) {name} or {on} {of(c.DEVICE_UP)}"


def _seen_xids() -> str:
    """Return how many codes had their last event in the range of time; 0 only if the GPU tells of XIDs at all."""
    last, told = gauge(c.DEVICE_XID_LAST, CHOSEN), gauge(c.DEVICE_XID_ERRORS, CHOSEN)
    return f"sum by (cluster, node, device_uuid) ({last} > bool (time() - $__range_s) or {told} * 0)"


def _strip() -> Line:
    up = stat(
        "This GPU",
        "Whether the driver gave a fresh reading of this GPU, with its model, index and node. From vgpu_device_up and "
        "vgpu_device_info. Gone: look at the node's kernel log for XIDs, drain the node, then reset the GPU or reboot.",
        [Query(_identity(), "{{device_name}}, GPU {{device_index}} of {{node}}", latest=True)], f.NUMBER,
        mappings=_ANSWERS,
    )  # fmt: skip
    used = stat(
        "Memory in use",
        "Share of the physical memory that is in use, by whomever: vgpu_device_memory_used_bytes over "
        "vgpu_device_memory_total_bytes. Near 100 % the next allocation fails: see below who holds it.",
        [Query(_share(c.DEVICE_MEMORY_USED, c.DEVICE_MEMORY_TOTAL))], f.RATIO, steps=f.FULL, decimals=0,
    )  # fmt: skip
    granted = stat(
        "Memory granted",
        "Memory granted on this GPU as a share of what it physically has: vgpu_device_memory_granted_bytes over "
        "vgpu_device_memory_total_bytes. Above 100 % not all can take what they were promised: lower HAMi's memory "
        "scaling or move a pod.",
        [Query(_share(c.DEVICE_MEMORY_GRANTED, c.DEVICE_MEMORY_TOTAL))], f.RATIO,
        steps=((None, f.NEUTRAL), (1.000001, f.WARN)), decimals=0,
    )  # fmt: skip
    busy = stat(
        "Cores busy",
        "Share of the observed time in which kernels ran, whosever: the rate of vgpu_device_core_busy_seconds_total "
        "over that of vgpu_device_observed_seconds_total. Busy is fine; tenants wait for each other when it stays "
        "full.",
        [Query(f"{rate(c.DEVICE_CORE_BUSY, CHOSEN)} / ({rate(c.DEVICE_OBSERVED, CHOSEN)} > 0)")], f.RATIO, decimals=0,
    )  # fmt: skip
    power = stat(
        "Power",
        "Power draw of the whole GPU, vgpu_device_power_watts; absent on a MIG instance, whose GPU has it. "
        "At the card's limit its clocks drop.",
        [Query(of(c.DEVICE_POWER))], f.WATTS, decimals=0,
    )  # fmt: skip
    temperature = stat(
        "Temperature",
        "Temperature of the GPU, vgpu_device_temperature_celsius. From about 85 °C its clocks drop: look "
        "at fans, air and the neighbours in the rack.",
        [Query(of(c.DEVICE_TEMPERATURE))], f.CELSIUS,
        steps=((None, f.NEUTRAL), (85, f.WARN), (92, f.BAD)), decimals=0,
    )  # fmt: skip
    xids = stat(
        "XIDs",
        "How many kinds of faults (XID codes) the driver reported in the range of time, from "
        "vgpu_device_xid_last_timestamp_seconds; no data if this GPU does not tell. Which ones: see Faults below.",
        [Query(_seen_xids(), latest=True)], f.NUMBER, steps=f.ANY_IS_BAD,
    )  # fmt: skip
    return Line(4, ((up, 6), *((panel, 3) for panel in (used, granted, busy, power, temperature, xids))))


# ---------------------------------------------------------------- who is on it


def _holders() -> Line:
    memory = timeseries(
        "Memory: who holds it",
        "Memory in use, stacked to the physical limit: each pod (vgpu_container_memory_used_bytes), in grey what "
        "belongs to no container, by reason (vgpu_device_memory_unattributed_bytes) and the driver's reserved part. "
        "Granted and schedulable are lines. Much grey: see Unattributed below; stack above Granted: somebody takes "
        "more than given.",
        [
            Query(total(_POD, of(c.CONTAINER_MEMORY_USED)), "{{namespace}}/{{pod}}"),
            Query(f"{total(REASON, of(c.DEVICE_MEMORY_UNATTRIBUTED))} > 0", "unattributed: {{reason}}"),
            Query(of(c.DEVICE_MEMORY_RESERVED), "driver's reserved part"),
            Query(of(c.DEVICE_MEMORY_GRANTED), "Granted"),
            Query(of(c.DEVICE_MEMORY_SCHEDULABLE), "Schedulable"),
            Query(of(c.DEVICE_MEMORY_TOTAL), "Physical"),
        ],
        f.BYTES, stacked=True, legend="right",
        overrides=[
            GREYS, f.limit_line("Granted", f.GRANTED), f.limit_line("Schedulable", f.LIMIT),
            f.limit_line("Physical", f.PHYSICAL),
        ],
    )  # fmt: skip
    cores = timeseries(
        "Cores: who uses them",
        "Share of the GPU's time in which each pod's kernels ran (rate of vgpu_container_core_busy_seconds_total), "
        "in grey what belongs to no container (vgpu_device_core_unattributed_seconds_total). Observed is the share "
        "of time that was read at all: what is above the stack was idle. A pod above its grant may be well: a lone "
        "one is not slowed.",
        [
            Query(total(_POD, rate(c.CONTAINER_CORE_BUSY, CHOSEN)), "{{namespace}}/{{pod}}"),
            Query(f"{total(REASON, rate(c.DEVICE_CORE_UNATTRIBUTED, CHOSEN))} > 0", "unattributed: {{reason}}"),
            Query(of(c.DEVICE_CORE_GRANTED), "Granted"),
            Query(rate(c.DEVICE_OBSERVED, CHOSEN), "Observed"),
        ],
        f.RATIO, stacked=True, legend="right",
        overrides=[GREYS, f.limit_line("Granted", f.GRANTED), f.limit_line("Observed", f.PHYSICAL)],
    )  # fmt: skip
    return line(9, memory, cores)


def _here() -> Line:
    def container(metric: c.Metric[Any]) -> str:
        return gauge(metric, CHOSEN, _CONTAINER)

    granted, used = container(c.CONTAINER_MEMORY_GRANTED), container(c.CONTAINER_MEMORY_USED)
    busy = f"{rate(c.CONTAINER_CORE_BUSY, CHOSEN, _CONTAINER)} and {container(c.CONTAINER_INFO)}"
    names = {name: links.cell(name.capitalize()) for name in ("namespace", "pod")}
    return line(
        9,
        table(
            "Who is here",
            "Containers that hold a grant on this GPU or run on it, from the vgpu_container_… metrics. Escaped: driver "
            "memory that libvgpu does not know; more than a little means its limit does not hold. Idle since: the last "
            "kernel seen; if none, when it was first seen. Open a pod for its limits, a namespace for its quota.",
            [
                Query(used, latest=True),
                Query(granted, latest=True),
                Query(f"{used} / ({granted} > 0)", latest=True),
                Query(container(c.CONTAINER_MEMORY_COUNTED), latest=True),
                Query(container(c.CONTAINER_MEMORY_UNCOUNTED), latest=True),
                Query(busy, latest=True),
                Query(container(c.CONTAINER_CORE_GRANTED), latest=True),
                Query(container(c.CONTAINER_PROCESSES), latest=True),
                Query(f"{container(c.CONTAINER_LAST_ACTIVE)} * 1000", latest=True),
            ],
            [
                Column(field="namespace", title="Namespace", link=links.to(
                    links.TENANT, "This namespace", namespace=names["namespace"])),
                Column(field="pod", title="Pod", link=links.to(links.WORKLOAD, "This workload", **names)),
                Column(field="container", title="Container", width=130),
                Column(field="A", title="Used", unit=f.BYTES, width=110),
                Column(field="B", title="Granted", unit=f.BYTES, width=110),
                Column(field="C", title="Of grant", unit=f.RATIO, decimals=0, width=150, bar=True, steps=f.FULL),
                Column(field="D", title="Counted", unit=f.BYTES, width=110),
                Column(
                    field="E", title="Escaped", unit=f.BYTES, width=110, steps=((None, f.NEUTRAL), (64 * 2**20, f.WARN))
                ),
                Column(field="F", title="Cores", unit=f.RATIO, decimals=1, width=90),
                Column(field="G", title="Cores granted", unit=f.RATIO, decimals=0, width=125),
                Column(field="H", title="Processes", unit=f.NUMBER, width=100),
                Column(field="I", title="Idle since", unit=f.AGO, width=150),
            ],
            by="Used",
        ),
    )  # fmt: skip


GPU: Final = Board(
    uid=links.GPU, title="vGPU / GPU",
    about="One GPU or MIG instance: who is on it now, what was granted of it, and whether it is well.",
    variables=(variables.datasource(), variables.cluster(), variables.node(), variables.device()),
    first=(_strip(), _holders(), _here()),
    sections=(
        gpu_sections.against_physical(), gpu_sections.unattributed(), gpu_sections.power(), gpu_sections.faults(),
        gpu_sections.partitions(), gpu_sections.abilities(),
    ),
    alerts=chosen("cluster", "device_uuid"),
)  # fmt: skip
