"""The doctor's role: asks each source once, in the order in which one rests on the other, and says what it found."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from exporter import logs
from exporter.config import NodeSettings
from exporter.doctor import Step, cluster, driver, hami, overall, processes, unchecked, warned
from exporter.doctor import prometheus as judged
from exporter.doctor.cluster import NODE, PODS, ApiFound, NodeFound, Permission, PodsFound
from exporter.doctor.endpoint import EndpointFound, endpoint
from exporter.doctor.hami import RegionsFound
from exporter.doctor.processes import ProcFound
from exporter.errors import SOURCE_REASONS, ApiError, SourceError
from exporter.hami.node_register import NodeState
from exporter.hami.region import RegionState
from exporter.model import DriverState, PodState, ProcessState, SourceStatus
from exporter.report import as_json, as_text
from exporter.sampler import Sampler, Sources
from exporter.sources import access, diagnosis, diagnosis_cluster, prometheus, readyz
from exporter.sources.cluster import QUOTAS
from exporter.sources.driver import LIBRARY_PATHS
from exporter.sources.instances import with_instances
from exporter.sources.kube_api import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from exporter.config import QuotaSettings
    from exporter.doctor.driver import DriverFound
    from exporter.doctor.prometheus import PrometheusFound, Queries
    from exporter.snapshot import Snapshot

T = TypeVar("T")

_LIST_PODS, _WATCH_PODS = Permission("list", "pods"), Permission("watch", "pods")
_LIST_QUOTAS: Final = Permission("list", "resourcequotas")
_QUOTA_READS: Final = ("pods", "resourcequotas", "namespaces")


@dataclass(frozen=True, slots=True)
class DoctorSettings:
    """What to look at: a role's own settings, and perhaps Prometheus; `timeout` in seconds is that of each step."""

    role: NodeSettings | QuotaSettings
    prometheus: str | None
    timeout: float
    json: bool


def diagnose(settings: DoctorSettings, *, library_paths: Sequence[str] = LIBRARY_PATHS) -> bool:
    """Look at everything, print what was found, and tell whether nothing failed: a warning alone is well.

    `library_paths` is the node role's.
    """
    role = settings.role
    logs.configure(role.log_format, "debug" if role.log_level == "debug" else "critical")
    examined = (
        _Node(role, settings, library_paths).steps() if isinstance(role, NodeSettings) else _quota(role, settings)
    )
    steps = as_json(examined) if settings.json else as_text(examined)
    return overall(steps) != "fail"


# ---------------------------------------------------------------- what both roles have


def _pace(seconds: float) -> Pace:
    """Return a pace at which the API server's own silence is told before the step's time is over."""
    return Pace(connect=0.4 * seconds, read=0.4 * seconds)


def _asked(seconds: float, call: Callable[[], T], late: T) -> T:
    """Return the answer, or `late` if it has not come in time."""
    [answer] = diagnosis.within(seconds, call)
    return late if answer is None else answer


def _silent(seconds: float) -> ApiError:
    return ApiError("unreachable", f"the API server has not answered for {seconds:g} s")


def _reviewed(settings: DoctorSettings, permissions: Sequence[Permission]) -> ApiFound:
    seconds = settings.timeout
    call = partial(access.review, settings.role.kubeconfig, _pace(seconds), permissions)
    return _asked(seconds, call, ApiFound("", _silent(seconds), None, {}))


def _api(found: ApiFound) -> Iterator[Step]:
    yield from (cluster.api(found), cluster.clock(found), cluster.permissions(found))


def _ending(settings: DoctorSettings, queries: Queries, node: str | None) -> Iterator[Step]:
    """Look at the exporter that runs here, and at Prometheus."""
    seconds = settings.timeout
    for one in settings.role.health_listen[:1]:
        late = EndpointFound(f"{one.host}:{one.port}")
        yield endpoint(_asked(seconds, partial(readyz.ready, one, 0.8 * seconds), late))
    if settings.prometheus:
        silent: PrometheusFound | SourceError = SourceError(
            "unreachable", f"Prometheus has not answered for {seconds:g} s"
        )
        call = partial(prometheus.ask, settings.prometheus, queries, node, 0.8 * seconds)
        yield from judged.prometheus(_asked(seconds, call, silent))


