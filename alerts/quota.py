"""Alerts on what a namespace was granted against what it may be granted.

All are of the quota role, which reads `limits.*`, `requests.*` and bare keys as one resource.
"""

from __future__ import annotations

from typing import Final

from alerts.amounts import BARE, EACH_GRANTED, EACH_HARD, GRANTED, HARD, UNITS, VIEW, holders, per_pod, told
from alerts.promql import NAMESPACE, RESOURCE, joined, labels
from alerts.rules import Alert, Threshold
from exporter import catalogue as c

_OF_QUOTA: Final = (*NAMESPACE, "quota", "resource")


#: Granted amounts are rounded by the exporter, and of two numbers one is smaller, or they are equal: so is their ratio
#: to 1. Almost full, full and exceeded neither overlap nor leave a gap, and need no tolerance.
_RATIO: Final = f"{GRANTED.all(RESOURCE)} / ({HARD.all(RESOURCE)} > 0)"
_EACH_RATIO: Final = f"{EACH_GRANTED.all(_OF_QUOTA)} / ({EACH_HARD.all(_OF_QUOTA)} > 0)"
_TOGETHER: Final = f"on {labels(RESOURCE)} group_left ()"
#: Of a quota that selects all that is granted and allows no less than the strictest unscoped one, which may be itself,
#: the namespace's own alerts have said it already.
_UNLESS_SAID: Final = (
    f"unless ({EACH_HARD.all(_OF_QUOTA)} >= {_TOGETHER} {HARD.all(RESOURCE)}"
    f" and {EACH_GRANTED.all(_OF_QUOTA)} == {_TOGETHER} {GRANTED.all(RESOURCE)})"
)


def _grew(since: str, until: str = "") -> str:
    """Return what was granted `until` (an offset, "" is now) where that is more than at `since`."""
    return f"({GRANTED.all(RESOURCE, until)} > {GRANTED.all(RESOURCE, since)})"


#: A single deployment makes a trend for a day, two make two steps; and what comes by day and goes by night is no more
#: than yesterday. Only what grew in each part of the day goes on growing.
_STILL_GROWS: Final = (_grew(" offset 6h"), _grew(" offset 12h", " offset 6h"), _grew(" offset 1d", " offset 12h"))


# ---------------------------------------------------------------- texts

_AMOUNTS: Final = f"{told(GRANTED, RESOURCE, BARE)} of {told(HARD, RESOURCE, UNITS)}"
_EACH_AMOUNTS: Final = f"{told(EACH_GRANTED, _OF_QUOTA, BARE)} of {told(EACH_HARD, _OF_QUOTA, UNITS)}"
_HOLDERS: Final = holders()

_NAMESPACE_QUERIES: Final = (
    f'{c.NAMESPACE_QUOTA_INFO.name}{{namespace="NAMESPACE"}}',
    *(f"sort_desc({query})" for query in per_pod('{namespace="NAMESPACE"}')),
)
_NAMESPACE_COMMANDS: Final = (
    "kubectl get resourcequota -n NAMESPACE -o yaml",
    "kubectl get pods -n NAMESPACE -o wide --sort-by=.metadata.creationTimestamp",
)


# ---------------------------------------------------------------- the strictest unscoped quota

_ALMOST: Final = Threshold(0.9, "share of the quota that is granted")

