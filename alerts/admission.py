"""Alerts on pods that wait or are refused, and on who reads a quota otherwise than it is meant."""

from __future__ import annotations

from typing import Final

from alerts.promql import DEPLOYMENT_CONDITION, NAMESPACE, RESOURCE, either, joined, labels, once, select
from alerts.quota import AMOUNTS, GRANTED, HARD, Measures
from alerts.rules import Alert, Threshold
from exporter import catalogue as c

_VIEW: Final = Measures(
    c.NAMESPACE_QUOTA_VIEW_MEMORY, c.NAMESPACE_QUOTA_VIEW_CORE, c.NAMESPACE_QUOTA_VIEW_DEVICES
)  # fmt: skip


#: Kubernetes counts a pod from its admission on, we from when it is bound.
_NOBODY_WAITS: Final = f"unless on {labels(NAMESPACE)} ({once(c.NAMESPACE_PENDING_PODS)} > 0)"

# ---------------------------------------------------------------- pods that do not start

_WAITING: Final = (
    Alert(
        name="VgpuPodsPending",
        scope="tenant",
        expr=joined(once(c.NAMESPACE_PENDING_PODS), "> $threshold"),
        wait="15m",
        severity="warning",
        threshold=Threshold(0, "pods that may wait"),
        summary="Pods of namespace {{ $labels.namespace }} wait for a vGPU ({{ $labels.reason }}).",
        description=(
            "{{ $value | humanize }} pod(s) of namespace {{ $labels.namespace }} that ask for vGPUs are not scheduled; "
            "the scheduler's reason is {{ $labels.reason }}. quota: raise it or free grants; memory, cores, no_card: "
            "no GPU has room for one more; other: read the pod's events."
        ),
        meaning="Pods that ask for vGPUs are waiting to be scheduled, for the reason in the label.",
        impact="Their owner waits: a model does not come up, a job does not begin, a rollout hangs.",
        queries=(
            f'{c.NAMESPACE_PENDING_PODS.name}{{namespace="NAMESPACE"}} > 0',
            "topk(5, device:vgpu_memory_schedulable_free_bytes:diff)",
            "topk(5, device:vgpu_core_schedulable_free_ratio:diff)",
            "topk(5, device:vgpu_slots_free:diff)",
        ),
        commands=(
            "kubectl get pods -n NAMESPACE --field-selector status.phase=Pending",
            "kubectl describe pod -n NAMESPACE POD",
            "kubectl logs -n kube-system -l app.kubernetes.io/component=hami-scheduler --all-containers --tail=200",
        ),
        mitigation=(
            "`quota`: see `VgpuQuotaFull`.",
            (
                "`memory`, `cores`: compare what the pod asks for with the room on the best GPU (queries above); make "
                "it ask for less, free idle grants, or add a GPU. Room in sum does not help: a vGPU is never spread "
                "over two."
            ),
            "`no_card`: no node has such a GPU, or each is at its number of vGPUs; look at the node selectors.",
            "`other`: CPU, memory, taints, volumes: the pod's events say which.",
        ),
    ),
    Alert(
        name="VgpuPodsRefused",
        scope="tenant",
        expr=joined(
            f"max by {labels((*NAMESPACE, 'deployment'))} "
            f'({DEPLOYMENT_CONDITION}{{condition="ReplicaFailure",status="true",exported_namespace=""}}) == 1',
            f"and on {labels(NAMESPACE)} {HARD.all(RESOURCE)}",
        ),
        wait="15m",
        severity="warning",
        summary="Pods of Deployment {{ $labels.namespace }}/{{ $labels.deployment }} are refused.",
        description=(
            "The API server refuses to create pods of Deployment {{ $labels.namespace }}/{{ $labels.deployment }}, "
            "whose namespace has a vGPU quota. Since 2.9 HAMi's webhook refuses a pod that would exceed the quota, so "
            "that it never shows as pending: read the ReplicaSet's events, then raise the quota or ask for less."
        ),
        meaning="Pods are refused on creation, in a namespace with a vGPU quota (needs kube-state-metrics).",
        impact="Replicas are missing, and no pending pod shows it.",
        queries=(f'{c.NAMESPACE_GRANTED_MEMORY.name}{{namespace="NAMESPACE"}}',),
        commands=(
            (
                "kubectl get deployment -n NAMESPACE DEPLOYMENT -o "
                "jsonpath='{.status.conditions[?(@.type==\"ReplicaFailure\")]}'"
            ),
            "kubectl get events -n NAMESPACE --field-selector reason=FailedCreate",
        ),
        mitigation=(
            (
                "The event names who refused: `exceeded quota` or HAMi's webhook (the vGPU quota), Pod Security, "
                "another webhook."
            ),
            "If it is the vGPU quota: raise it, free grants, or lower what the pod asks for.",
            "Jobs and StatefulSets have no such condition: for these, the events alone tell.",
        ),
    ),
)


# ---------------------------------------------------------------- who reads a quota how


