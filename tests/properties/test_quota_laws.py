"""Law 8 over made-up clusters: whatever tenants write, no quota is eaten and nobody else is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import QUOTA_FAILURE_REASONS
from exporter.hami.families import FAMILIES
from exporter.hami.quota import quota
from exporter.holdings import holding
from exporter.quota_model import ClusterState, Namespace
from exporter.quotas import total

if TYPE_CHECKING:
    from random import Random

    from exporter.quota_model import QuotaTotals

pytestmark = pytest.mark.usefixtures("search")

Json = dict[str, Any]

MIB: Final = 2**20
COUNT, MEMORY, CORES = "nvidia.com/gpu", "nvidia.com/gpumem", "nvidia.com/gpucores"

DEVICES = st.builds(
    "{},NVIDIA,{},{}:".format,
    st.sampled_from(["GPU-a", "GPU-b", "GPU-a[1-0]", ""]),
    st.integers(0, 2**31 - 1),
    st.integers(0, 200),
)
#: What anybody who may edit a pod can write on it.
TEXTS = st.lists(DEVICES | st.just(";"), max_size=8).map("".join) | st.text(max_size=12)
ANNOTATIONS = st.dictionaries(
    st.sampled_from(
        ["hami.io/vgpu-devices-allocated", "4pd.io/vgpu-ids-new", "volcano.sh/vgpu-ids-new",
         "hami.io/cambricon-mlu-devices-allocated", "hami.io/vgpu-mig-allocations"]
    ),
    TEXTS,
) | st.builds(lambda text, node: {"hami.io/vgpu-devices-allocated": text, "hami.io/vgpu-node": node},
              TEXTS, st.sampled_from(["n1", "n2"]))  # fmt: skip
#: Requests in whole numbers: those that bound a grant.
ASKS = st.fixed_dictionaries({COUNT: st.integers(1, 3), MEMORY: st.integers(1, 9000), CORES: st.integers(1, 100)})


@st.composite
def pods(draw: st.DrawFn, namespace: str) -> list[Json]:
    """Return any pods of one tenant, as JSON."""
    made = []
    for number in range(draw(st.integers(0, 3))):
        limits = [draw(st.just({}) | ASKS) for _ in range(draw(st.integers(1, 3)))]
        inits = [draw(st.just({}) | ASKS) for _ in range(draw(st.integers(0, 2)))]
        made.append(
            {
                "metadata": {
                    "uid": f"{namespace}{number}",
                    "namespace": namespace,
                    "name": f"p{number}",
                    "annotations": draw(ANNOTATIONS),
                },
                "spec": {
                    "nodeName": draw(st.sampled_from(["n1", None])),
                    "priorityClassName": draw(st.sampled_from([None, "high"])),
                    "containers": [{"name": f"c{n}", "resources": {"limits": one}} for n, one in enumerate(limits)],
                    "initContainers": [{"name": f"i{n}", "resources": {"limits": one}} for n, one in enumerate(inits)],
                },
                "status": {"phase": draw(st.sampled_from(["Running", "Running", "Succeeded"]))},
            }
        )
    return made


@st.composite
def quotas(draw: st.DrawFn, namespace: str) -> list[Json]:
    """Return any quotas of one tenant, as JSON."""
    keys = st.sampled_from([f"limits.{MEMORY}", f"requests.{MEMORY}", f"limits.{CORES}", f"requests.{COUNT}"])
    amounts = st.sampled_from(["0", "5k", "16Gi", "-1", "1e30"]) | st.integers(0, 10**6).map(str)
    scope = {"scopeName": "PriorityClass", "operator": "Exists"}
    return [
        {
            "metadata": {"namespace": namespace, "name": f"q{number}", "resourceVersion": str(number)},
            "spec": {
                "hard": draw(st.dictionaries(keys, amounts, min_size=1)),
                "scopeSelector": {"matchExpressions": draw(st.sampled_from([[], [scope]]))},
            },
        }
        for number in range(draw(st.integers(0, 3)))
    ]


def added(pods: list[Json], quotas: list[Json]) -> QuotaTotals:
    """Return the totals of a cluster with these objects."""
    held = [one for one in (holding(raw, FAMILIES) for raw in pods) if one is not None]
    limits = [one for one in (quota(raw, FAMILIES) for raw in quotas) if one is not None]
    return total(
        ClusterState(
            {f"{one.namespace}/{one.name}": one for one in held},
            {f"{one.namespace}/{one.name}": one for one in limits},
            {name: Namespace(name, name) for name in ("x", "y")},
            (),
        ),
        FAMILIES,
    )


def asked(pods: list[Json], resource: str) -> int:
    """Return what containers of bound pods that are not finished asked for, every device counted, at most."""
    return sum(
        one["resources"]["limits"].get(COUNT, 0)
        * (1 if resource == COUNT else one["resources"]["limits"].get(resource, 0))
        for raw in pods
        if raw["spec"]["nodeName"] and raw["status"]["phase"] == "Running"
        for one in raw["spec"]["containers"] + raw["spec"]["initContainers"]
    )


@given(pods("x"))
def test_no_annotation_eats_more_than_was_asked_for(made: list[Json]) -> None:
    """Whatever stands in the annotations, what is granted is at most what the pods' containers asked for together."""
    granted = added(made, []).granted
    assert granted.get(("x", COUNT), 0) <= asked(made, COUNT)
    assert granted.get(("x", MEMORY), 0) <= asked(made, MEMORY) * MIB
    assert granted.get(("x", CORES), 0) <= asked(made, CORES) / 100 + 1e-9


