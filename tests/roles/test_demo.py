"""The packaged recording: HAMi-core's regions in it are those of the real files, for as long as they were true.

And the quota part that was made around it.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.roles.demo import RECORDING, BothRoles, DemoSettings, Role, quota_sampler, staged
from exporter.server import Format
from exporter.sources.recorded import load
from exporter.sources.regions import Regions
from tests.cache_files import unpack_moment
from tests.replay import Replay

if TYPE_CHECKING:
    from exporter.capture import Frame
    from exporter.quota_model import QuotaTotals

#: The moments at which the files were copied, and the sample by which the driver's list was another one.
SPANS: Final = ((30, 46), (50, 56), (80, 90))
CAPTURE: Final = load(RECORDING)
FRAMES: Final = CAPTURE.frames
GPUMEM, CORES, MIB = "nvidia.com/gpumem", "nvidia.com/gpucores", 2**20


def listed(frame: Frame) -> set[tuple[int, int | None]]:
    """Return PIDs and bytes of the driver's list."""
    return {(one.pid, one.used) for reading in frame.readings for one in reading.processes or ()}


@pytest.mark.parametrize(("begin", "end"), SPANS)
def test_the_recorded_regions_are_what_the_files_say(tmp_path: Path, begin: int, end: int) -> None:
    """Decoded anew, the files of a moment give what is played from then on, until the driver's list is another one."""
    unpack_moment(begin, tmp_path)
    memory = {one.device.uuid: one.memory.total for one in FRAMES[begin].readings if one.memory}

    state = Regions([str(tmp_path)]).read(memory)

    assert len(state.regions) == len(state.complete) == 8
    for frame in FRAMES[begin:end]:
        assert frame.regions is not None
        assert (frame.regions.regions, frame.regions.complete) == (state.regions, state.complete)
        assert frame.regions.waiting == state.waiting == 0
        assert listed(frame) == listed(FRAMES[begin])
    assert listed(FRAMES[end]) != listed(FRAMES[begin])


def test_no_region_is_played_beyond_its_time() -> None:
    """Before, between and behind these moments the regions are not known."""
    known = {round(frame.t) for frame in FRAMES if frame.regions is not None}

    assert known == {second for begin, end in SPANS for second in range(begin, end)}
    assert [round(frame.t) for frame in FRAMES] == list(range(len(FRAMES)))


@pytest.mark.parametrize(("second", "up"), [(29, False), (30, True), (45, True), (46, False), (94, False)])
def test_the_demo_says_when_the_regions_are_known(second: int, up: bool) -> None:  # noqa: FBT001  either way
    """While no region is known their source is down, and no figure of theirs is shown."""
    snapshot = Replay().until(second + 0.5)

    [status] = [status for status in snapshot.statuses if status.source == "regions"]
    assert status.up == up
    assert any(pair.counted.limit for pair in snapshot.joined.pairs) == up


# ---------------------------------------------------------------- the quota part


@pytest.fixture(name="totals", scope="module")
def _totals() -> QuotaTotals:
    """Return what the demo's quotas add up to."""
    return quota_sampler(CAPTURE).tick().snapshot.totals


@pytest.fixture(name="role", scope="module")
def _role() -> Role:
    """Return the demo after its first tick."""
    return after_a_tick(RECORDING)


def after_a_tick(capture: Path) -> Role:
    """Return what is played of a capture, after its first tick."""
    role = staged(DemoSettings(capture, 1.0, loop=False, hold=None, listen=()), "unknown")
    role.sampler.attempt()
    return role


def scrape(role: Role, *, openmetrics: bool = False) -> str:
    """Return a scrape of it."""
    body = asyncio.run(role.renderer.body(Format(openmetrics=openmetrics, gzipped=False)))
    assert body is not None
    return body.decode()


def test_the_recorded_pods_are_the_same_from_beginning_to_end() -> None:
    """So the quota part needs to look at them only once."""
    assert all(frame.pods is FRAMES[0].pods for frame in FRAMES)


@pytest.mark.parametrize(
    ("namespace", "quota", "granted", "allowed"),
    [("rag", "gpu", 22000, 24000), ("xinference", "team", 11520, 11520), ("research", "gpu", 6000, 5000)],
    ids=["nearly full", "full", "exceeded"],
)
def test_the_demo_has_each_state_of_a_memory_quota(
    totals: QuotaTotals, namespace: str, quota: str, granted: int, allowed: int
) -> None:
    """One namespace is nearly full, one exactly full, where the stricter of two quotas binds, and one above."""
    key = (namespace, GPUMEM)

    assert (totals.granted[key], totals.hard[key]) == (granted * MIB, allowed * MIB)
    assert totals.binding[key] == quota


