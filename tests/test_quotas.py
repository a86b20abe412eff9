"""Quotas, grants and waiting pods of a whole cluster, added up, as scenarios and as rules."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from exporter.hami.families import FAMILIES, NVIDIA
from exporter.hami.quota import quota
from exporter.holdings import holding
from exporter.model import Failure
from exporter.quota_model import ClusterState, Holding, Namespace, Quota, Scope
from exporter.quotas import total

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from exporter.quota_model import QuotaTotals

MIB: Final = 2**20
COUNT, MEMORY, CORES = "nvidia.com/gpu", "nvidia.com/gpumem", "nvidia.com/gpucores"


def pod(name: str = "work", namespace: str = "team", *, gpus: int = 1, mib: int = 4000, cores: int = 30) -> Holding:
    """Return what is made of a running pod, which asked for as much as HAMi wrote of each of its GPUs."""
    asks = {COUNT: str(gpus), MEMORY: str(mib), CORES: str(cores)}
    text = "".join(f"GPU-{number},NVIDIA,{mib},{cores}:" for number in range(gpus))
    found = holding(
        {
            "metadata": {
                "uid": f"{namespace}-{name}",
                "namespace": namespace,
                "name": name,
                "annotations": {"hami.io/vgpu-devices-allocated": f"{text};", "hami.io/vgpu-node": "n1"},
            },
            "spec": {"nodeName": "n1", "containers": [{"name": "main", "resources": {"limits": asks}}]},
            "status": {"phase": "Running", "qosClass": "Burstable"},
        },
        FAMILIES,
    )
    assert found is not None
    return found


def budget(
    name: str = "budget", namespace: str = "team", *, used: Mapping[str, str] | None = None, version: int = 1,
    scopes: tuple[Scope, ...] = (), **hard: str,
) -> Quota:  # fmt: skip
    """Return a quota; `hard` maps `mem`, `cores` and `gpus` to quantities, of the key that HAMi's users write."""
    keys = {"mem": f"limits.{MEMORY}", "cores": f"limits.{CORES}", "gpus": f"requests.{COUNT}", "cpu": "cpu"}
    raw: dict[str, Any] = {
        "metadata": {"namespace": namespace, "name": name, "resourceVersion": str(version)},
        "spec": {"hard": {keys[word]: amount for word, amount in hard.items()}},
        "status": {"used": used or {}},
    }
    found = quota(raw, FAMILIES)
    assert found is not None
    return replace(found, scopes=scopes)


def state(
    pods: Iterable[Holding] | None = (),
    quotas: Iterable[Quota] | None = (),
    namespaces: Iterable[Namespace] | None = (),
    unreadable: frozenset[Failure] = frozenset(),
) -> ClusterState:
    """Return what the API server said."""
    return ClusterState(
        holdings=None if pods is None else {f"{one.namespace}/{one.name}": one for one in pods},
        quotas=None if quotas is None else {f"{one.namespace}/{one.name}": one for one in quotas},
        namespaces=None if namespaces is None else {one.name: one for one in namespaces},
        statuses=(),
        unreadable=unreadable,
    )


def added(
    pods: Iterable[Holding] | None = (), quotas: Iterable[Quota] | None = (), **rest: Any  # noqa: ANN401  as state
) -> QuotaTotals:  # fmt: skip
    """Return the totals of these."""
    return total(state(pods, quotas, **rest), FAMILIES)


# ---------------------------------------------------------------- what is allowed


def test_scenario_17_of_two_quotas_the_stricter_is_effective() -> None:
    """The platform's 20000 MiB bind, not the tenant's 30000; deleting the looser changes nothing."""
    platform, own = budget("platform", mem="20000"), budget("own", mem="30000", cores="100")
    both, one = added(quotas=[own, platform]), added(quotas=[platform])
    assert both.hard == {("team", MEMORY): 20000 * MIB, ("team", CORES): 1.0}
    assert both.binding == {("team", MEMORY): "platform", ("team", CORES): "own"}
    assert one.hard == {("team", MEMORY): 20000 * MIB}


def test_of_equal_quotas_the_first_by_name_binds() -> None:
    """Whichever arrived first, the same one is named."""
    quotas = [budget("b", mem="5"), budget("a", mem="5")]
    assert added(quotas=quotas).binding == added(quotas=quotas[::-1]).binding == {("team", MEMORY): "a"}


def test_scenario_18_an_edited_quota_is_the_same_series() -> None:
    """Raised from 100 to 200 the key stays and the value moves."""
    before, after = added(quotas=[budget(mem="100", version=1)]), added(quotas=[budget(mem="200", version=2)])
    assert before.hard == {("team", MEMORY): 100 * MIB}
    assert after.hard == {("team", MEMORY): 200 * MIB}
    assert before.binding == after.binding


