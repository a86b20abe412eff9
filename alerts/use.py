"""Alerts on what containers use against what they were granted, from what the driver and HAMi-core say."""

from __future__ import annotations

from typing import Final

from alerts.promql import CONTAINER, DEVICE, POD, joined, labels, once, rate_once, select
from alerts.rules import Alert, Threshold
from alerts.sight import NAMES, REGIONS, seen, seen_once
from alerts.templates import amount, matchers
from exporter import catalogue as c

_USED: Final = once(c.CONTAINER_MEMORY_USED)
_GRANTED: Final = once(c.CONTAINER_MEMORY_GRANTED)
_LIMIT: Final = once(c.CONTAINER_MEMORY_LIMIT)
_COUNTED: Final = once(c.CONTAINER_MEMORY_COUNTED)
#: Of a pod as a whole: where nothing says which container has the grant, it stands under container="".
_POD_USED: Final = f"sum by {labels(POD)} ({_USED})"
_POD_GRANTED: Final = once(c.CONTAINER_MEMORY_GRANTED, 'container=""', POD)
_ON_POD: Final = f"on {labels(POD)}"
_ON_DEVICE: Final = f"on {labels(DEVICE)}"

WHO: Final = (
    "{{ $labels.namespace }}/{{ $labels.pod }}{{ with $labels.container }} (container {{ . }}){{ end }} on GPU "
    "{{ $labels.device_uuid }} of node {{ $labels.node }}"
)
POD_LABELS: Final = '{namespace="NAMESPACE",pod="POD"}'
_QUERIES: Final = (
    f"{c.CONTAINER_MEMORY_USED.name}{POD_LABELS}",
    f"{c.CONTAINER_MEMORY_GRANTED.name}{POD_LABELS}",
    f"{c.CONTAINER_MEMORY_COUNTED.name}{POD_LABELS}",
)
_NEIGHBOURS: Final = (
    f'sort_desc(max by (namespace, pod, container) ({c.CONTAINER_MEMORY_USED.name}{{device_uuid="GPU"}}))'
)
IN_POD: Final = "kubectl exec -n NAMESPACE POD -c CONTAINER -- "
ENVIRONMENT: Final = f"{IN_POD}env | grep -E 'CUDA|NVIDIA|LD_PRELOAD|GPU_CORE'"
#: Lists processes; many images have no `ps`.
_PROCESSES: Final = IN_POD + """sh -c 'for p in /proc/[0-9]*; do echo $p $(tr "\\0" " " <$p/cmdline); done'"""

# ---------------------------------------------------------------- memory: near the limit, or over the grant

#: Where libvgpu counts nothing it is the grant that counts; that it is the exporter who does not see it is no reason.
_SEEN_USED: Final = seen_once(c.CONTAINER_MEMORY_USED, REGIONS)
_POD_SEEN_USED: Final = f"sum by {labels(POD)} ({_SEEN_USED})"
_OF_LIMIT: Final = f"{c.CONTAINER_MEMORY_LIMIT.name}{matchers(CONTAINER)}"
_OF_GRANT: Final = f"{c.CONTAINER_MEMORY_GRANTED.name}{matchers(CONTAINER)}"
_BYTES: Final = " of {{ .Value | humanize1024 }}B"
_LIMIT_SAID: Final = amount(f"max({_OF_LIMIT} or {_OF_GRANT})", (*CONTAINER, *CONTAINER), _BYTES)
_GRANT_SAID: Final = amount(f"max({_OF_GRANT})", CONTAINER, _BYTES)

# ---------------------------------------------------------------- cores

