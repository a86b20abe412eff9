"""Alerts on a GPU as such: is it there, is it well, is there room, whose is what is on it."""

from __future__ import annotations

from typing import Final

from alerts.promql import DEVICE, POD, TARGET, joined, labels, once, select
from alerts.rules import Alert, Threshold
from alerts.sight import NAMES, seen_by, seen_once
from alerts.templates import chosen, matchers, sentence
from exporter import catalogue as c
from exporter.xids import KNOWN

_TOTAL: Final = once(c.DEVICE_MEMORY_TOTAL)
_USED: Final = once(c.DEVICE_MEMORY_USED)
_RESERVED: Final = once(c.DEVICE_MEMORY_RESERVED)
_GRANTED: Final = seen_once(c.DEVICE_MEMORY_GRANTED, NAMES)
_ON_DEVICE: Final = f"on {labels(DEVICE)}"

_BY_POD_USED: Final = f"sum by {labels(POD)} ({once(c.CONTAINER_MEMORY_USED)})"
_BY_POD_GRANTED: Final = f"sum by {labels(POD)} ({once(c.CONTAINER_MEMORY_GRANTED)})"
#: What pods use of their grants: what one uses beyond its own does not count.
_WITHIN_GRANTS: Final = f"sum by {labels(DEVICE)} ({_BY_POD_USED} - clamp_min({_BY_POD_USED} - {_BY_POD_GRANTED}, 0))"
_KEPT: Final = f"({_RESERVED} or {_TOTAL} * 0)"
#: Share of the GPU that was promised, is not used yet, and is not there: use beyond grants that does not fit into what
#: nobody was promised. On a GPU that is granted to the last byte the driver's own part was missing from the first day.
_SHORTFALL: Final = f"({_USED} - {_WITHIN_GRANTS} - clamp_min({_TOTAL} - {_KEPT} - {_GRANTED}, 0)) / ({_TOTAL} > 0)"
_NOT_OVERCOMMITTED: Final = f"{_GRANTED} <= {_TOTAL}"
_FREE: Final = f"({_TOTAL} - {_USED} - {_KEPT}) / ({_TOTAL} > 0)"

_WHERE: Final = "GPU {{ $labels.device_uuid }} of node {{ $labels.node }}"
_MEMORY: Final = c.CONTAINER_MEMORY_USED.name
_EACH: Final = f"max by (namespace, pod, container) ({_MEMORY}{matchers(DEVICE)})"
_BY_POD: Final = f"label_join(sum by (namespace, pod) ({_EACH}) > 0, 'who', '/', 'namespace', 'pod')"
#: The three who use most, and all who use as much as the third: of equal ones chance would choose.
_USERS: Final = sentence(
    "Most is used by", f"{_BY_POD} >= scalar(min(topk(3, {_BY_POD})))", (*DEVICE, *DEVICE),
    "{{ .Labels.who }} ({{ .Value | humanize1024 }}B)", by="who",
)  # fmt: skip

_ON_GPU: Final = '{device_uuid="GPU"}'
_QUERIES: Final = (
    f"sort_desc(max by (namespace, pod, container) ({_MEMORY}{_ON_GPU}))",
    f"sort_desc(max by (namespace, pod, container) ({c.CONTAINER_MEMORY_GRANTED.name}{_ON_GPU}))",
    f"max by (reason) ({c.DEVICE_MEMORY_UNATTRIBUTED.name}{_ON_GPU})",
    f"max({c.DEVICE_MEMORY_TOTAL.name}{_ON_GPU}) - max({c.DEVICE_MEMORY_USED.name}{_ON_GPU})",
)
ON_HOST: Final = "kubectl debug node/NODE -it --profile=sysadmin --image=busybox -- chroot /host "
_SMI: Final = f"{ON_HOST}nvidia-smi"

#: Codes after which a GPU computes no more, or wrongly, until somebody acts; not all are among those known from 0.
FATAL: Final = {
    **{code: KNOWN[code] for code in (48, 64, 74, 79, 95, 119)},
    62: "the GPU's power management controller stopped",
    120: "the GPU's own processor (GSP) reported an error",
}
CONTAINED: Final = {code: KNOWN[code] for code in (63, 94)}
_AGE: Final = Threshold(3600, "seconds since the last event", is_time=True)


