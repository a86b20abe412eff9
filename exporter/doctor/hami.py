"""The steps of HAMi on this node: its regions, its release by what it leaves behind, and what comes of it all."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from exporter.doctor import failed, listed, passed, plural, unchecked, warned
from exporter.errors import FAILURE_REASONS
from exporter.hami.mig_allocations import ALLOCATIONS
from exporter.hami.node_register import FOURPD, VOLCANO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from exporter.doctor import Step
    from exporter.doctor.cluster import NodeFound, PodsFound
    from exporter.hami.region import RegionState
    from exporter.model import Failure, Pod
    from exporter.snapshot import Snapshot

REGIONS, RELEASE, ATTRIBUTION = "regions", "hami-release", "attribution"

_MIB: Final = 2**20
_MOUNT: Final = (
    "Mount HAMi's host directory where --hami-containers looks (the chart's hamiPath; HAMi's global.gpuHookPath)"
)
_WORTH_A_REPORT: Final = frozenset({"region_unsupported"})

#: What the steps before have told: it is not told twice.
_JUDGED_BEFORE: Final = frozenset(
    {"annotation_unreadable", "cgroup_unreadable", "mig_allocation_unreadable", "pod_unreadable"}
)

Version: TypeAlias = tuple[int, int, int]


class Sign(NamedTuple):
    """Something that HAMi of the releases `first` to `last` leaves behind."""

    where: str
    first: Version
    last: Version


#: What each release writes (hami-contract.md 2.2, 5.2).
_OPEN: Final = (999, 0, 0)
_FIELDS: Final = {7: ((2, 3, 9), (2, 4, 1)), 9: ((2, 5, 0), (2, 7, 1))}
_LAYOUTS: Final = {"v1.1a": ((2, 4, 1), (2, 8, 0)), "v1.1b": ((2, 8, 1), (2, 8, 1)), "v1.2": ((2, 8, 2), _OPEN)}
_TAG: Final = re.compile(r":v?([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})(?![0-9.])")


@dataclass(frozen=True, slots=True)
class RegionsFound:
    """HAMi's regions as read from `roots`, of which `missing` are not there."""

    roots: tuple[str, ...]
    missing: tuple[str, ...]
    state: RegionState


def regions(found: RegionsFound | None) -> Step:
    """Judge whether libvgpu's regions can be read; None: nobody reads them."""
    if found is None:
        return passed(REGIONS, "not read: --hami-containers is empty")
    if found.state.status.errors["unreadable"]:
        return failed(
            REGIONS,
            f"{' or '.join(found.roots)} cannot be read as a directory",
            f"{_MOUNT}, so that the exporter's user may list it; a link is not followed.",
        )
    if len(found.missing) == len(found.roots):
        return warned(
            REGIONS,
            f"no {' and no '.join(found.roots)}: libvgpu's limits and counts are absent",
            f"{_MOUNT}. A node's first vGPU pod makes it; without HAMi-core set --hami-containers to nothing.",
        )
    if found.state.problems:
        return warned(REGIONS, *_told(found.state.problems, {}))
    layouts = sorted({one.region.layout for one in found.state.regions})
    waiting = f", {found.state.waiting} not yet filled" if found.state.waiting else ""
    named = f" (layout {', '.join(layouts)})" if layouts else ""
    return passed(REGIONS, f"{plural(len(found.state.regions), 'region')}{named}{waiting}")


# ---------------------------------------------------------------- the release


def release(node: NodeFound, pods: PodsFound, regions: RegionsFound | None) -> Step:
    """Guess HAMi's release by what it left on the Node, on the pods and in the regions."""
    if node.key == VOLCANO:
        return passed(RELEASE, "Volcano's vGPU device plugin")
    signs = [*_of_images(pods.images), *_of_node(node), *_of_pods(pods.pods)]
    if not signs:
        return warned(
            RELEASE,
            "nothing on this node is HAMi's: no registration of its GPUs, no device plugin",
            "Let HAMi's device plugin run here (its nodes bear the label gpu=on): without it nothing is granted.",
        )
    ranges = _narrowed(signs, [] if regions is None else list(_of_regions(regions)))
    if ranges is None:
        return warned(
            RELEASE,
            f"signs of different releases: {'; '.join(map(_shown_sign, signs))}",
            "HAMi's scheduler and device plugin must be of one release: finish the upgrade, restart the device plugin.",
        )
    return passed(RELEASE, f"HAMi {_shown(*ranges)} by {', '.join(sign.where for sign in signs)}")


