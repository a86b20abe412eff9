"""What the command `doctor` says of a set-up: findings in, steps out; a verdict, what was found, and what mends it.

Pure: the edges look (`sources/diagnosis.py` and its neighbours), the functions here judge. Where one cause would fail
several steps, only the step that names the cause fails, and the others are not checked: what fails is what to mend.
(A driver that is not in the pod fails two: `driver` says so, `gpu-access` how it gets there.)
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: `warn`: data may be missing or wrong, but may be meant so, or pass; it does not count as a failure.
Verdict = Literal["pass", "warn", "fail"]

_BY_WEIGHT: Final[tuple[Verdict, ...]] = ("fail", "warn", "pass")
_SHOWN: Final = 5


class Step(NamedTuple):
    """One thing that was looked at; `advice` is the sentence that mends it, "" where there is nothing to mend."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


def passed(name: str, found: str) -> Step:
    """Return a step with which all is well."""
    return Step(name, "pass", found)


def warned(name: str, found: str, advice: str) -> Step:
    """Return a step that a person should look at."""
    return Step(name, "warn", found, advice)


def failed(name: str, found: str, advice: str) -> Step:
    """Return a step for which data is missing."""
    return Step(name, "fail", found, advice)


def unchecked(name: str, because: str) -> Step:
    """Return a step that cannot be looked at before the step `because` is mended."""
    return warned(name, "not checked", f"Mend {because} first.")


def overall(steps: Iterable[Step]) -> Verdict:
    """Return the gravest verdict."""
    verdicts = {step.verdict for step in steps}
    return next((verdict for verdict in _BY_WEIGHT if verdict in verdicts), "pass")


def summary(steps: Sequence[Step]) -> str:
    """Return one line: how many steps ended how, and the names of those to look at."""
    counts = Counter(step.verdict for step in steps)
    told = {verdict: ", ".join(step.name for step in steps if step.verdict == verdict) for verdict in _BY_WEIGHT[:2]}
    parts = [f"{counts[verdict]} {verdict} ({told[verdict]})" for verdict in _BY_WEIGHT[:2] if counts[verdict]]
    return ", ".join([*parts, f"{counts['pass']} pass"])


def document(steps: Sequence[Step]) -> dict[str, Any]:
    """Return what `--json` prints: {"verdict", "steps": [{"name", "verdict", "found", "advice"}]}."""
    return {"verdict": overall(steps), "steps": [step._asdict() for step in steps]}


def listed(names: Iterable[str]) -> str:
    """Return the first few of these names, and how many more there are."""
    everything = list(names)
    more = len(everything) - _SHOWN
    return ", ".join(everything[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def plural(count: int, word: str) -> str:
    """Return `1 pod`, `2 pods`."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
