"""Alerts on what containers use against what they were granted, from what the driver and HAMi-core say."""

from __future__ import annotations

from typing import Final

from alerts.promql import DEVICE, POD, joined, labels, once, rate_once, select
from alerts.rules import Alert, Threshold
from exporter import catalogue as c

_USED: Final = once(c.CONTAINER_MEMORY_USED)
_GRANTED: Final = once(c.CONTAINER_MEMORY_GRANTED)
_LIMIT: Final = once(c.CONTAINER_MEMORY_LIMIT)
#: Of a pod as a whole: where nothing says which container has the grant, it stands under container="".
_POD_USED: Final = f"sum by {labels(POD)} ({_USED})"
_POD_GRANTED: Final = once(c.CONTAINER_MEMORY_GRANTED, 'container=""', POD)
_ON_DEVICE: Final = f"on {labels(DEVICE)}"

_WHO: Final = (
    "{{ $labels.namespace }}/{{ $labels.pod }}{{ with $labels.container }} (container {{ . }}){{ end }} on GPU "
    "{{ $labels.device_uuid }} of node {{ $labels.node }}"
)
_POD_LABELS: Final = '{namespace="NAMESPACE",pod="POD"}'
_QUERIES: Final = (
    f"{c.CONTAINER_MEMORY_USED.name}{_POD_LABELS}",
    f"{c.CONTAINER_MEMORY_GRANTED.name}{_POD_LABELS}",
    f"{c.CONTAINER_MEMORY_COUNTED.name}{_POD_LABELS}",
)
_NEIGHBOURS: Final = (
    f'sort_desc(max by (namespace, pod, container) ({c.CONTAINER_MEMORY_USED.name}{{device_uuid="GPU"}}))'
)
_IN_POD: Final = "kubectl exec -n NAMESPACE POD -c CONTAINER -- "
_ENVIRONMENT: Final = f"{_IN_POD}env | grep -E 'CUDA|NVIDIA|LD_PRELOAD|GPU_CORE'"
_PRELOAD: Final = f"{_IN_POD}cat /etc/ld.so.preload"


def _rate_of_containers() -> str:
    """GPU shares over 5 minutes; the gauge of 60 s is too short to accuse anybody."""
    return rate_once(c.CONTAINER_CORE_BUSY)


_CORE_GRANTED: Final = once(c.CONTAINER_CORE_GRANTED)
#: Containers that compute on a GPU and that HAMi knows of: it lifts the limit of one that is alone.
_ACTIVE: Final = (
    f"count by {labels(DEVICE)} ({_rate_of_containers()} > 0.01 unless {_GRANTED} == 0) > 1"  # 1 % of a GPU
)
_IDLE: Final = once(c.CONTAINER_LAST_ACTIVE)
_POD_IDLE: Final = f"max by {labels(POD)} ({select(c.CONTAINER_LAST_ACTIVE)})"

