"""Recording rules to bill from: what was used, granted and left idle within the last hour.

They are increases of counters that live as long as the exporter, so what gone pods used is in them. For any hour

    tenants' core seconds + idle + unattributed = observed, and
    tenants' used byte-seconds + idle + unattributed = physical,

each within 1 %. The billable share is a figure beside these: the larger of core and memory that a tenant was granted on
a GPU, cut down in proportion where all tenants of that GPU add up to more than it. A longer span is a sum of hours:
`sum_over_time(tenant:vgpu_billable_gpu_hours:increase1h[30d:1h])`.

Core time is counted where it was read (`observed`), memory and grants by the clock: a gap in core time, or a driver
that tells none, does not touch them. No counter says how long a GPU was there by the clock, so gauges are added up in
steps of 15 s. Scrapes may be missed while the exporter counts on; so where core time was observed for longer than the
gauges were seen, the GPU was there for that long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from alerts.promql import CLUSTER, CONTAINER, DEVICE, POD, increase_once, integral_once, joined, kept, labels, select
from alerts.recording import BY_TENANT, or_nothing, summed
from alerts.rules import Recording
from exporter import catalogue as c

if TYPE_CHECKING:
    from exporter.catalogue import Metric

_HOUR: Final = "[1h]"
_NAMESPACE_ON: Final = (*DEVICE, "namespace")
_TENANT_ON: Final = (*DEVICE, "tenant")
_TENANT: Final = (*CLUSTER, "tenant")
_REASON: Final = (*DEVICE, "reason")
_TO_DEVICE: Final = f"on {labels(DEVICE)} group_left ()"


class _Account(NamedTuple):
    """A namespace's counter that is booked by the hour."""

    metric: Metric[Any]
    stem: str
    help: str
    unit: str


_ACCOUNTS: Final = (
    _Account(c.NAMESPACE_CORE_BUSY, "core_busy_seconds", "SM time used within the hour.", "GPU-seconds"),
    _Account(
        c.NAMESPACE_CORE_GRANTED, "core_granted_seconds",
        "Cores granted times how long, within the hour; cores that are not limited add nothing.", "GPU-seconds",
    ),
    _Account(c.NAMESPACE_MEMORY_USED, "memory_used_byte_seconds", "Memory used times how long.", "byte-seconds"),
    _Account(
        c.NAMESPACE_MEMORY_GRANTED, "memory_granted_byte_seconds", "Memory granted times how long.", "byte-seconds"
    ),
    _Account(c.NAMESPACE_ENERGY, "energy_joules", "Energy within the hour, estimated.", "joules"),
)  # fmt: skip


def _name(level: str, stem: str) -> str:
    return f"{level}:vgpu_{stem}:increase1h"


def _of_tenants() -> list[Recording]:
    """Each account by namespace and GPU, then by tenant."""
    rules = []
    for metric, stem, about, unit in _ACCOUNTS:
        base = _name("namespace_device", stem)
        rules.append(Recording(base, increase_once(metric), about, unit, _NAMESPACE_ON[1:]))
        rules.append(Recording(_name("tenant", stem), summed(_TENANT, f"{base} {BY_TENANT}"), about, unit, ("tenant",)))
    about = "GPU-hours of SM time used within the hour."
    of_tenants = f"{_name('tenant', 'core_busy_seconds')} / 3600"
    return [*rules, Recording(_name("tenant", "core_busy_gpu_hours"), of_tenants, about, "GPU-hours", ("tenant",))]


# ---------------------------------------------------------------- what is left of a GPU

_OBSERVED: Final = _name("device", "observed_seconds")
_UP: Final = _name("device", "up_seconds")
_BUSY: Final = _name("device", "core_busy_seconds")
_PHYSICAL: Final = _name("device", "memory_physical_byte_seconds")
_UNATTRIBUTED: Final = _name("device", "memory_unattributed_byte_seconds")