def test_a_hard_0_allows_nothing() -> None:
    """0 is the strictest there is, and not the absence of a quota."""
    totals = added(quotas=[budget("loose", mem="100"), budget("none", mem="0")])
    assert (totals.hard, totals.binding) == ({("team", MEMORY): 0.0}, {("team", MEMORY): "none"})


def test_a_quota_with_a_scope_binds_nobody_in_general() -> None:
    """It is shown by itself; the namespace's own figure is that of the unscoped ones."""
    totals = added(quotas=[budget("night", mem="10", scopes=(Scope("Terminating"),)), budget(mem="100")])
    assert totals.hard == {("team", MEMORY): 100 * MIB}
    assert totals.quota_hard == {("team", "night", MEMORY): 10 * MIB, ("team", "budget", MEMORY): 100 * MIB}


# ---------------------------------------------------------------- what is granted


def test_scenario_2_five_workers_add_up() -> None:
    """Five pods of 4606 MiB, as a fifth of a card was resolved, are five times that in their namespace."""
    totals = added([pod(f"worker-{number}", mib=4606) for number in range(5)])
    assert totals.granted[("team", MEMORY)] == 5 * 4606 * MIB
    assert totals.granted[("team", COUNT)] == 5


def test_scenario_12_every_gpu_counts() -> None:
    """A pod with 2 GPUs of 2048 MiB holds 4096 MiB (#1393)."""
    totals = added([pod(gpus=2, mib=2048)])
    assert totals.granted == {("team", COUNT): 2, ("team", MEMORY): 4096 * MIB, ("team", CORES): 0.6}


def test_scenario_15_a_finished_pod_is_out_of_the_sum() -> None:
    """A completed Job that is still in the API falls out, and the quota shows 0 used and not nothing."""
    done = replace(pod(), granted={}, hami={}, containers=0)
    totals = added([done], [budget(mem="20000")])
    assert totals.granted == {("team", MEMORY): 0.0}
    assert totals.quota_granted == {("team", "budget", MEMORY): 0.0}
    assert totals.views[("team", MEMORY, "hami_used")] == 0.0


def test_scenario_16_used_and_hard_can_be_divided() -> None:
    """18500 MiB of 20000 are 92.5 %, by series of the same labels and units."""
    totals = added([pod("big", mib=18000), pod("small", mib=500)], [budget(mem="20000")])
    assert totals.granted[("team", MEMORY)] / totals.hard[("team", MEMORY)] == 0.925


def test_ten_tenths_are_one() -> None:
    """Ten pods of a tenth of a GPU's cores each exactly fill a quota of one GPU; fractions must not tip it over."""
    totals = added([pod(f"p{number}", cores=10) for number in range(10)], [budget(cores="100")])
    assert totals.granted[("team", CORES)] == totals.hard[("team", CORES)] == 1.0
    assert totals.quota_granted[("team", "budget", CORES)] == 1.0


def test_namespaces_do_not_mix() -> None:
    """What one tenant holds is in no other's sum, whatever the names of pods and quotas."""
    totals = added([pod("a", "red"), pod("a", "blue", gpus=2)], [budget("q", "red", gpus="4")])
    assert (totals.granted[("red", COUNT)], totals.granted[("blue", COUNT)]) == (1, 2)
    assert totals.quota_granted == {("red", "q", COUNT): 1.0}


def test_where_a_resource_s_grants_cannot_be_known_there_is_no_0() -> None:
    """AMD's annotation counts cores in units that nobody knows: a quota of them has no granted figure, not 0."""
    raw = {"metadata": {"namespace": "team", "name": "q"}, "spec": {"hard": {"limits.amd.com/gpucores": "50"}}}
    amd = quota(raw, FAMILIES)
    assert amd is not None
    totals = added(quotas=[amd])
    assert totals.hard == {("team", "amd.com/gpucores"): 0.5}
    assert (totals.granted, totals.quota_granted) == ({}, {})


# ---------------------------------------------------------------- scopes

BATCH = replace(pod("batch", gpus=1), terminating=True, priority_class="low")
SERVING = replace(pod("serving", gpus=2), priority_class="high")
IDLE = replace(pod("idle", gpus=4), best_effort=True, cross_namespace=True)


