"""From the annotations' texts to grants, for any requests: exporter/grants.py. Never more than was asked (law 8)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from exporter.errors import FAILURE_REASONS
from exporter.grants import POD, grants, held
from exporter.hami.families import NODE_FAMILIES, Family
from exporter.hami.mig_allocations import ALLOCATIONS
from exporter.model import Card, Container, ContainerGrants, ContainerKind, Pod
from tests.fuzz.inputs import Choices, text
from tests.fuzz.targets.annotations import EXAMPLES as ANNOTATIONS
from tests.make import GIB, GPU, MIB, NODE, OTHER_GPU, uid

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_LEN: Final = 4096
_KINDS: Final[tuple[ContainerKind, ...]] = ("app", "init", "sidecar", "ephemeral")
_COUNTS: Final = (1, 2, 0, None, 10**63)
_AMOUNTS: Final = (0, 1, 30, 100, 500, 2000, None, 2**40)
_INSTANCE: Final = "MIG-22222222-2222-3333-4444-555555555555"
#: Bytes of a unit of memory: of Volcano's plugin, where it is known, and so the most that any can be here.
_UNIT: Final = 10 * MIB
_CARDS: Final = {
    GPU: Card(24 * GIB),
    OTHER_GPU: Card(80 * GIB, cut=True),
    "GPU-0": Card(),
    "GPU-1": Card(0, _UNIT),
    _INSTANCE: Card(10 * GIB, parent=OTHER_GPU, cut=True),
}
_MOST_CONTAINERS: Final = 4
_ALLOCATION: Final = {"containerIndex": 0, "deviceIndex": 0, "gpuUUID": OTHER_GPU} | {
    "migUUID": _INSTANCE, "gpuInstanceID": 7, "computeInstanceID": 0,
}  # fmt: skip
EXAMPLES: Final = (
    *(example.replace("GPU-8dcd427f-483b-b48f-d7e5-75fb19a52b76", GPU) for example in ANNOTATIONS),
    f"{GPU},NVIDIA,500,3:{GPU},NVIDIA,1000,99:;GPU-1,NVIDIA,1,1:;",
    f"{OTHER_GPU},NVIDIA,9856,14:;\n{json.dumps([_ALLOCATION])}",
)
SEEDS: Final = tuple(
    bytes(asked) + b"\0\0" + example.encode()
    for asked in (
        (0, 0),
        (0, 1, 0, 1, 0, 5, 2),
        (2, 2, 0, 1, 1, 4, 3, 1, 3, 2, 6, 0, 0, 1),
        (2, 1, 0, 1, 1, 0, 0, 0, 2, 1, 0),
    )
    for example in EXAMPLES
)


def one_input(data: bytes) -> None:
    """Make a pod of up to four containers; the rest are its annotation, and behind a newline its MIG allocations."""
    choices = Choices(data)
    family = choices.one_of(NODE_FAMILIES)
    containers = tuple(_container(str(name), family, choices) for name in range(1 + choices.number(_MOST_CONTAINERS)))
    allocated, _, allocations = text(choices.rest()).partition("\n")
    written = {family.node: NODE, family.allocated: allocated, ALLOCATIONS: allocations}
    pod = Pod(uid("a"), "team", "a", NODE, "", containers, annotations=written)
    found, failures = grants(pod, _CARDS, NODE)
    assert {failure.reason for failure in failures} <= FAILURE_REASONS.keys()
    living = [container for container in containers if not container.finished]
    assert found.keys() - {POD} == {container.name for container in living}
    for container in living:
        _check([container], found[container.name], family)
    _check(living, found.get(POD, ContainerGrants("none")), family)
    assert held([(pod, found)]).keys() <= _CARDS.keys()


def _container(name: str, family: Family, choices: Choices) -> Container:
    """Return a container that asks for anything."""
    kind, finished = choices.one_of(_KINDS), choices.number(16) == 1
    asks = {family.count: choices.one_of(_COUNTS)} if choices.number(4) else {}
    for resource in (family.memory, family.memory_percentage, family.cores):
        if amount := choices.number(len(_AMOUNTS)):
            asks[resource] = _AMOUNTS[amount]
    return Container(name, kind, asks=asks, finished=finished)


def _check(askers: Sequence[Container], given: ContainerGrants, family: Family) -> None:
    """Hold grants to the requests: as many cards, as many bytes, as many cores."""
    assert (given.source == "hami") == bool(given.grants)
    assert len({grant.uuid for grant in given.grants}) == len(given.grants)
    assert len(given.grants) <= sum(map(family.asked, askers))
    for grant in given.grants:
        assert grant.memory is not None
        assert grant.memory >= 0
        assert grant.cores is None or grant.cores >= 0
    bounded = [grant for grant in given.grants if not _CARDS[grant.uuid].cut]
    memory, cores = _asked(askers, family, family.memory), _asked(askers, family, family.cores)
    unit = family.asked_memory_unit or _UNIT
    assert memory is None or sum(grant.memory or 0 for grant in bounded) <= memory * unit
    assert cores is None or sum(grant.cores or 0 for grant in bounded) * 100 <= cores * (1 + 1e-9)


def _asked(askers: Sequence[Container], family: Family, resource: str) -> int | None:
    """Return what was asked of a resource for all devices; None where somebody left it open."""
    asking = [(container.asks.get(resource) or 0, count) for container in askers if (count := family.asked(container))]
    return sum(amount * count for amount, count in asking) if all(amount for amount, _ in asking) else None
