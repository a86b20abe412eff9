"""A Kubernetes quantity as a whole number: `"16Gi"`, `"5k"`, `"2000m"` or `1e3` → 17179869184, 5000, 2, 1000.

Device counts, MiB and percents are whole numbers, so in a request a quantity that is not one says nothing and
is `None`; only a quota may well allow half of something. The grammar is that of k8s.io/apimachinery
`pkg/api/resource/quantity.go`.
"""

from __future__ import annotations

import re
from typing import Final

_BINARY: Final = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
#: Digits and exponents beyond this are nonsense and, unbounded, would let one text cost us gigabytes.
_MOST_DIGITS: Final = 64
_SHAPE: Final = re.compile(
    r"\+?(?P<whole>[0-9]*)\.?(?P<part>[0-9]*)(?P<suffix>[KMGTPE]i|[numkMGTPE]|[eE](?P<exponent>[+-]?[0-9]{1,4}))?"
)


def whole_number(text: object) -> int | None:
    """Return the quantity `text` (a string or an int) as a whole number ≥ 0, else None.

    None stands for negative, fractional or absurdly long ones (more than 64 characters or digits) and
    for anything that is no quantity at all. Never raises; the work is bounded.
    """
    if (ratio := _ratio(text)) is None:
        return None
    above, below = ratio
    whole, rest = divmod(above, below)
    return None if rest else whole


def number(text: object) -> float | None:
    """Return the quantity as a number ≥ 0, fractions included (`"1500m"` → 1.5); None as `whole_number` otherwise."""
    if (ratio := _ratio(text)) is None:
        return None
    above, below = ratio
    return above / below


def _ratio(text: object) -> tuple[int, int] | None:
    """Return the quantity as numerator and denominator, if it is one and not absurd."""
    if isinstance(text, int) and not isinstance(text, bool):
        return (text, 1) if 0 <= text < 10**_MOST_DIGITS else None
    if not isinstance(text, str) or len(text) > _MOST_DIGITS:
        return None
    shape = _SHAPE.fullmatch(text)
    if not shape or not (shape["whole"] or shape["part"]):
        return None
    suffix = shape["suffix"] or ""
    exponent = int(shape["exponent"]) if shape["exponent"] else _DECIMAL.get(suffix, 0)
    digits = int(shape["whole"] + shape["part"]) * _BINARY.get(suffix, 1)
    return _scaled(digits, exponent - len(shape["part"]))


def _scaled(digits: int, exponent: int) -> tuple[int, int] | None:
    """Return `digits` times 10 to the power of `exponent`, if that is not absurd."""
    if abs(exponent) > _MOST_DIGITS:
        return None
    return digits * int(10 ** max(exponent, 0)), int(10 ** max(-exponent, 0))
