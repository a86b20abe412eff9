"""Every error the program raises on purpose, as one tree.

    ExporterError
    ├── ConfigError       a flag, variable, file or value that cannot be used   → exit code 2
    ├── ParseError        a text or bytes that do not mean anything
    │   ├── AnnotationError   what HAMi (or a tenant) wrote on a pod
    │   ├── CaptureError      a line of a recorded node
    │   ├── DeviceConfigError HAMi's device-config.yaml
    │   ├── ManifestError     a pod's JSON
    │   ├── ProcError         a text of /proc
    │   └── RegionError       a `*.cache` file of HAMi-core; has a closed-list `reason`
    └── SourceError       an edge could not read; has a closed-list `reason`
        ├── DriverError       NVML
        └── ApiError          the Kubernetes API server

Edges wrap: what pynvml, kubernetes, yaml or the operating system raise never leaves `sources/`
(or `config.py`); it is chained with `from` behind one of these. Parsers raise `ParseError`s with
the offending text, shortened, in the message. A `reason` is a label value of
`vgpu_source_errors_total`, so it comes from the closed lists below and never from outside.
"""

from __future__ import annotations

from typing import Final

_API: Final = (
    "closed",
    "config",
    "forbidden",
    "gone",
    "malformed",
    "server_error",
    "throttled",
    "unauthorized",
    "unreachable",
)
#: Per source, every reason that `vgpu_source_errors_total` can carry; each is published from 0.
SOURCE_REASONS: Final[dict[str, tuple[str, ...]]] = {
    "nvml": (
        "driver_not_loaded",
        "gpu_lost",
        "hijacked",
        "library_not_found",
        "no_permission",
        "sample_gap",
        "timeout",
        "unknown",
        "version_mismatch",
    ),
    "procfs": ("malformed", "no_host_pid", "unreadable"),
    "pods": _API,
    "node": _API,
    "regions": ("slow", "too_many", "unreadable"),
    "quotas": _API,
    "namespaces": _API,
    "hami_config": _API,
}

#: Every reason that `vgpu_attribution_failures_total` can carry, for the node role, in words.
FAILURE_REASONS: Final[dict[str, str]] = {
    "annotation_unreadable": "the device annotation on the pod does not follow its grammar: its grant is absent",
    "cgroup_unreadable": "the process's cgroup text has no shape we know: its use is unknown_process",
    "container_unknown": "the pod is known, but not (yet) a container of that ID: its use is unknown_pod",
    "grant_above_request": "the annotation promises more than the pod asked for, or than can be granted: it is cut",
    "grant_other_node": "the annotation names another node: it is ignored",
    "grant_unasked": "the annotation grants devices to a pod that asks for none of that kind: it is ignored",
    "grant_unit_unknown": "nothing says in which unit the annotation counts: that figure is absent",
    "grant_unknown_device": "the annotation names a GPU that this node does not have: it is ignored",
    "grant_unplaced": "the annotation's entries fit no reading of the pod's containers: only the pod has the grant",
    "mig_allocation_unreadable": "the pod's MIG allocations do not fit its devices: the grant names the whole GPU",
    "pid_reused": "the PID changed hands between the driver's answer and ours: its use is unknown_process",
    "pod_unknown": "the API server does not (or no longer) name the process's pod: its use is unknown_pod",
    "pod_unreadable": "the pod's JSON lacks what every pod has: it is ignored",
    "process_gone": "the process ended between the driver's answer and ours: its use is unknown_process",
    "process_unreadable": "/proc refuses the process's texts: its use is unknown_process",
    "region_excess": "a directory holds more regions, or a region more slots, than one may: the rest is not read",
    "region_malformed": "the file is no HAMi-core region, or was changed while it was read: its figures are absent",
    "region_torn": "a slot was being written at every look: what its process uses is not known",
    "region_unnamed": "the directory's name is not <pod UID>_<container>: what lies in it is not read",
    "region_unplaced": "the region fits several containers of its pod equally well: its figures are absent",
    "region_unreadable": "the file or directory cannot be opened, or is none: its figures are absent",
    "region_unsupported": "the region's layout is older, or newer, than those we know: its figures are absent",
    "region_value": "a figure in the region cannot be (negative, beyond the card): that figure is absent",
}

#: The same for the quota role; what both can meet means the same in both.
QUOTA_FAILURE_REASONS: Final[dict[str, str]] = {
    **{
        reason: FAILURE_REASONS[reason]
        for reason in (
            "annotation_unreadable",
            "grant_above_request",
            "grant_other_node",
            "grant_unasked",
            "grant_unit_unknown",
            "grant_unplaced",
            "pod_unreadable",
        )
    },
    "namespace_unreadable": "the namespace's JSON lacks a name: it is ignored",
    "quota_quantity": "the quota's amount of a resource is no number that can be allowed: that amount is absent",
    "quota_scope_unknown": "the quota has a scope we do not know: nobody knows whom it selects, its grants are absent",
    "quota_unreadable": "the quota's JSON lacks what every quota has: it is ignored",
}

_SHOWN = 120


def shorten(text: str) -> str:
    """Return `text` as it may stand in a message: quoted, escaped, at most 120 characters."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


class ExporterError(Exception):
    """Base of all errors of this program; its text is one sentence for people."""


class ConfigError(ExporterError):
    """A setting that cannot be used: names it, its origin and what was expected."""


class ParseError(ExporterError):
    """A text that does not mean anything; the message holds it, shortened."""


class AnnotationError(ParseError):
    """A device annotation that does not follow HAMi's grammar."""


class CaptureError(ParseError):
    """A capture file, or a line of one, that cannot be played."""


class DeviceConfigError(ParseError):
    """A device-config.yaml of HAMi that says nothing of NVIDIA's resources, or what cannot be."""


class ManifestError(ParseError):
    """A Kubernetes object that lacks what every object of its kind has."""


class ProcError(ParseError):
    """A /proc text of a shape the kernel does not write."""


class RegionError(ParseError):
    """A file that gives no region.

    `reason` is `region_not_initialised` (just created, no UUID yet: nothing is wrong), or one that counts in
    `vgpu_attribution_failures_total`.
    """

    def __init__(self, reason: str, message: str) -> None:
        """Keep the closed-list `reason` beside the sentence."""
        super().__init__(message)
        self.reason = reason


class SourceError(ExporterError):
    """An edge could not read. `reason` is from `SOURCE_REASONS`, `str()` says what to do."""

    def __init__(self, reason: str, message: str) -> None:
        """Keep the closed-list `reason` beside the sentence."""
        super().__init__(message)
        self.reason = reason


class DriverError(SourceError):
    """NVML did not answer."""


class ApiError(SourceError):
    """The Kubernetes API server did not answer as it should."""