def _by_age(codes: dict[int, str]) -> str:
    """Return the age of each code's last event; the node's clock may be ahead of Prometheus'.

    XIDs 13, 31, 43 and 45 are the applications' own faults.
    """
    any_of = "|".join(map(str, sorted(codes)))
    matcher = f'xid=~"{any_of}"'
    return f"clamp_min(time() - {once(c.DEVICE_XID_LAST, matcher)}, 0)"


def _in_words(codes: dict[int, str]) -> str:
    return "; ".join(f"{code}: {words}" for code, words in sorted(codes.items()))


_XID_QUERIES: Final = (
    f"max by (xid) ({c.DEVICE_XID_ERRORS.name}{_ON_GPU}) > 0",
    f"time() - max by (xid) ({c.DEVICE_XID_LAST.name}{_ON_GPU})",
    f"max by (namespace, pod) ({c.CONTAINER_INFO.name}{_ON_GPU})",
)
_XID_COMMANDS: Final = (f"{ON_HOST}dmesg -T | grep -i xid", f"{_SMI} -q -d ECC,ROW_REMAPPER,PAGE_RETIREMENT")

#: Whether the driver as such is there; if not, that its GPUs are down says nothing of them.
_DRIVER_UP: Final = select(c.SOURCE_UP, 'role="node",source="nvml"')
_GPUS_LOST: Final = select(c.SOURCE_ERRORS, 'source="nvml",reason="gpu_lost"', "[5m]")
#: What an MPS server does for its clients is nobody's for good.
_CORE_NOBODYS: Final = select(c.DEVICE_CORE_UNATTRIBUTED, 'reason!="mps"', "[5m]")
#: What the reason of memory or time that is nobody's means.
_WHOSE: Final = chosen(
    "reason",
    {
        "host": "a process outside Kubernetes uses it, which must be ended on the node",
        "unlisted": "it is under no process, so it is managed memory of a tenant, or left over from one that died",
        "unknown_pod": "the API server does not name the pod, which may hang while it terminates",
        "unknown_process": "the exporter cannot tell whose process uses it, see whether VgpuAttributionFailing fires",
    },
)

