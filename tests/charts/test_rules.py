"""The PrometheusRule: the generated rules, with what the user changed and nothing else."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from tests.charts.rendering import CHART, NAMESPACE, RELEASE, SHAPES, Json, objects, refusal, the
from tests.rules.cases import CASE_FILES
from tests.rules.checkers import PROMTOOLS, ROOT, answer

if TYPE_CHECKING:
    from pathlib import Path

GENERATED: Final = ROOT / "alerts" / "generated"
DEFAULTS: Final[Json] = yaml.safe_load((CHART / "files" / "rules.yaml").read_text())["alerts"]
ON: Final[Json] = {"enabled": True}
#: What a case expects of alerts that are no tenant's.
OTHERS: Final = re.compile(r"scope: (device|exporter)\b")


def groups(**values: Any) -> list[Json]:  # noqa: ANN401  values are any
    """Return the groups of the PrometheusRule with these values of it."""
    found: list[Json] = the("PrometheusRule", {"prometheusRule": ON | values})["spec"]["groups"]
    return found


def alerts(**values: Any) -> dict[str, Json]:  # noqa: ANN401  values are any
    """Return its alerts by name."""
    return {rule["alert"]: rule for group in groups(**values) for rule in group["rules"] if "alert" in rule}


def with_namespace(found: list[Json]) -> list[Json]:
    """Return groups with the release's namespace on what is about a GPU or an exporter."""
    found = copy.deepcopy(found)
    for rule in (rule for group in found for rule in group["rules"] if "alert" in rule):
        if rule["labels"]["scope"] != "tenant":
            rule["labels"]["namespace"] = NAMESPACE
    return found


def test_by_default_it_holds_the_generated_rules() -> None:
    """All of them, in their order, but for the namespace by which an AlertmanagerConfig can route them."""
    generated = yaml.safe_load((GENERATED / "prometheusrule.yaml").read_text())["spec"]["groups"]

    assert groups() == with_namespace(generated)


def test_a_tenants_alert_keeps_its_own_namespace() -> None:
    """A static label would replace the tenant's."""
    assert {rule["labels"]["scope"] for rule in alerts().values() if "namespace" not in rule["labels"]} == {"tenant"}


def test_each_alert_can_be_switched_off() -> None:
    """Off it goes, and nothing beside it."""
    for name in ("VgpuScrapedTwice", "VgpuQuotaFull"):
        assert alerts().keys() - alerts(rules={name: {"enabled": False}}).keys() == {name}


def test_one_alert_is_changed_and_nothing_else() -> None:
    """Threshold, for, severity and labels of that one; a threshold of 0 is one."""
    changed = {"threshold": 0, "for": "1h", "severity": "critical", "labels": {"team": "gpu"}}
    before, after = alerts(), alerts(rules={"VgpuMemoryNearLimit": changed})
    one = after["VgpuMemoryNearLimit"]

    assert "\n> 0\n" in one["expr"]
    assert one["for"] == "1h"
    assert one["labels"] == {"severity": "critical", "scope": "tenant", "team": "gpu"}
    assert {name for name in before if before[name] != after[name]} == {"VgpuMemoryNearLimit"}


@pytest.mark.parametrize(
    ("threshold", "text"), [(2097152, "> 2097152"), (0.015, "> 0.015"), (1e-7, "> 1e-7"), (-1, "> -1")]
)
def test_a_threshold_is_written_as_promql_has_numbers(threshold: float, text: str) -> None:
    """Large ones stay whole, small ones exact."""
    assert (
        f"\n{text}\n"
        in alerts(rules={"VgpuMemoryGrantOutdated": {"threshold": threshold}})["VgpuMemoryGrantOutdated"]["expr"]
    )


def test_no_token_is_left() -> None:
    """`$threshold` is replaced wherever it stands."""
    assert all("$threshold" not in rule["expr"] for rule in alerts().values())


def test_every_alerts_every_setting_can_be_changed() -> None:
    """The schema knows each alert, and a threshold where there is one to change."""
    rules = {
        name: {"for": "2m", "severity": "none"} | ({"threshold": 7} if "threshold" in defaults else {})
        for name, defaults in DEFAULTS.items()
    }
    found = alerts(rules=rules)

    assert found.keys() == DEFAULTS.keys()
    assert {(rule["for"], rule["labels"]["severity"]) for rule in found.values()} == {("2m", "none")}


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"VgpuMisspelt": {"enabled": False}}, "additional properties 'VgpuMisspelt' not allowed"),
        ({"VgpuQuotaFull": {"threshold": 1}}, "additional properties 'threshold' not allowed"),
        ({"VgpuQuotaFull": {"for": "soon"}}, "does not match pattern"),
        ({"VgpuQuotaAlmostFull": {"threshold": "0.8"}}, "want number"),
        ({"VgpuQuotaFull": {"labels": {"namespace": "x"}}}, "invalid propertyName 'namespace'"),
    ],
)
def test_what_would_change_nothing_or_break_routing_is_refused(rules: Json, said: str) -> None:
    """A misspelt name would leave the alert as it was, without a word."""
    assert said in refusal({"prometheusRule": {"rules": rules}})


