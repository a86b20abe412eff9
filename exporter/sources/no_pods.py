"""No API server at all (`--no-kubernetes`): every container's owner stays without a name."""

from __future__ import annotations

from typing_extensions import override

from exporter.model import PodState
from exporter.sources import Pods


class NoPods(Pods):
    """Knows no pod and is no source: use inside pods counts as `unknown_pod`."""

    @override
    def current(self) -> PodState:
        return PodState(pods=None, status=None)

    @override
    def close(self) -> None:
        pass  # nothing runs
