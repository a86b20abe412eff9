"""NVML as a whole: its library, loaded from known places only, its start, its GPUs, and what its errors mean.

Every call can hang for minutes in a driver that is in trouble, so only threads that may hang make one. pynvml is one
global, so there can be one `Driver` at a time.
"""

from __future__ import annotations

import ctypes
import enum
import logging
import os
from _ctypes import dlclose
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pynvml

from exporter.errors import DriverError
from exporter.model import Device

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_log = logging.getLogger(__name__)

#: Where the driver's library lies: absolute paths only, so that no environment variable can put another in its place.
LIBRARY_PATHS: Final = (
    "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
    "/usr/lib/aarch64-linux-gnu/libnvidia-ml.so.1",
    "/usr/lib64/libnvidia-ml.so.1",
    "/usr/lib/libnvidia-ml.so.1",
    "/usr/local/nvidia/lib64/libnvidia-ml.so.1",
    "/usr/local/nvidia/lib/libnvidia-ml.so.1",
    "/run/nvidia/driver/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
    "/run/nvidia/driver/usr/lib/aarch64-linux-gnu/libnvidia-ml.so.1",
    "/run/nvidia/driver/usr/lib64/libnvidia-ml.so.1",
    "/home/kubernetes/bin/nvidia/lib64/libnvidia-ml.so.1",  # GKE
    "/usr/lib/wsl/lib/libnvidia-ml.so.1",
)

#: NVML's own name for one GPU; opaque.
Handle = Any


class Scope(enum.Enum):
    """How much a failed call says: nothing beyond itself, that this GPU is gone, or that the driver is."""

    FACT = enum.auto()
    GPU = enum.auto()
    DRIVER = enum.auto()


class CallError(DriverError):
    """One NVML call failed; `scope` says what that means for the others."""

    def __init__(self, what: str, code: int) -> None:
        """`what` was asked for, NVML answered `code`."""
        reason, scope = _MEANINGS.get(code, ("unknown", Scope.FACT))
        super().__init__(reason, f"{what}: {_text(code)}")
        self.scope: Final = scope


_MEANINGS: Final = {
    pynvml.NVML_ERROR_UNINITIALIZED: ("driver_not_loaded", Scope.DRIVER),
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: ("driver_not_loaded", Scope.DRIVER),
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: ("version_mismatch", Scope.DRIVER),
    pynvml.NVML_ERROR_GPU_IS_LOST: ("gpu_lost", Scope.GPU),
    pynvml.NVML_ERROR_GPU_NOT_FOUND: ("gpu_lost", Scope.GPU),
    pynvml.NVML_ERROR_NOT_FOUND: ("gpu_lost", Scope.GPU),
    pynvml.NVML_ERROR_RESET_REQUIRED: ("gpu_lost", Scope.GPU),
    pynvml.NVML_ERROR_NO_PERMISSION: ("no_permission", Scope.FACT),
    pynvml.NVML_ERROR_TIMEOUT: ("timeout", Scope.FACT),
}


def _text(code: int) -> str:
    """Return NVML's own words for a code."""
    return f"{pynvml.NVMLError(code)} (NVML code {code})"


# ---------------------------------------------------------------- the library


class Driver:
    """The loaded library. Its methods raise `DriverError`; none may run while another thread is in a call of NVML."""

    def __init__(self, library_paths: Sequence[str], maps: str) -> None:
        """Use the first of `library_paths` that loads; `maps` lists what is mapped into this process."""
        self._paths: Final = tuple(library_paths)
        self._maps: Final = maps
        self._library: ctypes.CDLL | None = None

    def restart(self) -> None:
        """Load and initialise NVML, anew if it was: a reloaded driver may have brought another library."""
        self._unload()
        self._library, path = self._load()
        _install(self._library)
        self._refuse_hijack()
        _call("NVML cannot be initialised", pynvml.nvmlInit)
        _log.info("NVML initialised from %s", path)

    def count(self) -> int:
        """Return how many GPUs the driver lists; none is an error: then there is nothing to read."""
        count: int = _call("the driver does not say how many GPUs there are", pynvml.nvmlDeviceGetCount)
        if not count:
            raise DriverError("gpu_lost", "the driver answers but lists no GPU: does the container see /dev/nvidia*?")
        return count

    def identify(self, index: int) -> tuple[Device, Handle]:
        """Return the GPU at NVML's `index`, and the handle to ask it by."""
        handle = _call(f"GPU {index}", pynvml.nvmlDeviceGetHandleByIndex, index)
        device = Device(
            uuid=decoded(_call(f"GPU {index}", pynvml.nvmlDeviceGetUUID, handle)),
            index=index,
            name=decoded(_call(f"GPU {index}", pynvml.nvmlDeviceGetName, handle)),
            driver=decoded(_call("the driver's version", pynvml.nvmlSystemGetDriverVersion)),
        )
        return device, handle

    def _load(self) -> tuple[ctypes.CDLL, str]:
        """Return the first library that loads, and its path."""
        broken = []
        for path in filter(os.path.exists, self._paths):
            try:
                return ctypes.CDLL(path), path
            except OSError as error:
                broken.append(str(error))
        raise DriverError(
            "library_not_found",
            f"no NVIDIA driver library: {'; '.join(broken) or 'tried ' + ', '.join(self._paths)}. The pod needs the "
            "nvidia runtime class, or the driver's directory mounted: see the chart's value gpuAccess",
        )

    def _unload(self) -> None:
        """Let go of the library: while it is mapped, its path would answer with the old file."""
        if self._library is not None:
            _install(None)
            self._library.nvmlShutdown()  # after a reload of the driver it fails, and need not succeed
            dlclose(self._library._handle)  # noqa: SLF001 - ctypes offers no other way
            self._library = None

    def _refuse_hijack(self) -> None:
        """Make sure that NVML is the driver's: under HAMi's libvgpu every figure would be a virtual one."""
        try:
            with Path(self._maps).open(encoding="utf-8", errors="replace") as file:
                hijacked = any("libvgpu" in line for line in file)
        except OSError as error:
            raise DriverError("unknown", f"{self._maps}: {error.strerror}: cannot tell whose NVML this is") from error
        if hijacked:
            raise DriverError(
                "hijacked",
                "HAMi's libvgpu is loaded into the exporter itself, so every figure would be a virtual one: label its "
                "pod hami.io/webhook=ignore and let it request no GPU",
            )


def _install(library: ctypes.CDLL | None) -> None:
    """Make pynvml call `library`; its function pointers belong to the one before."""
    pynvml._nvmlGetFunctionPointer_cache.clear()  # noqa: SLF001 - pynvml offers no other way
    pynvml.nvmlLib = library


def handle_of(uuid: str) -> Handle:
    """Return a GPU's handle, which is another one after it was lost and found."""
    return _call(uuid, pynvml.nvmlDeviceGetHandleByUUID, uuid)


def _call(what: str, function: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401 - pynvml has no types
    """Call NVML for something that must work."""
    try:
        return function(*arguments)
    except pynvml.NVMLError as error:
        raise CallError(what, error.value) from error


def decoded(text: str | bytes) -> str:
    """Return a text of NVML as a `str`; older pynvml answers bytes."""
    return text.decode(errors="replace") if isinstance(text, bytes) else text
