"""How values are shown: units, colours that mean something, limits, words for values, and what one field overrides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]

BYTES: Final = "bytes"  # binary: 1 GiB = 2^30, as everything about GPU memory is counted
RATIO: Final = "percentunit"
NUMBER: Final = "short"
SECONDS: Final = "s"
AGO: Final = "dateTimeFromNow"
WATTS: Final = "watt"
CELSIUS: Final = "celsius"
JOULES: Final = "joule"
WATT_HOURS: Final = "watth"
#: GPU-hours and other amounts whose unit the title says.
PLAIN: Final = "none"

#: One colour for each meaning, on every dashboard.
USED: Final = "blue"
GRANTED: Final = "orange"
PHYSICAL: Final = "red"
LIMIT: Final = "purple"
COUNTED: Final = "green"
IDLE: Final = "super-light-blue"
NOBODYS: Final = "#8e8e8e"
GOOD: Final = "green"
WARN: Final = "orange"
BAD: Final = "red"
NEUTRAL: Final = "text"

#: Where a colour begins: the first from minus infinity.
Steps = tuple[tuple[float | None, str], ...]
PLAIN_STEPS: Final[Steps] = ((None, NEUTRAL),)
ANY_IS_BAD: Final[Steps] = ((None, GOOD), (1, BAD))
ANY_IS_WARNING: Final[Steps] = ((None, GOOD), (1, WARN))
FULL: Final[Steps] = ((None, GOOD), (0.9, WARN), (1.000001, BAD))


def thresholds(steps: Steps) -> Json:
    """Return the colours of values; the base's value is null, which is minus infinity."""
    return {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in steps]}


def words(texts: dict[str, tuple[str, str]]) -> list[Json]:
    """Return mappings of values to (words, colour)."""
    options = {
        value: {"text": text, "color": color, "index": index}
        for index, (value, (text, color)) in enumerate(texts.items())
    }
    return [{"type": "value", "options": options}]


def nothing(text: str) -> Json:
    """Return a mapping of no value to a text without colour; else it has the lowest value's, and that is green."""
    result = {"text": text, "color": NEUTRAL, "index": 99}
    return {"type": "special", "options": {"match": "null+nan", "result": result}}


def by_name(name: str, **properties: object) -> Json:
    """Return an override of the field of this name; `custom__width=100` sets `custom.width`."""
    return _override("byName", name, properties)


def by_pattern(pattern: str, **properties: object) -> Json:
    """Return an override of all fields whose name fits a regular expression, e.g. `/^free/`."""
    return _override("byRegexp", pattern, properties)


def _override(matcher: str, what: str, properties: dict[str, object]) -> Json:
    return {
        "matcher": {"id": matcher, "options": what},
        "properties": [{"id": name.replace("__", "."), "value": value} for name, value in properties.items()],
    }


def colored(name: str, color: str) -> Json:
    """Return an override: this series always has this colour."""
    return by_name(name, color={"mode": "fixed", "fixedColor": color})


def limit_line(name: str, color: str) -> Json:
    """Return an override: a series that is a limit, dashed, above what is stacked and not part of it."""
    return by_name(name, **_dashed(color))


def limit_lines(pattern: str, color: str) -> Json:
    """Return an override: all series whose name fits a regular expression are limits."""
    return by_pattern(pattern, **_dashed(color))


def colored_like(pattern: str, color: str) -> Json:
    """Return an override: all series whose name fits a regular expression have this colour."""
    return by_pattern(pattern, color={"mode": "fixed", "fixedColor": color})


def _dashed(color: str) -> dict[str, object]:
    return {
        "color": {"mode": "fixed", "fixedColor": color},
        "custom__lineStyle": {"fill": "dash", "dash": [8, 6]},
        "custom__lineWidth": 2,
        "custom__fillOpacity": 0,
        "custom__stacking": {"mode": "none", "group": "A"},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table: `field` is a label, or the letter of a query; `link` opens another dashboard.

    `empty` stands in cells without a value: a table without any row says what its panel says. A `hidden` column is
    there for other columns' links alone.
    """

    field: str
    title: str
    unit: str = ""
    decimals: int | None = None
    width: int = 0
    steps: Steps = ()
    bar: bool = False
    link: Json | None = None
    mappings: tuple[Json, ...] = ()
    empty: str = "-"
    hidden: bool = False

    def override(self) -> Json:
        """Return how its cells are shown."""
        properties: dict[str, object] = {"noValue": self.empty}
        if self.unit:
            properties["unit"] = self.unit
        if self.decimals is not None:
            properties["decimals"] = self.decimals
        if self.width:
            properties["custom__width"] = self.width
        if self.steps:
            # In text what is well needs no colour, and what is unknown must not look well.
            properties["thresholds"] = thresholds(((None, NEUTRAL), *self.steps[1:]))
            properties["custom__cellOptions"] = {"type": "color-text"}
        if self.bar:
            properties |= {"min": 0, "max": 1, "custom__cellOptions": {"type": "gauge", "mode": "basic"}}
            properties |= {"thresholds": thresholds(self.steps)} if self.steps else {}
        if self.mappings:
            properties["mappings"] = list(self.mappings)
        if self.hidden:
            properties |= {"custom__hidden": True, "custom__hideFrom": {"viz": True, "legend": False, "tooltip": False}}
        if self.link:
            properties["links"] = [self.link]
        return by_name(self.title, **properties)
