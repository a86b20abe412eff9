"""From an alert to the dashboard that shows what it is about."""

from __future__ import annotations

import pytest

from alerts import book
from alerts.dashboard_links import BOARDS, board, path
from dashboards.book import BOARDS as DASHBOARDS


@pytest.mark.parametrize("uid", BOARDS)
def test_each_dashboard_is_there_and_lets_one_choose_what_the_link_chooses(uid: str) -> None:
    """A link to a variable that is not on the dashboard would choose nothing, and say nothing of it."""
    [found] = [one for one in DASHBOARDS if one.uid == uid]

    assert set(BOARDS[uid]) <= {variable.name for variable in found.variables}


def test_an_alert_leads_to_the_narrowest_dashboard_for_it() -> None:
    """A pod's to the workload, a namespace's to the tenant, a GPU's to the GPU, an exporter's to their health."""
    led = {alert.name: board(alert) for alert in book.alerts()}

    assert led["VgpuMemoryOverGrant"] == "vgpu-workload"
    assert led["VgpuQuotaFull"] == "vgpu-tenant"
    assert led["VgpuDeviceDown"] == "vgpu-gpu"
    assert led["VgpuExporterBlind"] == "vgpu-health"
    assert set(led.values()) == set(BOARDS)


def test_a_label_that_the_alert_lacks_is_left_out_of_the_address() -> None:
    """Without a cluster label nothing is chosen for it: `var-cluster=` would choose the empty name."""
    [alert] = [alert for alert in book.alerts() if alert.name == "VgpuDeviceDown"]

    assert path(alert) == (
        "/d/vgpu-gpu?{{ with $labels.cluster }}var-cluster={{ . }}&{{ end }}{{ with $labels.node }}var-node={{ . }}&"
        "{{ end }}{{ with $labels.device_uuid }}var-device_uuid={{ . }}&{{ end }}from=now-3h&to=now"
    )
