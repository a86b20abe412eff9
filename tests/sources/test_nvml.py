"""The driver's edge, by real pynvml, against a fake driver library (`tests/fake_driver.py`)."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.model import GpuProcess, Memory
from exporter.sources.nvml import LOST_PACE, NvmlGpus
from tests.fake_driver import GIB, MIB, Code, FakeDriver, FakeGpu, FakeMemory, FakeProcess, FakeSample
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.model import DeviceReading, DriverState

NOON = 1_800_000_000.0  # the wall clock when a test begins
NOON_US = 1_800_000_000_000_000
NEW_UTILIZATION = "nvmlDeviceGetProcessesUtilizationInfo"
OLD_UTILIZATION = "nvmlDeviceGetProcessUtilization"
COMPUTE_LIST = "nvmlDeviceGetComputeRunningProcesses_v3"
INIT = "nvmlInitWithFlags"


def ages(state: DriverState) -> dict[str, float]:
    """Return how old each GPU's newest reading is."""
    return {uuid: state.now - reading.clock for uuid, reading in state.readings.items()}


class Bench:
    """A fake driver, both clocks, and the source under test, which is closed and waited for at the end."""

    def __init__(self, directory: Path) -> None:
        self.driver = FakeDriver(directory)
        self.seconds = 0.0
        self.retry = (0.01, 0.02)
        self.gate = directory / "gate"  # a call that hangs on it goes on when it is gone
        self.gate.touch()
        self._maps = directory / "maps"
        self._maps.write_text("7f00-7f01 r-xp 00000000 fe:00 1 /usr/lib/libc.so.6\n", encoding="utf-8")
        self._gpus: NvmlGpus | None = None

    @property
    def gpus(self) -> NvmlGpus:
        """The source, started at its first use."""
        if self._gpus is None:
            self._gpus = NvmlGpus(
                1.0,
                ["/nowhere/libnvidia-ml.so.1", self.driver.library],
                maps=str(self._maps),
                clock=lambda: 5000 + self.seconds,
                wall=lambda: NOON + self.seconds,
                retry=self.retry,
            )
        return self._gpus

    def hijack(self) -> None:
        """Have HAMi's library mapped into this process."""
        self._maps.write_text("7f00-7f01 r-xp 00000000 fe:00 1 /usr/local/vgpu/libvgpu.so\n", encoding="utf-8")

    def read(self, timeout: float = 5.0) -> DriverState:
        """Read a second after the last time."""
        state = self.gpus.read(timeout)
        self.seconds += 1
        return state

    def one(self) -> DeviceReading:
        """Read the only GPU."""
        (reading,) = self.read().readings.values()
        return reading

    def until_fresh(self, uuid: str) -> DriverState:
        """Read until this GPU answers, and return that state."""
        states = []

        def fresh() -> bool:
            states.append(self.read())
            reading = states[-1].readings.get(uuid)
            return reading is not None and reading.clock == states[-1].now

        until(fresh)
        return states[-1]

    def until_called(self, function: str, uuid: str) -> None:
        """Read until the driver is asked this, without waiting for the answer."""

        def called() -> bool:
            self.read(timeout=0.05)
            return bool(self.driver.calls(function, uuid))

        until(called)

    def close(self) -> None:
        """Let every call come back, and wait for the source's threads."""
        self.gate.unlink(missing_ok=True)
        if self._gpus is not None:
            self._gpus.close()
        until(lambda: not any(thread.name.startswith(("gpu-", "nvml")) for thread in threading.enumerate()))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A bench without a GPU yet."""
    bench = Bench(tmp_path)
    yield bench
    bench.close()


# ---------------------------------------------------------------- facts


def test_every_fact_comes_in_base_units(bench: Bench) -> None:
    """Power is in watts, energy in joules, temperature in degrees Celsius, utilisation a ratio, both clocks ours."""
    bench.driver.set([FakeGpu("GPU-a", utilization=37, power=76_500, energy=1_234_567, temperature=31)])
    reading = bench.one()
    assert (reading.utilization, reading.power, reading.energy, reading.temperature) == (0.37, 76.5, 1234.567, 31.0)
    assert (reading.clock, reading.wall) == (5000.0, NOON)
    assert reading.capabilities == {
        "process_list": "supported",
        "process_utilization": "supported",
        "memory_v2": "supported",
        "energy": "supported",
        "power": "supported",
        "temperature": "supported",
        "xid": "not_supported",
    }


def test_a_device_is_what_the_driver_enumerates(bench: Bench) -> None:
    """UUID, index, name and driver version are the driver's own words."""
    bench.driver.set([FakeGpu("GPU-a"), FakeGpu("GPU-b", name="NVIDIA L4")], version="575.1")
    state = bench.read()
    assert [(d.uuid, d.index, d.name, d.driver) for d in state.devices] == [
        ("GPU-a", 0, "NVIDIA H200", "575.1"),
        ("GPU-b", 1, "NVIDIA L4", "575.1"),
    ]
    assert state.answered
    assert state.status.up


