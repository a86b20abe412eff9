"""MIG instances as devices of their own, each behind the GPU that it is cut from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.model import Device, DeviceReading


def with_instances(
    gpus: Iterable[tuple[Device, DeviceReading | None]],
) -> tuple[tuple[Device, ...], dict[str, DeviceReading]]:
    """Return each whole GPU followed by the instances that its reading has, and the readings of all by UUID."""
    devices: list[Device] = []
    readings: dict[str, DeviceReading] = {}
    for device, reading in gpus:
        devices.append(device)
        if reading is not None:
            readings[device.uuid] = reading
            devices += [instance.device for instance in reading.instances or ()]
            readings.update((instance.device.uuid, instance) for instance in reading.instances or ())
    return tuple(devices), readings
