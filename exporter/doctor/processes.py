"""The steps of /proc: can it be read, does it show the host's processes, and do we know the shape of its cgroups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from exporter.cgroups import parse
from exporter.doctor import failed, listed, passed, unchecked, warned
from exporter.errors import ProcError, shorten
from exporter.join import NO_HOST_PID, Carry, join
from exporter.model import Process

if TYPE_CHECKING:
    from exporter.doctor import Step
    from exporter.model import DriverState, ProcessState, Unreadable

PROCFS, HOST_PID, CGROUPS = "procfs", "host-pid", "cgroups"

#: What /proc/self/ns/pid links to in the host's own PID namespace (include/linux/proc_ns.h: PROC_PID_INIT_INO).
INITIAL: Final = "pid:[4026531836]"
_HOST_PID: Final = "Set hostPID: true (the chart's default), so that the driver lists processes to the exporter."


@dataclass(frozen=True, slots=True)
class ProcFound:
    """What /proc below `root` says.

    `state` has PID 1, the processes that the driver lists (`listed`), and some more. `own` is our PID there, None if
    it does not say; `namespace` is what our own ns/pid links to, "" if it does not say.
    """

    root: str
    state: ProcessState
    listed: frozenset[int]
    own: int | None
    namespace: str

    @property
    def first(self) -> Process | Unreadable:
        """PID 1, which every PID namespace has."""
        return self.state.processes.get(1, "process_gone")


def procfs(found: ProcFound) -> Step:
    """Judge whether /proc can be read, whosever it is."""
    if not found.state.answered:
        return failed(
            PROCFS, f"{found.root} is no procfs that can be read", "--procfs must name the host's: /proc with hostPID."
        )
    if not isinstance(found.first, Process):
        how = (
            "invisible (hidepid=2)" if found.first == "process_gone" else "unreadable (hidepid=1, or a security module)"
        )
        return failed(
            PROCFS,
            f"PID 1 under {found.root} is {how}",
            "Mount the node's /proc without hidepid, or with the gid= of a group that the exporter's pod has "
            "(supplementalGroups); an AppArmor or SELinux profile must let it read other processes' cgroup and stat.",
        )
    gone = [pid for pid in found.listed if found.state.processes.get(pid) == "process_gone"]
    if gone and len(gone) == len(found.listed):
        return failed(
            PROCFS,
            f"of the {len(gone)} PIDs that the driver lists none is under {found.root}",
            "--procfs must name the procfs of the PID namespace that the exporter runs in: /proc with hostPID: true.",
        )
    refused = [str(pid) for pid in found.listed if found.state.processes.get(pid) == "process_unreadable"]
    if refused:
        return warned(
            PROCFS,
            f"processes on the GPUs that cannot be read: {listed(refused)}",
            "Their use is unknown_process: look for a security module that guards them.",
        )
    return passed(PROCFS, f"{found.root} answers, other processes can be read")


def host_pid(found: ProcFound, driver: DriverState) -> Step:
    """Judge whether we are in the host's PID namespace, without which the driver lists no process."""
    if not found.state.answered:
        return unchecked(HOST_PID, PROCFS)
    if found.listed:
        return passed(HOST_PID, "the driver lists processes to us")
    _, carry = join(driver, driver.readings, found.state, None, Carry())
    if carry.suspect_since is not None:
        return failed(HOST_PID, NO_HOST_PID, _HOST_PID)
    foreign = "" if found.namespace == INITIAL else _foreign(found)
    if foreign:
        return failed(HOST_PID, foreign, _HOST_PID)
    return passed(HOST_PID, "PID 1 is the host's; no process is on the GPUs now")


def _foreign(found: ProcFound) -> str:
    """Return what shows that our PID namespace is a container's, "" if nothing does (a nested cluster's node)."""
    own = found.state.processes.get(found.own) if found.own is not None else None
    if isinstance(own, Process) and len(own.nspid) > 1:
        return f"{found.root} is the host's, but we have a PID namespace of our own"
    if isinstance(found.first, Process) and _in_container(found.first.cgroup, found.state.own_cgroup):
        return f"PID 1 is a container's process ({shorten(found.first.comm)})"
    return ""


def _in_container(cgroup: str, own: str) -> bool:
    """Tell whether PID 1 is in our own container, or in another one of our pod (shareProcessNamespace)."""
    try:
        return cgroup == own or bool(parse(cgroup))
    except ProcError:
        return False


def cgroups(found: ProcFound, host: Step) -> Step:
    """Judge whether the processes' cgroups have a shape that tells their pods."""
    if not found.state.answered or host.verdict == "fail":
        return unchecked(CGROUPS, HOST_PID if found.state.answered else PROCFS)
    texts = {pid: one.cgroup for pid, one in sorted(found.state.processes.items()) if isinstance(one, Process)}
    odd = [f"{pid} ({shorten(text)})" for pid, text in texts.items() if _is_odd(text)]
    if odd:
        return warned(
            CGROUPS,
            f"cgroup texts of an unknown shape: {listed(odd)}",
            "Use of these processes is unknown or the host's. Please report it with `vgpu-exporter capture --out "
            "FILE`, which records the texts.",
        )
    pods = [text for text in texts.values() if _pods(text)]
    if not pods:
        return warned(CGROUPS, f"none of {len(texts)} processes is in a pod", "Look again while pods run on this node.")
    return passed(CGROUPS, f"{len(pods)} of {len(texts)} processes are in pods: {_shape(pods[0])}")


def _pods(text: str) -> bool:
    try:
        return any(owner.pod_uid or owner.container_id for owner in parse(text))
    except ProcError:
        return False


def _is_odd(text: str) -> bool:
    """Tell whether a text names Kubernetes' cgroups, or follows no grammar, and yet tells nobody."""
    try:
        return not parse(text) and "kubepods" in text
    except ProcError:
        return True


def _shape(text: str) -> str:
    """Name the version, the driver and the runtime that a process's text shows."""
    version = "v2" if text.startswith("0::") else "v1 and v2" if "\n0::" in text else "v1"
    kubelet = "systemd" if ".slice" in text or ".scope" in text else "cgroupfs"
    runtime = next((name for name in ("containerd", "crio", "docker") if name in text), "")
    return ", ".join(filter(None, (f"cgroup {version}", kubelet, runtime)))
