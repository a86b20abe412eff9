"""Frames of one node and of a cluster, from real web servers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from exporter import catalogue as c
from exporter.errors import SourceError
from exporter.sources.scrape import ClusterFrames, NodeFrames
from exporter.sources.web import Web
from exporter.top import queries
from exporter.top.flags import Access
from tests.top.pages import ON, Answer, Site, page, vector

if TYPE_CHECKING:
    from collections.abc import Mapping

GPU = {"node": "n1", "device_uuid": "GPU-1"}


def node_page(taken: float, busy: float, *more: str) -> str:
    """Return a scrape of a GPU that was busy for so long since its exporter's start at 0."""
    return page(
        f"vgpu_device_up{{{ON}}} 1",
        f"vgpu_device_observed_seconds_total{{{ON}}} {taken}",
        f"vgpu_device_core_busy_seconds_total{{{ON}}} {busy}",
        *more,
        taken=taken,
    )


def shares(*pages: str) -> list[tuple[float | None, float | None]]:
    """Return window and share of the GPU at each of these scrapes."""
    with Site.of_pages(pages) as site:
        frames = NodeFrames(site.url, Web(Access()))
        found = [frames.read() for _ in pages]
    return [(frame.core_window, frame.gpus[0].core_used) for frame in found]


def test_cores_are_known_from_the_second_scrape_on() -> None:
    """And then they are the mean of at most ten seconds and one step."""
    assert shares(*(node_page(1000 + 4 * step, step**2) for step in range(5))) == [
        (None, None),
        (4, 0.25),
        (8, 0.5),
        (12, 0.75),
        (12, 1.25),
    ]


def test_the_same_snapshot_twice_is_no_past() -> None:
    """Whoever asks faster than the node is read waits on."""
    assert shares(node_page(1000, 1), node_page(1000, 1), node_page(1002, 2)) == [(None, None), (None, None), (2, 0.5)]


def test_a_clock_that_was_set_back_begins_anew() -> None:
    """As does an exporter that was restarted."""
    assert shares(node_page(1000, 900), node_page(10, 1), node_page(12, 2)) == [(None, None), (None, None), (2, 0.5)]


def test_blind_sources_and_old_data_are_told() -> None:
    """The age is by the server's clock, which Date tells."""
    blind = 'vgpu_source_up{role="node",source="pods"} 0', 'vgpu_source_up{role="quota",source="quotas"} 0'
    up = 'vgpu_source_up{role="node",source="nvml"} 1'
    with Site.of_pages([node_page(time.time() - 60, 1, *blind, up)]) as site:
        frame = NodeFrames(site.url, Web(Access())).read()

    assert frame.blind == ("pods", "quotas (quota role)")
    assert frame.stale == (f"{site.url}/metrics",)
    assert frame.age == pytest.approx(60, abs=2)


def test_an_address_without_a_path_is_that_of_the_metrics() -> None:
    """Another path is kept: somebody's proxy."""
    with Site.of_pages([node_page(1, 1)]) as site:
        for path in ("", "/", "/metrics", "/node/metrics/"):
            NodeFrames(site.url + path, Web(Access())).read()

    assert site.asked == ["/metrics", "/metrics", "/metrics", "/node/metrics"]


def test_another_page_is_told_in_its_words() -> None:
    """With the address at which it was found."""
    with (
        Site.of_pages(["<html>hello</html>"]) as site,
        pytest.raises(SourceError, match=r"metrics has no metrics of .*hello"),
    ):
        NodeFrames(site.url, Web(Access())).read()


# ---------------------------------------------------------------- the cluster


class Prometheus:
    """What a Prometheus has; `answers` by query, nothing for others."""

    def __init__(self, answers: Mapping[str, bytes]) -> None:
        """Keep them."""
        self._answers = answers

    def __call__(self, path: str, query: str, _headers: Mapping[str, str]) -> Answer:
        """Answer a query of the API."""
        return Answer(self._answers.get(query, vector())) if path == "/api/v1/query" else Answer(b"no", 404)


def told(metric: str, value: float, **more: str) -> tuple[dict[str, str], float]:
    """Return a sample of the GPU."""
    return {"__name__": metric, **GPU, **more}, value


def of_minutes(window: int) -> dict[str, bytes]:
    """Return what the counters grew by in a window."""
    found = queries.rates(window)
    return {
        found[c.DEVICE_OBSERVED.name]: vector((GPU, 0.5)),
        found[c.DEVICE_CORE_BUSY.name]: vector((GPU, 0.25)),
    }


GAUGES = {queries.GAUGES_NOW: vector(told("vgpu_device_up", 1), told("vgpu_device_memory_used_bytes", 5))}


@pytest.mark.parametrize("window", [60, 300])
def test_a_clusters_cores_are_of_a_minute_or_of_five_where_that_is_too_short(window: int) -> None:
    """Who is scraped once a minute has no rate over one."""
    with Site(Prometheus(GAUGES | of_minutes(window))) as site:
        frame = ClusterFrames(f"{site.url}/", Web(Access())).read()

    assert (frame.core_window, frame.gpus[0].core_used, frame.gpus[0].memory_used) == (window, 0.5, 5)


def test_exporters_that_are_old_blind_or_silent_are_named() -> None:
    """By the cluster, if somebody names it, and the target."""
    answers = {
        queries.AGES: vector(({"cluster": "c", "instance": "a:1"}, 200), ({"instance": "b:1"}, 20)),
        queries.BLIND: vector(({"instance": "a:1", "source": "pods"}, 0)),
        queries.SILENT: vector(({"instance": "d:1"}, 0)),
    }
    with Site(Prometheus(GAUGES | answers)) as site:
        frame = ClusterFrames(site.url, Web(Access())).read()

    assert (frame.age, frame.stale, frame.blind, frame.silent) == (200, ("c/a:1",), ("pods of a:1",), ("d:1",))


def test_a_prometheus_without_us_is_no_empty_table() -> None:
    """It is said."""
    with Site(Prometheus({})) as site, pytest.raises(SourceError, match="has no series of vgpu-exporter"):
        ClusterFrames(site.url, Web(Access())).read()


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[]", b'{"data": 1}', b"[" * 100_000])
def test_what_is_no_prometheus_is_told_in_its_words(body: bytes) -> None:
    """Whatever it answers."""
    with Site(lambda *_: Answer(body)) as site, pytest.raises(SourceError, match="is no Prometheus: "):
        ClusterFrames(site.url, Web(Access())).read()


def test_samples_that_are_none_are_left_out() -> None:
    """The others count."""
    odd = b'{"data": {"result": [1, {}, {"metric": 1, "value": [0, "1"]}, {"metric": {"__name__": "vgpu_device_up", '
    odd += b'"device_uuid": "u"}, "value": [0, "1"]}, {"metric": {"__name__": "vgpu_device_up"}, "value": [0, "x"]}]}}'
    with Site(Prometheus({queries.GAUGES_NOW: odd})) as site:
        [gpu] = ClusterFrames(site.url, Web(Access())).read().gpus

    assert (gpu.uuid, gpu.up) == ("u", True)
