"""What one GPU can be asked, by pynvml: the newest call first, older ones where a driver does not know it.

The functions take a handle and raise pynvml's errors; `Fact` asks by them, remembers what there is and wraps the rest.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

import pynvml

from exporter.model import GpuProcess, Memory, SmSample
from exporter.sources.driver import CallError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from exporter.sources.driver import Handle

#: What this GPU, driver or library does not have: not an error, and not asked for again.
_NOT_HERE: Final = frozenset(
    {
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
        pynvml.NVML_ERROR_DEPRECATED,
        pynvml.NVML_ERROR_NO_PERMISSION,
    }
)
#: How NVML says that nobody used the GPU since; pynvml raises even a success without samples.
_IDLE: Final = frozenset({pynvml.NVML_SUCCESS, pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_ERROR_NO_DATA})
_UNFILLED: Final = 2**64 - 1  # "a field that the driver cannot fill is all ones"
_UNFILLED_INT: Final = 2**32 - 1
_ATTEMPTS: Final = 5  # a list that grows between "how many?" and "which?" is asked for again
#: In a process list: on no MIG instance, or the driver does not say on which.
NO_INSTANCE: Final = 2**32 - 1

Answer = TypeVar("Answer")


class Fact(Generic[Answer]):
    """One thing to ask a GPU for, by the newest call that it knows; what it does not know is not asked again."""

    def __init__(self, what: str, *calls: Callable[..., Answer]) -> None:
        """`what` names it in messages; `calls` come newest first and take a handle, then what `ask` is given."""
        self._what: Final = what
        self._calls: Final = list(calls)
        self._fell_back = False
        self.reason = "supported"

    @property
    def newest(self) -> str:
        """The reason as it stands for the newest of the calls: an older one that answers does not count."""
        return "not_supported" if self._fell_back and self.reason == "supported" else self.reason

    def ask(self, handle: Handle, *arguments: object) -> Answer | None:
        """Return the answer, or None if `reason` says that there is none to be had; raises `CallError`."""
        while self._calls:
            try:
                return _again(self._calls[0], handle, *arguments)
            except pynvml.NVMLError as error:
                if not self._gives_way(error.value):
                    raise CallError(self._what, error.value) from error
                self._drop(error.value)
        return None

    def _gives_way(self, code: int) -> bool:
        """Tell whether to do without this call; a call that is too new may also dislike its argument."""
        return code in _NOT_HERE or (code == pynvml.NVML_ERROR_INVALID_ARGUMENT and len(self._calls) > 1)

    def _drop(self, code: int) -> None:
        del self._calls[0]
        self._fell_back = True
        if not self._calls:
            self.reason = "no_permission" if code == pynvml.NVML_ERROR_NO_PERMISSION else "not_supported"


def _again(call: Callable[..., Answer], *arguments: object) -> Answer:
    """Call, and call again if the answer outgrew its buffer meanwhile."""
    for _ in range(_ATTEMPTS - 1):
        with contextlib.suppress(pynvml.NVMLError_InsufficientSize):
            return call(*arguments)
    return call(*arguments)


def memory_v2(handle: Handle) -> Memory | None:
    """Return the memory with the driver's own reserve apart; None if the driver leaves it open."""
    info = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    return None if _UNFILLED in (info.total, info.used) else Memory(info.total, info.used, info.reserved)


def memory_v1(handle: Handle) -> Memory | None:
    """Return the memory with the driver's own reserve counted as used."""
    info = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return None if _UNFILLED in (info.total, info.used) else Memory(info.total, info.used, None)


class Listed(NamedTuple):
    """One entry of a process list; `place` are the IDs of its GPU instance and compute instance, or `NO_INSTANCE`."""

    process: GpuProcess
    place: tuple[int, int]


class ProcessLists:
    """The lists that name the processes of a GPU or MIG instance: who computes, who draws, who is an MPS client."""

    def __init__(self, of: str = "") -> None:
        """Know nothing yet of which of them there are; `of` ends their names in messages."""
        self._facts: Final = (
            Fact(
                f"list of compute processes{of}",
                _listing(pynvml.nvmlDeviceGetComputeRunningProcesses_v3),
                _listing(pynvml.nvmlDeviceGetComputeRunningProcesses_v2),
            ),
            Fact(
                f"list of graphics processes{of}",
                _listing(pynvml.nvmlDeviceGetGraphicsRunningProcesses_v3),
                _listing(pynvml.nvmlDeviceGetGraphicsRunningProcesses_v2),
            ),
            Fact(
                f"list of MPS clients{of}",
                _listing(pynvml.nvmlDeviceGetMPSComputeRunningProcesses_v3, mps=True),
                _listing(pynvml.nvmlDeviceGetMPSComputeRunningProcesses_v2, mps=True),
            ),
        )

    @property
    def reason(self) -> str:
        """Why there is no list, if there is none, for `vgpu_device_capability_info`."""
        return best(fact.reason for fact in self._facts)

    def ask(self, ask: Callable[[Fact[Sequence[Listed]]], Sequence[Listed] | None]) -> list[Listed] | None:
        """Return the entries of all lists that there are; None if one of those is not readable, or there is none.

        `ask` gets a fact's answer, and sees to its failure.
        """
        answers = [ask(fact) for fact in self._facts]
        missing = [fact.reason for fact, answer in zip(self._facts, answers, strict=True) if answer is None]
        if len(missing) == len(answers) or any(reason != "not_supported" for reason in missing):
            return None
        return [entry for answer in answers if answer for entry in answer]


