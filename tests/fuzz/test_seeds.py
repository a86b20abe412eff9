"""The fuzzer's targets without the fuzzer: what they start from keeps every promise."""

from __future__ import annotations

from importlib import import_module

import pytest

from tests.fuzz.__main__ import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_accepts_its_seeds(name: str) -> None:
    """Every real example, and every change to one that the fuzzer begins with, goes through."""
    target = import_module(f"tests.fuzz.targets.{name}")
    assert target.SEEDS
    for seed in target.SEEDS:
        assert len(seed) <= target.MAX_LEN
        target.one_input(seed)
