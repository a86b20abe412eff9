"""What the GPU dashboard has folded in: grants against physical, what is nobody's, power, faults, MIG, abilities."""

from __future__ import annotations

from typing import Any, Final

from alerts.promql import CLUSTER, DEVICE
from dashboards import fields as f
from dashboards import links
from dashboards.fields import Column
from dashboards.layout import Line, Section, line
from dashboards.panels import bars, table, timeseries
from dashboards.queries import Query, chosen, gauge, increase, rate, total
from dashboards.xid_column import XID
from exporter import catalogue as c

#: The GPU that the reader has chosen.
CHOSEN: Final = chosen("cluster", "node", "device_uuid")
#: What belongs to nobody is grey, each reason in a shade of its own.
GREYS: Final = f.by_pattern("/^(unattributed|driver)/", color={"mode": "shades", "fixedColor": f.NOBODYS})
REASON: Final = (*CLUSTER, "reason")

_XID: Final = (*DEVICE, "xid")
_TELLS: Final = f.words(
    {
        "supported": ("yes", f.GOOD),
        "not_supported": ("no: not supported", f.NOBODYS),
        "no_permission": ("no: no permission", f.BAD),
        "mig": ("no: MIG is on", f.NOBODYS),
        "mps": ("no: MPS hides it", f.WARN),
    }
)


def of(metric: c.Metric[Any]) -> str:
    """Return the chosen GPU's gauge."""
    return gauge(metric, CHOSEN)


def against_physical() -> Section:
    """Granted and used against what may be granted and what there is."""
    memory = timeseries(
        "Memory granted against physical",
        "What was granted (vgpu_device_memory_granted_bytes) and what is in use, against what HAMi may grant "
        "(vgpu_device_memory_schedulable_bytes) and what there is. Granted above physical: not all promises can be "
        "kept. Used far below granted: memory that lies idle.",
        [
            Query(of(c.DEVICE_MEMORY_GRANTED), "Granted"), Query(of(c.DEVICE_MEMORY_USED), "Used"),
            Query(of(c.DEVICE_MEMORY_SCHEDULABLE), "Schedulable"), Query(of(c.DEVICE_MEMORY_TOTAL), "Physical"),
        ],
        f.BYTES,
        overrides=[
            f.colored("Granted", f.GRANTED), f.colored("Used", f.USED), f.limit_line("Schedulable", f.LIMIT),
            f.limit_line("Physical", f.PHYSICAL),
        ],
    )  # fmt: skip
    cores = timeseries(
        "Cores granted against physical",
        "Cores granted (vgpu_device_core_granted_ratio; 100 % is the whole GPU) and busy, against what HAMi may "
        "grant. Cores that are not limited are in no grant. Granted above 100 %: under load nobody gets all that was "
        "promised.",
        [
            Query(of(c.DEVICE_CORE_GRANTED), "Granted"), Query(rate(c.DEVICE_CORE_BUSY, CHOSEN), "Used"),
            Query(of(c.DEVICE_CORE_SCHEDULABLE), "Schedulable"), Query(rate(c.DEVICE_OBSERVED, CHOSEN), "Observed"),
        ],
        f.RATIO,
        overrides=[
            f.colored("Granted", f.GRANTED), f.colored("Used", f.USED), f.limit_line("Schedulable", f.LIMIT),
            f.limit_line("Observed", f.PHYSICAL),
        ],
    )  # fmt: skip
    slots = timeseries(
        "Slots",
        "Containers with a grant here (vgpu_device_containers) against how many vGPUs HAMi places on this GPU at most "
        "(vgpu_device_slots). When all are taken no pod fits, however small: raise deviceSplitCount.",
        [Query(of(c.DEVICE_CONTAINERS), "Granted"), Query(of(c.DEVICE_SLOTS), "Slots")], f.NUMBER, decimals=0,
        overrides=[f.colored("Granted", f.GRANTED), f.limit_line("Slots", f.PHYSICAL)],
    )  # fmt: skip
    return Section("Grants against physical", (line(8, memory, cores, slots),))


