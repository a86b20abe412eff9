"""Alerts on HAMi's own enforcement: what libvgpu does not see, and limits that are not what was granted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from alerts.card import ON_HOST
from alerts.promql import CONTAINER, joined, labels, once
from alerts.rules import Alert, Threshold
from alerts.templates import amount, matchers, plural
from alerts.use import ENVIRONMENT, IN_POD, POD_LABELS, WHO
from exporter import catalogue as c

if TYPE_CHECKING:
    from exporter.catalogue import Metric

_PRELOAD: Final = f"{IN_POD}cat /etc/ld.so.preload"
_ANNOTATION: Final = (
    "kubectl get pod -n NAMESPACE POD -o jsonpath='{.metadata.annotations.hami\\.io/vgpu-devices-allocated}'"
)


def _outside(said: str) -> str:
    """Return a shell command that lists processes with a GPU mapped and without libvgpu; `said` tells of $p."""
    return (
        "sh -c 'for p in /proc/[0-9]*; do grep -qs /dev/nvidia $p/maps && ! grep -qs libvgpu $p/maps && "
        f'echo {said} $(tr "\\0" " " <$p/cmdline); done; true\''
    )


_WORD: Final = plural("$value", one="process", many="processes")
#: Whose region it is the processes say: while nobody sees them, a limit may be that of another container.
_PROCESSES: Final = once(c.CONTAINER_PROCESSES)


def _both(limit: Metric[Any], granted: Metric[Any], shown: str) -> str:
    """Return a template that says a limit and what was granted instead, each as `shown`."""
    figures = (amount(f"max({metric.name}{matchers(CONTAINER)})", CONTAINER, shown) for metric in (limit, granted))
    return "limit {}, granted {}".format(*figures)


_MEMORY: Final = _both(c.CONTAINER_MEMORY_LIMIT, c.CONTAINER_MEMORY_GRANTED, "{{ .Value | humanize1024 }}B")
_CORES: Final = _both(c.CONTAINER_CORE_LIMIT, c.CONTAINER_CORE_GRANTED, "{{ .Value | humanizePercentage }}")

ALERTS: Final = (
    Alert(
        name="VgpuEnforcementEscaped",
        scope="tenant",
        expr=joined(once(c.CONTAINER_PROCESSES_UNCOUNTED), "> $threshold"),
        wait="5m",
        severity="warning",
        threshold=Threshold(0, "processes that may run outside libvgpu"),
        summary="Processes of {{ $labels.namespace }}/{{ $labels.pod }} use the GPU outside HAMi's limits.",
        description=(
            f"{WHO} has {{{{ printf `%.0f` $value }}}} GPU {_WORD} that libvgpu does not know, so that no limit "
            "holds for them: a login by SSH, a static binary, or CUDA_DISABLE_CONTROL. Find out which, end them, and "
            "have them started with HAMi's environment."
        ),
        meaning="The driver lists processes of the container that libvgpu never saw: they are limited by nothing.",
        impact="They can take the whole GPU's memory and time; neighbours run out of memory or slow down.",
        queries=(
            f"{c.CONTAINER_PROCESSES_UNCOUNTED.name}{POD_LABELS}",
            f"{c.CONTAINER_MEMORY_UNCOUNTED.name}{POD_LABELS}",
        ),
        commands=(
            _PRELOAD,
            IN_POD + _outside("$p"),
            ON_HOST + _outside('$p $(grep -m1 -oE "pod[0-9a-f_-]{36}" $p/cgroup)'),
        ),
        mitigation=(
            (
                "The last commands list processes that map a GPU but not libvgpu: in the container those of its own "
                "user only, on the node all, with the UID of their pod. End them, or ask the owner to."
            ),
            (
                "SSH sessions and cron jobs lose the pod's environment: pass `LD_PRELOAD` and `CUDA_DEVICE_*` on, e.g. "
                "through `/etc/environment`, or see that `/etc/ld.so.preload` is mounted."
            ),
            "`CUDA_DISABLE_CONTROL=true` was set by the owner: remove it; an admission policy can forbid it.",
        ),
    ),
    Alert(
        name="VgpuMemoryGrantOutdated",
        scope="tenant",
        expr=joined(
            f"abs({once(c.CONTAINER_MEMORY_LIMIT)} - ({once(c.CONTAINER_MEMORY_GRANTED)} > 0))",
            "> $threshold",
            f"and on {labels(CONTAINER)} {_PROCESSES}",
        ),
        wait="15m",
        severity="warning",
        threshold=Threshold(2**20, "bytes by which limit and grant may differ"),
        summary="{{ $labels.namespace }}/{{ $labels.pod }} has another memory limit than it was granted.",
        description=(
            f"In {WHO} libvgpu does not enforce what was granted: {_MEMORY}. The container started on an older grant, "
            "or somebody changed CUDA_DEVICE_MEMORY_LIMIT. Recreate the pod."
        ),
        meaning="What libvgpu enforces is not what the scheduler granted.",
        impact="A limit above the grant takes from neighbours; one below it takes from the tenant.",
        queries=(f"{c.CONTAINER_MEMORY_LIMIT.name}{POD_LABELS}", f"{c.CONTAINER_MEMORY_GRANTED.name}{POD_LABELS}"),
        commands=(
            ENVIRONMENT,
            _ANNOTATION,
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
        expr=joined(
            f"abs({once(c.CONTAINER_CORE_LIMIT)} - ({once(c.CONTAINER_CORE_GRANTED)} > 0))",
            "> $threshold",
            f"and on {labels(CONTAINER)} {_PROCESSES}",
        ),
        wait="15m",
        severity="warning",
        threshold=Threshold(0.005, "share of a GPU by which limit and grant may differ"),
        summary="{{ $labels.namespace }}/{{ $labels.pod }} has another core limit than it was granted.",
        description=(
            f"In {WHO} libvgpu does not enforce what was granted of the cores: {_CORES}. The container started on an "
            "older grant, or somebody changed CUDA_DEVICE_SM_LIMIT. Recreate the pod."
        ),
        meaning="The share of cores that libvgpu enforces is not what the scheduler granted.",
        impact="A limit above the grant slows neighbours down; one below it slows the tenant down.",
        queries=(f"{c.CONTAINER_CORE_LIMIT.name}{POD_LABELS}", f"{c.CONTAINER_CORE_GRANTED.name}{POD_LABELS}"),
        commands=(ENVIRONMENT, _ANNOTATION),
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
            f"In {WHO} none of the host PIDs that libvgpu believes in is one of the container's processes: its core "
            "limit does nothing. Recreate the pod; if it comes back, the library cannot find its own host PID on this "
            "node."
        ),
        meaning="libvgpu has the wrong host PIDs for this container, so it cannot see how much of the GPU it takes.",
        impact="The core limit does nothing: neighbours may compute slower. The memory limit still holds.",
        queries=(
            f"{c.CONTAINER_HAMI_CORE_BLIND.name}{POD_LABELS}",
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