def test_memory_keeps_the_drivers_reserve_apart(bench: Bench) -> None:
    """NVML's v2 call tells what the driver keeps for itself from what is used."""
    bench.driver.set([FakeGpu("GPU-a", memory=FakeMemory(80 * GIB, 615 * MIB, 3 * GIB))])
    assert bench.one().memory == Memory(total=80 * GIB, used=3 * GIB, reserved=615 * MIB)


@pytest.mark.parametrize("code", [Code.NOT_SUPPORTED, Code.FUNCTION_NOT_FOUND, Code.INVALID_ARGUMENT])
def test_memory_falls_back_to_the_older_call(bench: Bench, code: Code) -> None:
    """Without v2, `reserved` is not known, `used` contains it, and v2 is not asked for again."""
    memory = FakeMemory(80 * GIB, 615 * MIB, 3 * GIB)
    bench.driver.set([FakeGpu("GPU-a", memory=memory, errors={"nvmlDeviceGetMemoryInfo_v2": code})])
    bench.one()
    reading = bench.one()
    assert reading.memory == Memory(total=80 * GIB, used=3 * GIB + 615 * MIB, reserved=None)
    assert reading.capabilities["memory_v2"] == "not_supported"
    assert len(bench.driver.calls("nvmlDeviceGetMemoryInfo_v2")) == 1


def test_memory_that_the_driver_cannot_fill_in_is_unknown(bench: Bench) -> None:
    """All ones mean "not available", not 17 billion GiB."""
    bench.driver.set([FakeGpu("GPU-a", memory=FakeMemory(total=2**64 - 1, reserved=0, used=0))])
    assert bench.one().memory is None


def test_a_gpu_without_memory_of_its_own_still_reads(bench: Bench) -> None:
    """Where memory is shared with the CPU (GB10, Jetson) all but the device's totals is there."""
    bench.driver.set([FakeGpu("GPU-a", memory=None, processes=[FakeProcess(7, GIB)])])
    reading = bench.one()
    assert reading.memory is None
    assert reading.processes == (GpuProcess(7, GIB),)
    assert reading.capabilities["memory_v2"] == "not_supported"


@pytest.mark.parametrize(
    ("missing", "capability"),
    [
        (FakeGpu("GPU-a", power=None), "power"),
        (FakeGpu("GPU-a", energy=None), "energy"),
        (FakeGpu("GPU-a", temperature=None), "temperature"),
    ],
)
def test_what_a_gpu_does_not_support_is_absent_with_the_reason(bench: Bench, missing: FakeGpu, capability: str) -> None:
    """An unsupported fact is None, never 0, and no error."""
    bench.driver.set([missing])
    state = bench.read()
    reading = state.readings["GPU-a"]
    assert getattr(reading, capability) is None
    assert reading.capabilities[capability] == "not_supported"
    assert not any(state.status.errors.values())


def test_what_is_not_supported_is_not_asked_for_again(bench: Bench) -> None:
    """A GPU that has no energy counter is asked for it once."""
    bench.driver.set([FakeGpu("GPU-a", energy=None)])
    bench.one()
    bench.one()
    assert len(bench.driver.calls("nvmlDeviceGetTotalEnergyConsumption")) == 1


def test_what_may_not_be_read_is_absent_with_the_reason(bench: Bench) -> None:
    """Forbidden is told from unsupported."""
    forbidden = {OLD_UTILIZATION: Code.NO_PERMISSION, NEW_UTILIZATION: Code.NO_PERMISSION}
    bench.driver.set([FakeGpu("GPU-a", errors=forbidden)])
    reading = bench.one()
    assert (reading.core, reading.window) == (None, None)
    assert reading.capabilities["process_utilization"] == "no_permission"


def test_a_fact_that_fails_costs_itself_only_and_is_counted(bench: Bench) -> None:
    """After an unknown error of one call the others' answers stand, and it is asked again next time."""
    bench.driver.set([FakeGpu("GPU-a", errors={"nvmlDeviceGetPowerUsage": Code.UNKNOWN})])
    state = bench.read()
    assert state.readings["GPU-a"].power is None
    assert state.readings["GPU-a"].energy == 1000.0
    assert state.readings["GPU-a"].capabilities["power"] == "supported"
    assert state.status.errors["unknown"] == 1
    bench.driver.set([FakeGpu("GPU-a")])
    assert bench.one().power == 76.0


