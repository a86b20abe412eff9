"""A recorded cluster as a scrape: byte for byte, in both formats, and nothing but the catalogue."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter import catalogue
from exporter.errors import QUOTA_FAILURE_REASONS
from exporter.exposition import encode
from exporter.hami.families import FAMILIES
from exporter.hami.quota import quota as cut_quota
from exporter.holdings import holding
from exporter.labels import Build
from exporter.metrics import Families
from exporter.namespaces import namespace as cut_namespace
from exporter.quota_metrics import Text, own_families, publish
from exporter.quota_model import ClusterState, QuotaSnapshot
from exporter.quotas import total
from tests.make import status
from tests.quota_world import GPU, GPUCORES, GPUMEM, container, namespace, pod, quota, slot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.samples import Sample

    from exporter.quota_model import QuotaTotals

GOLDEN = Path(__file__).parent / "golden" / "quota.prom"
BUILD = Build("quota", "0.0.0", "golden", "3.0.0")
WAITING = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "CardInsufficientMemory"}

NAMESPACES = (namespace("research", owner="lab"), namespace("serving", owner="platform"), namespace("idle"))
QUOTAS = (
    quota("platform", {f"limits.{GPUMEM}": "20000", f"limits.{GPUCORES}": "200"}, namespace="serving"),
    quota("tenant", {f"requests.{GPUMEM}": "30k", f"requests.{GPU}": "4"}, namespace="serving"),
    quota("batch", {f"limits.{GPUMEM}": "8000"}, namespace="serving", scopes=["Terminating"]),
    quota("none", {f"limits.{GPUMEM}": "0"}, namespace="idle"),
    quota("npus", {"limits.huawei.com/Ascend910B4-memory": "65536"}, namespace="research"),
)
PODS = (
    pod("model", slot(8000) + slot(8000, card=2) + ";", container("main", 8000, gpus=2), namespace="serving"),
    pod("reranker", f";{slot(2500)};", container("side", None, gpus=0), container("main", 2500), namespace="serving"),
    pod("notebook", slot(4000, 0) + ";", container("main", 4000, cores=None), namespace="research", node="node-b"),
    pod("done", slot(9000) + ";", container("main", 9000), namespace="research", phase="Succeeded"),
    pod("waiting", None, container("main", 90000), namespace="research")
    | {"status": {"phase": "Pending", "conditions": [WAITING]}},
)


def by_key(objects: Iterable[object]) -> dict[str, object]:
    """Return objects by anything; those that are of no interest are left out."""
    return {str(index): one for index, one in enumerate(objects) if one is not None}


@pytest.fixture(name="snapshot", scope="module")
def _snapshot() -> QuotaSnapshot:
    """Return the snapshot of a small cluster, made by the real parsers."""
    state = ClusterState(
        by_key(holding(raw, FAMILIES) for raw in PODS),  # type: ignore[arg-type]
        by_key(cut_quota({**raw, "metadata": raw["metadata"] | {"resourceVersion": "7"}}, FAMILIES) for raw in QUOTAS),  # type: ignore[arg-type]
        by_key(cut_namespace(raw, tenant_label="owner") for raw in NAMESPACES),  # type: ignore[arg-type]
        (),
    )
    statuses = tuple(status(name) for name in ("quotas", "namespaces", "pods"))
    return QuotaSnapshot(
        1_800_000_000.0, total(state, FAMILIES), dict.fromkeys(QUOTA_FAILURE_REASONS, 0), statuses, None
    )


def families(totals: QuotaTotals) -> Families:
    """Return the totals as families."""
    out = Families()
    publish(out, totals)
    return out


def scrape(snapshot: QuotaSnapshot, *, openmetrics: bool = False) -> str:
    """Return our part of a scrape, as the role sends it."""
    return (Text().of(snapshot.totals) + encode(own_families(snapshot, BUILD), openmetrics=openmetrics)).decode()


def test_a_recorded_cluster_gives_the_golden_scrape(snapshot: QuotaSnapshot) -> None:
    """A recorded cluster gives the golden scrape to the byte (UPDATE_GOLDEN=1 writes it anew)."""
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(scrape(snapshot))

    assert scrape(snapshot) == GOLDEN.read_text()


def test_both_formats_hold_the_same_families(snapshot: QuotaSnapshot) -> None:
    """The OpenMetrics output parses and holds the same families, types and samples as the text output."""
    text = list(parse_text(scrape(snapshot)))
    modern = list(parse_openmetrics(scrape(snapshot, openmetrics=True)))

    assert [(family.name, family.type) for family in text] == [(family.name, family.type) for family in modern]
    assert [family.samples for family in text] == [family.samples for family in modern]


def test_both_formats_spell_the_totals_alike(snapshot: QuotaSnapshot) -> None:
    """What is written once for both formats is what each would write."""
    modern = encode(families(snapshot.totals), openmetrics=True)

    assert modern.removesuffix(b"# EOF\n") == encode(families(snapshot.totals), openmetrics=False)


def test_every_metric_of_the_role_is_published_in_order_and_none_else(snapshot: QuotaSnapshot) -> None:
    """From the first quota metric on the whole catalogue is published, in its order, with type and help."""
    wanted = catalogue.METRICS[catalogue.METRICS.index(catalogue.NAMESPACE_QUOTA_MEMORY) :]
    published = [*families(snapshot.totals), *own_families(snapshot, BUILD)]

    assert [(one.documentation, one.type) for one in published] == [(one.help, one.kind.value) for one in wanted]


def test_text_is_what_the_families_would_give_whatever_changed(snapshot: QuotaSnapshot) -> None:
    """Series that change, come and go are spelt as if everything were spelt anew; nothing stays behind."""
    text, totals = Text(), snapshot.totals
    changed = replace(totals, granted={**totals.granted, ("idle", GPUMEM): 7.0}, tenants={"other": "lab"})
    nothing = total(ClusterState(None, None, None, ()), FAMILIES)

    for one in (totals, changed, nothing, totals, totals):
        assert text.of(one) == encode(families(one), openmetrics=False)


def test_all_that_is_written_once_are_gauges(snapshot: QuotaSnapshot) -> None:
    """A counter is spelt differently in the two formats."""
    assert {family.type for family in families(snapshot.totals)} == {"gauge"}


def test_each_series_is_there_once(snapshot: QuotaSnapshot) -> None:
    """No series is given twice."""
    for found in (families(snapshot.totals), own_families(snapshot, BUILD)):
        series = [(sample.name, *sorted(sample.labels.items())) for sample in samples(found)]
        assert len(series) == len(set(series))


def test_amounts_are_what_was_written(snapshot: QuotaSnapshot) -> None:
    """The strictest amount in base units, both GPUs of a pod, a quota of nothing, and who waits for what."""
    text = scrape(snapshot).splitlines()

    for line in (
        f'vgpu_namespace_quota_memory_bytes{{namespace="serving",resource="{GPUMEM}"}} 2.097152e+10',
        f'vgpu_namespace_quota_info{{namespace="serving",quota="platform",resource="{GPUMEM}"}} 1.0',
        f'vgpu_namespace_granted_devices{{namespace="serving",resource="{GPU}"}} 3.0',
        f'vgpu_namespace_quota_memory_bytes{{namespace="idle",resource="{GPUMEM}"}} 0.0',
        f'vgpu_namespace_granted_memory_bytes{{namespace="idle",resource="{GPUMEM}"}} 0.0',
        f'vgpu_quota_granted_memory_bytes{{namespace="serving",quota="batch",resource="{GPUMEM}"}} 0.0',
        'vgpu_namespace_pending_pods{namespace="research",reason="memory"} 1.0',
        'vgpu_namespace_info{namespace="research",tenant="lab"} 1.0',
        'vgpu_node_granted_containers{node="node-a"} 2.0',
    ):
        assert line in text


def samples(found: Families) -> list[Sample]:
    """Return the samples of all families."""
    return [sample for family in found for sample in family.samples]