def _of_images(images: Iterable[str]) -> Iterator[Sign]:
    for image in images:
        if tag := _TAG.search(image):
            version = int(tag[1]), int(tag[2]), int(tag[3])
            yield Sign("its device plugin's image", version, version)


def _of_node(node: NodeFound) -> Iterator[Sign]:
    """Tell by the form of the registration (`node_register.py`)."""
    if node.key == FOURPD:
        yield Sign("the Node's annotation", (2, 2, 0), (2, 3, 4))
    elif node.text.lstrip()[:1] == "[":
        yield Sign("the Node's annotation", (2, 8, 0), _OPEN)
    elif span := _FIELDS.get(len(node.text.partition(":")[0].split(","))):
        yield Sign("the Node's annotation", *span)


def _of_pods(pods: Iterable[Pod]) -> Iterator[Sign]:
    if any(ALLOCATIONS in pod.annotations for pod in pods):
        yield Sign("its pods' MIG allocations", (2, 10, 0), _OPEN)


def _of_regions(found: RegionsFound) -> Iterator[Sign]:
    for layout in sorted({one.region.layout for one in found.state.regions}):
        if layout in _LAYOUTS:
            yield Sign("the regions", *_LAYOUTS[layout])


def _narrowed(firm: Sequence[Sign], hints: Sequence[Sign]) -> tuple[Version, Version] | None:
    """Return what all firm signs allow, narrowed by hints that fit; regions of old pods outlive an upgrade."""
    first, last = max(sign.first for sign in firm), min(sign.last for sign in firm)
    if first > last:
        return None
    for hint in hints:
        if max(first, hint.first) <= min(last, hint.last):
            first, last = max(first, hint.first), min(last, hint.last)
    return first, last


def _shown_sign(sign: Sign) -> str:
    return f"{_shown(sign.first, sign.last)} by {sign.where}"


def _shown(first: Version, last: Version) -> str:
    one, other = (".".join(map(str, version)) for version in (first, last))
    if last == _OPEN:
        return f"{one} or newer"
    return one if first == last else f"{one} to {other}"


# ---------------------------------------------------------------- what comes of it


def attribution(snapshot: Snapshot | None, pods: Sequence[Pod], because: str) -> Step:
    """Judge one tick as the node role would publish it; None: the step `because` keeps it from that."""
    if snapshot is None:
        return unchecked(ATTRIBUTION, because)
    joined = snapshot.joined
    if joined.blind is not None:
        return unchecked(ATTRIBUTION, because)
    failures = {failure for failure in joined.failures if failure.reason not in _JUDGED_BEFORE}
    used = sum(use.reading.memory.used for use in joined.devices if use.reading and use.reading.memory)
    attributed = sum(use.attributed or 0 for use in joined.devices)
    names = {pod.uid: f"{pod.namespace}/{pod.name}" for pod in pods}
    if failures:
        return warned(ATTRIBUTION, *_told(failures, names))
    return passed(
        ATTRIBUTION,
        f"{plural(len(joined.pairs), 'container')} to show: {attributed // _MIB} of {used // _MIB} MiB in use",
    )


def _told(failures: Iterable[Failure], names: Mapping[str, str]) -> tuple[str, str]:
    """Return what could not be read or placed, by reason and name, and what each of these reasons means."""
    keys: defaultdict[str, list[str]] = defaultdict(list)
    for reason, key in sorted(failures):
        uid, slash, rest = key.partition("/")
        keys[reason].append(names.get(uid, uid) + slash + rest)
    found = "; ".join(f"{reason}: {listed(those)}" for reason, those in keys.items())
    meanings = [f"{reason}: {FAILURE_REASONS[reason]}." for reason in keys]
    if _WORTH_A_REPORT & keys.keys():
        meanings.append("Please report it with `vgpu-exporter capture --out FILE`, or update the exporter.")
    return found, " ".join(meanings)