ALERTS: Final = (
    Alert(
        name="VgpuMemoryNearLimit",
        scope="tenant",
        expr=joined(
            "(",
            f"  {once(c.CONTAINER_MEMORY_COUNTED)} / ({_LIMIT} > 0)",
            f"  or {_USED} / ({_GRANTED} > 0)",
            ")",
            "> $threshold <= 1",
        ),
        wait="5m",
        severity="warning",
        threshold=Threshold(0.95, "share of the limit that libvgpu counts as used, of the grant where it is not known"),
        summary="{{ $labels.namespace }}/{{ $labels.pod }} is close to its GPU memory limit.",
        description=(
            f"{_WHO} uses {{{{ $value | humanizePercentage }}}} of its memory limit. Its next allocation may fail with "
            "an out-of-memory error: grant it more, or make the model take less. A server that reserves memory on "
            "purpose may stay here for good."
        ),
        meaning="The container has nearly reached the memory limit that libvgpu enforces.",
        impact="Its next CUDA allocation may fail: requests end in errors, or the process dies. Others feel nothing.",
        queries=(*_QUERIES, f"{c.CONTAINER_MEMORY_LIMIT.name}{_POD_LABELS}"),
        commands=("kubectl logs -n NAMESPACE POD -c CONTAINER --tail=100 | grep -iE 'out of memory|OOM'",),
        mitigation=(
            (
                "A server that reserves on purpose (vLLM's `--gpu-memory-utilization`): lower that share, or raise "
                "this alert's threshold."
            ),
            "Else raise the grant (`nvidia.com/gpumem`) and recreate the pod, or take a smaller batch or context.",
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
            f"{_WHO} uses {{{{ $value | humanizePercentage }}}} of its memory grant. See whether "
            f"VgpuEnforcementEscaped "
            "fires: then processes run outside HAMi's limit and must end. Otherwise it is what libvgpu does not count "
            "(CUDA contexts): grant a little more."
        ),
        meaning="By the driver's own list the container holds more memory than the scheduler gave it.",
        impact="A neighbour that uses no more than its own grant can run out of memory.",
        queries=(*_QUERIES, f"{c.CONTAINER_MEMORY_UNCOUNTED.name}{_POD_LABELS}", _NEIGHBOURS),
        commands=(_ENVIRONMENT, f"{_IN_POD}ps aux"),
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
            f"  {_rate_of_containers()}",
            f"  > (({_CORE_GRANTED} > 0) + clamp_min(({_CORE_GRANTED} > 0) * $threshold, 0.05))",
            ")",
            f"and {_ON_DEVICE} ({_ACTIVE})",
        ),
        wait="10m",
        severity="warning",
        threshold=Threshold(0.25, "share of the grant by which use may exceed it (5 points of a GPU at least)"),
        summary="{{ $labels.namespace }}/{{ $labels.pod }} uses more GPU cores than it was granted.",
        description=(
            f"{_WHO} computes {{{{ $value | humanizePercentage }}}} of the time, clearly more than its grant, while "
            "others are active there, so that HAMi should limit it. See whether VgpuHamiCoreBlind or "
            "VgpuCoreGrantOutdated fires; then recreate the pod."
        ),
        meaning="The container takes clearly more of the GPU's time than granted, and is not alone on the GPU.",
        impact="Neighbours compute slower than they were promised.",
        queries=(
            f"max by (container) (rate({c.CONTAINER_CORE_BUSY.name}{_POD_LABELS}[5m]))",
            f"{c.CONTAINER_CORE_GRANTED.name}{_POD_LABELS}",
            f"{c.CONTAINER_CORE_LIMIT.name}{_POD_LABELS}",
            f'sort_desc(max by (namespace, pod) (rate({c.CONTAINER_CORE_BUSY.name}{{device_uuid="GPU"}}[5m])))',
        ),
        commands=(_ENVIRONMENT,),
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
        name="VgpuEnforcementEscaped",
        scope="tenant",
        expr=joined(once(c.CONTAINER_PROCESSES_UNCOUNTED), "> $threshold"),
        wait="5m",
        severity="warning",
        threshold=Threshold(0, "processes that may run outside libvgpu"),
        summary="Processes of {{ $labels.namespace }}/{{ $labels.pod }} use the GPU outside HAMi's limits.",
        description=(
            f"{_WHO} has {{{{ $value | humanize }}}} GPU process(es) that libvgpu does not know, so that no limit "
            f"holds "
            "for them: a login by SSH, a static binary, or CUDA_DISABLE_CONTROL. Find out which, end them, and have "
            "them started with HAMi's environment."
        ),
        meaning="The driver lists processes of the container that libvgpu never saw: they are limited by nothing.",
        impact="They can take the whole GPU's memory and time; neighbours run out of memory or slow down.",
        queries=(
            f"{c.CONTAINER_PROCESSES_UNCOUNTED.name}{_POD_LABELS}",
            f"{c.CONTAINER_MEMORY_UNCOUNTED.name}{_POD_LABELS}",
        ),
        commands=(
            f"{_IN_POD}ps aux",
            _PRELOAD,
            (
                f"{_IN_POD}sh -c 'for p in /proc/[0-9]*; do grep -qs nvidia $p/maps && ! grep -q libvgpu $p/maps && "
                'echo $p $(tr "\\0" " " <$p/cmdline); done\''
            ),
        ),
        mitigation=(
            "The last command lists processes that map the driver but not libvgpu. End them, or ask the owner to.",
            (
                "SSH sessions and cron jobs lose the pod's environment: pass `LD_PRELOAD` and `CUDA_DEVICE_*` on, e.g. "
                "through `/etc/environment`, or see that `/etc/ld.so.preload` is mounted."
            ),
            "`CUDA_DISABLE_CONTROL=true` was set by the owner: remove it; an admission policy can forbid it.",
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
            f"{_WHO} holds {{{{ $value | humanize1024 }}}}B of GPU memory, and was granted nothing there. It sees GPUs "
            "by its image's NVIDIA_VISIBLE_DEVICES or as a privileged container: make it ask for a vGPU, or set "
            "NVIDIA_VISIBLE_DEVICES=void."
        ),
        meaning="A container that asked for no vGPU on this GPU uses its memory, past scheduler, limits and quota.",
        impact="Nobody planned for this memory: tenants who were granted it can run out of it.",
        queries=(_QUERIES[0], f"{c.CONTAINER_INFO.name}{_POD_LABELS}", _NEIGHBOURS),
        commands=(
            "kubectl get pod -n NAMESPACE POD -o jsonpath='{.spec.containers[*].resources}{.metadata.annotations}'",
            _ENVIRONMENT,
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
            f"  (time() - {_IDLE} and {_GRANTED} > 0)",
            f"  or (time() - {_POD_IDLE} and {_POD_GRANTED} > 0)",
            ")",
            "> $threshold",
            f"and {_ON_DEVICE} ({rate_once(c.DEVICE_OBSERVED)} > 0.5)",
        ),
        wait="15m",
        severity="info",
        threshold=Threshold(7200, "seconds without SM time", is_time=True),
        summary="{{ $labels.namespace }}/{{ $labels.pod }} holds a vGPU that it does not use.",
        description=(
            f"{_WHO} has not computed for {{{{ $value | humanizeDuration }}}}, and holds its grant meanwhile. If "
            f"nobody "
            "needs it, delete the pod or scale it down; it frees memory, cores and quota for others at once."
        ),
        meaning="A granted vGPU has had no SM time for hours (counted from the exporter's start at the earliest).",
        impact="Its owner, nothing. Others wait for what lies idle.",
        queries=(
            f"time() - {c.CONTAINER_LAST_ACTIVE.name}{_POD_LABELS}",
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
    Alert(
        name="VgpuMemoryGrantOutdated",
        scope="tenant",
        expr=joined(f"abs({_LIMIT} - ({_GRANTED} > 0))", "> $threshold"),
        wait="15m",
        severity="warning",
        threshold=Threshold(2**20, "bytes by which limit and grant may differ"),
        summary="{{ $labels.namespace }}/{{ $labels.pod }} has another memory limit than it was granted.",
        description=(
            f"In {_WHO} libvgpu enforces a memory limit that is {{{{ $value | humanize1024 }}}}B away from the grant: "
            "the container started on an older grant, or somebody changed CUDA_DEVICE_MEMORY_LIMIT. Recreate the pod."
        ),
        meaning="What libvgpu enforces is not what the scheduler granted.",
        impact="A limit above the grant takes from neighbours; one below it takes from the tenant.",
        queries=(f"{c.CONTAINER_MEMORY_LIMIT.name}{_POD_LABELS}", f"{c.CONTAINER_MEMORY_GRANTED.name}{_POD_LABELS}"),
        commands=(
            _ENVIRONMENT,
            "kubectl get pod -n NAMESPACE POD -o jsonpath='{.metadata.annotations}'",
        ),
        mitigation=(
            "Compare `CUDA_DEVICE_MEMORY_LIMIT` in the container with `hami.io/vgpu-devices-allocated` on the pod.",
            "Was HAMi's memory scaling changed? Older pods keep their limit until they are recreated.",
            "Does the image or an entrypoint set the variable? Then the owner changed it: ask why.",
        ),
    ),
    Alert(
        name="VgpuCoreGrantOutdated",
        scope="tenant",
        expr=joined(f"abs({once(c.CONTAINER_CORE_LIMIT)} - ({_CORE_GRANTED} > 0))", "> $threshold"),
        wait="15m",
        severity="warning",
        threshold=Threshold(0.005, "share of a GPU by which limit and grant may differ"),
        summary="{{ $labels.namespace }}/{{ $labels.pod }} has another core limit than it was granted.",
        description=(
            f"In {_WHO} libvgpu enforces a core limit that is {{{{ $value | humanizePercentage }}}} of a GPU away from "
            "the grant: the container started on an older grant, or somebody changed CUDA_DEVICE_SM_LIMIT. Recreate "
            "the pod."
        ),
        meaning="The share of cores that libvgpu enforces is not what the scheduler granted.",
        impact="A limit above the grant slows neighbours down; one below it slows the tenant down.",
        queries=(f"{c.CONTAINER_CORE_LIMIT.name}{_POD_LABELS}", f"{c.CONTAINER_CORE_GRANTED.name}{_POD_LABELS}"),
        commands=(_ENVIRONMENT, "kubectl get pod -n NAMESPACE POD -o jsonpath='{.metadata.annotations}'"),
        mitigation=("As for `VgpuMemoryGrantOutdated`; the variable is `CUDA_DEVICE_SM_LIMIT`, in percent.",),
    ),
    Alert(
        name="VgpuHamiCoreBlind",
        scope="tenant",
        expr=joined(once(c.CONTAINER_HAMI_CORE_BLIND), "== 1"),
        wait="10m",
        severity="warning",
        summary="libvgpu watches no process of {{ $labels.namespace }}/{{ $labels.pod }}.",
        description=(
            f"In {_WHO} none of the host PIDs that libvgpu believes in is one of the container's processes: its core "
            "limit does nothing. Recreate the pod; if it comes back, the library cannot find its own host PID on this "
            "node."
        ),
        meaning="libvgpu has the wrong host PIDs for this container, so it cannot see how much of the GPU it takes.",
        impact="The core limit does nothing: neighbours may compute slower. The memory limit still holds.",
        queries=(
            f"{c.CONTAINER_HAMI_CORE_BLIND.name}{_POD_LABELS}",
            (
                f"sum by (node) (max by (node, device_uuid, namespace, pod, container) "
                f"({c.CONTAINER_HAMI_CORE_BLIND.name}))"
            ),
        ),
        commands=("kubectl logs -n NAMESPACE POD -c CONTAINER | grep -i 'HAMI-core' | tail -20", _PRELOAD),
        mitigation=(
            "One container: recreate its pod.",
            (
                "All containers of a node: libvgpu finds its host PID through NVML and fails in nested containers and "
                "with some drivers. Compare HAMi's version and the driver's with those of nodes that are well."
            ),
        ),
    ),
)
