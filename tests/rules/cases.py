"""What the case files say: for each alert, when it is expected to be quiet and when to fire."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import yaml

from tests.rules.checkers import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

CASE_FILES: Final = sorted((ROOT / "tests" / "rules").glob("*.yaml"))
ALERTS_FILE: Final = ROOT / "alerts" / "generated" / "alerts.yaml"

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}


class Alert(NamedTuple):
    """A generated alert; `wait` is its `for` in seconds."""

    name: str
    severity: str
    wait: float


@dataclass(frozen=True, slots=True)
class Look:
    """One look at an alert within a case: after so many seconds it fires or is quiet."""

    after: float
    fires: bool


def alerts() -> list[Alert]:
    """Return the generated alerts, in the file's order."""
    groups = yaml.safe_load(ALERTS_FILE.read_text())["groups"]
    return [
        Alert(rule["alert"], rule["labels"]["severity"], seconds(str(rule.get("for", "0s"))))
        for group in groups
        for rule in group["rules"]
    ]


def looks(name: str) -> list[list[Look]]:
    """Return each case's looks at an alert, in the order of time; cases that never look at it are left out."""
    found = [sorted(_looks(case, name), key=lambda look: look.after) for case in _cases()]
    return [case for case in found if case]


def named() -> set[str]:
    """Return the names of all alerts that some case looks at."""
    return {look["alertname"] for case in _cases() for look in case.get("alert_rule_test", [])}


def seconds(duration: str) -> float:
    """Return a Prometheus duration such as `1h30m` in seconds."""
    parts = re.findall(r"(\d+)([a-z]+)", duration)
    assert "".join(number + unit for number, unit in parts) == duration.replace(" ", ""), duration
    return sum(int(number) * _SECONDS[unit] for number, unit in parts)


@cache
def _cases() -> list[dict[str, Any]]:
    """Read all case files; once, as they are long."""
    return [case for path in CASE_FILES for case in yaml.safe_load(path.read_text())["tests"]]


def _looks(case: dict[str, Any], name: str) -> Iterator[Look]:
    for look in case.get("alert_rule_test", []):
        if look["alertname"] == name:
            yield Look(seconds(str(look["eval_time"])), bool(look.get("exp_alerts")))
