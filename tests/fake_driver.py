"""A driver to order: a real `libnvidia-ml.so.1` (`fake_nvml/`), built here, that answers what a test tells it.

driver = FakeDriver(tmp_path)
driver.set([FakeGpu("GPU-a", processes=[FakeProcess(4711, 2 * GIB)], samples=[FakeSample(4711, 40)])])
gpus = NvmlGpus(1.0, [driver.library])

What is set holds from the next call on, in this process and in others. Each `FakeDriver` is a library file of its own.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

MIB: Final = 2**20
GIB: Final = 2**30
#: The type of event that is an XID.
XIDS: Final = 8
_SOURCES: Final = Path(__file__).parent / "fake_nvml"


class Code(IntEnum):
    """NVML's return codes that tests need."""

    UNINITIALIZED = 1
    INVALID_ARGUMENT = 2
    NOT_SUPPORTED = 3
    NO_PERMISSION = 4
    NOT_FOUND = 6
    DRIVER_NOT_LOADED = 9
    FUNCTION_NOT_FOUND = 13
    GPU_IS_LOST = 15
    LIB_RM_VERSION_MISMATCH = 18
    UNKNOWN = 999


class Call(NamedTuple):
    """One call that the library received; `uuid` is `-` for the driver, `last_seen_us` 0 where there is none.

    A wait for events has its milliseconds there, a registration the mask of its types.
    """

    function: str
    uuid: str
    last_seen_us: int


@dataclass(frozen=True)
class FakeProcess:
    """A process in the `lists` given by letter: c(ompute), g(raphics), m(ps); `used` bytes, None: "not available".

    `place` are a GPU instance and a compute instance that the lists name; None: its own instance, on a whole GPU none.
    """

    pid: int
    used: int | None
    lists: str = "c"
    place: tuple[int, int] | None = None


@dataclass(frozen=True)
class FakeSample:
    """A PID's SM share in percent, stamped in Unix microseconds; 0: a moment ago, whenever one asks."""

    pid: int
    sm: int
    stamp_us: int = 0


@dataclass(frozen=True)
class FakeMemory:
    """Bytes of memory."""

    total: int = 141 * GIB
    reserved: int = 615 * MIB
    used: int = 0


@dataclass(frozen=True)
class FakeInstance:
    """One MIG instance, by the IDs of its GPU instance and its compute instance; `errors` are those of its handle."""

    uuid: str
    gi: int
    ci: int = 0
    name: str = "NVIDIA H200 MIG 1g.18gb"
    memory: FakeMemory | None = field(default_factory=lambda: FakeMemory(16 * GIB, 17 * MIB))
    processes: Collection[FakeProcess] = ()
    errors: Mapping[str, Code] = field(default_factory=dict)


@dataclass(frozen=True)
class FakeGpu:
    """One GPU; None means that it does not support the call. Power in mW, energy in mJ, as NVML has them.

    `errors`, `hangs` and `races` go by NVML function, or `*` for all: the code answered; a file that blocks the
    answer while it exists; how many buffers are found too small. `whole` are the GPU's own samples, (stamp in µs,
    percent), or "live": one every 200 ms at its utilisation. With `mig` 1 it has `instances` at NVML's indexes 0 to 6,
    None: none there; it lists their processes, too. `events` is the mask of the events that it tells of: `XIDS`, say.
    """

    uuid: str
    name: str = "NVIDIA H200"
    memory: FakeMemory | None = field(default_factory=FakeMemory)
    processes: Collection[FakeProcess] = ()
    samples: Collection[FakeSample] = ()
    whole: Collection[tuple[int, int]] | Literal["live"] | None = None
    utilization: int | None = 0
    power: int | None = 76_000
    energy: int | None = 1_000_000
    temperature: int | None = 31
    mig: int | None = 0
    events: int | None = None
    instances: Sequence[FakeInstance | None] = ()
    errors: Mapping[str, Code] = field(default_factory=dict)
    hangs: Mapping[str, Path] = field(default_factory=dict)
    races: Mapping[str, int] = field(default_factory=dict)