ALERTS: Final = (
    Alert(
        name="VgpuDeviceDown",
        scope="device",
        expr=joined(
            f"max by {labels(DEVICE)} (",
            f"  max by {labels((*TARGET, 'node', 'device_uuid'))} ({select(c.DEVICE_UP)}) == 0",
            f"  and on {labels(TARGET)} (",
            f"    {_DRIVER_UP} == 1",
            f"    or increase({_GPUS_LOST}) > 0",
            "  )",
            ")",
        ),
        wait="5m",
        severity="critical",
        summary="GPU {{ $labels.device_uuid }} of node {{ $labels.node }} does not answer.",
        description=(
            f"The driver no longer gives readings of {_WHERE}, though it was there or HAMi registered it. Read the "
            "node's kernel log for XID events; drain the node and reset the GPU, or reboot."
        ),
        meaning="The driver answers, but not for this GPU: it was lost, is stuck, or was taken away.",
        impact="What ran on it fails or hangs. The scheduler may go on placing pods on it.",
        queries=(
            f"max by (xid) ({c.DEVICE_XID_ERRORS.name}{_ON_GPU}) > 0",
            f'max by (reason) (increase({c.SOURCE_ERRORS.name}{{source="nvml"}}[15m])) > 0',
        ),
        commands=(_SMI, f"{ON_HOST}dmesg -T | grep -iE 'xid|nvrm' | tail -50"),
        mitigation=(
            "`kubectl cordon NODE`, so that nothing new is placed there.",
            "`nvidia-smi` hangs, or says `ERR!` or that the GPU is lost: drain the node and reboot it.",
            "The GPU was taken out on purpose: it stays in HAMi's registration until its device plugin is restarted.",
            "It comes back and goes again: have the card replaced.",
        ),
    ),
    Alert(
        name="VgpuXidFatal",
        scope="device",
        expr=joined(_by_age(FATAL), "< $threshold"),
        severity="critical",
        threshold=_AGE,
        summary="GPU {{ $labels.device_uuid }} of node {{ $labels.node }} reported XID {{ $labels.xid }}.",
        description=(
            f"{_WHERE} reported XID {{{{ $labels.xid }}}} {{{{ $value | humanizeDuration }}}} ago, after which it "
            "cannot be trusted until it is reset. Cordon the node, read its kernel log, then reset the GPU or reboot."
        ),
        meaning=f"The driver reported a fault that needs a reset or a repair. {_in_words(FATAL)}.",
        impact="Work on the GPU fails, hangs, or computes with broken memory, of all tenants there.",
        queries=_XID_QUERIES,
        commands=_XID_COMMANDS,
        mitigation=(
            "`kubectl cordon NODE`; tell the tenants (the last query names them).",
            "Drain, then reset (`nvidia-smi --gpu-reset -i INDEX`) or reboot.",
            "64, 74 and 79, or any of them for the second time: have card, riser or NVLink bridge looked at.",
            "The alert ends by itself an hour after the last event; that does not mean that the GPU is well.",
        ),
    ),
    Alert(
        name="VgpuXidContained",
        scope="device",
        expr=joined(_by_age(CONTAINED), "< $threshold"),
        severity="warning",
        threshold=_AGE,
        summary="GPU {{ $labels.device_uuid }} of node {{ $labels.node }} reported XID {{ $labels.xid }}.",
        description=(
            f"{_WHERE} reported XID {{{{ $labels.xid }}}} {{{{ $value | humanizeDuration }}}} ago: memory went bad, "
            "and the damage was contained. Plan a reset in the next window, so that spare memory takes its place."
        ),
        meaning=f"Memory went bad, and the driver coped. {_in_words(CONTAINED)}.",
        impact="With 94 one application was ended; with 63 nobody felt anything.",
        queries=_XID_QUERIES,
        commands=_XID_COMMANDS,
        mitigation=(
            "Plan a drain and a reset: remapping takes effect then.",
            "`nvidia-smi -q -d ROW_REMAPPER`: a remapping that failed, or no spares left, is a case for the vendor.",
        ),
    ),
    Alert(
        name="VgpuDeviceMemoryExhausted",
        scope="device",
        expr=joined(f"({_FREE} < $threshold)", f"and ({_SHORTFALL} > 0.02)", f"and {_NOT_OVERCOMMITTED}"),
        wait="5m",
        severity="critical",
        threshold=Threshold(0.02, "share of the GPU's memory that is free"),
        summary=(
            "GPU {{ $labels.device_uuid }} of node {{ $labels.node }} is full, though tenants have not used up their "
            "grants."
        ),
        description=(
            f"Only {{{{ $value | humanizePercentage }}}} of the memory of {_WHERE} is free, and tenants who have not "
            f"used up their grants there get out-of-memory errors.{_USERS} End what is over its grant or has none."
        ),
        meaning="The GPU is full although grants are not: somebody uses what others were promised.",
        impact="Tenants within their grants get out-of-memory errors now.",
        queries=_QUERIES,
        commands=(_SMI,),
        mitigation=(
            (
                "Find who is over: `VgpuMemoryOverGrant`, `VgpuEnforcementEscaped`, `VgpuUngrantedUse`, or memory that "
                "is nobody's (`VgpuMemoryUnattributedHigh`). Each page says how to end it."
            ),
            "In a hurry: delete the pod that uses most beyond its grant. It is the one that is in the wrong.",
        ),
    ),
    Alert(
        name="VgpuDeviceHeadroomLow",
        scope="device",
        expr=joined(_SHORTFALL, "> $threshold", f"and {_NOT_OVERCOMMITTED}"),
        wait="5m",
        severity="warning",
        threshold=Threshold(0.02, "share of the GPU's memory that was promised and is not there"),
        summary="GPU {{ $labels.device_uuid }} of node {{ $labels.node }} lacks memory that tenants were granted.",
        description=(
            f"If the tenants of {_WHERE} used all they were granted, {{{{ $value | humanizePercentage }}}} of its "
            f"memory would be missing, although its grants fit.{_USERS} Somebody uses more than granted, or without a "
            "grant: end that before the others need theirs."
        ),
        meaning="Less memory is free, in truth, than tenants were promised and have not used yet.",
        impact="Nothing yet. A tenant within its grant will get out-of-memory errors when it uses the rest.",
        queries=_QUERIES,
        commands=(_SMI,),
        mitigation=(
            (
                "Go through `VgpuMemoryOverGrant`, `VgpuEnforcementEscaped`, `VgpuUngrantedUse` and "
                "`VgpuMemoryUnattributedHigh` for this GPU."
            ),
            "If none fires, many small tenants each exceed a little, by CUDA contexts: grant less in sum on such GPUs.",
        ),
    ),
    Alert(
        name="VgpuDeviceOvercommitted",
        scope="device",
        expr=joined(f"({_GRANTED} / ({_TOTAL} > 0) > 1)", f"and {_ON_DEVICE} ({_USED} / ({_TOTAL} > 0) > $threshold)"),
        wait="15m",
        severity="warning",
        threshold=Threshold(0.9, "share of the GPU's memory in use"),
        summary="GPU {{ $labels.device_uuid }} of node {{ $labels.node }} is overcommitted, and nearly full.",
        description=(
            f"{{{{ $value | humanizePercentage }}}} of the memory of {_WHERE} was granted (HAMi's memory scaling), and "
            f"little is left.{_USERS} Move a tenant to another GPU, or lower the scaling."
        ),
        meaning="More memory was granted than the GPU has, and most of it is in use.",
        impact="Tenants within their grants swap to host memory and slow down, or run out of memory.",
        queries=(
            *_QUERIES,
            f"max({c.DEVICE_MEMORY_SCHEDULABLE.name}{_ON_GPU}) / max({c.DEVICE_MEMORY_TOTAL.name}{_ON_GPU})",
        ),
        commands=("kubectl get node NODE -o jsonpath='{.metadata.annotations.hami\\.io/node-nvidia-register}'",),
        mitigation=(
            "Delete idle pods first (`VgpuGrantIdle`).",
            "Cordon the node and recreate a tenant elsewhere.",
            "Lower `deviceMemoryScaling` of HAMi's device plugin if it happens often.",
        ),
    ),
    Alert(
        name="VgpuMemoryUnattributedHigh",
        scope="device",
        expr=joined(
            seen_once(c.DEVICE_MEMORY_UNATTRIBUTED, NAMES),
            f"/ {_ON_DEVICE} group_left () ({_TOTAL} > 0)",
            "> $threshold",
        ),
        wait="15m",
        severity="warning",
        threshold=Threshold(0.05, "share of the GPU's memory"),
        summary="Much memory of GPU {{ $labels.device_uuid }} belongs to no container ({{ $labels.reason }}).",
        description=(
            f"{{{{ $value | humanizePercentage }}}} of the memory of {_WHERE} is in use and belongs to no container: "
            f"{_WHOSE}."
        ),
        meaning="A good part of the GPU's memory is in use, and no tenant can be charged for it.",
        impact="Tenants lack it, and their bills do not add up to the GPU.",
        queries=(_QUERIES[2], f"max by (reason) (increase({c.ATTRIBUTION_FAILURES.name}[1h])) > 0"),
        commands=(_SMI, f"{ON_HOST}ps -ef"),
        mitigation=(
            "`host`: a process outside Kubernetes. `nvidia-smi` on the node lists it; ask who started it.",
            (
                "`unlisted`: memory under no process. CUDA managed memory (`cudaMallocManaged`, a scaling above 1) "
                "shows here; compare counted with used per container. Without any process it is left over from one "
                "that died: reset the GPU once it is drained."
            ),
            "`unknown_pod`: the API server does not name the pod (any more): a pod that hangs while it terminates.",
            "`unknown_process`: the exporter cannot read `/proc`: it needs `hostPID: true`.",
        ),
    ),
    Alert(
        name="VgpuCoreUnattributedHigh",
        scope="device",
        expr=joined(
            f"max by {labels((*DEVICE, 'reason'))} ({seen_by(f'rate({_CORE_NOBODYS})', NAMES)})", "> $threshold"
        ),
        wait="15m",
        severity="info",
        threshold=Threshold(0.1, "share of the GPU's time"),
        summary="Much time of GPU {{ $labels.device_uuid }} belongs to no container ({{ $labels.reason }}).",
        description=(
            f"{{{{ $value | humanizePercentage }}}} of the time of {_WHERE} is used and belongs to no container: "
            f"{_WHOSE}."
        ),
        meaning="A good part of the GPU's time is used, and no tenant can be charged for it (MPS servers aside).",
        impact="Tenants compute slower, and their bills do not add up to the GPU.",
        queries=(f"max by (reason) (rate({c.DEVICE_CORE_UNATTRIBUTED.name}{_ON_GPU}[5m]))",),
        commands=(_SMI, f"{ON_HOST}nvidia-smi pmon -c 5"),
        mitigation=("As for `VgpuMemoryUnattributedHigh`.",),
    ),
)
