"""The alerts on pods that wait: one text per reason, none missing."""

from __future__ import annotations

import re

from alerts import book
from exporter.quota_model import PENDING_REASONS


def test_each_reason_to_wait_has_its_own_advice() -> None:
    """A reason that the text does not know would be told without what to do."""
    [pending] = [alert for alert in book.alerts() if alert.name == "VgpuPodsPending"]
    advice = dict(re.findall(r'if eq \$labels\.reason "(\w+)" }}(.+?){{', pending.description))

    assert advice.keys() == set(PENDING_REASONS)
    assert len(set(advice.values())) == len(PENDING_REASONS)
