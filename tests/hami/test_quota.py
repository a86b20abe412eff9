"""ResourceQuotas as JSON: every spelling, every notation, and what cannot be read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import ManifestError
from exporter.hami.families import FAMILIES, NVIDIA
from exporter.hami.quota import quota, resources
from exporter.quota_model import Quota, Scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.hami.families import Family

MIB: Final = 2**20
COUNT, MEMORY, CORES = "nvidia.com/gpu", "nvidia.com/gpumem", "nvidia.com/gpucores"


def raw(hard: object, used: object = None, **spec: object) -> dict[str, Any]:
    """Return a quota's JSON."""
    return {
        "metadata": {"namespace": "team", "name": "budget", "resourceVersion": "71"},
        "spec": {"hard": hard, **spec},
        "status": {"hard": hard, "used": used or {}},
    }


def read(hard: object, used: object = None, *, families: Sequence[Family] = FAMILIES, **spec: object) -> Quota:
    """Return what is read of it."""
    found = quota(raw(hard, used, **spec), families)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("key", "amount", "resource", "hard"),
    [
        pytest.param(f"limits.{MEMORY}", "20000", MEMORY, 20000 * MIB, id="limits"),
        pytest.param(f"requests.{MEMORY}", "20000", MEMORY, 20000 * MIB, id="requests"),
        pytest.param(MEMORY, "20000", MEMORY, 20000 * MIB, id="bare"),
        pytest.param(f"limits.{CORES}", "57", CORES, 0.57, id="cores-are-hundredths"),
        pytest.param(f"requests.{COUNT}", "8", COUNT, 8, id="devices"),
        pytest.param(f"limits.{COUNT}", "8", COUNT, 8, id="devices-by-limits"),
        pytest.param(f"limits.{MEMORY}", "5k", MEMORY, 5000 * MIB, id="si-suffix"),
        pytest.param(f"limits.{MEMORY}", "16Gi", MEMORY, 2**34 * MIB, id="gi-of-mib-is-meant-literally"),
        pytest.param(f"limits.{MEMORY}", str(10**30), MEMORY, 1e30 * MIB, id="absurd"),
        pytest.param(f"limits.{CORES}", "1500m", CORES, 0.015, id="fraction"),
        pytest.param(f"limits.{MEMORY}", 20000, MEMORY, 20000 * MIB, id="a-json-number"),
        pytest.param(f"limits.{MEMORY}", "0", MEMORY, 0, id="nothing-allowed"),
        pytest.param("limits.cambricon.com/mlu.smlu.vmemory", "4", "cambricon.com/mlu.smlu.vmemory", 2**30, id="mlu"),
        pytest.param("requests.mthreads.com/sgpu-core", "8", "mthreads.com/sgpu-core", 0.5, id="mthreads"),
        pytest.param("limits.huawei.com/Ascend910B2-memory", "1", "huawei.com/Ascend910B2-memory", MIB, id="ascend"),
    ],
)
def test_every_spelling_and_notation_in_base_units(key: str, amount: object, resource: str, hard: float) -> None:
    """Each key is read by its bare name, and its quantity in bytes, ratio of a device, or devices."""
    assert dict(read({key: amount}).hard) == {resource: hard}


def test_of_several_spellings_the_strictest_holds() -> None:
    """A pod must fit them all; of what Kubernetes counted the larger is nearer to the limit."""
    hard = {MEMORY: "300", f"limits.{MEMORY}": "100", f"requests.{MEMORY}": "200"}
    found = read(hard, {f"requests.{MEMORY}": "40", MEMORY: "50"})
    assert dict(found.hard) == {MEMORY: 100 * MIB}
    assert dict(found.used) == {MEMORY: 50 * MIB}


@pytest.mark.parametrize("amount", ["-1", "many", "", "1e70", None, True, 1.5, [], {}, "16 Gi", "0x10"])
def test_a_quantity_that_is_none_costs_its_own_key(amount: object) -> None:
    """A negative or senseless amount is named, and the other keys hold."""
    found = read({f"limits.{MEMORY}": amount, f"limits.{CORES}": "100"})
    assert dict(found.hard) == {CORES: 1.0}
    assert found.unreadable == (f"limits.{MEMORY}",)


@pytest.mark.parametrize("resource", ["volcano.sh/vgpu-memory", "enflame.com/gcu-core", "aws.amazon.com/neuroncore"])
def test_a_resource_whose_unit_nobody_knows_has_no_figure(resource: str) -> None:
    """A number without a unit is no amount; the key is named."""
    found = read({f"limits.{resource}": "100"})
    assert (dict(found.hard), found.unreadable) == ({}, (f"limits.{resource}",))


