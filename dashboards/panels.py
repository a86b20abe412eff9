"""Kinds of panels: grafanalib's, with what it lacks or writes for older Grafanas filled in.

Every panel says in its description what it means, where its figures come from and what to do about bad ones.
"""

from __future__ import annotations

from string import ascii_uppercase
from typing import TYPE_CHECKING, Final

from grafanalib import core

from dashboards.fields import PLAIN_STEPS, nothing, thresholds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dashboards.fields import Column, Json, Steps
    from dashboards.queries import Query

#: Grafana's rates look back over four of it: no shorter than the chart's scrape interval.
INTERVAL: Final = "30s"
#: Said by a panel that has nothing to show because nothing is wrong; a failure never reads so.
NONE: Final = "none"
UNKNOWN: Final = "no data"


def _targets(queries: Iterable[Query], form: str = "time_series") -> list[core.Target]:
    return [
        core.Target(expr=query.expr, legendFormat=query.legend, instant=query.latest, format=form, refId=letter)
        for letter, query in zip(ascii_uppercase, queries, strict=False)
    ]


def stat(
    title: str, description: str, queries: Sequence[Query], unit: str, *,
    steps: Steps = PLAIN_STEPS, empty: str = UNKNOWN, decimals: int | None = None, mappings: Sequence[Json] = (),
    links: Sequence[Json] = (), overrides: Sequence[Json] = (),
) -> core.Stat:  # fmt: skip
    """Return single figures, coloured by `steps`; `empty` is said where there is none. Several say their names."""
    named = len(queries) > 1 or "{{" in queries[0].legend
    return core.Stat(
        title=title, description=description, targets=_targets(queries), format=unit, noValue=empty, decimals=decimals,
        graphMode="none" if all(query.latest for query in queries) else "area", mappings=[*mappings, nothing(empty)],
        reduceCalc="lastNotNull", textMode="value_and_name" if named else "value", color={"mode": "thresholds"},
        overrides=list(overrides), maxDataPoints=None, interval=INTERVAL,
        extraJson={"fieldConfig": {"defaults": {"thresholds": thresholds(steps), "links": list(links)}}},
    )  # fmt: skip


def timeseries(
    title: str, description: str, queries: Sequence[Query], unit: str, *,
    stacked: bool = False, overrides: Sequence[Json] = (), least: float | None = 0, most: float | None = None,
    legend: str = "bottom", calcs: Sequence[str] = (), links: Sequence[Json] = (), decimals: int | None = None,
    empty: str = "",
) -> core.TimeSeries:  # fmt: skip
    """Return a graph; `stacked` adds series up, but for those with an override (fields.limit_line).

    `legend` is where it stands: bottom, or right with `calcs` in columns. `empty` is said where there is no series.
    """
    extra: Json = {"fieldConfig": {"defaults": {"thresholds": thresholds(PLAIN_STEPS), "links": list(links)}}}
    extra["fieldConfig"]["defaults"] |= {"min": least} if least is not None else {}
    extra["fieldConfig"]["defaults"] |= {"max": most} if most is not None else {}
    extra["fieldConfig"]["defaults"] |= {"noValue": empty} if empty else {}
    return core.TimeSeries(
        title=title, description=description, targets=_targets(queries), unit=unit, valueDecimals=decimals,
        stacking={"mode": "normal" if stacked else "none", "group": "A"}, fillOpacity=40 if stacked else 5,
        lineWidth=0 if stacked else 1, showPoints="never", overrides=list(overrides), tooltipMode="multi",
        tooltipSort="desc", legendDisplayMode="table" if calcs else "list", legendPlacement=legend,
        legendCalcs=list(calcs), maxDataPoints=None, interval=INTERVAL, extraJson=extra,
    )  # fmt: skip


def bars(
    title: str, description: str, queries: Sequence[Query], unit: str, *,
    steps: Steps = PLAIN_STEPS, most: float | None = None, links: Sequence[Json] = (),
) -> core.BarGauge:  # fmt: skip
    """Return one bar for each series of the queries, the series' name beside it."""
    return core.BarGauge(
        title=title, description=description, targets=_targets(queries), format=unit, min=0, max=most,
        calc="lastNotNull", displayMode="basic", dataLinks=list(links), maxDataPoints=None, interval=INTERVAL,
        extraJson={"fieldConfig": {"defaults": {"thresholds": thresholds(steps)}}},
    )  # fmt: skip


def table(
    title: str, description: str, queries: Sequence[Query], columns: Sequence[Column], *,
    by: str = "", descending: bool = True, empty: str = UNKNOWN,
) -> core.Table:  # fmt: skip
    """Return rows of labels that the queries share, with a column for each query; `by` is the column sorted by.

    Labels and queries that no column names are left out.
    """
    names = {column.field: column.title for column in columns}
    letters = ascii_uppercase[: len(queries)]
    fields = {letter: f"Value #{letter}" if len(queries) > 1 else "Value" for letter in letters}
    renamed = {fields.get(field, field): title for field, title in names.items()}
    organize = {"indexByName": {name: index for index, name in enumerate(renamed)}, "renameByName": renamed}
    only = {"include": {"names": list(renamed)}}
    return core.Table(
        title=title, description=description, targets=_targets(queries, "table"),
        transformations=[
            {"id": "merge", "options": {}},
            {"id": "filterFieldsByName", "options": only},
            {"id": "organize", "options": organize},
        ],
        overrides=[column.override() for column in columns],
        sortBy=[core.TableSortByField(displayName=by, desc=descending)] if by else [], maxDataPoints=None,
        interval=INTERVAL,
        extraJson={"fieldConfig": {"defaults": {"noValue": empty, "thresholds": thresholds(PLAIN_STEPS)}}},
    )  # fmt: skip


def text(title: str, description: str, markdown: str) -> core.Text:
    """Return a panel of words."""
    return core.Text(title=title, description=description, content=markdown, mode="markdown", maxDataPoints=None)
