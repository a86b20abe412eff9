"""What an exporter does not see must look like nobody's doing: series of those whose sources all answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from alerts.promql import TARGET, kept, labels, select
from exporter import catalogue as c

if TYPE_CHECKING:
    from exporter.catalogue import Metric

#: Sources that say whose a process is. Pods known last serve on for a while: new ones are nobody's until then, and what
#: those held that are gone is granted still.
NAMES: Final = 'role="node",source=~"pods|procfs"'
#: The source of what libvgpu limits and counts.
REGIONS: Final = 'role="node",source="regions"'


def seen(metric: Metric[Any], sources: str) -> str:
    """Return a metric's selector, without the exporters one of whose `sources` (matchers) does not answer."""
    return seen_by(select(metric), sources)


def seen_by(series: str, sources: str) -> str:
    """Return an expression that keeps its target's labels, without the exporters as in `seen`."""
    return f"{series} unless on {labels(TARGET)} {select(c.SOURCE_UP, sources)} == 0"


def seen_once(metric: Metric[Any], sources: str) -> str:
    """Return a gauge's series, each once, without the exporters as in `seen`."""
    return f"max by {labels(kept(metric))} ({seen(metric, sources)})"
