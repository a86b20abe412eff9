"""Grafana's own typed models of a dashboard: what they lose, change and add when they read one and write it again."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any, Final, NamedTuple

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # the classic format, which files and sidecars take
    from grafana_foundation_sdk.models import dashboard as models

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.dashboards.grafana import Json

register_default_plugins()  # options of panels and queries of Prometheus: unknown to it, they would go through unread

#: What the models fill in, with the value that Grafana has for it itself.
DEFAULTS: Final[dict[str, Any]] = {
    "allowCustomValue": True, "asDropdown": False, "auto": False, "auto_count": 30, "auto_min": "10s", "builtIn": 0,
    "frameIndex": 0, "hidden": False, "icon": "", "includeVars": False, "keepTime": False, "overrides": [],
    "percentChangeColorMode": "standard", "placement": "inControlsMenu", "repeatDirection": "h",
    "refresh_intervals": ["5s", "10s", "30s", "1m", "5m", "15m", "30m", "1h", "2h", "1d"], "showTypeIcons": False,
    "tags": [], "targetBlank": False, "text": "", "tooltip": "", "type": "link", "value": "",
}  # fmt: skip


class Difference(NamedTuple):
    """A place in the file, and what stood and stands there; None: nothing."""

    path: str
    before: Any
    after: Any


def differences(board: Json) -> list[Difference]:
    """Return what reading and writing a dashboard makes different; raises what the models raise."""
    written = json.loads(JSONEncoder(sort_keys=True).encode(models.Dashboard.from_json(board)))
    return list(_differences("", board, written))


def known(difference: Difference) -> bool:
    """Tell whether a difference is an addition that Grafana would make, too."""
    name = difference.path.rpartition(".")[2]
    return difference.before is None and name in DEFAULTS and DEFAULTS[name] == difference.after


def _differences(path: str, before: Any, after: Any) -> Iterator[Difference]:  # noqa: ANN401 — any JSON
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from _differences(f"{path}.{key}", before.get(key), after.get(key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _differences(f"{path}[{index}]", one, other)
    elif before != after:
        yield Difference(path, before, after)
