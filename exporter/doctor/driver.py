"""The steps of the driver: does it answer, does each GPU, and how would it get into the pod."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from exporter.doctor import failed, listed, passed, plural, unchecked, warned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.doctor import Step
    from exporter.errors import DriverError
    from exporter.model import Device, DeviceReading

DRIVER, ACCESS, GPUS = "driver", "gpu-access", "gpus"

#: Reasons for which the driver, or its devices, may not be in the pod.
_NO_ACCESS: Final = frozenset({"driver_not_loaded", "gpu_lost", "library_not_found", "no_permission"})
_SEE_ACCESS: Final = f"See {ACCESS} below."
_ADVICE: Final = {
    "library_not_found": _SEE_ACCESS,
    "driver_not_loaded": f"`nvidia-smi` on the node itself must work. {_SEE_ACCESS}",
    "no_permission": _SEE_ACCESS,
    "gpu_lost": f"`nvidia-smi -L` on the node must list its GPUs. {_SEE_ACCESS}",
    "version_mismatch": (
        "The driver was upgraded under the loaded kernel module. If `nvidia-smi` works on the node, delete this pod: "
        "it still has the old library. If not, drain and reboot the node, or reload the nvidia modules."
    ),
    "hijacked": (
        "Label the pod hami.io/webhook=ignore (the chart does), let it request no GPU, and see that neither LD_PRELOAD "
        "nor /etc/ld.so.preload in it names libvgpu.so."
    ),
    "timeout": (
        "A call hangs in the driver: look for NVRM and Xid lines in the node's `dmesg`, then drain and reboot the node."
    ),
}
_UNKNOWN: Final = "Look for NVRM lines in the node's `dmesg`; run `nvidia-smi` on the node."
_LOST: Final = (
    "Look for Xid lines in the node's `dmesg`; drain the node, then reset the GPU (`nvidia-smi --gpu-reset -i INDEX`) "
    "or reboot. Other GPUs are not affected."
)
_NOT_BY_ENV: Final = (
    "Set runtimeClassName: nvidia, unless the node's default runtime is NVIDIA's. If it is set, the toolkit ignores "
    "the variable in unprivileged pods: use gpuAccess: volumeMounts, or cdi; without NVIDIA's container toolkit on the "
    "node gpuAccess: hostDriver."
)
_NOT_BY_MOUNT: Final = (
    "The toolkit does not accept mounts (accept-nvidia-visible-devices-as-volume-mounts), or the runtime is not "
    "NVIDIA's: set runtimeClassName: nvidia, or use gpuAccess: env, cdi, or hostDriver without a toolkit."
)
_NOT_ASKED: Final = (
    "Set gpuAccess: env with runtimeClassName: nvidia; gpuAccess: cdi where a runtime acts on the pod's CDI "
    "annotations (if it is set already, none does); gpuAccess: hostDriver without NVIDIA's container toolkit."
)
_VERSION: Final = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,4}){1,2}")


@dataclass(frozen=True, slots=True)
class GpuFound:
    """What one GPU answered: nothing, or a reading with what it lacks."""

    index: int
    device: Device | None
    reading: DeviceReading | None
    errors: tuple[DriverError, ...] = ()

    @property
    def name(self) -> str:
        """What people call it."""
        return f"GPU {self.index} ({self.device.uuid})" if self.device else f"GPU {self.index}"


@dataclass(frozen=True, slots=True)
class DriverFound:
    """What the driver answered; `library` is where its library lies, "" if nowhere; `error` is why it did not."""

    library: str
    error: DriverError | None
    gpus: tuple[GpuFound, ...] = ()


@dataclass(frozen=True, slots=True)
class Access:
    """Signs of how the driver was to get into this pod.

    `module` is the text of the kernel module's /proc/driver/nvidia/version, "" if there is none; `control`:
    /dev/nvidiactl is there; `visible` is NVIDIA_VISIBLE_DEVICES, None if not set; `mounted`: the wish for GPUs by mount
    (/var/run/nvidia-container-devices) is there.
    """

    module: str
    control: bool
    visible: str | None
    mounted: bool


def driver(found: DriverFound, access: Access) -> Step:
    """Judge the driver as a whole."""
    if found.error is not None:
        text = f"{found.error}"
        module = _VERSION.search(access.module)
        if found.error.reason == "version_mismatch" and module:
            text += f"; the kernel module is {module[0]}"
        return failed(DRIVER, text, _ADVICE.get(found.error.reason, _UNKNOWN))
    version = next((f"{gpu.device.driver} " for gpu in found.gpus if gpu.device), "")
    return passed(DRIVER, f"driver {version}answers through {found.library}, lists {plural(len(found.gpus), 'GPU')}")


def access(found: DriverFound, signs: Access) -> Step:
    """Say which `gpuAccess` of the chart would help, if it is that which is missing."""
    if found.error is None or found.error.reason not in _NO_ACCESS:
        return passed(ACCESS, f"the driver's library is in the pod: {found.library}")
    if not signs.module:
        return failed(
            ACCESS,
            "the node's kernel has no NVIDIA module (no driver/nvidia/version in procfs)",
            "No gpuAccess helps before the driver is installed on the node; where none belongs, keep the exporter away "
            "by the chart's nodeSelector.",
        )
    if not found.library:
        return failed(ACCESS, *_without_library(signs))
    if signs.control:
        return failed(
            ACCESS,
            "library and /dev/nvidiactl are there, but may not be used",
            "The device cgroup refuses the devices: with gpuAccess: hostDriver set hostDriver.privileged: true, or use "
            "gpuAccess: env (runtimeClassName: nvidia) or cdi, which allow them.",
        )
    return failed(
        ACCESS,
        "the library is there, but no /dev/nvidiactl",
        "A mounted library is not enough: with gpuAccess: hostDriver set hostDriver.privileged: true; or use "
        "gpuAccess: env with runtimeClassName: nvidia, or cdi, which bring the devices.",
    )


def _without_library(signs: Access) -> tuple[str, str]:
    """Return what was asked for in vain, and what to ask for instead."""
    if signs.visible not in (None, "", "none", "void"):
        found = f"NVIDIA_VISIBLE_DEVICES={signs.visible} is set (gpuAccess: env), but the runtime brought no library"
        return found, _NOT_BY_ENV
    if signs.mounted:
        return (
            "GPUs are asked for by mount (gpuAccess: volumeMounts), but the runtime brought no library",
            _NOT_BY_MOUNT,
        )
    return "nothing in this pod asks for the driver", _NOT_ASKED


def gpus(found: DriverFound) -> Step:
    """Judge each GPU by its own answers."""
    if found.error is not None:
        return unchecked(GPUS, DRIVER)
    silent = [gpu for gpu in found.gpus if gpu.reading is None]
    if silent:
        stuck = any(error.reason == "timeout" for gpu in silent for error in gpu.errors)
        return failed(GPUS, _told(silent), _ADVICE["timeout"] if stuck else _LOST)
    partly = [gpu for gpu in found.gpus if gpu.errors]
    if partly:
        return warned(GPUS, _told(partly), "What that call would say is absent; all else is not. " + _UNKNOWN)
    return passed(GPUS, listed(_described(gpu) for gpu in found.gpus))


def _told(gpus: Sequence[GpuFound]) -> str:
    return listed(f"{gpu.name}: {'; '.join(map(str, gpu.errors))}" for gpu in gpus)


def _described(gpu: GpuFound) -> str:
    if gpu.device is None or gpu.reading is None:
        return gpu.name
    if gpu.reading.instances:
        return f"{gpu.name} {gpu.device.name}, cut into {plural(len(gpu.reading.instances), 'MIG instance')}"
    processes = gpu.reading.processes
    return f"{gpu.name} {gpu.device.name}" + ("" if processes is None else f", processes: {len(processes)}")
