"""Rules as YAML: what Prometheus loads, the same as a PrometheusRule, and the chart's data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import yaml
from typing_extensions import override

from alerts import dashboard_links
from alerts.rules import Alert

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alerts.rules import Group, Recording

_NOTE: Final = "# Written by `python -m alerts` from alerts/*.py: do not edit.\n"


class Addresses(NamedTuple):
    """What `runbook_url` and `dashboard_url` begin with; the chart sets the addresses that its users can reach."""

    runbook: str = "RUNBOOK.md"
    grafana: str = ""


_HERE: Final = Addresses()


class _Dumper(yaml.SafeDumper):
    """YAML for people: texts of several lines as blocks, lists indented, no aliases."""

    @override
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)

    @override
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def rule_file(groups: Iterable[Group], addresses: Addresses = _HERE) -> str:
    """Return a file that Prometheus loads."""
    return _dumped({"groups": [_group(group, addresses) for group in groups]})


def manifest(groups: Iterable[Group], addresses: Addresses = _HERE) -> str:
    """Return the same as an object of the Prometheus operator."""
    return _dumped(
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {
                "name": "vgpu-tenant-exporter",
                "labels": {"app.kubernetes.io/name": "vgpu-tenant-exporter"},
            },
            "spec": {"groups": [_group(group, addresses) for group in groups]},
        }
    )


def chart_data(groups: Iterable[Group]) -> str:
    """Return what the chart makes its PrometheusRule of.

    `alerts` are the defaults of its values: whether on, for, severity and threshold by name; `groups` are the rules
    with `$threshold` still in their expressions, and addresses without their beginnings.
    """
    groups = list(groups)
    alerts = [rule for group in groups for rule in group.rules if isinstance(rule, Alert)]
    return _dumped(
        {
            "alerts": {alert.name: _defaults(alert) for alert in alerts},
            "groups": [_group(group, Addresses("", ""), filled=False) for group in groups],
        }
    )


def _defaults(alert: Alert) -> dict[str, object]:
    values: dict[str, object] = {"enabled": True}
    if alert.wait:
        values["for"] = alert.wait
    values["severity"] = alert.severity
    if alert.threshold:
        values["threshold"] = yaml.safe_load(str(alert.threshold))
    return values


def _group(group: Group, addresses: Addresses, *, filled: bool = True) -> dict[str, object]:
    rules = [
        _alert(rule, addresses, filled=filled) if isinstance(rule, Alert) else _recording(rule) for rule in group.rules
    ]
    return {"name": group.name, "interval": group.interval, "rules": rules}


def _recording(rule: Recording) -> dict[str, object]:
    return {"record": rule.name, "expr": rule.expr}


def _alert(alert: Alert, addresses: Addresses, *, filled: bool) -> dict[str, object]:
    return {
        "alert": alert.name,
        "expr": alert.filled if filled else alert.expr,
        **({"for": alert.wait} if alert.wait else {}),
        "labels": {"severity": alert.severity, "scope": alert.scope},
        "annotations": {
            "summary": alert.summary,
            "description": alert.description,
            "runbook_url": f"{addresses.runbook}#{alert.anchor}",
            "dashboard_url": f"{addresses.grafana}{dashboard_links.path(alert)}",
        },
    }


def _dumped(document: object) -> str:
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)
    return _NOTE + text