# ---------------------------------------------------------------- the node role


class _Node:
    """One examination of a node."""

    def __init__(self, role: NodeSettings, settings: DoctorSettings, library_paths: Sequence[str]) -> None:
        self._role = role
        self._settings = settings
        self._seconds = settings.timeout
        self._libraries = library_paths

    def steps(self) -> Iterator[Step]:
        """Yield each step as soon as it is done."""
        role = self._role
        gpus = diagnosis.driver(self._libraries, role.interval, self._seconds)
        signs = diagnosis.access(role.procfs)
        yield from (driver.driver(gpus, signs), driver.access(gpus, signs), driver.gpus(gpus))
        state = _driver_state(gpus)
        found = self._processes(state)
        host = processes.host_pid(found, state)
        yield from (processes.procfs(found), host, processes.cgroups(found, host))
        regions = self._regions()
        node, pods = yield from self._cluster()
        yield hami.regions(regions)
        yield self._release(node, pods, regions)
        snapshot = self._tick(state, found, node, pods, regions)
        because = driver.DRIVER if gpus.error else PODS if pods.error else host.name
        yield hami.attribution(snapshot, pods.pods, because)
        yield from _ending(self._settings, judged.node_queries(role.node_name), role.node_name)

    def _processes(self, state: DriverState) -> ProcFound:
        root = self._role.procfs
        listed = {process.pid for reading in state.readings.values() for process in reading.processes or ()}
        nothing = ProcessState(answered=False, processes={}, status=_status("procfs", "unreadable"))
        late = ProcFound(root, nothing, frozenset(), None, "")
        return _asked(self._seconds, partial(diagnosis.processes, root, listed), late)

    def _regions(self) -> RegionsFound | None:
        roots = self._role.hami_containers
        if not roots:
            return None
        late = RegionsFound(roots, (), RegionState((), frozenset(), 0, _status("regions", "unreadable")))
        return _asked(self._seconds, partial(diagnosis.regions, roots), late)

    # ------------------------------------------------------------ the cluster

    def _cluster(self) -> Generator[Step, None, tuple[NodeFound, PodsFound]]:
        """Yield the steps of the API server; return Node and pods, with an error where they are not known."""
        name = self._role.node_name
        if self._role.no_kubernetes:
            yield warned(cluster.API, "not asked: --no-kubernetes", "Without that flag owners have names and grants.")
            return NodeFound(_unasked()), PodsFound(_unasked())
        get_node = Permission("get", "nodes", name=name)
        found = _reviewed(self._settings, (_LIST_PODS, _WATCH_PODS, get_node))
        yield from _api(found)
        node, step = self._node(found, get_node)
        yield step
        pods, steps = self._pods(found, node)
        yield from steps
        return node, pods

    def _node(self, found: ApiFound, get: Permission) -> tuple[NodeFound, Step]:
        """Look at the own Node, if that may be."""
        if (first := _first(found, get)) is not None:
            return NodeFound(_unasked()), unchecked(NODE, first)
        name, pace = self._role.node_name, _pace(self._seconds)
        call = partial(diagnosis_cluster.node, name, self._role.kubeconfig, pace)
        node = _asked(self._seconds, call, NodeFound(_silent(self._seconds)))
        return node, cluster.node(node, name)

    def _pods(self, found: ApiFound, node: NodeFound) -> tuple[PodsFound, tuple[Step, ...]]:
        """Look at the node's pods and their grants, if that may be; a Node that is not there has none."""
        first = _first(found, _LIST_PODS) or (NODE if node.error and node.error.reason == "gone" else None)
        if first is not None:
            return PodsFound(_unasked()), (unchecked(PODS, first), unchecked(cluster.GRANTS, first))
        name, pace = self._role.node_name, _pace(self._seconds)
        call = partial(diagnosis_cluster.pods, name, self._role.kubeconfig, pace)
        pods = _asked(self._seconds, call, PodsFound(_silent(self._seconds)))
        return pods, (cluster.pods(pods, name), cluster.grants(pods, name))

    def _release(self, node: NodeFound, pods: PodsFound, regions: RegionsFound | None) -> Step:
        if self._role.no_kubernetes or (node.error and not pods.images):
            return unchecked(hami.RELEASE, cluster.API if self._role.no_kubernetes else NODE)
        return hami.release(node, pods, regions)

    def _tick(
        self, state: DriverState, found: ProcFound, node: NodeFound, pods: PodsFound, regions: RegionsFound | None
    ) -> Snapshot | None:
        """Return what the node role would publish of all this; None where it would show no use."""
        if not state.answered or (pods.error and not self._role.no_kubernetes):
            return None
        names = PodState(None, None) if pods.error else PodState(pods.pods, _status("pods"))
        devices = None if node.error or node.unreadable else node.devices
        counted = None if regions is None else _Given(replace(regions.state, problems=frozenset()))
        sources = Sources(
            _Given(state), _Given(found.state), _Given(names), _Given(NodeState(devices, _status("node"))), counted
        )
        return Sampler(self._role.node_name, sources, self._role.interval).tick()


