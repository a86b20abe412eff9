"""The two formats, against prometheus-client's own writers: the same bytes, whatever the labels and values are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import Metric as Family
from prometheus_client.openmetrics import exposition as library_openmetrics
from prometheus_client.registry import Collector
from typing_extensions import override

from exporter.exposition import encode

if TYPE_CHECKING:
    from collections.abc import Iterable

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
VALUES = st.floats() | st.integers(-(2**62), 2**62)


class Given(Collector):
    """Hands families to a registry."""

    def __init__(self, families: list[Family]) -> None:
        """Take the families."""
        self._families = families

    @override
    def collect(self) -> Iterable[Family]:
        return self._families


@st.composite
def families(draw: st.DrawFn) -> list[Family]:
    """Return any families such as ours."""
    made = []
    for number in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["gauge", "counter", "summary"]))
        family = Family(f"vgpu_{number}", draw(TEXTS), kind)
        for _ in range(draw(st.integers(0, 3))):
            labels = draw(st.dictionaries(st.sampled_from(["node", "pod", "a_b", "reason"]), TEXTS))
            for suffix in {"gauge": [""], "counter": ["_total"], "summary": ["_count", "_sum"]}[kind]:
                family.add_sample(family.name + suffix, labels, draw(VALUES))
        made.append(family)
    return made


def by_library(given: list[Family], *, openmetrics: bool) -> bytes:
    """Return what prometheus-client writes."""
    registry: Any = CollectorRegistry(auto_describe=False)
    registry.register(Given(given))
    return library_openmetrics.generate_latest(registry) if openmetrics else generate_latest(registry)


@pytest.mark.parametrize("openmetrics", [False, True])
@given(given_families=families())
def test_the_bytes_are_the_librarys(given_families: list[Family], *, openmetrics: bool) -> None:
    """Both formats equal the library's to the byte."""
    assert encode(given_families, openmetrics=openmetrics) == by_library(given_families, openmetrics=openmetrics)


@pytest.mark.parametrize("openmetrics", [False, True])
def test_the_processs_own_families_are_the_librarys(*, openmetrics: bool) -> None:
    """What prometheus-client collects of the process comes out as it writes it itself."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    collected = list(registry.collect())

    assert encode(collected, openmetrics=openmetrics) == by_library(collected, openmetrics=openmetrics)
