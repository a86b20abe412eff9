"""The text of /proc/<pid>/cgroup, and its redacted form: exporter/cgroups.py, exporter/redaction.py."""

from __future__ import annotations

import re
from typing import Final

from exporter.cgroups import CgroupOwner, parse
from exporter.errors import ProcError
from exporter.redaction import cgroup
from tests.fuzz.inputs import grown, seed, text
from tests.fuzz.promises import refused

MAX_LEN: Final = 8192
_MOST_NAMES: Final = 2048  # in a path of the kernel; more of them only take longer
_UID: Final = "6513270e-269e-4d37-b2a7-4de452e6b438"
_SLICE: Final = f"kubepods-burstable-pod{_UID.replace('-', '_')}.slice"
_CID: Final = "123b1612dd272d1371c17149d439536b3216fdaeeb975729fae923d5a4fd12aa"
EXAMPLES: Final = (
    "0::/\n",
    "0::/user.slice/user-1000.slice/session-2.scope\n",
    f"0::/kubepods.slice/kubepods-burstable.slice/{_SLICE}/cri-containerd-{_CID}.scope\n",
    f"0::/kubepods/besteffort/pod{_UID}/{_CID}\n",
    f"0::/../../pod{_UID}/{_CID}\n",
    f"0::/kubepods.slice/{_SLICE}/crio-{_CID}.scope/container (deleted)\n",
    f"0::/kubepods.slice/{_SLICE}/crio-conmon-{_CID}.scope\n",
    f"0::/system.slice/containerd.service/{_SLICE}:cri-containerd:{_CID}\n",
    f"0::/kubepods.slice/kubepods-pod{_CID[:32]}.slice/docker-{_CID}.scope/kubepods/pod{_UID}/{_CID}\n",
    f"12:cpu,cpuacct:/kubepods/pod{_UID}/{_CID}\n1:name=systemd:/kubepods/pod{_UID}/{_CID}\n0::/\n",
    f"0::/machine.slice/machine-libpod_pod_{_CID}.slice/libpod-{_CID}.scope/team-secret\n",
)
SEEDS: Final = (
    *map(seed, EXAMPLES),
    grown("0::/a", 1),
    grown(f"0::/{_CID}/", 65, 0xA7),
    grown("9:pids:/x\n", 0, 0xA7),
)
_POD: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}")
_CONTAINER: Final = re.compile(r"[0-9a-f]{64}")
_WORDS: Final = frozenset({
    "besteffort", "blkio", "burstable", "conmon", "containerd", "cpu", "cpuacct", "cpuset", "cri", "crio",
    "deleted", "devices", "docker", "freezer", "hugetlb", "init", "kubelet", "kubepods", "libpod", "lxc",
    "machine", "memory", "misc", "name=systemd", "net_cls", "net_prio", "perf_event", "pids", "pod", "podman",
    "rdma", "scope", "service", "session", "slice", "system", "user", "x",
})  # fmt: skip
_SEPARATOR: Final = re.compile(r"[-/:.,() \n]+")
#: A hierarchy's number; a container's ID; a pod's UID, or one of the parts between its dashes.
_KEPT: Final = re.compile(
    r"[0-9]+|[0-9a-f]{64}|(pod)?([0-9a-f]{32}|[0-9a-f]{8}((_[0-9a-f]{4}){3}_[0-9a-f]{12})?)|[0-9a-f]{4}|[0-9a-f]{12}"
)


def one_input(data: bytes) -> None:
    """Parse a text; its redacted form must say the same, be no longer, stay as it is, and name nothing."""
    written = text(data)
    if written.count("/") + written.count(":") > _MOST_NAMES:
        written = written[:_MOST_NAMES]
    owners, redacted = _parsed(written), cgroup(written)
    assert _parsed(redacted) == owners
    assert len(redacted) <= len(written)
    assert cgroup(redacted) == redacted
    unknown = {word for word in _SEPARATOR.split(redacted) if word} - _WORDS
    assert all(map(_KEPT.fullmatch, unknown)), unknown
    for owner in owners or ():
        assert any(owner)
        assert not owner.pod_uid or _POD.fullmatch(owner.pod_uid)
        assert not owner.container_id or _CONTAINER.fullmatch(owner.container_id)


def _parsed(written: str) -> tuple[CgroupOwner, ...] | None:
    try:
        return parse.__wrapped__(written)  # the cache would hold thousands of long texts
    except ProcError as error:
        refused(error)
        return None