@pytest.mark.parametrize(
    ("scopes", "devices"),
    [
        pytest.param([], 7, id="unscoped"),
        pytest.param([Scope("Terminating")], 1, id="terminating"),
        pytest.param([Scope("NotTerminating")], 6, id="not-terminating"),
        pytest.param([Scope("BestEffort")], 4, id="best-effort"),
        pytest.param([Scope("NotBestEffort")], 3, id="not-best-effort"),
        pytest.param([Scope("CrossNamespacePodAffinity")], 4, id="affinity"),
        pytest.param([Scope("PriorityClass", "In", ("high", "x"))], 2, id="in"),
        pytest.param([Scope("PriorityClass", "In", ("",))], 0, id="in-nothing"),
        pytest.param([Scope("PriorityClass", "NotIn", ("high",))], 5, id="not-in-has-those-without-one"),
        pytest.param([Scope("PriorityClass")], 3, id="exists"),
        pytest.param([Scope("PriorityClass", "DoesNotExist")], 4, id="does-not-exist"),
        pytest.param([Scope("NotBestEffort"), Scope("NotTerminating")], 2, id="all-of-them"),
    ],
)
def test_each_quota_over_the_pods_that_it_selects(scopes: list[Scope], devices: int) -> None:
    """Scopes select as in Kubernetes, all of them at once."""
    totals = added([BATCH, SERVING, IDLE], [budget(gpus="9", scopes=tuple(scopes))])
    assert totals.quota_granted == {("team", "budget", COUNT): devices}
    assert totals.failures == frozenset()


@pytest.mark.parametrize(
    "scope",
    [Scope("VolumeAttributesClass"), Scope(""), Scope("Terminating", "In", ("x",)), Scope("PriorityClass", "Gt")],
)
def test_a_scope_that_we_do_not_know_selects_nobody_knows_whom(scope: Scope) -> None:
    """The object has no granted figure, and one failure; the namespace's sum and the other objects stand."""
    totals = added([SERVING], [budget("odd", gpus="9", scopes=(scope, Scope("BestEffort"))), budget(gpus="9")])
    assert totals.quota_granted == {("team", "budget", COUNT): 2.0}
    assert totals.failures == {Failure("quota_scope_unknown", "team/odd")}


# ---------------------------------------------------------------- how others read it


def test_edge_11_three_readings_of_one_quota_in_one_unit() -> None:
    """With `memoryFactor` 1024 a quota of 20 is 20 GiB to us and to HAMi; Kubernetes counts 2 GPUs of 4 as one."""
    families = (replace(NVIDIA, asked_memory_unit=1024 * MIB),)
    raw: dict[str, Any] = {
        "metadata": {"namespace": "team", "name": "q"},
        "spec": {"hard": {f"limits.{MEMORY}": "20", f"requests.{MEMORY}": "20"}},
        "status": {"used": {f"requests.{MEMORY}": "4"}},
    }
    read = quota(raw, families)
    assert read is not None
    totals = total(state([pod(gpus=2, mib=4096)], [read]), families)
    assert totals.hard == {("team", MEMORY): 20 * 2**30}
    assert {view: amount for (_, name, view), amount in totals.views.items() if name == MEMORY} == {
        "kubernetes_used": 4 * 2**30,
        "hami_hard": 20 * 2**30,
        "hami_used": 8 * 2**30,
    }


def test_hami_takes_the_quota_that_was_changed_last() -> None:
    """Of two objects HAMi knows the newer only, whatever its scope (#2997): here twice what binds."""
    quotas = [budget("a", mem="100", version=9, scopes=(Scope("Terminating"),)), budget("b", mem="50", version=8)]
    totals = added(quotas=quotas)
    assert totals.views[("team", MEMORY, "hami_hard")] == 100 * MIB
    assert totals.hard == {("team", MEMORY): 50 * MIB}


def test_hami_s_limit_by_resource() -> None:
    """An older object still holds for what the newer one does not name; 0 is 0."""
    views = added(quotas=[budget("a", mem="0", cores="50", version=1), budget("b", cores="80", version=2)]).views
    assert views[("team", MEMORY, "hami_hard")] == 0
    assert views[("team", CORES, "hami_hard")] == 0.8


def test_hami_counts_where_it_has_no_quota_too() -> None:
    """As in its own metric: what a namespace uses is told with and without a limit."""
    totals = added([pod(gpus=2)])
    assert totals.views == {("team", MEMORY, "hami_used"): 8000 * MIB, ("team", CORES, "hami_used"): 0.6}


