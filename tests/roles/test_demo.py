"""The packaged recording: HAMi-core's regions in it are those of the real files, for as long as they were true."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from exporter.roles.demo import RECORDING
from exporter.sources.recorded import load
from exporter.sources.regions import Regions
from tests.cache_files import unpack_moment
from tests.replay import Replay

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.capture import Frame

#: The moments at which the files were copied, and the sample by which the driver's list was another one.
SPANS: Final = ((30, 46), (50, 56), (80, 90))
FRAMES: Final = load(RECORDING).frames


def listed(frame: Frame) -> set[tuple[int, int | None]]:
    """Return PIDs and bytes of the driver's list."""
    return {(one.pid, one.used) for reading in frame.readings for one in reading.processes or ()}


@pytest.mark.parametrize(("begin", "end"), SPANS)
def test_the_recorded_regions_are_what_the_files_say(tmp_path: Path, begin: int, end: int) -> None:
    """Decoded anew, the files of a moment give what is played from then on, until the driver's list is another one."""
    unpack_moment(begin, tmp_path)
    memory = {one.device.uuid: one.memory.total for one in FRAMES[begin].readings if one.memory}

    state = Regions([str(tmp_path)]).read(memory)

    assert len(state.regions) == len(state.complete) == 8
    for frame in FRAMES[begin:end]:
        assert frame.regions is not None
        assert (frame.regions.regions, frame.regions.complete) == (state.regions, state.complete)
        assert frame.regions.waiting == state.waiting == 0
        assert listed(frame) == listed(FRAMES[begin])
    assert listed(FRAMES[end]) != listed(FRAMES[begin])


def test_no_region_is_played_beyond_its_time() -> None:
    """Before, between and behind these moments the regions are not known."""
    known = {round(frame.t) for frame in FRAMES if frame.regions is not None}

    assert known == {second for begin, end in SPANS for second in range(begin, end)}
    assert [round(frame.t) for frame in FRAMES] == list(range(len(FRAMES)))


@pytest.mark.parametrize(("second", "up"), [(29, False), (30, True), (45, True), (46, False), (94, False)])
def test_the_demo_says_when_the_regions_are_known(second: int, up: bool) -> None:  # noqa: FBT001  either way
    """While no region is known their source is down, and no figure of theirs is shown."""
    snapshot = Replay().until(second + 0.5)

    [status] = [status for status in snapshot.statuses if status.source == "regions"]
    assert status.up == up
    assert any(pair.counted.limit for pair in snapshot.joined.pairs) == up
