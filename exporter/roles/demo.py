"""The demo role: a recorded node in place of the sources, everything behind them as in earnest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from exporter.errors import ConfigError
from exporter.metrics import built
from exporter.sampler import Sampler, Sources
from exporter.server import Renderer, Server
from exporter.service import run
from exporter.sources.recorded import Player, load

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.config import Address

#: The recording in the package: one H200, two inference stacks, an escape.
RECORDING: Final = Path(__file__).parents[1] / "captures" / "h200-sharing.jsonl.gz"
NOTE: Final = "Demo: this is a recording being played, not this machine."


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """What to play and how; `hold` is a second of the recording, None plays to its end."""

    capture: Path
    speed: float
    loop: bool
    hold: float | None
    listen: tuple[Address, ...]


def play(settings: DemoSettings, revision: str, on_listening: Callable[[list[str]], None]) -> None:
    """Play until a signal ends it."""
    if settings.loop and settings.hold is not None:
        raise ConfigError("--loop and --hold exclude each other: a loop never stays anywhere")
    capture = load(settings.capture)
    player = Player(capture, speed=settings.speed, loop=settings.loop, hold=settings.hold)
    sources = Sources(player, player, player, regions=player.regions)
    sampler = Sampler(capture.node, sources, player.interval)
    server = Server(Renderer(sampler.current, built(revision)), NOTE)
    run(sampler, server, settings.listen, on_listening=on_listening)
