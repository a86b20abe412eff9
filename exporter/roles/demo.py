"""The demo role: a recorded node in place of the sources, everything behind them as in earnest.

With the recording of the package it is the quota role, too: its pods are what is granted, and a few objects around them
were made for the demo. Both roles share the endpoint: their metrics have different names, or the label `role`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from exporter import page, quota_page
from exporter.device_config import DeviceConfig
from exporter.errors import ConfigError
from exporter.metrics import built, families, ourselves
from exporter.quota_metrics import ROLE
from exporter.quota_sampler import QuotaSampler
from exporter.sampler import Sampler, Sources
from exporter.server import Renderer, Server, SnapshotRenderer
from exporter.service import run
from exporter.sources import recorded_cluster
from exporter.sources.recorded import Player, load
from exporter.sources.recorded_cluster import RecordedCluster

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.capture import Capture
    from exporter.config import Address
    from exporter.metrics import Families
    from exporter.quota_sampler import Published
    from exporter.snapshot import Snapshot

_CAPTURES: Final = Path(__file__).parents[1] / "captures"
#: The recording in the package: one H200, two inference stacks, an escape.
RECORDING: Final = _CAPTURES / "h200-sharing.jsonl.gz"
#: Namespaces, quotas and a waiting pod around the recorded ones.
CLUSTER: Final = _CAPTURES / "demo-cluster.json"
#: The label of the demo's namespaces whose value is the tenant.
TENANT_LABEL: Final = "team"
NOTE: Final = "Demo: this is a recording being played, not this machine."
QUOTA_NOTE: Final = f"{NOTE} Tenants, quotas and the waiting pod were not recorded but made for the demo."


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """What to play and how; `hold` is a second of the recording, None plays to its end."""

    capture: Path
    speed: float
    loop: bool
    hold: float | None
    listen: tuple[Address, ...]


class Moment(NamedTuple):
    """What both roles say at one time."""

    node: Snapshot
    quota: Published

    @property
    def not_ready(self) -> str | None:
        """The node role's, which the quota role never is."""
        return self.node.not_ready


class BothRoles:
    """Two roles' loops as one."""

    def __init__(self, node: Sampler, quota: QuotaSampler) -> None:
        """Nothing runs yet."""
        self._node = node
        self._quota = quota
        self._moment: Moment | None = None

    def current(self) -> Moment | None:
        """Return the newest snapshots, one and the same object until one is newer; None before there are both."""
        node, quota = self._node.current(), self._quota.current()
        if node is None or quota is None:
            return None
        if self._moment is None or self._moment.node is not node or self._moment.quota is not quota:
            self._moment = Moment(node, quota)
        return self._moment

    def attempt(self) -> None:
        """Make and publish the next snapshot of each."""
        self._node.attempt()
        self._quota.attempt()

    def run(self) -> None:
        """Go on doing so until stopped, each at its own pace."""
        threading.Thread(target=self._quota.run, name="quota", daemon=True).start()
        self._node.run()

    def stop(self) -> None:
        """End both."""
        self._node.stop()
        self._quota.stop()


class Role(NamedTuple):
    """What is played: a loop, what writes its snapshots, and what to say of it."""

    sampler: Sampler | BothRoles
    renderer: SnapshotRenderer[Any]
    note: str


def play(settings: DemoSettings, revision: str, on_listening: Callable[[list[str]], None]) -> None:
    """Play until a signal ends it."""
    if settings.loop and settings.hold is not None:
        raise ConfigError("--loop and --hold exclude each other: a loop never stays anywhere")
    role = staged(settings, revision)
    run(role.sampler, Server(role.renderer, role.note), settings.listen, on_listening=on_listening)


def staged(settings: DemoSettings, revision: str) -> Role:
    """Return what to play; of another node than the package's nobody knows the quotas."""
    capture = load(settings.capture)
    player = Player(capture, speed=settings.speed, loop=settings.loop, hold=settings.hold)
    node = Sampler(capture.node, Sources(player, player, player, regions=player.regions), player.interval)
    if settings.capture != RECORDING:
        return Role(node, Renderer(node.current, built(revision)), NOTE)
    both = BothRoles(node, quota_sampler(capture))
    return Role(both, renderer(both, revision), QUOTA_NOTE)


def quota_sampler(capture: Capture) -> QuotaSampler:
    """Return the quota role's loop over the recording's pods and what was made around them."""
    pods = capture.frames[0].pods or ()  # they are the same from its beginning to its end
    return QuotaSampler(
        RecordedCluster([*recorded_cluster.load(CLUSTER), *pods], tenant_label=TENANT_LABEL), DeviceConfig()
    )


def renderer(both: BothRoles, revision: str) -> SnapshotRenderer[Moment]:
    """Return what writes the scrape and the page of both roles."""
    builds = built(revision), built(revision, ROLE)

    def collect(now: Moment) -> tuple[bytes, Families]:
        found, said = families(now.node, builds[0]), now.quota.snapshot
        ourselves(found, builds[1], said.statuses, said.failures, said.taken)
        return now.quota.text, found

    return SnapshotRenderer(both.current, collect, _page)


def _page(now: Moment, note: str) -> str:
    """Return the node's page with the quotas beneath."""
    said = now.quota.snapshot
    sources = [replace(status, source=f"{status.source} (quota role)") for status in said.statuses]
    return page.render(now.node, note, [f"<h2>{quota_page.HEADING}</h2>", *quota_page.body(said)], sources)