def test_a_forged_annotation_shows_in_hami_s_count_only() -> None:
    """HAMi believes an annotation that nobody asked for: its view is full, while nothing is granted."""
    forger = replace(pod(), granted={}, hami={MEMORY: 20000}, failures=frozenset({Failure("grant_unasked", "u")}))
    totals = added([forger], [budget(mem="20000")])
    assert totals.granted == {("team", MEMORY): 0.0}
    assert totals.views[("team", MEMORY, "hami_used")] == totals.views[("team", MEMORY, "hami_hard")]
    assert totals.failures == {Failure("grant_unasked", "u")}


def test_kubernetes_count_is_that_of_the_quota_that_binds() -> None:
    """Each object has a count of its own; the one that stands beside the hard limit is the binding one's."""
    loose = budget("loose", gpus="9", used={f"requests.{COUNT}": "7"})
    strict = budget("strict", gpus="4", mem="9", used={f"requests.{COUNT}": "3"})
    views = added(None, [loose, strict]).views
    assert views == {("team", COUNT, "kubernetes_used"): 3.0, ("team", MEMORY, "hami_hard"): 9 * MIB}


# ---------------------------------------------------------------- who waits, who owns, where


def test_waiting_pods_by_reason() -> None:
    """Pods that wait are counted by namespace and reason, and hold nothing."""
    waiting = [replace(pod(f"p{n}"), pending="quota", granted={}, containers=0, node="") for n in range(2)]
    other = replace(pod("p", "other"), pending="no_card", granted={}, containers=0, node="")
    totals = added([*waiting, other, pod("runs")])
    assert totals.pending == {("team", "quota"): 2, ("other", "no_card"): 1}
    assert totals.granted[("team", COUNT)] == 1


def test_tenants_and_nodes() -> None:
    """Namespaces map to tenants, nodes to how many containers hold a grant there; one without any is not named."""
    elsewhere = replace(pod("b"), node="n2", containers=2)
    idle = replace(pod("c"), node="n3", containers=0)
    totals = added([pod("a"), elsewhere, idle], namespaces=[Namespace("team", "ml"), Namespace("web", "web")])
    assert totals.tenants == {"team": "ml", "web": "web"}
    assert totals.containers == {"n1": 1, "n2": 2}


# ---------------------------------------------------------------- what is not known, and what is wrong


def test_without_pods_nothing_is_granted_or_waits() -> None:
    """Where the API server forbids pods, quotas are told and nothing that needs pods, not even as 0."""
    totals = added(None, [budget(mem="20000")])
    assert totals.hard == {("team", MEMORY): 20000 * MIB}
    assert (totals.granted, totals.quota_granted, totals.pending, totals.containers) == ({}, {}, {}, {})
    assert totals.views == {("team", MEMORY, "hami_hard"): 20000 * MIB}


def test_without_quotas_nothing_is_said_of_them() -> None:
    """Where the API server forbids quotas, grants are told, without a 0 for what nobody knows to be limited."""
    totals = added([pod(), replace(pod("p", "idle"), granted={})], None)
    assert {namespace for namespace, _ in totals.granted} == {"team"}
    assert (totals.hard, totals.binding, totals.quota_hard, totals.quota_granted) == ({}, {}, {}, {})


def test_without_namespaces_no_tenant_is_named() -> None:
    """Everything else serves on."""
    totals = added([pod()], [budget(mem="1")], namespaces=None)
    assert totals.tenants == {}
    assert totals.hard
    assert totals.granted


def test_failures_of_every_kind_are_told_once() -> None:
    """Those of objects of no use, of pods, and of quantities, each under a key of its own."""
    odd = budget(mem="-1", cores="x", gpus="4")
    lost, forged = Failure("quota_unreadable", "team/lost"), Failure("grant_unasked", "u")
    totals = added(
        [replace(pod(), failures=frozenset({forged}))], [odd], unreadable=frozenset({lost})
    )  # fmt: skip
    assert totals.failures == {
        lost,
        forged,
        Failure("quota_quantity", f"team/budget/limits.{MEMORY}"),
        Failure("quota_quantity", f"team/budget/limits.{CORES}"),
    }
    assert totals.hard == {("team", COUNT): 4.0}


def test_resources_by_names_that_hami_no_longer_has() -> None:
    """After HAMi's resources were renamed, what was read by the old names has no figure until it is read again."""
    renamed = (replace(NVIDIA, count="x.com/gpu", memory="x.com/mem", cores="x.com/cores"),)
    quotas = [budget(mem="9", gpus="1", scopes=(Scope("NotTerminating"),)), budget("b", mem="9")]
    totals = total(state([pod()], quotas), renamed)
    assert set(totals.measures.values()) == {"memory", "core", "devices"}
    assert (totals.hard, totals.granted, totals.quota_hard, totals.quota_granted, totals.views) == ({}, {}, {}, {}, {})
