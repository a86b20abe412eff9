"""Series → rows: each GPU, who uses it, and what belongs to nobody."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from exporter import catalogue as c
from exporter.top.samples import CONTAINERS, DEVICES, of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from exporter.catalogue import Metric
    from exporter.top.samples import Labels, Samples, Series

    Containers = Mapping[tuple[str, str], set[Labels]]

Sort = Literal["memory", "cores", "name"]
SORTS: Final[tuple[Sort, ...]] = get_args(Sort)
#: What is wrong with a use: memory or processes that libvgpu does not know; use of a GPU without a grant; more memory
#: than granted; libvgpu watches none of its processes.
Mark = Literal["escape", "no_grant", "over_grant", "hami_core_blind"]
MARKS: Final[tuple[Mark, ...]] = get_args(Mark)


@dataclass(frozen=True, slots=True)
class Use:
    """What a pod, or a tenant (then `pod` is ""), uses of one GPU: bytes and shares of the GPU, None where not known.

    `uncounted` is the part of `memory_used` that libvgpu does not know. `grant_sources` say why a grant is not known.
    """

    namespace: str
    pod: str
    tenant: str
    memory_used: float | None
    memory_granted: float | None
    memory_uncounted: float | None
    core_used: float | None
    core_granted: float | None
    processes: float | None
    grant_sources: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class Nobodys:
    """What belongs to no container, for a reason."""

    reason: str
    memory_used: float | None
    core_used: float | None


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, or MIG instance (then `parent` is the GPU's UUID): bytes and shares, None where not known."""

    cluster: str
    node: str
    uuid: str
    index: str
    name: str
    parent: str
    up: bool
    memory_total: float | None
    memory_used: float | None
    memory_granted: float | None
    core_used: float | None
    core_granted: float | None
    uses: tuple[Use, ...]
    nobodys: tuple[Nobodys, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """All that is to be shown of one moment.

    `age` is how many seconds old the oldest data are, None if nothing tells; `core_window` how many seconds cores are
    the mean of, None while there is no past. `blind` are sources that do not answer, `stale` and `silent` exporters
    whose data are old, or who do not answer at all.
    """

    gpus: tuple[Gpu, ...]
    core_window: float | None
    age: float | None = None
    blind: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()


def gpus(samples: Samples, shares: Samples) -> tuple[Gpu, ...]:
    """Return every GPU that is told of, by cluster, node and index; `shares` are `cores.between`'s."""
    found = _Told(samples, shares).gpus()
    return tuple(sorted(found, key=lambda gpu: (gpu.cluster, gpu.node, len(gpu.index), gpu.index, gpu.uuid)))


class _Told:
    """What was told, by what it is told of."""

    def __init__(self, samples: Samples, shares: Samples) -> None:
        self._samples = samples
        self._shares = shares
        self._infos = {labels[:3]: labels for labels in sorted(of(samples, c.DEVICE_INFO))}
        self._sources = {labels[:6]: labels[8] for labels in sorted(of(samples, c.CONTAINER_INFO))}
        self._tenants = {labels[:2]: labels[2] for labels in sorted(of(samples, c.NAMESPACE_INFO))}
        self._memory = _by_gpu(of(samples, c.DEVICE_MEMORY_UNATTRIBUTED))
        self._core = _by_gpu(of(shares, c.DEVICE_CORE_UNATTRIBUTED))
        self._containers = self._by_gpu_and_pod()

    def _by_gpu_and_pod(self) -> Mapping[Labels, Containers]:
        found: defaultdict[Labels, defaultdict[tuple[str, str], set[Labels]]] = defaultdict(lambda: defaultdict(set))
        for labels in chain(self._sources, *(of(self._samples, metric) for metric in CONTAINERS)):
            found[labels[:3]][labels[3], labels[4]].add(labels)
        return found

    def gpus(self) -> Iterator[Gpu]:
        """Yield each GPU."""
        devices = (of(self._samples, metric) for metric in DEVICES)
        yield from map(self._gpu, {*self._infos, *self._containers, *chain.from_iterable(devices)})

    def _gpu(self, gpu: Labels) -> Gpu:
        cluster, node, uuid, index, name, _, _, parent = self._infos.get(gpu, (*gpu, "", "", "", "", ""))
        containers = sorted(self._containers.get(gpu, {}).items())
        memory, core = self._memory.get(gpu, {}), self._core.get(gpu, {})
        return Gpu(
            *(cluster, node, uuid, index, name, parent),
            up=of(self._samples, c.DEVICE_UP).get(gpu, 0) > 0,
            memory_total=of(self._samples, c.DEVICE_MEMORY_TOTAL).get(gpu),
            memory_used=of(self._samples, c.DEVICE_MEMORY_USED).get(gpu),
            memory_granted=of(self._samples, c.DEVICE_MEMORY_GRANTED).get(gpu),
            core_used=of(self._shares, c.DEVICE_CORE_BUSY).get(gpu),
            core_granted=of(self._samples, c.DEVICE_CORE_GRANTED).get(gpu),
            uses=tuple(self._use(cluster, *pod, keys) for pod, keys in containers),
            nobodys=tuple(Nobodys(why, memory.get(why), core.get(why)) for why in sorted({*memory, *core})),
        )

    def _use(self, cluster: str, namespace: str, pod: str, containers: set[Labels]) -> Use:
        """Return what a pod's containers use together: its grant may stand on one of them, or on none (`""`)."""

        def together(metric: Metric[Any]) -> float | None:
            return _sum(of(self._samples, metric).get(labels) for labels in containers)

        use = Use(
            namespace=namespace,
            pod=pod,
            tenant=self._tenants.get((cluster, namespace), namespace),
            memory_used=together(c.CONTAINER_MEMORY_USED),
            memory_granted=together(c.CONTAINER_MEMORY_GRANTED),
            memory_uncounted=together(c.CONTAINER_MEMORY_UNCOUNTED),
            core_used=_sum(of(self._shares, c.CONTAINER_CORE_BUSY).get(labels) for labels in containers),
            core_granted=together(c.CONTAINER_CORE_GRANTED),
            processes=together(c.CONTAINER_PROCESSES),
            grant_sources=tuple(sorted({self._sources[labels] for labels in containers if labels in self._sources})),
        )
        uncounted = together(c.CONTAINER_PROCESSES_UNCOUNTED) or use.memory_uncounted
        return replace(use, marks=_marks(use, uncounted, together(c.CONTAINER_HAMI_CORE_BLIND)))


def _by_gpu(series: Series) -> Mapping[Labels, Mapping[str, float]]:
    """Return what belongs to nobody, by GPU and reason."""
    found: defaultdict[Labels, dict[str, float]] = defaultdict(dict)
    for labels, value in series.items():
        found[labels[:3]][labels[3]] = value
    return found


def _sum(values: Iterable[float | None]) -> float | None:
    """Return the sum of what is known, None if nothing is."""
    known = [value for value in values if value is not None]
    return math.fsum(known) if known else None


def _marks(use: Use, uncounted: float | None, blind: float | None) -> tuple[Mark, ...]:
    used, granted = use.memory_used or 0, use.memory_granted
    marks: dict[Mark, object] = {
        "escape": uncounted,
        "no_grant": granted == 0 and (used or use.processes),
        "over_grant": granted and used > granted,
        "hami_core_blind": blind,
    }
    return tuple(mark for mark, there in marks.items() if there)


def tenants(uses: Iterable[Use]) -> tuple[Use, ...]:
    """Return what each tenant uses; what is wrong with one of its pods is wrong with it."""
    by_tenant: defaultdict[str, list[Use]] = defaultdict(list)
    for use in uses:
        by_tenant[use.tenant].append(use)
    return tuple(_tenant(name, of_one) for name, of_one in sorted(by_tenant.items()))


def _tenant(name: str, uses: list[Use]) -> Use:
    marks = {mark for use in uses for mark in use.marks}
    return Use(
        namespace=", ".join(sorted({use.namespace for use in uses})),
        pod="",
        tenant=name,
        memory_used=_sum(use.memory_used for use in uses),
        memory_granted=_sum(use.memory_granted for use in uses),
        memory_uncounted=_sum(use.memory_uncounted for use in uses),
        core_used=_sum(use.core_used for use in uses),
        core_granted=_sum(use.core_granted for use in uses),
        processes=_sum(use.processes for use in uses),
        marks=tuple(mark for mark in MARKS if mark in marks),
        grant_sources=tuple(sorted({source for use in uses for source in use.grant_sources})),
    )
