"""What an exporter does not see is left out of an expression."""

from __future__ import annotations

from alerts.sight import NAMES, REGIONS, seen, seen_by, seen_once
from exporter import catalogue as c
from exporter.errors import SOURCE_REASONS
from tests.alerts.parsed import matched, selectors


def test_a_series_counts_unless_a_source_of_its_own_target_is_down() -> None:
    """Two exporters of one node, or two scrapers of one, are judged each by what it sees itself."""
    assert seen(c.DEVICE_MEMORY_GRANTED, REGIONS) == (
        "vgpu_device_memory_granted_bytes unless on (cluster, job, instance) "
        'vgpu_source_up{role="node",source="regions"} == 0'
    )


def test_what_two_scrapers_see_counts_once() -> None:
    """The guard goes by the target, so it stands before the aggregation that takes the target's labels away."""
    assert seen_once(c.DEVICE_MEMORY_GRANTED, NAMES) == (
        f"max by (cluster, node, device_uuid) ({seen(c.DEVICE_MEMORY_GRANTED, NAMES)})"
    )


def test_a_rate_is_guarded_like_a_gauge() -> None:
    """Any expression that keeps its target's labels can be."""
    rate = "rate(vgpu_device_observed_seconds_total[5m])"

    assert seen_by(rate, NAMES).startswith(f"{rate} unless on (cluster, job, instance) vgpu_source_up{{")


def test_the_sources_exist() -> None:
    """A guard on a source that nobody reads would guard nothing."""
    for sources in (NAMES, REGIONS):
        [guard] = (one for one in selectors(seen(c.DEVICE_UP, sources)) if one.name == c.SOURCE_UP.name)
        assert {*matched(guard)["source"].split("|")} <= SOURCE_REASONS.keys()