def test_what_goes_on_failing_is_logged_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A fact that fails at every read is counted each time, and told when it begins and when it is over."""
    bench.driver.set([FakeGpu("GPU-a", errors={"nvmlDeviceGetPowerUsage": Code.UNKNOWN})])
    bench.read()
    bench.read()
    assert bench.read().status.errors["unknown"] == 3
    assert caplog.text.count("GPU-a: power: Unknown Error (NVML code 999)") == 1
    caplog.set_level("INFO")
    bench.driver.set([FakeGpu("GPU-a")])
    bench.read()
    assert "nvml (GPU-a) answers again" in caplog.text


def test_temperature_falls_back_to_the_older_call(bench: Bench) -> None:
    """Drivers before 560 know only the call that is deprecated now."""
    bench.driver.set([FakeGpu("GPU-a", errors={"nvmlDeviceGetTemperatureV": Code.FUNCTION_NOT_FOUND})])
    assert bench.one().temperature == 31.0


# ---------------------------------------------------------------- processes


def test_a_process_counts_once_however_many_lists_name_it(bench: Bench) -> None:
    """An MPS client is in two lists, a renderer that computes too: one process each, with the larger figure."""
    both = [FakeProcess(1, 2 * GIB, "c"), FakeProcess(1, 3 * GIB, "g"), FakeProcess(2, GIB, "cm")]
    bench.driver.set([FakeGpu("GPU-a", processes=[*both, FakeProcess(3, 66 * MIB, "g")])])
    assert bench.one().processes == (GpuProcess(1, 3 * GIB), GpuProcess(2, GIB, mps=True), GpuProcess(3, 66 * MIB))


def test_the_same_pid_on_two_gpus_is_a_process_of_each(bench: Bench) -> None:
    """Lists are merged per GPU, not across them."""
    bench.driver.set([FakeGpu(uuid, processes=[FakeProcess(1, GIB)]) for uuid in ("GPU-a", "GPU-b")])
    assert [reading.processes for reading in bench.read().readings.values()] == [(GpuProcess(1, GIB),)] * 2


def test_memory_of_a_process_that_the_driver_does_not_say_is_unknown(bench: Bench) -> None:
    """All ones become None, unless another list has a figure."""
    unknown = [FakeProcess(1, None, "c"), FakeProcess(2, None, "c"), FakeProcess(2, GIB, "g")]
    bench.driver.set([FakeGpu("GPU-a", processes=unknown)])
    assert bench.one().processes == (GpuProcess(1, None), GpuProcess(2, GIB))


def test_a_list_that_a_gpu_does_not_have_is_left_out(bench: Bench) -> None:
    """A data-centre GPU without graphics still lists what computes, and is asked for the rest once."""
    lacking = {
        f"nvmlDeviceGet{kind}RunningProcesses_v{version}": Code.NOT_SUPPORTED
        for kind in ("Graphics", "MPSCompute")
        for version in (2, 3)
    }
    bench.driver.set([FakeGpu("GPU-a", processes=[FakeProcess(1, GIB)], errors=lacking)])
    bench.one()
    reading = bench.one()
    assert reading.processes == (GpuProcess(1, GIB),)
    assert reading.capabilities["process_list"] == "supported"
    assert all(len(bench.driver.calls(function)) == 1 for function in lacking)


def test_an_older_driver_lists_by_the_older_call(bench: Bench) -> None:
    """A driver without the third version of the list has the second."""
    bench.driver.set(
        [FakeGpu("GPU-a", processes=[FakeProcess(1, GIB)], errors={COMPUTE_LIST: Code.FUNCTION_NOT_FOUND})]
    )
    assert bench.one().processes == (GpuProcess(1, GIB),)


@pytest.mark.parametrize(("code", "reason"), [(Code.UNKNOWN, "supported"), (Code.NO_PERMISSION, "no_permission")])
def test_half_a_list_of_processes_is_none(bench: Bench, code: Code, reason: str) -> None:
    """If one of the lists cannot be read, processes may be missing: better to know none than too few."""
    lists = {f"nvmlDeviceGetComputeRunningProcesses_v{version}": code for version in (2, 3)}
    bench.driver.set([FakeGpu("GPU-a", processes=[FakeProcess(1, GIB, "g")], errors=lists)])
    reading = bench.one()
    assert reading.processes is None
    assert reading.capabilities["process_list"] == reason


def test_an_idle_gpu_lists_no_process(bench: Bench) -> None:
    """No process is an empty list, which is not the same as no answer."""
    bench.driver.set([FakeGpu("GPU-a")])
    assert bench.one().processes == ()


def test_a_list_that_grows_while_it_is_read_is_read_again(bench: Bench) -> None:
    """A buffer that has become too small since its size was asked is no failure."""
    processes = [FakeProcess(pid, MIB) for pid in range(1, 65)]
    samples = [FakeSample(pid, 1, NOON_US + 1) for pid in range(1, 65)]
    races = {COMPUTE_LIST: 2, NEW_UTILIZATION: 3}
    bench.driver.set([FakeGpu("GPU-a", processes=processes, samples=samples, races=races)])
    state = bench.read()
    reading = state.readings["GPU-a"]
    assert reading.processes is not None
    assert reading.core is not None
    assert (len(reading.processes), len(reading.core.samples)) == (64, 64)
    assert not any(state.status.errors.values())


def test_the_gpus_own_samples_are_what_is_booked(bench: Bench) -> None:
    """Where the driver keeps samples of the GPU itself they give the window and its sum, the PIDs only the split."""
    bench.driver.set([FakeGpu("GPU-a", whole=[(NOON_US - 1_000_000, 0), (NOON_US, 0)])])
    bench.read()
    samples = [FakeSample(7, 20, NOON_US + 1_000_000), FakeSample(8, 20, NOON_US + 1_000_000)]
    bench.driver.set([FakeGpu("GPU-a", samples=samples, whole=[(NOON_US + 500_000, 42), (NOON_US + 1_000_000, 44)])])

    window = bench.one().window

    assert window is not None
    assert window.seconds == 1
    assert window.busy == {7: pytest.approx(0.215), 8: pytest.approx(0.215)}


def test_the_boot_clock_is_read_before_the_processes_are_listed(bench: Bench) -> None:
    """What starts after that moment cannot be what was listed, even if the list itself takes a while."""
    bench.driver.set([FakeGpu("GPU-a")])
    bench.read()
    bench.driver.set([FakeGpu("GPU-a", hangs={COMPUTE_LIST: bench.gate})])
    asked = time.clock_gettime(time.CLOCK_BOOTTIME)
    calls = len(bench.driver.calls(COMPUTE_LIST))
    bench.read(timeout=0)
    until(lambda: len(bench.driver.calls(COMPUTE_LIST)) > calls)
    listing = time.clock_gettime(time.CLOCK_BOOTTIME)
    bench.gate.unlink()
    until(lambda: bench.gpus.read(0).readings["GPU-a"].clock > 5000)
    boottime = bench.gpus.read(0).readings["GPU-a"].boottime
    assert boottime is not None
    assert asked < boottime < listing


# ---------------------------------------------------------------- core time


def test_core_time_is_asked_by_the_newer_call(bench: Bench) -> None:
    """Where the driver has both calls, only the newer one is used."""
    bench.driver.set([FakeGpu("GPU-a", samples=[FakeSample(7, 40, NOON_US + 5)])])
    core = bench.one().core
    assert core is not None
    assert [(sample.pid, sample.timestamp_us, sample.sm) for sample in core.samples] == [(7, NOON_US + 5, 40.0)]
    assert not bench.driver.calls(OLD_UTILIZATION)


@pytest.mark.parametrize("code", [Code.NOT_SUPPORTED, Code.FUNCTION_NOT_FOUND, Code.INVALID_ARGUMENT])
def test_core_time_falls_back_to_the_older_call(bench: Bench, code: Code) -> None:
    """Without the newer call the older one answers, and the newer one is not tried again."""
    bench.driver.set([FakeGpu("GPU-a", samples=[FakeSample(7, 40, NOON_US + 5)], errors={NEW_UTILIZATION: code})])
    core = bench.one().core
    bench.one()
    assert core is not None
    assert [(sample.pid, sample.timestamp_us, sample.sm) for sample in core.samples] == [(7, NOON_US + 5, 40.0)]
    assert len(bench.driver.calls(NEW_UTILIZATION)) == 1


def test_core_time_is_asked_from_where_the_last_answer_ended(bench: Bench) -> None:
    """Each GPU carries on from its own newest stamp; the first question starts now, not at the driver's old news."""
    first, second = NOON_US + 400_000, NOON_US + 600_000
    bench.driver.set(
        [
            FakeGpu("GPU-a", samples=[FakeSample(7, 40, first)]),
            FakeGpu("GPU-b", samples=[FakeSample(8, 40, second), FakeSample(9, 10, first)]),
        ]
    )
    bench.read()
    bench.read()
    asked = {
        uuid: [call.last_seen_us for call in bench.driver.calls(NEW_UTILIZATION, uuid)] for uuid in ("GPU-a", "GPU-b")
    }
    assert set(asked["GPU-a"]) == {NOON_US, first}
    assert set(asked["GPU-b"]) == {NOON_US, second}


