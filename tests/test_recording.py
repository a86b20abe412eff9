"""The laws, over the whole recorded H200: what the exporter says against what each process counted for itself."""

from __future__ import annotations

import gzip
import json
import re
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from exporter.roles.demo import RECORDING
from tests.replay import Replay

if TYPE_CHECKING:
    from exporter.snapshot import PairUse, Snapshot

UUID = "GPU-11cf3a2c-5320-be5a-c26f-88e189a03e14"
LINES: list[dict[str, Any]] = [json.loads(line) for line in gzip.decompress(RECORDING.read_bytes()).splitlines()]
TRUTH = [line for line in LINES if line["kind"] == "truth" and line["stdout"]]


@pytest.fixture(name="played", scope="module")
def _played() -> list[Snapshot]:
    """Return every snapshot of the whole recording."""
    return list(Replay().snapshots(95))


def pod_bytes(snapshot: Snapshot, pod: str) -> tuple[int | None, int | None]:
    """Return (used, granted) of a pod's only container."""
    [pair] = [pair for pair in snapshot.joined.pairs if pair.owner.pod.startswith(pod)]
    return pair.used, pair.memory_granted


def test_memory_closes_at_every_sample_to_the_byte(played: list[Snapshot]) -> None:
    """At every sample: used + overcounted = attributed + every unattributed reason, to the byte (law 1)."""
    for snapshot in played:
        [use] = snapshot.joined.devices
        assert use.reading is not None
        assert use.reading.memory is not None
        assert use.overcounted is not None
        assert use.attributed is not None
        assert use.unattributed is not None
        assert use.reading.memory.used + use.overcounted == use.attributed + sum(use.unattributed.values())


def test_core_time_closes_over_every_minute(played: list[Snapshot]) -> None:
    """Over every span of 60 s busy time is what containers and reasons used, within 1 % (law 1)."""
    accounts = [snapshot.accounts.devices[UUID] for snapshot in played]

    for early, late in zip(accounts, accounts[60:], strict=False):
        busy = late.busy - early.busy
        attributed = late.attributed - early.attributed
        rest = sum(late.unattributed.values()) - sum(early.unattributed.values())
        assert attributed + rest == pytest.approx(busy, rel=0.01)


def test_attributed_is_the_sum_of_the_namespaces(played: list[Snapshot]) -> None:
    """What is attributed is exactly what the namespaces are billed, at every sample (law 1)."""
    for snapshot in played:
        billed = sum(account.busy or 0.0 for account in snapshot.accounts.namespaces.values())
        assert snapshot.accounts.devices[UUID].attributed == pytest.approx(billed, abs=1e-9)


def test_counters_never_go_back(played: list[Snapshot]) -> None:
    """No account is ever smaller than a second before."""
    for early, late in pairwise(played):
        assert late.accounts.devices[UUID].busy >= early.accounts.devices[UUID].busy
        for key, account in early.accounts.namespaces.items():
            now = late.accounts.namespaces[key]
            assert (now.busy or 0) >= (account.busy or 0)
            assert now.memory_used >= account.memory_used
            assert (now.energy or 0) >= (account.energy or 0)


def test_energy_closes(played: list[Snapshot]) -> None:
    """The namespaces' joules and the unattributed ones add up to what the GPU used."""
    account = played[-1].accounts.devices[UUID]
    billed = sum(account.energy or 0.0 for account in played[-1].accounts.namespaces.values())

    assert account.energy is not None
    assert account.energy_unattributed is not None
    assert billed + account.energy_unattributed == pytest.approx(account.energy)


@pytest.mark.parametrize("line", TRUTH, ids=[line["key"] for line in TRUTH])
def test_each_process_comes_within_2_5_gpu_seconds_of_its_own_count(
    line: dict[str, Any], played: list[Snapshot]
) -> None:
    """What the windows book on a process is within 2.5 GPU-seconds of the kernel time it counted itself."""
    match = re.search(r"true_gpu_s ([0-9.]+)", line["stdout"])
    booked = sum(
        reading.window.busy.get(line["pid"], 0.0)
        for snapshot in played
        for use in snapshot.joined.devices
        if (reading := use.reading) is not None and reading.window is not None
    )

    assert match is not None
    assert booked == pytest.approx(float(match[1]), abs=2.5)


