"""What a dashboard's JSON must be, whatever it shows: each check yields one sentence for each fault."""

from __future__ import annotations

import re
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any, Final

from dashboards.book import BOARDS
from dashboards.layout import COLUMNS, SCREEN
from dashboards.variables import DATASOURCE
from tests.dashboards import stacks
from tests.dashboards.expressions import CATALOGUE, FOREIGN, RECORDED
from tests.dashboards.grafana import panels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.dashboards.grafana import Json

    Check = Callable[[Json], Iterator[str]]

#: Kinds of panels that show figures, and need a unit.
FIGURES: Final = frozenset({"stat", "timeseries", "bargauge"})
KINDS: Final = frozenset({*FIGURES, "table", "text"})
#: What Grafana once wrote and reads no more, or moves elsewhere when it loads the file.
_OLD: Final = {
    "dashboard": frozenset({"__inputs", "gnetId", "hideControls", "rows", "sharedCrosshair", "style"}),
    "panel": frozenset({"editable", "error", "height", "maxDataPoints", "minSpan", "nullPointMode", "span", "styles"}),
    "options": frozenset({"fieldOptions"}),
    "custom": frozenset({"displayMode"}),
    "target": frozenset({"intervalFactor", "metric", "query", "step", "target"}),
}
_METRIC: Final = re.compile(r"\b\w+:vgpu_\w+:\w+|\bvgpu_\w+")
_OTHERS: Final = "|".join((*FOREIGN, *stacks.METRICS, r"process_\*", r"vgpu_\*", r"vllm:\w+", r"xinference:\w+"))
_FOREIGN: Final = re.compile(rf"\b(?:{_OTHERS})(?![\w:])")
_LINK: Final = re.compile(r"/d/(?P<uid>[^?]+)\?(?P<query>.+)")
_KEPT: Final = ("${datasource:queryparam}", "${cluster:queryparam}", "${__url_time_range}")


def everything(board: Json) -> Iterator[Json]:
    """Return all panels, rows and what is in them."""
    yield from (panel for panel in board["panels"] if panel["type"] == "row")
    yield from panels(board)


def thresholds(panel: Json) -> Iterator[tuple[str, list[Json]]]:
    """Return the steps of a panel and of each override, and the unit that they are in."""
    config = panel.get("fieldConfig", {"defaults": {}, "overrides": []})
    unit = config["defaults"].get("unit", "")
    if "thresholds" in config["defaults"]:
        yield unit, config["defaults"]["thresholds"]["steps"]
    for override in config.get("overrides", ()):
        own = {one["id"]: one["value"] for one in override["properties"]}
        if "thresholds" in own:
            yield own.get("unit", unit), own["thresholds"]["steps"]


def links(panel: Json) -> Iterator[str]:
    """Return the addresses that a panel's values open."""
    config = panel.get("fieldConfig", {"defaults": {}, "overrides": []})
    for link in config["defaults"].get("links", ()):
        yield link["url"]
    for override in config.get("overrides", ()):
        for one in override["properties"]:
            yield from (link["url"] for link in one["value"]) if one["id"] == "links" else ()


def is_of_today(board: Json) -> Iterator[str]:
    """Schema 42, read-only, one crosshair; no key of an older Grafana, which would no longer be migrated."""
    wanted = {"schemaVersion": 42, "editable": False, "graphTooltip": 1, "refresh": "30s"}
    for key, value in wanted.items():
        if board[key] != value:
            yield f"{key} is {board[key]}, not {value}"
    yield from (f"the dashboard has {key}" for key in _OLD["dashboard"] & board.keys())
    for panel in panels(board):
        parts = [("panel", panel), ("options", panel["options"])]
        parts += [("target", one) for one in panel.get("targets", ())]
        parts.append(("custom", panel["fieldConfig"]["defaults"].get("custom", {})))
        for part, found in parts:
            yield from (f"{panel['title']}: {key} in {part}" for key in _OLD[part] & found.keys())


def has_no_nulls(board: Json) -> Iterator[str]:
    """Nothing is null but where the first colour begins: minus infinity."""
    return (path for path in _nulls(board, "") if not path.endswith(".steps[0].value"))