def _at_least(expression: str, observed: str) -> str:
    """Return what was added up by the clock, or by the time that was observed where that is more."""
    return joined(
        f"max by {labels(DEVICE)} (",
        f"  {expression}",
        f'  or label_replace({observed}, "by", "observed", "", "")',
        ")",
    )


def _up() -> str:
    """Return for how long a GPU answered, less the time for which it was cut into MIG instances, or is one itself."""
    cut = select(c.DEVICE_CAPABILITY_INFO, 'capability="process_utilization",reason="mig"')
    whole = f"{_integral(c.DEVICE_UP)} or -1 * {integral_once(cut, kept(c.DEVICE_CAPABILITY_INFO))}"
    return _at_least(f"{summed(DEVICE, whole)} > 0", _OBSERVED)


def _physical() -> str:
    mean = f"max by {labels(DEVICE)} (avg_over_time({select(c.DEVICE_MEMORY_TOTAL, window=_HOUR)}))"
    return _at_least(_integral(c.DEVICE_MEMORY_TOTAL), f"{mean} * {_OBSERVED}")


def _unattributed() -> str:
    """By reason; while nothing can be attributed all that is in use is some unknown process's, as core time is."""
    blind = integral_once(f"({select(c.DEVICE_MEMORY_USED)} unless {select(c.DEVICE_MEMORY_ATTRIBUTED)})", DEVICE)
    told = f'label_replace({blind}, "reason", "unknown_process", "", "")'
    return joined(
        f"sum by {labels(_REASON)} (",
        f"  {_integral(c.DEVICE_MEMORY_UNATTRIBUTED)}",
        f'  or label_replace({told}, "by", "blind", "", "")',
        ")",
    )


def _integral(metric: Metric[Any]) -> str:
    return integral_once(select(metric), kept(metric))


def _of_devices() -> list[Recording]:
    """Each GPU's own accounts: all there was, what nobody used, and what belongs to nobody."""
    used = summed(DEVICE, _name("namespace_device", "memory_used_byte_seconds"))
    unattributed = summed(DEVICE, _UNATTRIBUTED)
    idle_memory = f"clamp_min({_PHYSICAL} - {or_nothing(used, _PHYSICAL)} - {or_nothing(unattributed, _PHYSICAL)}, 0)"
    core, memory, on = "GPU-seconds", "byte-seconds", DEVICE[1:]
    return [
        Recording(
            _OBSERVED, increase_once(c.DEVICE_OBSERVED), "Seconds for which core time was really read.", core, on
        ),
        Recording(_BUSY, increase_once(c.DEVICE_CORE_BUSY), "SM time used, by whomever.", core, on),
        Recording(
            _name("device", "core_unattributed_seconds"), increase_once(c.DEVICE_CORE_UNATTRIBUTED),
            "SM time used that belongs to no container.", core, _REASON[1:],
        ),
        Recording(
            _name("device", "core_idle_seconds"), f"clamp_min({_OBSERVED} - {_BUSY}, 0)",
            "Time that was observed and that nobody used.", core, on,
        ),
        Recording(
            _UP, _up(),
            "Seconds by the clock for which the driver answered for the GPU; none while it is cut into MIG instances.",
            core, on,
        ),
        Recording(
            _PHYSICAL, _physical(),
            "Physical memory times how long it was there: the whole that memory accounts are parts of.", memory, on,
        ),
        Recording(
            _UNATTRIBUTED, _unattributed(), "Memory in use that belongs to no container, times how long.",
            memory, _REASON[1:],
        ),
        Recording(
            _name("device", "memory_idle_byte_seconds"), idle_memory,
            "Physical memory that nobody used, times how long.", memory, on,
        ),
        Recording(
            _name("device", "energy_unattributed_joules"), increase_once(c.DEVICE_ENERGY_UNATTRIBUTED),
            "Energy that is estimated to belong to no container, idle energy included.", "joules", on,
        ),
    ]  # fmt: skip


