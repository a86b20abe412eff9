"""All rules, in the groups and the order in which they are written."""

from __future__ import annotations

from typing import Final

from alerts import accounts, admission, card, enforcement, ourselves, quota, recording, use
from alerts.rules import Alert, Group, Recording

RECORDINGS: Final = (
    Group("vgpu-now", "1m", recording.now()),
    Group("vgpu-accounts", "2m", accounts.last_hour()),
)
ALERTS: Final = (
    Group("vgpu-quota", "1m", (*quota.ALERTS, *admission.ALERTS)),
    Group("vgpu-use", "1m", (*use.ALERTS, *enforcement.ALERTS)),
    Group("vgpu-card", "1m", card.ALERTS),
    Group("vgpu-exporter", "1m", ourselves.ALERTS),
)


def alerts_of(group: Group) -> tuple[Alert, ...]:
    """Return the alerts of a group."""
    return tuple(rule for rule in group.rules if isinstance(rule, Alert))


def alerts() -> tuple[Alert, ...]:
    """Return every alert, as the runbook has them."""
    return tuple(alert for group in ALERTS for alert in alerts_of(group))


def recordings() -> tuple[Recording, ...]:
    """Return every recording rule."""
    return tuple(rule for group in RECORDINGS for rule in group.rules if isinstance(rule, Recording))