def test_all_gpu_seconds_of_the_recording_are_booked(played: list[Snapshot]) -> None:
    """No window is lost: the sum of all windows is the recording's own, 86.14 GPU-seconds."""
    recorded: dict[str, float] = defaultdict(float)
    for line in LINES:
        for gpu in line.get("gpus", ()) if line["kind"] == "sample" else ():
            newest = max((one["timestamp_us"] for one in gpu["process_utilization"]), default=None)
            for one in gpu["process_utilization"]:
                recorded[gpu["uuid"]] += one["sm"] / 100 * (newest - gpu["last_seen_us"]) / 1e6

    assert played[-1].accounts.devices[UUID].busy == pytest.approx(recorded[UUID])


def test_ten_pods_nine_grants(played: list[Snapshot]) -> None:
    """All ten pods have series, nine with a grant; legacy-train-0 uses the GPU with a grant of 0 (laws 0 and 8)."""
    pairs = played[80].joined.pairs

    assert len(pairs) == 10
    assert sum(1 for pair in pairs if pair.memory_granted) == 9
    assert pod_bytes(played[80], "legacy-train-0") == (3688890368, 0)


def test_the_idle_notebook_is_at_zero_from_birth(played: list[Snapshot]) -> None:
    """notebook-0 holds its grant and uses 0 in every snapshot, though nothing ever ran in it (law 2)."""
    assert {pod_bytes(snapshot, "notebook-0") for snapshot in played} == {(0, 4000 * 2**20)}


def test_the_escape_lands_on_its_pod(played: list[Snapshot]) -> None:
    """The 6 GB of a process without libvgpu land on ssh-lab-0, which was granted 2000 MiB."""
    used_before, _ = pod_bytes(played[60], "ssh-lab-0")
    used, granted = pod_bytes(played[80], "ssh-lab-0")

    assert used_before is not None
    assert used is not None
    assert granted == 2000 * 2**20
    assert used - used_before > 6e9


def test_the_host_process_is_nobodys(played: list[Snapshot]) -> None:
    """The process outside Kubernetes is unattributed with reason host, its core time too, and no namespace pays."""
    [use] = played[80].joined.devices

    assert use.unattributed is not None
    assert use.unattributed["host"] == 1591738368
    assert played[80].accounts.devices[UUID].unattributed["host"] > 1


def test_a_restarted_container_keeps_its_counter(played: list[Snapshot]) -> None:
    """The reranker, killed at 45 s and back at 55 s under a new PID, shows 0 bytes between and goes on counting."""

    def busy(second: int) -> float:
        [account] = [
            account for (_, owner), account in played[second].accounts.pairs.items() if "reranker" in owner.pod
        ]
        return account.busy or 0.0

    assert pod_bytes(played[50], "vllm-bge-reranker")[0] == 0
    assert 0 < busy(44) <= busy(50) < busy(80)


def test_nothing_of_the_recording_fails_to_be_placed(played: list[Snapshot]) -> None:
    """No process or pod of the recording counts as a failure."""
    assert set(played[-1].accounts.failures.values()) == {0}


@pytest.mark.parametrize("second", [30, 50, 80])
def test_hami_core_agrees_with_the_driver_on_well_behaved_containers(played: list[Snapshot], second: int) -> None:
    """At the moments when the regions were read: limits are the grants, and counted is used, to the byte."""
    [escaped, *rest] = sorted(counted_pairs(played[second]), key=lambda pair: pair.owner.pod != "ssh-lab-0")

    for pair in [escaped, *rest]:
        assert pair.counted.limit == pair.memory_granted
        assert pair.counted.core_limit == pair.core_granted
        assert pair.counted.blind is False
        assert pair.counted.last_kernel is not None
    assert [pair.counted.counted for pair in rest] == [pair.used for pair in rest]
    assert {(pair.counted.uncounted, pair.counted.processes_uncounted) for pair in rest} == {(0, 0)}
    assert len(rest) == 7


@pytest.mark.parametrize(("second", "uncounted", "processes"), [(30, 0, 0), (50, 0, 0), (80, 6_834_618_368, 1)])
def test_an_escape_shows_as_memory_that_libvgpu_never_counted(
    played: list[Snapshot], second: int, uncounted: int, processes: int
) -> None:
    """From 62 s on a process without libvgpu takes 6 GB in ssh-lab-0: counted stays, used and uncounted grow."""
    [pair] = [pair for pair in counted_pairs(played[second]) if pair.owner.pod == "ssh-lab-0"]

    assert (pair.counted.uncounted, pair.counted.processes_uncounted) == (uncounted, processes)
    assert pair.counted.counted is not None
    assert pair.used == pair.counted.counted + uncounted


def counted_pairs(snapshot: Snapshot) -> list[PairUse]:
    """Return the pairs of containers that have a region."""
    return [pair for pair in snapshot.joined.pairs if pair.counted.limit is not None]
