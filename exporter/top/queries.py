"""What a Prometheus is asked for the whole cluster; each series once, whoever scraped it."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from exporter import catalogue as c
from exporter.top.samples import COUNTERS, GAUGES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.catalogue import Metric

#: What cores are the mean of, in seconds: the second where the first has no series, as of who is scraped once a minute.
WINDOWS: Final = (60, 300)
#: From when on an exporter's data are old: two scrapes of Prometheus' own once a minute, and something.
OLD: Final = 150
_TARGET: Final = "cluster, job, instance"
_SNAPSHOT: Final = f'{c.SNAPSHOT_TIMESTAMP.name}{{role="node"}}'
_OWN_LABELS: Final = ", ".join(dict.fromkeys(chain.from_iterable(metric.label_names for metric in GAUGES)))
_NAMES: Final = "|".join(metric.name for metric in GAUGES)

#: Every gauge of the table, in one answer.
GAUGES_NOW: Final = f'max by (__name__, cluster, {_OWN_LABELS}) ({{__name__=~"{_NAMES}",exported_namespace=""}})'
#: How many seconds old what each exporter read is.
AGES: Final = f"time() - max by ({_TARGET}) ({_SNAPSHOT})"
#: Sources that do not answer, exporters that do not (of those who did within the hour).
BLIND: Final = f"max by ({_TARGET}, role, source) ({c.SOURCE_UP.name}) == 0"
SILENT: Final = f"max by ({_TARGET}) (up) == 0 and on ({_TARGET}) last_over_time({_SNAPSHOT}[1h])"


def rates(window: int) -> Mapping[str, str]:
    """Return the query for each counter's growth per second, by the metric's name."""
    return {metric.name: _rate(metric, window) for metric in COUNTERS}


def _rate(metric: Metric[Any], window: int) -> str:
    labels = ", ".join(("cluster", *metric.label_names))
    return f'max by ({labels}) (rate({metric.name}{{exported_namespace=""}}[{window}s]))'
