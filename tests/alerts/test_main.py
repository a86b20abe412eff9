"""`python -m alerts`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alerts.__main__ import main

if TYPE_CHECKING:
    from pathlib import Path

FILES = ["alerts.yaml", "chart.yaml", "prometheusrule.yaml", "recording.yaml"]


def test_what_is_in_the_repository_is_up_to_date() -> None:
    """Rules, runbook and guide are what the records say today."""
    assert main(["--check"]) == 0, "run `python -m alerts`"


def test_rules_go_where_they_are_asked_for(tmp_path: Path) -> None:
    """--out writes the four files of rules there, and nothing of the documentation."""
    assert main(["--out", str(tmp_path / "new")]) == 0

    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == FILES
    assert main(["--check", "--out", str(tmp_path / "new")]) == 0


def test_a_change_by_hand_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--check prints what it would change, and fails."""
    main(["--out", str(tmp_path)])
    path = tmp_path / "alerts.yaml"
    path.write_text(path.read_text().replace("severity: info", "severity: none", 1))

    assert main(["--check", "--out", str(tmp_path)]) == 1
    assert "-          severity: none" in capsys.readouterr().out


def test_faster_rules_never_overwrite_those_of_real_time(capsys: pytest.CaptureFixture[str]) -> None:
    """A time scale needs a directory of its own."""
    assert main(["--time-scale", "60"]) == 2
    assert "--out" in capsys.readouterr().err


def test_faster_rules_are_faster(tmp_path: Path) -> None:
    """A for of 15 minutes becomes one of 15 seconds."""
    assert main(["--time-scale", "60", "--out", str(tmp_path)]) == 0

    text = (tmp_path / "alerts.yaml").read_text()
    assert "for: 15s" in text
    assert "for: 15m" not in text


@pytest.mark.parametrize("scale", ["0", "-1", "nan", "fast"])
def test_a_scale_that_is_none_is_refused(scale: str) -> None:
    """Time neither stands still nor goes back."""
    with pytest.raises(SystemExit):
        main(["--time-scale", scale, "--out", "unused"])