def _nulls(value: Any, path: str) -> Iterator[str]:  # noqa: ANN401 — any JSON
    if value is None:
        yield path
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _nulls(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _nulls(inner, f"{path}[{index}]")


def is_known_by_id(board: Json) -> Iterator[str]:
    """A readable uid of ours, a number for each panel, a letter for each query, a title that no other panel has."""
    if not re.fullmatch("vgpu-[a-z]+", board["uid"]):
        yield f"the uid is {board['uid']}"
    numbers = [panel["id"] for panel in everything(board)]
    if len(numbers) != len(set(numbers)) or not all(isinstance(number, int) for number in numbers):
        yield f"ids are not unique: {numbers}"
    for panel in panels(board):
        letters = [target["refId"] for target in panel.get("targets", ())]
        if len(letters) != len(set(letters)):
            yield f"{panel['title']}: two queries of one letter in {letters}"


def is_described(board: Json) -> Iterator[str]:
    """Panels of known kinds; each says in two to four sentences what it means, from which metrics, and what to do."""
    for panel in panels(board):
        name, said = panel.get("title", "a panel without title"), panel.get("description", "")
        if panel["type"] not in KINDS:
            yield f"{name} is a {panel['type']}"
        if panel["type"] == "text":
            continue
        if len(re.findall(r"[.:?](?:\s|$)", said)) < 2:
            yield f"{name} says too little: {said!r}"
        if not _METRIC.search(said) and not _FOREIGN.search(said):
            yield f"{name} names no metric as its source: {said!r}"
        unknown = [metric for metric in _METRIC.findall(said) if not _known(metric)]
        yield from (f"{name} speaks of {metric}, which nobody publishes" for metric in unknown)


def _known(metric: str) -> bool:
    """Tell whether a text's word is a metric, a summary without its `_sum`, or (`vgpu_node_*`) what some begin with."""
    whole = metric in CATALOGUE or metric in RECORDED or f"{metric}_sum" in CATALOGUE
    return whole or (metric.endswith("_") and any(name.startswith(metric) for name in CATALOGUE))


def has_units(board: Json) -> Iterator[str]:
    """Each figure has a unit."""
    for panel in panels(board):
        if panel["type"] in FIGURES and not panel["fieldConfig"]["defaults"].get("unit"):
            yield f"{panel['title']} has no unit"


def has_good_thresholds(board: Json) -> Iterator[str]:
    """Colours begin at minus infinity, ascend, and are in the figure's own scale: a share of 90 % is 0.9."""
    for panel in panels(board):
        for unit, steps in thresholds(panel):
            values = [step["value"] for step in steps]
            if not values or values[0] is not None or None in values[1:]:
                yield f"{panel['title']}: thresholds begin at {values[:1]}"
            elif any(lower >= upper for lower, upper in pairwise(values[1:])):
                yield f"{panel['title']}: thresholds do not ascend: {values}"
            elif unit == "percentunit" and any(value > 10 for value in values[1:]):
                yield f"{panel['title']}: thresholds of a ratio are percent: {values}"


def fits_the_grid(board: Json) -> Iterator[str]:
    """Nothing overlaps or stands out; what is not folded fits on a screen; each folded row holds something."""
    rows = [panel for panel in board["panels"] if panel["type"] == "row"]
    first = [panel for panel in board["panels"] if panel["type"] != "row"]
    for group in (first + rows, *(row["panels"] for row in rows)):
        yield from (f"{panel['title']} is wider than the page" for panel in group if _right(panel) > COLUMNS)
        pairs = [(one["title"], two["title"]) for one, two in combinations(group, 2) if _overlap(one, two)]
        yield from (f"{one} lies on {two}" for one, two in pairs)
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in first)
    if bottom > SCREEN:
        yield f"the first screen is {bottom} rows high"
    yield from (f"{row['title']} is not folded or empty" for row in rows if not row["collapsed"] or not row["panels"])


def _right(panel: Json) -> int:
    right: int = panel["gridPos"]["x"] + panel["gridPos"]["w"]
    return right


def _overlap(one: Json, two: Json) -> bool:
    a, b = one["gridPos"], two["gridPos"]
    beside = a["x"] >= _right(two) or b["x"] >= _right(one)
    return not beside and a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"]


def has_one_data_source(board: Json) -> Iterator[str]:
    """All asks the data source that the reader has chosen: panels, queries, variables and marks."""
    askers = [("annotation", one) for one in board["annotations"]["list"]]
    askers += [(one["name"], one) for one in board["templating"]["list"] if one["type"] == "query"]
    for panel in panels(board):
        if panel["type"] != "text":
            askers += [(panel["title"], one) for one in (panel, *panel["targets"])]
    yield from (f"{name} asks {one.get('datasource')}" for name, one in askers if one.get("datasource") != DATASOURCE)


def links_lead_somewhere(board: Json) -> Iterator[str]:
    """Links open dashboards of ours, set variables that these have, and keep data source, cluster and time."""
    if not any(link.get("includeVars") and link.get("keepTime") and link["tags"] for link in board["links"]):
        yield "no menu of the other dashboards that keeps variables and time"
    targets = {one.uid: {variable.name for variable in one.variables} for one in BOARDS}
    targets[board["uid"]] = {variable["name"] for variable in board["templating"]["list"]}
    for panel in panels(board):
        for url in links(panel):
            found = _LINK.fullmatch(url)
            if url.startswith("https://"):
                continue
            if found is None or found["uid"] not in targets:
                yield f"{panel['title']} opens {url}"
                continue
            parts = found["query"].split("&")
            yield from (f"{panel['title']}: {url} drops {part}" for part in _KEPT if part not in parts)
            named = {part.removeprefix("var-").split("=")[0] for part in parts if part.startswith("var-")}
            yield from (
                f"{panel['title']}: {found['uid']} has no variable {name}" for name in named - targets[found["uid"]]
            )
