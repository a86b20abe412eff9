"""XID events in the driver's edge, by real pynvml, against a fake driver library (`tests/fake_driver.py`)."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from exporter.model import XidEvents
from exporter.sources.nvml import NvmlGpus
from exporter.sources.xid import HIGHEST, MOST_UNKNOWN
from exporter.xids import KNOWN
from tests.fake_driver import XIDS, Code, FakeDriver, FakeGpu
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from exporter.model import DriverState

NOON = 1_800_000_000.0
CREATE, FREE = "nvmlEventSetCreate", "nvmlEventSetFree"
REGISTER = "nvmlDeviceRegisterEvents"
WAIT, OLD_WAIT = "nvmlEventSetWait_v2", "nvmlEventSetWait"
SHUTDOWN = "nvmlShutdown"
LOST = {"*": Code.GPU_IS_LOST}


def gpu(uuid: str = "GPU-a", **fields: Any) -> FakeGpu:  # noqa: ANN401  any other field of a FakeGpu
    """Return a GPU that tells of XID events."""
    return FakeGpu(uuid, **({"events": XIDS} | fields))


class Bench:
    """A fake driver, one clock that the test moves, and the source under test, waited for at the end."""

    def __init__(self, directory: Path) -> None:
        self.driver = FakeDriver(directory)
        self.seconds = 0.0
        self.gate = directory / "gate"  # a call that hangs on it goes on when it is gone
        self.gate.touch()
        maps = directory / "maps"
        maps.touch()
        self._maps = str(maps)
        self._gpus: NvmlGpus | None = None

    @property
    def gpus(self) -> NvmlGpus:
        """The source, started at its first use."""
        if self._gpus is None:
            self._gpus = NvmlGpus(
                1.0,
                [self.driver.library],
                maps=self._maps,
                clock=lambda: 5000 + self.seconds,
                wall=lambda: NOON + self.seconds,
                retry=(0.01, 0.02),
            )
        return self._gpus

    def read(self, timeout: float = 5.0) -> DriverState:
        """Read a second after the last time."""
        self.seconds += 1
        return self.gpus.read(timeout)

    def of(self, uuid: str = "GPU-a", code: int = 31) -> XidEvents | None:
        """Return what is counted now, without moving the clock; None: nothing is published."""
        return self.gpus.read(0).xids.get((uuid, code))

    def count(self, uuid: str = "GPU-a", code: int = 31) -> int:
        """Return how many are counted now."""
        events = self.of(uuid, code)
        return events.count if events else 0

    def happens(self, uuid: str = "GPU-a", code: int = 31) -> None:
        """Have an event happen, and wait until it is counted."""
        before = self.count(uuid, code)
        self.driver.xid(uuid, code)
        until(lambda: self.count(uuid, code) == before + 1)

    def until_registered(self, *uuids: str) -> None:
        """Read, and let the wait under way end early, until each of these GPUs was registered once more."""
        before = {uuid: len(self.driver.calls(REGISTER, uuid)) for uuid in uuids}

        def registered() -> bool:
            self.read()
            self.driver.interrupt()
            return all(len(self.driver.calls(REGISTER, uuid)) > count for uuid, count in before.items())

        until(registered)

    def until_called(self, function: str, times: int = 1) -> None:
        """Read until the driver has been asked this so often."""

        def called() -> bool:
            self.read()
            return len(self.driver.calls(function)) >= times

        until(called)

    def until_waiting(self) -> None:
        """Return once the driver is asked to wait."""
        until(lambda: self.driver.calls(WAIT))

    def close(self) -> None:
        """Let every call come back, and wait for the source's threads."""
        self.gate.unlink(missing_ok=True)
        if self._gpus is not None:
            self._gpus.close()
        self.driver.interrupt()
        until(lambda: not any(thread.name.startswith(("gpu-", "nvml")) for thread in threading.enumerate()))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A bench without a GPU yet."""
    bench = Bench(tmp_path)
    yield bench
    bench.close()


# ---------------------------------------------------------------- events


def test_an_event_is_counted_on_its_gpu_with_its_time(bench: Bench) -> None:
    """Of two GPUs the one that it happened to has one more, stamped now, and the other none."""
    bench.driver.set([gpu("GPU-a"), gpu("GPU-b")])
    bench.read()
    bench.seconds += 7
    bench.happens("GPU-b", 48)
    bench.seconds += 7
    assert bench.of("GPU-b", 48) == XidEvents(1, NOON + 8)
    assert bench.of("GPU-a", 48) == XidEvents(0, None)
    bench.happens("GPU-b", 48)
    assert bench.of("GPU-b", 48) == XidEvents(2, NOON + 15)


def test_known_codes_are_there_from_0_at_the_first_reading(bench: Bench) -> None:
    """A GPU that tells of XIDs has every known code at once, without a time, so that the first event is an increase."""
    bench.driver.set([gpu()])
    state = bench.read()
    assert state.xids == {("GPU-a", code): XidEvents(0, None) for code in KNOWN}
    assert state.readings["GPU-a"].capabilities["xid"] == "supported"


def test_an_unknown_code_appears_when_it_happens(bench: Bench) -> None:
    """A code that is in no table is counted from its first event."""
    bench.driver.set([gpu()])
    assert ("GPU-a", 4711) not in bench.read().xids
    bench.happens(code=4711)
    assert bench.of(code=4711) == XidEvents(1, NOON + 1)


def test_made_up_codes_cannot_make_series_without_end(bench: Bench) -> None:
    """Beyond so many unknown codes, or above the highest, none is added; those that are there go on counting."""
    bench.driver.set([gpu()])
    bench.read()
    bench.driver.xid("GPU-a", HIGHEST + 1)
    for code in range(1000, 1000 + MOST_UNKNOWN + 5):
        bench.driver.xid("GPU-a", code)
    bench.happens(code=31)
    bench.happens(code=1000)
    codes = {code for _, code in bench.gpus.read(0).xids}
    assert codes == set(KNOWN) | set(range(1000, 1000 + MOST_UNKNOWN))


def test_no_wait_is_longer_than_a_second(bench: Bench) -> None:
    """NVML can be asked to start anew at any time, and a wait must be over by then."""
    bench.driver.set([gpu()])
    bench.read()
    for _ in range(3):
        bench.happens()
    assert {call.last_seen_us for call in bench.driver.calls(WAIT)} == {1000}


def test_an_older_driver_waits_by_the_older_call(bench: Bench) -> None:
    """A library from before MIG has the call under its first name, which is then used for good."""
    bench.driver.set([gpu()], errors={WAIT: Code.FUNCTION_NOT_FOUND})
    bench.read()
    bench.happens()
    bench.happens(code=79)
    assert len(bench.driver.calls(WAIT)) == 1
    assert {call.last_seen_us for call in bench.driver.calls(OLD_WAIT)} == {1000}


def test_waiting_does_not_hold_up_the_readings(bench: Bench) -> None:
    """While the driver is waited for, the GPUs are read as ever."""
    bench.driver.set([gpu()])
    bench.read()
    bench.until_waiting()
    for _ in range(3):
        state = bench.read()
        assert state.readings["GPU-a"].clock == state.now


# ---------------------------------------------------------------- GPUs that do not tell


@pytest.mark.parametrize("events", [None, 0, 4], ids=["no such call", "no events", "other events"])
def test_a_gpu_without_such_events_has_none_and_says_so(bench: Bench, events: int | None) -> None:
    """Absent beats 0: nothing is published, no set is made, and that is no failure."""
    bench.driver.set([gpu(events=events)])
    state = bench.read()
    assert state.xids == {}
    assert state.readings["GPU-a"].capabilities["xid"] == "not_supported"
    assert not any(state.status.errors.values())
    assert not bench.driver.calls(CREATE)


@pytest.mark.parametrize(
    ("code", "reason"), [(Code.NO_PERMISSION, "no_permission"), (Code.NOT_SUPPORTED, "not_supported")]
)
def test_a_gpu_that_refuses_costs_itself_only(bench: Bench, code: Code, reason: str) -> None:
    """Its capability says why; it is not asked again, and the other GPU's events are counted."""
    bench.driver.set([gpu("GPU-a", errors={REGISTER: code}), gpu("GPU-b")])
    state = bench.read()
    assert {uuid: one.capabilities["xid"] for uuid, one in state.readings.items()} == {
        "GPU-a": reason,
        "GPU-b": "supported",
    }
    assert {uuid for uuid, _ in state.xids} == {"GPU-b"}
    bench.happens("GPU-b")
    bench.read()
    assert len(bench.driver.calls(REGISTER, "GPU-a")) == 1