def test_the_demo_has_a_namespace_without_any_quota(totals: QuotaTotals) -> None:
    """One namespace is there and nothing limits it."""
    assert "batch" in totals.tenants
    assert "batch" not in {namespace for namespace, _ in totals.hard}


def test_the_demo_has_a_tenant_with_two_namespaces(totals: QuotaTotals) -> None:
    """Two namespaces have one owner, one has another, and one has none but itself."""
    assert totals.tenants == {"rag": "inference", "xinference": "inference", "research": "lab", "batch": "batch"}


def test_the_demo_has_a_quota_of_nothing(totals: QuotaTotals) -> None:
    """No cores are allowed, and none are granted."""
    assert (totals.hard["rag", CORES], totals.granted["rag", CORES]) == (0, 0)


def test_the_demo_has_a_quota_with_a_scope(totals: QuotaTotals) -> None:
    """It is held against the pods that it selects, and is no limit of its namespace."""
    key = ("research", "long-running", CORES)

    assert (totals.quota_granted[key], totals.quota_hard[key]) == (0.35, 0.5)
    assert ("research", CORES) not in totals.hard


def test_the_demo_has_quotas_that_others_read_otherwise(totals: QuotaTotals) -> None:
    """Kubernetes counts the waiting pod once, not for both GPUs; HAMi goes by the wider quota, or by none."""
    assert totals.views["rag", GPUMEM, "kubernetes_used"] == (22000 + 1500) * MIB
    assert totals.views["xinference", GPUMEM, "hami_hard"] == 16000 * MIB
    assert ("research", GPUMEM, "hami_hard") not in totals.views


def test_the_demo_has_a_pod_that_waits_for_quota(totals: QuotaTotals) -> None:
    """One pod waits, where less is left than it asks for."""
    assert totals.pending == {("rag", "quota"): 1}


def test_nothing_made_for_the_demo_is_granted(totals: QuotaTotals) -> None:
    """What is granted was recorded, on the recorded node, and all of it could be read."""
    assert totals.containers == {CAPTURE.node: 9}
    assert not totals.failures


@pytest.mark.parametrize("openmetrics", [False, True])
def test_both_roles_share_a_scrape(role: Role, openmetrics: bool) -> None:  # noqa: FBT001  either format
    """Each family is there once and each series once; what both roles say of themselves bears their name."""
    parse = parse_openmetrics if openmetrics else parse_text
    found = list(parse(scrape(role, openmetrics=openmetrics)))

    names = [family.name for family in found]
    series = [(sample.name, *sorted(sample.labels.items())) for family in found for sample in family.samples]
    assert {"vgpu_device_up", "vgpu_namespace_quota_memory_bytes"} <= set(names)
    assert len(names) == len(set(names))
    assert len(series) == len(set(series))
    [stamps] = [family for family in found if family.name == "vgpu_exporter_snapshot_timestamp_seconds"]
    assert [sample.labels["role"] for sample in stamps.samples] == ["node", "quota"]


def test_the_page_shows_both_and_says_what_was_made_up(role: Role) -> None:
    """The quotas stand beneath the GPUs, and on top is what was not recorded."""
    html = role.renderer.show(role.renderer.current(), role.note)

    assert "made for the demo" in html
    assert html.index("xinference-worker-0") < html.index("What each namespace was granted") < html.index("Sources")
    assert "1 (quota)" in html
    assert "over quota" in html
    assert "pods (quota role): answers" in html


def test_a_moment_is_one_object_until_a_role_has_a_newer_one(role: Role) -> None:
    """So each is rendered once; before both roles have something there is none."""
    before = role.renderer.current()
    assert role.renderer.current() is before

    role.sampler.attempt()

    assert role.renderer.current() is not before
    replay = Replay()
    assert BothRoles(replay.sampler, quota_sampler(CAPTURE)).current() is None


def test_another_node_is_played_without_quotas(tmp_path: Path) -> None:
    """Whatever was recorded elsewhere, nobody knows which quotas there were."""
    role = after_a_tick(Path(shutil.copy(RECORDING, tmp_path / "node.jsonl.gz")))

    assert "quota" not in scrape(role)
    assert "made" not in role.note