def _listing(function: Callable[[Handle], Any], *, mps: bool = False) -> Callable[[Handle], Sequence[Listed]]:
    """Make a list function of NVML return our values; pynvml has turned a size of all ones into None."""
    return lambda handle: [
        Listed(GpuProcess(info.pid, info.usedGpuMemory, mps), (info.gpuInstanceId, info.computeInstanceId))
        for info in function(handle)
    ]


def merged(listed: Iterable[Listed]) -> tuple[GpuProcess, ...]:
    """Return one process per PID: a client of an MPS server, say, is in two lists."""
    processes: dict[int, GpuProcess] = {}
    for process, _ in listed:
        known = processes.get(process.pid)
        processes[process.pid] = process if known is None else _joined(known, process)
    return tuple(processes.values())


def _joined(one: GpuProcess, other: GpuProcess) -> GpuProcess:
    """Two lists' words on one process: the larger figure, None only if neither has one."""
    figures = [used for used in (one.used, other.used) if used is not None]
    return GpuProcess(one.pid, max(figures, default=None), one.mps or other.mps)


def best(reasons: Iterable[str]) -> str:
    """Return the reason that says most of several lists: forbidden hides processes, missing does not."""
    found = set(reasons)
    return next(reason for reason in ("no_permission", "supported", "not_supported") if reason in found)


def new_samples(handle: Handle, last_seen_us: int) -> tuple[SmSample, ...]:
    """Return each PID's SM share since a stamp of the driver (Unix µs), by the newer call."""
    return _samples(pynvml.nvmlDeviceGetProcessesUtilizationInfo, handle, last_seen_us)


def old_samples(handle: Handle, last_seen_us: int) -> tuple[SmSample, ...]:
    """Return the same by the call that older drivers have."""
    return _samples(pynvml.nvmlDeviceGetProcessUtilization, handle, last_seen_us)


def _samples(function: Callable[[Handle, int], Any], handle: Handle, last_seen_us: int) -> tuple[SmSample, ...]:
    try:
        samples = function(handle, last_seen_us)
    except pynvml.NVMLError as error:
        if error.value in _IDLE:
            return ()
        raise
    # Places that the driver did not fill have PID 0.
    return tuple(SmSample(s.pid, s.timeStamp, float(s.smUtil)) for s in samples if s.pid and s.smUtil != _UNFILLED_INT)


def device_samples(handle: Handle, last_seen_us: int) -> tuple[tuple[int, float], ...]:
    """Return the GPU's own utilisation since a stamp: (Unix µs, percent) about every 200 ms, oldest first."""
    try:
        kind, samples = pynvml.nvmlDeviceGetSamples(handle, pynvml.NVML_GPU_UTILIZATION_SAMPLES, last_seen_us)
    except pynvml.NVMLError as error:
        if error.value in _IDLE:
            return ()
        raise
    if kind != pynvml.NVML_VALUE_TYPE_UNSIGNED_INT:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    return tuple(sorted((int(sample.timeStamp), float(sample.sampleValue.uiVal)) for sample in samples))


def utilization(handle: Handle) -> float:
    """Return the share of the time in which any kernel ran, as a ratio."""
    return float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100


def power(handle: Handle) -> float:
    """Return the power drawn, in watts."""
    return float(pynvml.nvmlDeviceGetPowerUsage(handle)) / 1e3


def energy(handle: Handle) -> float:
    """Return the energy used since the driver was loaded, in joules."""
    return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3


def new_temperature(handle: Handle) -> float:
    """Return the chip's temperature in degrees Celsius, by the newer call."""
    return float(pynvml.nvmlDeviceGetTemperatureV(handle, pynvml.NVML_TEMPERATURE_GPU))


def old_temperature(handle: Handle) -> float:
    """Return the same by the call that is deprecated since."""
    return float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))


def mig(handle: Handle) -> bool:
    """Tell whether the GPU is cut into MIG instances."""
    current, _ = pynvml.nvmlDeviceGetMigMode(handle)
    return bool(current == pynvml.NVML_DEVICE_MIG_ENABLE)
