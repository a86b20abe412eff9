"""Owners from /proc/<pid>/cgroup: every shape that kernels, kubelets and runtimes write, and what tenants may forge."""

from __future__ import annotations

import time
from itertools import product
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cgroups import CgroupOwner, parse
from exporter.errors import ProcError

if TYPE_CHECKING:
    from collections.abc import Callable

UID: Final = "6513270e-269e-4d37-b2a7-4de452e6b438"
OTHER: Final = "0d1c2b3a-0000-4000-8000-00000000beef"
HASH: Final = "3f6c1b5a9e8d7c6b5a4f3e2d1c0b9a88"
CID: Final = "4a" * 32
INNER: Final = "7b" * 32
OUTER: Final = "c0" * 32
OWNER: Final = CgroupOwner(UID, CID)


def under(uid: str) -> str:
    """Spell a UID as systemd does."""
    return uid.replace("-", "_")


def systemd(qos: str, uid: str = UID, container: str = f"cri-containerd-{CID}.scope", root: str = "kubepods") -> str:
    """Return a container's path below a kubelet with the systemd driver; no QoS level for guaranteed pods."""
    level = f"/{root}-{qos}.slice" if qos else ""
    prefix = f"{root}-{qos}" if qos else root
    return f"/{root}.slice{level}/{prefix}-pod{under(uid)}.slice/{container}"


def cgroupfs(qos: str, uid: str = UID, container: str = CID) -> str:
    """Return a container's path below a kubelet with the cgroupfs driver."""
    return "/kubepods" + (f"/{qos}" if qos else "") + f"/pod{uid}/{container}"


def v1(path: str) -> str:
    """Return the text on a v1 host."""
    return f"12:devices:{path}\n11:rdma:/\n4:cpu,cpuacct:{path}\n3:memory:{path}\n1:name=systemd:{path}\n"


#: What each kind of host shows for a path.
HOSTS: Final[dict[str, Callable[[str], str]]] = {
    "v1": v1,
    "v2": lambda path: f"0::{path}\n",
    "hybrid": lambda path: v1(path) + "0::/\n",
}
QOS: Final = {"guaranteed": "", "burstable": "burstable", "besteffort": "besteffort"}
DRIVERS: Final[dict[str, Callable[[str], str]]] = {"systemd": systemd, "cgroupfs": cgroupfs}


def relative(driver: str, qos: str) -> str:
    """Return a container's path as read from a burstable pod's container with a private cgroup namespace."""
    tail = DRIVERS[driver](qos).split("/")[1:]
    if qos == "burstable":
        return "/../../" + "/".join(tail[2:])
    return "/../../../" + "/".join(tail[1:])


MATRIX: Final = [
    pytest.param(
        HOSTS[host](DRIVERS[driver](QOS[qos]) if namespace == "host" else relative(driver, QOS[qos])),
        id=f"{host}-{driver}-{qos}-{namespace}",
    )
    for host, driver, qos, namespace in product(HOSTS, DRIVERS, QOS, ("host", "private"))
]


@pytest.mark.parametrize("text", MATRIX)
def test_a_container_of_a_pod_is_found_however_its_path_is_spelt(text: str) -> None:
    """Kernel generation, cgroup driver, QoS class and the reader's namespace change nothing in the answer."""
    assert parse(text) == (OWNER,)


@pytest.mark.parametrize(
    "container",
    [
        pytest.param(f"cri-containerd-{CID}.scope", id="containerd"),
        pytest.param(f"crio-{CID}.scope", id="crio"),
        pytest.param(f"crio-{CID}.scope/container", id="crio-leaf"),
        pytest.param(f"docker-{CID}.scope", id="docker"),
        pytest.param(f"libpod-{CID}.scope", id="podman"),
        pytest.param(CID, id="bare"),
        pytest.param(f"cri-containerd-{CID}.scope/init.scope", id="systemd-in-container"),
        pytest.param(f"cri-containerd-{CID}.scope/system.slice/ssh.service", id="ssh-in-container"),
        pytest.param(f"cri-containerd-{CID}.scope (deleted)", id="deleted"),
    ],
)
def test_every_runtime_s_container_is_found(container: str) -> None:
    """The runtime's spelling of a container, and groups made inside it, still name the container."""
    assert parse(f"0::{systemd('burstable', container=container)}\n") == (OWNER,)


