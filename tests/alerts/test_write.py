"""Rules as files."""

from __future__ import annotations

from typing import Any

import yaml

from alerts import book
from alerts.rules import THRESHOLD
from alerts.write import Addresses, chart_data, manifest, rule_file

GROUPS = [*book.RECORDINGS, *book.ALERTS]


def groups_of(text: str) -> list[dict[str, Any]]:
    """Return the groups of a rule file."""
    groups: list[dict[str, Any]] = yaml.safe_load(text)["groups"]
    return groups


def test_a_rule_file_holds_every_rule_in_order() -> None:
    """Nothing is lost and nothing is sorted: recording rules build on each other."""
    written = [rule.get("alert") or rule["record"] for group in groups_of(rule_file(GROUPS)) for rule in group["rules"]]

    assert written == [rule.name for group in GROUPS for rule in group.rules]


def test_an_alert_links_to_its_page_and_its_dashboard() -> None:
    """Each address is below whatever the user publishes the runbook at, and where Grafana is."""
    text = rule_file(book.ALERTS, Addresses("https://wiki.example/vgpu", "https://grafana.example"))
    first = groups_of(text)[0]["rules"][0]

    assert first["annotations"]["runbook_url"] == "https://wiki.example/vgpu#vgpuquotaalmostfull"
    assert first["annotations"]["dashboard_url"].startswith("https://grafana.example/d/vgpu-tenant?")


def test_the_manifest_holds_the_same_rules() -> None:
    """Whoever runs the operator gets what plain Prometheus gets."""
    assert yaml.safe_load(manifest(GROUPS))["spec"]["groups"] == groups_of(rule_file(GROUPS))


def test_the_charts_data_with_its_defaults_is_the_rule_file() -> None:
    """The chart replaces token, for and severity; with the defaults that changes nothing."""
    data = yaml.safe_load(chart_data(GROUPS))
    groups = data["groups"]
    for rule in (rule for group in groups for rule in group["rules"] if "alert" in rule):
        defaults = data["alerts"][rule["alert"]]
        rule["expr"] = rule["expr"].replace(THRESHOLD, str(defaults.get("threshold", "")))
        rule["annotations"]["runbook_url"] = "RUNBOOK.md" + rule["annotations"]["runbook_url"]
        assert (defaults["enabled"], defaults["severity"]) == (True, rule["labels"]["severity"])
        assert defaults.get("for") == rule.get("for")

    assert groups == groups_of(rule_file(GROUPS))


def test_labels_are_the_same_for_every_alert_of_a_name() -> None:
    """A value in a label would make a new alert each time it changes."""
    rules = [rule for group in groups_of(rule_file(book.ALERTS)) for rule in group["rules"]]

    assert all(set(rule["labels"]) == {"severity", "scope"} for rule in rules)
    assert not any("{{" in text for rule in rules for text in rule["labels"].values())
