"""The quota role's tick: take what the watches know, add it up if it changed, publish an immutable snapshot.

Nothing here waits for the API server, and a scrape only ever reads what was published. Large clusters have tens of
thousands of series, so they are written once for all scrapes, before anyone asks.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from exporter.errors import QUOTA_FAILURE_REASONS
from exporter.failure_log import FailureLog
from exporter.quota_metrics import Text
from exporter.quota_model import QuotaSnapshot
from exporter.quotas import total
from exporter.ticker import Ticker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.device_config import DeviceConfig
    from exporter.hami.families import Family
    from exporter.model import Failure, SourceStatus
    from exporter.quota_model import ClusterState, Holding, Namespace, Quota, QuotaTotals

#: Seconds between two ticks.
INTERVAL: Final = 1.0


class Cluster(Protocol):
    """The edge to quotas, namespaces and pods; nothing here ever waits for the API server."""

    def follow(self, families: tuple[Family, ...]) -> None:
        """Let these families count from now on; nothing is asked before the first call."""
        ...

    def current(self) -> ClusterState:
        """Return what is known now: the same mappings until an object changes."""
        ...

    def close(self) -> None:
        """Stop asking."""
        ...


class HamiConfig(Protocol):
    """The edge to HAMi's own configuration."""

    def known(self) -> tuple[DeviceConfig | None, SourceStatus]:
        """Return what it said last, and how the source does; never waits for the API server."""
        ...

    def close(self) -> None:
        """Stop asking."""
        ...


class _Known(NamedTuple):
    """What totals are made from."""

    families: tuple[Family, ...]
    holdings: Mapping[str, Holding] | None
    quotas: Mapping[str, Quota] | None
    namespaces: Mapping[str, Namespace] | None
    unreadable: frozenset[Failure]


class Published(NamedTuple):
    """A snapshot, and its totals as either text format has them."""

    snapshot: QuotaSnapshot
    text: bytes

    @property
    def not_ready(self) -> str | None:
        """The snapshot's."""
        return self.snapshot.not_ready


class QuotaSampler:
    """One cluster's loop; `tick` may also be called by hand."""

    def __init__(
        self,
        cluster: Cluster,
        given: DeviceConfig,
        hami_config: HamiConfig | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`given` is what the settings say of HAMi's resources: it wins over `hami_config`; `wall` stamps snapshots."""
        self._cluster = cluster
        self._given = given
        self._hami_config = hami_config
        self._wall = wall
        self._ticker = Ticker(self.tick, INTERVAL)
        self._known: _Known | None = None
        self._text = Text()
        self._totals: tuple[QuotaTotals, bytes] | None = None
        self._failing: frozenset[Failure] = frozenset()
        self._failures = Counter(dict.fromkeys(QUOTA_FAILURE_REASONS, 0))
        self._log = FailureLog(QUOTA_FAILURE_REASONS)
        self._published: Published | None = None

    def current(self) -> Published | None:
        """Return the newest snapshot, None before the first."""
        return self._published

    def tick(self) -> Published:
        """Make and publish the next snapshot."""
        said, status = self._hami_config.known() if self._hami_config else (None, None)
        families = (self._given.over(said) if said else self._given).families()
        if status is None or said or any(status.errors.values()):  # else whatever is read now would be read again
            self._cluster.follow(families)
        state = self._cluster.current()
        totals, text = self._total(state, families)
        snapshot = QuotaSnapshot(
            taken=self._wall(),
            totals=totals,
            failures=self._count(totals.failures),
            statuses=(*state.statuses, status) if status else state.statuses,
            not_ready=_not_ready(state.statuses),
        )
        self._published = Published(snapshot, text)
        return self._published

    def attempt(self) -> None:
        """Tick; a tick that fails is logged and costs itself only."""
        self._ticker.attempt()

    def run(self) -> None:
        """Attempt a tick every second until stopped."""
        self._ticker.run()

    def stop(self) -> None:
        """End the loop and the sources, without waiting for anybody."""
        self._ticker.stop()
        self._cluster.close()
        if self._hami_config:
            self._hami_config.close()

    def _total(self, state: ClusterState, families: tuple[Family, ...]) -> tuple[QuotaTotals, bytes]:
        """Return the totals and their text, made anew only if something is other than last time."""
        known = _Known(families, state.holdings, state.quotas, state.namespaces, state.unreadable)
        if self._totals is None or not _same(known, self._known):
            totals = total(state, families)
            self._totals = totals, self._text.of(totals)
        self._known = known
        return self._totals

    def _count(self, failures: frozenset[Failure]) -> Mapping[str, int]:
        """Count each failure once for as long as it lasts, and return all counts so far by reason."""
        self._failures.update(failure.reason for failure in failures - self._failing)
        self._failing = failures
        self._log.tell(failures)
        return dict(self._failures)


def _same(known: _Known, before: _Known | None) -> bool:
    """Tell whether nothing changed; mostly the mappings are one and the same."""
    return before is not None and all(a is b or a == b for a, b in zip(known, before, strict=True))


def _not_ready(statuses: tuple[SourceStatus, ...]) -> str | None:
    """Return what was never listed as a whole, in words."""
    missing = [status.source for status in statuses if status.last_success is None]
    return f"the API server has not listed yet: {', '.join(missing)}" if missing else None