@pytest.mark.parametrize("mig", [0, None])
def test_the_second_reading_books_a_window(bench: Bench, mig: int | None) -> None:
    """From the second answer on, each PID's share of the time between the newest stamps is its core time."""
    bench.driver.set([FakeGpu("GPU-a", mig=mig, samples=[FakeSample(7, 100, NOON_US + 200_000)])])
    assert bench.one().window is None
    bench.driver.set([FakeGpu("GPU-a", mig=mig, samples=[FakeSample(7, 50, NOON_US + 1_000_000)])])
    window = bench.one().window
    assert window is not None
    assert window.seconds == pytest.approx(0.8)
    assert window.busy == pytest.approx({7: 0.4})
    assert window.ages == pytest.approx({7: 0.0})


def test_no_samples_mean_idle(bench: Bench) -> None:
    """The driver's "not found" is an observed window in which nobody was busy, and no error."""
    bench.driver.set([FakeGpu("GPU-a")])
    bench.read()
    state = bench.read()
    reading = state.readings["GPU-a"]
    assert reading.core is not None
    assert reading.core.samples == ()
    assert reading.window is not None
    assert reading.window.seconds > 0
    assert reading.window.busy == {}
    assert not any(state.status.errors.values())


def test_places_that_the_driver_left_empty_are_no_samples(bench: Bench) -> None:
    """PID 0 is nobody."""
    bench.driver.set([FakeGpu("GPU-a", samples=[FakeSample(0, 99, NOON_US + 9), FakeSample(7, 1, NOON_US + 5)])])
    core = bench.one().core
    assert core is not None
    assert [sample.pid for sample in core.samples] == [7]


