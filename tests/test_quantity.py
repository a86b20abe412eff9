"""Quantities as whole numbers."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.quantity import number, whole_number


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("0", 0),
        ("1", 1),
        ("+7", 7),
        ("007", 7),
        ("5k", 5000),
        ("3M", 3_000_000),
        ("16Gi", 16 * 2**30),
        ("1Ei", 2**60),
        ("2E", 2 * 10**18),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1e+3", 1000),
        ("1000e-3", 1),
        ("2000m", 2),
        ("3000000u", 3),
        ("4000000000n", 4),
        ("1.5k", 1500),
        ("1.5Gi", 3 * 2**29),
        (".5k", 500),
        ("2.", 2),
        ("2.000", 2),
        ("1e30", 10**30),
        (str(10**30), 10**30),
        (3, 3),
        (10**31, 10**31),
    ],
)
def test_whole_quantities(text: object, whole: int) -> None:
    """Every notation of Kubernetes is understood as long as the value is whole."""
    assert whole_number(text) == whole


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", ".", "k", "Gi", "e3", "-1", "-0", "0.5", "1500m", "1e-3", "1n", "1.0000001Mi"),
        *("1Kib", "1K", "1 Gi", "1\n", "0x10", "1_000", "１２", "½", "NaN", "inf", "1e3Gi", "1kk", "--1", "1,5"),  # noqa: RUF001 - hostile digits
        *(None, True, False, 2.0, -3, [], {}, b"1"),
    ],
)
def test_what_is_no_whole_quantity(text: object) -> None:
    """Negative, fractional and senseless values are None, not an error and not 0."""
    assert whole_number(text) is None


@pytest.mark.parametrize(
    ("text", "amount"), [("1500m", 1.5), ("0.5", 0.5), ("16Gi", 2.0**34), ("1e30", 1e30), ("0", 0.0), (3, 3.0)]
)
def test_fractions_where_they_are_allowed(text: object, amount: float) -> None:
    """A quota can be of half of something."""
    assert number(text) == amount


@pytest.mark.parametrize("text", ["-1", "-0.5", "many", "", "1e70", None, True, 2.0])
def test_what_is_no_quantity_at_all(text: object) -> None:
    """Negative, absurd and senseless values are None here, too."""
    assert number(text) is None


@pytest.mark.parametrize("text", ["1e999999999", "1e9999", "1e-9999", "9" * 100_000, "1" + "0" * 70, 10**400])
def test_absurd_lengths_cost_nothing(text: object) -> None:
    """A quantity of gigabytes of digits is refused without computing it."""
    began = time.perf_counter()
    assert whole_number(text) is None
    assert time.perf_counter() - began < 0.1


@given(st.one_of(st.text(), st.from_regex(r"[+-]?[0-9.]{0,30}[EPTGMKinumk]{0,2}[eE]?[+-]?[0-9]{0,9}", fullmatch=True)))
def test_any_text_gives_a_number_or_none(text: str) -> None:
    """No text raises, and what comes out is a whole number of a bounded size."""
    whole, exact = whole_number(text), number(text)
    assert whole is None or 0 <= whole < 10**130
    assert exact == pytest.approx(whole) if whole is not None else exact is None or exact >= 0


@given(st.integers(0, 10**30), st.sampled_from(["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]))
def test_binary_suffixes_are_powers_of_1024(count: int, suffix: str) -> None:
    """Each binary suffix is 1024 times the one before."""
    power = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].index(suffix) + 1
    assert whole_number(f"{count}{suffix}") == count * 1024**power
