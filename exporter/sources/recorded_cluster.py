"""A cluster that stays as it is in the place of the API server: a file of objects, and the pods of a recorded node.

Every object is cut down by the same parsers as in earnest.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from exporter import manifest
from exporter.errors import SOURCE_REASONS, CaptureError
from exporter.hami.families import FAMILIES
from exporter.hami.quota import quota
from exporter.holdings import holding
from exporter.json_values import mapping, sequence
from exporter.model import SourceStatus
from exporter.namespaces import namespace
from exporter.quota_model import ClusterState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from exporter.hami.families import Family

T = TypeVar("T")


def load(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a v1.List in a JSON file; raises CaptureError if it is none."""
    try:
        listed = mapping(json.loads(path.read_text(encoding="utf-8")))
        return [mapping(item) for item in sequence(listed.get("items"))]
    except (OSError, ValueError, TypeError) as error:
        raise CaptureError(f"the objects of {path} cannot be read: {error}") from error


class RecordedCluster:
    """Quotas, namespaces and pods that never change; nothing is asked, so nothing ever fails."""

    def __init__(
        self,
        objects: Iterable[Mapping[str, Any]],
        *,
        tenant_label: str = "",
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`objects` are as `json.loads` gives them, told from their `kind`; `tenant_label` is the namespaces'.

        Raises ManifestError if one lacks what every object of its kind has.
        """
        self._objects: Final = tuple(objects)
        self._tenant_label: Final = tenant_label
        self._wall: Final = wall
        self._reads = 0
        self._families: tuple[Family, ...] = ()
        self.follow(FAMILIES)

    def follow(self, families: tuple[Family, ...]) -> None:
        """Let these families count from now on."""
        if families == self._families:
            return
        self._families = families
        self._holdings = self._cut("Pod", lambda raw: holding(raw, families))
        self._quotas = self._cut("ResourceQuota", lambda raw: quota(raw, families))
        self._namespaces = self._cut("Namespace", lambda raw: namespace(raw, tenant_label=self._tenant_label))

    def current(self) -> ClusterState:
        """Return the same objects each time, just read."""
        self._reads += 1
        statuses = tuple(map(self._status, ("quotas", "namespaces", "pods")))
        return ClusterState(self._holdings, self._quotas, self._namespaces, statuses)

    def close(self) -> None:
        """Do nothing: nothing runs."""

    def _cut(self, kind: str, cut: Callable[[object], T | None]) -> dict[str, T]:
        """Return the objects of a kind cut down, by `manifest.key`, but for those that are of no interest."""
        found = {manifest.key(raw): cut(raw) for raw in self._objects if raw.get("kind") == kind}
        return {key: one for key, one in found.items() if one is not None}

    def _status(self, source: str) -> SourceStatus:
        return SourceStatus(source, True, self._wall(), dict.fromkeys(SOURCE_REASONS[source], 0), self._reads, 0.0)  # noqa: FBT003
