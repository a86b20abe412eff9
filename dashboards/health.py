"""Exporter health: does everything that should report report, how fresh is it, and what does it cost.

Nothing here is taken once over several scrapers: each row is one target of Prometheus, and who scrapes twice is shown.
"""

from __future__ import annotations

from typing import Final

from alerts.promql import TARGET, labels
from dashboards import fields as f
from dashboards import health_figures as figures
from dashboards import links, variables
from dashboards.board import Board
from dashboards.fields import Column
from dashboards.fleet_figures import CLUSTERS, UNWATCHED_NODES
from dashboards.health_figures import WHERE, each, grown, of_exporters
from dashboards.health_sections import SECTIONS
from dashboards.layout import Line, line
from dashboards.panels import stat, table
from dashboards.queries import Query, rate, total
from exporter import catalogue as c

#: Errors of sources and cases of attribution are counted from 0, so none at all is none that is known.
_NOTHING: Final = "nothing grew, or no exporter answers"
_AGE: Final[f.Steps] = ((None, f.GOOD), (60, f.WARN), (120, f.BAD))
_STATE: Final = tuple(f.words({"1": ("up", f.GOOD), "0": ("down", f.BAD)}))

# ---------------------------------------------------------------- is anything wrong

_DOWN: Final = stat(
    "Exporters down",
    "Exporters that Prometheus cannot scrape: in a job with vgpu-tenant-exporter in its name or of exporters alone, "
    "or in another where they answered within a day. Source: up. The table below names them: see the pod and its log, "
    "then NetworkPolicy, TLS and password.",
    [Query(f"sum({figures.UP} == bool 0)", latest=True)], f.NUMBER, steps=f.ANY_IS_BAD,
)  # fmt: skip

_SOURCES_DOWN: Final = stat(
    "Sources down",
    "Sources (driver, /proc, API server, HAMi's regions) without a fresh reading; what depends on one is withheld. "
    f"Source: {c.SOURCE_UP.name}. The table of sources names them, the errors beside it say why.",
    [Query(f"sum({each(c.SOURCE_UP)} == bool 0)", latest=True)], f.NUMBER, steps=f.ANY_IS_BAD,
)  # fmt: skip

_UNWATCHED: Final = stat(
    "Nodes unwatched",
    "Nodes with granted vGPUs from which no exporter reports. "
    f"Source: {c.NODE_GRANTED_CONTAINERS.name} of the quota role, without {c.DEVICE_UP.name}; no data without that "
    "role. Let the DaemonSet run there: tolerations, node selector; Scrape set-up below lists them.",
    [Query(UNWATCHED_NODES, latest=True)], f.NUMBER, steps=f.ANY_IS_BAD,
)  # fmt: skip

_OLDEST: Final = stat(
    "Oldest snapshot",
    "Age of the oldest data that an exporter serves, waiting for the next scrape included. "
    f"Source: now - {c.SNAPSHOT_TIMESTAMP.name}. Beyond two minutes a loop is stuck, or a clock is wrong.",
    [Query(f"max({figures.SNAPSHOT_AGE})")], f.SECONDS, steps=_AGE, decimals=0,
)  # fmt: skip

_ERRORS: Final = stat(
    "Read errors",
    f"Failed readings of sources over this range of time. Source: {c.SOURCE_ERRORS.name}. A few while something "
    "restarts are normal; the table Errors says of what and why.",
    [Query(f"sum({grown(c.SOURCE_ERRORS)})", latest=True)], f.NUMBER, steps=f.ANY_IS_WARNING, decimals=0,
)  # fmt: skip

_FAILURES: Final = stat(
    "Attribution failures",
    "Pods, processes and regions that could not be placed or read over this range of time, each once. "
    f"Source: {c.ATTRIBUTION_FAILURES.name}. Some come with every pod that starts or ends (process_gone, pod_unknown); "
    "the table Errors says which.",
    [Query(f"sum({grown(c.ATTRIBUTION_FAILURES)})", latest=True)], f.NUMBER, decimals=0,
)  # fmt: skip

