"""A Kubernetes quantity: exporter/quantity.py."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Final

from exporter.quantity import whole_number
from tests.fuzz.inputs import HOSTILE, Choices, grown, seed, text

MAX_LEN: Final = 512
EXAMPLES: Final = (
    "1", "16Gi", "5k", "2000m", "1e3", "1E3", "1E", "1.5Ki", ".5", "5.", "+3", "-1", "1e-3", "1e9999", "0.001M", "",
    "9" * 64, "9" * 63 + "E", "1n", "100u", "1000000000n", "\u0661", "1_0", "1e+03", "0e64", "1.0e1",
)  # fmt: skip
SEEDS: Final = (*(seed(example) for example in EXAMPLES), grown("9"))
#: The most that 64 characters can mean: 62 digits Ei, or 10 to the power of about 128.
_MOST: Final = 10**130


def one_input(data: bytes) -> None:
    """Read a text, and what else JSON has in its place; a plain number must be what Python takes it for."""
    written = text(data)
    amount = whole_number(written)
    assert amount is None or (type(amount) is int and 0 <= amount < _MOST)
    if amount is not None and len(written) <= 64 and not set(written) & set("KMGTPEiknum"):
        assert amount == _decimal(written), written
    other = whole_number(Choices(data).one_of(HOSTILE))
    assert other is None or (type(other) is int and 0 <= other < _MOST)


def _decimal(written: str) -> Decimal | None:
    try:
        return Decimal(written)
    except InvalidOperation:
        return None