@pytest.mark.parametrize("function", [CREATE, WAIT])
def test_what_is_refused_for_all_is_the_reason_of_all(bench: Bench, function: str) -> None:
    """If no set may be made, or waited for, no GPU tells of XIDs, and it is not tried over and over."""
    errors = {function: Code.NO_PERMISSION, OLD_WAIT: Code.NO_PERMISSION}
    bench.driver.set([gpu("GPU-a"), gpu("GPU-b")], errors=errors)
    until(lambda: {r.capabilities["xid"] for r in bench.read().readings.values()} == {"no_permission"})
    state = bench.read()
    assert state.xids == {}
    assert not any(state.status.errors.values())
    assert len(bench.driver.calls(REGISTER)) <= 2


# ---------------------------------------------------------------- trouble


def test_nvml_starts_anew_only_when_the_set_is_given_back(bench: Bench) -> None:
    """The wait ends, the set is freed, NVML is shut down; after that events are counted on, from where they were."""
    bench.driver.set([gpu("GPU-a"), gpu("GPU-b")])
    bench.read()
    bench.happens("GPU-b")
    bench.driver.set([gpu("GPU-a"), gpu("GPU-b")], reloads=1)
    bench.until_registered("GPU-a", "GPU-b")
    calls = [call.function for call in bench.driver.calls()]
    shut = calls.index(SHUTDOWN)
    assert calls[:shut].count(CREATE) == calls[:shut].count(FREE) == 1
    assert WAIT not in calls[calls.index(FREE) : shut]
    bench.happens("GPU-b")
    assert bench.count("GPU-b") == 2


