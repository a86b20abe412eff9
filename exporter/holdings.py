"""A pod's JSON → `quota_model.Holding`: what it holds of accelerators, or waits for; most pods of a cluster: nothing.

Grants are those of the node role (law 8), without knowing the cards: what was asked in whole numbers caps them, while a
percentage or a whole card is what the annotation says, at most what HAMi can write at all. A pod's annotation only ever
counts for its own namespace.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Final

from exporter import manifest
from exporter.errors import AnnotationError
from exporter.grants import grants, held
from exporter.hami.annotations import decode
from exporter.hami.mig_allocations import ALLOCATIONS
from exporter.hami.quota import by_hami
from exporter.quota_model import Holding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from exporter.hami.families import Family
    from exporter.model import ContainerGrants, Failure, GrantedDevice, Pod
    from exporter.quota_model import PendingReason

#: The lists of a pod's spec whose containers can ask for anything.
_LISTS: Final = ("containers", "initContainers")
#: What stands in the PodScheduled condition, by what it means; of several the first counts, the owner's own before the
#: cluster's. HAMi's words are those of its `pkg/device/common`. Up to 2.9 at least kube-scheduler is only told
#: `NodeUnfitPod` (or `node unregistered`, once misspelled), and the word goes to an event. The last two are Volcano's.
_MESSAGES: Final[tuple[tuple[PendingReason, tuple[str, ...]], ...]] = (
    ("quota", ("ResourceQuotaNotFit", "exceeded quota", "exceeding resource quota")),
    ("memory", ("CardInsufficientMemory",)),
    ("cores", ("CardInsufficientCore", "CardComputeUnitsExhausted")),
    (
        "no_card",
        (
            *("AllocatedCardsInsufficientRequest", "CardCordoned", "CardMigTopologyInfeasible"),
            *("CardNotFoundCustomFilterRule", "CardNotHealth", "CardTimeSlicingExhausted", "CardTypeMismatch"),
            *("CardUuidMismatch", "ExclusiveDeviceAllocateConflict", "ModeNotFit", "NodeInsufficientDevice"),
            *("NodeUnfitPod", "NumaNotFit", "no available node", "node unregister"),
            *("hami-vgpuDeviceSharing", "not enough gpu fitted"),
        ),
    ),
)
#: How kube-scheduler says that no node has enough of a resource: `3 Insufficient nvidia.com/gpu, …`.
_INSUFFICIENT: Final = "Insufficient "
_AFFINITIES: Final = ("podAffinity", "podAntiAffinity")
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"


def holding(raw: object, families: Sequence[Family]) -> Holding | None:
    """Return what one v1.Pod, as `json.loads` gives it, holds or waits for of the families' devices.

    None: it asks for none, and no annotation says that it got some. A family whose annotation counts in units that
    nobody knows gives no figure of that resource; cores that are not limited add nothing.

    Raises ManifestError if uid, name or namespace is missing, and nothing else.
    """
    accelerators = _accelerators(tuple(families))
    if not _may_matter(raw, accelerators):
        return None
    pod = manifest.pod(raw, accelerators=accelerators)
    asking = [container for container in pod.containers if container.asks]
    concerned = [one for one in families if one.allocated in pod.annotations or any(map(one.asked, asking))]
    if not (concerned or any(family.node in pod.annotations for family in families)):
        return None
    spec, status = (_mapping(_mapping(raw).get(part)) for part in ("spec", "status"))
    found, failures = _grants(pod, concerned)
    waits = not pod.node and not pod.finished and any(one.asked(container) for one in concerned for container in asking)
    deadline = spec.get("activeDeadlineSeconds")
    return Holding(
        uid=pod.uid,
        namespace=pod.namespace,
        name=pod.name,
        node=pod.node,
        granted=_granted(pod, found, concerned),
        hami=_as_hami(pod, concerned),
        containers=sum(bool(container.grants) for container in found.values()),
        pending=_pending(status, families) if waits else None,
        terminating=isinstance(deadline, int) and deadline >= 0,
        best_effort=status.get("qosClass") == "BestEffort",
        priority_class=_text(spec.get("priorityClassName")),
        cross_namespace=any(map(_looks_elsewhere, _affinity_terms(_mapping(spec.get("affinity"))))),
        failures=failures,
    )


@cache
def _accelerators(families: tuple[Family, ...]) -> tuple[str, ...]:
    """Return how the names of accelerators begin; HAMi's owner may have chosen others."""
    names = {name for one in families for name in (one.count, one.memory, one.memory_percentage, one.cores)}
    chosen = sorted(name for name in names if name and not name.startswith(manifest.ACCELERATORS))
    return (*manifest.ACCELERATORS, *chosen)


def _may_matter(raw: object, accelerators: tuple[str, ...]) -> bool:
    """Tell most pods of a cluster, which have nothing to do with accelerators, before a `Pod` is made of them.

    One without an identity may matter: `manifest.pod` has the words for it.
    """
    body = _mapping(raw)
    metadata, spec = _mapping(body.get("metadata")), _mapping(body.get("spec"))
    if not all(isinstance(metadata.get(part), str) and metadata[part] for part in ("uid", "namespace", "name")):
        return True
    if not manifest.DEVICE_ANNOTATIONS.isdisjoint(_mapping(metadata.get("annotations"))):
        return True
    for container in chain.from_iterable(_mappings(spec.get(listed)) for listed in _LISTS):
        resources = _mapping(container.get("resources"))
        for name in chain(_mapping(resources.get("limits")), _mapping(resources.get("requests"))):
            if name.startswith(accelerators):
                return True
    return False


