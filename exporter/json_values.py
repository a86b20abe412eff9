"""Strict readings of JSON values: each returns what was promised, or raises ValueError or TypeError and says why."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar

from exporter.errors import shorten

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def known(parse: Callable[[Any], T], value: object) -> T | None:
    """Return a fact that may not be known."""
    return None if value is None else parse(value)


def mapping(value: object) -> dict[str, Any]:
    """Return a JSON object."""
    if not isinstance(value, dict):
        raise TypeError("it is no JSON object")
    return value


def sequence(value: object, longest: int | None = None) -> list[Any]:
    """Return a list of at most `longest` values."""
    if not isinstance(value, list):
        raise TypeError(f"{shorten(str(value))} is no list")
    if longest is not None and len(value) > longest:
        raise ValueError(f"a list of {len(value)}, {longest} are allowed")
    return value


def word(value: object) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise TypeError(f"{shorten(str(value))} is no text")
    return value


def number(value: object) -> float:
    """Return a number from 0 on, never an endless one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value < 0:
        raise ValueError(f"{shorten(str(value))} is no number from 0 on")
    return value


def whole(value: object, most: int | None = None) -> int:
    """Return a whole number from 0 on, up to `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{shorten(str(value))} is no whole number from 0 on")
    if most is not None and value > most:
        raise ValueError(f"{shorten(str(value))} is more than {most}")
    return value
