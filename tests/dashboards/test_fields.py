"""How values are shown."""

from __future__ import annotations

from typing import Any

import pytest

from dashboards import fields as f
from dashboards.fields import Column


def properties(override: f.Json | None) -> dict[str, Any]:
    """Return an override's properties by their names."""
    assert override is not None
    return {one["id"]: one["value"] for one in override["properties"]}


def color_at(steps: f.Steps, value: float) -> str:
    """Return the colour of a value, as Grafana finds it: the last step that is not above it."""
    return [color for start, color in steps if start is None or start <= value][-1]


@pytest.mark.parametrize("steps", [f.PLAIN_STEPS, f.ANY_IS_BAD, f.ANY_IS_WARNING, f.FULL])
def test_colours_begin_at_minus_infinity_and_rise(steps: f.Steps) -> None:
    """Else Grafana paints small values grey, or takes the wrong step."""
    starts = [start for start, _ in steps]
    assert starts[0] is None
    assert starts[1:] == sorted(start for start in starts[1:] if start is not None)


def test_none_is_good_and_one_is_not() -> None:
    """Counts of what should not be."""
    assert [color_at(f.ANY_IS_BAD, value) for value in (0, 1, 7)] == [f.GOOD, f.BAD, f.BAD]
    assert [color_at(f.ANY_IS_WARNING, value) for value in (0, 1, 7)] == [f.GOOD, f.WARN, f.WARN]


def test_full_is_a_warning_and_only_more_is_bad() -> None:
    """A quota that is used up is what a quota is for; rounding is no excess."""
    assert [color_at(f.FULL, value) for value in (0.5, 0.9, 1.0, 1.01)] == [f.GOOD, f.WARN, f.WARN, f.BAD]


def test_thresholds_are_in_the_values_own_scale() -> None:
    """Never in per cent of a maximum; the base is null, not the word."""
    assert f.thresholds(f.ANY_IS_BAD) == {
        "mode": "absolute",
        "steps": [{"value": None, "color": f.GOOD}, {"value": 1, "color": f.BAD}],
    }


def test_words_stand_for_values_in_the_order_given() -> None:
    """0 and 1 say up and down, in their colours."""
    (mapping,) = f.words({"1": ("up", f.GOOD), "0": ("down", f.BAD)})
    assert mapping["type"] == "value"
    assert mapping["options"] == {
        "1": {"text": "up", "color": f.GOOD, "index": 0},
        "0": {"text": "down", "color": f.BAD, "index": 1},
    }


def test_an_override_finds_a_field_by_name_or_by_pattern() -> None:
    """Two underscores stand for the dot of a nested setting."""
    assert f.by_name("Used", custom__width=90) == {
        "matcher": {"id": "byName", "options": "Used"},
        "properties": [{"id": "custom.width", "value": 90}],
    }
    assert f.by_pattern("/^free/", unit="bytes")["matcher"] == {"id": "byRegexp", "options": "/^free/"}


def test_a_meaning_has_a_fixed_colour() -> None:
    """Grafana would give colours in the order of series."""
    for override in (f.colored("used", f.USED), f.colored_like("/^used/", f.USED)):
        assert properties(override)["color"] == {"mode": "fixed", "fixedColor": f.USED}


def test_a_limit_is_dashed_and_not_part_of_the_stack() -> None:
    """A limit added on top of what is used would stand at the wrong height."""
    for override in (f.limit_line("physical", f.PHYSICAL), f.limit_lines("/^limit/", f.PHYSICAL)):
        said = properties(override)
        assert said["custom.lineStyle"]["fill"] == "dash"
        assert said["custom.stacking"]["mode"] == "none"
        assert said["custom.fillOpacity"] == 0
        assert said["custom.lineWidth"] > 0
        assert said["color"] == {"mode": "fixed", "fixedColor": f.PHYSICAL}


def test_meanings_on_one_graph_differ_in_colour() -> None:
    """What is used, granted, physical, a limit, counted, idle and nobody's."""
    meanings = [f.USED, f.GRANTED, f.PHYSICAL, f.LIMIT, f.COUNTED, f.IDLE, f.NOBODYS]
    assert len(set(meanings)) == len(meanings)


def test_a_cell_without_a_value_says_neither_zero_nor_what_an_empty_table_says() -> None:
    """A dash, unless the column has a word of its own."""
    assert properties(Column(field="pod", title="Pod").override()) == {"noValue": "-"}


def test_a_column_has_its_own_unit_decimals_and_width() -> None:
    """Under its title, which is what the field is called by then."""
    override = Column(field="A", title="Used", unit=f.BYTES, decimals=0, width=90).override()
    assert override["matcher"]["options"] == "Used"
    assert properties(override) == {"noValue": "-", "unit": f.BYTES, "decimals": 0, "custom.width": 90}


def test_a_columns_steps_colour_its_text() -> None:
    """A background of colour is harder to read; what is well is no colour's business, and unknown is not well."""
    said = properties(Column(field="A", title="Alerts", steps=f.ANY_IS_BAD).override())
    assert said["custom.cellOptions"] == {"type": "color-text"}
    assert said["thresholds"] == f.thresholds(((None, f.NEUTRAL), *f.ANY_IS_BAD[1:]))


def test_a_bar_goes_from_nothing_to_one_and_keeps_its_steps() -> None:
    """Ratios: the bar's length is the share, its colour says whether that is much."""
    said = properties(Column(field="A", title="Granted", bar=True, steps=f.FULL).override())
    assert (said["min"], said["max"]) == (0, 1)
    assert said["custom.cellOptions"]["type"] == "gauge"
    assert said["thresholds"] == f.thresholds(f.FULL)


def test_a_column_may_lead_elsewhere_say_words_or_say_that_it_has_nothing() -> None:
    """A link on each cell, words for values, and a word for no value."""
    link, mapping = {"title": "Pod", "url": "/d/x"}, f.words({"0": ("down", f.BAD)})[0]
    said = properties(Column(field="A", title="State", link=link, mappings=(mapping,), empty="none").override())
    assert said == {"links": [link], "mappings": [mapping], "noValue": "none"}


def test_a_hidden_column_is_hidden_by_the_name_of_each_grafana() -> None:
    """Older releases know `hidden`, newer ones `hideFrom`; links of other columns read it all the same."""
    said = properties(Column(field="device_uuid", title="UUID", hidden=True).override())
    assert said["custom.hidden"] is True
    assert said["custom.hideFrom"]["viz"] is True
