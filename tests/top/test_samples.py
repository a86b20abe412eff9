"""What is read of a scrape: each series once, nothing that cannot be, and what is no scrape of a node."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter import catalogue as c
from exporter.errors import ParseError
from exporter.top import shown
from exporter.top.samples import collect, of, parse
from tests.top.pages import ON, page


def test_a_series_is_named_by_its_cluster_and_its_own_labels() -> None:
    """Labels that a scrape added do not tell one series from another; of two the larger counts."""
    samples = parse(
        page(
            f'vgpu_device_memory_used_bytes{{{ON},instance="a",cluster="c"}} 1',
            f'vgpu_device_memory_used_bytes{{{ON},instance="b",cluster="c"}} 2',
        )
    )

    assert of(samples, c.DEVICE_MEMORY_USED) == {("c", "n1", "GPU-1"): 2}


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "-1"])
def test_a_value_that_cannot_be_is_absent(value: str) -> None:
    """No figure here is below 0 or without end."""
    assert of(parse(page(f"vgpu_device_memory_used_bytes{{{ON}}} {value}")), c.DEVICE_MEMORY_USED) == {}


def test_a_namespace_that_the_scrape_overwrote_counts_for_nobody() -> None:
    """Else it would be the monitoring's namespace."""
    told = {"__name__": c.CONTAINER_MEMORY_USED.name, "namespace": "monitoring", "exported_namespace": "a"}

    assert collect([(told, 1.0)]) == {}


@pytest.mark.parametrize("text", ["", "<html>hello</html>", "up 1\n", "vgpu_device_up{", '{"a": 1}', "vgpu 1 2 3 4\n"])
def test_what_is_no_scrape_of_ours_is_told_in_its_words(text: str) -> None:
    """Any other page is refused, whatever its parser thinks of it."""
    with pytest.raises(ParseError, match="no metrics of vgpu-exporter but "):
        parse(text)


def test_the_quota_role_is_no_node() -> None:
    """It tells nothing of GPUs, and that is said."""
    with pytest.raises(ParseError, match="no metrics of a node"):
        parse('vgpu_exporter_snapshot_timestamp_seconds{role="quota"} 1\n')


@given(
    st.text()
    | st.lists(st.sampled_from(['vgpu_device_up{node="', "\n", '"', "} ", "1", "\\", "#", "=", ","])).map("".join)
)
def test_no_page_does_more_than_be_refused(text: str) -> None:
    """Whatever answers at the address, it is a ParseError or a scrape."""
    try:
        parse(text)
    except ParseError:
        return
    assert "vgpu_" in text


@given(st.text())
def test_only_one_line_of_printable_ascii_is_shown(text: str) -> None:
    """No control character, no right-to-left mark, no line end and no end to it."""
    assert all(" " <= char <= "~" for char in shown(text))
    assert len(shown(text)) <= 256


@given(st.from_regex(r"[a-z0-9][-a-z0-9.]{0,252}", fullmatch=True))
def test_names_of_kubernetes_are_shown_as_they_are(name: str) -> None:
    """Nothing is escaped that may be in one."""
    assert shown(name) == name