def _seen(view: str) -> str:
    where = f'view="{view}"'
    return f"max by {labels((*RESOURCE, 'view'))} {either(*(select(metric, where) for metric in _VIEW))}"


_BESIDE: Final = f"on {labels(RESOURCE)} group_left ()"
_VIEW_QUERIES: Final = (
    f'{c.NAMESPACE_QUOTA_VIEW_MEMORY.name}{{namespace="NAMESPACE"}}',
    f'{c.NAMESPACE_QUOTA_MEMORY.name}{{namespace="NAMESPACE"}}',
    f'{c.NAMESPACE_GRANTED_MEMORY.name}{{namespace="NAMESPACE"}}',
)

_DISAGREEMENTS: Final = (
    Alert(
        name="VgpuQuotaMisreadByHami",
        scope="tenant",
        expr=joined(
            f"({_seen('hami_hard')} != {_BESIDE} {HARD.all(RESOURCE)})",
            f"or (({_seen('hami_used')} != {_BESIDE} {GRANTED.all(RESOURCE)})",
            f"and on {labels(RESOURCE)} {HARD.all(RESOURCE)})",
        ),
        wait="15m",
        severity="warning",
        summary="HAMi reads the vGPU quota of namespace {{ $labels.namespace }} otherwise than it is written.",
        description=(
            "For {{ $labels.resource }} of namespace {{ $labels.namespace }} HAMi's figure ({{ $labels.view }}) is "
            f"another than ours; we read {AMOUNTS}. HAMi takes the quota that was changed last, reads limits. only, "
            "and whole numbers only: write one quota per namespace, with limits. and plain numbers."
        ),
        meaning="HAMi, which admits pods, has another limit (`hami_hard`) or count (`hami_used`) than the objects say.",
        impact="Pods are refused although there is room, or admitted although there is none.",
        queries=_VIEW_QUERIES,
        commands=("kubectl get resourcequota -n NAMESPACE -o yaml",),
        mitigation=(
            (
                "`hami_hard`: several quotas name the resource (HAMi takes the last changed, we the strictest), it "
                "stands in `requests.` too, or it is written as `16Gi`. Merge them to one, e.g. "
                "`limits.nvidia.com/gpumem: 20000`."
            ),
            (
                "`hami_used`: a pod's annotation promises more than the pod asks for, which HAMi believes and we do "
                "not. See whether `VgpuGrantsRejected` fires, and recreate that pod."
            ),
        ),
    ),
    Alert(
        name="VgpuQuotaMiscountedByKubernetes",
        scope="tenant",
        expr=joined(
            f"({_seen('kubernetes_used')} > 0)",
            f"!= {_BESIDE} {GRANTED.all(RESOURCE)}",
            _NOBODY_WAITS,
        ),
        wait="15m",
        severity="info",
        summary="Kubernetes counts the vGPU quota of namespace {{ $labels.namespace }} otherwise than HAMi grants.",
        description=(
            "For {{ $labels.resource }} of namespace {{ $labels.namespace }} Kubernetes' own count is another than "
            "what "
            f"was granted; we read {AMOUNTS}. Kubernetes does not multiply by the number of GPUs. Write the quota with "
            "limits. instead of requests., so that HAMi enforces it."
        ),
        meaning="The quota's `status.used` is not what was granted: Kubernetes does not multiply by the GPUs of a pod.",
        impact="`kubectl describe quota` misleads, and Kubernetes admits more than the quota was meant to allow.",
        queries=_VIEW_QUERIES,
        commands=("kubectl describe resourcequota -n NAMESPACE",),
        mitigation=(
            "Write the key as `limits.<resource>` instead of `requests.<resource>`: then HAMi counts, rightly.",
        ),
    ),
    Alert(
        name="VgpuQuotaUnenforced",
        scope="tenant",
        expr=joined(
            f"({HARD.all(RESOURCE)} >= 0 and on {labels(RESOURCE)} {_seen('hami_used')})",
            f"unless on {labels(RESOURCE)} {_seen('hami_hard')}",
        ),
        wait="15m",
        severity="info",
        summary="HAMi does not enforce the quota of {{ $labels.resource }} in namespace {{ $labels.namespace }}.",
        description=(
            "Namespace {{ $labels.namespace }} has a quota of {{ $labels.resource }}, and HAMi grants that resource, "
            "but "
            f"HAMi does not read the quota; we read {AMOUNTS}. HAMi reads limits. keys with whole numbers only: write "
            "the quota so."
        ),
        meaning="A quota is set in a way that HAMi does not read: it bounds less than its author believes.",
        impact="The namespace can be granted more than the quota says; others may find no room.",
        queries=_VIEW_QUERIES,
        commands=("kubectl get resourcequota -n NAMESPACE -o yaml",),
        mitigation=(
            "Write `limits.nvidia.com/gpumem` (in MiB) and `limits.nvidia.com/gpucores` (in percent of a GPU).",
            "HAMi older than 2.7 has no quotas at all.",
        ),
    ),
)

ALERTS: Final = (*_WAITING, *_DISAGREEMENTS)
