"""The runbook: one screen per alert, for somebody who was woken by it; and the table of recording rules."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alerts.rules import Alert, Group, Recording

_HEAD: Final = """<!-- Written by `python -m alerts` from alerts/*.py: do not edit. -->

# Runbook

One page per alert: what it means, what users feel, what to look at first, what to do. Each line of a code block stands
alone: a query for Prometheus, or a command. Put the alert's labels in place of `NAMESPACE`, `POD`, `CONTAINER`, `NODE`,
`GPU` (device_uuid), `INSTANCE` and so on; `EXPORTER_POD` and its namespace are found by
`kubectl get pods -A -o wide -l app.kubernetes.io/name=vgpu-tenant-exporter`.

`critical`: tenants are hurt or hardware is lost, now. `warning`: somebody should act today. `info`: good to know.
"""
_TITLES: Final = {
    "vgpu-quota": "Quotas",
    "vgpu-use": "Use against grants",
    "vgpu-card": "The GPU",
    "vgpu-exporter": "The exporter itself",
}
#: Labels that a rule's level says it has.
_LEVELS: Final = frozenset({"node", "device_uuid", "namespace", "tenant"})
_MARKED: Final = re.compile(r"(?<=<!-- recording:begin -->\n).*?(?=\n<!-- recording:end -->)", re.DOTALL)


def runbook(groups: Iterable[tuple[Group, Iterable[Alert]]]) -> str:
    """Return RUNBOOK.md: a list of all alerts, then a page for each."""
    groups = [(group, list(alerts)) for group, alerts in groups]
    contents = (line for group, alerts in groups for line in _contents(group, alerts))
    pages = (_page(alert) for _, alerts in groups for alert in alerts)
    return "\n".join([_HEAD, *contents, "", *pages])


def _contents(group: Group, alerts: Iterable[Alert]) -> list[str]:
    links = ", ".join(f"[{alert.name}](#{alert.anchor})" for alert in alerts)
    return [f"- **{_TITLES[group.name]}**: {links}"]


def _page(alert: Alert) -> str:
    parts = [
        f"## {alert.name}",
        _facts(alert),
        f"**What it means.** {alert.meaning}",
        f"**What users feel.** {alert.impact}",
        "**Check this first.**",
        _code("promql", alert.queries),
        _code("sh", alert.commands),
        "**Do this.**\n",
    ]
    steps = "\n".join(f"- {step}" for step in alert.mitigation)
    return "\n\n".join(part for part in parts if part).rstrip() + f"\n\n{steps}\n"


def _facts(alert: Alert) -> str:
    wait = f"after {alert.wait}" if alert.wait else "at once"
    threshold = f" · threshold {alert.threshold}: {alert.threshold.about}" if alert.threshold else ""
    return f"`{alert.severity}` · {wait}{threshold}"


def _code(language: str, lines: Iterable[str]) -> str:
    text = "\n".join(lines)
    return f"```{language}\n{text}\n```" if text else ""


def recording_table(recordings: Iterable[Recording]) -> str:
    """Return the recording rules as a table of Markdown: a row per figure, its levels in one cell."""
    figures: dict[str, list[Recording]] = {}
    for rule in recordings:
        figures.setdefault(rule.name.partition(":")[2], []).append(rule)
    rows = (_row(name, rules) for name, rules in figures.items())
    return "\n".join(["| Levels | Figure | Unit | Also by | What it is |", "| --- | --- | --- | --- | --- |", *rows])


def _row(name: str, rules: list[Recording]) -> str:
    levels = [rule.name.partition(":")[0] for rule in rules]
    more = sorted({label for rule in rules for label in rule.labels} - _LEVELS)
    cells = (", ".join(levels), f"`{name}`", rules[0].unit, ", ".join(more) or "-", rules[0].help)
    return f"| {' | '.join(cells)} |"


def with_table(text: str, recordings: Iterable[Recording]) -> str:
    """Return a document with the table between its markers made anew; raises ValueError if it has no markers."""
    table = recording_table(recordings)
    filled, times = _MARKED.subn(lambda _: table, text)
    if times != 1:
        raise ValueError(f"expected the markers recording:begin and recording:end once, found them {times} times")
    return filled
