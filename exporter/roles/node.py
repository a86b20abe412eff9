"""The node role: the DaemonSet's program, one per GPU node."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from exporter import logs
from exporter.errors import ConfigError
from exporter.metrics import built
from exporter.sampler import Sampler, Sources
from exporter.server import Renderer, Server
from exporter.service import run
from exporter.sources.driver import LIBRARY_PATHS
from exporter.sources.no_pods import NoPods
from exporter.sources.node import NodeWatch
from exporter.sources.nvml import NvmlGpus
from exporter.sources.pods import WatchedPods
from exporter.sources.procfs import ProcFs
from exporter.sources.regions import Regions
from exporter.web_reload import Protection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exporter.config import NodeSettings
    from exporter.sources import Node, Pods

_log = logging.getLogger(__name__)


def serve(
    settings: NodeSettings,
    revision: str,
    reload: Callable[[], NodeSettings],
    *,
    library_paths: Sequence[str] = LIBRARY_PATHS,
) -> None:
    """Measure this node and serve until a signal ends it; `reload` resolves the settings anew on SIGHUP.

    Raises ConfigError, before anything starts, if the web configuration cannot be used.

    `library_paths` is where NVML may lie: no setting, because whoever sets it says what the numbers are.
    """
    logs.configure(settings.log_format, settings.log_level)
    protection = Protection(settings.web_config) if settings.web_config else None
    pods = _pods(settings)
    gpus = NvmlGpus(settings.interval, library_paths)
    regions = Regions(settings.hami_containers) if settings.hami_containers else None
    sources = Sources(gpus, ProcFs(settings.procfs), pods, _node(settings), regions)
    sampler = Sampler(settings.node_name, sources, settings.interval)
    server = Server(Renderer(sampler.current, built(revision)), protection=protection)
    run(
        sampler,
        server,
        settings.listen,
        settings.health_listen,
        on_hangup=_Reload(settings, reload, pods, protection),
        on_listening=lambda urls: _log.info("serving on %s", ", ".join(urls)),
    )


def _pods(settings: NodeSettings) -> Pods:
    """Return the pods' source, already watching."""
    if settings.no_kubernetes:
        return NoPods()
    pods = WatchedPods(
        settings.node_name,
        kubeconfig=settings.kubeconfig,
        max_age=settings.pods_max_age,
        labels=frozenset(settings.pod_labels),
        tenant_label=settings.tenant_pod_label or "",
    )
    pods.start()
    return pods


def _node(settings: NodeSettings) -> Node | None:
    """Return the source of what HAMi registered, already asking."""
    if settings.no_kubernetes:
        return None
    node = NodeWatch(settings.node_name, kubeconfig=settings.kubeconfig, max_age=settings.pods_max_age)
    node.start()
    return node


class _Reload:
    """What SIGHUP does: takes over log level, label allow-lists and web config, keeps everything else and says so."""

    def __init__(
        self,
        settings: NodeSettings,
        resolve: Callable[[], NodeSettings],
        pods: Pods,
        protection: Protection | None = None,
    ) -> None:
        self._settings = settings
        self._resolve = resolve
        self._pods = pods
        self._protection = protection

    def __call__(self) -> None:
        if self._protection is not None:
            self._protection.reload()
        old = self._settings
        try:
            new = self._resolve()
        except ConfigError as error:
            _log.error("reload: nothing changed: %s", error)
            return
        taken = replace(old, log_level=new.log_level, pod_labels=new.pod_labels, tenant_pod_label=new.tenant_pod_label)
        if taken != new:
            _log.warning("reload: only the log level and the label allow-lists are taken over; restart for the rest")
        self._settings = taken
        logs.configure(taken.log_format, taken.log_level)
        if isinstance(self._pods, WatchedPods):
            self._pods.relabel(frozenset(taken.pod_labels), taken.tenant_pod_label or "")
        _log.info("reloaded")