def test_a_break_in_the_watch_books_nothing_and_is_counted(bench: Bench) -> None:
    """After a minute of standstill the window is not ours to book."""
    bench.driver.set([FakeGpu("GPU-a", samples=[FakeSample(7, 100, NOON_US + 200_000)])])
    bench.read()
    bench.seconds += 60
    bench.driver.set([FakeGpu("GPU-a", samples=[FakeSample(7, 100, NOON_US + 61_000_000)])])
    state = bench.read()
    assert state.readings["GPU-a"].window is None
    assert state.status.errors["sample_gap"] == 1


def test_a_busy_gpu_without_samples_is_a_break_too(bench: Bench) -> None:
    """The driver says that the GPU is busy but not with what, three times: nothing is booked, and it is counted."""
    bench.driver.set([FakeGpu("GPU-a", utilization=90)])
    states = [bench.read() for _ in range(3)]
    assert [state.readings["GPU-a"].window for state in states] == [None, None, None]
    assert [state.status.errors["sample_gap"] for state in states] == [0, 0, 1]


def test_a_gpu_cut_into_instances_keeps_its_own_figures(bench: Bench) -> None:
    """Core time and memory are not to be had of it under MIG, power is; when MIG is off again, they are back."""
    samples = [FakeSample(7, 40, NOON_US + 5)]
    bench.driver.set([FakeGpu("GPU-a", mig=1, utilization=None, samples=samples)])
    reading = bench.one()
    assert (reading.core, reading.window, reading.utilization) == (None, None, None)
    assert reading.capabilities["process_utilization"] == "mig"
    assert (reading.memory, reading.power) == (None, 76.0)
    bench.driver.set([FakeGpu("GPU-a", mig=0, utilization=40, samples=samples)])
    reading = bench.one()
    assert reading.capabilities["process_utilization"] == "supported"
    assert (reading.memory is not None, reading.utilization) == (True, 0.4)


def test_core_time_of_mps_clients_is_said_not_to_be_theirs(bench: Bench) -> None:
    """With MPS clients about, the samples stand (on the server), and the capability says so."""
    bench.driver.set([FakeGpu("GPU-a", processes=[FakeProcess(2, GIB, "cm")])])
    reading = bench.one()
    assert reading.core is not None
    assert reading.capabilities["process_utilization"] == "mps"


# ---------------------------------------------------------------- a GPU in trouble

TRIO = [FakeGpu("GPU-a"), FakeGpu("GPU-b"), FakeGpu("GPU-c")]


@pytest.mark.parametrize("code", [Code.GPU_IS_LOST, Code.UNKNOWN])
def test_a_lost_gpu_costs_itself_only(bench: Bench, code: Code) -> None:
    """One of three fails whatever it is asked: it is counted and stays known, the others go on undisturbed."""
    bench.driver.set(TRIO)
    bench.read()
    bench.driver.set([TRIO[0], FakeGpu("GPU-b", errors={"*": code}), TRIO[2]])
    state = [bench.read() for _ in range(5)][-1]
    assert ages(state) == {"GPU-a": 0.0, "GPU-b": 5.0, "GPU-c": 0.0}
    assert [device.uuid for device in state.devices] == ["GPU-a", "GPU-b", "GPU-c"]
    assert state.status.up
    assert state.status.errors["gpu_lost" if code is Code.GPU_IS_LOST else "unknown"] > 0
    assert len(bench.driver.calls(INIT)) == 1