_OBSERVED: Final = stat(
    "Least observed GPU",
    "Share of the time for which core time was read, on the GPU where it is least. "
    f"Source: {c.DEVICE_OBSERVED.name}. Below 80 % shares stay right but bills lack the rest: does the exporter lack "
    "CPU, or does another program take the driver's samples?",
    [Query(f"min({rate(c.DEVICE_OBSERVED, WHERE)})")], f.RATIO, steps=((None, f.BAD), (0.8, f.WARN), (0.95, f.GOOD)),
    decimals=0,
)  # fmt: skip

_SETUP: Final = stat(
    "Versions, mislabelled, twice",
    "Versions in use (one, but during an upgrade), series whose namespace the scrape overwrote, and nodes scraped more "
    f"than once. Sources: {c.BUILD_INFO.name}, exported_namespace on {c.CONTAINER_INFO.name}, {c.DEVICE_UP.name} by "
    "job and instance. Set honorLabels: true; keep one PodMonitor or ServiceMonitor.",
    [
        Query(figures.VERSIONS, "versions", latest=True),
        Query(figures.OVERWRITTEN_SERIES, "mislabelled", latest=True),
        Query(figures.TWICE_NODES, "twice", latest=True),
    ],
    f.NUMBER,
    overrides=[
        f.by_name("versions", thresholds=f.thresholds(((None, f.NEUTRAL), (2, f.WARN)))),
        f.by_name("mislabelled", thresholds=f.thresholds(f.ANY_IS_BAD)),
        f.by_name("twice", thresholds=f.thresholds(f.ANY_IS_WARNING)),
    ],
)  # fmt: skip

# ---------------------------------------------------------------- which, and why

_EXPORTERS: Final = table(
    "Exporters",
    "Every target: whether it answers, how many of its sources do, the age of its data, what went wrong over this "
    "range of time, what a scrape and the process cost, its version and start. Sources: up, scrape_duration_seconds, "
    f"scrape_samples_scraped, process_*, {c.SOURCE_UP.name}, {c.SNAPSHOT_TIMESTAMP.name}, {c.SOURCE_ERRORS.name}, "
    f"{c.ATTRIBUTION_FAILURES.name}, {c.BUILD_INFO.name}. What is down comes first; a scrape beyond a second, or "
    "memory that grows for days, is worth a report.",
    [
        Query(figures.NODE_OF, latest=True),
        Query(figures.UP, latest=True),
        Query(f"avg by {labels(TARGET)} ({each(c.SOURCE_UP)})", latest=True),
        Query(f"max by {labels(TARGET)} ({figures.SNAPSHOT_AGE})", latest=True),
        Query(total(TARGET, grown(c.SOURCE_ERRORS)), latest=True),
        Query(total(TARGET, grown(c.ATTRIBUTION_FAILURES)), latest=True),
        Query(of_exporters("scrape_duration_seconds"), latest=True),
        Query(of_exporters("scrape_samples_scraped"), latest=True),
        Query(of_exporters("process_resident_memory_bytes"), latest=True),
        Query(figures.PROCESSOR, latest=True),
        Query(f"group by {labels((*TARGET, 'version'))} ({each(c.BUILD_INFO, 'version')})", latest=True),
        Query(f"{of_exporters('process_start_time_seconds')} * 1000", latest=True),
    ],
    [
        Column(field="cluster", title="Cluster"), Column(field="job", title="Job"),
        Column(field="instance", title="Instance"),
        Column(field="node", title="Node", link=links.to(links.GPU, "GPUs of this node", node=links.cell("Node"))),
        Column(field="B", title="State", width=60, steps=f.PLAIN_STEPS, mappings=_STATE),
        Column(field="C", title="Sources up", unit=f.RATIO, decimals=0, width=100, bar=True,
               steps=((None, f.BAD), (1, f.GOOD))),
        Column(field="D", title="Age", unit=f.SECONDS, decimals=0, width=70, steps=_AGE),
        Column(field="E", title="Errors", unit=f.NUMBER, decimals=0, width=70, steps=f.ANY_IS_WARNING),
        Column(field="F", title="Failures", unit=f.NUMBER, decimals=0, width=70),
        Column(field="G", title="Scrape", unit=f.SECONDS, decimals=3, width=75, steps=((None, f.NEUTRAL), (1, f.WARN))),
        Column(field="H", title="Samples", unit=f.NUMBER, width=75),
        Column(field="I", title="Memory", unit=f.BYTES, width=85),
        Column(field="J", title="CPU", unit=f.RATIO, decimals=1, width=65),
        Column(field="version", title="Version", width=75), Column(field="L", title="Started", unit=f.AGO, width=120),
    ],
    by="State", descending=False,
)  # fmt: skip

