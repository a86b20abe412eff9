"""The node's pods, indexed for the join: whose is a container ID, and who holds which grant.

Made anew only when the pods or the GPUs change, so it costs the one-second loop nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.cgroups import parse
from exporter.errors import ProcError
from exporter.grants import grants, held
from exporter.model import Failure, Owner

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from exporter.cgroups import CgroupOwner
    from exporter.model import Card, ContainerGrants, Held, Pod

#: The reasons that use can belong to no container (`unlisted` and `mps` come from the accounts).
HOST, UNKNOWN_POD, UNKNOWN_PROCESS = "host", "unknown_pod", "unknown_process"


@dataclass(frozen=True, slots=True)
class Roster:
    """The pods of one node.

    `by_container` maps container IDs to owners, `by_pod` pod UIDs (and static pods' hashes) to
    their only possible owner, None if there are several. `grants` has each living container's, and under an
    owner without a container what a pod holds as a whole; `held` has each GPU's total, `granted` that of each
    (GPU, namespace). `current` is False while the API server has been away for too long: nobody has a name then.
    """

    current: bool
    by_container: Mapping[str, Owner]
    by_pod: Mapping[str, Owner | None]
    pods: Mapping[str, Pod]
    grants: Mapping[Owner, ContainerGrants]
    held: Mapping[str, Held]
    granted: Mapping[tuple[str, str], Held]
    failures: frozenset[Failure]

    def place(self, cgroup: str, enclosing: Collection[CgroupOwner] = ()) -> tuple[Owner | str, str]:
        """Return (whose process it is: an owner, or why nobody's; the failure reason, or "").

        The outermost level that names a pod decides: what lies below it was made inside that pod and can say
        anything. `enclosing` are the levels that this whole node lies in, in a cluster nested in another's pod.
        """
        try:
            levels = [level for level in parse(cgroup) if level not in enclosing]
        except ProcError:
            return UNKNOWN_PROCESS, "cgroup_unreadable"
        for level in levels:
            owner = self.by_container.get(level.container_id) or self.by_pod.get(level.pod_uid)
            if owner is not None:
                return owner, ""
            if level.pod_uid:
                return UNKNOWN_POD, "container_unknown" if level.pod_uid in self.by_pod else "pod_unknown"
        return HOST, ""


def enclosing_levels(own_cgroup: str) -> frozenset[CgroupOwner]:
    """Return the levels outside our own pod, from our own cgroup text: those of a cluster nested in another's pod."""
    try:
        return frozenset(parse(own_cgroup)[:-1])
    except ProcError:
        return frozenset()


def enrol(pods: Collection[Pod] | None, cards: Mapping[str, Card], node: str) -> Roster:
    """Index the pods of `node`, whose GPUs and MIG instances are `cards`, by UUID; None: names are no longer known."""
    living = [pod for pod in pods or () if not pod.finished]
    named = _newest_per_name(living)
    by_grants = {pod.uid: grants(pod, cards, node) for pod in living}
    owned = [
        (Owner(pod.uid, pod.namespace, pod.name, container.name), container)
        for pod in named
        for container in pod.containers
        if not container.finished
    ]
    by_namespace: dict[str, list[Pod]] = {}
    for pod in living:
        by_namespace.setdefault(pod.namespace, []).append(pod)
    return Roster(
        by_container={identity: owner for owner, container in owned for identity in container.ids},
        by_pod=_only_owners(living, named),
        current=pods is not None,
        pods={pod.uid: pod for pod in pods or ()},
        grants={
            Owner(pod.uid, pod.namespace, pod.name, container): given
            for pod in named
            for container, given in by_grants[pod.uid][0].items()
        },
        held=held((pod, by_grants[pod.uid][0]) for pod in living),
        granted={
            (uuid, namespace): total
            for namespace, members in by_namespace.items()
            for uuid, total in held((pod, by_grants[pod.uid][0]) for pod in members).items()
        },
        failures=frozenset().union(*(failures for _, failures in by_grants.values())),
    )


def _newest_per_name(pods: Iterable[Pod]) -> list[Pod]:
    """Of pods that were re-created under the same name, the newest bears it; the other's use is `unknown_pod`."""
    newest: dict[tuple[str, str], Pod] = {}
    for pod in sorted(pods, key=lambda pod: (pod.created, pod.uid)):
        newest[pod.namespace, pod.name] = pod
    return list(newest.values())


def _only_owners(living: Iterable[Pod], named: Iterable[Pod]) -> dict[str, Owner | None]:
    """Map pod UIDs to the one container a process of the pod can be in, even before its status names the ID."""
    owners: dict[str, Owner | None] = {pod.uid: None for pod in living}
    for pod in named:
        if len(pod.containers) == 1 and not pod.containers[0].finished:
            owners[pod.uid] = Owner(pod.uid, pod.namespace, pod.name, pod.containers[0].name)
    return _by_hash(living, owners) | owners


def _by_hash(living: Iterable[Pod], owners: Mapping[str, Owner | None]) -> dict[str, Owner | None]:
    """Map static pods' hashes to their owners; anybody may write that annotation, so it proves little.

    It counts for a pod that belongs to its node, as the kubelet's mirrors of static pods do; of several that claim the
    same hash nobody gets it. What looks like another pod's UID is not one (the caller's UIDs go first).
    """
    hashes: dict[str, Owner | None] = {}
    for pod in living:
        if pod.config_hash and pod.owner_kind == "Node":
            hashes[pod.config_hash] = None if pod.config_hash in hashes else owners[pod.uid]
    return hashes
