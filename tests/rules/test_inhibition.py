"""docs/examples/alertmanager.yml in a real Alertmanager: who is told what, and which alert holds back which."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.rules.cases import Alert
from tests.rules.cases import alerts as generated
from tests.rules.checkers import ROOT, answer, serving
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXAMPLE = ROOT / "docs" / "examples" / "alertmanager.yml"

#: One alert of each severity, the gravest first.
THREE = ("critical", "warning", "info")


class Alerts:
    """The alerts of one Alertmanager, as `amtool` posts and finds them."""

    def __init__(self, address: str) -> None:
        """Know where it listens."""
        self._url = f"--alertmanager.url=http://{address}"

    def post(self, *severities: str, alertname: str = "VgpuTest", **labels: str) -> None:
        """Have one alert fire for each severity, all with these labels."""
        given = [f"{name}={value}" for name, value in labels.items()]
        for severity in severities:
            answer("amtool", "alert", "add", self._url, f"alertname={alertname}", f"severity={severity}", *given)

    def settle(self) -> None:
        """Wait until Alertmanager has taken in what was posted: of a pair posted now, one is held back."""
        self.post("critical", "info", scope="tenant", namespace="settle")
        until(lambda: self.held_back(namespace="settle") == ["info"])

    def told(self, **labels: str) -> list[str]:
        """Return the severities of the alerts with these labels that somebody is told of."""
        return self._query("--active", labels)

    def held_back(self, **labels: str) -> list[str]:
        """Return the severities of the alerts with these labels that are inhibited."""
        return self._query("--inhibited", labels)

    def _query(self, state: str, labels: dict[str, str]) -> list[str]:
        wanted = [f"{name}={value}" for name, value in labels.items()]
        found = json.loads(answer("amtool", "alert", "query", self._url, "--output=json", state, *wanted))
        return sorted((alert["labels"]["severity"] for alert in found), key=THREE.index)


@pytest.fixture(name="alerts")
def _alerts(tmp_path: Path) -> Iterator[Alerts]:
    """Run an Alertmanager of its own, with the example as it stands."""
    with serving(
        "alertmanager", tmp_path, f"--config.file={EXAMPLE}", f"--storage.path={tmp_path}", "--cluster.listen-address="
    ) as address:
        yield Alerts(address)


TENANT = {"scope": "tenant", "namespace": "research"}
GPU = {"scope": "device", "node": "node-1", "device_uuid": "GPU-1"}
POD = TENANT | {"node": "node-1", "device_uuid": "GPU-1", "pod": "model-0"}


@pytest.mark.parametrize("labels", [TENANT, POD, GPU], ids=["namespace", "pod", "GPU"])
def test_the_gravest_holds_back_the_rest(alerts: Alerts, labels: dict[str, str]) -> None:
    """Of critical, warning and info about one namespace, pod or GPU only critical is told."""
    alerts.post(*THREE, **labels)

    until(lambda: alerts.held_back() == ["warning", "info"])
    assert alerts.told() == ["critical"]


@pytest.mark.parametrize("labels", [TENANT, GPU], ids=["namespace", "GPU"])
def test_a_warning_holds_back_info_only(alerts: Alerts, labels: dict[str, str]) -> None:
    """Without a critical one the warning is told, and info about the same namespace or GPU is not."""
    alerts.post("warning", "info", **labels)

    until(lambda: alerts.held_back() == ["info"])
    assert alerts.told() == ["warning"]


def test_an_alert_about_a_pod_holds_back_what_the_whole_namespace_has(alerts: Alerts) -> None:
    """It is one tenant's matter, whether an alert names the pod or, as for a quota, the namespace alone."""
    alerts.post("warning", **POD)
    alerts.post("info", **TENANT, resource="nvidia.com/gpumem")

    until(lambda: alerts.held_back() == ["info"])
    assert alerts.told() == ["warning"]


def test_a_neighbour_on_the_same_gpu_is_told_all_the_same(alerts: Alerts) -> None:
    """An alert about one tenant holds back none about another, and none about the GPU."""
    alerts.post(*THREE, **POD)
    alerts.post("warning", **POD | {"namespace": "billing"})
    alerts.post("info", **GPU)

    until(lambda: alerts.held_back() == ["warning", "info"])
    assert alerts.told(namespace="billing") == ["warning"]
    assert alerts.told(scope="device") == ["info"]


def test_a_gpu_that_is_down_holds_back_what_its_tenants_would_say(alerts: Alerts) -> None:
    """A critical alert about a GPU holds back the milder ones of every tenant on it, and of no other GPU."""
    alerts.post("critical", **GPU)
    alerts.post("warning", **POD)
    alerts.post("warning", **POD | {"namespace": "billing"})
    alerts.post("warning", **POD | {"namespace": "vision", "device_uuid": "GPU-2"})

    until(lambda: alerts.held_back() == ["warning", "warning"])
    assert alerts.told(device_uuid="GPU-2") == ["warning"]


def test_a_namespace_of_the_same_name_in_another_cluster_is_told(alerts: Alerts) -> None:
    """Clusters may use one name for two tenants: neither holds back the other."""
    alerts.post("critical", **TENANT, cluster="east")
    alerts.post("warning", **TENANT, cluster="west")
    alerts.post("warning", **TENANT, cluster="east")

    until(lambda: alerts.held_back() == ["warning"])
    assert alerts.told(cluster="west") == ["warning"]


def test_alerts_about_the_exporter_hold_back_nothing(alerts: Alerts) -> None:
    """They bear no namespace and no GPU, which does not make them one matter; nor those about a quota a GPU's."""
    alerts.post(*THREE, scope="exporter", node="node-1")
    alerts.post("critical", **GPU)
    alerts.post("warning", **TENANT)
    alerts.settle()

    assert alerts.told(scope="exporter") == list(THREE)
    assert alerts.told(namespace="research") == ["warning"]


def test_other_peoples_alerts_are_left_alone(alerts: Alerts) -> None:
    """Ours hold back none of another origin, nor are they held back by those."""
    alerts.post("critical", **TENANT)
    alerts.post("warning", alertname="KubePodCrashLooping", **TENANT)
    alerts.post("critical", alertname="KubePodCrashLooping", **TENANT | {"namespace": "billing"})
    alerts.post("warning", **TENANT | {"namespace": "billing"})
    alerts.settle()

    assert alerts.told(namespace="research") == ["critical", "warning"]
    assert alerts.told(namespace="billing") == ["critical", "warning"]


def test_every_alert_reaches_the_receiver_of_its_severity() -> None:
    """The routes catch all alerts that are generated, each by its severity."""
    receivers = {"critical": "gpu-pager", "warning": "gpu-chat", "info": "gpu-digest"}

    routed = {alert: route(alert) for alert in generated()}

    assert routed == {alert: receivers[alert.severity] for alert in routed}


def route(alert: Alert) -> str:
    """Return the receiver that the example gives an alert to."""
    labels = (f"alertname={alert.name}", f"severity={alert.severity}")
    return answer("amtool", "config", "routes", "test", f"--config.file={EXAMPLE}", *labels).strip()


def test_the_example_is_valid() -> None:
    """`amtool check-config` has nothing to say against the file."""
    assert "SUCCESS" in answer("amtool", "check-config", str(EXAMPLE))
