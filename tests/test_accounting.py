"""The books: what was booked once is never booked again, and what gone containers used stays."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from exporter.accounting import Accounting
from exporter.join import Carry
from tests.make import GIB, GPU, MIB, cgroup, driver, joined, pod, process, processes, reading, roster, uid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.model import Pod
    from exporter.roster import Roster
    from exporter.snapshot import Accounts, PairAccount

GRANT = f"{GPU},NVIDIA,2000,30:;"
MODEL = roster(pod("model", granted=GRANT))
STARTED = 5.0


class Books:
    """Accounts under way: `tick` books one more second in which PID 7 runs in the pod `model`."""

    def __init__(self) -> None:
        """Begin at clock 100, with nothing booked."""
        self.accounting = Accounting(started=STARTED, longest=10.0)
        self.carry = Carry(listed=True)
        self.clock = 99.0

    def tick(
        self,
        busy: Mapping[int, float] | None = None,
        *,
        names: Roster | None = MODEL,
        passed: float = 1.0,
        where: str | None = None,
        **facts: Any,  # noqa: ANN401  any field of a DeviceReading
    ) -> Accounts:
        """Book one tick `passed` seconds later."""
        self.clock += passed
        state = driver(reading({7: GIB}, busy=busy, clock=self.clock, **facts))
        found = processes(process(7, where or cgroup("model", "model/main")))
        result, self.carry = joined(state, found, names, self.carry)
        return self.accounting.book(result)


def only_pair(accounts: Accounts) -> PairAccount:
    """Return the one pair's account."""
    [account] = accounts.pairs.values()
    return account


def names(*pods: Pod) -> Roster:
    """Return the roster of pods."""
    return roster(*pods)


def test_a_reading_is_booked_once() -> None:
    """The same reading, taken again by the next tick, adds nothing."""
    books = Books()
    books.tick()
    books.tick({7: 0.4})

    accounts = books.tick({7: 0.4}, passed=0.0)

    assert only_pair(accounts).busy == 0.4
    assert accounts.devices[GPU].observed == 1.0


def test_observed_time_is_what_the_windows_cover() -> None:
    """A read without a window advances neither observed nor busy time."""
    books = Books()
    books.tick({7: 0.5})
    books.tick(None)
    accounts = books.tick({7: 0.5})

    assert (accounts.devices[GPU].observed, accounts.devices[GPU].busy) == (2.0, 1.0)


def test_memory_and_grants_are_booked_by_the_readings_own_clock() -> None:
    """Byte-seconds are bytes times the seconds between two readings; cores granted likewise."""
    books = Books()
    books.tick()

    account = books.tick(passed=2.0).namespaces[GPU, "team"]

    assert account.memory_used == 2 * GIB
    assert account.memory_granted == 2 * 2000 * MIB
    assert account.core_granted == pytest.approx(0.6)


def test_a_slept_minute_is_not_billed() -> None:
    """After a pause longer than a reading may close, the hole is not booked on anyone."""
    books = Books()
    books.tick()

    assert books.tick(passed=60.0).namespaces[GPU, "team"].memory_used == 0


def test_a_gone_pods_use_stays_on_its_namespace() -> None:
    """When a pod is deleted its series end, and what it used stays on the namespace's account."""
    books = Books()
    books.tick()
    books.tick({7: 0.4})

    accounts = books.tick(names=names())

    assert accounts.pairs == {}
    assert accounts.namespaces[GPU, "team"].busy == 0.4


def test_a_recreated_pod_starts_at_zero() -> None:
    """A pod created anew under the same name has counters of its own, from 0 (law 3)."""
    books = Books()
    books.tick()
    books.tick({7: 0.4})
    reborn = names(pod("model", granted=GRANT, uid=uid("reborn")))

    accounts = books.tick(names=reborn, where=cgroup("reborn", "model/main"))

    assert only_pair(accounts).busy == 0
    assert accounts.namespaces[GPU, "team"].busy == 0.4


def test_a_pair_hidden_by_blindness_goes_on_counting() -> None:
    """While the pods are unknown nothing shows; when they are back the same counter goes on."""
    books = Books()
    books.tick()
    books.tick({7: 0.4})
    assert books.tick({7: 0.1}, names=None).pairs == {}

    accounts = books.tick({7: 0.2})

    assert only_pair(accounts).busy == pytest.approx(0.6)
    assert accounts.devices[GPU].unattributed["unknown_process"] == 0.1


def test_the_mean_is_absent_until_15_seconds_are_seen() -> None:
    """A container's utilisation appears once 15 s of it were observed, and is the mean of them."""
    books = Books()
    books.tick()
    means = [only_pair(books.tick({7: 0.5})).utilization for _ in range(20)]

    assert means[:14] == [None] * 14
    assert means[14:] == [pytest.approx(0.5)] * 6


def test_a_container_younger_than_a_minute_has_the_mean_of_its_life() -> None:
    """On a GPU long observed, a new container's mean covers its own life, not the time before."""
    books = Books()
    for _ in range(60):
        books.tick({}, names=names())
    for _ in range(15):
        books.tick({7: 0.5})

    assert only_pair(books.tick({7: 0.5})).utilization == pytest.approx(0.5)