_SOURCES: Final = table(
    "Sources",
    "Each source of each exporter: fresh or not, seconds since it last answered (missing if it never did), and the "
    f"mean time of a reading over this range of time. Sources: {c.SOURCE_UP.name}, {c.SOURCE_LAST_SUCCESS.name}, "
    f"{c.SOURCE_READ_DURATION.name}_sum and _count. What is down comes first: the exporter's log says why in one line.",
    [
        Query(each(c.SOURCE_UP), latest=True),
        Query(figures.SOURCE_AGE, latest=True),
        Query(figures.READ_TIME, latest=True),
    ],
    [
        Column(field="cluster", title="Cluster"), Column(field="instance", title="Instance"),
        Column(field="role", title="Role", width=60), Column(field="source", title="Source"),
        Column(field="A", title="State", width=60, steps=f.PLAIN_STEPS, mappings=_STATE),
        Column(field="B", title="Age", unit=f.SECONDS, decimals=0, width=80, steps=_AGE),
        Column(field="C", title="Reading", unit=f.SECONDS, decimals=4, width=90),
    ],
    by="State", descending=False,
)  # fmt: skip

_GREW: Final = f"{total((*TARGET, 'role', 'source', 'reason'), grown(c.SOURCE_ERRORS))} > 0"
_MET: Final = f"{total((*TARGET, 'role', 'reason'), grown(c.ATTRIBUTION_FAILURES))} > 0"

_WHY: Final = table(
    "Errors and failures, by reason",
    "What could not be read (with a source) or placed (without one) over this range of time, by the exporter's own "
    f"word. Sources: {c.SOURCE_ERRORS.name}, {c.ATTRIBUTION_FAILURES.name}. The runbook's pages VgpuExporterBlind, "
    "VgpuGrantsRejected and VgpuAttributionFailing say what each reason means; process_gone and the like are usual.",
    [Query(f"{_GREW} or {_MET}", latest=True)],
    [
        Column(field="cluster", title="Cluster"), Column(field="instance", title="Instance"),
        Column(field="role", title="Role", width=60), Column(field="source", title="Source"),
        Column(field="reason", title="Reason"), Column(field="A", title="Cases", unit=f.NUMBER, decimals=0, width=80),
    ],
    by="Cases", empty=_NOTHING,
)  # fmt: skip

HEALTH: Final = Board(
    uid=links.HEALTH,
    title="vGPU / Exporter health",
    about=(
        "Whether the exporter can be believed: who does not answer, which source is blind and why, how old its data "
        "is, and what it costs. What an exporter does not know it does not publish; look here before you believe a gap."
    ),
    variables=(variables.datasource(), variables.cluster(), variables.exporter()),
    first=(
        Line(4, (
            (_DOWN, 3), (_SOURCES_DOWN, 2), (_UNWATCHED, 3), (_OLDEST, 3), (_ERRORS, 3), (_FAILURES, 3), (_OBSERVED, 3),
            (_SETUP, 4),
        )),
        line(9, _EXPORTERS),
        line(9, _SOURCES, _WHY),
    ),
    sections=SECTIONS,
    alerts=f'{CLUSTERS},scope="exporter"',
)  # fmt: skip
