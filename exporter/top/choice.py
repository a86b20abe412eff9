"""What the person at the keyboard wants to see, and how the keys change it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from exporter.top.rows import SORTS, Gpu, Sort, Use, tenants

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

#: What terminals send; the rest is one character a key. A sequence that is not known is one key without meaning.
_KEY: Final = re.compile(r"\x1b[\[O][0-9;]*[A-Za-z~]|.", re.DOTALL)
_NAMES: Final = {
    "\x1b[A": "up", "\x1bOA": "up", "\x1b[B": "down", "\x1bOB": "down", "\x1b[5~": "page up", "\x1b[6~": "page down",
    "\x1b[H": "home", "\x1bOH": "home", "\x1b[1~": "home", "\x1b[F": "end", "\x1bOF": "end", "\x1b[4~": "end",
    "\x1b": "escape", "\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace",
    "\x03": "quit", "\x04": "quit",
}  # fmt: skip
_LONGEST: Final = 64


@dataclass(frozen=True, slots=True)
class Choice:
    """How rows are sorted and filtered, whether tenants stand for their pods, and from which row on they are seen.

    `typing` is true while the filter is being written.
    """

    sort: Sort = "memory"
    filter: str = ""
    tenants: bool = False
    first: int = 0
    typing: bool = False
    quit: bool = False


def keys(typed: str) -> Iterator[str]:
    """Yield the keys that were pressed: a character, or the name of what is none."""
    for found in _KEY.findall(typed):
        yield _NAMES.get(found, found)


def pressed(choice: Choice, key: str, page: int, rows: int) -> Choice:
    """Return what is wanted after a key, where `page` of so many `rows` are seen at once."""
    if key == "quit":
        return replace(choice, quit=True)
    wanted = _typed(choice, key) if choice.typing else _commanded(choice, key, page)
    return replace(wanted, first=max(0, min(wanted.first, rows - page)))


def _typed(choice: Choice, key: str) -> Choice:
    if key == "enter":
        return replace(choice, typing=False)
    if key == "escape":
        return replace(choice, typing=False, filter="")
    if key == "backspace":
        return replace(choice, filter=choice.filter[:-1])
    if len(key) == 1 and " " <= key <= "~":
        return replace(choice, filter=(choice.filter + key)[:_LONGEST], first=0)
    return choice


def _commanded(choice: Choice, key: str, page: int) -> Choice:
    by = {"up": -1, "down": 1, "page up": -page, "page down": page, "home": -choice.first, "end": 2**31}
    if key in by:
        return replace(choice, first=choice.first + by[key])
    changes: dict[str, dict[str, Any]] = {
        "q": {"quit": True},
        "s": {"sort": SORTS[(SORTS.index(choice.sort) + 1) % len(SORTS)]},
        "t": {"tenants": not choice.tenants},
        "/": {"typing": True},
        "escape": {"filter": ""},
    }
    return replace(choice, **changes.get(key, {}))


def chosen(gpus: Iterable[Gpu], choice: Choice) -> Sequence[Gpu]:
    """Return what is to be shown: filtered first, so that a tenant's row has the pods that the filter lets through.

    With a filter there is neither a GPU without a match nor a remainder.
    """
    wanted = choice.filter.lower()
    found = []
    for gpu in gpus:
        uses = tuple(use for use in gpu.uses if wanted in f"{use.namespace}/{use.pod}".lower())
        if uses or not wanted:
            shown = _sorted(tenants(uses) if choice.tenants else uses, choice.sort)
            found.append(replace(gpu, uses=shown, nobodys=() if wanted else gpu.nobodys))
    return found


def _sorted(uses: Iterable[Use], sort: Sort) -> tuple[Use, ...]:
    """Return the largest first, what is not known last, equals by name."""

    def size(use: Use) -> float:
        value = {"memory": use.memory_used, "cores": use.core_used, "name": 0.0}[sort]
        return -1.0 if value is None else value

    return tuple(sorted(uses, key=lambda use: (-size(use), use.tenant if not use.pod else "", use.namespace, use.pod)))
