"""The vocabulary of the quota role: frozen values, as in `model.py`, whose units hold here too.

`resource` is a Kubernetes resource name without `limits.` or `requests.`: that of a family's memory, cores or devices.
An amount is in the resource's base unit: bytes, ratio of a device (1 = one whole), or devices.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.model import Failure, SourceStatus

#: What a resource is an amount of; each has metrics of its own.
Measure = Literal["memory", "core", "devices"]
#: Why a pod that asks for vGPUs is not scheduled, by the scheduler's message.
PendingReason = Literal["quota", "memory", "cores", "no_card", "other"]
PENDING_REASONS: tuple[PendingReason, ...] = ("quota", "memory", "cores", "no_card", "other")
#: How others read the same quotas.
View = Literal["kubernetes_used", "hami_hard", "hami_used"]


class Scope(NamedTuple):
    """One scope of a quota: `operator` is In, NotIn, Exists or DoesNotExist, `values` priority classes."""

    name: str
    operator: str = "Exists"
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Quota:
    """One ResourceQuota, cut down: amounts by resource, the strictest spelling of each.

    `hard` is what it allows (0: nothing), `used` what Kubernetes itself has counted (`status.used`), `hami` the
    raw whole numbers of its `limits.` keys, which are all that HAMi reads. `version` orders the changes of objects.
    `unreadable` are keys whose quantity is no number, or is in a unit that is not known.
    """

    namespace: str
    name: str
    version: int
    hard: Mapping[str, float]
    used: Mapping[str, float]
    hami: Mapping[str, int]
    scopes: tuple[Scope, ...] = ()
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Namespace:
    """One namespace and the tenant who owns it: the value of a label, else the namespace's name."""

    name: str
    tenant: str


@dataclass(frozen=True, slots=True)
class Holding:
    """What one pod holds or waits for, cut down on arrival; pods that ask for no accelerator have none.

    `granted` is what its grants add up to by resource, every device counted, held against its requests (law 8); empty
    where it is not bound to a node, or finished. `hami` is the same as HAMi adds it up, raw, from its annotation.
    `containers` hold a grant on `node`. `pending` says why it is not scheduled, None if it is. What quotas select by:
    `terminating` (it has an activeDeadlineSeconds), `best_effort`, `priority_class`, `cross_namespace` (an affinity).
    """

    uid: str
    namespace: str
    name: str
    node: str
    granted: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    hami: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    containers: int = 0
    pending: PendingReason | None = None
    terminating: bool = False
    best_effort: bool = False
    priority_class: str = ""
    cross_namespace: bool = False
    failures: frozenset[Failure] = frozenset()


@dataclass(frozen=True, slots=True)
class ClusterState:
    """What the API server said last; None: that kind is not known (yet, or any more).

    `unreadable` are failures of objects that are of no use.
    """

    holdings: Mapping[str, Holding] | None
    quotas: Mapping[str, Quota] | None
    namespaces: Mapping[str, Namespace] | None
    statuses: tuple[SourceStatus, ...]
    unreadable: frozenset[Failure] = frozenset()


@dataclass(frozen=True, slots=True)
class QuotaTotals:
    """What is allowed, granted and waiting, added up; each mapping is empty where a kind it needs is not known.

    Keyed by namespace and resource, or by (namespace, quota, resource). `binding` names the strictest unscoped quota.
    """

    measures: Mapping[str, Measure]
    hard: Mapping[tuple[str, str], float]
    binding: Mapping[tuple[str, str], str]
    granted: Mapping[tuple[str, str], float]
    quota_hard: Mapping[tuple[str, str, str], float]
    quota_granted: Mapping[tuple[str, str, str], float]
    views: Mapping[tuple[str, str, View], float]
    pending: Mapping[tuple[str, PendingReason], int]
    tenants: Mapping[str, str]
    containers: Mapping[str, int]
    failures: frozenset[Failure]


@dataclass(frozen=True, slots=True)
class QuotaSnapshot:
    """What a scrape of the quota role serves; `taken` is Unix time, `failures` counts since the start, by reason.

    `not_ready` is None once every kind was listed once, else the reason, for people.
    """

    taken: float
    totals: QuotaTotals
    failures: Mapping[str, int]
    statuses: tuple[SourceStatus, ...]
    not_ready: str | None
