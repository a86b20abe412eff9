"""The MIG instances of one GPU: which there are, and the memory and the processes of each.

An instance can go at any moment, and another one may get its handle. So all of them are looked up anew in each pass,
and nothing is remembered of any.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar

import pynvml

from exporter.errors import DriverError
from exporter.model import Device, DeviceReading
from exporter.sources import facts
from exporter.sources.driver import CallError, Scope, decoded
from exporter.sources.facts import NO_INSTANCE, Fact, ProcessLists, best, merged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from exporter.model import Memory
    from exporter.sources.driver import Handle
    from exporter.sources.facts import Listed

Answer = TypeVar("Answer")

#: How NVML says that there is no instance at an index, or none any more under a handle.
_GONE: Final = frozenset({pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_ERROR_INVALID_ARGUMENT})


@dataclass(frozen=True, slots=True)
class _Instance:
    """One instance; `place` are the IDs of its GPU instance and, within that, of its compute instance."""

    device: Device
    handle: Handle
    place: tuple[int, int]


class Instances:
    """The instances that one GPU has during one pass; `problems` is what goes wrong with some of them meanwhile."""

    def __init__(self, gpu: Device, handle: Handle) -> None:
        """Look them up by the handle of the whole `gpu`. All methods raise `CallError` if the driver went away."""
        self.problems: Final[list[DriverError]] = []
        self._refused = False
        self._found: Final = self._look_up(gpu, handle)

    def readings(self, listed: Sequence[Listed] | None, gpu: DeviceReading) -> tuple[DeviceReading, ...] | None:
        """Return the reading of each, by `place`; None if they may not be listed, or could not be.

        `gpu` is the reading under way, for its clocks. `listed` are the processes on the whole GPU; where they may not
        be read, or do not say on which instance they are, each instance is asked for its own.
        """
        if self._found is None:
            return None
        self._report_strays(listed or ())
        sharers = Counter(instance.place[0] for instance in self._found)
        return tuple(
            self._reading(instance, listed, gpu, shared=sharers[instance.place[0]] > 1) for instance in self._found
        )

    def process_list(self, readings: Iterable[DeviceReading] | None, own: str) -> str:
        """Return why the GPU's processes can be listed or not; `own` is the reason of the GPU's own lists."""
        reasons = [reading.capabilities["process_list"] for reading in readings or ()]
        return "no_permission" if self._refused else best(reasons or [own])

    def _look_up(self, gpu: Device, handle: Handle) -> list[_Instance] | None:
        """Return the instances that there are; None if that is not known, or all of them are forbidden."""
        count = self._try("number of MIG instances", partial(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle))
        if count is None:
            return None
        tried = [self._try(f"MIG instance {n}", partial(_identified, gpu, handle, n)) for n in range(count)]
        found = [instance for instance in tried if instance is not None]
        return None if self._refused and not found else sorted(found, key=lambda instance: instance.place)

    def _try(self, what: str, call: Callable[[], Answer]) -> Answer | None:
        """Return the answer; None if it is forbidden, the call failed, or there is no such instance (any more)."""
        try:
            return call()
        except pynvml.NVMLError as error:
            if error.value == pynvml.NVML_ERROR_NO_PERMISSION:
                self._refused = True
            elif error.value not in _GONE:
                self._note(CallError(what, error.value))
            return None

    def _ask(self, handle: Handle, fact: Fact[Answer]) -> Answer | None:
        """Return one fact of an instance; whatever fails costs the instance that fact, for it may be gone by now."""
        try:
            return fact.ask(handle)
        except CallError as error:
            self._note(error)
            return None

    def _note(self, error: CallError) -> None:
        """Keep a failure, unless it is the driver's; whether the whole GPU is lost, its own calls will tell."""
        if error.scope is Scope.DRIVER:
            raise error
        self.problems.append(error)

    def _report_strays(self, listed: Sequence[Listed]) -> None:
        """Note processes that are on none of the instances, unless it is known that some instances are not shown."""
        places = {instance.place for instance in self._found or ()}
        strays = {entry.process.pid for entry in listed if entry.place not in places}
        if strays and not self._refused:
            text = f"processes on no MIG instance that the driver lists: {len(strays)}, the lowest PID {min(strays)}"
            self.problems.append(DriverError("unknown", text))

    def _reading(
        self, instance: _Instance, listed: Sequence[Listed] | None, gpu: DeviceReading, *, shared: bool
    ) -> DeviceReading:
        memory, memory_reason = (None, "mig") if shared else self._memory(instance)
        ours = None if listed is None else _placed(listed, instance.place)
        lists = ProcessLists(f" of {instance.device.uuid}")
        if ours is None:
            ours = lists.ask(partial(self._ask, instance.handle))
        return DeviceReading(
            instance.device,
            wall=gpu.wall,
            clock=gpu.clock,
            boottime=gpu.boottime,
            memory=memory,
            processes=None if ours is None else merged(ours),
            capabilities=_capabilities(lists.reason, memory_reason),
        )

    def _memory(self, instance: _Instance) -> tuple[Memory | None, str]:
        """Return the memory of a GPU instance, and its capability's reason.

        NVML answers for the GPU instance, whichever compute instance is asked: among several it would count twice.
        """
        fact = Fact(f"memory of {instance.device.uuid}", facts.memory_v2, facts.memory_v1)
        return self._ask(instance.handle, fact), fact.newest


def _identified(gpu: Device, handle: Handle, index: int) -> _Instance:
    """Return the instance at an index of its GPU; raises pynvml's errors."""
    instance = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
    device = replace(
        gpu,
        uuid=decoded(pynvml.nvmlDeviceGetUUID(instance)),
        name=decoded(pynvml.nvmlDeviceGetName(instance)),
        parent=gpu.uuid,
    )
    place = pynvml.nvmlDeviceGetGpuInstanceId(instance), pynvml.nvmlDeviceGetComputeInstanceId(instance)
    return _Instance(device, instance, place)


def _placed(listed: Sequence[Listed], place: tuple[int, int]) -> list[Listed] | None:
    """Return the entries at a place; None if the driver leaves open whether others are there, too."""
    possible = [entry for entry in listed if all(map(_may_be, entry.place, place))]
    return possible if all(entry.place == place for entry in possible) else None


def _may_be(said: int, wanted: int) -> bool:
    return said in (wanted, NO_INSTANCE)


def _capabilities(process_list: str, memory: str) -> Mapping[str, str]:
    """Return what an instance can tell; core time is not booked per instance, the figures of a card are not divided."""
    whole = dict.fromkeys(("process_utilization", "energy", "power", "temperature", "xid"), "mig")
    return MappingProxyType({"process_list": process_list, "memory_v2": memory, **whole})