SLICE: Final = f"kubepods-burstable-pod{under(UID)}.slice"
SHAPES: Final = [
    pytest.param(f"/system.slice/containerd.service/{SLICE}:cri-containerd:{CID}", (OWNER,), id="colons-containerd"),
    pytest.param(f"/kubepods.slice/kubepods-burstable.slice/{SLICE}:crio:{CID}", (OWNER,), id="colons-crio"),
    pytest.param(f"/kubepods.slice/{SLICE}/crio-conmon-{CID}.scope", ((UID, ""),), id="crio-conmon"),
    pytest.param(f"/machine.slice/libpod-conmon-{CID}.scope", (), id="podman-conmon"),
    pytest.param(f"/kubepods.slice/{SLICE}", ((UID, ""),), id="pod-level"),
    pytest.param(f"/kubepods/burstable/pod{UID} (deleted)", ((UID, ""),), id="pod-level-deleted"),
    pytest.param(systemd("burstable", uid=HASH), ((HASH, CID),), id="static-pod-systemd"),
    pytest.param(cgroupfs("", uid=HASH), ((HASH, CID),), id="static-pod-cgroupfs"),
    pytest.param(f"/../cri-containerd-{CID}.scope", (("", CID),), id="private-same-pod"),
    pytest.param(f"/../{CID}", (("", CID),), id="private-same-pod-cgroupfs"),
    pytest.param(
        f"/../../../kubepods-besteffort.slice/kubepods-besteffort-pod{under(UID)}.slice/cri-containerd-{CID}.scope",
        (OWNER,),
        id="private-other-qos",
    ),
    pytest.param(
        f"/docker/{OUTER}/kubelet.slice" + systemd("burstable", root="kubelet-kubepods"),
        (("", OUTER), OWNER),
        id="kind-systemd",
    ),
    pytest.param(f"/docker/{OUTER}/kubelet" + cgroupfs("burstable"), (("", OUTER), OWNER), id="kind-cgroupfs"),
    pytest.param(f"/docker/{OUTER}" + cgroupfs("burstable"), (("", OUTER), OWNER), id="k3d"),
    pytest.param(systemd("") + f"/docker/{INNER}", (OWNER, ("", INNER)), id="docker-in-docker"),
    pytest.param(
        systemd("burstable", uid=OTHER, container=f"crio-{OUTER}.scope") + f"/docker/{INNER}/kubelet" + cgroupfs(""),
        ((OTHER, OUTER), ("", INNER), OWNER),
        id="kind-in-a-pod",
    ),
    pytest.param(f"/kubepods/pod{OTHER}/x" + cgroupfs(""), ((OTHER, ""), OWNER), id="pod-in-a-pod-s-own-level"),
    pytest.param(f"/foo.slice/foo-{SLICE}/{CID}", (OWNER,), id="cgroup-root"),
    pytest.param(f"/docker/{CID}", (("", CID),), id="docker-run-cgroupfs"),
    pytest.param(f"/system.slice/docker-{CID}.scope", (("", CID),), id="docker-run-systemd"),
    pytest.param(f"/machine.slice/machine-libpod_pod_{OUTER}.slice/libpod-{CID}.scope", (("", CID),), id="podman-pod"),
    pytest.param("/user.slice/user-1000.slice/session-3.scope", (), id="host-session"),
    pytest.param("/system.slice/nvidia-persistenced.service", (), id="host-service"),
    pytest.param("/", (), id="host-root"),
    pytest.param("/../../../../system.slice/sshd.service", (), id="host-service-private"),
    pytest.param("/kubepods.slice/kubepods-burstable.slice", (), id="kubepods-without-a-pod"),
    pytest.param(f"/kubepods/pod{UID}x/y", (), id="uid-with-a-tail"),
    pytest.param(f"/kubepods/xpod{UID}/y", (), id="pod-with-a-head"),
    pytest.param(f"/kubepods/pod{UID.replace('-', '_', 1)}/y", (), id="uid-of-mixed-spelling"),
    pytest.param(f"/docker/{CID}0", (), id="id-too-long"),
    pytest.param(f"/docker/{CID[:-1]}", (), id="id-too-short"),
    pytest.param(f"/docker/{CID.upper()}", (), id="id-in-capitals"),
    pytest.param("/a:b::c/" + CID, (("", CID),), id="colons-in-names"),
]


@pytest.mark.parametrize(("path", "owners"), SHAPES)
def test_a_path_names_its_owners_from_outermost_to_innermost(path: str, owners: tuple[tuple[str, str], ...]) -> None:
    """Each pod and container level of a path is an owner, in the order of nesting; host paths have none."""
    assert parse(f"0::{path}\n") == owners