@given(st.tuples(pods("x"), quotas("x")), st.tuples(pods("x"), quotas("x")), st.tuples(pods("y"), quotas("y")))
def test_another_tenant_s_numbers_never_move(
    mine: tuple[list[Json], list[Json]],
    mine_later: tuple[list[Json], list[Json]],
    theirs: tuple[list[Json], list[Json]],
) -> None:
    """Whichever pods and quotas one tenant has, the other's figures are the same, to the bit."""
    before, after = (added(own[0] + theirs[0], own[1] + theirs[1]) for own in (mine, mine_later))
    for field in ("hard", "binding", "granted", "quota_hard", "quota_granted", "views", "pending"):
        of_theirs = [
            {key: one for key, one in getattr(totals, field).items() if key[0] == "y"} for totals in (before, after)
        ]
        assert of_theirs[0] == of_theirs[1]


@given(pods("x"), pods("y"), quotas("x"), quotas("y"), st.randoms(use_true_random=False))
def test_the_order_of_objects_does_not_matter(
    mine: list[Json], theirs: list[Json], limits: list[Json], their_limits: list[Json], random: Random
) -> None:
    """A list of the API server has no order that means anything."""
    everyone, all_limits = mine + theirs, limits + their_limits
    mixed, mixed_limits = random.sample(everyone, len(everyone)), random.sample(all_limits, len(all_limits))
    assert added(everyone, all_limits) == added(mixed, mixed_limits)


@given(pods("x"), quotas("x"))
def test_the_sums_fit_each_other(made: list[Json], limits: list[Json]) -> None:
    """An unscoped quota's pods are the namespace's, a scoped one's some of them; what binds is the least."""
    totals = added(made, limits)
    scoped = {raw["metadata"]["name"] for raw in limits if raw["spec"]["scopeSelector"]["matchExpressions"]}
    for (namespace, name, resource), granted in totals.quota_granted.items():
        everything = totals.granted[namespace, resource]
        assert granted <= everything if name in scoped else granted == everything
    for (namespace, name, resource), hard in totals.quota_hard.items():
        if name not in scoped:
            assert totals.hard[namespace, resource] <= hard
    assert {failure.reason for failure in totals.failures} <= QUOTA_FAILURE_REASONS.keys()
