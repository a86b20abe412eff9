"""One dashboard: who it is for, what may be chosen on it, and what is on it; and its JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from grafanalib import core
from grafanalib._gen import DashboardEncoder

from dashboards import links, normalise
from dashboards.layout import Line, Section, placed
from dashboards.variables import DATASOURCE

if TYPE_CHECKING:
    from dashboards.fields import Json

#: Where the exporter's alerts stand in Prometheus.
FIRING: Final = 'ALERTS{alertname=~"Vgpu.+",alertstate="firing"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A dashboard; `about` says whom it serves and how to read it, `alerts` matches those that it marks on graphs."""

    uid: str
    title: str
    about: str
    variables: tuple[core.Template, ...]
    first: tuple[Line, ...]
    sections: tuple[Section, ...] = ()
    alerts: str = ""

    def json(self) -> Json:
        """Return what Grafana loads."""
        raw = core.Dashboard(
            uid=self.uid, title=self.title, description=self.about, tags=[links.TAG], refresh="30s",
            time=core.Time("now-1h", "now"), links=[links.others()], panels=placed(self.first, self.sections),
            templating=core.Templating(list(self.variables)), annotations=core.Annotations([_marks(self.alerts)]),
        ).auto_panel_ids()  # fmt: skip
        return normalise.dashboard(cast(dict[str, Any], json.loads(json.dumps(raw, cls=DashboardEncoder))))


def firing(matchers: str = "") -> str:
    """Return a selector of our firing alerts, held to these matchers."""
    return FIRING.replace("}", f",{matchers}}}") if matchers else FIRING


def _marks(matchers: str) -> Json:
    """Return annotations: when which of our alerts fired."""
    return {
        "name": "Alerts", "enable": True, "hide": False, "iconColor": "red", "datasource": DATASOURCE,
        "expr": firing(matchers), "step": "60s", "titleFormat": "{{alertname}}",
        "textFormat": "{{namespace}} {{pod}} {{resource}} {{device_uuid}}",
    }  # fmt: skip


def text(board: Board) -> str:
    """Return the file's text: the same bytes each time."""
    return json.dumps(board.json(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
