"""The cluster's quotas, namespaces and pods: one watch each, every object cut down on arrival.

Each has a status of its own: where the API server forbids one kind, that one is blind and the others serve.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from exporter.hami.families import FAMILIES
from exporter.hami.quota import quota
from exporter.holdings import holding
from exporter.model import Failure
from exporter.namespaces import namespace
from exporter.quota_model import ClusterState
from exporter.sources.kube_api import PACE, PODS, Resource
from exporter.sources.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from exporter.hami.families import Family
    from exporter.quota_model import Holding, Namespace, Quota
    from exporter.sources.kube_api import Pace

QUOTAS: Final = Resource("/api/v1/resourcequotas", "resource quotas", "the verbs list and watch on resourcequotas")
NAMESPACES: Final = Resource("/api/v1/namespaces", "namespaces", "the verbs list and watch on namespaces")


class WatchedCluster:
    """The cluster's quotas, namespaces and pods, kept current by one daemon thread each."""

    def __init__(
        self,
        *,
        tenant_label: str = "",
        kubeconfig: str | None = None,
        max_age: float = 900,
        pace: Pace = PACE,
    ) -> None:
        """Nothing is asked before `follow`; `kubeconfig`, `max_age` and `pace` are `Watch`'s, for each kind.

        `tenant_label` is the namespaces' label whose value is the tenant ("" = none).
        """
        watch = partial(Watch, kubeconfig=kubeconfig, max_age=max_age, pace=pace)
        self._families, self._tenant_label = FAMILIES, tenant_label
        self._quotas: Watch[Quota] = watch("quotas", QUOTAS, _quota(FAMILIES))
        self._namespaces: Watch[Namespace] = watch("namespaces", NAMESPACES, _namespace(tenant_label))
        self._pods: Watch[Holding] = watch("pods", PODS, _holding(FAMILIES))
        self._following = False

    def follow(self, families: tuple[Family, ...]) -> None:
        """Let these families count from now on; the first call starts the threads, none ever waits.

        If they are others than before, quotas and pods are listed once more: they were cut down by the old ones.
        """
        if self._families != families:
            self._families = families
            self._quotas.recut(_quota(families))
            self._pods.recut(_holding(families))
        if not self._following:
            self._following = True
            for one in (self._quotas, self._namespaces, self._pods):
                one.start()

    def current(self) -> ClusterState:
        """Return what is known now; never waits for the API server. The same mappings until an object changes."""
        quotas, namespaces, pods = self._quotas.known(), self._namespaces.known(), self._pods.known()
        return ClusterState(
            holdings=pods.objects,
            quotas=quotas.objects,
            namespaces=namespaces.objects,
            statuses=(quotas.status, namespaces.status, pods.status),
            unreadable=_failures("quota_unreadable", quotas.unreadable)
            | _failures("namespace_unreadable", namespaces.unreadable)
            | _failures("pod_unreadable", pods.unreadable),
        )

    def relabel(self, tenant_label: str) -> None:
        """Tell tenants by this label from now on; if it is another, namespaces are listed once more. Never waits."""
        if self._tenant_label != tenant_label:
            self._tenant_label = tenant_label
            self._namespaces.recut(_namespace(tenant_label))

    def close(self) -> None:
        """Stop watching."""
        for one in (self._quotas, self._namespaces, self._pods):
            one.close()


def _quota(families: Sequence[Family]) -> Callable[[object], Quota | None]:
    return partial(quota, families=families)


def _holding(families: Sequence[Family]) -> Callable[[object], Holding | None]:
    return partial(holding, families=families)


def _namespace(tenant_label: str) -> Callable[[object], Namespace]:
    return partial(namespace, tenant_label=tenant_label)


def _failures(reason: str, keys: Iterable[str]) -> frozenset[Failure]:
    return frozenset(Failure(reason, key) for key in keys)
