"""Series → rows, on the recorded node and where a grant stands on the pod."""

from __future__ import annotations

import pytest

from exporter.top.rows import Nobodys, Use, gpus, tenants
from exporter.top.samples import parse
from tests.top.pages import ON, page, recorded


def used(*lines: str) -> Use:
    """Return the one use of a GPU."""
    [gpu] = gpus(parse(page(*lines)), {})
    [use] = gpu.uses
    return use


def on(metric: str, value: float, container: str = "c") -> str:
    """Return a sample of the pod a/p."""
    return f'vgpu_container_{metric}{{{ON},namespace="a",pod="p",container="{container}"}} {value}'


def test_the_recorded_node_has_its_gpu_pods_and_remainder() -> None:
    """One H200, ten pods, an escape, a pod without grant, and what belongs to nobody."""
    _, [gpu] = recorded()
    marks = {use.pod: use.marks for use in gpu.uses if use.marks}

    assert (gpu.node, gpu.index, gpu.name, gpu.up, len(gpu.uses)) == ("gpu-node-1", "0", "NVIDIA H200", True, 10)
    assert gpu.memory_total == 150754820096
    assert marks == {"ssh-lab-0": ("escape", "over_grant"), "legacy-train-0": ("no_grant",)}
    assert {one.reason: one.memory_used for one in gpu.nobodys if one.memory_used} == {
        "host": 1591738368,
        "unlisted": 69861376,
    }


def test_all_memory_and_core_time_in_use_is_somebodys_or_nobodys() -> None:
    """The account closes in the table, too: memory to the byte."""
    _, [gpu] = recorded()
    parts: list[Use | Nobodys] = [*gpu.uses, *gpu.nobodys]

    assert sum(part.memory_used or 0 for part in parts) == gpu.memory_used
    assert sum(part.core_used or 0 for part in parts) == pytest.approx(gpu.core_used, rel=1e-6)


def test_what_a_tenant_uses_is_what_its_pods_use() -> None:
    """Sums, and everything that is wrong with one of them."""
    _, [gpu] = recorded()
    found = tenants(gpu.uses)

    assert sum(one.memory_used or 0 for one in found) == sum(use.memory_used or 0 for use in gpu.uses)
    assert {one.tenant: one.marks for one in found if one.marks} == {
        "batch": ("no_grant",),
        "research": ("escape", "over_grant"),
    }


def test_a_grant_of_the_pod_as_a_whole_covers_its_containers() -> None:
    """Nothing says which container has it, and the pod is within it."""
    use = used(on("memory_granted_bytes", 10, ""), on("memory_used_bytes", 4, "x"), on("memory_used_bytes", 5, "y"))

    assert (use.memory_granted, use.memory_used, use.marks) == (10, 9, ())


def test_what_is_not_told_is_not_zero() -> None:
    """A pod of which only the grant is known."""
    use = used(on("memory_granted_bytes", 10))

    assert (use.memory_used, use.core_used, use.core_granted, use.processes) == (None, None, None, None)


@pytest.mark.parametrize(
    ("lines", "marks"),
    [
        ([on("memory_used_bytes", 1), on("memory_granted_bytes", 0)], ("no_grant",)),
        ([on("processes", 1), on("memory_granted_bytes", 0)], ("no_grant",)),
        ([on("memory_used_bytes", 0), on("memory_granted_bytes", 0)], ()),
        ([on("memory_used_bytes", 1)], ()),
        ([on("memory_used_bytes", 5), on("memory_granted_bytes", 4)], ("over_grant",)),
        ([on("memory_uncounted_bytes", 1)], ("escape",)),
        ([on("processes_uncounted", 1)], ("escape",)),
        ([on("hami_core_blind", 1), on("memory_uncounted_bytes", 0)], ("hami_core_blind",)),
    ],
)
def test_what_is_wrong_is_marked(lines: list[str], marks: tuple[str, ...]) -> None:
    """An unknown grant is none that could be lacking."""
    assert used(*lines).marks == marks


def test_a_gpu_that_does_not_answer_keeps_its_grants() -> None:
    """All else of it is gone."""
    [gpu] = gpus(parse(page(f"vgpu_device_up{{{ON}}} 0", f"vgpu_device_memory_granted_bytes{{{ON}}} 7")), {})

    assert (gpu.up, gpu.name, gpu.uuid, gpu.memory_used, gpu.memory_granted) == (False, "", "GPU-1", None, 7)


def test_gpus_come_by_node_and_number() -> None:
    """The tenth after the second."""
    lines = [
        f'vgpu_device_info{{node="n{node}",device_uuid="u{index}",device_index="{index}"}} 1'
        for node in (2, 1)
        for index in (10, 2)
    ]

    assert [(gpu.node, gpu.index) for gpu in gpus(parse(page(*lines)), {})] == [
        ("n1", "2"),
        ("n1", "10"),
        ("n2", "2"),
        ("n2", "10"),
    ]
