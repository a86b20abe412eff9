"""The catalogue: the names are the public API."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from exporter.catalogue import METRICS, Kind, Metric, Unit


def test_no_name_is_given_twice() -> None:
    """Each metric has a name of its own."""
    names = [metric.name for metric in METRICS]

    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_name_ends_in_its_unit(metric: Metric[tuple[str]]) -> None:  # type: ignore[type-var]
    """A name is vgpu_, stem, base unit, and _total for a counter alone."""
    unit = metric.unit.value[0]
    tail = "_".join(part for part in (unit, "total" if metric.kind is Kind.COUNTER else "") if part)

    assert re.fullmatch(r"vgpu_[a-z0-9_]+", metric.name)
    assert metric.name.endswith(tail)
    assert metric.help.endswith(".")


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_no_label_holds_what_changes(metric: Metric[tuple[str]]) -> None:  # type: ignore[type-var]
    """No label is a PID, a command, a value or a pod's UID."""
    assert not {"pid", "command", "value", "uid", "pod_uid", "le", "quantile"} & set(metric.label_names)


def test_ratios_that_can_exceed_one_say_so() -> None:
    """Cores of a whole GPU or namespace may exceed 1, and the help says it."""
    sums = [metric for metric in METRICS if metric.unit is Unit.RATIO and "granted" in metric.stem]

    assert all("may exceed" in metric.help for metric in sums if not metric.stem.startswith("container_"))


def test_importing_the_catalogue_costs_no_io_library() -> None:
    """The catalogue imports nothing but the labels, so that generators stay light."""
    text = Path("exporter/catalogue.py").read_text()
    imported = set(re.findall(r"^(?:from|import) (\S+)", text, flags=re.MULTILINE))

    assert imported <= {"__future__", "dataclasses", "enum", "typing", "exporter.labels"}