def test_hami_s_names_and_factor_are_settings() -> None:
    """With `memoryFactor` 1024 and another name a quota of 20 is 20 GiB, for us and for HAMi, who keeps it raw."""
    renamed = replace(NVIDIA, memory="nvidia.com/vmem", asked_memory_unit=1024 * MIB)
    found = read({"limits.nvidia.com/vmem": "20", f"limits.{MEMORY}": "9"}, families=(renamed,))
    assert (dict(found.hard), dict(found.hami)) == ({"nvidia.com/vmem": 20 * 2**30}, {"nvidia.com/vmem": 20})


@pytest.mark.parametrize(
    ("hard", "hami"),
    [
        pytest.param({f"limits.{MEMORY}": "20000", f"limits.{CORES}": "300"}, {MEMORY: 20000, CORES: 300}, id="raw"),
        pytest.param({f"requests.{MEMORY}": "1", MEMORY: "2", f"limits.{COUNT}": "3"}, {}, id="all-else-is-not-read"),
        pytest.param({f"limits.{MEMORY}": "16Gi"}, {MEMORY: 2**34}, id="suffixes-that-make-a-whole-number"),
        pytest.param({f"limits.{MEMORY}": "1500m", f"limits.{CORES}": "-1"}, {}, id="no-whole-number"),
        pytest.param({f"limits.{MEMORY}": str(2**63), f"limits.{CORES}": str(2**63 - 1)}, {CORES: 2**63 - 1}, id="64"),
        pytest.param({f"limits.{MEMORY}": "0"}, {MEMORY: 0}, id="0"),
        pytest.param({"limits.volcano.sh/vgpu-cores": "5"}, {}, id="volcano-is-not-hami"),
    ],
)
def test_what_hami_reads_of_it(hard: dict[str, str], hami: dict[str, int]) -> None:
    """HAMi takes `limits.` of memory and cores, as whole numbers of 64 bits, and nothing else."""
    assert dict(read(hard).hami) == hami


@pytest.mark.parametrize(
    "hard", [{}, None, [], {"limits.cpu": "4", "pods": "9"}, {"count/pods": "1"}, {"nvidia.com/mig-1g.10gb": "1"}]
)
def test_a_quota_of_other_things_is_of_no_interest(hard: object) -> None:
    """Most quotas of a cluster are about CPU and memory: nothing is kept of them."""
    assert quota(raw(hard), FAMILIES) is None


def test_both_kinds_of_scopes_are_kept() -> None:
    """`scopes` are selectors that ask for existence; one that cannot be read stays, as one that nobody knows."""
    expressions = [
        {"scopeName": "PriorityClass", "operator": "In", "values": ["high", "low"]},
        {"scopeName": 5},
        "x",
    ]
    found = read({MEMORY: "1"}, scopes=["NotBestEffort", 7], scopeSelector={"matchExpressions": expressions})
    assert found.scopes == (
        Scope("NotBestEffort"),
        Scope(""),
        Scope("PriorityClass", "In", ("high", "low")),
        Scope("", ""),
        Scope("", ""),
    )


@pytest.mark.parametrize(
    ("version", "number"),
    [("71", 71), ("0071", 71), ("", 0), ("new", 0), (None, 0), ("9" * 5000, 0), ("７", 0)],  # noqa: RUF001 - hostile digit
)
def test_the_version_orders_changes(version: object, number: int) -> None:
    """A resourceVersion is a number wherever the API server is a Kubernetes; elsewhere it tells nothing."""
    changed = raw({MEMORY: "1"})
    changed["metadata"]["resourceVersion"] = version
    found = quota(changed, FAMILIES)
    assert found is not None
    assert found.version == number


@pytest.mark.parametrize(
    "metadata", [None, {}, {"name": "a"}, {"namespace": "a"}, {"namespace": "a", "name": "\ud800"}]
)
def test_without_a_name_it_is_no_quota(metadata: object) -> None:
    """What lacks a name or a namespace is refused, in one sentence."""
    with pytest.raises(ManifestError, match="lacks a name or a namespace"):
        quota({"metadata": metadata, "spec": {"hard": {MEMORY: "1"}}}, FAMILIES)


def test_every_resource_of_every_family_is_known() -> None:
    """Each family's devices, memory and cores are measured as such, and percentages of a card are no amount."""
    known = resources(FAMILIES)
    for family in FAMILIES:
        assert known[family.count].measure == "devices"
        assert not family.memory or known[family.memory].measure == "memory"
        assert not family.cores or known[family.cores].measure == "core"
        assert family.memory_percentage not in known


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["metadata", "spec", "status", "hard", "used", "name", "namespace", "scopes", MEMORY]),
            inner,
        )
    ),
    max_leaves=30,
)


@given(json_values)
def test_any_json_is_a_quota_or_none_or_refused(value: object) -> None:
    """Nothing but ManifestError is ever raised, whatever the API server sends."""
    try:
        found = quota(value, FAMILIES)
    except ManifestError:
        return
    assert found is None or all(amount >= 0 for amount in found.hard.values())
