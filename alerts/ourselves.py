"""Alerts on the exporter itself: while it sees nothing these fire, and none about tenants or GPUs."""

from __future__ import annotations

from typing import Final

from alerts.promql import CLUSTER, DEVICE, NODE, TARGET, UP, joined, labels, once, rate_once, select
from alerts.rules import Alert, Threshold
from exporter import catalogue as c

#: What tells one exporter from another; `node` where the scrape sets it.
_EXPORTER: Final = (*TARGET, "node")
_ROLE: Final = (*_EXPORTER, "role")
_JOB: Final = (*CLUSTER, "job")
_NAME: Final = "vgpu-tenant-exporter"
_WHICH: Final = "{{ $labels.instance }}{{ with $labels.node }} (node {{ . }}){{ end }}"

_PODS: Final = f"kubectl get pods -A -o wide -l app.kubernetes.io/name={_NAME}"
_LOGS: Final = "kubectl logs -n EXPORTER_NAMESPACE EXPORTER_POD --tail=100"
_LAST_WORDS: Final = "kubectl logs -n EXPORTER_NAMESPACE EXPORTER_POD --previous --tail=20"
_OF_TARGET: Final = '{instance="INSTANCE"}'

_OF_NODES: Final = select(c.SNAPSHOT_TIMESTAMP, 'role="node"')

#: Failures that come with every pod that starts or ends, or that heal by themselves.
_USUAL: Final = "container_unknown|pid_reused|pod_unknown|process_gone|region_torn"
#: Annotations that somebody, or HAMi, wrote otherwise than the pod asks for: not believed.
_REJECTED: Final = "grant_above_request|grant_other_node|grant_unasked|grant_unknown_device"


#: A whole number, though a counter's increase is extrapolated; what fires is one case at least.
_CASES: Final = "{{ if lt $value 1.0 }}1{{ else }}{{ printf `%.0f` $value }}{{ end }}"
#: When who wrote which of a pod's annotations, a line each.
_EDITORS: Final = (
    '{range .metadata.managedFields[*]}{.time} {.manager} {.fieldsV1.f:metadata.f:annotations}{"\\n"}{end}'
)


def _new_failures(where: str) -> str:
    return f"max by {labels((*_ROLE, 'reason'))} (increase({select(c.ATTRIBUTION_FAILURES, where, '[15m]')}))"