def test_a_lost_gpu_that_answers_again_is_read_again(bench: Bench) -> None:
    """It is found by its UUID, without disturbing the others; what it used meanwhile is not booked."""
    bench.driver.set(TRIO)
    bench.read()
    bench.driver.set([FakeGpu("GPU-a"), FakeGpu("GPU-b", errors={"*": Code.GPU_IS_LOST})])
    bench.read()
    bench.driver.set([FakeGpu("GPU-a"), FakeGpu("GPU-b", samples=[FakeSample(7, 100, NOON_US + 1)])])
    reading = bench.until_fresh("GPU-b").readings["GPU-b"]
    assert reading.window is None
    assert len(bench.driver.calls(INIT)) == 1


def test_a_lost_gpu_is_left_alone_for_a_moment(bench: Bench) -> None:
    """It is not looked for again at once."""
    bench.driver.set(TRIO)
    bench.read()
    bench.driver.set([TRIO[0], FakeGpu("GPU-b", errors={"*": Code.GPU_IS_LOST}), TRIO[2]])
    bench.read()
    bench.seconds -= 1
    bench.read()
    assert not bench.driver.calls("nvmlDeviceGetHandleByUUID")
    bench.read()
    assert bench.driver.calls("nvmlDeviceGetHandleByUUID", "GPU-b")


def test_a_gpu_that_recovered_is_given_up_as_slowly_as_at_first(bench: Bench) -> None:
    """However often it was lost before, it is looked for again after a second."""
    bench.retry = (1.0, 1000.0)
    for _ in range(6):
        bench.driver.set(TRIO)
        bench.until_fresh("GPU-b")
        bench.driver.set([TRIO[0], FakeGpu("GPU-b", errors={"*": Code.GPU_IS_LOST}), TRIO[2]])
        bench.read()
        bench.driver.set(TRIO)
        assert ages(bench.read())["GPU-b"] == 0


def test_nvml_is_initialised_anew_if_no_gpu_answers(bench: Bench) -> None:
    """Where all GPUs are lost nobody is disturbed, so it is tried soon."""
    bench.driver.set([FakeGpu("GPU-a")])
    bench.read()
    gone = {"nvmlDeviceGetHandleByUUID": Code.NOT_FOUND}
    bench.driver.set([FakeGpu("GPU-a", errors={**gone, "nvmlDeviceGetMigMode": Code.GPU_IS_LOST})])
    bench.read()
    bench.driver.set([FakeGpu("GPU-a", errors=gone)])
    until(lambda: len(bench.driver.calls(INIT)) == 2)
    bench.until_fresh("GPU-a")


def test_a_gpu_lost_for_long_is_worth_a_restart(bench: Bench) -> None:
    """A handle that stays bad is cured by initialising NVML anew, which the other GPUs see every few minutes only."""
    gone = {"nvmlDeviceGetHandleByUUID": Code.NOT_FOUND}
    bench.driver.set([FakeGpu("GPU-a"), FakeGpu("GPU-b", errors={**gone, "nvmlDeviceGetMigMode": Code.GPU_IS_LOST})])
    bench.read()
    bench.driver.set([FakeGpu("GPU-a"), FakeGpu("GPU-b", errors=gone)])
    bench.read()
    time.sleep(0.1)
    assert "GPU-b" not in bench.read().readings
    assert len(bench.driver.calls(INIT)) == 1
    bench.seconds += LOST_PACE
    bench.until_fresh("GPU-b")
    assert len(bench.driver.calls(INIT)) == 2


def test_a_gpu_that_cannot_say_who_it_is_does_not_hide_the_others(bench: Bench) -> None:
    """Enumerating goes on behind a GPU that fails, and tries it again some minutes later."""
    bench.driver.set([FakeGpu("GPU-a", errors={"nvmlDeviceGetUUID": Code.GPU_IS_LOST}), FakeGpu("GPU-b")])
    state = bench.read()
    assert [device.uuid for device in state.devices] == ["GPU-b"]
    assert state.status.errors["gpu_lost"] == 1
    bench.driver.set(TRIO[:2])
    bench.seconds += LOST_PACE
    bench.until_fresh("GPU-a")


def test_a_gpu_that_hangs_does_not_hold_up_the_others(bench: Bench) -> None:
    """`read` returns within its timeout with the others' readings, and does not wait for the stuck GPU again."""
    bench.driver.set(TRIO)
    bench.read()
    bench.driver.set([TRIO[0], FakeGpu("GPU-b", hangs={"nvmlDeviceGetUtilizationRates": bench.gate}), TRIO[2]])
    begun = time.monotonic()
    state = bench.read(timeout=0.3)
    assert 0.3 <= time.monotonic() - begun < 2
    assert ages(state) == {"GPU-a": 0.0, "GPU-b": 1.0, "GPU-c": 0.0}
    begun = time.monotonic()
    state = bench.read(timeout=20)
    assert time.monotonic() - begun < 5
    assert ages(state) == {"GPU-a": 0.0, "GPU-b": 2.0, "GPU-c": 0.0}
    assert len(bench.driver.calls("nvmlDeviceGetUtilizationRates", "GPU-b")) == 2