def test_the_mean_forgets_what_is_older_than_a_minute() -> None:
    """After a busy minute and an idle one the mean is 0."""
    books = Books()
    for _ in range(60):
        books.tick({7: 1.0})
    for _ in range(59):
        books.tick({})

    assert only_pair(books.tick({})).utilization == 0


def test_a_container_that_came_later_is_not_idle_since_before_it_came() -> None:
    """Until SM time is seen it is idle since the reading before it appeared, not since the exporter's start."""
    books = Books()
    books.tick(names=names())
    books.tick(names=names())

    assert only_pair(books.tick()).last_active == 1000.0 + 101


def test_last_active_is_the_last_sm_time_else_the_start() -> None:
    """Of a container that was there first, last active is the exporter's start until SM time is seen."""
    books = Books()
    assert only_pair(books.tick()).last_active == STARTED
    seen = only_pair(books.tick({7: 0.1})).last_active

    assert seen == 1000.0 + 101
    assert only_pair(books.tick({7: 0.0})).last_active == seen


def test_energy_is_split_by_busy_time() -> None:
    """Of 100 J in a second half of which a container was busy, it is billed 50; the rest is nobody's."""
    books = Books()
    books.tick(energy=1000.0)

    accounts = books.tick({7: 0.5}, energy=1100.0)

    assert only_pair(accounts).energy == pytest.approx(50)
    assert accounts.devices[GPU].energy == pytest.approx(100)
    assert accounts.devices[GPU].energy_unattributed == pytest.approx(50)


def test_samples_that_add_up_to_more_than_the_window_share_its_energy() -> None:
    """Where samples overshoot the window, containers share the joules there were, and none are taken back."""
    books = Books()
    books.tick(energy=0.0)

    accounts = books.tick({7: 1.3}, energy=100.0)

    assert only_pair(accounts).energy == pytest.approx(100)
    assert accounts.devices[GPU].energy_unattributed == pytest.approx(0)


def test_rounding_takes_no_energy_back() -> None:
    """Of 100 J split by 1.2 s, 1.2 times a second's share is a little more than 100: nobody's energy stays at 0."""
    books = Books()
    books.tick(energy=0.0)

    accounts = books.tick({7: 1.2}, energy=100.0)

    assert accounts.devices[GPU].energy_unattributed == 0


def test_an_energy_counter_that_began_anew_takes_nothing_back() -> None:
    """After a driver reload the counter starts again; ours goes on."""
    books = Books()
    books.tick(energy=5000.0)
    books.tick({}, energy=5100.0)

    assert books.tick({}, energy=10.0).devices[GPU].energy == 100


def test_what_the_driver_does_not_tell_is_not_counted_as_zero() -> None:
    """Without process utilisation and energy the counters of core time and energy are unknown, not 0."""
    books = Books()
    books.tick(core=None)

    accounts = books.tick(core=None)

    assert (only_pair(accounts).busy, only_pair(accounts).energy) == (None, None)
    assert accounts.namespaces[GPU, "team"].busy is None
    assert not accounts.devices[GPU].timed


def test_a_failure_counts_once_while_it_lasts() -> None:
    """A process that cannot be placed for three ticks counts once, and again when it comes back."""
    books = Books()
    for where in ("garbage", "garbage", "garbage", cgroup("model", "model/main")):
        books.tick(where=where)
    accounts = books.tick(where="garbage")

    assert accounts.failures["cgroup_unreadable"] == 2
    assert accounts.failures["pid_reused"] == 0


def test_the_devices_own_utilisation_is_a_mean_of_the_minute() -> None:
    """The driver's own busy share is averaged over the last 60 s."""
    books = Books()
    books.tick(utilization=0.0)

    assert books.tick(utilization=1.0).devices[GPU].utilization == 0.5


def test_init_and_app_containers_share_one_ledger() -> None:
    """A namespace is billed per pod the larger of its init container and its app containers, not their sum."""
    model = pod("model", containers=("main", "prepare"), granted=f"{GPU},NVIDIA,2000,0:;{GPU},NVIDIA,3000,0:;")
    prepare = replace(model.containers[1], kind="init")
    model = replace(model, containers=(prepare, model.containers[0]))
    books = Books()
    books.tick(names=names(model))

    account = books.tick(names=names(model)).namespaces[GPU, "team"]

    assert account.memory_granted == 3000 * MIB


def test_a_destroyed_instance_is_forgotten_after_a_while() -> None:
    """Instances come and go with UUIDs of their own: what was used on one stays to be scraped, and then goes."""
    books, whole = Books(), reading(memory=None, processes=None, core=None)
    one = reading({7: GIB}, uuid="MIG-1", core=None)
    instance = replace(one, device=replace(one.device, parent=GPU))
    seen = []
    for clock in (100.0, 101.0, 102.0, 900.0, 1800.0, 1900.0):
        there = [replace(reading_, clock=clock) for reading_ in ([whole, instance] if clock < 102 else [whole])]
        found = processes(process(7, cgroup("model", "model/main")))
        result, books.carry = joined(driver(*there), found, names(pod("model")), books.carry)
        accounts = books.accounting.book(result)
        seen.append((("MIG-1", "team") in accounts.namespaces, "MIG-1" in accounts.devices, GPU in accounts.devices))

    assert seen == [(True, True, True)] * 4 + [(False, False, True)] * 2
