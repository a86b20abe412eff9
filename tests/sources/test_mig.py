"""MIG instances in the driver's edge, by real pynvml, against a fake driver library (`tests/fake_driver.py`)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import pytest

from exporter.model import Device, GpuProcess, Memory
from exporter.sources.driver import CallError, Driver, Scope
from exporter.sources.facts import NO_INSTANCE
from exporter.sources.gpu import Gpu
from exporter.sources.nvml import NvmlGpus
from tests.fake_driver import GIB, MIB, Code, FakeDriver, FakeGpu, FakeInstance, FakeMemory, FakeProcess, FakeSample
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from exporter.errors import DriverError
    from exporter.model import DeviceReading

NOON: Final = 1_800_000_000.0
HANDLE: Final = "nvmlDeviceGetMigDeviceHandleByIndex"
COUNT: Final = "nvmlDeviceGetMaxMigDeviceCount"
UUID: Final = "nvmlDeviceGetUUID"
COMPUTE_LIST: Final = "nvmlDeviceGetComputeRunningProcesses_v3"
FORBIDDEN_LISTS: Final = {
    f"nvmlDeviceGet{kind}RunningProcesses_v{version}": Code.NO_PERMISSION
    for kind in ("Compute", "Graphics", "MPSCompute")
    for version in (2, 3)
}
NO_FIGURES: Final = {
    f"nvmlDeviceGet{figure}": Code.UNKNOWN
    for figure in ("PowerUsage", "TotalEnergyConsumption", "TemperatureV", "Temperature")
}
ONE: Final = FakeInstance("MIG-1", gi=1, processes=[FakeProcess(11, GIB)])
TWO: Final = FakeInstance("MIG-2", gi=2, processes=[FakeProcess(22, 2 * GIB)])


def cut(*instances: FakeInstance | None, errors: Mapping[str, Code] | None = None, **more: object) -> FakeGpu:
    """Return a GPU with MIG on."""
    return FakeGpu("GPU-a", mig=1, instances=instances, errors=errors or {}, **more)  # type: ignore[arg-type]


class Card:
    """A fake driver with one GPU, and the GPU under test, asked directly."""

    def __init__(self, directory: Path) -> None:
        self.driver = FakeDriver(directory)
        self._gpu: Gpu | None = None
        self.problems: list[DriverError] = []

    def read(self, gpu: FakeGpu) -> DeviceReading:
        """Read the card as it is now; what went wrong is in `problems`."""
        self.driver.set([gpu])
        if self._gpu is None:
            driver = Driver([self.driver.library], "/proc/self/maps")
            driver.restart()
            self._gpu = Gpu(*driver.identify(0), 1.0, clock=lambda: 5000.0, wall=lambda: NOON)
        reading, self.problems = self._gpu.read()
        return reading

    def instances(self, gpu: FakeGpu) -> tuple[DeviceReading, ...]:
        """Read the card, and return its instances' readings."""
        instances = self.read(gpu).instances
        assert instances is not None
        return instances

    def asked(self, uuid: str) -> set[str]:
        """Return what was asked about one GPU or instance."""
        return {call.function for call in self.driver.calls(uuid=uuid)}


@pytest.fixture
def card(tmp_path: Path) -> Card:
    """A card that has not been read yet."""
    return Card(tmp_path)


def pids(readings: Sequence[DeviceReading]) -> list[list[int] | None]:
    """Return the PIDs on each instance."""
    return [
        None if reading.processes is None else [process.pid for process in reading.processes] for reading in readings
    ]


def uuids(readings: Sequence[DeviceReading]) -> list[str]:
    """Return the instances' UUIDs."""
    return [reading.device.uuid for reading in readings]


# ---------------------------------------------------------------- which there are


def test_an_instance_is_a_device_of_its_own(card: Card) -> None:
    """It has a UUID and NVML's name of it, bears its GPU's index and driver, and says which GPU it is cut from."""
    (instance,) = card.instances(cut(FakeInstance("MIG-1", gi=1, name="NVIDIA H200 MIG 3g.71gb")))
    assert instance.device == Device("MIG-1", 0, "NVIDIA H200 MIG 3g.71gb", "580.159.04", parent="GPU-a")


def test_instances_come_by_gpu_instance_and_compute_instance(card: Card) -> None:
    """NVML's indexes have holes and no order of their own."""
    placed = [None, FakeInstance("MIG-2-1", gi=2, ci=1), None, FakeInstance("MIG-2-0", gi=2), ONE]
    assert uuids(card.instances(cut(*placed))) == ["MIG-1", "MIG-2-0", "MIG-2-1"]
    assert card.problems == []


