"""A second node for dashboards, with what the recorded one lacks: HAMi's registration, an XID, MIG, and faults."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tests.fake_driver import XIDS, FakeGpu, FakeInstance, FakeMemory, FakeProcess, FakeSample
from tests.make import GIB, cgroup
from tests.world import World, manifest, node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHARED: Final = "GPU-00000000-0000-0000-0000-00000000000a"
_CUT: Final = "GPU-00000000-0000-0000-0000-00000000000b"
INSTANCE: Final = "MIG-00000000-0000-0000-0000-00000000000c"
_REGISTERED: Final = ":".join(
    f"{uuid},10,144384,100,NVIDIA-H200,0,true,{index},{mode}"
    for index, (uuid, mode) in enumerate(((SHARED, "hami-core"), (_CUT, "mig")))
)


@contextmanager
def second_node(directory: Path) -> Iterator[World]:
    """Run a node of two GPUs: one shared, which tells no power, and one that is cut into an instance."""
    with World(directory) as world:
        world.kube.put(node(node_nvidia_register=f"{_REGISTERED}:"))
        world.kube.put(manifest("model", SHARED))
        world.proc.put(7, cgroup("model", "model/main"))
        world.driver.set(
            [
                FakeGpu(
                    SHARED, memory=FakeMemory(used=GIB), processes=[FakeProcess(7, GIB)], samples=[FakeSample(7, 20)],
                    utilization=20, power=None, events=XIDS,
                ),
                FakeGpu(
                    _CUT, mig=1, memory=FakeMemory(used=GIB),
                    instances=[FakeInstance(INSTANCE, gi=1)],
                ),
            ]
        )  # fmt: skip
        world.start()
        world.wait_for(lambda: world.value("vgpu_device_slots", device_uuid=SHARED) == 10)
        yield world


def trouble(world: World) -> None:
    """Have an XID come, a pod whose grant cannot be placed, and the API server go away and come back."""
    world.driver.xid(SHARED, 31)
    broken = manifest("broken", SHARED)
    broken["metadata"]["annotations"]["hami.io/vgpu-devices-allocated"] = "rubbish"
    world.kube.put(broken)
    world.wait_for(lambda: world.value("vgpu_attribution_failures_total", reason="grant_unplaced") == 1)
    world.wait_for(lambda: world.value("vgpu_device_xid_errors_total", device_uuid=SHARED, xid="31") == 1)
    world.kube.refuse()
    world.wait_for(lambda: world.value("vgpu_source_up", role="node", source="pods") == 0)
    world.kube.accept()
