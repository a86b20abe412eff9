"""docs/hami.md's table, cell by cell: from each release's own text, through a whole tick, comes the cell's word."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pytest
from typing_extensions import override

from exporter import manifest
from exporter.config import HAMI_CONTAINERS
from exporter.hami.node_register import NodeState, choose, decode
from exporter.sampler import Sampler, Sources
from exporter.snapshot import Counted
from exporter.sources import Gpus, Node, Pods, Processes
from exporter.sources.regions import Regions
from tests.cache_files import CacheFile, Slot, put
from tests.hami.releases import MIG, PODS, RELEASES, Box, Cell, Feature, Release
from tests.make import (
    GIB,
    GPU,
    MIB,
    NODE,
    OTHER_GPU,
    cgroup,
    cid,
    driver,
    pods,
    process,
    processes,
    reading,
    status,
    uid,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from exporter.model import DriverState, PodState, ProcessState
    from exporter.snapshot import Snapshot

#: What is no default, since others may write there: an owner who wants it says so by flag.
GIVEN: Final = "/tmp/vgpu/containers"  # noqa: S108  it is theirs

#: Container → what it is granted: UUID, MiB, percent of the cores.
Granted: TypeAlias = "dict[str, set[tuple[str, int, int]]]"

#: The columns that a test proves; filled by `of_every_release`.
PROVEN: Final[set[Feature]] = set()
CARDS: Final = driver(reading(), reading(uuid=OTHER_GPU))


def of_every_release(feature: Feature) -> pytest.MarkDecorator:
    """Run a test once for each release, and note that it proves that column."""
    PROVEN.add(feature)
    return pytest.mark.parametrize("release", RELEASES, ids=[release.name for release in RELEASES])


class Edges(Gpus, Processes, Pods):
    """A node with one pod, whose processes run."""

    def __init__(self, gpus: DriverState, found: ProcessState, pod: PodState) -> None:
        """Answer these."""
        self._gpus, self._found, self._pods = gpus, found, pod

    @override
    def read(self, timeout: float) -> DriverState:
        return self._gpus

    @override
    def look_up(self, pids: Collection[int]) -> ProcessState:
        return self._found

    @override
    def current(self) -> PodState:
        return self._pods

    @override
    def close(self) -> None: ...


class Registered(Node):
    """A Node with one annotation of its device plugin's."""

    def __init__(self, annotations: Mapping[str, str]) -> None:
        """Read it as the node's edge does."""
        key = choose(annotations)
        self._state = NodeState(decode(annotations[key]) if key else (), status("node"))

    @override
    def current(self) -> NodeState:
        return self._state

    @override
    def close(self) -> None: ...


def annotations_of(release: Release, cell: Cell) -> dict[str, str]:
    """Return all annotations that the release writes on the pod."""
    named = {release.cells[Feature.ANNOTATION].outcome: cell.text, release.chosen: NODE}
    return named | ({"hami.io/vgpu-mig-allocations": cell.allocations} if cell.allocations else {})


def manifest_of(release: Release, boxes: Iterable[Box], annotations: Mapping[str, str]) -> dict[str, Any]:
    """Return the running v1.Pod as the API server tells it."""
    spec: dict[str, list[object]] = {"initContainers": [], "containers": []}
    reported: dict[str, list[object]] = {"initContainerStatuses": [], "containerStatuses": []}
    for box in boxes:
        spec["initContainers" if box.init else "containers"].append(
            {"name": box.name, "resources": {"limits": limits(release, box)}}
        )
        running = {
            "name": box.name,
            "containerID": f"containerd://{cid(f'model/{box.name}')}",
            "state": {"running": {}},
        }
        reported["initContainerStatuses" if box.init else "containerStatuses"].append(running)
    metadata = {"uid": uid("model"), "namespace": "team", "name": "model", "annotations": dict(annotations)}
    return {"metadata": metadata, "spec": {"nodeName": NODE} | spec, "status": {"phase": "Running"} | reported}


