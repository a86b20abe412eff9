"""Plays the recorded H200 through the real pipeline on the test's own clock: no waiting, the same bytes each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.roles.demo import RECORDING
from exporter.sampler import Sampler, Sources
from exporter.sources.recorded import Player, load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.capture import Capture
    from exporter.snapshot import Snapshot

#: Unix time at which every replay begins.
BEGAN = 1_800_000_000.0


class Replay:
    """A recording under way; `now` is seconds since it began."""

    def __init__(self, capture: Capture | None = None, *, loop: bool = False, hold: float | None = None) -> None:
        """Load the H200 unless given another capture; nothing is played yet."""
        self.capture = capture or load(RECORDING)
        self.now = 0.0
        player = Player(
            self.capture, loop=loop, hold=hold, monotonic=lambda: self.now, wall=lambda: round(BEGAN + self.now, 3)
        )
        self.sampler = Sampler(
            self.capture.node,
            Sources(player, player, player, regions=player.regions),
            player.interval,
            wall=lambda: round(BEGAN + self.now, 3),
        )

    def until(self, end: float) -> Snapshot:
        """Tick at every second up to `end` and return the last snapshot."""
        return list(self.snapshots(end))[-1]

    def snapshots(self, end: float) -> Iterator[Snapshot]:
        """Tick once per second, a little after each recorded sample is due, up to `end` seconds."""
        while self.now <= end:
            yield self.sampler.tick()
            self.now = int(self.now) + 1.01
