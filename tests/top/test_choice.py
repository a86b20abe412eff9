"""Sorting, filtering and scrolling, and the keys for them."""

from __future__ import annotations

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.top.choice import Choice, chosen, keys, pressed
from tests.top.pages import recorded

PAGE, ROWS = 10, 25


def after(typed: str, choice: Choice | None = None) -> Choice:
    """Return what is wanted once that was typed."""
    return reduce(lambda so_far, key: pressed(so_far, key, PAGE, ROWS), keys(typed), choice or Choice())


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("q", Choice(quit=True)),
        ("\x04", Choice(quit=True)),
        ("s", Choice(sort="cores")),
        ("sss", Choice()),
        ("t", Choice(tenants=True)),
        ("/ra\x7fs\r", Choice(filter="rs")),
        ("/q", Choice(filter="q", typing=True)),
        ("/rag\x1b", Choice()),
        ("/rag\r\x1b", Choice()),
        ("\x1b[B\x1bOB\x1b[A", Choice(first=1)),
        ("\x1b[6~", Choice(first=10)),
        ("\x1b[6~\x1b[6~\x1b[6~", Choice(first=15)),
        ("\x1b[F\x1b[5~", Choice(first=5)),
        ("\x1b[4~\x1b[1~", Choice()),
        ("\x1b[A\x1b[12;5Rx\x00", Choice()),
    ],
)
def test_keys_do_what_the_last_line_says(typed: str, expected: Choice) -> None:
    """And what is no key does nothing."""
    assert after(typed) == expected


@given(st.text())
def test_no_input_leaves_the_rows_or_fills_the_filter_with_what_does_not_print(typed: str) -> None:
    """Whatever is pasted."""
    choice = after(typed)

    assert 0 <= choice.first <= ROWS - PAGE
    assert choice.filter.isascii()
    assert choice.filter.isprintable()


def pods(choice: Choice) -> list[str]:
    """Return the pods, or tenants, in the order in which they are shown."""
    _, gpus = recorded()
    return [use.pod or use.tenant for gpu in chosen(gpus, choice) for use in gpu.uses]


def test_the_largest_comes_first_and_names_in_order() -> None:
    """Memory, then cores, then names."""
    assert pods(Choice("memory"))[1] == "ssh-lab-0"
    assert pods(Choice("cores"))[0] == "xinference-worker-4"
    assert pods(Choice("name"))[0] == "legacy-train-0"
    assert pods(Choice("name"))[-1] == "xinference-worker-4"


def test_the_filter_takes_namespace_or_pod_in_any_case() -> None:
    """A part of either is enough."""
    assert pods(Choice(filter="RESEARCH")) == ["ssh-lab-0", "notebook-0"]
    assert pods(Choice(filter="lab-0")) == ["ssh-lab-0"]
    assert pods(Choice(filter="lab-0", tenants=True)) == ["research"]


def test_a_filter_hides_gpus_without_a_match_and_the_remainder() -> None:
    """Neither is what was looked for."""
    _, gpus = recorded()

    assert chosen(gpus, Choice(filter="nobody of that name")) == []
    assert chosen(gpus, Choice(filter="rag"))[0].nobodys == ()
    assert len(chosen(gpus, Choice())[0].nobodys) == 5
