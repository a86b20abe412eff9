"""The exporters' folded sections: what a scrape costs, sources over time, what GPUs cannot tell, how it is scraped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dashboards import fields as f
from dashboards import health_figures as figures
from dashboards import links
from dashboards.fields import Column
from dashboards.fleet_figures import UNWATCHED
from dashboards.health_figures import WHERE, grown, of_exporters
from dashboards.layout import Section, line
from dashboards.panels import table, timeseries
from dashboards.queries import RATE, Query, gauge, increase, rate, total
from exporter import catalogue as c

if TYPE_CHECKING:
    from grafanalib import core

_CLUSTER: Final = Column(field="cluster", title="Cluster")
_NODE: Final = Column(field="node", title="Node")
_GPU: Final = Column(
    field="device_uuid", title="UUID",
    link=links.to(links.GPU, "This GPU", node=links.cell("Node"), device_uuid=links.cell("UUID")),
)  # fmt: skip


def _spread(title: str, description: str, of_each: str, unit: str) -> core.TimeSeries:
    """Return a graph of the highest and the middle of all exporters: two lines, however many there are."""
    queries = [Query(f"max({of_each})", "highest"), Query(f"quantile(0.5, {of_each})", "median")]
    return timeseries(title, f"{description} The table of exporters says whose.", queries, unit)


# ---------------------------------------------------------------- what it costs

_SCRAPE: Final = _spread(
    "Scrape duration",
    "How long Prometheus waits for an exporter. Source: scrape_duration_seconds. The answer is put together before "
    "anybody asks, so that seconds mean a node short of CPU or a slow network.",
    of_exporters("scrape_duration_seconds"), f.SECONDS,
)  # fmt: skip

_SAMPLES: Final = _spread(
    "Samples per scrape",
    "Series that one exporter gives. Source: scrape_samples_scraped. At most 20 for each container on a GPU, 45 for "
    "each GPU and 250 besides, per node; more is worth a report.",
    of_exporters("scrape_samples_scraped"), f.NUMBER,
)  # fmt: skip

_MEMORY: Final = _spread(
    "Memory of the process",
    "Resident memory. Source: process_resident_memory_bytes. It follows the pods of the node (of the cluster, in the "
    "quota role); growth for days while these stay is a leak.",
    of_exporters("process_resident_memory_bytes"), f.BYTES,
)  # fmt: skip

_PROCESSOR: Final = _spread(
    "CPU of the process",
    "Share of one CPU. Source: process_cpu_seconds_total. Some per cent are normal; at its limit the exporter is "
    "throttled and reads core time with gaps.",
    figures.PROCESSOR, f.RATIO,
)  # fmt: skip

_SERIES: Final = table(
    "Series by metric",
    "The 40 metrics with most series now, over all exporters and scrapers chosen. Source: a count of vgpu_*. Drop what "
    "nobody asks for in metric_relabel_configs, if Prometheus is short; containers' series grow with pods.",
    [Query(figures.SERIES_BY_METRIC, latest=True)],
    [Column(field="__name__", title="Metric"), Column(field="A", title="Series", unit=f.NUMBER, width=90)],
    by="Series",
)  # fmt: skip

# ---------------------------------------------------------------- sources over time

_BY_SOURCE: Final = "{{role}} {{source}}"

_AGES: Final = timeseries(
    "Age of sources",
    "Seconds since the source last answered, of the exporter where that is longest ago. "
    f"Source: now - {c.SOURCE_LAST_SUCCESS.name}. A line that climbs is a source that is down; a source that never "
    "answered has none.",
    [Query(f"max by (role, source) ({figures.SOURCE_AGE})", _BY_SOURCE)], f.SECONDS,
)  # fmt: skip

_READINGS: Final = timeseries(
    "Time of a reading",
    "Mean time that a reading takes, of the exporter where it is longest. "
    f"Source: {c.SOURCE_READ_DURATION.name}_sum and _count. nvml in seconds is a driver in trouble; regions in "
    "seconds, a slow disk.",
    [Query(f"max by (role, source) ({figures.read_time(RATE)})", _BY_SOURCE)], f.SECONDS,
)  # fmt: skip

_MINUTES: Final = "[5m]"

_ERRORS: Final = timeseries(
    "Read errors",
    "Failed readings within the last five minutes, of all exporters: in all, and by source and reason where there are "
    f"any. Source: {c.SOURCE_ERRORS.name}. The runbook's page VgpuExporterBlind says what each reason means; without a "
    "line nobody tells.",
    [
        Query(f"sum({grown(c.SOURCE_ERRORS, _MINUTES)})", "all"),
        Query(f"{total(('source', 'reason'), grown(c.SOURCE_ERRORS, _MINUTES))} > 0", "{{source}}: {{reason}}"),
    ],
    f.NUMBER, overrides=[f.colored("all", f.NEUTRAL)],
)  # fmt: skip

_FAILURES: Final = timeseries(
    "Attribution failures",
    "What could not be placed or read within the last five minutes, of all exporters: in all, and by reason where "
    f"there is any. Source: {c.ATTRIBUTION_FAILURES.name}. Reasons grant_* that persist: see the runbook's page "
    "VgpuGrantsRejected; without a line nobody tells.",
    [
        Query(f"sum({grown(c.ATTRIBUTION_FAILURES, _MINUTES)})", "all"),
        Query(f"{total(('reason',), grown(c.ATTRIBUTION_FAILURES, _MINUTES))} > 0", "{{reason}}"),
    ],
    f.NUMBER, overrides=[f.colored("all", f.NEUTRAL)],
)  # fmt: skip

# ---------------------------------------------------------------- what is not told

_CAPABILITIES: Final = table(
    "What GPUs cannot tell",
    "Capabilities that a GPU, its driver or a permission lacks; figures that need them are absent, not 0. "
    f"Source: {c.DEVICE_CAPABILITY_INFO.name}. no_permission can be mended (the exporter's rights); mig and mps belong "
    "to how the GPU is shared; not_supported is its model or driver.",
    [Query(gauge(c.DEVICE_CAPABILITY_INFO, WHERE + ',reason!="supported"'), latest=True)],
    [_CLUSTER, _NODE, _GPU, Column(field="capability", title="Capability"), Column(field="reason", title="Reason")],
    by="Capability", descending=False, empty="nothing lacks, or no exporter answers",
)  # fmt: skip

_OBSERVED: Final = table(
    "Observed time",
    "For which share of the time core time is read on each GPU now, and for how long it was over this range of time. "
    f"Source: {c.DEVICE_OBSERVED.name}. What is missing is booked on nobody. The least comes first: does the exporter "
    "lack CPU, or does another program take the driver's samples?",
    [Query(rate(c.DEVICE_OBSERVED, WHERE), latest=True), Query(increase(c.DEVICE_OBSERVED, WHERE), latest=True)],
    [
        _CLUSTER, _NODE, _GPU,
        Column(field="A", title="Now", unit=f.RATIO, decimals=1, bar=True, steps=((None, f.WARN), (0.8, f.GOOD))),
        Column(field="B", title="Over this range", unit=f.SECONDS, decimals=0),
    ],
    by="Now", descending=False,
)  # fmt: skip

# ---------------------------------------------------------------- how it is scraped

_UNWATCHED: Final = table(
    "Nodes unwatched",
    "Nodes with granted vGPUs from which no exporter reports, and how many containers go unwatched there. "
    f"Source: {c.NODE_GRANTED_CONTAINERS.name}, without {c.DEVICE_UP.name}. Let the DaemonSet run there; if it does, "
    "see whether Prometheus scrapes it and --node-name is right.",
    [Query(UNWATCHED, latest=True)],
    [_CLUSTER, _NODE, Column(field="A", title="Containers", unit=f.NUMBER)],
    by="Containers", empty="none, if the figure above says 0",
)  # fmt: skip

_OVERWRITTEN: Final = table(
    "Namespaces overwritten, by job",
    "Series whose namespace, pod and container the scrape replaced by the exporter's own; no dashboard or rule of ours "
    f"counts them. Source: exported_namespace on {c.CONTAINER_INFO.name} and {c.NAMESPACE_INFO.name}. Set honorLabels: "
    "true in that job; overrideHonorLabels of the Prometheus object must be false.",
    [Query(figures.OVERWRITTEN, latest=True)],
    [_CLUSTER, Column(field="job", title="Job"), Column(field="A", title="Series", unit=f.NUMBER)],
    by="Series", empty="none, if the figure above says 0",
)  # fmt: skip

_TWICE: Final = table(
    "Targets per node",
    "How many targets report the same GPUs of a node; one is right. "
    f"Source: {c.DEVICE_UP.name} by job and instance. Ours are counted once anyhow, your own sums are not: keep one "
    "PodMonitor or ServiceMonitor.",
    [Query(figures.TARGETS_OF_NODE, latest=True)],
    [_CLUSTER, _NODE, Column(field="A", title="Targets", unit=f.NUMBER, steps=((None, f.GOOD), (2, f.WARN)))],
    by="Targets",
)  # fmt: skip

_VERSIONS: Final = table(
    "Versions",
    f"Exporters by role and version. Source: {c.BUILD_INFO.name}. Two versions of a role are right while an upgrade "
    "rolls out; for longer, see which pods it did not reach.",
    [Query(figures.BUILDS, latest=True)],
    [
        _CLUSTER, Column(field="role", title="Role"), Column(field="version", title="Version"),
        Column(field="revision", title="Revision"), Column(field="python_version", title="Python"),
        Column(field="A", title="Exporters", unit=f.NUMBER),
    ],
    by="Exporters",
)  # fmt: skip

SECTIONS: Final = (
    Section("Sources over time", (line(8, _AGES, _READINGS), line(8, _ERRORS, _FAILURES))),
    Section("What a scrape costs", (line(8, _SCRAPE, _SAMPLES, _SERIES), line(8, _MEMORY, _PROCESSOR))),
    Section("What is not told", (line(8, _CAPABILITIES, _OBSERVED),)),
    Section("Scrape set-up", (line(7, _UNWATCHED, _TWICE), line(7, _OVERWRITTEN, _VERSIONS))),
)
