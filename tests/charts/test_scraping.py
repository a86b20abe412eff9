"""A real Prometheus scrapes the running exporter by the rendered monitors: whose labels a series has in the end."""

from __future__ import annotations

import itertools
import time
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Final

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.charts.deployed import VALUES, deployed
from tests.charts.kubelet import POD_NAME
from tests.charts.prometheus_operator import discovered, endpoint_of, scrape_config
from tests.charts.recorded_node import NODE
from tests.charts.rendering import NAMESPACE, RELEASE, the
from tests.monitored import Prometheus
from tests.rules.checkers import checker, serving
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.charts.deployed import Deployed
    from tests.charts.rendering import Json

KINDS: Final = {"podMonitor": "PodMonitor", "serviceMonitor": "ServiceMonitor"}
#: Each way to be scraped is a cluster of its own: the monitor, and whether it honors labels.
WAYS: Final = {
    f"{which}, honorLabels {honor}": (which, honor) for which, honor in itertools.product(KINDS, (True, False))
}
each_way = pytest.mark.parametrize("way", WAYS)
#: A PodMonitor as many have it, without a relabeling: what the alert is for.
CARELESS: Final = "careless"
#: Each role's objects, and what Prometheus adds to each of its samples.
NAMES: Final = {"node": RELEASE, "quota": f"{RELEASE}-quota"}
WORKLOADS: Final = {"node": "DaemonSet", "quota": "Deployment"}
TARGETS: Final = {
    "node": {"job": RELEASE, "instance": NODE, "node": NODE},
    "quota": {"job": RELEASE, "instance": POD_NAME},
}
#: Of the recorded node; and what begins the names of what is no tenant's.
TENANTS: Final = {"batch", "rag", "research", "xinference"}
OURS: Final = ("vgpu_source_", "vgpu_attribution_", "vgpu_exporter_")
OTHERS: Final = {"node": {"vgpu_device_", *OURS}, "quota": {*OURS}}


def monitor(role: str, which: str, *, honor: bool) -> Json:
    """Return a monitor of the shape with TLS and a password, that scrapes more often."""
    asked = VALUES["podMonitor"] | {"honorLabels": honor, "interval": "2s", "scrapeTimeout": "2s"}
    return the(KINDS[which], VALUES | {"podMonitor": {"enabled": False}} | {which: asked}, NAMES[role])


def jobs(exporter: Deployed, directory: Path) -> Iterator[Json]:
    """Yield the scrape configuration of each way."""
    role = exporter.role
    found = {way: monitor(role, which, honor=honor) for way, (which, honor) in WAYS.items()}
    plain = monitor(role, "podMonitor", honor=False)
    bare = {key: value for key, value in endpoint_of(plain).items() if not key.lower().endswith("relabelings")}
    endpoints = {way: (one, endpoint_of(one)) for way, one in found.items()} | {CARELESS: (plain, bare)}
    for way, (one, endpoint) in endpoints.items():
        targets = discovered(the(WORKLOADS[role], VALUES, NAMES[role]), the("Service", VALUES, NAMES[role]))
        for target in targets:
            target["labels"]["cluster"] = way
        yield {"job_name": way} | scrape_config(one, endpoint, targets, exporter.secrets, directory)


def groups() -> list[Json]:
    """Return the rendered rules, evaluated each second instead of each minute."""
    rules = the("PrometheusRule", VALUES | {"prometheusRule": {"enabled": True}})
    return [group | {"interval": "1s"} for group in rules["spec"]["groups"]]


