"""What namespaces may be granted, were granted and wait for, added up over the whole cluster; and how others read it.

Absent beats wrong: of a kind that is not known nothing is told that needs it, neither as none nor as 0.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from exporter.hami.quota import resources
from exporter.model import Failure
from exporter.quota_model import QuotaTotals

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping

    from exporter.hami.families import Family
    from exporter.hami.quota import Resource
    from exporter.quota_model import ClusterState, Holding, Quota, Scope, View

#: A namespace and a resource.
_Key: TypeAlias = tuple[str, str]
#: Ratios are sums of hundredths, which binary fractions miss by a hair: ten tenths must not be above a quota of one.
_DECIMALS: Final = 9


class _Facts(NamedTuple):
    """What scopes select pods by: those that have the same facts are one group."""

    terminating: bool
    best_effort: bool
    priority_class: str
    cross_namespace: bool


#: Per namespace and group, what its pods hold of each resource.
_Groups: TypeAlias = "Mapping[str, Mapping[_Facts, Mapping[str, float]]]"

#: Scopes that are, or are not, a fact of a pod; the API server lets them be written with `Exists` only.
_FACTS: Final[Mapping[str, Callable[[_Facts], bool]]] = {
    "Terminating": lambda facts: facts.terminating,
    "NotTerminating": lambda facts: not facts.terminating,
    "BestEffort": lambda facts: facts.best_effort,
    "NotBestEffort": lambda facts: not facts.best_effort,
    "CrossNamespacePodAffinity": lambda facts: facts.cross_namespace,
}
#: What the scope `PriorityClass` says of a pod's class, "" if it has none, given the scope's values.
_PRIORITIES: Final[Mapping[str, Callable[[str, tuple[str, ...]], bool]]] = {
    "In": lambda name, values: bool(name) and name in values,
    "NotIn": lambda name, values: name not in values,
    "Exists": lambda name, _: bool(name),
    "DoesNotExist": lambda name, _: not name,
}


def total(state: ClusterState, families: Iterable[Family]) -> QuotaTotals:
    """Return the totals of all namespaces, in base units; the same whatever the order of pods and quotas.

    A resource that is not among those of `families` has no figure: after HAMi's names were changed, what was read by
    the old ones is there for a moment longer.

    Failures are those of holdings and of unreadable objects, and of quotas: `quota_quantity` (keyed namespace, quota
    and key) and `quota_scope_unknown` (namespace and quota), whose object has no granted figure of its own.
    """
    known = resources(families)
    quotas = sorted((state.quotas or {}).values(), key=lambda quota: (quota.namespace, quota.name))
    holdings = list((state.holdings or {}).values())
    binding = _binding(quotas, known)
    recorded = {name for name, resource in known.items() if resource.recorded}
    groups = _groups(holdings, recorded)
    against = quotas if state.holdings is not None else []
    return QuotaTotals(
        measures={name: resource.measure for name, resource in known.items()},
        hard={key: quota.hard[key[1]] for key, quota in binding.items()},
        binding={key: quota.name for key, quota in binding.items()},
        granted=_granted(groups, against, recorded),
        quota_hard=_quota_hard(quotas, known),
        quota_granted=_quota_granted(groups, against, recorded),
        views=_views(binding, quotas, None if state.holdings is None else holdings, known),
        pending=Counter((pod.namespace, pod.pending) for pod in holdings if pod.pending),
        tenants={namespace.name: namespace.tenant for namespace in (state.namespaces or {}).values()},
        containers=_containers(holdings),
        failures=state.unreadable.union(_failures(quotas), *(pod.failures for pod in holdings)),
    )


def _binding(quotas: Iterable[Quota], known: Container[str]) -> dict[_Key, Quota]:
    """Return the strictest unscoped quota of each resource; of equals the first by name."""
    binding: dict[_Key, Quota] = {}
    for quota in quotas:
        for resource, amount in quota.hard.items():
            strictest = binding.get((quota.namespace, resource))
            stricter = strictest is None or amount < strictest.hard[resource]
            if resource in known and stricter and not quota.scopes:
                binding[quota.namespace, resource] = quota
    return binding


def _quota_hard(quotas: Iterable[Quota], known: Container[str]) -> dict[tuple[str, str, str], float]:
    """Return what each quota allows, by itself."""
    return {
        (quota.namespace, quota.name, resource): amount
        for quota in quotas
        for resource, amount in quota.hard.items()
        if resource in known
    }


# ---------------------------------------------------------------- what is granted


def _groups(holdings: Iterable[Holding], recorded: Container[str]) -> _Groups:
    """Add up what pods hold, so that a quota costs the groups of its namespace and not the pods."""
    groups: dict[str, dict[_Facts, dict[str, float]]] = {}
    for pod in holdings:
        facts = _Facts(pod.terminating, pod.best_effort, pod.priority_class, pod.cross_namespace)
        sums = groups.setdefault(pod.namespace, {}).setdefault(facts, {})
        for resource, amount in pod.granted.items():
            if resource in recorded:
                sums[resource] = sums.get(resource, 0.0) + amount
    return groups


def _granted(groups: _Groups, quotas: Iterable[Quota], recorded: Container[str]) -> dict[_Key, float]:
    """Return what each namespace holds, and 0 where a quota is there to hold it against."""
    sums = {(quota.namespace, resource): 0.0 for quota in quotas for resource in quota.hard if resource in recorded}
    for namespace, members in groups.items():
        sums.update({(namespace, resource): amount for resource, amount in _selected(members, ()).items()})
    return sums


def _quota_granted(
    groups: _Groups, quotas: Iterable[Quota], recorded: Container[str]
) -> dict[tuple[str, str, str], float]:
    """Return what the pods hold that each quota selects, of its own resources."""
    sums: dict[tuple[str, str, str], float] = {}
    selected: dict[tuple[str, tuple[Scope, ...]], dict[str, float]] = {}  # quotas mostly have the same few scopes
    for quota in quotas:
        if not all(map(_known, quota.scopes)):
            continue
        key = quota.namespace, quota.scopes
        if key not in selected:
            selected[key] = _selected(groups.get(quota.namespace, {}), quota.scopes)
        for resource in quota.hard:
            if resource in recorded:
                sums[quota.namespace, quota.name, resource] = selected[key].get(resource, 0.0)
    return sums


def _selected(groups: Mapping[_Facts, Mapping[str, float]], scopes: Iterable[Scope]) -> dict[str, float]:
    """Return what those of a namespace's groups hold that all of the scopes select."""
    sums: dict[str, float] = {}
    for facts, held in groups.items():
        if all(_selects(scope, facts) for scope in scopes):
            for resource, amount in held.items():
                sums[resource] = sums.get(resource, 0.0) + amount
    return {resource: round(amount, _DECIMALS) for resource, amount in sums.items()}


