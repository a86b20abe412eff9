"""PromQL of panels: the reader's choice, each figure once, rates that fit the screen."""

from __future__ import annotations

from alerts.promql import increase_once
from dashboards.queries import Query, chosen, gauge, increase, rate, total, with_index
from exporter import catalogue as c
from tests.alerts.parsed import calls, matched, metrics, selectors


def test_a_choice_holds_each_label_to_its_variable() -> None:
    """A regular expression, because several values and All may be chosen."""
    assert chosen("cluster", "node") == 'cluster=~"$cluster",node=~"$node"'


def test_nothing_chosen_holds_nothing() -> None:
    """A dashboard without variables asks for all."""
    assert chosen() == ""


def test_a_gauge_is_taken_once_whoever_scraped_it() -> None:
    """Two scrapers' labels go, the series' own and `cluster` stay."""
    assert gauge(c.DEVICE_UP, 'node=~"$node"') == (
        'max by (cluster, node, device_uuid) (vgpu_device_up{node=~"$node"})'
    )


def test_a_gauge_can_be_taken_by_other_labels() -> None:
    """The tables want an index beside the UUID, and no driver version."""
    assert gauge(c.DEVICE_INFO, "", ("cluster", "device_index")) == (
        "max by (cluster, device_index) (vgpu_device_info)"
    )


def test_a_tenants_figure_leaves_out_overwritten_namespaces() -> None:
    """Without honorLabels every tenant would be the monitoring's namespace."""
    for figure in (
        gauge(c.CONTAINER_MEMORY_USED, ""), rate(c.CONTAINER_CORE_BUSY, ""), increase(c.NAMESPACE_CORE_BUSY, ""),
    ):  # fmt: skip
        (selector,) = selectors(figure.replace("$__rate_interval", "1m").replace("$__range", "1h"))
        assert matched(selector) == {"exported_namespace": ""}


def test_a_rate_looks_back_over_what_grafana_knows_to_hold_enough_scrapes() -> None:
    """A fixed look-back is too short for slow scrapes and too long for a short range."""
    assert rate(c.DEVICE_CORE_BUSY, 'node=~"$node"') == (
        "max by (cluster, node, device_uuid) "
        '(rate(vgpu_device_core_busy_seconds_total{node=~"$node"}[$__rate_interval]))'
    )


def test_a_rate_is_taken_before_two_scrapes_are_made_one() -> None:
    """A rate of a maximum would see resets where two scrapes meet."""
    figure = rate(c.DEVICE_CORE_BUSY, "", ("cluster", "node")).replace("$__rate_interval", "1m")
    assert figure.index("max by (cluster, node)") < figure.index("rate(")
    assert calls(figure) == {"rate"}


def test_an_increase_is_over_the_screen_unless_a_window_is_given() -> None:
    """GPU-hours of what the reader looks at; of the last hour where he asks for that."""
    assert "(increase(vgpu_device_observed_seconds_total[$__range]))" in increase(c.DEVICE_OBSERVED, "")
    assert "(increase(vgpu_device_observed_seconds_total[1h]))" in increase(c.DEVICE_OBSERVED, "", "[1h]")


def test_an_increase_adds_up_instances_and_chooses_between_jobs() -> None:
    """What an exporter counted before it was replaced stays; a second job does not count it twice."""
    assert increase(c.DEVICE_OBSERVED, "", "[1h]") == increase_once(c.DEVICE_OBSERVED, "1h")


def test_a_total_keeps_only_the_labels_named() -> None:
    """Parts are added up over all others."""
    assert total(("cluster", "namespace"), "x") == "sum by (cluster, namespace) (x)"


def test_an_index_is_joined_from_the_gpus_facts_and_cannot_double_a_gpu() -> None:
    """During a driver's upgrade a GPU has two series of facts; `topk(1)` of them makes the join one to one."""
    figure = with_index(gauge(c.DEVICE_UP, ""))
    assert metrics(figure) == {"vgpu_device_up", "vgpu_device_info"}
    assert "group_left (device_index) topk by (cluster, node, device_uuid) (1," in figure


def test_a_query_is_drawn_over_time_unless_only_the_latest_is_asked_for() -> None:
    """Graphs are the rule."""
    assert not Query("up").latest