def test_a_start_waits_no_longer_than_one_wait(bench: Bench) -> None:
    """A reloaded driver is initialised anew within a second or so although nothing happens on the GPU."""
    bench.driver.set([gpu()])
    bench.read()
    bench.until_waiting()
    begun = time.monotonic()
    bench.driver.set([gpu()], reloads=1)
    bench.until_called(SHUTDOWN)
    assert time.monotonic() - begun < 5


def test_a_wait_that_hangs_holds_nobody_up(bench: Bench) -> None:
    """`read` goes on, the stall counts once, NVML is not shut down under it, and `close` does not wait for it."""
    bench.driver.set([gpu()], hangs={WAIT: bench.gate})
    bench.read()
    bench.until_waiting()
    begun = time.monotonic()
    for _ in range(3):
        bench.seconds += 20
        bench.read()
    state = bench.read()
    assert state.readings["GPU-a"].clock == state.now
    assert state.status.errors["timeout"] == 1
    bench.driver.set([gpu()], reloads=1)
    for _ in range(5):
        bench.read(timeout=0.1)
    assert not bench.driver.calls(SHUTDOWN)
    bench.gpus.close()
    assert time.monotonic() - begun < 5


def test_a_wait_that_comes_back_lets_nvml_start_anew(bench: Bench) -> None:
    """What a stuck wait delayed happens after it."""
    bench.driver.set([gpu()], hangs={WAIT: bench.gate})
    bench.read()
    bench.until_waiting()
    bench.driver.set([gpu()], reloads=1)
    bench.read()
    bench.gate.unlink()
    bench.until_registered("GPU-a")
    bench.happens()


def test_a_registration_that_hangs_costs_the_first_reading_its_patience_only(bench: Bench) -> None:
    """The first `read` returns within its timeout, and the later ones wait for nothing but the readings."""
    bench.driver.set([gpu(hangs={REGISTER: bench.gate})])
    begun = time.monotonic()
    bench.read(timeout=0.2)
    until(lambda: "GPU-a" in bench.read(timeout=20).readings)
    assert time.monotonic() - begun < 5
    assert bench.of() is None
    bench.gate.unlink()
    until(lambda: bench.of() is not None)


