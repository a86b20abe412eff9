"""Where to look at what an alert is about: the dashboard for it, with the alert's labels chosen on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from alerts.rules import Alert

#: uid → the variables of that dashboard that an alert may choose, each by its label of the same name.
BOARDS: Final = {
    "vgpu-workload": ("cluster", "namespace", "pod"),
    "vgpu-tenant": ("cluster", "namespace"),
    "vgpu-gpu": ("cluster", "node", "device_uuid"),
    "vgpu-health": ("cluster", "instance"),
}
_SPAN: Final = "from=now-3h&to=now"


def board(alert: Alert) -> str:
    """Return the uid of the dashboard for an alert."""
    if alert.scope == "tenant":
        return "vgpu-workload" if "$labels.pod" in alert.summary else "vgpu-tenant"
    return "vgpu-gpu" if alert.scope == "device" else "vgpu-health"


def path(alert: Alert) -> str:
    """Return a template of the dashboard's address behind that of Grafana; labels that an alert lacks are left out."""
    uid = board(alert)
    chosen = "".join(f"{{{{ with $labels.{name} }}}}var-{name}={{{{ . }}}}&{{{{ end }}}}" for name in BOARDS[uid])
    return f"/d/{uid}?{chosen}{_SPAN}"
