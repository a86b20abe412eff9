"""Grafana's models find what Grafana would drop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.dashboards.round_trip import differences, known
from tests.dashboards.spoiled import sets, spoiled

if TYPE_CHECKING:
    from tests.dashboards.spoiled import Change


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (sets("Memory", "sparkles", to=True), ".panels[2].sparkles"),
        (sets("Memory", "options", "tooltip", "colour", to="x"), ".panels[2].options.tooltip.colour"),
        (sets("Memory", "targets", 0, "expression", to="x"), ".panels[2].targets[0].expression"),
    ],
)
def test_a_key_that_grafana_does_not_know_is_found(change: Change, found: str) -> None:
    """Grafana's models drop it."""
    assert [one.path for one in differences(spoiled(change)) if not known(one)] == [found]
