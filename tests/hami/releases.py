"""docs/hami.md's table as data: what each release writes for a few pods, and what a user of this exporter gets of it.

Of each cell the word and the release's own text; test_releases.py proves every word from the text, and `tools/docs.py`
writes the table. From hami-contract.md 1.2 to 1.7, 2.1, 5.1 and 5.2; Volcano's from its scheduler and its plugin.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from tests.make import GPU, OTHER_GPU

if TYPE_CHECKING:
    from collections.abc import Mapping

MIG: Final = "MIG-11111111-2222-3333-4444-555555555555"


class Feature(Enum):
    """A column of the table, by its heading."""

    ANNOTATION = "Pod's annotation"
    BEHIND = "Behind GPU-less containers"
    INIT = "GPU init container"
    TWO = "Two GPU containers"
    SEVERAL = "Container with two GPUs"
    MIG = "MIG"
    NODE = "Node's registration"
    REGION = "HAMi-core's region"
    MISNAMED = "Misnamed regions"
    TWINS = "Regions of twins"


class Box(NamedTuple):
    """A container of a pod, and the devices that it asks for and was given: UUID, MiB, percent of the cores."""

    name: str
    given: tuple[tuple[str, int, int], ...] = ()
    init: bool = False


_LARGE, _SMALL = (GPU, 4000, 30), (GPU, 2000, 20)
_ELSEWHERE = (OTHER_GPU, 2000, 20)
_MAIN: Final = Box("main", (_LARGE,))

#: The pod of each column.
PODS: Final[Mapping[Feature, tuple[Box, ...]]] = MappingProxyType({
    Feature.ANNOTATION: (_MAIN,),
    Feature.BEHIND: (Box("prepare", init=True), Box("side"), _MAIN),
    Feature.INIT: (Box("warm-up", (_ELSEWHERE,), init=True), _MAIN),
    Feature.TWO: (Box("one", (_LARGE,)), Box("two", (_ELSEWHERE,))),
    Feature.SEVERAL: (Box("main", (_LARGE, (OTHER_GPU, 4000, 30))),),
    Feature.MIG: (Box("side"), _MAIN),
    Feature.NODE: (),
    Feature.REGION: (_MAIN,),
    Feature.MISNAMED: (Box("side"), Box("one", (_LARGE,)), Box("two", (_SMALL,))),
    Feature.TWINS: (Box("side"), Box("one", (_LARGE,)), Box("two", (_LARGE,))),
})  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """What stands in the table, and of what it comes: the release's text, none where it does not do such a thing.

    `text` is the annotation on the pod, or in the column `NODE` on the Node, and `allocations` the one of MIG.
    `layouts` are those of HAMi-core's regions, any of them; `names` are those of the containers in their directories'.
    """

    outcome: str
    text: str = ""
    allocations: str = ""
    layouts: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


Cells: TypeAlias = "dict[Feature, Cell]"


@dataclass(frozen=True)
class Release:
    """A row: releases that write alike.

    Keys of annotations: `chosen` has the node, `registers` is on the Node, `ANNOTATION`'s outcome has the devices.
    `asks` are the resources for count, memory (in units of `unit` MiB) and cores; the regions lie in `containers`.
    """

    name: str
    cells: Mapping[Feature, Cell]
    chosen: str = "hami.io/vgpu-node"
    registers: str = "hami.io/node-nvidia-register"
    asks: tuple[str, str, str] = ("nvidia.com/gpu", "nvidia.com/gpumem", "nvidia.com/gpucores")
    unit: int = 1
    containers: tuple[str, ...] = field(default=("/usr/local/vgpu/containers",))


# ---------------------------------------------------------------- grants

_A, _B = f"{GPU},NVIDIA,4000,30:", f"{OTHER_GPU},NVIDIA,2000,20:"
_AB, _C = f"{_A}{OTHER_GPU},NVIDIA,4000,30:", f"{GPU},NVIDIA,2000,20:"
_V, _W = f"{GPU},NVIDIA,400,30:", f"{OTHER_GPU},NVIDIA,200,20:"
_VW, _X = f"{_V}{OTHER_GPU},NVIDIA,400,30:", f"{GPU},NVIDIA,200,20:"
_HAMI: Final = "hami.io/vgpu-devices-allocated"

#: 2.2 to 2.3.4: an entry per app container, joined.
_JOINED: Final[Cells] = {
    Feature.ANNOTATION: Cell("4pd.io/vgpu-ids-new", _A),
    Feature.BEHIND: Cell("per container", f";{_A}"),
    Feature.INIT: Cell("apps only", _A),
    Feature.TWO: Cell("per container", f"{_A};{_B}"),
    Feature.SEVERAL: Cell("per container", _AB),
}
#: 2.3.9 and 2.3.10: all of the pod in one entry.
_CONCATENATED: Final[Cells] = {
    Feature.ANNOTATION: Cell(_HAMI, f"{_A};"),
    Feature.BEHIND: Cell("per container", f"{_A};"),
    Feature.INIT: Cell("apps only", f"{_A};"),
    Feature.TWO: Cell("per pod", f"{_A}{_B};"),
    Feature.SEVERAL: Cell("per container", f"{_AB};"),
}
#: 2.3.11 to 2.8.3: an entry per app container.
_APPS: Final[Cells] = {
    Feature.ANNOTATION: Cell(_HAMI, f"{_A};"),
    Feature.BEHIND: Cell("per container", f";{_A};"),
    Feature.INIT: Cell("apps only", f"{_A};"),
    Feature.TWO: Cell("per container", f"{_A};{_B};"),
    Feature.SEVERAL: Cell("per container", f"{_AB};"),
}
#: 2.9.0: an entry per init container, then per app container.
_ALL: Final[Cells] = {
    Feature.ANNOTATION: Cell(_HAMI, f"{_A};"),
    Feature.BEHIND: Cell("per container", f";;{_A};"),
    Feature.INIT: Cell("per container", f"{_B};{_A};"),
    Feature.TWO: Cell("per container", f"{_A};{_B};"),
    Feature.SEVERAL: Cell("per container", f"{_AB};"),
}
#: 2.10.0: an entry per container with a GPU, init containers first.
_COMPACTED: Final[Cells] = _ALL | {Feature.BEHIND: Cell("per container", f"{_A};")}
#: Volcano's scheduler: an entry per app container with a GPU, joined.
_VOLCANO: Final[Cells] = {
    Feature.ANNOTATION: Cell("volcano.sh/vgpu-ids-new", _V),
    Feature.BEHIND: Cell("per container", _V),
    Feature.INIT: Cell("apps only", _V),
    Feature.TWO: Cell("per container", f"{_V};{_W}"),
    Feature.SEVERAL: Cell("per container", _VW),
}

# ---------------------------------------------------------------- MIG

_NO_MIG: Final[Cells] = {Feature.MIG: Cell("-")}
_TEMPLATE: Final[Cells] = {Feature.MIG: Cell("parent GPU", f";{GPU}[0-1],NVIDIA,4000,30:;")}
_NAMED: Final[Cells] = {
    Feature.MIG: Cell(
        "instance",
        f"{_A};",
        json.dumps(
            [
                {
                    "containerIndex": 0, "deviceIndex": 0, "gpuUUID": GPU, "profile": "1g.5gb",
                    "placement": {"start": 0, "size": 1},
                    "migUUID": MIG, "gpuInstanceID": 7, "computeInstanceID": 0,
                }
            ]
        ),
    )
}  # fmt: skip
#: The unit of its memory comes from the card's, and a GPU that is cut into instances has none of its own.
_GROUP: Final[Cells] = {Feature.MIG: Cell("absent", f"{GPU}[group1-0],NVIDIA,400,30:")}

# ---------------------------------------------------------------- the Node


def _node(outcome: str, facts: str) -> Cells:
    """Return what is registered of two GPUs of 24 GiB; `{}` in the facts is a GPU's index."""
    return {Feature.NODE: Cell(outcome, "".join(f"{uuid},{facts}:".format(at) for at, uuid in enumerate(_GPUS)))}


