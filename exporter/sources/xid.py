"""XID events: the faults that the driver reports, counted by GPU and code from NVML's event set.

One daemon thread registers every GPU that is being read and waits, at most a second at a time, so that it is soon out
of the driver when NVML has to be initialised anew. The counts are ours, not the set's: they outlive a restart of NVML
and the GPU itself, for XID 79 ("fallen off the bus") is what comes when a GPU goes.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import pynvml

from exporter.errors import DriverError
from exporter.model import XidEvents
from exporter.sources.backoff import Backoff
from exporter.sources.driver import CallError
from exporter.sources.facts import Fact
from exporter.sources.flight import Flight, guarded
from exporter.xids import KNOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.model import DeviceReading
    from exporter.sources.driver import Handle
    from exporter.sources.gpu import Gpu
    from exporter.sources.health import Health

#: Milliseconds for which one wait lasts at most: so long may NVML's next start be held up.
WAIT_MS: Final = 1000
#: Of a GPU's codes that are not in `KNOWN` so many are counted, none of them above `HIGHEST`: a series each.
MOST_UNKNOWN: Final = 8
HIGHEST: Final = 65535


class XidWatch:
    """The thread and its counts; all methods want the lock held that `turn` is."""

    def __init__(
        self,
        turn: threading.Condition,
        gpus: Callable[[], Mapping[str, Gpu]],
        health: Health,
        clock: Callable[[], float],
        wall: Callable[[], float],
        retry: tuple[float, float],
    ) -> None:
        """`gpus` says, under the lock, which GPUs to watch, by UUID: none while NVML is to be initialised anew.

        `turn` is notified whenever that changes. `clock`, `wall` and `retry` are the source's.
        """
        self._turn: Final = turn
        self._gpus: Final = gpus
        self._health: Final = health
        self._clock: Final = clock
        self._wall: Final = wall
        self._backoff: Final = Backoff(*retry)
        self._closed = False
        self._not_before = 0.0
        self._taken: dict[str, Gpu] = {}  # those that were asked to register, whatever they answered
        self._reasons: dict[str, str] = {}
        self._counts: dict[str, dict[int, XidEvents]] = {}
        #: In flight: the set exists, so NVML may not be shut down; since the newest wait began.
        self.flight: Final = Flight()
        threading.Thread(target=self._run, name="nvml-xid", daemon=True).start()

    # ------------------------------------------------------------ what the source sees

    def close(self) -> None:
        """Have the thread end, once the driver lets go of it."""
        self._closed = True

    def settled(self) -> bool:
        """Tell whether every GPU was asked whether it tells of such events."""
        return not self._outdated()

    def with_capability(self, reading: DeviceReading) -> DeviceReading:
        """Return a reading with what its GPU can tell of XID events, `supported` unless the driver said otherwise."""
        reason = self._reasons.get(reading.device.uuid, "supported")
        return replace(reading, capabilities=MappingProxyType({**reading.capabilities, "xid": reason}))

    def counts(self) -> Mapping[tuple[str, int], XidEvents]:
        """Return the events since the program started, by UUID and code, of GPUs that tell of them."""
        told = {uuid: codes for uuid, codes in self._counts.items() if self._reasons.get(uuid) == "supported"}
        return MappingProxyType(
            {(uuid, code): events for uuid, codes in told.items() for code, events in codes.items()}
        )

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        """Watch one set until it is out of date or fails, then the next."""
        while (gpus := self._next()) is not None:
            events = _EventSet()
            outcome = guarded(partial(self._watch, events, gpus))
            events.free()
            if isinstance(outcome, DriverError):
                self._health.failed(outcome.reason, f"XID events: {outcome}", part="XID events")
            with self._turn:
                if isinstance(outcome, DriverError):
                    self._put_off()
                if events.uuids or isinstance(outcome, DriverError):
                    self._taken = {}
                self.flight.end()
                self._turn.notify_all()

    def _next(self) -> dict[str, Gpu] | None:
        """Wait until there is a GPU to register, and return all; None: closed."""
        with self._turn:
            self._turn.wait_for(lambda: self._closed or self._outdated())
            if self._closed:
                return None
            self.flight.begin(self._clock())
            return dict(self._gpus())

    def _outdated(self) -> bool:
        """Tell whether there is a GPU that was not taken into the set, unless it is too early to make another."""
        gpus = self._gpus().items()
        return self._clock() >= self._not_before and any(self._taken.get(uuid) is not gpu for uuid, gpu in gpus)

    def _put_off(self) -> None:
        """Make no other set for a while: a driver that fails at once would have us spin."""
        self._not_before = self._clock() + self._backoff.next()

    def _watch(self, events: _EventSet, gpus: dict[str, Gpu]) -> None:
        """Register these GPUs and count their events until other GPUs, or none, are to be watched."""
        complete = self._register(events, gpus)
        while events.uuids and self._may_wait():
            event = events.wait()
            if event is not None:
                self._count(*event)
            if events.reason != "supported":
                self._answered(dict.fromkeys(events.uuids.values(), events.reason))
                events.uuids.clear()
            if complete:
                self._backoff.reset()

    def _register(self, events: _EventSet, gpus: dict[str, Gpu]) -> bool:
        """Register these GPUs; False: some failed, and are to be asked again after a while."""
        answers = {uuid: self._ask(events, uuid, gpu) for uuid, gpu in gpus.items()}
        reasons = {uuid: reason for uuid, reason in answers.items() if reason is not None}
        with self._turn:
            self._answered(reasons)
            self._taken = {uuid: gpus[uuid] for uuid in reasons}
            if len(reasons) < len(gpus):
                self._put_off()
            self._turn.notify_all()
        return len(reasons) == len(gpus)

    def _ask(self, events: _EventSet, uuid: str, gpu: Gpu) -> str | None:
        """Register one GPU; return its capability's reason, None if that cannot be said: it failed."""
        try:
            return events.register(uuid, gpu.handle)
        except CallError as error:
            self._health.failed(error.reason, f"{uuid}: {error}", part=f"{uuid}, XID events")
            return None

    def _may_wait(self) -> bool:
        """Tell whether to wait once more."""
        with self._turn:
            if self._closed or not self._gpus() or self._outdated():
                return False
            self.flight.begin(self._clock())
            return True

    def _answered(self, reasons: Mapping[str, str]) -> None:
        """Remember which GPUs tell of XID events, with the known codes at 0, and why others do not."""
        with self._turn:
            self._reasons.update(reasons)
            for uuid in reasons:
                self._counts.setdefault(uuid, dict.fromkeys(KNOWN, XidEvents(0, None)))

    def _count(self, uuid: str, code: int) -> None:
        """Count one event; a driver that makes up codes cannot make up series without end."""
        with self._turn:
            codes = self._counts[uuid]
            if code in codes or (code <= HIGHEST and len(codes) < len(KNOWN) + MOST_UNKNOWN):
                count = codes[code].count if code in codes else 0
                codes[code] = XidEvents(count + 1, self._wall())


