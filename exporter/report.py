"""How the doctor's steps are told: lines for people as they come, or one JSON document; both on standard output."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.text import Text

from exporter import logs
from exporter.doctor import Step, document, overall, summary

if TYPE_CHECKING:
    from collections.abc import Iterable

#: By verdict: its mark, the same in ASCII, and its style, which only a terminal gets to see.
_MARKS: Final = {"pass": ("✔", "+", "green"), "warn": ("!", "!", "yellow"), "fail": ("✘", "x", "bold red")}


def as_json(steps: Iterable[Step]) -> list[Step]:
    """Print all steps as one document; what a terminal would obey is escaped, as everything beyond ASCII."""
    done = list(steps)
    json.dump(document(done), sys.stdout, indent=2)
    sys.stdout.write("\n")
    return done


def as_text(steps: Iterable[Step]) -> list[Step]:
    """Print each step as soon as it is done, what to do beneath it, and a last line that sums up."""
    console, done = Console(soft_wrap=True, highlight=False), list[Step]()
    for step in steps:
        done.append(step)
        mark, plain, style = _MARKS[step.verdict]
        head = f"{plain if console.options.ascii_only else mark} {step.verdict}"
        _print(console, (head, style), (f"  {step.name}: ", "bold"), (step.found, ""))
        if step.advice:
            _print(console, (f"         {step.advice}", ""))
    _print(console, (summary(done), f"bold {_MARKS[overall(done)][2]}"))
    return done


def _print(console: Console, *parts: tuple[str, str]) -> None:
    """Print one line; what a tenant put into a name reaches no terminal."""
    texts = ((logs.printable(text), style) for text, style in parts)
    if console.options.ascii_only:
        texts = ((text.encode("ascii", "backslashreplace").decode(), style) for text, style in texts)
    console.print(Text.assemble(*texts), soft_wrap=True)
