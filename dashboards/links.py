"""Ways from one dashboard to another that keep data source, cluster and range of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from grafanalib import core

if TYPE_CHECKING:
    from dashboards.fields import Json

FLEET: Final = "vgpu-fleet"
TENANT: Final = "vgpu-tenant"
GPU: Final = "vgpu-gpu"
WORKLOAD: Final = "vgpu-workload"
SERVING: Final = "vgpu-serving"
HEALTH: Final = "vgpu-health"
#: All of ours, and nobody else's.
TAG: Final = "vgpu-tenant-exporter"

_KEPT: Final = ("${datasource:queryparam}", "${cluster:queryparam}", "${__url_time_range}")


def others() -> core.DashboardLink:
    """A menu of all our dashboards."""
    return core.DashboardLink(
        asDropdown=True, includeVars=True, keepTime=True, tags=[TAG], title="vGPU dashboards", type="dashboards"
    )  # fmt: skip


def to(uid: str, title: str, **variables: str) -> Json:
    """Return a link on a value, e.g. `to(GPU, "This GPU", node=label("node"))`."""
    chosen = [f"var-{name}={value}" for name, value in variables.items()]
    return {"title": title, "url": f"/d/{uid}?{'&'.join((*_KEPT[:2], *chosen, _KEPT[2]))}"}


def cell(field: str) -> str:
    """Return what stands in this field of the same row of a table."""
    return f"${{__data.fields.{field}:percentencode}}"


def label(name: str) -> str:
    """Return a label of the series that the link stands on."""
    return f"${{__field.labels.{name}:percentencode}}"
