"""The recorded H200 as scrapes, byte for byte: the diff of a golden file is the review of a change."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter import catalogue
from exporter.exposition import encode
from exporter.labels import Build
from exporter.metrics import families
from tests.replay import Replay

GOLDEN = Path(__file__).parent / "golden"
BUILD = Build("node", "0.0.0", "golden", "3.0.0")
#: Of the recorded node HAMi-core's regions were read from this second on, and say this.
REGIONS_FROM = 30
FROM_REGIONS: set[catalogue.Metric[Any]] = {
    catalogue.CONTAINER_MEMORY_LIMIT,
    catalogue.CONTAINER_MEMORY_COUNTED,
    catalogue.CONTAINER_MEMORY_UNCOUNTED,
    catalogue.CONTAINER_CORE_LIMIT,
    catalogue.CONTAINER_PROCESSES_UNCOUNTED,
    catalogue.CONTAINER_HAMI_CORE_BLIND,
    catalogue.CONTAINER_LAST_KERNEL,
}
MOMENTS = pytest.mark.parametrize("second", [20, 50, 80], ids=["all-run", "reranker-killed", "escape"])


def scrape(second: int, *, openmetrics: bool = False) -> str:
    """Return our part of a scrape at that second of the recording."""
    return encode(families(Replay().until(second + 0.5), BUILD), openmetrics=openmetrics).decode()


@MOMENTS
def test_a_recorded_moment_gives_the_golden_scrape(second: int) -> None:
    """A recorded moment gives the golden scrape to the byte (UPDATE_GOLDEN=1 writes it anew)."""
    path = GOLDEN / f"h200-sharing-{second}s.prom"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(scrape(second))

    assert scrape(second) == path.read_text()


@MOMENTS
def test_both_formats_hold_the_same_families(second: int) -> None:
    """The OpenMetrics output parses and holds the same families, types and samples as the text output."""
    text = list(parse_text(scrape(second)))
    modern = list(parse_openmetrics(scrape(second, openmetrics=True)))

    assert [(family.name, family.type) for family in text] == [(family.name, family.type) for family in modern]
    assert [family.samples for family in text] == [family.samples for family in modern]


@MOMENTS
def test_a_scrape_publishes_the_catalogue_and_nothing_else(second: int) -> None:
    """Every published family is in the catalogue, with its type and help; every one of the node is published."""
    published = {
        sample.name: family for family in families(Replay().until(second + 0.5), BUILD) for sample in family.samples
    }
    by_name = {metric.name: metric for metric in catalogue.METRICS}
    by_name |= {metric.name + "_count": metric for metric in catalogue.METRICS if metric.kind is catalogue.Kind.SUMMARY}
    by_name |= {metric.name + "_sum": metric for metric in catalogue.METRICS if metric.kind is catalogue.Kind.SUMMARY}

    assert set(published) <= set(by_name)
    quota = set(_between(catalogue.NAMESPACE_QUOTA_MEMORY, catalogue.SOURCE_UP))
    filled = {metric.name for metric in catalogue.METRICS if metric.kind is not catalogue.Kind.SUMMARY} - quota
    absent: set[catalogue.Metric[Any]] = {catalogue.DEVICE_MEMORY_SCHEDULABLE, catalogue.DEVICE_CORE_SCHEDULABLE}
    absent |= {catalogue.DEVICE_SLOTS, catalogue.DEVICE_XID_ERRORS, catalogue.DEVICE_XID_LAST}
    # The recorded node had no device plugin that registers it, nor XID events, and the demo allows no label.
    if second < REGIONS_FROM:
        absent |= FROM_REGIONS
    assert filled - set(published) == {metric.name for metric in absent | {catalogue.POD_LABELS}}
    for name, family in published.items():
        assert (family.type, family.documentation) == (by_name[name].kind.value, by_name[name].help)


def _between(first: catalogue.Metric[Any], behind: catalogue.Metric[Any]) -> list[str]:
    """Return the names of a section of the catalogue."""
    every = catalogue.METRICS
    return [metric.name for metric in every[every.index(first) : every.index(behind)]]