def test_counts_outlive_the_gpu(bench: Bench) -> None:
    """XID 79 is how a GPU goes: its count and time stay while it no longer answers, whatever NVML is made to do."""
    bench.driver.set([gpu()])
    bench.read()
    bench.happens(code=79)
    bench.driver.set([gpu(errors=LOST | {"nvmlDeviceGetHandleByUUID": Code.NOT_FOUND})])
    bench.driver.interrupt()
    bench.until_called(SHUTDOWN)
    bench.seconds += 20
    state = bench.read()
    assert not state.status.up
    assert state.xids["GPU-a", 79] == XidEvents(1, NOON + 1)


def test_a_lost_gpu_that_answers_again_is_registered_again(bench: Bench) -> None:
    """While one of two GPUs is lost the other's events are counted; when it is back, its own, too."""
    bench.driver.set([gpu("GPU-a"), gpu("GPU-b")])
    bench.read()
    bench.driver.set([gpu("GPU-a"), gpu("GPU-b", errors=LOST)])
    bench.read()
    bench.happens("GPU-a")
    bench.driver.set([gpu("GPU-a"), gpu("GPU-b")])
    bench.until_registered("GPU-b")
    bench.happens("GPU-b")
    bench.happens("GPU-a")
    assert not bench.driver.calls(SHUTDOWN)


@pytest.mark.parametrize(("code", "reason"), [(Code.GPU_IS_LOST, "gpu_lost"), (Code.UNKNOWN, "unknown")])
def test_a_set_that_fails_is_made_anew_but_not_in_a_spin(bench: Bench, code: Code, reason: str) -> None:
    """A wait that fails at once is tried again after a while only, is counted, and counts again when it works."""
    bench.driver.set([gpu()], errors={WAIT: code})
    bench.read()
    until(lambda: bench.gpus.read(0).status.errors[reason] == 1)
    for _ in range(20):
        bench.gpus.read(1)
    assert len(bench.driver.calls(WAIT)) == 1
    bench.until_called(WAIT, times=2)
    assert bench.read().readings["GPU-a"].capabilities["xid"] == "supported"
    bench.driver.set([gpu()])

    def counted() -> bool:
        bench.read()
        bench.driver.xid("GPU-a", 31)
        return bench.count() > 0

    until(counted)


def test_a_gpu_that_fails_to_register_is_asked_again(bench: Bench) -> None:
    """An unknown error costs that GPU its events for a while, and the other GPU nothing."""
    bench.driver.set([gpu("GPU-a", errors={REGISTER: Code.UNKNOWN}), gpu("GPU-b")])
    state = bench.read()
    assert {uuid for uuid, _ in state.xids} == {"GPU-b"}
    assert state.status.errors["unknown"] == 1
    bench.happens("GPU-b")
    bench.driver.set([gpu("GPU-a"), gpu("GPU-b")])
    bench.read()
    bench.driver.interrupt()
    until(lambda: bench.of("GPU-a") is not None)
    bench.happens("GPU-a")
    assert bench.count("GPU-b") == 1


def test_a_gpu_that_comes_with_a_new_start_is_watched(bench: Bench) -> None:
    """After a reload of the driver that brought a second GPU, both tell of their events."""
    bench.driver.set([gpu("GPU-a")])
    bench.read()
    bench.driver.set([gpu("GPU-a"), gpu("GPU-b")], reloads=1)
    bench.until_registered("GPU-a", "GPU-b")
    bench.happens("GPU-b")
    bench.happens("GPU-a")


# ---------------------------------------------------------------- the end


def test_closing_ends_the_watch(bench: Bench) -> None:
    """After `close` the set is given back, and nothing is asked any more."""
    bench.driver.set([gpu()])
    bench.read()
    bench.until_waiting()
    bench.gpus.close()
    bench.driver.interrupt()
    until(lambda: not any(thread.name == "nvml-xid" for thread in threading.enumerate()))
    assert bench.driver.calls()[-1].function == FREE
