"""From the annotation's text to grants, for any requests: exporter/grants.py. Never more than was asked (law 8)."""

from __future__ import annotations

from typing import Final

from exporter.errors import FAILURE_REASONS
from exporter.grants import POD, grants, held
from exporter.hami.families import NVIDIA
from exporter.model import Card, Container, ContainerGrants, ContainerKind, Pod
from tests.fuzz.inputs import Choices, text
from tests.fuzz.targets.annotations import EXAMPLES
from tests.make import GIB, GPU, MIB, NODE, uid

MAX_LEN: Final = 4096
_KINDS: Final[tuple[ContainerKind, ...]] = ("app", "init", "sidecar", "ephemeral")
_COUNTS: Final = (1, 2, 0, None, 10**63)
_AMOUNTS: Final = (0, 1, 30, 100, 500, 2000, None, 2**40)
_INSTANCE: Final = "MIG-22222222-2222-3333-4444-555555555555"
_CARDS: Final = {
    GPU: Card(24 * GIB),
    "GPU-0": Card(),
    "GPU-1": Card(0, 10 * MIB),
    _INSTANCE: Card(10 * GIB, parent=GPU),
}
_MOST_CONTAINERS: Final = 4
SEEDS: Final = tuple(
    bytes(asked) + b"\0\0" + example.replace("GPU-8dcd427f-483b-b48f-d7e5-75fb19a52b76", GPU).encode()
    for asked in ((0,), (1, 0, 1, 0, 5, 2), (2, 0, 1, 1, 4, 3, 1, 3, 2, 6, 0, 0, 1), (1, 2, 1, 0, 0, 0, 1, 0))
    for example in (*EXAMPLES, f"{GPU},NVIDIA,500,3:{GPU},NVIDIA,1000,99:;GPU-1,NVIDIA,1,1:;", f"{_INSTANCE},N,9,9:")
)


def one_input(data: bytes) -> None:
    """Make a pod of up to five containers, and give it the rest as annotation."""
    choices = Choices(data)
    containers = tuple(_container(str(name), choices) for name in range(1 + choices.number(_MOST_CONTAINERS)))
    annotations = {NVIDIA.node: NODE, NVIDIA.allocated: text(choices.rest())}
    pod = Pod(uid("a"), "team", "a", NODE, "", containers, annotations=annotations)
    found, failures = grants(pod, _CARDS, NODE)
    assert {failure.reason for failure in failures} <= FAILURE_REASONS.keys()
    assert found.keys() - {POD} == {container.name for container in containers if not container.finished}
    for container in containers:
        if not container.finished:
            _check(container, found[container.name])
    assert held([(pod, found)]).keys() <= _CARDS.keys()


def _container(name: str, choices: Choices) -> Container:
    """Return a container that asks for anything."""
    kind, finished = choices.one_of(_KINDS), choices.number(16) == 1
    asks = {NVIDIA.count: choices.one_of(_COUNTS)} if choices.number(4) else {}
    for resource in (NVIDIA.memory, NVIDIA.memory_percentage, NVIDIA.cores):
        if amount := choices.number(len(_AMOUNTS)):
            asks[resource] = _AMOUNTS[amount]
    return Container(name, kind, asks=asks, finished=finished)


def _check(container: Container, given: ContainerGrants) -> None:
    """Hold a container's grants to its request: as many cards, as many bytes of each, as many cores."""
    count = NVIDIA.asked(container)
    assert len(given.grants) <= count
    assert (given.source == "hami") == bool(given.grants)
    assert len({grant.uuid for grant in given.grants}) == len(given.grants)
    for grant in given.grants:
        assert grant.uuid in _CARDS
        assert grant.memory is not None
        assert grant.memory >= 0
        assert grant.cores is None or 0 < grant.cores <= count
    if memory := container.asks.get(NVIDIA.memory):
        assert sum(grant.memory or 0 for grant in given.grants) <= count * memory * MIB
    if cores := container.asks.get(NVIDIA.cores):
        assert sum(grant.cores or 0 for grant in given.grants) * 100 <= count * cores * (1 + 1e-9)
