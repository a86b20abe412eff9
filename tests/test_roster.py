"""The roster: whose process is it, and who holds what."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cgroups import CgroupOwner
from exporter.model import Card, Container, ContainerGrants, Grant, Owner
from exporter.roster import HOST, UNKNOWN_POD, UNKNOWN_PROCESS, enclosing_levels, enrol
from tests.make import GPU, MIB, NODE, OTHER_GPU, cgroup, cid, pod, roster, uid

HASH = "3f6c1b5a9e8d7c6b5a4f3e2d1c0b9a88"
GRANT = f"{GPU},NVIDIA,2000,30:;"
MAIN = Owner(uid("model"), "team", "model", "main")


def inside(*levels: str) -> str:
    """Return a cgroup text with these levels."""
    return "0::/" + "/".join(levels) + "\n"


def level(name: str) -> str:
    """Return a pod's level."""
    return f"pod{uid(name)}"


def test_a_container_that_is_known_is_the_owner() -> None:
    """The process of a container whose ID the pod's status names is that container's."""
    assert roster(pod("model", containers=("main", "side"))).place(cgroup("model", "model/main")) == (MAIN, "")


def test_the_container_before_a_restart_is_the_same_owner() -> None:
    """Each of a container's IDs, the current and the previous, leads to it."""
    known = roster(pod("model", containers=(Container("main", "app", (cid("new"), cid("old"))), "side")))

    assert known.place(cgroup("model", "new")) == known.place(cgroup("model", "old")) == (MAIN, "")


def test_the_outermost_known_owner_is_charged() -> None:
    """What lies inside a known container was made by it, whatever it is named after."""
    known = roster(pod("model"), pod("victim"))
    forged = cgroup("model", "model/main").strip() + cgroup("victim", "victim/main").removeprefix("0::")

    assert known.place(forged) == (MAIN, "")


def test_an_unknown_pods_level_ends_the_search() -> None:
    """Below a pod that nobody knows there may be any name: the use is unknown_pod, not the inner pod's."""
    known = roster(pod("model"))

    assert known.place(inside(level("stranger"), level("model"), cid("model/main"))) == (UNKNOWN_POD, "pod_unknown")


def test_unknown_containers_outside_are_passed_over() -> None:
    """A node that is itself a container (kind, k3d) is no pod: what lies in it is looked at."""
    known = roster(pod("model"))

    assert known.place(inside("docker", cid("kind"), level("model"), cid("model/main"))) == (MAIN, "")


def test_enclosing_levels_are_passed_over() -> None:
    """In a cluster nested in another's pod the levels around the whole node say nothing."""
    known = roster(pod("model"))
    around = inside(level("outer"), cid("outer/main"), level("exporter"), cid("exporter/main"))
    text = inside(level("outer"), cid("outer/main"), level("model"), cid("model/main"))

    assert enclosing_levels(around) == {CgroupOwner(uid("outer"), cid("outer/main"))}
    assert known.place(text, enclosing_levels(around)) == (MAIN, "")
    assert known.place(text) == (UNKNOWN_POD, "pod_unknown")


@pytest.mark.parametrize("own", ["", "0::/\n", "garbage", inside(level("exporter"), cid("exporter/main"))])
def test_an_ordinary_exporter_has_no_enclosing_levels(own: str) -> None:
    """An exporter in no pod, in one pod, or without a cgroup text passes nothing over."""
    assert enclosing_levels(own) == frozenset()


@pytest.mark.parametrize("text", ["0::/user.slice\n", inside("docker", cid("own")), "0::/\n"])
def test_what_is_in_no_pod_is_the_hosts(text: str) -> None:
    """A process without a pod on its path is the host's, also in a container of the host's own runtime."""
    assert roster(pod("model")).place(text) == (HOST, "")


@pytest.mark.parametrize("text", ["", "garbage"])
def test_what_is_no_cgroup_text_is_an_unknown_process(text: str) -> None:
    """A text that cannot be read is counted as such."""
    assert roster(pod("model")).place(text) == (UNKNOWN_PROCESS, "cgroup_unreadable")


def test_the_only_container_is_the_owner_before_its_id_is_known() -> None:
    """In a pod of one container a process can be nobody else's, though the status does not name the ID yet."""
    known = roster(pod("model", containers=(Container("main", "app"),)))

    assert known.place(cgroup("model", "model/main")) == (MAIN, "")
    assert known.place(inside(level("model"))) == (MAIN, "")


