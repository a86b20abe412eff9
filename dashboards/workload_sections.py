"""What stands below the workload's first screen: each container by itself, activity, and the GPUs beneath."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from alerts.promql import CONTAINER, DEVICE, labels, select
from dashboards import fields as f
from dashboards.fields import Column
from dashboards.layout import Section, line
from dashboards.panels import table, timeseries
from dashboards.queries import Query, chosen, gauge, increase, rate, total, with_index
from exporter import catalogue as c

if TYPE_CHECKING:
    from grafanalib import core

    from exporter.catalogue import Metric

#: The containers that the reader has chosen; their grants, with what stands on the pod as a whole; all on these GPUs.
CHOSEN: Final = chosen("cluster", "namespace", "pod", "container", "device_uuid")
GRANTS: Final = f'{chosen("cluster", "namespace", "pod", "device_uuid")},container=~"$container|"'
CARDS: Final = chosen("cluster", "device_uuid")

_LEGEND: Final = "{{container}}, GPU {{device_index}}"
#: Words for what hami_core_blind says.
WATCHED: Final = tuple(f.words({"0": ("watches", f.GOOD), "1": ("blind", f.BAD)}))
_WHERE: Final = (
    Column(field="container", title="Container"),
    Column(field="device_index", title="GPU", width=55),
)


def _named(expression: str) -> str:
    """Return the series with a name where a grant stands on the pod: rows of a table are told apart by their labels."""
    return f'label_replace({expression}, "container", "(whole pod)", "container", "")'


def containers() -> core.Table:
    """Return who owns the containers, where their grants come from, what they used; gone ones, too."""
    own = labels(CONTAINER)
    facts = labels((*CONTAINER, "workload_kind", "workload", "grant_source"))
    seen = f"max_over_time(timestamp({select(c.CONTAINER_INFO, GRANTS)})[$__range:30s])"
    latest = f"topk by {own} (1, max by {facts} ({seen}))"
    used = increase(c.CONTAINER_CORE_BUSY, CHOSEN), increase(c.CONTAINER_ENERGY, CHOSEN)
    return table(
        "Containers, gone ones too",
        f"Who owns them, and where their grant comes from ({c.CONTAINER_INFO.name}); what they used within the range "
        f"({c.CONTAINER_CORE_BUSY.name}, and {c.CONTAINER_ENERGY.name}, which is estimated). Seen long ago: gone. A "
        "grant that is pending or unreadable: recreate the pod; none, and it uses memory: it takes a GPU that nobody "
        "gave it.",
        [
            Query(f"{_named(latest)} * 1000", latest=True),
            Query(_named(with_index(f"max by {own} ({seen})")), latest=True),
            *(Query(f"{expr} / 3600", latest=True) for expr in used),
        ],
        [
            *_WHERE,
            Column(field="workload_kind", title="Kind", width=90),
            Column(field="workload", title="Owner"),
            Column(field="grant_source", title="Grant from", width=95),
            Column(field="C", title="GPU-hours", unit=f.PLAIN, decimals=2, width=95),
            Column(field="D", title="Energy, est.", unit=f.WATT_HOURS, decimals=1, width=110),
            Column(field="A", title="Seen", unit=f.AGO, width=145),
        ],
        by="Seen", empty="never seen within the range",
    )  # fmt: skip


# ---------------------------------------------------------------- each container by itself


def _figures() -> core.Table:
    memory = (
        c.CONTAINER_MEMORY_GRANTED,
        c.CONTAINER_MEMORY_LIMIT,
        c.CONTAINER_MEMORY_COUNTED,
        c.CONTAINER_MEMORY_USED,
        c.CONTAINER_MEMORY_UNCOUNTED,
    )
    rest = (
        c.CONTAINER_CORE_GRANTED,
        c.CONTAINER_CORE_LIMIT,
        c.CONTAINER_PROCESSES,
        c.CONTAINER_PROCESSES_UNCOUNTED,
        c.CONTAINER_HAMI_CORE_BLIND,
    )
    present = gauge(c.CONTAINER_INFO, GRANTS, CONTAINER)
    expressions = (
        *(gauge(metric, GRANTS) for metric in (*memory, *rest)),
        f"{rate(c.CONTAINER_CORE_BUSY, CHOSEN)} and {present}",
        f"{gauge(c.CONTAINER_LAST_ACTIVE, CHOSEN)} * 1000",
        f"{gauge(c.CONTAINER_LAST_KERNEL, CHOSEN)} * 1000",
        with_index(present),
    )
    return table(
        "All figures of now",
        "Every figure of each container on each GPU (vgpu_container_…). Uncounted above 0, or blind: no limit holds. "
        "Limit other than granted: the container runs on an old grant, recreate the pod. A dash is not known, or for "
        "cores not limited.",
        [Query(_named(expr), latest=True) for expr in expressions],
        [*_WHERE, *_FIGURE_COLUMNS], by="Used", empty="gone",
    )  # fmt: skip


_FIGURE_COLUMNS: Final = (
    *(
        Column(field=letter, title=title, unit=f.BYTES, width=110)
        for letter, title in zip("ABCD", ("Granted", "Limit", "Counted", "Used"), strict=True)
    ),
    Column(field="E", title="Uncounted", unit=f.BYTES, width=110, steps=f.ANY_IS_BAD),
    Column(field="F", title="Cores granted", unit=f.RATIO, decimals=0, width=115),
    Column(field="G", title="Core limit", unit=f.RATIO, decimals=0, width=115),
    Column(field="K", title="Cores used", unit=f.RATIO, decimals=0, width=115),
    Column(field="H", title="Processes", unit=f.NUMBER, width=100),
    Column(field="I", title="Unknown", unit=f.NUMBER, width=100, steps=f.ANY_IS_BAD),
    Column(field="J", title="HAMi-core", width=100, mappings=WATCHED, empty="none"),
    Column(field="L", title="Last active", unit=f.AGO, width=150),
    Column(field="M", title="Last kernel", unit=f.AGO, width=150),
)


def _graph(title: str, description: str, expression: str, unit: str) -> core.TimeSeries:
    return timeseries(title, description, [Query(with_index(expression), _LEGEND)], unit)


EACH: Final = Section(
    "Each container by itself",
    (
        line(6, _figures()),
        line(
            8,
            _graph(
                "Memory used, by container",
                f"What the driver lists under each container's processes ({c.CONTAINER_MEMORY_USED.name}). One that "
                "grows without end leaks; a sidecar with memory holds a context that it may not need.",
                gauge(c.CONTAINER_MEMORY_USED, CHOSEN),
                f.BYTES,
            ),
            _graph(
                "Cores used, by container",
                f"Core time of each container as a share of the GPU (rate of {c.CONTAINER_CORE_BUSY.name}). See which "
                "container computes when the pod is over its grant.",
                rate(c.CONTAINER_CORE_BUSY, CHOSEN),
                f.RATIO,
            ),
        ),
    ),
)


# ---------------------------------------------------------------- activity


def _since(metric: Metric[Any]) -> str:
    return f"time() - {gauge(metric, CHOSEN)}"


def _idle() -> core.TimeSeries:
    legends = "active: " + _LEGEND, "kernel: " + _LEGEND
    return timeseries(
        "Time since it last computed",
        f"By the driver (active: {c.CONTAINER_LAST_ACTIVE.name}, if never, when first seen) and by libvgpu "
        f"(kernel: {c.CONTAINER_LAST_KERNEL.name}, which opening its region sets, too). A line that climbs: the pod "
        "idles on its grant. Only the kernel's climbs: kernels pass by libvgpu.",
        [
            Query(with_index(f"({_since(metric)})"), legend)
            for metric, legend in zip((c.CONTAINER_LAST_ACTIVE, c.CONTAINER_LAST_KERNEL), legends, strict=True)
        ],
        f.SECONDS,
    )


def _processes() -> core.TimeSeries:
    return timeseries(
        "Processes",
        f"GPU processes of each container ({c.CONTAINER_PROCESSES.name}), and those that libvgpu does not know "
        f"(unknown: {c.CONTAINER_PROCESSES_UNCOUNTED.name}). A drop to 0: the server crashed or unloaded its model. "
        "Any unknown one is outside HAMi's limits: end it.",
        [
            Query(with_index(gauge(c.CONTAINER_PROCESSES, CHOSEN)), _LEGEND),
            Query(with_index(gauge(c.CONTAINER_PROCESSES_UNCOUNTED, CHOSEN)) + " > 0", "unknown: " + _LEGEND),
        ],
        f.NUMBER, decimals=0, overrides=[f.colored_like("/^unknown/", f.BAD)],
    )  # fmt: skip


def _power() -> core.TimeSeries:
    return _graph(
        "Power, estimated",
        f"Estimated: the GPU's energy, split by core time (rate of {c.CONTAINER_ENERGY.name}). Idle power is nobody's, "
        "so an idle pod shows 0. Use it to compare, not to bill to the watt.",
        rate(c.CONTAINER_ENERGY, CHOSEN), f.WATTS,
    )  # fmt: skip


ACTIVITY: Final = Section("Activity, processes, power", (line(8, _idle(), _processes(), _power()),))


# ---------------------------------------------------------------- the GPUs beneath


def _card_memory() -> core.TimeSeries:
    name = "GPU {{device_index}}"
    return timeseries(
        "Memory of the whole GPU",
        f"Memory in use on the GPU by whomever, this pod's part, and the physical limit, dashed "
        f"({c.DEVICE_MEMORY_USED.name}, {c.CONTAINER_MEMORY_USED.name}, {c.DEVICE_MEMORY_TOTAL.name}). At the limit a "
        "pod runs out of memory within its grant: the GPU's dashboard shows who holds too much.",
        [
            Query(with_index(gauge(c.DEVICE_MEMORY_USED, CARDS)), f"all, {name}"),
            Query(with_index(total(DEVICE, gauge(c.CONTAINER_MEMORY_USED, CHOSEN))), f"this pod, {name}"),
            Query(with_index(gauge(c.DEVICE_MEMORY_TOTAL, CARDS)), f"physical, {name}"),
        ],
        f.BYTES,
        overrides=[
            f.colored_like("/^all/", f.NEUTRAL),
            f.colored_like("/^this/", f.USED),
            f.limit_lines("/^physical/", f.PHYSICAL),
        ],
    )


def _card_heat() -> core.TimeSeries:
    return timeseries(
        "Temperature of the GPU",
        f"Of the whole GPU, all pods together ({c.DEVICE_TEMPERATURE.name}). A GPU that is too hot slows down for all "
        "of them; its dashboard has power and XID events.",
        [Query(with_index(gauge(c.DEVICE_TEMPERATURE, CARDS)), "GPU {{device_index}}")], f.CELSIUS, least=None,
    )  # fmt: skip


CARD: Final = Section("The GPUs beneath", (line(8, _card_memory(), _card_heat()),))