def test_instances_are_read_at_the_moment_of_their_gpu(card: Card) -> None:
    """All clocks of an instance's reading are those of the pass over its GPU."""
    reading = card.read(cut(ONE))
    (instance,) = reading.instances or ()
    assert (instance.wall, instance.clock, instance.boottime) == (NOON, 5000.0, reading.boottime)
    assert reading.boottime is not None


def test_instances_come_and_go(card: Card) -> None:
    """Each pass has those that there are then, also where one is made anew under the index of another."""
    assert uuids(card.instances(cut(ONE))) == ["MIG-1"]
    assert uuids(card.instances(cut(TWO, ONE))) == ["MIG-1", "MIG-2"]
    assert uuids(card.instances(cut(TWO))) == ["MIG-2"]


@pytest.mark.parametrize("code", [Code.NOT_FOUND, Code.INVALID_ARGUMENT])
@pytest.mark.parametrize("function", [HANDLE, UUID, "nvmlDeviceGetName", "nvmlDeviceGetGpuInstanceId"])
def test_an_instance_that_vanishes_costs_itself_only(card: Card, function: str, code: Code) -> None:
    """One that is destroyed between two questions is not there, and nothing went wrong."""
    gone = FakeInstance("MIG-1", gi=1, errors={function: code})
    assert uuids(card.instances(cut(gone, TWO))) == ["MIG-2"]
    assert card.problems == []


@pytest.mark.parametrize(("code", "reason"), [(Code.UNKNOWN, "unknown"), (Code.GPU_IS_LOST, "gpu_lost")])
def test_an_instance_that_fails_costs_itself_only(card: Card, code: Code, reason: str) -> None:
    """One that does not say who it is is counted, by the reason that NVML gives; its GPU and the others are read."""
    failing = FakeInstance("MIG-1", gi=1, errors={UUID: code})
    assert uuids(card.instances(cut(failing, TWO))) == ["MIG-2"]
    assert [problem.reason for problem in card.problems] == [reason]


def test_instances_that_may_not_be_listed_are_not_known(card: Card) -> None:
    """Without the permission there are None, which is not the same as none; the capability names it, no error does."""
    reading = card.read(cut(ONE, TWO, errors={HANDLE: Code.NO_PERMISSION}))
    assert reading.instances is None
    assert reading.capabilities["process_list"] == "no_permission"
    assert card.problems == []


def test_an_instance_that_may_not_be_seen_hides_itself_only(card: Card) -> None:
    """The others are read; that processes of it are missed is known, so it is no error at every pass."""
    hidden = FakeInstance("MIG-1", gi=1, processes=[FakeProcess(11, GIB)], errors={HANDLE: Code.NO_PERMISSION})
    reading = card.read(cut(hidden, TWO))
    assert pids(reading.instances or ()) == [[22]]
    assert reading.capabilities["process_list"] == "no_permission"
    assert card.problems == []


def test_a_number_of_instances_that_is_not_told_is_counted(card: Card) -> None:
    """The instances are not known then, but what the whole GPU tells stands."""
    reading = card.read(cut(ONE, errors={COUNT: Code.UNKNOWN}))
    assert (reading.instances, reading.power) == (None, 76.0)
    assert [problem.reason for problem in card.problems] == ["unknown"]


@pytest.mark.parametrize("errors", [{}, FORBIDDEN_LISTS])
def test_a_gpu_not_cut_yet_has_no_instance(card: Card, errors: Mapping[str, Code]) -> None:
    """With MIG on but nothing made yet, its own lists say whether processes could be listed."""
    reading = card.read(cut(errors=errors))
    assert reading.instances == ()
    assert reading.capabilities["process_list"] == ("no_permission" if errors else "supported")


@pytest.mark.parametrize("function", [UUID, "nvmlDeviceGetMemoryInfo_v2"])
def test_a_driver_that_goes_away_meanwhile_is_the_drivers_failure(card: Card, function: str) -> None:
    """What one instance is answered then concerns all GPUs."""
    with pytest.raises(CallError) as failure:
        card.read(cut(FakeInstance("MIG-1", gi=1, errors={function: Code.UNINITIALIZED})))
    assert failure.value.scope is Scope.DRIVER


# ---------------------------------------------------------------- memory


def test_memory_is_that_of_the_instance(card: Card) -> None:
    """Each has its own total, use and reserve."""
    small = FakeInstance("MIG-1", gi=1, memory=FakeMemory(16 * GIB, 17 * MIB, GIB))
    large = FakeInstance("MIG-2", gi=2, memory=FakeMemory(70 * GIB, 67 * MIB, 2 * GIB))
    assert [instance.memory for instance in card.instances(cut(small, large))] == [
        Memory(16 * GIB, GIB, 17 * MIB),
        Memory(70 * GIB, 2 * GIB, 67 * MIB),
    ]