def test_one_of_several_containers_is_not_guessed() -> None:
    """In a pod of several containers an ID that the status does not name yet is nobody's."""
    known = roster(pod("model", containers=("main", "side")))

    assert known.place(cgroup("model", "model/new")) == (UNKNOWN_POD, "container_unknown")


def test_a_finished_container_owns_nothing() -> None:
    """What runs under the ID of a container that ended for good is nobody's, and it holds no grant."""
    ended = Container("setup", "init", (cid("model/setup"),), {"nvidia.com/gpu": 1}, finished=True)
    known = roster(pod("model", containers=(ended, "main"), granted=GRANT))

    assert known.place(cgroup("model", "model/setup")) == (UNKNOWN_POD, "container_unknown")
    assert known.place(cgroup("model", "model/main")) == (MAIN, "")
    assert set(known.grants) == {MAIN}


def test_a_finished_pods_only_container_is_no_shortcut() -> None:
    """A pod whose one container ended owns nothing, but its level is still known."""
    ended = Container("main", "app", (cid("model/main"),), finished=True)
    known = roster(pod("model", containers=(ended,)))

    assert known.place(cgroup("model", "other")) == (UNKNOWN_POD, "container_unknown")


def test_a_finished_pod_is_nobodys() -> None:
    """A pod that succeeded or failed holds nothing and owns nothing; its UID is still known for its accounts."""
    known = roster(pod("model", granted=GRANT, finished=True))

    assert known.place(cgroup("model", "model/main")) == (UNKNOWN_POD, "pod_unknown")
    assert (known.grants, known.held, known.granted) == ({}, {}, {})
    assert set(known.pods) == {uid("model")}


def test_a_static_pods_processes_are_found_by_its_hash() -> None:
    """The kubelet's cgroups spell a static pod's UID as its config hash: both lead to it."""
    known = roster(pod("model", containers=(Container("main", "app"),), config_hash=HASH, owner_kind="Node"))

    assert known.place(inside(f"pod{HASH}", cid("any"))) == (MAIN, "")
    assert known.place(inside(level("model"), cid("any"))) == (MAIN, "")


def test_a_static_pod_of_several_containers_is_known_by_its_hash() -> None:
    """An unknown container of a known static pod is told apart from an unknown pod."""
    known = roster(pod("model", containers=("main", "side"), config_hash=HASH, owner_kind="Node"))

    assert known.place(inside(f"pod{HASH}", cid("any"))) == (UNKNOWN_POD, "container_unknown")


def test_a_hash_that_a_tenant_wrote_counts_for_nothing() -> None:
    """A pod that is no mirror of a static one does not get a static pod's processes by its annotation."""
    liar = pod("liar", config_hash=HASH)
    static = pod("model", containers=(Container("main", "app"),), config_hash=HASH, owner_kind="Node")

    assert roster(liar).place(inside(f"pod{HASH}", cid("any"))) == (UNKNOWN_POD, "pod_unknown")
    assert roster(static, liar).place(inside(f"pod{HASH}", cid("any"))) == (MAIN, "")


def test_of_namesakes_the_newest_bears_the_name() -> None:
    """While a pod and its successor of the same name are both known, the old one's use is unknown_pod."""
    old = pod("model", containers=(Container("main", "app", (cid("old"),)),), uid=uid("old"))
    new = replace(
        old, uid=uid("new"), created="2026-01-02T00:00:00Z", containers=(Container("main", "app", (cid("new"),)),)
    )

    for known in (roster(old, new), roster(new, old)):
        assert known.place(cgroup("new", "new")) == (Owner(uid("new"), "team", "model", "main"), "")
        assert known.place(cgroup("old", "old")) == (UNKNOWN_POD, "container_unknown")


def test_the_same_name_in_another_namespace_is_another_pod() -> None:
    """Pods of two namespaces may have the same name."""
    other = pod("model", namespace="other", uid=uid("other"), containers=(Container("main", "app", (cid("other"),)),))
    known = roster(pod("model"), other)

    assert known.place(cgroup("model", "model/main")) == (MAIN, "")
    assert known.place(cgroup("other", "other")) == (Owner(uid("other"), "other", "model", "main"), "")


