"""One second of the recorded H200 as real parts: a driver's library, a procfs tree, HAMi's files, an API server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from exporter.model import Process
from exporter.roles.demo import RECORDING
from exporter.sources.recorded import load
from tests.cache_files import unpack_moment
from tests.fake_driver import FakeDriver, FakeGpu, FakeMemory, FakeProcess, FakeSample
from tests.world import ProcTree

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.capture import Frame
    from exporter.model import DeviceReading

#: The second: everything runs, and one process has escaped HAMi's library.
SECOND: Final = 80
NODE: Final = "gpu-node-1"
_TICKS: Final = 100


class RecordedNode:
    """What a pod of the DaemonSet finds there."""

    def __init__(self, directory: Path) -> None:
        """Lay everything out below `directory`, and stay at that second."""
        capture = load(RECORDING)
        frame = next(frame for frame in capture.frames if frame.t >= SECOND)
        #: The node's root: what a hostPath of the pod is below.
        self.host = directory / "host"
        self.proc = ProcTree(directory / "proc")
        self.driver = FakeDriver(directory)
        assert capture.node == NODE
        self.driver.set([_gpu(reading) for reading in frame.readings], version=capture.devices[0].driver)
        self._put_processes(frame)
        unpack_moment(SECOND, self.host / "usr/local/vgpu/containers")
        self.objects: list[dict[str, Any]] = [
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}},
            *map(dict, frame.pods or ()),
        ]

    def _put_processes(self, frame: Frame) -> None:
        for process in frame.processes.values():
            if isinstance(process, Process):
                start = round(process.start * _TICKS)
                self.proc.put(process.pid, process.cgroup, start=start, comm=process.comm)


def _gpu(reading: DeviceReading) -> FakeGpu:
    """Return a GPU that answers what was recorded, its samples stamped a moment ago."""
    assert reading.memory is not None
    assert reading.core is not None
    memory = reading.memory
    return FakeGpu(
        reading.device.uuid,
        name=reading.device.name,
        memory=FakeMemory(memory.total, memory.reserved or 0, memory.used),
        processes=[FakeProcess(process.pid, process.used) for process in reading.processes or ()],
        samples=[FakeSample(sample.pid, round(sample.sm)) for sample in reading.core.samples],
        utilization=round(100 * (reading.utilization or 0)),
    )
