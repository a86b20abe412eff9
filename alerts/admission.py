"""Alerts on pods that wait or are refused, and on who reads a quota otherwise than it is meant."""

from __future__ import annotations

from typing import Final

from alerts.amounts import BARE, EACH_HARD, GRANTED, HARD, UNITS, VIEW, told
from alerts.promql import DEPLOYMENT_CONDITION, NAMESPACE, RESOURCE, either, joined, labels, once, select
from alerts.rules import Alert, Threshold
from alerts.templates import chosen, plural
from exporter import catalogue as c

#: Kubernetes counts a pod from its admission on, we from when it is bound.
_NOBODY_WAITS: Final = f"unless on {labels(NAMESPACE)} ({once(c.NAMESPACE_PENDING_PODS)} > 0)"

# ---------------------------------------------------------------- pods that do not start

_NO_ROOM: Final = (
    "No GPU has as much {} left as is asked for, though there may be room in sum: ask for less, end pods that do not "
    "use their grants, or add a GPU"
)
#: Each reason's own; a test holds the list against the exporter's.
_WHAT_TO_DO: Final = {
    "quota": "The namespace's quota has no room for them: raise it, or end pods that do not use their grants",
    "memory": _NO_ROOM.format("memory"),
    "cores": _NO_ROOM.format("of its cores"),
    "no_card": "No GPU suits them, or HAMi (up to 2.9) does not say what is missing: read the pods' events",
    "other": "It is not for want of a vGPU, or the scheduler has not tried yet: read the pods' events",
}

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
            f"{{{{ $value }}}} {plural('$value', 'pod', 'pods')} of namespace {{{{ $labels.namespace }}}} asking for "
            f"vGPUs cannot be scheduled. {chosen('reason', _WHAT_TO_DO)}."
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
            "kubectl get resourcequota -n NAMESPACE",
            (
                "kubectl logs -n kube-system -l app.kubernetes.io/component=hami-scheduler --all-containers "
                "--tail=2000 | grep POD"
            ),
        ),
        mitigation=(
            (
                "`quota`: see `VgpuQuotaFull`. If no quota is full: HAMi ignores scopes, so a `limits.*` key of a "
                "quota with scopes bounds all pods of the namespace."
            ),
            (
                "`memory`, `cores`: compare what the pod asks for with the room on the best GPU (queries above); make "
                "it ask for less, end pods with idle grants (`VgpuGrantIdle`), or add a GPU. Room in sum does not "
                "help: a vGPU is never spread over two."
            ),
            (
                "`no_card`: no node has such a GPU, or each is unhealthy or has its full number of vGPUs; look at "
                "the pod's node selector and its `nvidia.com/use-gputype` annotation. HAMi up to 2.9 tells the "
                "scheduler no more than that no node fits: an event of the pod says whether it is quota, memory or "
                "cores."
            ),
            "`other`: CPU, memory, taints, volumes: the pod's events say which. Without events no scheduler has tried.",
        ),
    ),
    Alert(
        name="VgpuPodsRefused",
        scope="tenant",
        expr=joined(
            f"max by {labels((*NAMESPACE, 'deployment'))} "
            f'({DEPLOYMENT_CONDITION}{{condition="ReplicaFailure",status="true",exported_namespace=""}}) == 1',
            f"and on {labels(NAMESPACE)} {EACH_HARD.all(RESOURCE)}",
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
        queries=(GRANTED.shown(), EACH_HARD.shown()),
        commands=(
            (
                "kubectl get deployment -n NAMESPACE DEPLOYMENT -o "
                "jsonpath='{.status.conditions[?(@.type==\"ReplicaFailure\")].message}'"
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
    return f"max by {labels((*RESOURCE, 'view'))} {either(*(select(metric, where) for metric in VIEW))}"


_BESIDE: Final = f"on {labels(RESOURCE)} group_left ()"
_VIEW_QUERIES: Final = (VIEW.shown(), HARD.shown(), GRANTED.shown())
_THEIRS: Final = told(VIEW, (*RESOURCE, "view"), UNITS)
_WRITTEN: Final = told(HARD, RESOURCE, UNITS)
_WAS_GRANTED: Final = told(GRANTED, RESOURCE, UNITS)
_WHERE: Final = "of {{ $labels.resource }} in namespace {{ $labels.namespace }}"
_ONE_KEY: Final = "limits.{{ $labels.resource }}"
#: What Kubernetes counts: of memory and cores, and of numbers of vGPUs.
_ONCE: Final = (
    f"a container once, however many GPUs it asks for, and no percentages: write the quota as {_ONE_KEY}, which HAMi "
    "enforces"
)
_NOT_SERVED: Final = "pods that HAMi gave nothing, too: see which pod asks for vGPUs and has no annotation of HAMi's"
#: What pods ask for, and what HAMi has written.
_ASKED_AND_ANNOTATED: Final = (
    "kubectl get pods -n NAMESPACE -o custom-columns='NAME:.metadata.name,PHASE:.status.phase,"
    "ASKED:.spec.containers[*].resources.limits,INIT:.spec.initContainers[*].resources.limits,"
    "ANNOTATION:.metadata.annotations.hami\\.io/vgpu-devices-allocated'"
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
        summary=(
            "HAMi "
            + chosen(
                "view",
                {
                    "hami_hard": f"goes by another quota {_WHERE} than the strictest",
                    "hami_used": f"counts other grants {_WHERE} than were made",
                },
            )
            + "."
        ),
        description=chosen(
            "view",
            {
                "hami_hard": (
                    f"HAMi allows {_THEIRS} {_WHERE}; the strictest quota says {_WRITTEN}. HAMi goes by the quota that "
                    "was changed last, ignores scopes and reads limits.* keys only: keep one quota of this resource, "
                    f"written as {_ONE_KEY}"
                ),
                "hami_used": (
                    f"HAMi counts {_THEIRS} {_WHERE}; granted: {_WAS_GRANTED}. HAMi believes what pods' annotations "
                    "say: find the pod whose annotation says more than the pod asks for, and recreate it"
                ),
            },
        )
        + ".",
        meaning=(
            "HAMi, which admits pods, has another limit (`hami_hard`) than the objects say, or another count "
            "(`hami_used`) than what was granted."
        ),
        impact="Pods are refused although there is room, or admitted although there is none.",
        queries=_VIEW_QUERIES,
        commands=(
            "kubectl get resourcequota -n NAMESPACE -o yaml",
            _ASKED_AND_ANNOTATED,
        ),
        mitigation=(
            (
                "`hami_hard`: several quotas name the resource (HAMi takes the one that was changed last, scopes or "
                "not, we the strictest without scopes), or one quota names it under `limits.*` and, stricter, under "
                "another key. Merge them to one, e.g. `limits.nvidia.com/gpumem: 20000` (MiB)."
            ),
            (
                "`hami_used`: a pod's annotation promises more than the pod asks for, which HAMi believes and we do "
                "not (the exporter's log names it: `grant_above_request`): delete that pod, and see "
                "`VgpuGrantsRejected`."
            ),
            (
                "`hami_used`, too: a pod whose init containers ask for vGPUs. HAMi up to 2.9 adds them to those of the "
                "others, though they are not held at the same time."
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
            f"Kubernetes counts {_THEIRS} {_WHERE}; granted: {_WAS_GRANTED}. It counts "
            f"{told(HARD, RESOURCE, (_ONCE, _ONCE, _NOT_SERVED))}."
        ),
        meaning="The quota's `status.used` is not what was granted.",
        impact="`kubectl describe quota` misleads, and Kubernetes admits more, or less, than the quota was meant to.",
        queries=_VIEW_QUERIES,
        commands=("kubectl describe resourcequota -n NAMESPACE", _ASKED_AND_ANNOTATED),
        mitigation=(
            (
                "Memory, cores: Kubernetes counts a container once, however many GPUs it asks for, and neither "
                "percentages nor whole GPUs. Write `limits.<resource>` instead of `requests.<resource>`: then HAMi "
                "counts, rightly."
            ),
            (
                "Numbers of vGPUs (`nvidia.com/gpu`): stay with `requests.<resource>`, as HAMi has no quota of them. "
                "Kubernetes also counts pods that HAMi did not schedule."
            ),
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
            f"HAMi has granted {told(GRANTED, RESOURCE, BARE)} of {_WRITTEN} {_WHERE}, but does not read the quota as "
            f"it is written: write it as {_ONE_KEY}, with a whole number."
        ),
        meaning="A quota is set in a way that HAMi does not read: it bounds less than its author believes.",
        impact="The namespace can be granted more than the quota says; others may find no room.",
        queries=_VIEW_QUERIES,
        commands=("kubectl get resourcequota -n NAMESPACE -o yaml",),
        mitigation=(
            (
                "HAMi reads `limits.<resource>` keys with whole numbers only: write `limits.nvidia.com/gpumem` (in "
                "MiB) and `limits.nvidia.com/gpucores` (in percent of a GPU)."
            ),
            "HAMi older than 2.7 has no quotas at all; up to 2.9 it takes a quota of 0 for none.",
        ),
    ),
)

ALERTS: Final = (*_WAITING, *_DISAGREEMENTS)