def unattributed() -> Section:
    """What belongs to no container, and why."""
    memory = timeseries(
        "Memory of nobody, by reason",
        "Memory in use that belongs to no known container, vgpu_device_memory_unattributed_bytes. host: a process "
        "outside Kubernetes; unknown_pod: a pod just gone or not seen; unknown_process: gone or unreadable; "
        "unlisted: managed memory and the driver's own. Look on the node at what nvidia-smi lists.",
        [Query(total(REASON, of(c.DEVICE_MEMORY_UNATTRIBUTED)), "{{reason}}")], f.BYTES,
    )  # fmt: skip
    cores = timeseries(
        "Core time of nobody, by reason",
        "Share of the GPU's time used by no known container, the rate of vgpu_device_core_unattributed_seconds_total. "
        "mps: booked on an MPS server, whose clients cannot be told apart. Nobody pays for this time.",
        [Query(total(REASON, rate(c.DEVICE_CORE_UNATTRIBUTED, CHOSEN)), "{{reason}}")], f.RATIO,
    )  # fmt: skip
    over = timeseries(
        "Counted twice",
        "What the processes add up to beyond the GPU's own figure, vgpu_device_memory_overcounted_bytes: two "
        "readings a moment apart, normally 0. If it stays above 0, report it with a capture of the node.",
        [Query(of(c.DEVICE_MEMORY_OVERCOUNTED), "overcounted")], f.BYTES,
    )  # fmt: skip
    return Section("Unattributed", (line(8, memory, cores, over),))


def power() -> Section:
    """Power and energy, by namespace as far as can be estimated."""
    draw = timeseries(
        "Power by namespace, estimated",
        "The rate of vgpu_namespace_energy_joules_total, which shares out the GPU's energy by its time: an estimate. "
        "In grey what is estimated to belong to nobody, idle power included. The line is the measured draw.",
        [
            Query(total((*CLUSTER, "namespace"), rate(c.NAMESPACE_ENERGY, CHOSEN)), "{{namespace}}"),
            Query(rate(c.DEVICE_ENERGY_UNATTRIBUTED, CHOSEN), "unattributed"),
            Query(of(c.DEVICE_POWER), "Measured"),
        ],
        f.WATTS, stacked=True, overrides=[GREYS, f.limit_line("Measured", f.PHYSICAL)],
    )  # fmt: skip
    energy = bars(
        "Energy in the range of time, estimated",
        "Energy by namespace, from vgpu_namespace_energy_joules_total: an estimate, by share of the GPU's time; pods "
        "that are gone are in it. Unattributed contains what the GPU draws while idle.",
        [
            Query(total((*CLUSTER, "namespace"), increase(c.NAMESPACE_ENERGY, CHOSEN)), "{{namespace}}", latest=True),
            Query(increase(c.DEVICE_ENERGY_UNATTRIBUTED, CHOSEN), "unattributed", latest=True),
        ],
        f.JOULES,
    )  # fmt: skip
    heat = timeseries(
        "Temperature over time",
        "vgpu_device_temperature_celsius over time. A rise without more work points at cooling.",
        [Query(of(c.DEVICE_TEMPERATURE), "temperature")], f.CELSIUS, least=None,
    )  # fmt: skip
    return Section("Power, energy and temperature", (line(8, draw, energy, heat),))


def faults() -> Section:
    """XIDs, and when it answered."""
    xids = table(
        "XIDs by code",
        "Faults that the driver reported, by code: how many since the exporter's start "
        "(vgpu_device_xid_errors_total) and when last. 13, 31, 43 and 45 are an application's own; 48, 74, 79, 95 "
        "and 119 are the GPU's: drain the node. A code leads to NVIDIA's catalogue.",
        [
            Query(gauge(c.DEVICE_XID_ERRORS, CHOSEN, _XID), latest=True),
            Query(f"{gauge(c.DEVICE_XID_LAST, CHOSEN, _XID)} * 1000", latest=True),
        ],
        [
            XID,
            Column(field="A", title="Events", unit=f.NUMBER, width=90, steps=f.ANY_IS_BAD),
            Column(field="B", title="Last", unit=f.AGO),
        ],
        by="Events",
    )  # fmt: skip
    up = timeseries(
        "Answers",
        "vgpu_device_up: 1 while the driver gives fresh readings of this GPU. While it is 0 nothing else here is "
        "known. See the runbook of VgpuDeviceDown.",
        [Query(of(c.DEVICE_UP), "answers")], f.NUMBER, most=1, decimals=0,
    )  # fmt: skip
    return Section("Faults", (line(8, xids, up),))


