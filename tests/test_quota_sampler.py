"""The quota role's tick: what it adds up when, counts once, and waits for before it reads."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from exporter.device_config import DeviceConfig
from exporter.errors import QUOTA_FAILURE_REASONS
from exporter.hami.families import FAMILIES
from exporter.model import Failure, SourceStatus
from exporter.quota_model import ClusterState, Holding, Namespace
from exporter.quota_sampler import QuotaSampler
from tests.make import status

if TYPE_CHECKING:
    import pytest

    from exporter.hami.families import Family

EMPTY = ClusterState({}, {}, {}, tuple(status(name) for name in ("quotas", "namespaces", "pods")))
SILENT = tuple(replace(one, last_success=None, up=False) for one in EMPTY.statuses)
UNKNOWN = ClusterState(None, None, None, SILENT)
HOLDING = Holding("u", "team", "model", "node-a", granted={"nvidia.com/gpu": 1.0}, containers=1)


class Cluster:
    """A cluster as a test tells it."""

    def __init__(self, state: ClusterState = EMPTY) -> None:
        """Know that state."""
        self.state = state
        self.followed: list[tuple[Family, ...]] = []
        self.closed = False

    def follow(self, families: tuple[Family, ...]) -> None:
        """Remember."""
        self.followed.append(families)

    def current(self) -> ClusterState:
        """Return the state."""
        return self.state

    def close(self) -> None:
        """Remember."""
        self.closed = True


class HamiConfig:
    """HAMi's configuration as a test tells it."""

    def __init__(self) -> None:
        """Say nothing yet."""
        self.said: DeviceConfig | None = None
        self.failures = 0
        self.closed = False

    def known(self) -> tuple[DeviceConfig | None, SourceStatus]:
        """Return what was said."""
        return self.said, replace(status("hami_config"), errors={"gone": self.failures})

    def close(self) -> None:
        """Remember."""
        self.closed = True


def test_totals_are_made_only_when_something_changed() -> None:
    """Ticks over the same objects, or equal ones, share totals and text; each has a time of its own."""
    clock = iter(range(10))
    cluster = Cluster(replace(EMPTY, holdings={"team/model": HOLDING}))
    sampler = QuotaSampler(cluster, DeviceConfig(), wall=lambda: float(next(clock)))
    first = sampler.tick()
    cluster.state = replace(EMPTY, holdings={"team/model": replace(HOLDING)})
    second = sampler.tick()

    assert second.snapshot.totals is first.snapshot.totals
    assert second.text is first.text
    assert (first.snapshot.taken, second.snapshot.taken) == (0.0, 1.0)
    cluster.state = replace(EMPTY, namespaces={"team": Namespace("team", "red")})
    assert b'tenant="red"' in sampler.tick().text
    assert sampler.current() is not second


def test_a_failure_counts_once_while_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    """What lasts counts once and what comes back counts again; every reason is there from 0."""
    failure = Failure("quota_unreadable", "team/gpu")
    cluster = Cluster()
    sampler = QuotaSampler(cluster, DeviceConfig())
    assert sampler.tick().snapshot.failures == dict.fromkeys(QUOTA_FAILURE_REASONS, 0)

    counts = []
    for unreadable in ({failure}, {failure}, set[Failure](), {failure}):
        cluster.state = replace(EMPTY, unreadable=frozenset(unreadable))
        counts.append(sampler.tick().snapshot.failures["quota_unreadable"])

    assert counts == [1, 1, 1, 2]
    assert caplog.messages == [f"quota_unreadable (team/gpu): {QUOTA_FAILURE_REASONS['quota_unreadable']}"]


def test_it_is_ready_once_every_kind_was_listed() -> None:
    """Until then the reason names what was not; a source that fails later changes nothing."""
    cluster = Cluster(UNKNOWN)
    sampler = QuotaSampler(cluster, DeviceConfig())
    assert sampler.tick().not_ready == "the API server has not listed yet: quotas, namespaces, pods"

    cluster.state = replace(EMPTY, statuses=(*EMPTY.statuses[:2], SILENT[2]))
    assert sampler.tick().not_ready == "the API server has not listed yet: pods"
    cluster.state = replace(EMPTY, statuses=tuple(replace(one, up=False) for one in EMPTY.statuses))
    assert sampler.tick().not_ready is None


def test_without_hamis_configmap_it_reads_at_once() -> None:
    """What the settings say of the names is what is followed."""
    cluster = Cluster()

    QuotaSampler(cluster, DeviceConfig(memory_factor=2)).tick()

    assert cluster.followed == [DeviceConfig(memory_factor=2).families()]


def test_nothing_is_read_by_names_that_may_be_wrong() -> None:
    """With --hami-config nothing is read before it answered once; then settings win over what it says."""
    cluster, said = Cluster(UNKNOWN), HamiConfig()
    sampler = QuotaSampler(cluster, DeviceConfig(memory_factor=2), said)
    sampler.tick()
    assert cluster.followed == []

    said.said = DeviceConfig(memory="nvidia.com/vram", memory_factor=3)
    snapshot = sampler.tick().snapshot

    assert cluster.followed == [DeviceConfig(memory="nvidia.com/vram", memory_factor=2).families()]
    assert [one.source for one in snapshot.statuses] == ["quotas", "namespaces", "pods", "hami_config"]


def test_a_configmap_that_cannot_be_read_leaves_the_defaults() -> None:
    """Once it has failed the defaults serve."""
    cluster, said = Cluster(), HamiConfig()
    said.failures = 1

    QuotaSampler(cluster, DeviceConfig(), said).tick()

    assert cluster.followed == [FAMILIES]


def test_a_stop_closes_everything() -> None:
    """After a stop nothing is asked any more."""
    cluster, said = Cluster(), HamiConfig()
    sampler = QuotaSampler(cluster, DeviceConfig(), said)

    sampler.attempt()
    sampler.stop()
    sampler.run()  # returns at once

    assert cluster.closed
    assert said.closed