_OF_NAMESPACES: Final = (
    Alert(
        name="VgpuQuotaAlmostFull",
        scope="tenant",
        expr=joined(_RATIO, "> $threshold < 1"),
        wait="15m",
        severity="info",
        threshold=_ALMOST,
        summary="The vGPU quota of namespace {{ $labels.namespace }} is almost full.",
        description=(
            "Namespace {{ $labels.namespace }} was granted {{ $value | humanizePercentage }} of its quota of "
            f"{{{{ $labels.resource }}}}: {_AMOUNTS}.{_HOLDERS} Raise the quota or give grants back before a new pod "
            "is refused."
        ),
        meaning="Little of the namespace's quota is left; nothing is refused yet.",
        impact="Nothing yet. The next pod that asks for more than the rest will not start.",
        queries=_NAMESPACE_QUERIES,
        commands=_NAMESPACE_COMMANDS,
        mitigation=(
            "Ask the owner whether the namespace is meant to grow; if so, raise the quota.",
            "Look for grants that nobody uses (`VgpuGrantIdle`): deleting such a pod frees quota at once.",
        ),
    ),
    Alert(
        name="VgpuQuotaExhaustionForecast",
        scope="tenant",
        expr=joined(
            f"(predict_linear(({GRANTED.all(RESOURCE)})[1d:5m], $threshold) / ({HARD.all(RESOURCE)} > 0) > 1)",
            f"and ({_RATIO} < 1)",
            *(f"and {grew}" for grew in _STILL_GROWS),
        ),
        wait="1h",
        severity="info",
        threshold=Threshold(86400, "seconds to look ahead", is_time=True),
        summary="The vGPU quota of namespace {{ $labels.namespace }} will soon be full.",
        description=(
            "Namespace {{ $labels.namespace }} holds " + _AMOUNTS + " of {{ $labels.resource }}, and more every few "
            "hours. If it goes on as since yesterday it will soon want {{ $value | humanizePercentage }} of its quota. "
            "Settle with the owner whether to raise the quota or to bound what grows."
        ),
        meaning=(
            "What the namespace is granted has grown since yesterday and still grows, such that its quota will soon be "
            "full. One deployment, however large, is no such growth."
        ),
        impact="Nothing yet. Pods will be refused once it is full.",
        queries=(GRANTED.shown(), HARD.shown()),
        commands=_NAMESPACE_COMMANDS,
        mitigation=(
            "See what grows: an autoscaler, a queue of jobs, a rollout that leaves old pods behind.",
            "Raise the quota, or bound what grows (HPA's maxReplicas, a Job's parallelism).",
        ),
    ),
    Alert(
        name="VgpuQuotaFull",
        scope="tenant",
        expr=joined(_RATIO, "== 1"),
        wait="15m",
        severity="info",
        summary="The vGPU quota of namespace {{ $labels.namespace }} is full.",
        description=(
            f"Namespace {{{{ $labels.namespace }}}} was granted all of its quota of {{{{ $labels.resource }}}}: "
            f"{_AMOUNTS}.{_HOLDERS} That is legitimate; a rollout that starts new pods before old ones end will hang. "
            "Raise the quota if the namespace is meant to grow."
        ),
        meaning="The namespace was granted exactly what it may be granted.",
        impact="Running pods feel nothing. New pods wait or are refused, also those of a rolling update.",
        queries=(*_NAMESPACE_QUERIES, f'{c.NAMESPACE_PENDING_PODS.name}{{namespace="NAMESPACE"}}'),
        commands=_NAMESPACE_COMMANDS,
        mitigation=(
            "Nothing, if the namespace is meant to be full.",
            (
                "If a rollout hangs: set the Deployment's `maxSurge: 0` and `maxUnavailable: 1`, or raise the quota by "
                "one pod."
            ),
            "Look for grants that nobody uses (`VgpuGrantIdle`).",
        ),
    ),
    Alert(
        name="VgpuQuotaExceeded",
        scope="tenant",
        expr=joined(GRANTED.all(RESOURCE), f"> {HARD.all(RESOURCE)}"),
        wait="15m",
        severity="warning",
        summary="Namespace {{ $labels.namespace }} was granted more than its vGPU quota.",
        description=(
            "Namespace {{ $labels.namespace }} holds more {{ $labels.resource }} than it may: " + _AMOUNTS + "."
            f"{_HOLDERS} Either the quota was lowered under running pods, or nobody enforces its key (memory and cores "
            "need limits.*, numbers of vGPUs requests.*). Raise the quota or delete pods."
        ),
        meaning="The namespace holds more than its strictest quota allows, which admission should have refused.",
        impact="This namespace takes what others were to have; its own pods may not start again once they end.",
        queries=(*_NAMESPACE_QUERIES, VIEW.shown()),
        commands=(*_NAMESPACE_COMMANDS, "kubectl get resourcequota -n NAMESPACE --show-managed-fields -o yaml"),
        mitigation=(
            "Was the quota lowered (managedFields says when)? Then agree with the owner which pods go.",
            (
                "Does nobody enforce it? HAMi enforces memory and cores under `limits.<resource>` only, Kubernetes "
                "numbers of vGPUs under `requests.<resource>` only. Under `requests.nvidia.com/gpumem` Kubernetes "
                "counts a container with two GPUs once. See `VgpuQuotaUnenforced`."
            ),
            "Does HAMi go by another quota? See `VgpuQuotaMisreadByHami`. Up to 2.9 it takes a quota of 0 for none.",
            "Are there pods of before the quota? It is right as soon as they end.",
        ),
    ),
)