_CORE_GRANTED: Final = once(c.CONTAINER_CORE_GRANTED)
_POD_CORE_GRANTED: Final = once(c.CONTAINER_CORE_GRANTED, 'container=""', POD)
_CORES_SAID: Final = amount(
    f"max({c.CONTAINER_CORE_GRANTED.name}{matchers(CONTAINER)})",
    CONTAINER,
    ", and was granted {{ .Value | humanizePercentage }}",
)
#: GPU shares over 5 minutes; the gauge of 60 s is too short to accuse anybody.
_BUSY: Final = rate_once(c.CONTAINER_CORE_BUSY)
_POD_BUSY: Final = f"sum by {labels(POD)} ({_BUSY})"
#: Who computes on a GPU (1 % of it) and whom HAMi knows of: it lifts the limit of one that is alone.
_ACTIVE: Final = f"count by {labels(DEVICE)} ({_BUSY} > 0.01 unless {_GRANTED} == 0) > 1"
_PODS_ACTIVE: Final = f"count by {labels(DEVICE)} (sum by {labels(POD)} ({_BUSY} unless {_GRANTED} == 0) > 0.01) > 1"


def _allowed(granted: str) -> str:
    return f"(({granted} > 0) + clamp_min(({granted} > 0) * $threshold, 0.05))"


# ---------------------------------------------------------------- idle


def _standing_still(by: tuple[str, ...]) -> str:
    """Return when each computed last, of those for whom that was two hours ago what it is now.

    It was not for who is younger, who was created anew, or whom nobody saw then.
    """
    then = select(c.CONTAINER_LAST_ACTIVE, window=" offset 2h")
    return f"max by {labels(by)} ({seen(c.CONTAINER_LAST_ACTIVE, NAMES)}) == max by {labels(by)} ({then})"


_OBSERVED: Final = rate_once(c.DEVICE_OBSERVED, "2h")
#: Time of which nobody knows whose it was, an MPS server's for its clients among it: it may be of who seems to idle.
_UNKNOWN: Final = rate_once(c.DEVICE_CORE_UNATTRIBUTED, "2h", 'reason!="host"')

