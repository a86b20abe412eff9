"""The families of a snapshot: XID events, and how many series a node full of GPUs has."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from exporter.accounting import Accounting
from exporter.errors import SOURCE_REASONS
from exporter.hami.node_register import RegisteredDevice
from exporter.join import Carry
from exporter.labels import Build
from exporter.metrics import families
from exporter.model import CoreWindow, XidEvents
from exporter.snapshot import Snapshot
from exporter.xids import KNOWN
from tests.make import GPU, OTHER_GPU, driver, joined, processes, reading, roster, status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.model import DeviceReading, DriverState

BUILD = Build("node", "0", "x", "3")
COUNT, LAST = "vgpu_device_xid_errors_total", "vgpu_device_xid_last_timestamp_seconds"
CAPABILITIES = ("process_list", "process_utilization", "memory_v2", "energy", "power", "temperature", "xid")


def snapshot(
    state: DriverState,
    xids: Mapping[tuple[str, int], XidEvents],
    registered: Mapping[str, RegisteredDevice] | None = None,
) -> Snapshot:
    """Return what is published of this driver's answer, on a node whose pods are known."""
    use, _ = joined(state, processes(), roster(uuids=state.readings))
    accounts = Accounting(started=0.0, longest=10.0).book(use)
    statuses = tuple(status(source) for source in SOURCE_REASONS)
    return Snapshot("n", 0.0, use, accounts, statuses, None, registered or {}, xids)


def xids(shown: Snapshot, name: str) -> dict[tuple[str, str], float]:
    """Return one metric's samples: (GPU, code) → value."""
    return {
        (sample.labels["device_uuid"], sample.labels["xid"]): sample.value
        for family in families(shown, BUILD)
        for sample in family.samples
        if sample.name == name
    }


def test_xid_events_are_published_from_0_and_without_a_time() -> None:
    """A code that has not happened yet has a counter at 0 and no timestamp; one that has, has both."""
    shown = snapshot(driver(reading()), {(GPU, 31): XidEvents(0, None), (GPU, 79): XidEvents(2, 1234.5)})

    assert xids(shown, COUNT) == {(GPU, "31"): 0, (GPU, "79"): 2}
    assert xids(shown, LAST) == {(GPU, "79"): 1234.5}


def test_xid_events_stay_while_the_gpu_is_down() -> None:
    """79 comes when a GPU goes: its count and time are there while the GPU has no fresh reading."""
    down = snapshot(replace(driver(reading()), readings={}), {(GPU, 79): XidEvents(1, 1234.5)})

    assert [use.reading for use in down.joined.devices] == [None]
    assert xids(down, COUNT) == {(GPU, "79"): 1}
    assert xids(down, LAST) == {(GPU, "79"): 1234.5}


def test_a_gpu_that_does_not_tell_of_xid_events_has_none() -> None:
    """Beside a GPU that tells of them one that does not has no sample, not even 0."""
    shown = snapshot(driver(reading(), reading(uuid=OTHER_GPU)), {(GPU, 31): XidEvents(0, None)})

    assert xids(shown, COUNT) == {(GPU, "31"): 0}


def test_a_node_full_of_gpus_keeps_to_its_series() -> None:
    """Sixteen GPUs that tell everything, each with a few XIDs of late, have at most 45 series each and 250 (law 7)."""
    uuids = [f"GPU-{number}" for number in range(16)]
    told = {(uuid, code): XidEvents(0, None) for uuid in uuids for code in KNOWN}
    told |= {(uuid, code): XidEvents(1, 1.0) for uuid in uuids for code in (31, 79, 4711)}
    registered = {uuid: RegisteredDevice(uuid, 10, 2**34, 1.0, "hami-core", healthy=True) for uuid in uuids}
    shown = snapshot(driver(*map(_full, uuids)), told, registered)
    samples = [sample.name for family in families(shown, BUILD) for sample in family.samples]

    assert samples.count("vgpu_device_power_watts") == samples.count("vgpu_device_slots") == len(uuids)
    assert samples.count(COUNT) == len(uuids) * (len(KNOWN) + 1)
    assert len(samples) <= 45 * len(uuids) + 250


def _full(uuid: str) -> DeviceReading:
    return reading(
        {1: 2**30},
        uuid=uuid,
        window=CoreWindow(1.0, {1: 0.5}, {1: 0.1}),
        power=76.0,
        energy=1000.0,
        temperature=31.0,
        utilization=0.5,
        capabilities=dict.fromkeys(CAPABILITIES, "supported"),
    )


def test_a_gpu_that_was_cut_has_no_core_time_any_more() -> None:
    """What was counted while the GPU was whole stands still once it is cut: absent beats frozen (law 0)."""
    accounting, carry = Accounting(started=0.0, longest=10.0), Carry(listed=True)
    shown = []
    cut: dict[str, Any] = {"capabilities": {"process_utilization": "mig"}, "core": None}
    for clock, busy, facts in ((100.0, {}, {}), (101.0, None, cut)):
        state = driver(reading(busy=busy, clock=clock, **facts))
        use, carry = joined(state, processes(), roster(), carry)
        statuses = tuple(status(source) for source in SOURCE_REASONS)
        shown.append(Snapshot("n", 0.0, use, accounting.book(use), statuses, None))

    core = [{sample.name for family in families(one, BUILD) for sample in family.samples} for one in shown]
    assert "vgpu_device_core_busy_seconds_total" in core[0]
    assert not {name for name in core[1] if name.startswith(("vgpu_device_core_busy", "vgpu_device_observed"))}
