"""Whose process is this: the text of /proc/<pid>/cgroup → pods and containers on its path.

How a path is spelt depends on the kernel (v1, v2, both), the kubelet's cgroup driver (systemd: slices and scopes with
underscores in the UID; cgroupfs: plain directories), the runtime, the pod's QoS class, and on the cgroup namespace of
whoever reads: from a private one a sibling is `/../../pod<uid>/<cid>`, without the word kubepods. So nothing here goes
by depth or by the names above: a level is a pod or a container by its own name, strictly matched, or it is neither.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from exporter.errors import ProcError, shorten

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Characters looked at; the kernel writes at most 16 lines (one per v1 hierarchy) with a path of 4096.
MAX_TEXT: Final = 128 * 1024
#: A pod's level: `pod<uid>`, `kubepods-burstable-pod<uid>.slice`, `kubelet-kubepods-pod<uid>.slice`. The UID is a UUID,
#: or for a static pod the 32 digits of its hash; podman's `machine-libpod_pod_<64 digits>.slice` is no Kubernetes pod.
_POD: Final = re.compile(
    r"(?:^|-)pod([0-9a-f]{8}([-_])[0-9a-f]{4}\2[0-9a-f]{4}\2[0-9a-f]{4}\2[0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?\Z"
)
_CONTAINER_ID: Final = re.compile(r"[0-9a-f]{64}")


class CgroupOwner(NamedTuple):
    """One pod or container on a process's path.

    `pod_uid` is "" where the path shows none; with dashes however it was spelt, a static pod's hash as it is.
    `container_id` is "" where the path shows none (the pod's own level, CRI-O's conmon); no runtime prefix.
    """

    pod_uid: str
    container_id: str


@lru_cache(maxsize=2048)  # the same few hundred texts come every second
def parse(text: str) -> tuple[CgroupOwner, ...]:
    """Return the owners on one path of a /proc/<pid>/cgroup text, OUTERMOST first; empty for a host process.

    Charge the outermost owner that this kubelet knows. Anything further in may be forged: a tenant can make cgroups
    below its own, named after another pod's UID and container ID (an honest nested Docker only adds unknown IDs).
    In nested clusters (kind, k3d) the exporter talks to the inner API server, and the outer levels are simply unknown
    to it.

    The unified hierarchy (`0::`) decides if it shows an owner, else systemd's, else the first that does: v1 controllers
    may be left at `/`, and on hybrid hosts `0::` usually is.

    Raises ProcError for a text without any line of the form `id:controllers:path` (man 7 cgroups).
    """
    paths = _paths(text[:MAX_TEXT])
    if not paths:
        raise ProcError(f"not a /proc/<pid>/cgroup text: {shorten(text)}")
    return next((owners for path in paths if (owners := tuple(_owners(path)))), ())


def _paths(text: str) -> list[str]:
    """Return the path of each line, the most trustworthy hierarchy first."""
    ranked: list[tuple[int, str]] = []
    # Not splitlines(): a cgroup's name may hold any separator but the newline, and must not start a line of its own.
    for line in text.split("\n"):
        identity, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if identity.isascii() and identity.isdigit() and path.startswith("/"):
            ranked.append((_rank(identity, controllers), path.removesuffix(" (deleted)")))
    return [path for _, path in sorted(ranked, key=lambda entry: entry[0])]


def _rank(identity: str, controllers: str) -> int:
    if identity == "0" and not controllers:
        return 0
    return 1 if controllers == "name=systemd" else 2


def _owners(path: str) -> Iterator[CgroupOwner]:
    """Walk one path inwards: a container belongs to the pod level above it, unless one came between."""
    pod = ""
    for name in _names(path):
        if uid := _pod_uid(name):
            if pod:
                yield CgroupOwner(pod, "")
            pod = uid
        elif container := _container_id(name):
            yield CgroupOwner(pod, container)
            pod = ""
    if pod:
        yield CgroupOwner(pod, "")


def _names(path: str) -> Iterator[str]:
    """Split a path into names; containerd without systemd writes `<pod slice>:cri-containerd:<id>` as one directory."""
    for level in path.split("/"):
        yield from level.split(":")


def _pod_uid(name: str) -> str:
    """Return the UID if the level is a pod's, else ""."""
    match = _POD.search(name)
    return match[1].replace("_", "-") if match else ""


def _container_id(name: str) -> str:
    """Return the ID if the level is a container's (`<id>`, `<runtime>-<id>.scope`), else ""."""
    runtime, _, identity = name.removesuffix(".scope").rpartition("-")
    if runtime.endswith("conmon"):  # CRI-O's and podman's monitor: named after the container, but outside it
        return ""
    return identity if _CONTAINER_ID.fullmatch(identity) else ""
