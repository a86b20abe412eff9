"""`python -m tools.chart`: what in the chart follows from elsewhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from alerts import book
from tools import chart

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

TEXT = """\
# not a comment of a value
first: 1

own:
  # -- What it is,
  # on two lines
  key: [a, "b|c"]
  # -- A map
  whole:
    inner: null
  bare: 2
"""


def test_what_is_in_the_repository_is_up_to_date() -> None:
    """Rules, dashboards, schema, defaults and table are what their sources say today."""
    assert chart.main(["--check"]) == 0, "run `python -m tools.chart`"


def test_a_value_is_a_row_with_its_default_and_its_comment() -> None:
    """Comments of several lines are one text, a map with a comment is one row, what has none is left out."""
    assert list(chart.values(TEXT)) == [
        ("own.key", '["a", "b|c"]', "What it is, on two lines"),
        ("own.whole", '{"inner": null}', "A map"),
    ]


def test_no_default_ends_its_cell() -> None:
    """A pipe in a default or a comment stays text."""
    assert chart.values_table(TEXT).splitlines()[2] == r"""| `own.key` | `["a", "b\|c"]` | What it is, on two lines |"""


def test_the_schema_has_every_alert_and_a_threshold_where_there_is_one() -> None:
    """Nothing else of the schema is touched."""
    path = chart.CHART / "values.schema.json"
    rules = json.loads(path.read_text())["properties"]["prometheusRule"]["properties"]["rules"]["properties"]

    assert list(rules) == [alert.name for alert in book.alerts()]
    assert {name for name, kind in rules.items() if kind["$ref"].endswith("/alertWithThreshold")} == {
        alert.name for alert in book.alerts() if alert.threshold
    }


def test_a_change_by_hand_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--check prints what it would change, and fails."""
    path = tmp_path / "defaults.yaml"
    path.write_text("interval: 9s\n")
    monkeypatch.setattr(chart, "generated", lambda: {path: "interval: 1s\n"})

    assert chart.main(["--check"]) == 1
    assert "-interval: 9s" in capsys.readouterr().out


def test_a_dashboard_that_is_no_more_goes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty text is a file that must not be there; a new one comes with its folder."""
    old, new = tmp_path / "old.json", tmp_path / "new" / "one.json"
    old.write_text("{}")
    monkeypatch.setattr(chart, "generated", lambda: {old: "", new: "{}\n"})

    assert chart.main([]) == 0
    assert not old.exists()
    assert new.read_text() == "{}\n"