def test_memory_of_an_instance_falls_back_to_the_older_call(card: Card) -> None:
    """Without v2, its use contains the reserve, and the capability says so."""
    memory = FakeMemory(16 * GIB, 17 * MIB, GIB)
    old = FakeInstance("MIG-1", gi=1, memory=memory, errors={"nvmlDeviceGetMemoryInfo_v2": Code.FUNCTION_NOT_FOUND})
    (instance,) = card.instances(cut(old))
    assert instance.memory == Memory(16 * GIB, GIB + 17 * MIB, None)
    assert instance.capabilities["memory_v2"] == "not_supported"


def test_memory_that_may_not_be_read_is_absent_with_the_reason(card: Card) -> None:
    """What is forbidden for one instance is there for the other."""
    errors = dict.fromkeys(("nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetMemoryInfo"), Code.NO_PERMISSION)
    forbidden, free = card.instances(cut(FakeInstance("MIG-1", gi=1, errors=errors), TWO))
    assert (forbidden.memory, forbidden.capabilities["memory_v2"]) == (None, "no_permission")
    assert (free.memory is not None, free.capabilities["memory_v2"]) == (True, "supported")


def test_memory_that_fails_costs_itself_only(card: Card) -> None:
    """An instance destroyed before it was asked for its memory has none; its GPU is not lost for that."""
    gone = FakeInstance(
        "MIG-1", gi=1, processes=[FakeProcess(11, GIB)], errors={"nvmlDeviceGetMemoryInfo_v2": Code.NOT_FOUND}
    )
    (instance,) = card.instances(cut(gone))
    assert (instance.memory, instance.processes) == (None, (GpuProcess(11, GIB),))
    assert len(card.problems) == 1


def test_memory_that_two_compute_instances_share_is_neithers(card: Card) -> None:
    """NVML answers the GPU instance's memory for each of them, so it would count twice; their processes stay apart."""
    sharers = [FakeInstance(f"MIG-1-{ci}", gi=1, ci=ci, processes=[FakeProcess(10 + ci, GIB)]) for ci in (0, 1)]
    first, second, alone = card.instances(cut(*sharers, TWO))
    assert (first.memory, second.memory) == (None, None)
    assert first.capabilities["memory_v2"] == second.capabilities["memory_v2"] == "mig"
    assert alone.memory is not None
    assert pids([first, second]) == [[10], [11]]
    assert not card.driver.calls("nvmlDeviceGetMemoryInfo_v2", "MIG-1-0")


# ---------------------------------------------------------------- processes


def test_a_process_is_on_the_instance_that_the_driver_names(card: Card) -> None:
    """The GPU's lists say for each process where it runs; the same PID can run in two places."""
    both = FakeInstance("MIG-2", gi=2, processes=[FakeProcess(22, 2 * GIB), FakeProcess(11, 3 * GIB)])
    one, two = card.instances(cut(ONE, both))
    assert one.processes == (GpuProcess(11, GIB),)
    assert two.processes == (GpuProcess(22, 2 * GIB), GpuProcess(11, 3 * GIB))
    assert not card.driver.calls(COMPUTE_LIST, "MIG-1")


def test_lists_are_merged_on_each_instance(card: Card) -> None:
    """An MPS client is in two lists and counts once, where it is."""
    client = FakeInstance("MIG-1", gi=1, processes=[FakeProcess(11, GIB, "cm")])
    elsewhere = FakeInstance("MIG-2", gi=2, processes=[FakeProcess(11, GIB, "c")])
    one, two = card.instances(cut(client, elsewhere))
    assert (one.processes, two.processes) == ((GpuProcess(11, GIB, mps=True),), (GpuProcess(11, GIB),))


def test_an_instance_without_processes_has_an_empty_list(card: Card) -> None:
    """None is there, which is not the same as no answer."""
    assert pids(card.instances(cut(ONE, FakeInstance("MIG-2", gi=2)))) == [[11], []]


def test_each_instance_is_asked_where_the_gpus_own_list_is_forbidden(card: Card) -> None:
    """The whole GPU's list needs a privilege that the instances' own lists may not need."""
    reading = card.read(cut(ONE, TWO, errors=FORBIDDEN_LISTS))
    assert pids(reading.instances or ()) == [[11], [22]]
    assert reading.capabilities["process_list"] == "supported"
    assert card.problems == []


