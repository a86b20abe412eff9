"""docs/capture.md against the code: every field of the format is told, and every field told is one."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any, Final

import pytest

from exporter.capture import VERSION, decode, encode_node, encode_pods, encode_regions, encode_sample
from exporter.capture_regions import RecordedRegions
from exporter.errors import CaptureError
from exporter.hami.region import FoundRegion, Region, RegionDevice, RegionProcess
from exporter.model import CoreReading, Device, DeviceReading, GpuProcess, Memory, SmSample
from tests.make import device, process, reading
from tests.program import ROOT

PAGE: Final = (ROOT / "docs" / "capture.md").read_text(encoding="utf-8")
#: Told for readers; what is played does not depend on them.
NOT_PLAYED: Final = {("node", "recorded"), ("pods", "t"), ("regions", "t")}


def documented() -> dict[str, list[str]]:
    """Return the fields of each table, by the heading above it."""
    sections = re.findall(r"^### `([a-z_.]+)`\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE)
    return {name: re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE) for name, text in sections}


def whole() -> list[dict[str, Any]]:
    """Return a capture, line by line, in which every field is there."""
    full = reading(
        memory=Memory(3, 2, 1),
        boottime=1.0,
        utilization=0.5,
        power=1.0,
        energy=1.0,
        temperature=30.0,
        processes=(GpuProcess(7, 1, mps=True),),
        core=CoreReading(5, 9, (SmSample(7, 8, 50.0),), ((8, 50.0),)),
        capabilities={"power": "supported"},
        instances=(_instance(),),
    )
    known = {7: replace(process(7), nspid=(7, 1)), 8: "process_gone"}
    return [
        json.loads(line)
        for line in (
            encode_node("node-a", "580.0", [device()], "2026-11-22T03:00:00Z", "0::/x\n"),
            encode_pods(0.0, [{"kind": "Pod"}]),
            encode_regions(0.0, RecordedRegions((_region(),), frozenset({"uid"}), 1)),
            encode_sample(0.0, 10, [full], {}),
            encode_sample(1.0, 20, [full], known),  # type: ignore[arg-type]
        )
    ]


def _instance() -> DeviceReading:
    """Return what the driver tells of a MIG instance."""
    return DeviceReading(
        Device("MIG-1", 0, "NVIDIA L4 MIG", "580.0", device().uuid),
        wall=0.0,
        clock=0.0,
        boottime=1.0,
        memory=Memory(3, 2, 1),
        processes=(GpuProcess(7, 1),),
        capabilities={"memory_v2": "supported"},
    )


def _region() -> FoundRegion:
    """Return a region in which everything is known."""
    region = Region("v1.2", (RegionDevice("GPU-1", 5, 0.5),), (RegionProcess(7, 7, (1,)),), 9)
    return FoundRegion("uid", "main", "a.cache", region)


def tables(lines: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the object that each table tells about, out of the last line of its kind."""
    node, pods, regions, _, sample = lines
    gpu, region = sample["gpus"][0], regions["items"][0]
    return {
        "node": node,
        "node.gpus": node["gpus"][0],
        "pods": pods,
        "regions": regions,
        "regions.items": region,
        "regions.items.devices": region["devices"][0],
        "regions.items.processes": region["processes"][0],
        "sample": sample,
        "sample.gpus": gpu,
        "sample.gpus.memory": gpu["memory"],
        "sample.gpus.processes": gpu["processes"][0],
        "sample.gpus.process_utilization": gpu["process_utilization"][0],
        "sample.gpus.instances": gpu["instances"][0],
        "sample.new_pids": sample["new_pids"]["7"],
    }


def fields() -> list[tuple[str, str]]:
    """Return every field of every table."""
    return [(table, name) for table, names in documented().items() for name in names]


def test_what_is_written_is_documented_and_nothing_else() -> None:
    """Each object of a capture has exactly the fields of its table, in that order."""
    assert documented() == {table: list(written) for table, written in tables(whole()).items()}


@pytest.mark.parametrize(("table", "field"), fields(), ids=[".".join(field) for field in fields()])
def test_every_documented_field_is_read(table: str, field: str) -> None:
    """Another value of a field is either refused or plays differently; but for those that are told as not played."""
    lines = whole()
    before = decode([json.dumps(line) for line in lines])
    tables(lines)[table][field] = []

    try:
        changed = decode([json.dumps(line) for line in lines]) != before
    except CaptureError:
        changed = True

    assert changed == ((table, field) not in NOT_PLAYED)


def test_every_table_tells_type_unit_meaning_and_absence() -> None:
    """Each row of a table of fields has its five cells, and says when the field is absent."""
    rows = [line for line in PAGE.partition("### Remarks")[0].splitlines() if re.match(r"\| `[a-z_]+` \|", line)]

    assert len(rows) == len(fields())
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 5, row
        assert cells[1], row
        assert cells[4], row


def test_the_version_is_the_code_s() -> None:
    """The page tells the version that the code writes."""
    assert f"## The format, version {VERSION}\n" in PAGE
