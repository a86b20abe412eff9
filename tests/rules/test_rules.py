"""The generated rules: valid to both promtools, true to every case file, and no alert without its cases."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.rules.cases import ALERTS_FILE, CASE_FILES, Alert, Look, alerts, looks, named
from tests.rules.checkers import PROMTOOLS, answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ALERTS = alerts()
RECORDING_FILE = ALERTS_FILE.with_name("recording.yaml")


@pytest.mark.parametrize("promtool", PROMTOOLS)
@pytest.mark.parametrize("path", CASE_FILES, ids=[path.stem for path in CASE_FILES])
def test_the_rules_do_what_the_cases_say(path: Path, promtool: str) -> None:
    """Every case holds, to the exact label and annotation text."""
    assert "SUCCESS" in answer(promtool, "test", "rules", str(path))


@pytest.mark.parametrize("promtool", PROMTOOLS)
def test_the_rules_are_valid(promtool: str) -> None:
    """`promtool check rules` finds nothing, not even something to improve."""
    answer(promtool, "check", "rules", "--lint=all", "--lint-fatal", str(RECORDING_FILE), str(ALERTS_FILE))


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    """An alert that no case ever sees firing may never fire."""
    assert [alert.name for alert in ALERTS if not any(look.fires for case in looks(alert.name) for look in case)] == []


def test_every_alert_has_a_case_in_which_it_waits() -> None:
    """A case sees it quiet, and firing no more than its `for` later; one without `for` has nothing to wait for."""
    waiting = [alert for alert in ALERTS if alert.wait]

    assert [alert.name for alert in waiting if not any(starts(*step, alert.wait) for step in steps(alert))] == []


def test_every_alert_has_a_case_in_which_it_recovers() -> None:
    """A case sees it fire and then quiet again."""
    assert [alert.name for alert in ALERTS if not any(now.fires and not then.fires for now, then in steps(alert))] == []


def steps(alert: Alert) -> Iterator[tuple[Look, Look]]:
    """Yield each two looks that follow each other in a case."""
    for case in looks(alert.name):
        yield from pairwise(case)


def starts(earlier: Look, later: Look, within: float) -> bool:
    """Whether an alert is quiet at one look and fires at the next, so many seconds later at most."""
    return not earlier.fires and later.fires and later.after - earlier.after <= within


def test_no_case_is_about_an_alert_that_does_not_exist() -> None:
    """A case for an unknown name expects silence and would hold forever."""
    assert named() - {alert.name for alert in ALERTS} == set()
