"""What tenants used and would pay for, over the range of time on the screen: GPU-hours, GiB-hours, energy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from alerts.promql import CLUSTER, NAMESPACE, labels, select
from alerts.recording import TENANT
from dashboards import fields as f
from dashboards import links
from dashboards.fields import Column
from dashboards.layout import Section, line
from dashboards.panels import stat, table, timeseries
from dashboards.queries import Query, chosen, gauge, increase, rate, total
from dashboards.tenant_quota import CHOSEN
from exporter import catalogue as c

if TYPE_CHECKING:
    from grafanalib import core

    from exporter.catalogue import Metric

_TENANT: Final = (*CLUSTER, "tenant")
_POD: Final = (*NAMESPACE, "pod")
_HOUR: Final = 3600
_GIB_HOUR: Final = "(1024 ^ 3 * 3600)"

_USED: Final = "tenant:vgpu_core_busy_gpu_hours:increase1h"
_BILLABLE: Final = "tenant:vgpu_billable_gpu_hours:increase1h"
_CORES: Final = "tenant:vgpu_core_granted_seconds:increase1h"
_MEMORY_USED: Final = "tenant:vgpu_memory_used_byte_seconds:increase1h"
_MEMORY: Final = "tenant:vgpu_memory_granted_byte_seconds:increase1h"
_ENERGY: Final = "tenant:vgpu_energy_joules:increase1h"

#: Who owns, or owned within the range, one of the namespaces chosen: a link to one of them chooses no tenant.
_OWNERS: Final = f"last_over_time({TENANT}{{{chosen('cluster', 'tenant', 'namespace')}}}[$__range])"


def _over_range(rule: str) -> str:
    """Return the sum of an hourly figure over the range: every 5 minutes, as it is recorded, a twelfth of it.

    So a range need not begin on the hour; it counts the hour before it by half as much as it lacks of its last.
    """
    of_tenants = total(_TENANT, f"sum_over_time({rule}{{{chosen('cluster', 'tenant')}}}[$__range:5m])")
    return f"({of_tenants} and on {labels(_TENANT)} {_OWNERS}) / 12"


_LAG: Final = (
    "Hourly figures, added up over the range on the screen: they lag by up to an hour, so choose a day or a month."
)


def gpu_hours() -> core.Stat:
    """Return GPU-hours of the tenants chosen: used, granted, billable."""
    return stat(
        "GPU-hours",
        "GPU-hours of the tenants chosen, or whose the namespaces are, all their namespaces: cores used, cores "
        "granted, and what to bill, the larger share of cores and memory that was granted on each GPU "
        f"({_USED}, {_CORES}, {_BILLABLE}). {_LAG} No data: the recording rules are not loaded.",
        [
            Query(f"sum({_over_range(_USED)})", "used", latest=True),
            Query(f"sum({_over_range(_CORES)}) / {_HOUR}", "granted", latest=True),
            Query(f"sum({_over_range(_BILLABLE)})", "billable", latest=True),
        ],
        f.PLAIN, decimals=2,
    )  # fmt: skip


def energy() -> core.Stat:
    """Return the energy of the namespaces chosen."""
    return stat(
        "Energy, estimated",
        f"Estimated: each GPU's energy, split by core time ({c.NAMESPACE_ENERGY.name} over the range on the screen). "
        "Idle energy is nobody's, so tenants add up to less than the meter. To save some, end pods that compute for "
        "nothing.",
        [Query(f"sum({increase(c.NAMESPACE_ENERGY, CHOSEN)}) / {_HOUR}", latest=True)],
        f.WATT_HOURS,
    )  # fmt: skip


def _amount(field: str, title: str, unit: str = f.PLAIN) -> Column:
    return Column(field=field, title=title, unit=unit, decimals=2)


def _by_tenant() -> core.Table:
    hours = (
        _over_range(_USED),
        f"{_over_range(_CORES)} / {_HOUR}",
        _over_range(_BILLABLE),
        f"{_over_range(_MEMORY_USED)} / {_GIB_HOUR}",
        f"{_over_range(_MEMORY)} / {_GIB_HOUR}",
        f"{_over_range(_ENERGY)} / {_HOUR}",
    )
    return table(
        "Tenants: what they would pay for",
        f"By tenant, pods that are gone included ({_BILLABLE} and the other rules of tenants). Billable is the larger "
        "share of cores and memory granted on each GPU, cut down where a GPU was granted more than once; energy is "
        f"estimated. {_LAG} For an invoice take whole hours: docs/alerting.md has the query.",
        [Query(expr, latest=True) for expr in hours],
        [
            Column(field="cluster", title="Cluster"),
            Column(
                field="tenant", title="Tenant", link=links.to(links.TENANT, "This tenant", tenant=links.cell("tenant"))
            ),
            _amount("A", "GPU-hours used"),
            _amount("B", "GPU-hours granted"),
            _amount("C", "GPU-hours billable"),
            _amount("D", "GiB-hours used"),
            _amount("E", "GiB-hours granted"),
            _amount("F", "Energy, estimated", f.WATT_HOURS),
        ],
        by="GPU-hours billable", empty="no data: are the recording rules loaded?",
    )  # fmt: skip


def _by_namespace() -> core.Table:
    def account(metric: Metric[Any], per: float | str) -> Query:
        return Query(f"{total(NAMESPACE, increase(metric, CHOSEN))} / {per}", latest=True)

    return table(
        "Namespaces: accounts of the range",
        f"By namespace, from its counters ({c.NAMESPACE_CORE_BUSY.name}, {c.NAMESPACE_CORE_GRANTED.name} and so on), "
        "exactly over the range on the screen, pods that are gone included. Energy is estimated. Far more granted than "
        "used: ask for smaller vGPUs. Cores that are not limited add nothing to granted.",
        [
            account(c.NAMESPACE_CORE_BUSY, _HOUR),
            account(c.NAMESPACE_CORE_GRANTED, _HOUR),
            account(c.NAMESPACE_MEMORY_USED, _GIB_HOUR),
            account(c.NAMESPACE_MEMORY_GRANTED, _GIB_HOUR),
            account(c.NAMESPACE_ENERGY, _HOUR),
        ],
        [
            Column(field="cluster", title="Cluster"),
            Column(field="namespace", title="Namespace"),
            _amount("A", "GPU-hours used"),
            _amount("B", "GPU-hours granted"),
            _amount("C", "GiB-hours used"),
            _amount("D", "GiB-hours granted"),
            _amount("E", "Energy, estimated", f.WATT_HOURS),
        ],
        by="GPU-hours used",
    )  # fmt: skip


def _by_pod() -> core.Table:
    def of_pod(metric: Metric[Any]) -> Query:
        return Query(f"topk(100, {total(_POD, increase(metric, CHOSEN))} / {_HOUR})", latest=True)

    return table(
        "Pods of the range, gone ones too",
        f"What each pod used within the range on the screen, also those that are gone; the 100 that used most "
        f"({c.CONTAINER_CORE_BUSY.name}, {c.CONTAINER_ENERGY.name}, which is estimated). A pod that lived for less "
        "than two scrapes is missing here, not in its namespace's account.",
        [of_pod(c.CONTAINER_CORE_BUSY), of_pod(c.CONTAINER_ENERGY)],
        [
            Column(field="cluster", title="Cluster"),
            Column(field="namespace", title="Namespace"),
            Column(field="pod", title="Pod", link=links.to(
                links.WORKLOAD, "This pod", namespace=links.cell("namespace"), pod=links.cell("pod")
            )),
            _amount("A", "GPU-hours used"),
            _amount("B", "Energy, estimated", f.WATT_HOURS),
        ],
        by="GPU-hours used",
    )  # fmt: skip


def _top(title: str, description: str, now: str, ranked: str, unit: str) -> core.TimeSeries:
    """Return a graph of the ten pods that were first over the whole range: the same ones at every point of it."""
    return timeseries(
        title, description, [Query(f"{now} and on {labels(_POD)} topk(10, {ranked})", "{{namespace}}/{{pod}}")], unit,
        stacked=True, legend="right",
    )  # fmt: skip


def _most_memory() -> core.TimeSeries:
    mean = f"avg_over_time({select(c.CONTAINER_MEMORY_USED, CHOSEN, '[$__range] @ end()')})"
    each = (*CLUSTER, *c.CONTAINER_MEMORY_USED.label_names)
    return _top(
        "Memory used, the ten largest pods",
        f"The ten pods that held most memory over the range, gone ones included ({c.CONTAINER_MEMORY_USED.name}, what "
        "the driver lists). Who grows without end leaks: see its dashboard from the table of pods.",
        total(_POD, gauge(c.CONTAINER_MEMORY_USED, CHOSEN)),
        total(_POD, f"max by {labels(each)} ({mean})"),
        f.BYTES,
    )  # fmt: skip


def _most_cores() -> core.TimeSeries:
    return _top(
        "Cores used, the ten busiest pods",
        f"The ten pods that computed most over the range, gone ones included, in shares of one GPU (rate of "
        f"{c.CONTAINER_CORE_BUSY.name}). A pod near 0 that holds memory is the first to end.",
        total(_POD, rate(c.CONTAINER_CORE_BUSY, CHOSEN)),
        total(_POD, increase(c.CONTAINER_CORE_BUSY, CHOSEN, "[$__range] @ end()")),
        f.RATIO,
    )  # fmt: skip


ACCOUNTS: Final = Section(
    "GPU-hours: tenants, namespaces, pods",
    (line(7, _by_tenant()), line(9, _by_namespace(), _by_pod())),
)
PODS: Final = Section("Who uses it", (line(9, _most_memory(), _most_cores()),))
