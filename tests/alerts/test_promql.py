"""PromQL from catalogue metrics."""

from __future__ import annotations

import pytest

from alerts.promql import DEVICE, increase_once, integral_once, once, rate_once, scaled, scaled_expression, select
from exporter import catalogue as c


def test_a_gauge_is_taken_once_whoever_scraped_it() -> None:
    """Labels of the scrape go, those of the series and `cluster` stay."""
    assert once(c.DEVICE_UP) == "max by (cluster, node, device_uuid) (vgpu_device_up)"


def test_a_rate_is_taken_before_scrapes_are_made_one() -> None:
    """A rate of a maximum would see resets where two scrapes meet."""
    assert rate_once(c.DEVICE_OBSERVED, "5m") == (
        "max by (cluster, node, device_uuid) (rate(vgpu_device_observed_seconds_total[5m]))"
    )


def test_an_increase_adds_up_instances_and_chooses_between_jobs() -> None:
    """An exporter that was replaced goes on; a second job does not count it twice."""
    assert increase_once(c.DEVICE_OBSERVED, "1h") == (
        "max by (cluster, node, device_uuid) ("
        "sum by (cluster, node, device_uuid, job) ("
        "max by (cluster, node, device_uuid, job, instance) ("
        "increase(vgpu_device_observed_seconds_total[1h]))))"
    )


def test_a_gauge_is_added_up_as_a_counter_increases() -> None:
    """So both sides of an account see the same scrapes; each step counts for its own length."""
    assert integral_once("vgpu_device_up", DEVICE) == (
        "max by (cluster, node, device_uuid) ("
        "sum by (cluster, node, device_uuid, job) ("
        "max by (cluster, node, device_uuid, job, instance) ("
        "15 * sum_over_time(vgpu_device_up[1h:15s]))))"
    )


def test_a_faster_gauge_adds_up_to_as_much_less() -> None:
    """A step of an eighth of a second counts for an eighth of a second."""
    assert scaled_expression("15 * sum_over_time(a[1h:15s])", 120) == "0.125 * sum_over_time(a[30s:125ms])"
    assert scaled_expression("15 * sum_over_time(a[1h:15s])", 1) == "15 * sum_over_time(a[1h:15s])"


def test_a_selector_leaves_out_overwritten_namespaces() -> None:
    """What has a namespace of its own asks that none was put in its place."""
    assert select(c.CONTAINER_INFO, 'tenant!=""') == 'vgpu_container_info{exported_namespace="",tenant!=""}'
    assert select(c.DEVICE_UP, window="[5m]") == "vgpu_device_up[5m]"


@pytest.mark.parametrize(
    ("duration", "scale", "faster"),
    [("15m", 1, "15m"), ("15m", 60, "15s"), ("1d", 60, "1440s"), ("1m", 120, "500ms"), ("5m", 7, "42857ms")],
)
def test_a_duration_is_divided_to_the_millisecond(duration: str, scale: float, faster: str) -> None:
    """A live test runs the same rules faster."""
    assert scaled(duration, scale) == faster


def test_every_duration_of_an_expression_is_divided_and_no_number() -> None:
    """Look-backs, the steps of subqueries and offsets are times; 3600 and a label's value are not."""
    expression = 'rate(a{b="5m"}[5m]) / 3600 + predict_linear((c)[1d:5m], 60) - d offset 1h'

    assert scaled_expression(expression, 60) == (
        'rate(a{b="5m"}[5s]) / 3600 + predict_linear((c)[1440s:5s], 60) - d offset 60s'
    )
