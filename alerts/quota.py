"""Alerts on what a namespace was granted against what it may be granted.

All are of the quota role, which reads `limits.`, `requests.` and bare keys as one resource.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from alerts.promql import NAMESPACE, RESOURCE, either, joined, labels, select
from alerts.rules import Alert, Threshold
from alerts.templates import amount, matchers, sentence
from exporter import catalogue as c

if TYPE_CHECKING:
    from exporter.catalogue import Metric

_OF_QUOTA: Final = (*NAMESPACE, "quota", "resource")


class Measures(NamedTuple):
    """One figure's metrics: that of memory, of cores and of device counts."""

    memory: Metric[Any]
    core: Metric[Any]
    devices: Metric[Any]

    def all(self, by: tuple[str, ...], offset: str = "") -> str:
        """Return the figure of every resource: no two measures share a resource, so one union has them all."""
        return f"max by {labels(by)} {either(*(select(metric, window=offset) for metric in self))}"


GRANTED: Final = Measures(c.NAMESPACE_GRANTED_MEMORY, c.NAMESPACE_GRANTED_CORE, c.NAMESPACE_GRANTED_DEVICES)
HARD: Final = Measures(c.NAMESPACE_QUOTA_MEMORY, c.NAMESPACE_QUOTA_CORE, c.NAMESPACE_QUOTA_DEVICES)
_SCOPED_GRANTED: Final = Measures(c.QUOTA_GRANTED_MEMORY, c.QUOTA_GRANTED_CORE, c.QUOTA_GRANTED_DEVICES)
_SCOPED_HARD: Final = Measures(c.QUOTA_MEMORY, c.QUOTA_CORE, c.QUOTA_DEVICES)


def _ratio(offset: str = "") -> str:
    return f"{GRANTED.all(RESOURCE, offset)} / ({HARD.all(RESOURCE, offset)} > 0)"


#: Objects other than the strictest unscoped one, which the namespace's own alerts are about.
_OTHERS: Final = f"unless max by {labels(_OF_QUOTA)} ({select(c.NAMESPACE_QUOTA_INFO)})"
_SCOPED_RATIO: Final = f"{_SCOPED_GRANTED.all(_OF_QUOTA)} / ({_SCOPED_HARD.all(_OF_QUOTA)} > 0)"


# ---------------------------------------------------------------- texts


def _said(measures: Measures, names: tuple[str, ...]) -> str:
    """Return a template that says the figure of the alert's labels in its own unit."""
    units = ("{{ .Value | humanize1024 }}B", "{{ .Value | humanize }} GPUs", "{{ .Value | humanize }} vGPUs")
    figures = (f"max({metric.name}{matchers(names)})" for metric in measures)
    return "".join(amount(figure, names, unit) for figure, unit in zip(figures, units, strict=True))


_MEMORY: Final = c.CONTAINER_MEMORY_GRANTED
_EACH: Final = f"max by (node, device_uuid, pod, container) ({_MEMORY.name}{matchers(NAMESPACE)})"
#: Who holds most, where the node role is scraped, too.
_HOLDERS: Final = sentence(
    "Most memory is granted to", f"topk(3, sum by (pod) ({_EACH}) > 0)", NAMESPACE,
    "{{ .Labels.pod }} ({{ .Value | humanize1024 }}B)",
)  # fmt: skip
AMOUNTS: Final = f"{_said(GRANTED, RESOURCE)} of {_said(HARD, RESOURCE)}"
_SCOPED_AMOUNTS: Final = f"{_said(_SCOPED_GRANTED, _OF_QUOTA)} of {_said(_SCOPED_HARD, _OF_QUOTA)}"