def test_each_instance_is_asked_where_the_gpus_own_list_fails(card: Card) -> None:
    """The failure is counted, and costs no instance its processes."""
    assert pids(card.instances(cut(ONE, TWO, errors={COMPUTE_LIST: Code.UNKNOWN}))) == [[11], [22]]
    assert len(card.problems) == 1


def test_processes_that_may_not_be_listed_are_not_known(card: Card) -> None:
    """An instance that forbids its list, too, has None and says why, and so does its GPU; the other one is listed."""
    closed = FakeInstance("MIG-1", gi=1, processes=[FakeProcess(11, GIB)], errors=FORBIDDEN_LISTS)
    reading = card.read(cut(closed, TWO, errors=FORBIDDEN_LISTS))
    assert pids(reading.instances or ()) == [None, [22]]
    assert [i.capabilities["process_list"] for i in reading.instances or ()] == ["no_permission", "supported"]
    assert reading.capabilities["process_list"] == "no_permission"
    assert card.problems == []


def test_a_list_of_an_instance_that_fails_is_not_known(card: Card) -> None:
    """It is counted, and asked for again at the next pass."""
    failing = FakeInstance("MIG-1", gi=1, errors={COMPUTE_LIST: Code.UNKNOWN})
    assert pids(card.instances(cut(failing, TWO, errors=FORBIDDEN_LISTS))) == [None, [22]]
    assert [str(problem) for problem in card.problems] == [
        "list of compute processes of MIG-1: Unknown Error (NVML code 999)"
    ]
    assert pids(card.instances(cut(ONE, TWO, errors=FORBIDDEN_LISTS))) == [[11], [22]]


def test_a_process_on_an_instance_that_is_not_listed_is_counted(card: Card) -> None:
    """Nobody is given it: not another instance, and not the GPU; but it does not go by in silence."""
    reading = card.read(cut(ONE, processes=[FakeProcess(99, GIB, place=(9, 0)), FakeProcess(99, GIB, "g", (9, 0))]))
    assert reading.processes is None
    assert pids(reading.instances or ()) == [[11]]
    assert [str(p) for p in card.problems] == [
        "processes on no MIG instance that the driver lists: 1, the lowest PID 99"
    ]


@pytest.mark.parametrize("place", [(NO_INSTANCE, NO_INSTANCE), (1, NO_INSTANCE)])
def test_an_instance_is_asked_where_the_gpus_list_leaves_open_who_is_on_it(card: Card, place: tuple[int, int]) -> None:
    """A process without an instance may be on any of them, so the GPU's list is not believed to be whole."""
    sharer = FakeInstance("MIG-1-1", gi=1, ci=1)
    gpu = cut(ONE, sharer, processes=[FakeProcess(99, GIB, place=place)])
    assert pids(card.instances(gpu)) == [[11], []]
    assert card.driver.calls(COMPUTE_LIST, "MIG-1")
    assert len(card.problems) == 1


# ---------------------------------------------------------------- what else there is, and is not


def test_an_instance_tells_of_memory_and_processes_only(card: Card) -> None:
    """Core time is not to be had per instance, power, energy and temperature are the card's: nobody even asks."""
    (instance,) = card.instances(cut(ONE, errors=FORBIDDEN_LISTS))
    assert (instance.utilization, instance.core, instance.window) == (None, None, None)
    assert (instance.power, instance.energy, instance.temperature) == (None, None, None)
    assert instance.capabilities == {
        "process_list": "supported",
        "process_utilization": "mig",
        "memory_v2": "supported",
        "energy": "mig",
        "power": "mig",
        "temperature": "mig",
        "xid": "mig",
    }
    assert card.asked("MIG-1") == {
        HANDLE,
        UUID,
        "nvmlDeviceGetName",
        "nvmlDeviceGetGpuInstanceId",
        "nvmlDeviceGetComputeInstanceId",
        "nvmlDeviceGetMemoryInfo_v2",
        COMPUTE_LIST,
        "nvmlDeviceGetGraphicsRunningProcesses_v3",
        "nvmlDeviceGetMPSComputeRunningProcesses_v3",
    }


def test_a_gpu_that_is_cut_keeps_the_figures_of_the_card(card: Card) -> None:
    """Power, energy and temperature are its own; memory, processes and cores are the instances'."""
    reading = card.read(cut(ONE, utilization=50, samples=[FakeSample(11, 50)]))
    assert (reading.power, reading.energy, reading.temperature) == (76.0, 1000.0, 31.0)
    assert (reading.memory, reading.processes, reading.utilization) == (None, None, None)
    assert (reading.core, reading.window) == (None, None)
    assert reading.capabilities == {
        "process_list": "supported",
        "process_utilization": "mig",
        "memory_v2": "mig",
        "energy": "supported",
        "power": "supported",
        "temperature": "supported",
    }