# ---------------------------------------------------------------- what it holds


def _grants(pod: Pod, families: Sequence[Family]) -> tuple[Mapping[str, ContainerGrants], frozenset[Failure]]:
    """Return the pod's grants; none of one that is not bound: an annotation may have some, but they are no one's yet.

    Names of MIG instances are left out: a quota counts devices, whichever they are.
    """
    if not pod.node:
        return {}, frozenset()
    if ALLOCATIONS in pod.annotations:
        pod = replace(pod, annotations={key: text for key, text in pod.annotations.items() if key != ALLOCATIONS})
    return grants(pod, None, pod.node, families)


def _granted(pod: Pod, found: Mapping[str, ContainerGrants], families: Sequence[Family]) -> dict[str, float]:
    """Return what the grants add up to, by resource, in base units; a pod's grants are all of one family."""
    given = {grant.family for container in found.values() for grant in container.grants}
    amounts: dict[str, float] = {}
    for family in (family for family in families if family.name in given):
        per_device = held([(pod, found)]).values()
        amounts[family.count] = float(_devices(pod, found, family))
        if family.memory and family.memory_unit is not None:
            amounts[family.memory] = float(sum(device.memory for device in per_device))
        if family.cores and family.core_units is not None:
            amounts[family.cores] = sum(device.cores for device in per_device)
    return amounts


def _devices(pod: Pod, found: Mapping[str, ContainerGrants], family: Family) -> int:
    """Return how many devices it holds: the larger of its largest init container and its apps and sidecars together.

    Two slices of one GPU are two devices, of one grant.
    """
    containers = {container.name: container for container in pod.containers}
    starting = running = 0
    for name, given in found.items():
        container = containers.get(name)
        count = len(given.grants)
        if container and given.grants:
            count = min(len(given.order), family.asked(container))
        if container and container.kind == "init":
            starting = max(starting, count)
        else:
            running += count
    return max(starting, running)


def _as_hami(pod: Pod, families: Sequence[Family]) -> dict[str, int]:
    """Return what HAMi counts against its quotas: each figure of the annotation, from when it chose a node on."""
    sums: dict[str, int] = {}
    for family in families:
        if pod.finished or not by_hami(family) or family.node not in pod.annotations:
            continue
        for device in _written(pod.annotations.get(family.allocated, "")):
            for resource, amount in ((family.memory, device.memory_mib), (family.cores, device.cores_percent)):
                if resource:
                    sums[resource] = sums.get(resource, 0) + amount
    return sums


def _written(text: str) -> Iterator[GrantedDevice]:
    """Yield every device of an annotation; none of one that HAMi cannot read either."""
    try:
        yield from chain.from_iterable(decode(text))
    except AnnotationError:
        return


# ---------------------------------------------------------------- what it waits for


def _pending(status: Mapping[str, object], families: Sequence[Family]) -> PendingReason:
    """Return why the scheduler has found no node; `other` too where it has not tried yet."""
    for condition in _mappings(status.get("conditions")):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return _reason(f"{_text(condition.get('reason'))} {_text(condition.get('message'))}", families)
    return "other"


def _reason(message: str, families: Sequence[Family]) -> PendingReason:
    missing = {part.split(maxsplit=1)[0].rstrip(".,") for part in message.split(_INSUFFICIENT)[1:] if part.strip()}
    lacking: dict[PendingReason, set[str]] = {
        "memory": {name for family in families for name in (family.memory, family.memory_percentage)},
        "cores": {family.cores for family in families},
        "no_card": {family.count for family in families},
    }
    for reason, words in _MESSAGES:
        if any(word in message for word in words) or lacking.get(reason, set()) & missing:
            return reason
    return "other"


# ---------------------------------------------------------------- what quotas select it by


def _affinity_terms(affinity: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    for kind in _AFFINITIES:
        rules = _mapping(affinity.get(kind))
        yield from _mappings(rules.get(_REQUIRED))
        yield from (_mapping(weighted.get("podAffinityTerm")) for weighted in _mappings(rules.get(_PREFERRED)))


def _looks_elsewhere(term: Mapping[str, object]) -> bool:
    """Tell a term that names namespaces, or selects them (even all: `{}`), as Kubernetes' quotas tell it."""
    return bool(term.get("namespaces")) or term.get("namespaceSelector") is not None


# ---------------------------------------------------------------- values of the promised type, or nothing


def _mapping(raw: object) -> Mapping[str, object]:
    return raw if isinstance(raw, dict) else {}


def _mappings(raw: object) -> list[Mapping[str, object]]:
    return [item for item in raw if isinstance(item, dict)] if isinstance(raw, list) else []


def _text(raw: object) -> str:
    return raw if isinstance(raw, str) else ""
