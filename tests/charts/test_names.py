"""Names: what YAML would read as a number, a truth or nothing stays a name; what Kubernetes refuses is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.charts.rendering import CHART, EVERYTHING, Json, helm, refusal
from tests.charts.schemas import faults

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Names that Kubernetes takes, and YAML for 123, 100000.0, true, null and a day.
LOOKALIKES = ("123", "1e5", "true", "null", "2024-01-01")


def released(release: str, namespace: str, values: Mapping[str, Any]) -> list[Json]:
    """Return the objects of a release of this name, in this namespace."""
    done = helm("template", release, str(CHART), "--namespace", namespace, values=values)
    assert done.returncode == 0, done.stderr
    return [found for found in yaml.load_all(done.stdout, yaml.CSafeLoader) if found]


@pytest.mark.parametrize("name", LOOKALIKES)
def test_whatever_a_name_looks_like_it_stays_a_name(name: str) -> None:
    """The release, its namespace, and every object that the values name."""
    values = EVERYTHING | {
        "fullnameOverride": "x", "nameOverride": name, "runtimeClassName": name, "priorityClassName": name,
        "serviceAccount": {"name": name}, "commonLabels": {name: name}, "imagePullSecrets": [{"name": name}],
        "webConfig": {"existingSecret": name, "tlsSecret": name, "key": name},
        "quota": {"hamiConfig": f"{name}/{name}", "serviceAccountName": name, "priorityClassName": name},
        "podMonitor": {"enabled": True, "namespace": name, "labels": {name: name}, "scrapeTimeout": "0"},
        "networkPolicy": {"monitoringNamespaces": [name]},
        "dashboards": EVERYTHING["dashboards"] | {"namespace": name, "folder": name, "labelValue": name},
        "prometheusRule": {"enabled": True, "namespace": name, "alertLabels": {"team": name}},
    }  # fmt: skip

    objects = released(name, name, values)
    assert [fault for one in objects for fault in faults(one)] == []
    assert {one["metadata"]["labels"]["app.kubernetes.io/instance"] for one in objects} == {name}


@pytest.mark.parametrize("name", ["1st", "gpu.metrics"])
def test_a_name_that_no_service_may_have_is_refused_in_words(name: str) -> None:
    """Helm allows releases of such names; the API server would refuse the Services after the rest was made."""
    done = helm("template", name, str(CHART), values={})

    assert done.returncode != 0
    assert "begin with a letter and to have no dots: set fullnameOverride" in done.stderr


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"podMonitor": {"basicAuth": {"password": {"name": "vgpu-scrape"}}}}, "missing property 'key'"),
        ({"dashboards": {"grafanaOperator": {"resyncPeriod": "1d"}}}, "does not match pattern"),
    ],
)
def test_what_an_operator_would_refuse_is_refused_in_words(values: Json, said: str) -> None:
    """Before the API server does, in the middle of an upgrade."""
    assert said in refusal(values)


def test_a_scrape_interval_alone_can_be_made_short() -> None:
    """The operator drops a monitor whose timeout is longer than its interval: we set none of our own."""
    [endpoint] = (
        one["spec"]["podMetricsEndpoints"][0]
        for one in released(
            "x", "gpu", {"quota": {"enabled": False}, "podMonitor": {"enabled": True, "interval": "5s"}}
        )
        if one["kind"] == "PodMonitor"
    )

    assert endpoint["interval"] == "5s"
    assert "scrapeTimeout" not in endpoint