_NAMESPACE_QUERIES: Final = (
    f'sort_desc(sum by (pod) (max by (node, device_uuid, pod, container) ({_MEMORY.name}{{namespace="NAMESPACE"}})))',
    f'{c.NAMESPACE_QUOTA_INFO.name}{{namespace="NAMESPACE"}}',
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
        expr=joined(_ratio(), "> $threshold < 1"),
        wait="15m",
        severity="info",
        threshold=_ALMOST,
        summary="The vGPU quota of namespace {{ $labels.namespace }} is almost full.",
        description=(
            "Namespace {{ $labels.namespace }} was granted {{ $value | humanizePercentage }} of its quota of "
            f"{{{{ $labels.resource }}}}: {AMOUNTS}.{_HOLDERS} Raise the quota or give grants back before a new pod "
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
            f"and ({_ratio()} < 1)",
            f"and ({_ratio(' offset 1d')})",
        ),
        wait="1h",
        severity="info",
        threshold=Threshold(86400, "seconds to look ahead", is_time=True),
        summary="The vGPU quota of namespace {{ $labels.namespace }} will soon be full.",
        description=(
            "Namespace {{ $labels.namespace }} holds " + AMOUNTS + " of {{ $labels.resource }}. If it goes on as "
            "since yesterday it will soon want {{ $value | humanizePercentage }} of its quota. Settle with the owner "
            "whether to raise the quota."
        ),
        meaning="What the namespace is granted grows such that its quota will be full within a day.",
        impact="Nothing yet. Pods will be refused once it is full.",
        queries=(
            f'{c.NAMESPACE_GRANTED_MEMORY.name}{{namespace="NAMESPACE"}}',
            f'delta({c.NAMESPACE_GRANTED_MEMORY.name}{{namespace="NAMESPACE"}}[1d])',
        ),
        commands=_NAMESPACE_COMMANDS,
        mitigation=(
            "See what grows: an autoscaler, a queue of jobs, a rollout that leaves old pods behind.",
            "Raise the quota, or bound what grows (HPA's maxReplicas, a Job's parallelism).",
        ),
    ),
    Alert(
        name="VgpuQuotaFull",
        scope="tenant",
        expr=joined(_ratio(), "== 1"),
        wait="15m",
        severity="info",
        summary="The vGPU quota of namespace {{ $labels.namespace }} is full.",
        description=(
            f"Namespace {{{{ $labels.namespace }}}} was granted all of its quota of {{{{ $labels.resource }}}}: "
            f"{AMOUNTS}.{_HOLDERS} That is legitimate; a rollout that starts new pods before old ones end will hang. "
            "Raise the quota if the namespace is meant to grow."
        ),
        meaning="The namespace was granted exactly what it may be granted.",
        impact="Running pods feel nothing. New pods wait or are refused, also those of a rolling update.",
        queries=(*_NAMESPACE_QUERIES, f'{c.NAMESPACE_PENDING_PODS.name}{{namespace="NAMESPACE"}}'),
        commands=_NAMESPACE_COMMANDS,
        mitigation=(
            "Nothing, if the namespace is meant to be full.",
            "If a rollout hangs: set the Deployment's `maxSurge: 0`, or raise the quota by one pod.",
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
            "Namespace {{ $labels.namespace }} holds " + AMOUNTS + " of {{ $labels.resource }}, more than it may."
            f"{_HOLDERS} Either the quota was lowered under running pods, or nobody enforces it: see whether "
            "VgpuQuotaUnenforced or VgpuQuotaMisreadByHami fires, then raise the quota or delete pods."
        ),
        meaning="The namespace holds more than its strictest quota allows, which admission should have refused.",
        impact="This namespace takes what others were to have; its own pods will not start again once they end.",
        queries=(
            *_NAMESPACE_QUERIES,
            f'{c.NAMESPACE_QUOTA_VIEW_MEMORY.name}{{namespace="NAMESPACE"}}',
        ),
        commands=(*_NAMESPACE_COMMANDS, "kubectl get resourcequota -n NAMESPACE --show-managed-fields -o yaml"),
        mitigation=(
            "Was the quota lowered (managedFields says when)? Then agree with the owner which pods go.",
            (
                "Is the quota written with `requests.`? Kubernetes then counts a pod with two GPUs once, and HAMi does "
                "not count at all: write it with `limits.`."
            ),
            "Was it exceeded by an old pod of before the quota? It is right as soon as that pod ends.",
        ),
    ),
)


# ---------------------------------------------------------------- each other object by itself

_SCOPED_QUERIES: Final = (
    f'{c.QUOTA_GRANTED_MEMORY.name}{{namespace="NAMESPACE",quota="QUOTA"}}',
    f'{c.QUOTA_MEMORY.name}{{namespace="NAMESPACE",quota="QUOTA"}}',
)
_SCOPED_COMMANDS: Final = (
    "kubectl get resourcequota -n NAMESPACE QUOTA -o yaml",
    (
        "kubectl get pods -n NAMESPACE -o custom-columns=NAME:.metadata.name,PRIORITY:.spec.priorityClassName,"
        "DEADLINE:.spec.activeDeadlineSeconds,QOS:.status.qosClass"
    ),
)
_SCOPED_NOTE: Final = (
    "It is a quota of some of the namespace's pods (scopes, or a scopeSelector), or one that is looser than another."
)

_OF_SCOPED: Final = (
    Alert(
        name="VgpuScopedQuotaAlmostFull",
        scope="tenant",
        expr=joined(_SCOPED_RATIO, "> $threshold < 1", _OTHERS),
        wait="15m",
        severity="info",
        threshold=_ALMOST,
        summary="The quota {{ $labels.quota }} of namespace {{ $labels.namespace }} is almost full.",
        description=(
            "The pods that quota {{ $labels.namespace }}/{{ $labels.quota }} selects were granted "
            f"{{{{ $value | humanizePercentage }}}} of its {{{{ $labels.resource }}}}: {_SCOPED_AMOUNTS}. Raise it or "
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
        expr=joined(_SCOPED_RATIO, "== 1", _OTHERS),
        wait="15m",
        severity="info",
        summary="The quota {{ $labels.quota }} of namespace {{ $labels.namespace }} is full.",
        description=(
            "The pods that quota {{ $labels.namespace }}/{{ $labels.quota }} selects were granted all of its "
            f"{{{{ $labels.resource }}}}: {_SCOPED_AMOUNTS}. That is legitimate; raise it if they are meant to grow."
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
        expr=joined(_SCOPED_GRANTED.all(_OF_QUOTA), f"> {_SCOPED_HARD.all(_OF_QUOTA)}", _OTHERS),
        wait="15m",
        severity="warning",
        summary="More was granted than quota {{ $labels.quota }} of namespace {{ $labels.namespace }} allows.",
        description=(
            "The pods that quota {{ $labels.namespace }}/{{ $labels.quota }} selects hold " + _SCOPED_AMOUNTS + " of "
            "{{ $labels.resource }}. HAMi knows no scopes, and Kubernetes does not count limits of accelerators, so it "
            "may be that nobody enforces this quota: agree with the owner which pods go."
        ),
        meaning=f"The pods of one ResourceQuota hold more than it allows. {_SCOPED_NOTE}",
        impact="These pods take what the quota was to keep for others.",
        queries=_SCOPED_QUERIES,
        commands=_SCOPED_COMMANDS,
        mitigation=(
            "HAMi ignores scopes: it takes each quota's figures for the whole namespace, the one changed last wins.",
            "To bound a class of pods for certain, give them a namespace of their own with an unscoped quota.",
        ),
    ),
)


ALERTS: Final = (*_OF_NAMESPACES, *_OF_SCOPED)