def _containers(holdings: Iterable[Holding]) -> dict[str, int]:
    """Return how many containers hold a grant, by node."""
    containers: dict[str, int] = {}
    for pod in holdings:
        if pod.containers:
            containers[pod.node] = containers.get(pod.node, 0) + pod.containers
    return containers


def _known(scope: Scope) -> bool:
    """Tell whether we can say which pods it selects."""
    if scope.name == "PriorityClass":
        return scope.operator in _PRIORITIES
    return scope.name in _FACTS and scope.operator == "Exists"


def _selects(scope: Scope, facts: _Facts) -> bool:
    """Tell whether a known scope selects the pods of a group."""
    if scope.name == "PriorityClass":
        return _PRIORITIES[scope.operator](facts.priority_class, scope.values)
    return _FACTS[scope.name](facts)


# ---------------------------------------------------------------- how others read it


def _views(
    binding: Mapping[_Key, Quota],
    quotas: Iterable[Quota],
    holdings: Iterable[Holding] | None,
    known: Mapping[str, Resource],
) -> dict[tuple[str, str, View], float]:
    """Return Kubernetes' own count against the binding quota, and HAMi's limit and count."""
    views: dict[tuple[str, str, View], float] = {}
    for (namespace, resource), quota in binding.items():
        if resource in quota.used:
            views[namespace, resource, "kubernetes_used"] = quota.used[resource]
    limits = _hami_limits(quotas)
    for (namespace, name), limit in limits.items():
        if (read := known.get(name)) and (hard := read.asked(limit)) is not None:
            views[namespace, name, "hami_hard"] = hard
    for (namespace, name), count in _hami_counts(holdings, limits).items():
        if (read := known.get(name)) and (used := read.granted(count)) is not None:
            views[namespace, name, "hami_used"] = used
    return views


def _hami_limits(quotas: Iterable[Quota]) -> dict[_Key, int]:
    """Return HAMi's limits, raw: of several objects the one that was changed last, whatever its scopes."""
    return {
        (quota.namespace, resource): limit
        for quota in sorted(quotas, key=lambda quota: quota.version)
        for resource, limit in quota.hami.items()
    }


def _hami_counts(holdings: Iterable[Holding] | None, limits: Iterable[_Key]) -> dict[_Key, int]:
    """Return HAMi's own count, raw, and 0 where it has a limit; nothing where the pods are not known."""
    if holdings is None:
        return {}
    counts = dict.fromkeys(limits, 0)
    for pod in holdings:
        for resource, count in pod.hami.items():
            counts[pod.namespace, resource] = counts.get((pod.namespace, resource), 0) + count
    return counts


# ---------------------------------------------------------------- what could not be read


def _failures(quotas: Iterable[Quota]) -> set[Failure]:
    """Return what of the quotas says nothing that we can use."""
    failures: set[Failure] = set()
    for quota in quotas:
        name = f"{quota.namespace}/{quota.name}"
        failures.update(Failure("quota_quantity", f"{name}/{key}") for key in quota.unreadable)
        if not all(map(_known, quota.scopes)):
            failures.add(Failure("quota_scope_unknown", name))
    return failures
