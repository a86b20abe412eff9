"""The rules of the craft, held for every alert and every recording rule."""

from __future__ import annotations

import re

import pytest

from alerts import book, card
from alerts.promql import FOREIGN, NAMESPACE
from alerts.recording import TENANT
from alerts.rules import THRESHOLD, Alert, Recording
from exporter import xids
from exporter.catalogue import METRICS, Metric
from exporter.errors import FAILURE_REASONS, QUOTA_FAILURE_REASONS, SOURCE_REASONS
from exporter.join import CORE_REASONS
from tests.alerts.parsed import calls, compares, denominators, matched, metrics, selectors

ALERTS = book.alerts()
RECORDINGS = book.recordings()
#: What Prometheus itself says of a scrape; only the runbook's queries ask for it.
OF_SCRAPES = {"scrape_duration_seconds"}
#: Labels that a scrape adds.
ADDED = {"job", "instance", "cluster", "node", "exported_namespace"}

every_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
every_recording = pytest.mark.parametrize("rule", RECORDINGS, ids=lambda rule: rule.name)


def published() -> dict[str, Metric[tuple[str]]]:  # type: ignore[type-var]
    """Return the catalogue by name."""
    return {metric.name: metric for metric in METRICS}


def templates(alert: Alert) -> str:
    """Return both texts that users read."""
    return f"{alert.summary} {alert.description}"


def asked_in_templates(alert: Alert) -> list[str]:
    """Return the queries in the description, with a word for each label."""
    return [found.replace("%s", "x") for found in re.findall(r'printf "([^"]*)"', alert.description)]


# ---------------------------------------------------------------- names


def test_no_two_rules_share_a_name() -> None:
    """A name means one thing."""
    names = [alert.name for alert in ALERTS] + [rule.name for rule in RECORDINGS]

    assert sorted(set(names)) == sorted(names)


@every_alert
def test_an_alert_reads_only_what_is_published(alert: Alert) -> None:
    """An alert needs the catalogue's metrics and a few foreign ones: it works without the recording rules."""
    assert metrics(alert.filled) <= published().keys() | FOREIGN


@every_alert
def test_the_queries_for_people_read_what_is_there(alert: Alert) -> None:
    """Queries of runbook and description parse, and name metrics and recording rules that exist."""
    recorded = {rule.name for rule in RECORDINGS}
    for query in (*alert.queries, *asked_in_templates(alert)):
        assert metrics(query) <= published().keys() | recorded | FOREIGN | OF_SCRAPES


@every_recording
def test_a_recording_builds_on_what_comes_before_it(rule: Recording) -> None:
    """In a group rules are evaluated in order: one that comes later would be a minute old, or missing at first."""
    before = {other.name for other in RECORDINGS[: RECORDINGS.index(rule)]}

    assert metrics(rule.expr) <= published().keys() | before | {TENANT}


@every_recording
def test_a_recording_is_named_level_metric_operation(rule: Recording) -> None:
    """The name says the labels, the figure and how it was made."""
    assert re.fullmatch(
        r"(namespace|tenant|namespace_device|tenant_device|device|node|cluster):vgpu_\w+:\w+", rule.name
    )
    assert rule.help.endswith(".")


@pytest.mark.parametrize("rule", [*ALERTS, *RECORDINGS], ids=lambda rule: rule.name)
def test_a_selector_asks_only_for_labels_that_are_there(rule: Alert | Recording) -> None:
    """A matcher on a label that the metric lacks would match nothing, or everything, for ever."""
    expression = rule.filled if isinstance(rule, Alert) else rule.expr
    for selector in selectors(expression):
        if metric := published().get(selector.name or ""):
            assert matched(selector).keys() <= {*metric.label_names, "tenant"} | ADDED


def test_reasons_and_sources_that_rules_name_exist() -> None:
    """A reason that nobody counts any more would silence an alert."""
    reasons = {*FAILURE_REASONS, *QUOTA_FAILURE_REASONS, *(each for all_ in SOURCE_REASONS.values() for each in all_)}
    asked = [matched(selector) for alert in ALERTS for selector in selectors(alert.filled)]
    named = {word for labels in asked for word in labels.get("reason", "").split("|") if word}
    sources = {word for labels in asked for word in labels.get("source", "").split("|") if word}

    assert named <= reasons | {*CORE_REASONS}
    assert sources <= SOURCE_REASONS.keys()