def partitions() -> Section:
    """MIG: the instances of this GPU; or, if it is an instance, itself with its GPU."""
    by = (*DEVICE, "parent_uuid", "device_name")
    which = [chosen("cluster", "node"), 'parent_uuid!=""']
    instances = " or ".join(
        gauge(c.DEVICE_INFO, ",".join((*which, f'{label}=~"$device_uuid"')), by)
        for label in ("parent_uuid", "device_uuid")
    )
    on_them = f"and on (cluster, node, device_uuid) ({instances})"
    figures: tuple[c.Metric[Any], ...] = (
        c.DEVICE_MEMORY_USED, c.DEVICE_MEMORY_GRANTED, c.DEVICE_MEMORY_TOTAL, c.DEVICE_CORE_GRANTED,
        c.DEVICE_CONTAINERS,
    )  # fmt: skip
    return Section(
        "MIG",
        (
            line(
                7,
                table(
                    "Instances and their GPU",
                    "MIG instances of this GPU, from vgpu_device_info; if this is an instance, itself and its GPU. "
                    "Memory and grants live on the instances; power, temperature and XIDs on their GPU; core time is "
                    "not told at all. Open one to see who is on it.",
                    [
                        Query(instances, latest=True),
                        *(Query(f"{gauge(one, chosen('cluster', 'node'))} {on_them}", latest=True) for one in figures),
                    ],
                    [
                        Column(field="node", title="Node"),
                        Column(field="parent_uuid", title="GPU", link=links.to(
                            links.GPU, "Its GPU", node=links.cell("Node"), device_uuid=links.cell("GPU"))),
                        Column(field="device_uuid", title="Instance", link=links.to(
                            links.GPU, "This instance", node=links.cell("Node"), device_uuid=links.cell("Instance"))),
                        Column(field="device_name", title="Profile"),
                        Column(field="B", title="Used", unit=f.BYTES),
                        Column(field="C", title="Granted", unit=f.BYTES),
                        Column(field="D", title="Physical", unit=f.BYTES),
                        Column(field="E", title="Cores granted", unit=f.RATIO, decimals=0),
                        Column(field="F", title="Containers", unit=f.NUMBER),
                    ],
                    by="Used", empty="no MIG instances",
                ),
            ),
        ),
    )  # fmt: skip


def abilities() -> Section:
    """What the card is, and what it cannot tell."""
    tells = table(
        "What this GPU can tell",
        "From vgpu_device_capability_info: what this GPU, its driver or the exporter's permissions let us see. What "
        "is not told is absent everywhere, never 0. No permission: see the exporter's installation.",
        [Query(gauge(c.DEVICE_CAPABILITY_INFO, CHOSEN, (*DEVICE, "capability", "reason")), latest=True)],
        [
            Column(field="capability", title="What"),
            Column(field="reason", title="Told", steps=f.PLAIN_STEPS, mappings=tuple(_TELLS)),
        ],
    )  # fmt: skip
    names = ("node", "device_index", "device_name", "driver_version", "sharing_mode", "device_uuid")
    titles = ("Node", "Index", "Model", "Driver", "Sharing", "UUID")
    card = table(
        "The card",
        "From vgpu_device_info. Sharing is HAMi's mode for this GPU; unknown until HAMi has registered it. An old "
        "driver may tell less.",
        [Query(gauge(c.DEVICE_INFO, CHOSEN), latest=True)],
        [Column(field=name, title=title) for name, title in zip(names, titles, strict=True)],
    )  # fmt: skip
    return Section("What it is and what it can tell", (Line(7, ((card, 16), (tells, 8))),))
