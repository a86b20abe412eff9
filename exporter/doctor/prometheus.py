"""The steps of Prometheus: has it our series, once and under the tenants' labels, our rules, and no alert about us."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from exporter import catalogue
from exporter.doctor import failed, listed, passed, plural, unchecked, warned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.doctor import Step
    from exporter.errors import SourceError

PROMETHEUS, LABELS, SCRAPES, RULES, ALERTS = (
    "prometheus",
    "prometheus-labels",
    "prometheus-scrapes",
    "prometheus-rules",
    "prometheus-alerts",
)
#: Firing alerts about the exporter itself, as our rules mark them.
FIRING: Final = 'ALERTS{alertname=~"Vgpu.+",alertstate="firing",scope="exporter"}'
_OUR_ALERT: Final = "Vgpu"
_OUR_RECORD: Final = "vgpu_"
_ADDRESS: Final = "--prometheus must be the address of Prometheus' HTTP API, as this pod sees it."


@dataclass(frozen=True, slots=True)
class Queries:
    """What to ask: whether there are series of us, those whose namespace was overwritten, and who they come from."""

    present: str
    overwritten: str
    targets: str


@dataclass(frozen=True, slots=True)
class PrometheusFound:
    """What Prometheus answered.

    `series`, `overwritten` and `targets` are the numbers of series with our names, of those with `exported_namespace`,
    and of the targets that give the same. `alerts` and `records` are the names of its rules, both None if it does not
    tell. `firing` are the names of alerts.
    """

    series: int = 0
    overwritten: int = 0
    targets: int = 0
    alerts: frozenset[str] | None = None
    records: frozenset[str] | None = None
    firing: tuple[str, ...] = ()


def node_queries(node: str) -> Queries:
    """Return the queries about one node; its name has no character that PromQL escapes."""
    of_node = f'{{node="{node}"}}'
    container = f'{catalogue.CONTAINER_INFO.name}{of_node[:-1]},exported_namespace!=""}}'
    up = f"{catalogue.DEVICE_UP.name}{of_node}"
    targets = f"max(count by (device_uuid) (group by (cluster, job, instance, device_uuid) ({up})))"
    return Queries(f"count({up})", f"count({container})", targets)


def quota_queries() -> Queries:
    """Return the queries about the cluster's quotas."""
    info = catalogue.NAMESPACE_INFO.name
    targets = f"max(count by (cluster, namespace) (group by (cluster, job, instance, namespace) ({info})))"
    return Queries(f"count({info})", f'count({info}{{exported_namespace!=""}})', targets)


def prometheus(found: PrometheusFound | SourceError) -> Iterator[Step]:
    """Judge each thing that keeps data from a dashboard."""
    if not isinstance(found, PrometheusFound):
        yield failed(PROMETHEUS, str(found), _ADDRESS)
        return
    if not found.series:
        yield failed(
            PROMETHEUS,
            "it has no series of this exporter",
            "See its page of targets: a PodMonitor needs the labels that Prometheus selects by (often release), and no "
            "NetworkPolicy in the way; without the operator, annotations that its scrape configuration reads.",
        )
        yield from (unchecked(name, PROMETHEUS) for name in (LABELS, SCRAPES))
    else:
        yield passed(PROMETHEUS, f"it has {found.series} series of this exporter (one a GPU or a namespace)")
        yield _labels(found)
        yield _scrapes(found)
    yield _rules(found)
    yield _alerts(found)


def _labels(found: PrometheusFound) -> Step:
    if found.overwritten:
        return failed(
            LABELS,
            f"{found.overwritten} series bear the tenant's namespace as exported_namespace",
            "Set honorLabels: true in the ServiceMonitor or PodMonitor (honor_labels: true in a scrape configuration), "
            "and no overrideHonorLabels in the Prometheus object.",
        )
    return passed(LABELS, "namespace is the tenant's: no exported_namespace")


def _scrapes(found: PrometheusFound) -> Step:
    if found.targets > 1:
        return warned(
            SCRAPES,
            f"{found.targets} targets give the same series, so each sum() counts them {found.targets} times",
            "Keep one of PodMonitor, ServiceMonitor and the prometheus.io annotations.",
        )
    return passed(SCRAPES, "each series comes from one target")


def _rules(found: PrometheusFound) -> Step:
    if found.alerts is None or found.records is None:
        return warned(RULES, "it does not tell its rules", "Look whether what evaluates rules has ours.")
    ours = [name for name in found.alerts if name.startswith(_OUR_ALERT)]
    records = [name for name in found.records if _OUR_RECORD in name]
    if not ours or not records:
        lacking = " and ".join(word for word, names in (("alerts", ours), ("recording rules", records)) if not names)
        return warned(
            RULES,
            f"it has none of our {lacking}",
            "Install the chart's PrometheusRule with the labels that Prometheus' ruleSelector asks for, or load "
            "alerts/generated/*.yaml: dashboards and alerts need them.",
        )
    return passed(RULES, f"{plural(len(ours), 'alert')} and {plural(len(records), 'recording rule')} of ours")


def _alerts(found: PrometheusFound) -> Step:
    if found.firing:
        return warned(
            ALERTS, f"firing about the exporter: {listed(found.firing)}", "alerts/RUNBOOK.md has what to do for each."
        )
    return passed(ALERTS, "no alert about the exporter fires")