def test_a_reading_that_comes_late_is_not_lost(bench: Bench) -> None:
    """What a slow GPU answers after `read` has returned is handed out by the next: its window was observed, too."""
    bench.driver.set([FakeGpu("GPU-a")])
    handed_out = [bench.one()]
    for _ in range(2):
        bench.gate.touch()
        bench.driver.set([FakeGpu("GPU-a", hangs={"nvmlDeviceGetUtilizationRates": bench.gate})])
        bench.read(timeout=0.05)
        bench.gate.unlink()
        time.sleep(0.3)  # time enough for the pass to end
        handed_out += [bench.one(), bench.one()]

    assert len({reading.clock for reading in handed_out}) == len(bench.driver.calls("nvmlDeviceGetTemperatureV")) == 5


def test_a_stall_is_counted_once_and_ends(bench: Bench) -> None:
    """A call that takes longer than 10 s counts one `timeout` however long it takes; then the GPU reads on."""
    bench.driver.set([FakeGpu("GPU-a", hangs={"nvmlDeviceGetPowerUsage": bench.gate})])
    state = bench.read(timeout=0.1)
    assert state.status.errors["timeout"] == 0
    for _ in range(3):
        bench.seconds += 20
        state = bench.read()
    assert state.status.errors["timeout"] == 1
    assert not state.status.up
    bench.driver.set([FakeGpu("GPU-a")])
    bench.gate.unlink()
    assert bench.until_fresh("GPU-a").status.up


def test_up_needs_a_fresh_reading(bench: Bench) -> None:
    """The source is down once the youngest reading is older than 10 s."""
    bench.driver.set([FakeGpu("GPU-a")])
    assert bench.read().status.up
    bench.driver.set([FakeGpu("GPU-a", errors={"*": Code.GPU_IS_LOST})])
    bench.seconds += 10
    state = bench.read()
    assert not state.status.up
    assert "GPU-a" in state.readings


# ---------------------------------------------------------------- a driver in trouble


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (Code.DRIVER_NOT_LOADED, "driver_not_loaded"),
        (Code.LIB_RM_VERSION_MISMATCH, "version_mismatch"),
        (Code.NO_PERMISSION, "no_permission"),
        (Code.UNKNOWN, "unknown"),
    ],
)
def test_a_driver_that_does_not_start_is_tried_again(bench: Bench, code: Code, reason: str) -> None:
    """The failure is counted by its reason, and when the driver is there it reads."""
    bench.driver.set([FakeGpu("GPU-a")], errors={INIT: code})
    state = bench.read()
    assert not state.answered
    assert not state.status.up
    assert state.status.errors[reason] > 0
    bench.driver.set([FakeGpu("GPU-a")])
    assert bench.until_fresh("GPU-a").answered