ALERTS: Final = (
    Alert(
        name="VgpuExporterDown",
        scope="exporter",
        expr=joined(
            f"max by {labels(_EXPORTER)} (",
            f'  {UP}{{job=~".*{_NAME}.*"}}',
            f"  or {UP} and on {labels(TARGET)} last_over_time({select(c.SNAPSHOT_TIMESTAMP, window='[1d]')})",
            f"  or {UP} and on {labels(_JOB)} {select(c.SNAPSHOT_TIMESTAMP)}",
            f"     unless on {labels(_JOB)} ({UP} == 1 unless on {labels(TARGET)} {select(c.SNAPSHOT_TIMESTAMP)})",
            ")",
            "== 0",
        ),
        wait="10m",
        severity="warning",
        summary="Prometheus cannot scrape the vGPU exporter {{ $labels.instance }}.",
        description=(
            f"The exporter {_WHICH} of job {{{{ $labels.job }}}} does not answer Prometheus. See whether its pod runs "
            "and what it logged last, then whether a NetworkPolicy, TLS or password stands between."
        ),
        meaning=(
            "A target of ours cannot be scraped: by its job's name, as it answered within the last day, or as all "
            "others of its job are our exporters."
        ),
        impact="Nothing is known of the tenants on that node: no usage, no bills, no other alert.",
        queries=(f"{UP}{_OF_TARGET}", f"scrape_duration_seconds{_OF_TARGET}"),
        commands=(_PODS, _LOGS, _LAST_WORDS, "kubectl describe pod -n EXPORTER_NAMESPACE EXPORTER_POD"),
        mitigation=(
            "No pod on the node: is the node up, and do tolerations and node selector fit it?",
            (
                "The pod restarts: the last line that it logged before (`--previous`) says why; exit code 2 is a wrong "
                "setting, named in that line."
            ),
            "The pod is well: Prometheus' target page says what is wrong: `connection refused`, `401`, `x509`.",
        ),
    ),
    Alert(
        name="VgpuExporterMissing",
        scope="exporter",
        expr=joined(
            f"({once(c.NODE_GRANTED_CONTAINERS)} > $threshold)",
            f"unless on {labels(NODE)} ({select(c.DEVICE_UP)} or {_OF_NODES})",
        ),
        wait="15m",
        severity="warning",
        threshold=Threshold(0, "containers with a grant that may go unwatched"),
        summary="No exporter watches node {{ $labels.node }}, where vGPUs are granted.",
        description=(
            "{{ $value | humanize }} container(s) on node {{ $labels.node }} hold a vGPU, and no exporter reports from "
            "there. Let the DaemonSet run on that node: check its tolerations and node selector."
        ),
        meaning="The quota role knows of grants on a node from which no exporter reports.",
        impact="Use on that node is invisible: no escape is noticed, nothing is billed.",
        queries=(c.NODE_GRANTED_CONTAINERS.name, f"count by (node) ({c.DEVICE_UP.name})"),
        commands=(_PODS, "kubectl describe node NODE | grep -A3 Taints"),
        mitigation=(
            "No exporter pod on the node: add its taint to the tolerations, or its label to the node selector.",
            "`VgpuExporterBlind` fires for it: the driver never answered there; go there.",
            (
                "The pod runs: does Prometheus scrape it (target page), and is `--node-name` the node's name in "
                "Kubernetes?"
            ),
        ),
    ),
    Alert(
        name="VgpuExporterBlind",
        scope="exporter",
        expr=joined(f"max by {labels((*_ROLE, 'source'))} ({select(c.SOURCE_UP)})", "== 0"),
        wait="5m",
        severity="warning",
        summary="The vGPU exporter {{ $labels.instance }} cannot read {{ $labels.source }}.",
        description=(
            f"The exporter {_WHICH}, role {{{{ $labels.role }}}}, gets no fresh reading from {{{{ $labels.source }}}}, "
            "and withholds what would come of it. Its log says why in one line; the runbook has what to do per source."
        ),
        meaning="One of the exporter's sources does not answer; what depends on it is absent rather than wrong.",
        impact=(
            "`nvml`: nothing of the GPUs. `procfs`, `pods`: no use by tenant, nothing billed. `regions`: no limits, no "
            "escapes. `node`: no schedulable memory. `quotas`, `namespaces`, `hami_config`: no quotas, or no tenants."
        ),
        queries=(
            f"{c.SOURCE_UP.name}{_OF_TARGET} == 0",
            f"increase({c.SOURCE_ERRORS.name}{_OF_TARGET}[15m]) > 0",
            f"time() - {c.SOURCE_LAST_SUCCESS.name}{_OF_TARGET}",
        ),
        commands=(_PODS, _LOGS),
        mitigation=(
            (
                "The reason of the errors decides. `nvml`: `library_not_found`, `driver_not_loaded` (how does the "
                "driver get into the pod?), `version_mismatch` (the driver was upgraded: restart the pod, or reboot), "
                "`hijacked` (HAMi's library is in the exporter: label its pod `hami.io/webhook: ignore`), `gpu_lost` "
                "(see `VgpuDeviceDown`)."
            ),
            "`procfs`: `no_host_pid` (needs `hostPID: true`), `unreadable` (security profile).",
            (
                "`pods`, `node`, `quotas`, `namespaces`, `hami_config`: `forbidden` (RBAC), `unauthorized` (token), "
                "`unreachable` (network)."
            ),
            "`regions`: is HAMi's directory mounted, and is it the right one (`--hami-containers`)?",
        ),
    ),
    Alert(
        name="VgpuSnapshotStale",
        scope="exporter",
        expr=joined(
            f"max by {labels(_ROLE)} (timestamp({select(c.SNAPSHOT_TIMESTAMP)}) - {select(c.SNAPSHOT_TIMESTAMP)})",
            "> $threshold",
        ),
        wait="5m",
        severity="warning",
        threshold=Threshold(120, "seconds of age when scraped", is_time=True),
        summary="The vGPU exporter {{ $labels.instance }} serves old data.",
        description=(
            f"What the exporter {_WHICH}, role {{{{ $labels.role }}}}, serves is {{{{ $value | humanizeDuration }}}} "
            "old. Either its loop is stuck, or its clock and Prometheus' differ: compare clocks, then restart the pod."
        ),
        meaning="The exporter answers scrapes, but with data that it put together long ago.",
        impact="Use is withheld once it is too old; grants and quotas are those of then.",
        queries=(f"timestamp({c.SNAPSHOT_TIMESTAMP.name}{_OF_TARGET}) - {c.SNAPSHOT_TIMESTAMP.name}{_OF_TARGET}",),
        commands=(_LOGS, "kubectl debug node/NODE -it --image=busybox -- date -u"),
        mitigation=(
            "The node's clock is wrong: mend its time synchronisation.",
            "It is right: keep the log, delete the pod (the DaemonSet makes a new one), and report the log.",
        ),
    ),
    Alert(
        name="VgpuSampleGaps",
        scope="exporter",
        expr=joined(rate_once(c.DEVICE_OBSERVED), "< $threshold"),
        wait="15m",
        severity="warning",
        threshold=Threshold(0.8, "share of the time in which core time was read"),
        summary="Core time of GPU {{ $labels.device_uuid }} is read with gaps.",
        description=(
            "Core time of GPU {{ $labels.device_uuid }} of node {{ $labels.node }} was read only "
            "{{ $value | humanizePercentage }} of the time; shares are of the observed part, and the rest is booked on "
            "nobody. Look whether the exporter lacks CPU, or something else reads the driver's samples."
        ),
        meaning="For part of the time nobody could tell who used the GPU, and that time is booked on nobody.",
        impact=(
            "Core time used is told too low, and so is the bill of who has no limit of cores; shares, memory and what "
            "is billed by grant stay right."
        ),
        queries=(
            f'max by (node) (increase({c.SOURCE_ERRORS.name}{{reason="sample_gap"}}[15m])) > 0',
            f'rate({c.DEVICE_OBSERVED.name}{{device_uuid="GPU"}}[5m])',
        ),
        commands=(_LOGS, "kubectl top pod -n EXPORTER_NAMESPACE EXPORTER_POD"),
        mitigation=(
            "The pod is throttled: raise its CPU limit, or have none.",
            "`--interval` above 5 s: lower it, the driver keeps 14 s of samples.",
            "The driver gives no samples (another profiler, a reset): see its log on the node.",
        ),
    ),
    Alert(
        name="VgpuGrantsRejected",
        scope="exporter",
        expr=joined(_new_failures(f'reason=~"{_REJECTED}"'), "> $threshold"),
        severity="warning",
        threshold=Threshold(0, "new cases within 15 minutes"),
        summary="Grants were not believed ({{ $labels.reason }}).",
        description=(
            f"The exporter {_WHICH} met {_CASES} new pod(s) whose annotation grants what the pod did not ask for "
            "({{ $labels.reason }}); the excess is ignored. Its log names the pods: see who edited them."
        ),
        meaning="A pod's annotation promises more than, or other than, the pod asked for; we hold it to its request.",
        impact="Nothing here. But HAMi believes the annotation: the scheduler's books and quotas are off by it.",
        queries=(f"max by (instance, node, reason) (increase({c.ATTRIBUTION_FAILURES.name}[1h])) > 0",),
        commands=(
            "kubectl logs -n EXPORTER_NAMESPACE EXPORTER_POD --since=1h | grep grant_",
            f"kubectl get pod -n NAMESPACE POD -o jsonpath='{_EDITORS}'",
        ),
        mitigation=(
            (
                "Many at once after HAMi's memory scaling was lowered (`grant_above_request`): right until they are "
                "recreated."
            ),
            "One pod, edited by a user: delete it; forbid updates of `hami.io/*` annotations by an admission policy.",
            "`grant_unknown_device`: the pod's GPU is gone; recreate the pod.",
        ),
    ),
    Alert(
        name="VgpuAttributionFailing",
        scope="exporter",
        expr=joined(_new_failures(f'reason!~"{_REJECTED}|{_USUAL}"'), "> $threshold"),
        severity="info",
        threshold=Threshold(0, "new cases within 15 minutes"),
        summary="The vGPU exporter {{ $labels.instance }} could not read or place something ({{ $labels.reason }}).",
        description=(
            f"The exporter {_WHICH}, role {{{{ $labels.role }}}}, met {_CASES} new case(s) of "
            "{{ $labels.reason }}: a pod, process, region or quota that it cannot read or place, and whose figures are "
            "absent. Its log names them and says what it means."
        ),
        meaning="Something could not be read or placed; what would come of it is absent. What is usual is left out.",
        impact="Some figures of single pods or quotas are missing.",
        queries=(f"max by (instance, node, role, reason) (increase({c.ATTRIBUTION_FAILURES.name}[1h])) > 0",),
        commands=(_PODS, _LOGS),
        mitigation=(
            "The log line has the object and the reason in words.",
            "`annotation_*`, `grant_un*`, `mig_*`, `region_*`: is HAMi of a release that is read (docs/hami.md)?",
            "`process_unreadable`, `cgroup_unreadable`: what may the exporter see of `/proc`?",
            "`quota_*`: the quota's amount or scope cannot be read; its author has to mend it.",
        ),
    ),
    Alert(
        name="VgpuLabelsOverwritten",
        scope="exporter",
        expr=joined(
            f"count by {labels(_JOB)} (",
            *(
                f'  {word}{metric.name}{{exported_namespace!=""}}'
                for word, metric in (("", c.CONTAINER_INFO), ("or ", c.NAMESPACE_INFO))
            ),
            ")",
            "> 0",
        ),
        wait="10m",
        severity="warning",
        summary="Job {{ $labels.job }} overwrites the tenants' namespace labels.",
        description=(
            "Job {{ $labels.job }} scrapes the vGPU exporter without honorLabels: in {{ $value | humanize }} series "
            "the tenant's namespace became exported_namespace. Set honorLabels: true (honor_labels in plain "
            "Prometheus); until then no alert about tenants fires from this job."
        ),
        meaning="The scrape replaces the tenant's `namespace`, `pod` and `container` by the exporter's own.",
        impact="Every tenant looks like the monitoring namespace; our rules leave such series out.",
        queries=(f'count by (job, exported_namespace) ({c.CONTAINER_INFO.name}{{exported_namespace!=""}})',),
        commands=(
            "kubectl get podmonitors,servicemonitors -A -o yaml | grep -E 'name: |honorLabels'",
            "kubectl get prometheus -A -o jsonpath='{.items[*].spec.overrideHonorLabels}'",
        ),
        mitigation=(
            "PodMonitor or ServiceMonitor: `honorLabels: true` on the endpoint.",
            (
                "It is true already: `overrideHonorLabels` of the Prometheus object wins; relabel instead: drop the "
                "target's `namespace`, `pod` and `container`."
            ),
            "Plain Prometheus: `honor_labels: true` in the job.",
        ),
    ),
    Alert(
        name="VgpuScrapedTwice",
        scope="exporter",
        expr=joined(
            f"max by {labels(NODE)} (",
            f"  count by {labels(DEVICE)} (group by {labels((*TARGET, *DEVICE[1:]))} ({select(c.DEVICE_UP)}))",
            ")",
            "> $threshold",
        ),
        wait="15m",
        severity="info",
        threshold=Threshold(1, "scrape targets per exporter"),
        summary="The vGPU exporter of node {{ $labels.node }} is scraped more than once.",
        description=(
            "{{ $value | humanize }} scrape targets give the same GPUs of node {{ $labels.node }}. Of several jobs our "
            "rules count one, but two targets within one job double GPU-hours and bills; every sum() of yours counts "
            "them all. Keep one: PodMonitor, ServiceMonitor, or the annotations."
        ),
        meaning="The same series come in under several `job` or `instance` labels.",
        impact=(
            "Two targets within one job: the node's GPU-hours and bills come out twice. Two jobs: sums in self-made "
            "queries and panels are too high. Either way Prometheus stores everything twice."
        ),
        queries=(f'count by (job, instance) ({c.DEVICE_UP.name}{{node="NODE"}})',),
        commands=(f"kubectl get podmonitors,servicemonitors -A | grep -i {_NAME}",),
        mitigation=(
            "Keep either the PodMonitor or the ServiceMonitor, and no `prometheus.io/scrape` annotation beside it.",
            "One job, two instances: it finds the pod by two ports or addresses; relabel so that it keeps one.",
            "Two exporters on one node (two releases of the chart): uninstall one.",
        ),
    ),
)