def test_codes_of_applications_own_faults_page_nobody() -> None:
    """XIDs 13, 31, 43 and 45 are bugs of one application; the rest of the known codes is told."""
    asked = [matched(selector) for alert in ALERTS for selector in selectors(alert.filled)]
    codes = {int(code) for labels in asked for code in labels.get("xid", "").split("|") if code}

    assert codes & xids.KNOWN.keys() == xids.KNOWN.keys() - {13, 31, 43, 45}
    assert all(words for words in card.FATAL.values())


# ---------------------------------------------------------------- expressions


@every_alert
def test_an_alert_compares(alert: Alert) -> None:
    """An expression without a comparison would fire as long as its series exists."""
    assert compares(alert.filled)


@pytest.mark.parametrize("rule", [*ALERTS, *RECORDINGS], ids=lambda rule: rule.name)
def test_no_denominator_can_be_nothing(rule: Alert | Recording) -> None:
    """What is divided by is a number, at least 1, or filtered to be above 0."""
    expression = rule.filled if isinstance(rule, Alert) else rule.expr
    for denominator in denominators(expression):
        assert denominator.endswith(">0)") or denominator == "3600" or denominator.startswith("clamp_min(")


@every_alert
def test_nothing_fires_because_something_is_absent(alert: Alert) -> None:
    """absent() would page every cluster without GPUs."""
    assert not {"absent", "absent_over_time"} & calls(alert.filled)


@every_alert
def test_no_alert_looks_back_twice(alert: Alert) -> None:
    """A mean over time behind a `for` says what nobody can check; whether something was there lately is no mean."""
    judged = re.sub(r"(and on \([\w, ]+\)) last_over_time\([^)]*\)", r"\1 was_there", alert.filled)

    assert not (alert.wait and any(name.endswith("_over_time") for name in calls(judged)))


@pytest.mark.parametrize("rule", [*ALERTS, *RECORDINGS], ids=lambda rule: rule.name)
def test_series_whose_namespace_was_overwritten_count_for_nobody(rule: Alert | Recording) -> None:
    """Without honorLabels the quota alert would name the monitoring's namespace: such series are left out."""
    expression = rule.filled if isinstance(rule, Alert) else rule.expr
    for selector in selectors(expression):
        metric = published().get(selector.name or "")
        if metric and "namespace" in metric.label_names:
            assert "exported_namespace" in matched(selector)


@every_alert
def test_the_threshold_is_the_only_token(alert: Alert) -> None:
    """The chart can replace it, and there is nothing else to replace."""
    assert (THRESHOLD in alert.expr) == (alert.threshold is not None)
    assert "$" not in alert.filled


# ---------------------------------------------------------------- texts


@every_alert
def test_an_alert_says_what_it_means_and_what_to_do(alert: Alert) -> None:
    """Whoever is woken reads what it is, what users feel, what to check and what to do."""
    assert re.fullmatch(r"Vgpu[A-Za-z]+", alert.name)
    assert alert.queries
    assert alert.commands
    assert alert.mitigation
    for text in (alert.summary, alert.description, alert.meaning, alert.impact, *alert.mitigation):
        assert text.endswith((".", "?"))


@every_alert
def test_no_text_repeats_the_threshold(alert: Alert) -> None:
    """A text with the default in it would be wrong as soon as somebody changes it."""
    shown = re.sub(r"{{.*?}}", "", templates(alert))

    assert THRESHOLD not in shown
    assert not re.search(r"\d+ ?(%|percent|minutes|hours)", shown)


@every_alert
def test_a_tenants_alert_names_the_namespace(alert: Alert) -> None:
    """Routing goes by namespace, and by GPU."""
    named = {"tenant": "$labels.namespace", "device": "$labels.device_uuid"}.get(alert.scope, "")

    assert named in alert.summary
    assert alert.severity in {"critical", "warning", "info"}


@every_alert
def test_labels_in_texts_can_come_out_of_the_expression(alert: Alert) -> None:
    """A label that the expression aggregates away would read as nothing."""
    named = set(re.findall(r"\$labels\.(\w+)", templates(alert))) - {"cluster"}
    kept = {label for by in re.findall(r"\bby \(([^)]*)\)", alert.expr) for label in by.split(", ")}

    assert named <= kept
    assert {*NAMESPACE} - {"namespace"} <= kept