_GPUS: Final = (GPU, OTHER_GPU)
_SIX: Final = _node("6 fields", "10,24576,100,NVIDIA-NVIDIA L4,true")
_SEVEN: Final = _node("7 fields", "10,24576,100,NVIDIA-NVIDIA L4,0,true")
_NINE: Final = _node("9 fields", "10,24576,100,NVIDIA-NVIDIA L4,0,true,{},hami-core")
_FACTOR: Final = _node("6 fields, in units", "10,2457,NVIDIA-NVIDIA L4,true,hami-core")
_CARD: Final = '"count":10,"devmem":24576,"devcore":100,"type":"NVIDIA L4","mode":"hami-core","health":true'
_JSON: Final[Cells] = {
    Feature.NODE: Cell("JSON", f'[{{"id":"{GPU}",{_CARD}}},{{"id":"{OTHER_GPU}","index":1,{_CARD}}}]'),
}
_PROFILE: Final = '{"name":"1g.5gb","memoryMB":4864,"core":14,"sliceCount":1,"placements":[{"start":0,"size":1}]}'
_PROFILES: Final[Cells] = {
    Feature.NODE: Cell(
        "JSON",
        f'[{{"id":"{GPU}",{_CARD},"migProfiles":[{_PROFILE}]}},{{"id":"{OTHER_GPU}","index":1,{_CARD}}}]',
    ),
}

# ---------------------------------------------------------------- HAMi-core's regions