# ---------------------------------------------------------------- each other object by itself

_SCOPED_QUERIES: Final = (EACH_GRANTED.shown(',quota="QUOTA"'), EACH_HARD.shown(',quota="QUOTA"'))
_SCOPED_COMMANDS: Final = (
    "kubectl get resourcequota -n NAMESPACE QUOTA -o yaml",
    (
        "kubectl get pods -n NAMESPACE -o custom-columns=NAME:.metadata.name,PRIORITY:.spec.priorityClassName,"
        "DEADLINE:.spec.activeDeadlineSeconds,QOS:.status.qosClass"
    ),
)
_SCOPED_NOTE: Final = "It is a quota of some of the namespace's pods (scopes, or a scopeSelector)."

_OF_SCOPED: Final = (
    Alert(
        name="VgpuScopedQuotaAlmostFull",
        scope="tenant",
        expr=joined(_EACH_RATIO, "> $threshold < 1", _UNLESS_SAID),
        wait="15m",
        severity="info",
        threshold=_ALMOST,
        summary="The quota {{ $labels.quota }} of namespace {{ $labels.namespace }} is almost full.",
        description=(
            "The pods that quota {{ $labels.namespace }}/{{ $labels.quota }} selects were granted "
            f"{{{{ $value | humanizePercentage }}}} of its {{{{ $labels.resource }}}}: {_EACH_AMOUNTS}. Raise it or "
            "give grants back before a new pod that it selects is refused."
        ),
        meaning=f"Little of one ResourceQuota is left. {_SCOPED_NOTE}",
        impact="Nothing yet. The next pod that it selects and that asks for more than the rest will not start.",
        queries=_SCOPED_QUERIES,
        commands=_SCOPED_COMMANDS,
        mitigation=("As for `VgpuQuotaAlmostFull`, for the pods that the quota selects.",),
    ),
    Alert(
        name="VgpuScopedQuotaFull",
        scope="tenant",
        expr=joined(_EACH_RATIO, "== 1", _UNLESS_SAID),
        wait="15m",
        severity="info",
        summary="The quota {{ $labels.quota }} of namespace {{ $labels.namespace }} is full.",
        description=(
            "The pods that quota {{ $labels.namespace }}/{{ $labels.quota }} selects were granted all of its "
            f"{{{{ $labels.resource }}}}: {_EACH_AMOUNTS}. That is legitimate; raise it if they are meant to grow."
        ),
        meaning=f"The pods of one ResourceQuota hold exactly what it allows. {_SCOPED_NOTE}",
        impact="Running pods feel nothing. New pods that it selects wait or are refused.",
        queries=_SCOPED_QUERIES,
        commands=_SCOPED_COMMANDS,
        mitigation=("As for `VgpuQuotaFull`, for the pods that the quota selects.",),
    ),
    Alert(
        name="VgpuScopedQuotaExceeded",
        scope="tenant",
        expr=joined(EACH_GRANTED.all(_OF_QUOTA), f"> {EACH_HARD.all(_OF_QUOTA)}", _UNLESS_SAID),
        wait="15m",
        severity="warning",
        summary="More was granted than quota {{ $labels.quota }} of namespace {{ $labels.namespace }} allows.",
        description=(
            "The pods that quota {{ $labels.namespace }}/{{ $labels.quota }} selects hold more {{ $labels.resource }} "
            "than it allows: " + _EACH_AMOUNTS + ". HAMi knows no scopes, and Kubernetes does not count limits.* keys, "
            "so perhaps nobody enforces it: agree with the owner which pods go."
        ),
        meaning=f"The pods of one ResourceQuota hold more than it allows. {_SCOPED_NOTE}",
        impact="These pods take what the quota was to keep for others.",
        queries=_SCOPED_QUERIES,
        commands=_SCOPED_COMMANDS,
        mitigation=(
            (
                "HAMi ignores scopes: a `limits.<resource>` key bounds the whole namespace, that of the quota changed "
                "last. Kubernetes honours scopes, but counts `requests.<resource>` keys only."
            ),
            "To bound a class of pods for certain, give them a namespace of their own with an unscoped quota.",
        ),
    ),
)


ALERTS: Final = (*_OF_NAMESPACES, *_OF_SCOPED)
