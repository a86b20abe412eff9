"""The pods of one node, by one watch that is filtered to it; each is cut down to `model.Pod` on arrival."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from typing_extensions import override

from exporter import manifest
from exporter.model import PodState
from exporter.sources import Pods
from exporter.sources.kube_api import PACE, PODS, of_node
from exporter.sources.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.model import Pod
    from exporter.sources.kube_api import Pace


class WatchedPods(Pods):
    """The pods of one node, kept current by one daemon thread."""

    def __init__(
        self,
        node: str,
        *,
        kubeconfig: str | None = None,
        max_age: float = 900,
        labels: frozenset[str] = frozenset(),
        tenant_label: str = "",
        pace: Pace = PACE,
    ) -> None:
        """Nothing is asked before `start`; `kubeconfig`, `max_age` and `pace` are `Watch`'s.

        `labels` are the pod labels to keep; `tenant_label` the one whose value is the tenant ("" = none).
        """
        self._kept = labels, tenant_label
        cut = _cut(*self._kept)
        self._watch = Watch(
            "pods", PODS._replace(query=of_node(node)), cut, kubeconfig=kubeconfig, max_age=max_age, pace=pace
        )
        self._from: Mapping[str, Pod] | None = None
        self._pods: tuple[Pod, ...] | None = None

    def start(self) -> None:
        """Start the thread; call it once."""
        self._watch.start()

    @override
    def current(self) -> PodState:
        known = self._watch.known()
        if known.objects is not self._from:  # one and the same tuple until a pod changes
            self._from = known.objects
            self._pods = None if known.objects is None else tuple(known.objects.values())
        return PodState(self._pods, known.status, known.unreadable)

    def relabel(self, labels: frozenset[str], tenant_label: str) -> None:
        """Keep these labels from now on; if they are others, the pods are listed once more. Never waits."""
        if self._kept != (labels, tenant_label):
            self._kept = labels, tenant_label
            self._watch.recut(_cut(labels, tenant_label))

    @override
    def close(self) -> None:
        self._watch.close()


def _cut(labels: frozenset[str], tenant_label: str) -> Callable[[object], Pod | None]:
    return partial(manifest.pod, labels=labels, tenant_label=tenant_label)