class _EventSet:
    """NVML's event set, made when a GPU is registered that tells of events; any call of it can hang."""

    def __init__(self) -> None:
        self.uuids: Final[dict[int, str]] = {}  # by the address that is NVML's handle: events bear the same
        self._set: Any = None
        self._wait: Final = Fact("the wait for XID events", _new_wait, _old_wait)

    @property
    def reason(self) -> str:
        """Whether there is a way to wait; known once it was tried."""
        return self._wait.reason

    def register(self, uuid: str, handle: Handle) -> str:
        """Have XID events of a GPU come here; return why not, or `supported`. Raises `CallError`."""
        fact = Fact("XID events", self._register)
        if fact.ask(handle):
            self.uuids[_address(handle)] = uuid
        return fact.reason

    def _register(self, handle: Handle) -> bool:
        if not pynvml.nvmlDeviceGetSupportedEventTypes(handle) & pynvml.nvmlEventTypeXidCriticalError:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        self._set = self._set or pynvml.nvmlEventSetCreate()
        pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, self._set)
        return True

    def wait(self) -> tuple[str, int] | None:
        """Return the next event, as UUID of the whole GPU and code, or None if there is none within `WAIT_MS`.

        Raises `CallError`: the set is of no use any more.
        """
        event = self._wait.ask(self._set)
        return None if event is None else (self.uuids[_address(event.device)], int(event.eventData))

    def free(self) -> None:
        """Give the set back; after a reload of the driver that fails, and need not succeed."""
        if self._set is not None:
            with contextlib.suppress(pynvml.NVMLError):
                pynvml.nvmlEventSetFree(self._set)


def _address(handle: Handle) -> int:
    return ctypes.addressof(handle.contents)


def _new_wait(events: Any) -> Any:  # noqa: ANN401 - pynvml has no types
    """Wait by the call that knows of MIG instances; an event of one bears the handle of its GPU."""
    with contextlib.suppress(pynvml.NVMLError_Timeout):
        return pynvml.nvmlEventSetWait_v2(events, WAIT_MS)
    return None


def _old_wait(events: Any) -> Any:  # noqa: ANN401 - pynvml has no types
    """Wait by the call of drivers before MIG, which pynvml does not offer; it fills the first part of the struct."""
    event = pynvml.c_nvmlEventData_t()
    wait = pynvml._nvmlGetFunctionPointer("nvmlEventSetWait")  # noqa: SLF001
    with contextlib.suppress(pynvml.NVMLError_Timeout):
        pynvml._nvmlCheckReturn(wait(events, ctypes.byref(event), ctypes.c_uint(WAIT_MS)))  # noqa: SLF001
        return event
    return None