ALERTS: Final = (
    Alert(
        name="VgpuMemoryNearLimit",
        scope="tenant",
        expr=joined(
            "(",
            f"  {_COUNTED} / ({_LIMIT} > 0)",
            f"  or ({_SEEN_USED} / ({_GRANTED} > 0) unless {_COUNTED})",
            f"  or ({_POD_SEEN_USED} / ({_POD_GRANTED} > 0) unless {_ON_POD} {_COUNTED})",
            ")",
            "> $threshold",
            # One state, one alert: over the grant, or without one, it is VgpuMemoryOverGrant or VgpuUngrantedUse.
            f"unless {_USED} > {_GRANTED}",
            f"unless {_ON_POD} {_POD_USED} > {_POD_GRANTED}",
        ),
        wait="5m",
        severity="warning",
        threshold=Threshold(0.95, "share of the limit that libvgpu counts as used, of the grant where it is not known"),
        summary=(
            "{{ $labels.namespace }}/{{ $labels.pod }} is {{ if gt $value 1.0 }}above{{ else }}close to{{ end }} its "
            "GPU memory limit."
        ),
        description=(
            f"{WHO} uses {{{{ $value | humanizePercentage }}}} of its memory limit{_LIMIT_SAID}. Its next allocation "
            "may fail with an out-of-memory error: grant it more, or make the model take less. A server that reserves "
            "memory on purpose may stay here for good."
        ),
        meaning=(
            "The container has nearly reached the memory limit that libvgpu enforces, or exceeds it by its own count. "
            "Who holds more than was granted has `VgpuMemoryOverGrant` instead."
        ),
        impact="Its next CUDA allocation may fail: requests end in errors, or the process dies. Others feel nothing.",
        queries=(*_QUERIES, f"{c.CONTAINER_MEMORY_LIMIT.name}{POD_LABELS}"),
        commands=("kubectl logs -n NAMESPACE POD -c CONTAINER --tail=100 | grep -iE 'out of memory|OOM'",),
        mitigation=(
            (
                "A server that reserves on purpose (vLLM's `--gpu-memory-utilization`): lower that share, or raise "
                "this alert's threshold."
            ),
            "Else raise the grant (`nvidia.com/gpumem`) and recreate the pod, or take a smaller batch or context.",
            "Above the limit: libvgpu let it happen (several processes at once, CUDA contexts); it refuses the next.",
        ),
    ),
    Alert(
        name="VgpuMemoryOverGrant",
        scope="tenant",
        expr=joined(
            "(",
            f"  {_USED} / ({_GRANTED} > 0)",
            f"  or {_POD_USED} / ({_POD_GRANTED} > 0)",
            ")",
            "> $threshold",
        ),
        wait="5m",
        severity="warning",
        threshold=Threshold(1, "share of the grant that the driver lists as used"),
        summary="{{ $labels.namespace }}/{{ $labels.pod }} uses more GPU memory than it was granted.",
        description=(
            f"{WHO} uses {{{{ $value | humanizePercentage }}}} of its memory grant{_GRANT_SAID}. See whether "
            "VgpuEnforcementEscaped fires: then processes run outside HAMi's limit and must end. Otherwise it is what "
            "libvgpu does not count (CUDA contexts): grant a little more."
        ),
        meaning="By the driver's own list the container holds more memory than the scheduler gave it.",
        impact="A neighbour that uses no more than its own grant can run out of memory.",
        queries=(*_QUERIES, f"{c.CONTAINER_MEMORY_UNCOUNTED.name}{POD_LABELS}", _NEIGHBOURS),
        commands=(ENVIRONMENT, _PROCESSES),
        mitigation=(
            "Uncounted above 0: go to `VgpuEnforcementEscaped`.",
            (
                "Used above counted, nothing uncounted: contexts, NCCL and graphics, some 500 MiB a process. Grant "
                "that much more, or run fewer processes."
            ),
            "If neighbours fail meanwhile (`VgpuDeviceHeadroomLow`), delete this pod; its owner is over the agreement.",
        ),
    ),
    Alert(
        name="VgpuCoreOverGrant",
        scope="tenant",
        expr=joined(
            "(",
            f"  {_BUSY}",
            f"  > {_allowed(_CORE_GRANTED)}",
            f"  and {_ON_DEVICE} ({_ACTIVE})",
            ")",
            "or (",
            f"  {_POD_BUSY}",
            f"  > {_allowed(_POD_CORE_GRANTED)}",
            f"  and {_ON_DEVICE} ({_PODS_ACTIVE})",
            ")",
        ),
        wait="10m",
        severity="warning",
        threshold=Threshold(0.25, "share of the grant by which use may exceed it (5 points of a GPU at least)"),
        summary="{{ $labels.namespace }}/{{ $labels.pod }} uses more GPU cores than it was granted.",
        description=(
            f"{WHO} computes {{{{ $value | humanizePercentage }}}} of the time{_CORES_SAID}, while others are active "
            "there, so that HAMi should limit it. See whether VgpuHamiCoreBlind or VgpuCoreGrantOutdated fires; then "
            "recreate the pod."
        ),
        meaning="The container takes clearly more of the GPU's time than granted, and is not alone on the GPU.",
        impact="Neighbours compute slower than they were promised.",
        queries=(
            f"max by (device_uuid, container) (rate({c.CONTAINER_CORE_BUSY.name}{POD_LABELS}[5m]))",
            f"{c.CONTAINER_CORE_GRANTED.name}{POD_LABELS}",
            f"{c.CONTAINER_CORE_LIMIT.name}{POD_LABELS}",
            f'sort_desc(max by (namespace, pod) (rate({c.CONTAINER_CORE_BUSY.name}{{device_uuid="GPU"}}[5m])))',
        ),
        commands=(ENVIRONMENT,),
        mitigation=(
            "`GPU_CORE_UTILIZATION_POLICY=disable` in its environment switches the limit off: remove it.",
            "Core limit and grant differ: recreate the pod, so that libvgpu starts with the new limit.",
            (
                "libvgpu limits by slowing kernel launches: a few long kernels slip through. Then cores are no fence; "
                "give such a workload a GPU of its own."
            ),
        ),
    ),
    Alert(
        name="VgpuUngrantedUse",
        scope="tenant",
        expr=joined(f"({_USED} > $threshold)", f"and ({_GRANTED} == 0)"),
        wait="5m",
        severity="warning",
        threshold=Threshold(0, "bytes that may be used without a grant"),
        summary="{{ $labels.namespace }}/{{ $labels.pod }} uses a GPU that it was not granted.",
        description=(
            f"{WHO} holds {{{{ $value | humanize1024 }}}}B of GPU memory, and was granted nothing there. It sees GPUs "
            "by its image's NVIDIA_VISIBLE_DEVICES or as a privileged container: make it ask for a vGPU, or set "
            "NVIDIA_VISIBLE_DEVICES=void."
        ),
        meaning="A container that asked for no vGPU on this GPU uses its memory, past scheduler, limits and quota.",
        impact="Nobody planned for this memory: tenants who were granted it can run out of it.",
        queries=(_QUERIES[0], f"{c.CONTAINER_INFO.name}{POD_LABELS}", _NEIGHBOURS),
        commands=(
            "kubectl get pod -n NAMESPACE POD -o jsonpath='{.spec.containers[*].resources}{.metadata.annotations}'",
            ENVIRONMENT,
        ),
        mitigation=(
            "No accelerator in its resources: add one, or set `NVIDIA_VISIBLE_DEVICES=void` in its environment.",
            "It was granted another GPU: the device plugin handed out other than it wrote down; recreate the pod.",
            (
                "For good: set the NVIDIA container toolkit's `accept-nvidia-visible-devices-envvar-when-unprivileged` "
                "to false, so that images cannot help themselves."
            ),
        ),
    ),
    Alert(
        name="VgpuGrantIdle",
        scope="tenant",
        expr=joined(
            "(",
            f"  (time() - ({_standing_still(CONTAINER)}) and {_GRANTED} > 0)",
            f"  or (time() - ({_standing_still(POD)}) and {_POD_GRANTED} > 0)",
            ")",
            "> $threshold",
            f"and {_ON_DEVICE} ({_OBSERVED} > 0.9)",
            f"unless {_ON_DEVICE} ({_UNKNOWN} > 0.01)",
        ),
        wait="15m",
        severity="info",
        threshold=Threshold(7200, "seconds without SM time", is_time=True),
        summary="{{ $labels.namespace }}/{{ $labels.pod }} holds a vGPU that it does not use.",
        description=(
            f"{WHO} has not computed for {{{{ $value | humanizeDuration }}}}, and holds its grant meanwhile. If "
            "nobody needs it, delete the pod or scale it down; it frees memory, cores and quota for others at once."
        ),
        meaning=(
            "A granted vGPU has had no SM time for hours. Not to be seen is not to idle: it is said only of a "
            "container that was there two hours ago, on a GPU that was watched for nearly all of them and whose time "
            "had owners (with MPS it has none). So a threshold below two hours changes nothing; whether it was watched "
            "before them, a higher one does not ask."
        ),
        impact="Its owner, nothing. Others wait for what lies idle.",
        queries=(
            f"time() - {c.CONTAINER_LAST_ACTIVE.name}{POD_LABELS}",
            *_QUERIES[:2],
            "topk(10, namespace:vgpu_memory_waste_bytes:sum)",
        ),
        commands=("kubectl get pod -n NAMESPACE POD -o wide",),
        mitigation=(
            "A notebook or a login pod: ask its owner, or let the platform cull idle notebooks.",
            "A model that nobody asks: scale it to zero.",
            "A standby that must stay warm: silence this alert for it.",
        ),
    ),
)
