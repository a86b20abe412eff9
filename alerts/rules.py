"""What an alert and a recording rule are: frozen records, of which YAML and the runbook are written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from typing_extensions import override

from alerts.promql import scaled, scaled_expression

Severity = Literal["critical", "warning", "info"]
#: What an alert is about: it decides which alerts mute which (docs/alerting.md).
Scope = Literal["tenant", "device", "exporter"]

#: The only token in an expression; the chart replaces it by the user's threshold.
THRESHOLD: Final = "$threshold"


@dataclass(frozen=True, slots=True)
class Threshold:
    """A limit and what it is, for people; `is_time`: seconds, which a time scale divides."""

    value: float
    about: str
    is_time: bool = False

    def scaled(self, scale: float) -> Threshold:
        """Return it with a time divided by `scale`."""
        return Threshold(self.value / scale, self.about, is_time=True) if self.is_time else self

    @override
    def __str__(self) -> str:
        """Return it as PromQL writes a number."""
        return str(int(self.value)) if self.value == int(self.value) else repr(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert. `wait` is Prometheus' `for` ("" = none).

    `summary` and `description` are annotations: templates, in which no threshold stands, as users change it; the
    description ends with what to do. The rest is the runbook's: `meaning` in one sentence, `impact` as users feel it,
    `queries` (PromQL) and `commands` (shell) to check first, `mitigation` as steps.
    """

    name: str
    scope: Scope
    expr: str
    wait: str = ""
    severity: Severity
    threshold: Threshold | None = None
    summary: str
    description: str
    meaning: str
    impact: str
    queries: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    mitigation: tuple[str, ...]

    @property
    def anchor(self) -> str:
        """The runbook's heading, as a link names it."""
        return self.name.lower()

    @property
    def filled(self) -> str:
        """The expression with its default threshold."""
        return self.expr.replace(THRESHOLD, str(self.threshold)) if self.threshold else self.expr


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording rule: `level:metric:operation`; `labels` are those that come out, but for `cluster`."""

    name: str
    expr: str
    help: str
    unit: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated together, in their order."""

    name: str
    interval: str
    rules: tuple[Alert | Recording, ...]


def at(group: Group, scale: float) -> Group:
    """Return a group `scale` times as fast: intervals, `for`, look-backs, offsets and thresholds that are times."""
    return Group(group.name, scaled(group.interval, scale), tuple(_at(rule, scale) for rule in group.rules))


def _at(rule: Alert | Recording, scale: float) -> Alert | Recording:
    if isinstance(rule, Recording):
        return replace(rule, expr=scaled_expression(rule.expr, scale))
    return replace(
        rule,
        expr=scaled_expression(rule.expr, scale),
        wait=rule.wait and scaled(rule.wait, scale),
        threshold=rule.threshold and rule.threshold.scaled(scale),
    )
