"""Panels as Grafana's own library sees them: units, thresholds, words, colours, overrides, tables, links in tables."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from dashboards import board
from dashboards.book import BOARDS
from tests.dashboards.sample import SAMPLE
from tests.dashboards.spoiled import sets, spoiled
from tests.rules.checkers import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.dashboards.spoiled import Change

_PANELS: Final = ROOT / "tools/panels"
_DEFAULTS: Final = ("fieldConfig", "defaults")
_OVERRIDE: Final = ("fieldConfig", "overrides", 0)
_COLUMNS: Final = ("transformations", 1, "options", "include", "names")
_STEPS: Final = (*_DEFAULTS, "thresholds", "steps")

FAULTS: Final[list[tuple[str, Change]]] = [
    ("Memory: used: the unit gibibyte is none of Grafana's", sets("Memory", *_DEFAULTS, "unit", to="gibibyte")),
    ("Memory: used: how values in lengthm read", sets("Memory", *_DEFAULTS, "unit", to="lengthm")),
    ("the colour grren is none of Grafana's", sets("Memory in use", *_STEPS, 0, "color", to="grren")),
    ("1.000001 is #73BF69, not red", sets("Memory in use", *_STEPS, 1, "value", to=2)),
    ("Memory: no field is called busy (byName)", sets("Memory", *_OVERRIDE, "matcher", "options", to="busy")),
    ("Memory: no field is called used (byNam)", sets("Memory", *_OVERRIDE, "matcher", "id", to="byNam")),
    ("an override of used sets colour, which is no", sets("Memory", *_OVERRIDE, "properties", 0, "id", to="colour")),
    ("Memory: timeseries has no option custom.stacked", sets("Memory", *_DEFAULTS, "custom", "stacked", to=True)),
    ("Memory in use: without data it says no data", sets("Memory in use", *_DEFAULTS, "noValue", to="")),
    ("Memory in use: without data it is coloured", sets("Memory in use", *_DEFAULTS, "mappings", to=[])),
    ("Pods: its columns are Used", sets("Pods", *_COLUMNS, to=["Value #A"])),
    ("Pods: a link takes Name, which is no column", sets("Pods", *_OVERRIDE, "properties", to=[
        {"id": "links", "value": [{"title": "", "url": "/d/x?var-pod=${__data.fields.Name:percentencode}"}]}
    ])),
    ("Pods: sorted by Name", sets("Pods", "options", "sortBy", to=[{"displayName": "Name"}])),
    ("Nodes: the kind gauge is none of ours", sets("Nodes", "type", to="gauge")),
]  # fmt: skip


def evaluated(*files: Path) -> list[str]:
    """Return what tools/panels/evaluate.mjs says of dashboards; skipped without Node, which fails under CI=true."""
    if shutil.which("node") is None or not (_PANELS / "node_modules").exists():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            "no node, or not all it needs: run `make tools`"
        )
    command = ["node", str(_PANELS / "evaluate.mjs"), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    lines = done.stdout.splitlines()
    assert lines, done.stderr
    assert done.returncode == int(len(lines) > 1), done.stdout + done.stderr
    return lines[:-1]


def test_panels_show_what_is_meant(tmp_path: Path) -> None:
    """Grafana's library finds every unit, colours values by their thresholds, and applies each override to a field."""
    files = [tmp_path / f"{one.uid}.json" for one in (*BOARDS, SAMPLE)]
    for file, one in zip(files, (*BOARDS, SAMPLE), strict=True):
        file.write_text(board.text(one), encoding="utf-8")

    assert evaluated(*files) == []


def test_what_would_be_shown_otherwise_is_found(tmp_path: Path) -> None:
    """Each of the sample's spoiled copies is found out."""
    files = [tmp_path / f"{number}.json" for number, _ in enumerate(FAULTS)]
    for file, (_, change) in zip(files, FAULTS, strict=True):
        file.write_text(json.dumps(spoiled(change)), encoding="utf-8")

    lines = evaluated(*files)

    for file, (found, _) in zip(files, FAULTS, strict=True):
        assert any(line.startswith(f"{file}: ") and found in line for line in lines), (found, lines)
