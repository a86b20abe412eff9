"""The figures of quotas: their metrics, by what a resource is an amount of, and how texts say them, unit and all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from alerts.promql import NAMESPACE, RESOURCE, either, labels, select
from alerts.templates import EXACT, amount, matchers, plural, sentence
from exporter import catalogue as c

if TYPE_CHECKING:
    from exporter.catalogue import Metric


class Measures(NamedTuple):
    """One figure's metrics: that of memory, of cores and of device counts."""

    memory: Metric[Any]
    core: Metric[Any]
    devices: Metric[Any]

    def all(self, by: tuple[str, ...], offset: str = "") -> str:
        """Return the figure of every resource: no two measures share a resource, so one union has them all."""
        return f"max by {labels(by)} {either(*(select(metric, window=offset) for metric in self))}"

    def shown(self, also: str = "") -> str:
        """Return a query for people: the figure of every resource of NAMESPACE; `also` are further matchers."""
        where = f'{{namespace="NAMESPACE"{also}}}'
        return " or ".join(f"{metric.name}{where}" for metric in self)


GRANTED: Final = Measures(c.NAMESPACE_GRANTED_MEMORY, c.NAMESPACE_GRANTED_CORE, c.NAMESPACE_GRANTED_DEVICES)
HARD: Final = Measures(c.NAMESPACE_QUOTA_MEMORY, c.NAMESPACE_QUOTA_CORE, c.NAMESPACE_QUOTA_DEVICES)
#: Each object by itself, those with scopes too.
EACH_GRANTED: Final = Measures(c.QUOTA_GRANTED_MEMORY, c.QUOTA_GRANTED_CORE, c.QUOTA_GRANTED_DEVICES)
EACH_HARD: Final = Measures(c.QUOTA_MEMORY, c.QUOTA_CORE, c.QUOTA_DEVICES)
#: How others read the same quotas.
VIEW: Final = Measures(c.NAMESPACE_QUOTA_VIEW_MEMORY, c.NAMESPACE_QUOTA_VIEW_CORE, c.NAMESPACE_QUOTA_VIEW_DEVICES)

_GPUS: Final = plural(".Value", one="GPU's", many="GPUs'")
_VGPUS: Final = plural(".Value", one="vGPU", many="vGPUs")
#: Amounts without and with their unit: of memory (in MiB, as quotas are written), of cores, of devices.
BARE: Final = (EXACT, EXACT, EXACT)
UNITS: Final = (
    f"{EXACT} MiB",
    f"{EXACT} {_GPUS} cores",
    f"{EXACT} {_VGPUS}",
)
_MIB: Final = f"/ {2**20}"


def told(measures: Measures, names: tuple[str, ...], texts: tuple[str, str, str]) -> str:
    """Return a template that says one of three texts: that of the measure which the alert's resource is of.

    `.Value` in a text is the figure of the alert's labels `names`: MiB, GPUs or vGPUs.
    """
    memory, core, devices = (f"max({metric.name}{matchers(names)})" for metric in measures)
    figures = (f"{memory} {_MIB}", core, devices)
    return "".join(amount(figure, names, text) for figure, text in zip(figures, texts, strict=True))


def per_pod(where: str) -> tuple[str, str, str]:
    """Return queries of the memory (MiB), cores and vGPUs that each pod was granted, as the node role tells them."""
    memory, core = (
        f"max by (node, device_uuid, pod, container) ({metric.name}{where})"
        for metric in (c.CONTAINER_MEMORY_GRANTED, c.CONTAINER_CORE_GRANTED)
    )
    return f"sum by (pod) ({memory}) {_MIB}", f"sum by (pod) ({core})", f"count by (pod) ({memory} > 0)"


def holders() -> str:
    """Return a template that names who holds most of the alert's resource, where the node role is scraped, too.

    The first three, and all who tie with the third: of equals `topk` may pick others from one moment to the next.
    That sees NVIDIA's GPUs only: of other resources, or where somebody has renamed them, nobody is named.
    """
    most = ("Most memory is granted to", "Most cores are granted to", "Most vGPUs are granted to")
    parts = zip(GRANTED, most, per_pod(matchers(NAMESPACE)), (UNITS[0], EXACT, EXACT), strict=True)
    told_by_measure = "".join(
        sentence(
            intro, f"{query} >= scalar(min(topk(3, {query} > 0))) and on () {metric.name}{matchers(RESOURCE)}",
            (*NAMESPACE, *NAMESPACE, *RESOURCE),
            f"{{{{ .Labels.pod }}}} ({figure})", by="pod",
        )
        for metric, intro, query, figure in parts
    )  # fmt: skip
    return f'{{{{ if match "^nvidia[.]com/" $labels.resource }}}}{told_by_measure}{{{{ end }}}}'
