"""What a fuzzer's bytes stand for: long texts, choices, and JSON that is nearly right.

A parser's limits lie at 64 KiB and a thousand items, where mutated bytes hardly ever get: so a few of them say how
often the others are repeated. And bytes are hardly ever JSON: so those that are none say what to change in an example.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

#: First byte → bytes of the text: more digits than Python takes; and beyond every limit here, which may take long.
#: (Bytes that mutation does not favour.)
GROWN: Final = {0xA7: 5 * 1024, 0xA8: 160 * 1024}
#: What JSON can hold in the place of something else.
HOSTILE: Final[tuple[object, ...]] = (
    None, True, False, 0, 1, -1, 1.5, 1e308, float("nan"), float("inf"), 2**31, 2**63, 10**400,
    "", "0", "1", "x", "a b", "-1", "1e9", "16Gi", "9" * 5000, "x" * 70_000, "\ud800", "\0", "Always", "Never",
    "Failed", [], {}, [[]], [{}], {"": None}, {"terminated": {"exitCode": 0}}, [{"name": "x"}] * 1100,
)  # fmt: skip
_MOST_PATCHES: Final = 12


def text(data: bytes) -> str:
    """Return the bytes behind the first two as a text; what is no UTF-8 becomes lone surrogates.

    If the first is in GROWN, the end of the text is repeated; the second says how much of it (0: all of it).
    """
    content = data[2:]
    if content and data[0] in GROWN:
        end = content[-data[1] :]
        content += end * (GROWN[data[0]] // len(end))
    return content.decode(errors="surrogateescape")


def seed(example: str) -> bytes:
    """Return the bytes from which `text` makes this example."""
    return b"\0\0" + example.encode()


def grown(example: str, end: int = 0, size: int = 0xA8) -> bytes:
    """Return the bytes from which `text` makes this example long, by repeating as many of its last characters."""
    return bytes([size, end]) + example.encode()


class Choices:
    """Takes one decision after the other from bytes; once they are used up, always the first."""

    def __init__(self, data: bytes) -> None:
        """Begin with the first byte."""
        self._data = data
        self._at = 0

    def number(self, below: int) -> int:
        """Return a number from 0; `below` is at most 256."""
        self._at += 1
        return self._data[self._at - 1] % below if self._at <= len(self._data) else 0

    def one_of(self, options: Sequence[T]) -> T:
        """Return one of up to 256 options."""
        return options[self.number(min(len(options), 256))]

    def text(self) -> str:
        """Return up to 255 bytes as a text."""
        begin, length = self._at + 1, self.number(256)
        self._at += length
        return self._data[begin : begin + length].decode(errors="surrogateescape")

    def rest(self) -> bytes:
        """Return the bytes that decided nothing yet."""
        return self._data[self._at :]


def json_value(data: bytes, examples: Sequence[str]) -> Any:  # noqa: ANN401  any JSON
    """Return the bytes' JSON, or one of the examples with up to a dozen things changed in it."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        choices = Choices(data)
    value = json.loads(choices.one_of(examples))
    for _ in range(choices.number(_MOST_PATCHES)):
        value = _changed(value, choices)
    return value


def _changed(value: Any, choices: Choices) -> Any:  # noqa: ANN401  any JSON
    """Walk into a value, and somewhere replace, remove or double something."""
    if not isinstance(value, dict | list) or not value:
        return _hostile(choices)
    place: Any = choices.one_of(list(value) if isinstance(value, dict) else range(len(value)))
    match choices.number(8):
        case 0:
            value[place] = _hostile(choices)
        case 1:
            del value[place]
        case 2:
            _double(value, place, choices)
        case _:
            value[place] = _changed(value[place], choices)
    return value


def _double(value: dict[str, Any] | list[Any], place: Any, choices: Choices) -> None:  # noqa: ANN401  a key or number
    if isinstance(value, list):
        value.append(value[place])
    else:
        value[choices.text()] = value[place]


def _hostile(choices: Choices) -> Any:  # noqa: ANN401  any JSON
    """Return what should not stand there; a copy, as a later change may reach into it."""
    if choices.number(4) == 0:
        return choices.text()
    value = choices.one_of(HOSTILE)
    return json.loads(json.dumps(value)) if isinstance(value, dict | list) else value