def test_what_is_held_is_summed_by_gpu_and_by_namespace() -> None:
    """Each GPU has the sum of its grants, and of each namespace's; a GPU without any has none."""
    known = roster(
        pod("a", namespace="x", granted=f"{GPU},NVIDIA,1000,10:;"),
        pod("b", namespace="x", granted=f"{GPU},NVIDIA,2000,0:;"),
        pod("c", namespace="y", granted=f"{GPU},NVIDIA,4000,30:;"),
    )

    held = {uuid: (total.memory // MIB, round(total.cores, 3), total.containers) for uuid, total in known.held.items()}
    granted = {key: total.memory // MIB for key, total in known.granted.items()}
    assert held == {GPU: (7000, 0.4, 3)}
    assert granted == {(GPU, "x"): 3000, (GPU, "y"): 4000}


def test_what_cannot_be_placed_is_held_by_the_pod() -> None:
    """Devices that fit no container have an owner without one; the GPU's and the namespace's totals count it once."""
    known = roster(pod("model", containers=("main", "side"), granted=f"{GPU},NVIDIA,1000,10:{GPU},NVIDIA,2000,20:;"))
    whole = Owner(uid("model"), "team", "model", "")

    assert set(known.grants) == {MAIN, MAIN._replace(container="side"), whole}
    assert known.grants[MAIN].source == "unreadable"
    assert known.grants[whole] == ContainerGrants("hami", (Grant(GPU, 3000 * MIB, 0.1 + 0.2),))
    assert known.held[GPU] == known.granted[GPU, "team"]
    assert (known.held[GPU].memory, known.held[GPU].containers) == (3000 * MIB, 1)
    assert {failure.reason for failure in known.failures} == {"grant_unplaced"}


def test_a_namesake_s_devices_are_held_without_a_name() -> None:
    """Of two pods of one name only the newest owns its grants; the GPU's total has both."""
    old = pod("model", containers=("main", "side"), granted=GRANT, uid=uid("old"))
    new = replace(old, uid=uid("new"), created="2026-01-02T00:00:00Z")
    known = roster(old, new)

    assert {owner.pod_uid for owner in known.grants} == {uid("new")}
    assert known.held[GPU].containers == 2


UUIDS = st.sampled_from([GPU, OTHER_GPU, "GPU-x"])
FORGERIES = st.dictionaries(
    st.sampled_from(
        ["hami.io/vgpu-devices-allocated", "4pd.io/vgpu-ids-new", "volcano.sh/vgpu-ids-new", "hami.io/vgpu-node"]
    ),
    st.lists(st.builds("{},NVIDIA,{},{}:;".format, UUIDS, st.integers(0, 2**31), st.integers(0, 200))).map("".join)
    | st.text(),
)


@given(FORGERIES, st.sampled_from([{}, {"nvidia.com/gpu": 2}, {"nvidia.com/gpu": 1, "nvidia.com/gpumem": 1000}]))
def test_no_annotation_moves_another_pod_s_grants(forged: dict[str, str], asks: dict[str, int | None]) -> None:
    """Whatever a tenant writes on its own pod, the other pod's grants and its namespace's totals stay the same."""
    honest = pod("model", granted=GRANT)
    liar = pod("liar", namespace="other", containers=("main", "side"), asks=asks, annotations=forged)
    alone, beside = roster(honest), roster(honest, liar)

    assert beside.grants[MAIN] == alone.grants[MAIN]
    assert beside.granted[GPU, "team"] == alone.granted[GPU, "team"]
    assert {owner.pod_uid for owner in beside.grants} <= {uid("model"), uid("liar")}
    assert all(held.containers == 0 or asks for (_, name), held in beside.granted.items() if name == "other")


def test_what_cannot_be_believed_is_counted() -> None:
    """A grant on a GPU that this node does not have is a failure of the roster."""
    known = roster(pod("model", granted=f"{OTHER_GPU},NVIDIA,1000,10:;"), uuids=[GPU])

    assert {failure.reason for failure in known.failures} == {"grant_unknown_device"}


def test_without_pods_nobody_has_a_name() -> None:
    """After the API server was away for too long there are no names: use is unknown_pod, and no grants."""
    known = enrol(None, {GPU: Card()}, NODE)

    assert known.place(cgroup("model", "model/main")) == (UNKNOWN_POD, "pod_unknown")
    assert known.place("0::/user.slice\n") == (HOST, "")
    assert (known.current, known.grants, known.held, known.pods) == (False, {}, {}, {})


def test_a_node_without_pods_is_current() -> None:
    """No pods is an answer, other than no answer."""
    assert enrol((), {GPU: Card()}, NODE).current