@contextmanager
def monitored(exporter: Deployed, directory: Path) -> Iterator[Prometheus]:
    """Run a Prometheus until it has scraped the exporter in each way, and has evaluated all rules since."""
    (directory / "rules.yaml").write_text(yaml.safe_dump({"groups": groups()}))
    configuration = {"rule_files": ["rules.yaml"], "scrape_configs": list(jobs(exporter, directory))}
    (directory / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    options = (f"--config.file={directory / 'prometheus.yml'}", f"--storage.tsdb.path={directory / 'data'}")
    with serving("prometheus", directory, *options) as address:
        prometheus = Prometheus(address, directory)
        until(prometheus.ready)
        wait_for(lambda: len(prometheus.series("vgpu_exporter_build_info")) == len(WAYS) + 1)
        scraped = time.time()
        wait_for(lambda: all(evaluated(rule) > scraped for rule in rules(prometheus)))
        yield prometheus


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, and leave the processors to the others meanwhile."""

    def asked() -> bool:
        time.sleep(0.1)
        return condition()

    until(asked, 30)


def evaluated(rule: Json) -> float:
    """Return the Unix time at which a rule was evaluated last."""
    return datetime.fromisoformat(rule["lastEvaluation"]).timestamp()


def rules(prometheus: Prometheus) -> list[Json]:
    """Return all rules as Prometheus knows them."""
    return [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]


def overwritten(prometheus: Prometheus) -> list[dict[str, str]]:
    """Return the labels of the alerts that fire, or would if they held for long enough."""
    alerts = prometheus.ask("alerts")["alerts"]
    return [alert["labels"] for alert in alerts if alert["labels"]["alertname"] == "VgpuLabelsOverwritten"]


@pytest.fixture(name="exporter", scope="module", params=["node", pytest.param("quota", marks=pytest.mark.live)])
def _exporter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """Give a role, running as rendered; the second one out of the default run, for its ten seconds."""
    checker("prometheus")
    with deployed(tmp_path_factory.mktemp("exporter"), request.param) as exporter:
        yield exporter


@pytest.fixture(name="prometheus", scope="module")
def _prometheus(exporter: Deployed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Give a Prometheus that has scraped it."""
    with monitored(exporter, tmp_path_factory.mktemp("prometheus")) as prometheus:
        yield prometheus


def series(prometheus: Prometheus, way: str) -> list[dict[str, str]]:
    """Return the labels of all the exporter's series of a way, their name among them."""
    return [sample["metric"] for sample in prometheus.series(f'{{cluster="{way}", __name__=~"vgpu_.+"}}')]


@each_way
def test_the_target_is_known_by_what_lasts(exporter: Deployed, prometheus: Prometheus, way: str) -> None:
    """Of the ports discovered one is scraped, by TLS and with the password; a node's exporter is called as its node."""
    [up] = prometheus.series(f'up{{cluster="{way}"}}')

    assert up["value"][1] == "1"
    assert up["metric"] == TARGETS[exporter.role] | {"__name__": "up", "cluster": way}


@each_way
def test_every_sample_keeps_its_own_labels(exporter: Deployed, prometheus: Prometheus, way: str) -> None:
    """What the exporter says arrives as it is, less empty labels, and the target is all that is added."""
    added = TARGETS[exporter.role] | {"cluster": way}
    said = [
        {"__name__": sample.name, **{name: text for name, text in sample.labels.items() if text}, **added}
        for family in text_string_to_metric_families(exporter.answer().body.decode())
        for sample in family.samples
        if sample.name.startswith("vgpu_")
    ]
    found = series(prometheus, way)

    assert len(said) > 60
    assert [sample for sample in said if sample not in found] == []


@each_way
def test_a_tenants_series_have_the_tenants_namespace(prometheus: Prometheus, way: str) -> None:
    """None has the exporter's: namespaces and pods are those of the recorded node."""
    found = series(prometheus, way)

    assert {of["namespace"] for of in found if "namespace" in of} == TENANTS
    assert NAMESPACE not in TENANTS
    assert POD_NAME not in {of.get("pod") for of in found}


@each_way
def test_what_is_no_tenants_has_no_namespace_at_all(exporter: Deployed, prometheus: Prometheus, way: str) -> None:
    """Series of a GPU, and of the exporter, bear none of the labels of the exporter's pod."""
    found = series(prometheus, way)

    for start in OTHERS[exporter.role]:
        others = [of for of in found if of["__name__"].startswith(start)]
        assert others
        assert all(of.keys().isdisjoint({"namespace", "pod", "container", "service", "endpoint"}) for of in others)


@each_way
def test_nothing_is_moved_aside(prometheus: Prometheus, way: str) -> None:
    """No series has a label `exported_*`."""
    assert [of for of in series(prometheus, way) if any(name.startswith("exported_") for name in of)] == []


def test_all_rendered_rules_are_evaluated(prometheus: Prometheus) -> None:
    """None is missing, and none ends in an error."""
    found = rules(prometheus)

    assert len(found) == sum(len(group["rules"]) for group in groups())
    assert [rule["name"] for rule in found if rule["health"] != "ok"] == []


def test_the_alert_on_overwritten_labels_is_about_the_careless_alone(prometheus: Prometheus) -> None:
    """It is not even pending for the chart's own monitors, and it is for one without their relabelings."""
    assert {of["cluster"] for of in overwritten(prometheus)} == {CARELESS}