def _of_the_cluster() -> list[Recording]:
    """The same over all GPUs, and the busy GPU-hours."""
    rules = [
        Recording(rule.name.replace("device:", "cluster:"), summed(CLUSTER, rule.name), rule.help, rule.unit, ())
        for rule in _of_devices()
    ]
    busy = f"{_name('cluster', 'core_busy_seconds')} / 3600"
    about = "GPU-hours of SM time used within the hour, by whomever."
    return [*rules, Recording(_name("cluster", "core_busy_gpu_hours"), busy, about, "GPU-hours", ())]


# ---------------------------------------------------------------- what to bill

_CORE_SHARE: Final = "tenant_device:vgpu_core_share:ratio1h"
_MEMORY_SHARE: Final = "tenant_device:vgpu_memory_share:ratio1h"
_BILLABLE: Final = "tenant_device:vgpu_billable_share:ratio1h"


def _core_billed() -> str:
    """By namespace and GPU: granted core seconds, and what containers used whose cores are not limited.

    A container is limited if it was granted cores within the hour, or if its pod was as a whole.
    """
    granted = _name("namespace_device", "core_granted_seconds")
    limited = f"max by {labels(CONTAINER)} (last_over_time({select(c.CONTAINER_CORE_GRANTED, window=_HOUR)})) > 0"
    as_pod = select(c.CONTAINER_CORE_GRANTED, 'container=""', _HOUR)
    lines = (
        f"{increase_once(c.CONTAINER_CORE_BUSY)}",
        f"unless on {labels(CONTAINER)} ({limited})",
        f"unless on {labels(POD)} (max by {labels(POD)} (last_over_time({as_pod})) > 0)",
    )
    free = joined(f"sum by {labels(_NAMESPACE_ON)} (", *(f"    {line}" for line in lines), "  )")
    return joined("(", f"  {granted}", f"  + {free}", f"  or {granted}", ")")


def _billable() -> list[Recording]:
    """Shares of each GPU by tenant, and the GPU-hours they make."""
    on, share = _TENANT_ON[1:], "ratio"
    core = summed(_TENANT_ON, joined("", _core_billed(), BY_TENANT, ""))
    memory = summed(_TENANT_ON, f"{_name('namespace_device', 'memory_granted_byte_seconds')} {BY_TENANT}")
    larger = f"({_CORE_SHARE} > {_MEMORY_SHARE} or {_MEMORY_SHARE} or {_CORE_SHARE})"
    hours = _name("tenant", "billable_gpu_hours")
    return [
        Recording(
            _CORE_SHARE, f"{core} / {_TO_DEVICE} ({_UP} > 0)",
            "Share of the GPU's cores that the tenant was granted, or used where they are not limited.", share, on,
        ),
        Recording(
            _MEMORY_SHARE, f"{memory} / {_TO_DEVICE} ({_PHYSICAL} > 0)",
            "Share of the GPU's memory that the tenant was granted.", share, on,
        ),
        Recording(
            _BILLABLE, f"{larger} / {_TO_DEVICE} clamp_min({summed(DEVICE, larger)}, 1)",
            "The larger of both, divided by their sum over the GPU's tenants where that exceeds 1.", share, on,
        ),
        Recording(
            hours, summed(_TENANT, f"{_BILLABLE} * {_TO_DEVICE} {_UP}") + " / 3600",
            "GPU-hours to bill the tenant for.", "GPU-hours", ("tenant",),
        ),
        Recording(
            _name("cluster", "unbilled_gpu_hours"),
            f"{_name('cluster', 'up_seconds')} / 3600 - "
            + or_nothing(summed(CLUSTER, hours), _name("cluster", "up_seconds")),
            "GPU-hours that nobody is billed for.", "GPU-hours", (),
        ),
    ]  # fmt: skip


def last_hour() -> tuple[Recording, ...]:
    """All accounts, in the order in which they build on each other."""
    return (*_of_tenants(), *_of_devices(), *_of_the_cluster(), *_billable())