class FakeDriver:
    """A library of its own below `directory`, and the state that it answers."""

    def __init__(self, directory: Path, *, installed: bool = True) -> None:
        """Put the library there, unless it is to be `install`ed later; it has no GPU yet."""
        self.directory: Final = directory / "fake-nvml"
        self.directory.mkdir()
        self.library: Final = str(self.directory / "libnvidia-ml.so.1")
        self._state: Final = self.directory / "state"
        self._log: Final = self.directory / "calls"
        self._log.touch()
        self._xids: Final = self.directory / "xids"
        self._xids.touch()
        self.set([])
        if installed:
            self.install()

    def install(self) -> None:
        """Put the library in its place: a file of its own, because one file is loaded once however it is called."""
        fresh = Path(shutil.copy(_built(), self.directory / "fresh.so"))
        fresh.replace(self.library)  # never written over: it may be mapped

    def set(
        self,
        gpus: Collection[FakeGpu],
        *,
        version: str = "580.159.04",
        errors: Mapping[str, Code] | None = None,
        hangs: Mapping[str, Path] | None = None,
        reloads: int = 0,
        stale: Code = Code.UNINITIALIZED,
    ) -> None:
        """Answer this from the next call on.

        `errors` and `hangs` are those of calls that are not about one GPU. Who initialised NVML when `reloads` was
        another number is answered `stale` until it does so again.
        """
        lines = [f"driver {version}", f"log {self._log}", f"xids {self._xids}", f"reload {reloads} {stale:d}"]
        lines += _rules(errors or {}, hangs or {}, {})
        for gpu in gpus:
            lines += _lines(gpu)
        fresh = self._state.with_suffix(".new")
        fresh.write_text("\n".join(lines) + "\n", encoding="utf-8")
        fresh.replace(self._state)

    def xid(self, uuid: str, code: int) -> None:
        """Have an XID event happen on a GPU, whatever state it is in."""
        self._happen(f"{uuid} {code}")

    def interrupt(self) -> None:
        """Have every wait for events end early, as the real one may."""
        self._happen("interrupt")

    def _happen(self, line: str) -> None:
        with self._xids.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def calls(self, function: str | None = None, uuid: str | None = None) -> list[Call]:
        """Return the calls received so far, of one function, about one GPU, or all."""
        fields = (line.split() for line in self._log.read_text(encoding="utf-8").splitlines())
        calls = (Call(name, about, int(last_seen)) for name, about, last_seen in fields)
        return [call for call in calls if function in (None, call.function) and uuid in (None, call.uuid)]


def _lines(gpu: FakeGpu) -> Iterator[str]:
    yield f"gpu {gpu.uuid}"
    yield from _common(gpu)
    for word in ("utilization", "power", "energy", "temperature", "mig", "events"):
        figure = getattr(gpu, word)
        if figure is not None:
            yield f"{word} {figure}"
    for sample in gpu.samples:
        yield f"sample {sample.pid} {sample.stamp_us} {sample.sm}"
    if gpu.whole == "live":
        yield "whole live"
    else:
        yield from (f"whole {stamp} {share}" for stamp, share in gpu.whole or ())
    yield from _rules(gpu.errors, gpu.hangs, gpu.races)
    for index, instance in enumerate(gpu.instances):
        if instance is not None:
            yield f"instance {instance.uuid} {index} {instance.gi} {instance.ci}"
            yield from _common(instance)
            yield from _rules(instance.errors, {}, {})


def _common(device: FakeGpu | FakeInstance) -> Iterator[str]:
    """What a GPU and an instance are told alike."""
    yield f"name {device.name}"
    if device.memory is not None:
        yield f"memory {device.memory.total} {device.memory.reserved} {device.memory.used}"
    for process in device.processes:
        used = "NA" if process.used is None else process.used
        yield " ".join(map(str, ("process", process.pid, used, process.lists, *(process.place or ()))))


def _rules(errors: Mapping[str, Code], hangs: Mapping[str, Path], races: Mapping[str, int]) -> Iterator[str]:
    yield from (f"error {function} {code:d}" for function, code in errors.items())
    yield from (f"hang {function} {path}" for function, path in hangs.items())
    yield from (f"race {function} {times}" for function, times in races.items())


@functools.cache
def _built() -> Path:
    """Compile the library, once a test run."""
    directory = Path(tempfile.mkdtemp(prefix="fake-nvml-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    library = directory / "libnvidia-ml.so.1"
    source = _SOURCES / "fake_nvml.c"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library