class _Given(Generic[T]):
    """A source that has answered already."""

    def __init__(self, answer: T) -> None:
        self._answer = answer

    def current(self) -> T:
        return self._answer

    def read(self, _: object, /) -> T:
        return self._answer

    def look_up(self, _: object, /) -> T:
        return self._answer

    def close(self) -> None:
        pass


def _first(found: ApiFound, *permissions: Permission) -> str | None:
    """Return the step to mend before these permissions can be used."""
    if found.error is not None and found.error.reason != "forbidden":
        return cluster.API
    return None if found.may(*permissions) else cluster.PERMISSIONS


def _unasked() -> ApiError:
    return ApiError("config", "not asked")


def _status(source: str, reason: str = "") -> SourceStatus:
    """Return how a source does that was asked once: it failed for that reason, or answered."""
    errors = {one: int(one == reason) for one in SOURCE_REASONS[source]}
    return SourceStatus(source, not reason, None if reason else time.time(), errors, 1, 0.0)


def _driver_state(found: DriverFound) -> DriverState:
    devices, readings = with_instances((gpu.device, gpu.reading) for gpu in found.gpus if gpu.device)
    now = max((reading.clock for reading in readings.values()), default=0.0)
    return DriverState(now, bool(readings), devices, readings, _status("nvml", "" if readings else "unknown"))


# ---------------------------------------------------------------- the quota role


def _quota(role: QuotaSettings, settings: DoctorSettings) -> Iterator[Step]:
    """Look at what the quota role reads."""
    seconds, pace = settings.timeout, _pace(settings.timeout)
    wanted = [Permission(verb, kind) for kind in _QUOTA_READS for verb in ("list", "watch")]
    config = role.hami_config
    if config is not None:
        wanted.append(Permission("get", "configmaps", config.namespace, config.name))
    found = _reviewed(settings, wanted)
    yield from _api(found)
    first = _first(found, _LIST_QUOTAS)
    if first is not None:
        yield unchecked(cluster.QUOTAS, first)
    else:
        late: int | ApiError = _silent(seconds)
        yield cluster.quotas(_asked(seconds, partial(diagnosis_cluster.count, role.kubeconfig, pace, QUOTAS), late))
    if config is not None:
        first = _first(found, wanted[-1])
        name = f"{config.namespace}/{config.name}"
        if first is not None:
            yield unchecked(cluster.CONFIG, first)
        else:
            errors = diagnosis_cluster.hami_config_errors(config, role.kubeconfig, pace, seconds)
            yield cluster.hami_config(name, errors)
    yield from _ending(settings, judged.quota_queries(), None)
