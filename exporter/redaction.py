"""Renames what tells who is who, before a recording leaves the house.

Node, namespaces, pods, containers and workloads become `ns-1`, `pod-3` and so on, the same name each time; process
names go, unless the exporter goes by them. Pod UIDs, container IDs, cgroup paths and GPU UUIDs stay: attribution stands
on them, and they name nobody.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from exporter.join import MPS_SERVER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.model import Process

_CONTAINERS: Final = ("containers", "initContainers", "ephemeralContainers")
_STATUSES: Final = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")


class Redactor:
    """Gives every name a stand-in, for as long as one recording lasts."""

    def __init__(self) -> None:
        """Begin with no name known."""
        self._given: dict[tuple[str, str], str] = {}

    def name(self, kind: str, name: str) -> str:
        """Return the stand-in of a name; `kind` keeps a pod and a namespace of the same name apart."""
        count = 1 + sum(1 for known, _ in self._given if known == kind)
        return self._given.setdefault((kind, name), f"{kind}-{count}")

    def process(self, process: Process) -> Process:
        """Return a process without its name, unless it is an MPS server's."""
        return process if process.comm == MPS_SERVER else replace(process, comm="redacted")

    def pod(self, pod: Mapping[str, Any]) -> dict[str, Any]:
        """Return a slim v1.Pod (`manifest.slim`) with stand-ins for its names and without labels."""
        metadata = {key: value for key, value in pod.get("metadata", {}).items() if key != "labels"}
        for field, kind in (("namespace", "ns"), ("name", "pod")):
            if field in metadata:
                metadata[field] = self.name(kind, str(metadata[field]))
        metadata["ownerReferences"] = [self._owner(owner) for owner in metadata.get("ownerReferences", ())]
        annotations = metadata.get("annotations", {})
        metadata["annotations"] = {
            key: self.name("node", str(value)) if key.endswith("/vgpu-node") else value
            for key, value in annotations.items()
        }
        spec, status = dict(pod.get("spec", {})), dict(pod.get("status", {}))
        if "nodeName" in spec:
            spec["nodeName"] = self.name("node", str(spec["nodeName"]))
        for part, fields in ((spec, _CONTAINERS), (status, _STATUSES)):
            part.update({field: [self._container(one) for one in part[field]] for field in fields if field in part})
        return {**pod, "metadata": metadata, "spec": spec, "status": status}

    def _owner(self, owner: Mapping[str, Any]) -> dict[str, Any]:
        return {**owner, "name": self.name("workload", str(owner.get("name", "")))}

    def _container(self, container: Mapping[str, Any]) -> dict[str, Any]:
        return {**container, "name": self.name("container", str(container.get("name", "")))}
