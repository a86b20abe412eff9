"""The example quotas against the pods of the example values, by the quota role's own arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter.hami.families import FAMILIES
from exporter.hami.quota import quota
from exporter.holdings import holding
from exporter.namespaces import namespace
from exporter.quota_model import ClusterState
from exporter.quotas import total
from tests.charts.schemas import faults
from tests.examples.stacks import GPU, GPUCORES, GPUMEM, Json, given, pods, production_stack, read_all, xinference
from tests.quota_world import MIB
from tests.rules.checkers import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from exporter.quota_model import QuotaTotals

#: What HAMi registers of cards, in MiB.
L4, H200 = 23034, 143771
QUOTAS = ("vllm-production-stack-quota.yaml", "xinference-quota.yaml")


def added(name: str, deployments: Iterable[Json], card: int) -> QuotaTotals:
    """Return the totals of an example's namespace and quota, and of these Deployments on such a card."""
    space, own = read_all(name)
    limits = quota(own, FAMILIES)
    assert limits
    found = [holding(pod, FAMILIES) for deployment in deployments for pod in pods(deployment, card)]
    state = ClusterState(
        holdings={one.uid: one for one in found if one},
        quotas={limits.name: limits},
        namespaces={"own": namespace(space, tenant_label="team")},
        statuses=(),
    )
    return total(state, FAMILIES)


@pytest.mark.parametrize("name", QUOTAS)
def test_kubernetes_takes_the_quotas(name: str) -> None:
    """Namespace and quota, strictly, in every release that we support."""
    assert [fault for one in read_all(name) for fault in faults(one)] == []


@pytest.mark.parametrize("name", QUOTAS)
def test_nothing_in_the_quotas_is_without_effect(name: str) -> None:
    """HAMi reads `limits.` of memory and cores alone, Kubernetes `requests.` alone; each quantity is a whole number."""
    _, own = read_all(name)

    for key, amount in own["spec"]["hard"].items():
        assert amount.isdecimal()
        assert key.startswith("requests.") or key in (f"limits.{GPUMEM}", f"limits.{GPUCORES}")


@pytest.mark.parametrize("card", [L4, H200])
def test_the_two_models_fit_their_quota(card: int, tmp_path: Path) -> None:
    """22000 of 24000 MiB and 2 of 2 vGPUs are granted on whatever card; cores are not limited, so none count."""
    deployments = production_stack(given("vllm-production-stack.yaml", tmp_path))
    totals = added("vllm-production-stack-quota.yaml", deployments, card)

    assert totals.hard == {("rag", GPUMEM): 24000 * MIB, ("rag", GPU): 2}
    assert totals.granted == {("rag", GPUMEM): 22000 * MIB, ("rag", GPU): 2, ("rag", GPUCORES): 0}
    assert totals.views["rag", GPUMEM, "hami_hard"] == 24000 * MIB
    assert totals.views["rag", GPUMEM, "hami_used"] == 22000 * MIB
    assert (totals.tenants, totals.failures) == ({"rag": "inference"}, frozenset())


def test_both_models_fit_on_one_l4(tmp_path: Path) -> None:
    """The smallest card that the page names."""
    deployments = production_stack(given("vllm-production-stack.yaml", tmp_path))
    assert added("vllm-production-stack-quota.yaml", deployments, L4).granted["rag", GPUMEM] <= L4 * MIB


def test_five_workers_fit_their_quota_on_an_l4(tmp_path: Path) -> None:
    """11515 of 11520 MiB: five times 2303; all of one card's cores, 5 of 5 vGPUs."""
    totals = added("xinference-quota.yaml", xinference(given("xinference.yaml", tmp_path)), L4)

    assert totals.hard == {("xinference", GPUMEM): 11520 * MIB, ("xinference", GPUCORES): 1, ("xinference", GPU): 5}
    assert totals.granted == {
        ("xinference", GPUMEM): 11515 * MIB, ("xinference", GPUCORES): 1, ("xinference", GPU): 5,
    }  # fmt: skip
    assert (totals.tenants, totals.failures) == ({"xinference": "inference"}, frozenset())


def test_on_a_larger_card_the_percentage_is_more_than_the_quota(tmp_path: Path) -> None:
    """The trap of percentages: a tenth of an H200 is 14377 MiB, so that not even one worker would be let in."""
    [_, worker] = xinference(given("xinference.yaml", tmp_path))
    worker["spec"]["replicas"] = 1
    totals = added("xinference-quota.yaml", [worker], H200)

    assert totals.granted["xinference", GPUMEM] == 14377 * MIB > totals.hard["xinference", GPUMEM]


def test_in_mib_the_workers_are_those_of_the_recording_on_every_card(tmp_path: Path) -> None:
    """With the other way to write it, 2304 MiB each, five fill the quota to the last MiB."""
    [_, worker] = xinference(given("xinference.yaml", tmp_path))
    limits = worker["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    del limits["nvidia.com/gpumem-percentage"]
    limits[GPUMEM] = "2304"

    for card in (L4, H200):
        assert added("xinference-quota.yaml", [worker], card).granted["xinference", GPUMEM] == 11520 * MIB


def test_the_page_says_these_figures(tmp_path: Path) -> None:
    """docs/serving.md has what is granted, and of how much, as it was added up here."""
    page = (ROOT / "docs" / "serving.md").read_text()
    stack = production_stack(given("vllm-production-stack.yaml", tmp_path))
    workers = xinference(given("xinference.yaml", tmp_path))

    for namespace_, totals in (
        ("rag", added("vllm-production-stack-quota.yaml", stack, L4)),
        ("xinference", added("xinference-quota.yaml", workers, L4)),
    ):
        held, hard = (figures[namespace_, GPUMEM] // MIB for figures in (totals.granted, totals.hard))
        assert f"{held:.0f} of {hard:.0f} MiB" in page
        assert f"{totals.granted[namespace_, GPU]:.0f} of {totals.hard[namespace_, GPU]:.0f} vGPUs" in page