def test_a_forged_inner_cgroup_stands_behind_the_true_owner() -> None:
    """A tenant's cgroup named like another pod's container comes after the tenant's own."""
    text = f"0::{systemd('burstable')}{systemd('burstable', uid=OTHER, container=INNER)}\n"
    assert parse(text) == (OWNER, (OTHER, INNER))


@pytest.mark.parametrize("separator", ["\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_only_a_newline_ends_a_line(separator: str) -> None:
    """A cgroup's name may hold every other separator, which must not start a line of the tenant's making."""
    forged = f"{separator}0::{cgroupfs('', uid=OTHER, container=INNER)}"
    assert parse(f"4:memory:{cgroupfs('')}/x{forged}\n")[0] == OWNER


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        pytest.param(f"4:memory:{cgroupfs('', uid=OTHER)}\n0::{cgroupfs('')}\n", UID, id="unified-first"),
        pytest.param(f"4:memory:{cgroupfs('', uid=OTHER)}\n1:name=systemd:{cgroupfs('')}\n0::/\n", UID, id="systemd"),
        pytest.param(f"4:memory:/\n3:cpu:{cgroupfs('')}\n1:name=systemd:/\n", UID, id="first-with-owners"),
        pytest.param(f"3:cpu:{cgroupfs('')}\n0::/system.slice/containerd.service\n", UID, id="unified-without-owners"),
        pytest.param(f"garbage\n\n0:cpu\n1:x:no-slash\n²:x:/\n3:cpu:{cgroupfs('')}\n", UID, id="odd-lines-skipped"),
        pytest.param(f"0::{cgroupfs('')}", UID, id="no-final-newline"),
    ],
)
def test_one_hierarchy_decides(text: str, owner: str) -> None:
    """The unified hierarchy decides, else systemd's, else the first that shows an owner."""
    assert [found.pod_uid for found in parse(text)] == [owner]


@pytest.mark.parametrize("text", ["", "\n", "no such process", "x::/", "²::/", "0:cpu", "0::relative", "\x00\xff"])
def test_what_is_no_cgroup_text_is_an_error(text: str) -> None:
    """A text without any `id:controllers:path` line raises, with the text in the message."""
    with pytest.raises(ProcError, match="not a /proc/<pid>/cgroup text: '"):
        parse(text)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/pod" * 1_000_000, id="pods"),
        pytest.param("/" + "-pod0123abcd-" * 1_000_000, id="one-long-name"),
        pytest.param("/" + "a-" * 1_000_000 + ".scope", id="dashes"),
        pytest.param("/" + ":" * 1_000_000, id="colons"),
        pytest.param("/" + "\x00\ud800" * 1_000_000, id="binary"),
        pytest.param("\n0::/" * 1_000_000, id="lines"),
    ],
)
def test_an_absurd_text_costs_little(path: str) -> None:
    """Megabytes of hostile names are cut to what a kernel writes and read in linear time."""
    begun = time.process_time()
    parse(f"0::/{path}")
    assert time.process_time() - begun < 1


def test_the_outer_levels_of_an_absurdly_deep_path_still_count() -> None:
    """Nesting deeper than a kernel allows does not hide whose process it is."""
    assert parse(f"0::{cgroupfs('')}{'/nested' * 100_000}\n") == (OWNER,)


PIECES: Final = st.sampled_from(
    [
        "0::",
        "4:cpu:",
        "1:name=systemd:",
        "/",
        "\n",
        ":",
        "..",
        f"pod{UID}",
        f"-pod{under(UID)}.slice",
        CID,
        " (deleted)",
    ]
)


@given(st.text() | st.lists(PIECES | st.text(max_size=3)).map("".join))
def test_any_text_returns_owners_or_is_an_error(text: str) -> None:
    """Whatever the text, there is an answer of well-formed owners or a ProcError, nothing else."""
    try:
        owners = parse(text)
    except ProcError:
        return
    assert all(owner.pod_uid in {"", UID} and owner.container_id in {"", CID} and any(owner) for owner in owners)


@given(st.lists(PIECES | st.text(max_size=3)).map("".join))
def test_nothing_made_inside_a_container_comes_before_it(inside: str) -> None:
    """Whatever cgroups a tenant makes below its container (no newline: the kernel refuses it), its own is outermost."""
    text = f"0::{systemd('', uid=OTHER, container=f'crio-{OUTER}.scope')}/{inside}".replace("\n", "")
    assert parse(text)[0] == (OTHER, OUTER)