_PLACED, _NOBODYS = "per container", "nobody's"


def _unread(layout: str, one: str, misnamed: str, twins: str) -> Cells:
    """Return the cells of a layout that is too old, with the pods' annotations; directories' names are moot."""
    return {
        Feature.REGION: Cell(f"{layout}, not read", one, layouts=(layout,), names=("main",)),
        Feature.MISNAMED: Cell("not read", misnamed, layouts=(layout,), names=("side", "side")),
        Feature.TWINS: Cell("not read", twins, layouts=(layout,), names=("side", "side")),
    }


def _one_directory(layout: str) -> Cells:
    """Return the cells up to 2.8.3: all of a pod's regions lie under its first container's name."""
    return {
        Feature.REGION: Cell(layout, f"{_A};", layouts=(layout,), names=("main",)),
        Feature.MISNAMED: Cell(_PLACED, f";{_A};{_C};", layouts=(layout,), names=("side", "side")),
        Feature.TWINS: Cell(_NOBODYS, f";{_A};{_A};", layouts=(layout,), names=("side", "side")),
    }


_OWN_NAMES: Final[Cells] = {
    Feature.REGION: Cell("v1.2", f"{_A};", layouts=("v1.2",), names=("main",)),
    Feature.MISNAMED: Cell(_PLACED, f";{_A};{_C};", layouts=("v1.2",), names=("one", "two")),
    Feature.TWINS: Cell(_PLACED, f";{_A};{_A};", layouts=("v1.2",), names=("one", "two")),
}
#: 2.10.0 finds the names by the entries' positions, which skip containers without a GPU.
_SHIFTED: Final[Cells] = _OWN_NAMES | {
    Feature.MISNAMED: Cell(_PLACED, f"{_A};{_C};", layouts=("v1.2",), names=("side", "one")),
    Feature.TWINS: Cell(_NOBODYS, f"{_A};{_A};", layouts=("v1.2",), names=("side", "one")),
}
#: As 2.10.0; the layout is that of the libvgpu in the plugin's image.
_ANY: Final = ("v1.1a", "v1.1b", "v1.2")
_VOLCANOS: Final[Cells] = {
    Feature.REGION: Cell(", ".join(_ANY), _V, layouts=_ANY, names=("main",)),
    Feature.MISNAMED: Cell(_PLACED, f"{_V};{_X}", layouts=_ANY, names=("side", "one")),
    Feature.TWINS: Cell(_NOBODYS, f"{_V};{_V}", layouts=_ANY, names=("side", "one")),
}

# ---------------------------------------------------------------- the table

#: The rows; which library 2.3.10 and older shipped is not verified (hami-contract.md 5.2).
RELEASES: Final = (
    Release(
        "2.2 to 2.3.4",
        _JOINED | _NO_MIG | _SIX | _unread("P", _A, f";{_A};{_C}", f";{_A};{_A}"),
        chosen="4pd.io/vgpu-node",
        registers="4pd.io/node-nvidia-register",
        containers=("/usr/local/vgpu/containers", "/tmp/vgpu/containers"),  # noqa: S108  it is theirs
    ),
    Release("2.3.9, 2.3.10", _CONCATENATED | _NO_MIG | _SEVEN | _unread("P", f"{_A};", f"{_A}{_C};", f"{_A}{_A};")),
    Release("2.3.11 to 2.4.0", _APPS | _NO_MIG | _SEVEN | _unread("v0", f"{_A};", f";{_A};{_C};", f";{_A};{_A};")),
    Release("2.4.1", _APPS | _NO_MIG | _SEVEN | _one_directory("v1.1a")),
    Release("2.5.0 to 2.7.1", _APPS | _TEMPLATE | _NINE | _one_directory("v1.1a")),
    Release("2.8.0", _APPS | _TEMPLATE | _JSON | _one_directory("v1.1a")),
    Release("2.8.1", _APPS | _TEMPLATE | _JSON | _one_directory("v1.1b")),
    Release("2.8.2, 2.8.3", _APPS | _TEMPLATE | _JSON | _one_directory("v1.2")),
    Release("2.9.0", _ALL | _TEMPLATE | _JSON | _OWN_NAMES),
    Release("2.10.0", _COMPACTED | _NAMED | _PROFILES | _SHIFTED),
    Release(
        "Volcano's plugin",
        _VOLCANO | _GROUP | _FACTOR | _VOLCANOS,
        chosen="volcano.sh/vgpu-node",
        registers="volcano.sh/node-vgpu-register",
        asks=("volcano.sh/vgpu-number", "volcano.sh/vgpu-memory", "volcano.sh/vgpu-cores"),
        unit=10,
        containers=("/usr/local/vgpu/vgpu/containers", "/tmp/vgpu/containers"),  # noqa: S108  it is theirs
    ),
)
