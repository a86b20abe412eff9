"""The quota role: the cluster's one Deployment."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from exporter import logs, quota_page
from exporter.errors import ConfigError
from exporter.metrics import built
from exporter.quota_metrics import ROLE, own_families
from exporter.quota_sampler import QuotaSampler
from exporter.server import Server, SnapshotRenderer
from exporter.service import run
from exporter.sources.cluster import WatchedCluster
from exporter.sources.hami_config import hami_config
from exporter.web_reload import Protection

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.config import QuotaSettings
    from exporter.device_config import DeviceConfig
    from exporter.sources.poll import Poll

_log = logging.getLogger(__name__)


def serve(settings: QuotaSettings, revision: str, reload: Callable[[], QuotaSettings]) -> None:
    """Watch this cluster and serve until a signal ends it; `reload` resolves the settings anew on SIGHUP.

    Raises ConfigError, before anything starts, if the web configuration cannot be used.
    """
    logs.configure(settings.log_format, settings.log_level)
    protection = Protection(settings.web_config) if settings.web_config else None
    cluster = WatchedCluster(tenant_label=settings.tenant_label or "", kubeconfig=settings.kubeconfig)
    sampler = QuotaSampler(cluster, settings.device_config, _hami_config(settings))
    build = built(revision, ROLE)
    renderer = SnapshotRenderer(
        sampler.current,
        lambda now: (now.text, own_families(now.snapshot, build)),
        lambda now, note: quota_page.render(now.snapshot, note),
    )
    run(
        sampler,
        Server(renderer, protection=protection),
        settings.listen,
        settings.health_listen,
        on_hangup=_Reload(settings, reload, cluster, protection),
        on_listening=lambda urls: _log.info("serving on %s", ", ".join(urls)),
    )


def _hami_config(settings: QuotaSettings) -> Poll[DeviceConfig] | None:
    """Return the source of HAMi's own configuration, already asking."""
    if settings.hami_config is None:
        return None
    source = hami_config(settings.hami_config, kubeconfig=settings.kubeconfig)
    source.start()
    return source


class _Reload:
    """What SIGHUP does: takes over log level, tenants' label and web config, keeps everything else and says so."""

    def __init__(
        self,
        settings: QuotaSettings,
        resolve: Callable[[], QuotaSettings],
        cluster: WatchedCluster,
        protection: Protection | None = None,
    ) -> None:
        self._settings = settings
        self._resolve = resolve
        self._cluster = cluster
        self._protection = protection

    def __call__(self) -> None:
        if self._protection is not None:
            self._protection.reload()
        try:
            new = self._resolve()
        except ConfigError as error:
            _log.error("reload: nothing changed: %s", error)
            return
        taken = replace(self._settings, log_level=new.log_level, tenant_label=new.tenant_label)
        if taken != new:
            _log.warning("reload: only the log level and --tenant-label are taken over; restart for the rest")
        self._settings = taken
        logs.configure(taken.log_format, taken.log_level)
        self._cluster.relabel(taken.tenant_label or "")
        _log.info("reloaded")