def limits(release: Release, box: Box) -> dict[str, str]:
    """Return what the container asks for, in the scheduler's resources and units."""
    if not box.given:
        return {}
    _, memory, cores = box.given[0]
    return dict(zip(release.asks, map(str, (len(box.given), memory // release.unit, cores)), strict=True))


def tick(
    release: Release,
    feature: Feature,
    *,
    without: str = "",
    gpus: DriverState = CARDS,
    found: ProcessState | None = None,
    root: Path | None = None,
) -> Snapshot:
    """Return one tick of a node of that release, which runs the column's pod; the regions are those below `root`."""
    annotations = annotations_of(release, release.cells[feature])
    annotations.pop(without, None)
    pod = manifest.pod(manifest_of(release, PODS[feature], annotations))
    edges = Edges(gpus, found or processes(), pods(pod))
    node = Registered({release.registers: release.cells[Feature.NODE].text})
    regions = Regions([f"{root}{one}" for one in (*HAMI_CONTAINERS, GIVEN)], budget=60.0) if root else None
    return Sampler(NODE, Sources(edges, edges, edges, node, regions), 1.0, wall=lambda: 1000.0).tick()


def granted(snapshot: Snapshot) -> Granted:
    """Return who is granted what."""
    found: Granted = {}
    for pair in snapshot.joined.pairs:
        if pair.memory_granted:
            assert pair.core_granted is not None
            figures = (pair.uuid, pair.memory_granted // MIB, round(pair.core_granted * 100))
            found.setdefault(pair.owner.container, set()).add(figures)
    return found


def who(snapshot: Snapshot, feature: Feature) -> str:
    """Return the word for who is granted what the containers were given."""
    found = granted(snapshot)
    given = {box.name: set(box.given) for box in PODS[feature] if box.given}
    if found == given:
        return "per container"
    if found == {box.name: given[box.name] for box in PODS[feature] if box.given and not box.init}:
        return "apps only"
    if found == {"": set[tuple[str, int, int]]().union(*given.values())}:
        return "per pod"
    return f"wrong: {found}"


# ---------------------------------------------------------------- grants


@of_every_release(Feature.ANNOTATION)
def test_a_grant_is_read_from_the_annotation_that_the_table_names(release: Release) -> None:
    """Of all annotations on the pod that one carries the grant of its one container."""
    cell = release.cells[Feature.ANNOTATION]

    assert who(tick(release, Feature.ANNOTATION), Feature.ANNOTATION) == "per container"
    carriers = [
        key for key in annotations_of(release, cell) if not granted(tick(release, Feature.ANNOTATION, without=key))
    ]
    assert carriers == [cell.outcome]


@of_every_release(Feature.BEHIND)
def test_containers_without_a_gpu_in_front_shift_nothing(release: Release) -> None:
    """Whether or not they have an entry, an init container and a side-car take nothing of the third one's grant."""
    assert who(tick(release, Feature.BEHIND), Feature.BEHIND) == release.cells[Feature.BEHIND].outcome


@of_every_release(Feature.INIT)
def test_a_gpu_init_container_has_its_grant_if_it_was_given_one(release: Release) -> None:
    """Where the release writes app containers only, the app has its own grant, and the init container none."""
    assert who(tick(release, Feature.INIT), Feature.INIT) == release.cells[Feature.INIT].outcome


@of_every_release(Feature.TWO)
def test_two_gpu_containers_have_their_own_grants(release: Release) -> None:
    """Each has its own; where they stand in one entry, their pod holds both."""
    assert who(tick(release, Feature.TWO), Feature.TWO) == release.cells[Feature.TWO].outcome


@of_every_release(Feature.SEVERAL)
def test_a_container_with_two_gpus_has_both(release: Release) -> None:
    """Two devices of one entry are two grants of one container."""
    assert who(tick(release, Feature.SEVERAL), Feature.SEVERAL) == release.cells[Feature.SEVERAL].outcome


def cut_gpu() -> DriverState:
    """Return a GPU that is cut into one instance, on which process 700 has 1 GiB, beside a whole one."""
    instance = reading({700: GIB}, uuid=MIG, core=None)
    return driver(
        reading(memory=None, processes=None, core=None),
        replace(instance, device=replace(instance.device, parent=GPU)),
        reading(uuid=OTHER_GPU),
    )


def on_mig(release: Release) -> str:
    """Return the word for what carries the grant of a container whose process is on a MIG instance."""
    if not release.cells[Feature.MIG].text:
        return "-"
    running = processes(process(700, cgroup("model", "model/main")))
    snapshot = tick(release, Feature.MIG, gpus=cut_gpu(), found=running)
    [used] = [pair for pair in snapshot.joined.pairs if pair.used]
    assert (used.uuid, used.owner.container, used.used) == (MIG, "main", GIB)
    given = granted(snapshot)
    if used.memory_granted is None and given == {"main": {(GPU, 4000, 30)}}:
        return "parent GPU"
    if used.memory_granted is None and not given and used.grant_source == "unreadable":
        return "absent"
    return "instance" if given == {"main": {(MIG, 4000, 30)}} else f"wrong: {given}"


@of_every_release(Feature.MIG)
def test_a_grant_on_mig_is_its_instances_where_the_release_names_it(release: Release) -> None:
    """The use is the instance's in any case; the grant is the GPU's where only that is named, and never 0."""
    assert on_mig(release) == release.cells[Feature.MIG].outcome


# ---------------------------------------------------------------- the Node


def form(text: str) -> str:
    """Return what a registration is written in."""
    return "JSON" if text.startswith("[") else f"{text.partition(':')[0].count(',') + 1} fields"


@of_every_release(Feature.NODE)
def test_a_registration_says_what_may_be_granted(release: Release) -> None:
    """Slots, memory, cores, mode and health of both GPUs are the same in each form, given Volcano's unit."""
    cell = release.cells[Feature.NODE]
    cards = tick(release, Feature.NODE).registered

    assert set(cards) == {GPU, OTHER_GPU}
    for card in cards.values():
        factor = card.memory_factor(24 * GIB)
        assert factor == release.unit
        assert (card.slots, card.cores, card.mode, card.healthy) == (10, 1.0, "hami-core", True)
        assert card.memory // MIB == 24 * 1024 // factor
        assert form(cell.text) + (", in units" if factor > 1 else "") == cell.outcome


# ---------------------------------------------------------------- HAMi-core's regions


def ran(release: Release, feature: Feature, layout: str, containers: str, root: Path) -> Snapshot:
    """Return a tick in which each GPU container has a process, its PID 1, and a region that counts it."""
    cell = release.cells[feature]
    boxes = [box for box in PODS[feature] if box.given]
    pids = {700 + number: box for number, box in enumerate(boxes)}
    for (pid, box), name in zip(pids.items(), cell.names, strict=True):
        [(_, memory, cores)] = box.given
        content = CacheFile(
            layout, limits=(memory * MIB,), cores=(cores,), slots=(Slot(1, (pid * MIB,), pid),), last_kernel=999
        ).bytes()
        put(root / containers.removeprefix("/"), content, box=f"{uid('model')}_{name}", file=f"{pid}.cache")
    running = processes(*(process(pid, cgroup("model", f"model/{box.name}"), inner=1) for pid, box in pids.items()))
    return tick(
        release,
        feature,
        gpus=driver(reading(dict.fromkeys(pids, GIB)), reading(uuid=OTHER_GPU)),
        found=running,
        root=root,
    )


def whose(snapshot: Snapshot, feature: Feature) -> str:
    """Return the word for who has the figures of its own region, all of them."""
    boxes = [box for box in PODS[feature] if box.given]
    own = {
        box.name: Counted(memory * MIB, cores / 100, pid * MIB, 0, 0, blind=False, last_kernel=999)
        for pid, box in enumerate(boxes, 700)
        for _, memory, cores in box.given
    }
    found = {pair.owner.container: pair.counted for pair in snapshot.joined.pairs if pair.owner.container in own}
    reasons = {reason for reason, _ in snapshot.joined.failures if reason.startswith("region_")}
    if not reasons and found == own:
        return "per container"
    if set(found.values()) == {Counted()}:
        return {"region_unsupported": "not read", "region_unplaced": "nobody's"}["".join(reasons)]
    return f"wrong: {found}"


def words(release: Release, feature: Feature, root: Path) -> dict[str, str]:
    """Return the word for each layout; it is the same wherever the release keeps its directories."""
    told: dict[str, set[str]] = {}
    for layout in release.cells[feature].layouts:
        for number, containers in enumerate(release.containers):
            snapshot = ran(release, feature, layout, containers, root / layout / str(number))
            told.setdefault(layout, set()).add(whose(snapshot, feature))
    return {layout: " or ".join(each) for layout, each in told.items()}


@of_every_release(Feature.REGION)
def test_a_region_is_read_in_the_layout_that_the_table_names(release: Release, tmp_path: Path) -> None:
    """A file of that layout, where the release keeps it, gives its container's figures, or is refused by its size."""
    told = words(release, Feature.REGION, tmp_path)

    read = ", ".join(layout if word == "per container" else f"{layout}, {word}" for layout, word in told.items())
    assert read == release.cells[Feature.REGION].outcome


@of_every_release(Feature.MISNAMED)
def test_regions_reach_their_containers_whatever_their_directories_are_named(release: Release, tmp_path: Path) -> None:
    """Behind a container without a GPU the directories bear wrong names: other limits tell whose the regions are."""
    assert set(words(release, Feature.MISNAMED, tmp_path).values()) == {release.cells[Feature.MISNAMED].outcome}


@of_every_release(Feature.TWINS)
def test_regions_of_containers_that_are_alike_are_told_apart_by_names_or_not(release: Release, tmp_path: Path) -> None:
    """Same GPU, limits and PID: only a directory each tells them apart, and only if none bears a third one's name."""
    assert set(words(release, Feature.TWINS, tmp_path).values()) == {release.cells[Feature.TWINS].outcome}


# ---------------------------------------------------------------- the table


def test_every_release_has_every_feature() -> None:
    """No cell of the table is empty, and no row is there twice."""
    assert [set(release.cells) for release in RELEASES] == [set(Feature)] * len(RELEASES)
    assert len({release.name for release in RELEASES}) == len(RELEASES)


def test_every_feature_is_proven() -> None:
    """Each column has a test that derives its words from what the releases write."""
    assert set(Feature) == PROVEN == set(PODS)


def test_only_what_a_release_does_not_do_has_no_text() -> None:
    """A dash stands where there is nothing to read, and nowhere else."""
    cells = [cell for release in RELEASES for cell in release.cells.values()]
    assert [cell for cell in cells if (cell.outcome == "-") != (not cell.text)] == []