def test_labels_for_all_are_on_all_and_replace_none_of_ours() -> None:
    """Users route by their own labels; severity and scope stay."""
    found = alerts(alertLabels={"team": "gpu"})

    assert {rule["labels"]["team"] for rule in found.values()} == {"gpu"}
    assert "invalid propertyName 'severity'" in refusal({"prometheusRule": {"alertLabels": {"severity": "x"}}})


def test_addresses_are_where_the_users_people_can_read() -> None:
    """The runbook's page and the dashboard of what the alert is about, one of those that come with the chart."""
    found = alerts(runbookUrl="https://wiki.example/vgpu", grafanaUrl="https://grafana.example/")
    boards = {path.stem for path in (CHART / "files" / "dashboards").iterdir()}

    for name, rule in found.items():
        told = rule["annotations"]
        assert told["runbook_url"] == f"https://wiki.example/vgpu#{name.lower()}"
        assert told["dashboard_url"].startswith("https://grafana.example/d/vgpu-")
        assert told["dashboard_url"].removeprefix("https://grafana.example/d/").partition("?")[0] in boards


def test_recording_rules_and_alerts_are_independent() -> None:
    """Either without the other, and the user's own groups behind them."""
    own = {"name": "mine", "rules": [{"record": "a:b", "expr": "1"}]}
    off = {name: {"enabled": False} for name in DEFAULTS}

    assert all("alert" in rule for group in groups(recordingRules=False) for rule in group["rules"])
    assert all("record" in rule for group in groups(rules=off) for rule in group["rules"])
    assert groups(extraGroups=[own])[-1] == own


def test_nothing_left_is_no_object() -> None:
    """With every rule off there is no empty PrometheusRule, nor any group without rules."""
    off = {name: {"enabled": False} for name in DEFAULTS}

    assert objects("PrometheusRule", {"prometheusRule": {**ON, "recordingRules": False, "rules": off}}) == []
    assert objects("PrometheusRule") == []
    assert all(group["rules"] for group in groups(rules=off))


# ---------------------------------------------------------------- as Prometheus sees them


def written(folder: Path, found: list[Json]) -> str:
    """Write groups as a file that Prometheus loads; return its path."""
    path = folder / "rules.yaml"
    path.write_text(yaml.dump({"groups": found}, Dumper=yaml.CSafeDumper))
    return str(path)


@pytest.mark.parametrize("promtool", PROMTOOLS)
def test_the_rendered_rules_are_valid(promtool: str, tmp_path: Path) -> None:
    """The defaults, and the shape that changes and links most."""
    shape: list[Json] = the("PrometheusRule", SHAPES["kube-prometheus-stack"])["spec"]["groups"]
    for found in (groups(), shape):
        told = answer(promtool, "check", "rules", "--lint=all", "--lint-fatal", written(tmp_path, found))
        assert f"SUCCESS: {sum(len(group['rules']) for group in found)} rules found" in told


def test_the_changed_rules_do_what_the_cases_say(tmp_path: Path) -> None:
    """Where the release's namespace is added, each case holds with it; all other rules are the generated ones."""
    rules, texts = written(tmp_path, groups()), {path.name: path.read_text() for path in CASE_FILES}
    files = [tmp_path / name for name, text in texts.items() if OTHERS.search(text)]
    for path in files:
        expected = OTHERS.sub(rf"\g<0>, namespace: {NAMESPACE}", texts[path.name])
        path.write_text(expected.replace("../../alerts/generated/alerts.yaml", rules))

    told = answer("promtool-3", "test", "rules", *map(str, files))
    assert told.count("SUCCESS") == len(files) > 1


def test_the_name_and_labels_are_what_a_rule_selector_asks_for() -> None:
    """The object carries the user's labels and lies where the user wants it."""
    found = the("PrometheusRule", {"prometheusRule": {**ON, "namespace": "m", "labels": {"release": "kps"}}})

    assert (found["metadata"]["name"], found["metadata"]["namespace"]) == (RELEASE, "m")
    assert found["metadata"]["labels"]["release"] == "kps"
