"""`python -m dashboards`."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from dashboards.__main__ import files, main, with_table
from dashboards.book import BOARDS

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_in_the_repository_is_up_to_date() -> None:
    """The dashboards are what their modules say today, and none is left over from before."""
    assert main(["--check"]) == 0, "run `python -m dashboards`"

    [directory] = {path.parent for path in files() if path.suffix == ".json"}
    assert {path.name for path in directory.iterdir()} == {f"{board.uid}.json" for board in BOARDS}


def test_dashboards_go_where_they_are_asked_for(tmp_path: Path) -> None:
    """--out writes a file for each, named after its uid."""
    assert main(["--out", str(tmp_path / "new")]) == 0

    assert {path.stem for path in (tmp_path / "new").iterdir()} == {board.uid for board in BOARDS}
    assert main(["--check", "--out", str(tmp_path / "new")]) == 0


def test_a_change_by_hand_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--check prints what it would change, and fails."""
    main(["--out", str(tmp_path)])
    path = tmp_path / f"{BOARDS[0].uid}.json"
    path.write_text(path.read_text().replace('"refresh": "30s"', '"refresh": "5s"', 1))

    assert main(["--check", "--out", str(tmp_path)]) == 1
    assert '-  "refresh": "5s"' in capsys.readouterr().out


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_same_bytes_come_out_each_time(tmp_path: Path, seed: str) -> None:
    """Whatever order sets and hashes have in a process."""
    environment = os.environ | {"PYTHONHASHSEED": seed}
    subprocess.run([sys.executable, "-m", "dashboards", "--out", tmp_path], env=environment, check=True, timeout=60)

    assert {path: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == files(tmp_path)


def test_a_guide_without_a_place_for_the_table_is_refused() -> None:
    """Rather than to lose the table, and nobody notices."""
    with pytest.raises(ValueError, match="boards:begin"):
        with_table("# Dashboards", BOARDS)