def test_a_gpu_whose_instances_answer_is_not_lost(card: Card) -> None:
    """Whatever fails of its own, it is there."""
    reading = card.read(cut(ONE, errors=NO_FIGURES))
    assert uuids(reading.instances or ()) == ["MIG-1"]
    assert len(card.problems) == 3
    with pytest.raises(CallError):
        card.read(cut(errors=NO_FIGURES))


def test_mig_is_switched_on_and_off_under_way(card: Card) -> None:
    """What a GPU tells changes with the mode; nothing that one mode forbade is remembered in the other."""
    process = FakeProcess(7, GIB)
    whole = card.read(FakeGpu("GPU-a", processes=[process], utilization=40))
    switched = card.read(cut(ONE, errors=FORBIDDEN_LISTS))
    again = card.read(FakeGpu("GPU-a", processes=[process], utilization=40))
    assert uuids(switched.instances or ()) == ["MIG-1"]
    for reading in (whole, again):
        assert (reading.instances, reading.processes) == ((), (GpuProcess(7, GIB),))
        assert (reading.memory is not None, reading.core is not None, reading.utilization) == (True, True, 0.4)


# ---------------------------------------------------------------- among all GPUs


class Node:
    """A fake driver, and the source under test."""

    def __init__(self, directory: Path) -> None:
        self.driver = FakeDriver(directory)
        self.seconds = 0.0

    def start(self, *gpus: FakeGpu) -> None:
        """Start with these GPUs."""
        self.driver.set(gpus)
        self.gpus = NvmlGpus(
            1.0, [self.driver.library], clock=lambda: 5000 + self.seconds, wall=lambda: NOON + self.seconds
        )


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node that is not started yet; its threads are waited for at the end."""
    node = Node(tmp_path)
    yield node
    node.gpus.close()
    until(lambda: not any(thread.name.startswith(("gpu-", "nvml")) for thread in threading.enumerate()))


def test_each_gpu_is_followed_by_its_instances(node: Node) -> None:
    """Instances are devices like the others, each with its reading under its UUID."""
    node.start(cut(TWO, ONE), FakeGpu("GPU-b"))
    state = node.gpus.read(5)
    assert [(device.uuid, device.index, device.parent) for device in state.devices] == [
        ("GPU-a", 0, ""),
        ("MIG-1", 0, "GPU-a"),
        ("MIG-2", 0, "GPU-a"),
        ("GPU-b", 1, ""),
    ]
    assert set(state.readings) == {"GPU-a", "MIG-1", "MIG-2", "GPU-b"}
    assert state.readings["MIG-2"].processes == (GpuProcess(22, 2 * GIB),)


def test_a_destroyed_instance_is_gone_from_the_next_read(node: Node) -> None:
    """Other than a GPU, it is not remembered."""
    node.start(cut(ONE, TWO))
    node.gpus.read(5)
    node.driver.set([cut(None, TWO)])
    state = node.gpus.read(5)
    assert [device.uuid for device in state.devices] == list(state.readings) == ["GPU-a", "MIG-2"]


def test_the_instances_of_a_lost_gpu_grow_old_with_it(node: Node) -> None:
    """They stay as they were last seen, at the moment of that reading."""
    node.start(cut(ONE))
    node.gpus.read(5)
    node.driver.set([cut(ONE, errors={"*": Code.GPU_IS_LOST})])
    node.seconds = 3
    state = node.gpus.read(5)
    assert [device.uuid for device in state.devices] == ["GPU-a", "MIG-1"]
    assert [state.now - reading.clock for reading in state.readings.values()] == [3.0, 3.0]


def test_instances_that_may_not_be_listed_are_no_devices(node: Node) -> None:
    """Their GPU is one all the same, and tells by its capability what is missing."""
    node.start(cut(ONE, errors={HANDLE: Code.NO_PERMISSION}))
    state = node.gpus.read(5)
    assert [device.uuid for device in state.devices] == ["GPU-a"]
    assert state.readings["GPU-a"].capabilities["process_list"] == "no_permission"
    assert not any(state.status.errors.values())


def test_what_an_instance_lacks_is_counted(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """A failure of one instance counts with those of its GPU, and the log says so."""
    node.start(cut(FakeInstance("MIG-1", gi=1, errors={"nvmlDeviceGetMemoryInfo_v2": Code.UNKNOWN})))
    assert node.gpus.read(5).status.errors["unknown"] == 1
    assert "GPU-a: memory of MIG-1: Unknown Error (NVML code 999)" in caplog.text