def test_a_library_that_comes_later_is_found(tmp_path: Path, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Without a driver library the log says where it was looked for and what to do; once it appears, all goes on."""
    Path(bench.driver.library).rename(tmp_path / "kept.so")
    state = bench.read()
    assert state.devices == ()
    assert state.status.errors["library_not_found"] > 0
    assert "/nowhere/libnvidia-ml.so.1" in caplog.text
    assert "gpuAccess" in caplog.text
    (tmp_path / "kept.so").rename(bench.driver.library)
    bench.driver.set([FakeGpu("GPU-a")])
    bench.until_fresh("GPU-a")


def test_a_library_that_does_not_load_is_named(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A file that is no library is not passed over in silence."""
    Path(bench.driver.library).write_text("not a library", encoding="utf-8")
    assert bench.read().status.errors["library_not_found"] > 0
    assert f"{bench.driver.library}: file too short" in caplog.text or "invalid ELF header" in caplog.text


def test_a_driver_without_gpus_is_no_answer(bench: Bench) -> None:
    """A driver that lists no GPU is asked again until it does."""
    state = bench.read()
    assert not state.answered
    assert state.status.errors["gpu_lost"] > 0
    bench.driver.set([FakeGpu("GPU-a")])
    bench.until_fresh("GPU-a")


@pytest.mark.parametrize(
    ("code", "reason"),
    [(Code.UNINITIALIZED, "driver_not_loaded"), (Code.LIB_RM_VERSION_MISMATCH, "version_mismatch")],
)
def test_a_reloaded_driver_is_initialised_anew(bench: Bench, code: Code, reason: str) -> None:
    """The library at the path is loaded again, in case it is a newer one, and core time starts anew."""
    bench.driver.set(TRIO, version="570.1")
    bench.read()
    bench.read()
    bench.driver.install()
    reloaded = [FakeGpu(gpu.uuid, samples=[FakeSample(7, 100, NOON_US + 1_500_000)]) for gpu in TRIO]
    bench.driver.set(reloaded, version="580.1", reloads=1, stale=code)
    state = bench.read()
    assert state.status.errors[reason] > 0
    until(lambda: len(bench.driver.calls(INIT)) > 1)
    state = bench.until_fresh("GPU-c")
    assert {device.driver for device in state.devices} == {"580.1"}
    assert f"{bench.driver.library} (deleted)" not in Path("/proc/self/maps").read_text(encoding="utf-8")


def test_a_gpu_that_did_not_survive_a_reload_stays_known(bench: Bench) -> None:
    """It is still a device, with its last reading growing old, and the others are read on."""
    bench.driver.set(TRIO)
    bench.read()
    bench.driver.set([TRIO[0], TRIO[2]], reloads=1)
    state = bench.until_fresh("GPU-c")
    assert {device.uuid for device in state.devices} == {"GPU-a", "GPU-b", "GPU-c"}
    assert state.readings["GPU-b"].clock == 5000.0


def test_no_handle_outlives_a_restart(bench: Bench) -> None:
    """A GPU not identified at a restart is looked up by its UUID then: its old handle points into nowhere."""
    gone = {"nvmlDeviceGetHandleByUUID": Code.NOT_FOUND}
    bench.driver.set([*TRIO[:2], FakeGpu("GPU-c", errors={**gone, "nvmlDeviceGetMigMode": Code.GPU_IS_LOST})])
    bench.read()
    shy = FakeGpu("GPU-b", errors={"nvmlDeviceGetUUID": Code.UNKNOWN})
    bench.driver.set([TRIO[0], shy, FakeGpu("GPU-c", errors=gone)])
    bench.seconds += LOST_PACE
    bench.until_fresh("GPU-c")
    bench.until_fresh("GPU-b")
    assert bench.driver.calls("nvmlDeviceGetHandleByUUID", "GPU-b")


def test_nvml_is_not_restarted_under_a_stuck_call(bench: Bench) -> None:
    """While one GPU's call hangs, a reload of the driver has to wait for it: NVML may not be shut down under a call."""
    bench.driver.set([FakeGpu("GPU-a"), FakeGpu("GPU-b", hangs={"nvmlDeviceGetPowerUsage": bench.gate})])
    bench.until_called("nvmlDeviceGetPowerUsage", "GPU-b")
    bench.driver.set([FakeGpu("GPU-a"), FakeGpu("GPU-b")], reloads=1)
    for _ in range(4):
        bench.read(timeout=0.1)
        time.sleep(0.02)
    state = bench.read(timeout=0.1)
    assert state.status.errors["driver_not_loaded"] == 1
    assert not bench.driver.calls("nvmlShutdown")
    bench.gate.unlink()
    bench.until_fresh("GPU-b")
    assert len(bench.driver.calls("nvmlShutdown")) == 1


def test_a_start_that_hangs_holds_nobody_up(bench: Bench) -> None:
    """Initialising takes place in a thread: the first `read` waits its timeout for it, no later one does."""
    bench.driver.set([FakeGpu("GPU-a")], hangs={INIT: bench.gate})
    begun = time.monotonic()
    assert not bench.read(timeout=0.2).answered
    assert not bench.read(timeout=20).answered
    assert time.monotonic() - begun < 5
    bench.seconds += 20
    assert bench.read().status.errors["timeout"] == 1
    bench.gate.unlink()
    bench.until_fresh("GPU-a")


def test_a_hijacked_exporter_reports_nothing(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """With HAMi's libvgpu in our own process every figure would be virtual: none is given, the log says what to do."""
    bench.driver.set([FakeGpu("GPU-a")])
    bench.hijack()
    state = bench.read()
    assert state.readings == {}
    assert not state.answered
    assert state.status.errors["hijacked"] > 0
    assert "hami.io/webhook=ignore" in caplog.text


# ---------------------------------------------------------------- the end


def test_closing_does_not_wait_for_a_stuck_call(bench: Bench) -> None:
    """`close` returns at once while a call hangs, and nothing is asked after it."""
    bench.driver.set([FakeGpu("GPU-a"), FakeGpu("GPU-b", hangs={"nvmlDeviceGetPowerUsage": bench.gate})])
    bench.until_called("nvmlDeviceGetPowerUsage", "GPU-b")
    begun = time.monotonic()
    bench.gpus.close()
    assert time.monotonic() - begun < 1
    asked = len(bench.driver.calls())
    bench.read()
    assert len(bench.driver.calls()) == asked
