"""What a scrape, a tick and the resident program cost: `python -m tests.bench` prints a table.

The real program as a child: a fake driver library with 8 GPUs and 400 processes, a procfs tree, an API server with 96
pods, and a region of HAMi-core for each of them. Beside it the two parts of a tick that grow with what tenants write.
`python -m tests.bench quota` does the same for the quota role in a large cluster, `quota-memory` looks at its memory
over 200,000 events. Figures are this machine's, now; where it is noisy the ratios say more. Nothing here fails on time.
"""

from __future__ import annotations

import gc
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from exporter.sources.nvml import NvmlGpus
from tests.bench import grants, quota, regions
from tests.cache_files import CacheFile, Slot, put
from tests.fake_driver import FakeGpu, FakeMemory, FakeProcess, FakeSample
from tests.make import GIB, MIB, cgroup, uid
from tests.world import World, manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.program import Program

GPUS, PODS_EACH, PROCESSES = 8, 12, 400
PROMETHEUS: Final = {"Accept": "text/plain;version=0.0.4", "Accept-Encoding": "gzip"}


def uuid(number: int) -> str:
    """Return the UUID of a GPU of the bench."""
    return f"GPU-{number:08d}-0000-0000-0000-000000000000"


def furnish(world: World) -> None:
    """Put 8 GPUs, 96 pods with a grant and a region each, and 400 processes into the world."""
    per_gpu = PROCESSES // GPUS
    gpus = []
    for number in range(GPUS):
        pids = range(1000 + number * per_gpu, 1000 + (number + 1) * per_gpu)
        for pod in range(PODS_EACH):
            furnish_pod(world, number, pod, pids[pod::PODS_EACH])
        gpus.append(
            FakeGpu(
                uuid(number),
                memory=FakeMemory(used=per_gpu * 512 * MIB + GIB),
                processes=[FakeProcess(pid, 512 * MIB) for pid in pids],
                samples=[FakeSample(pid, 2) for pid in pids],
                whole="live",
                utilization=90,
            )
        )
    world.driver.set(gpus)


def furnish_pod(world: World, number: int, pod: int, pids: Sequence[int]) -> None:
    """Put a pod with a grant on one GPU into the world, its processes, and the region in which they are counted."""
    name = f"model-{number}-{pod}"
    world.kube.put(manifest(name, uuid(number), namespace=f"team-{pod}", mib=4000, cores=8))
    slots = [Slot(inner, [512 * MIB], pid) for inner, pid in enumerate(pids, start=1)]
    for slot in slots:
        world.proc.put(slot.host_pid, cgroup(name, f"{name}/main"), inner=slot.pid)
    region = CacheFile(uuids=[uuid(number)], limits=[4000 * MIB], cores=[8], slots=slots)
    put(world.containers, region.bytes(), box=f"{uid(name)}_main")


def scrapes(world: World) -> tuple[list[float], list[float], int]:
    """Return (cold, warm, bytes): ms of the first scrape of a snapshot, and of those that follow."""
    cold, warm, size = [], [], 0
    last = ""
    for _ in range(60):
        while (stamp := timestamp(world)) == last:
            time.sleep(0.02)
        last = stamp
        time.sleep(0.3)  # `timestamp` had it rendered as text: ask for what nobody asked for yet
        cold.append(timed(world)[0])
        for _ in range(10):
            spent, size = timed(world)
            warm.append(spent)
    return cold[3:], warm, size  # the first of their kind start threads and fill caches


def timestamp(world: World) -> str:
    """Return the time of the newest snapshot."""
    text = world.get("/metrics")[1]
    return next(line for line in text.splitlines() if line.startswith("vgpu_exporter_snapshot_timestamp"))


def timed(world: Program) -> tuple[float, int]:
    """Scrape as Prometheus does; return (ms, bytes)."""
    request = urllib.request.Request(f"http://127.0.0.1:{world.port}/metrics", headers=PROMETHEUS)
    begun = time.perf_counter()
    with urllib.request.urlopen(request, timeout=5) as answer:
        body = answer.read()
    return (time.perf_counter() - begun) * 1e3, len(body)


def usage(pid: int) -> tuple[float, float]:
    """Return (CPU seconds so far, resident MB) of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), resident / 1e6


def cpu_share(pid: int, seconds: float) -> float:
    """Return the share of a core that a process uses."""
    before, begun = usage(pid)[0], time.monotonic()
    time.sleep(seconds)
    return (usage(pid)[0] - before) / (time.monotonic() - begun)


def driver_share(library: str) -> float:
    """Return the share of a core that the driver's edge alone needs for the same GPUs, once a second."""
    gpus = NvmlGpus(1.0, [library])
    for _ in range(3):
        gpus.read(2)
    spent = []
    for _ in range(20):
        time.sleep(0.5)  # as long as there are samples to be had
        begun = time.process_time()
        gpus.read(2)
        spent.append(time.process_time() - begun)
    gpus.close()
    return statistics.mean(spent)


def quantile(values: list[float], share: float) -> float:
    """Return the value below which that share of the values lies."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def row(table: Table, what: str, figure: str, aim: str) -> None:
    """Add a line."""
    table.add_row(what, figure, aim)


def measure() -> Table:
    """Run everything and return the table."""
    table = Table("what", "measured here", "aim", title="8 GPUs, 96 containers, 400 processes")
    with World(Path(tempfile.mkdtemp(prefix="bench-"))) as world:
        furnish(world)
        world.start(interval="1s")
        assert world.child is not None
        world.wait_for(lambda: world.value("vgpu_device_up", device_uuid=uuid(7)) == 1, 30)
        world.wait_for(lambda: len(named(world, "vgpu_container_memory_used_bytes")) == GPUS * PODS_EACH, 30)
        world.wait_for(lambda: len(named(world, "vgpu_container_memory_counted_bytes")) == GPUS * PODS_EACH, 30)
        time.sleep(2)
        share, alone = cpu_share(world.child.pid, 20), driver_share(world.driver.library)
        cold, warm, size = scrapes(world)
        series = sum(1 for line in world.get("/metrics")[1].splitlines() if not line.startswith("#"))
        watches = [request.verb for request in world.kube.requests]
        row(table, "scrape, warm: p50 / p99", both(warm), "2 / 5 ms")
        row(table, "scrape, cold: p50 / p99", both(cold), "- / 30 ms")
        row(
            table,
            "scrape: series, bytes gzipped",
            f"{series}, {size}",
            f"{20 * GPUS * PODS_EACH + 45 * GPUS + 250} series",
        )
        row(table, "CPU at 1 s, the driver's edge included", f"{share:.2%} of a core", "")
        row(table, "the driver's edge alone (fake driver)", f"{alone:.2%} of a core", "")
        row(table, "CPU beyond the driver's edge", f"{share - alone:.2%} of a core", "1 %")
        row(table, "resident memory", f"{usage(world.child.pid)[1]:.0f} MB", "80 MB")
        row(table, "asked of the API server", ", ".join(watches), "one list, one watch, the own Node")
    gc.collect()
    gc.freeze()  # as the program does
    row(table, f"{regions.REGIONS} regions of 2 MB: best / p50 / p99", best(regions.measure()), "10 ms")
    row(table, f"{grants.PODS:,} pods' annotations: best / p50 / p99", best(grants.measure()), "50 ms")
    return table


def measure_quota() -> Table:
    """Return the quota role's table."""
    title = f"{quota.PODS:,} pods, {quota.PODS // quota.ONE_IN:,} of them with vGPUs; {quota.QUOTAS} quotas"
    table = Table("what", "measured here", "aim", title=title)
    with quota.Cluster(Path(tempfile.mkdtemp(prefix="bench-"))) as cluster:
        row(table, "ready", f"{cluster.start():.1f} s, {usage(cluster.pid)[0]:.1f} s of them CPU", "15 s")
        time.sleep(2)
        row(table, "series", f"{sum(not line.startswith('#') for line in cluster.get('/metrics')[1].splitlines())}", "")
        idle, share = under(cluster, 10)
        row(table, "scrape, nothing happens: p50 / p99", both(idle), "20 ms")
        row(table, "CPU, nothing happens, scrapes included", f"{share:.2%} of a core", "")
        order = quota.Order(10_000, 500, "behind-them")
        cluster.begin(order)
        busy, share = under(cluster, order.events / order.rate)
        rate, behind = cluster.finish(order)
        row(table, f"scrape, {rate:.0f} pod events a second: p50 / p99", both(busy), "20 ms")
        row(table, "CPU meanwhile, scrapes included", f"{share:.2%} of a core", "30 %")
        row(table, "the last event is in the scrape after", f"{behind:.1f} s", "")
        row(table, "resident memory", f"{usage(cluster.pid)[1]:.0f} MB", "200 MB")
    row(table, "load of the machine, 1 min", f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs", "")
    return table


def under(cluster: Program, seconds: float) -> tuple[list[float], float]:
    """Scrape ten times a second for a while; return the milliseconds, and the program's share of a core meanwhile."""
    assert cluster.child is not None
    before, begun = usage(cluster.child.pid)[0], time.monotonic()
    taken = []
    while time.monotonic() - begun < seconds:
        taken.append(timed(cluster)[0])
        time.sleep(0.1)
    return taken, (usage(cluster.child.pid)[0] - before) / (time.monotonic() - begun)


def measure_memory() -> Table:
    """Return what the quota role's resident memory is while 200,000 pod events come in."""
    table = Table("pod events", "resident", title="memory of the quota role")
    with quota.Cluster(Path(tempfile.mkdtemp(prefix="bench-"))) as cluster:
        cluster.start()
        for so_far in range(0, 200_001, 25_000):
            order = quota.Order(25_000 if so_far else 1, 5000, f"behind-{so_far}")
            cluster.begin(order)
            cluster.finish(order)
            table.add_row(f"{so_far:,}", f"{usage(cluster.pid)[1]:.1f} MB")
    return table


def named(world: World, name: str) -> list[float]:
    """Return the values of all series of a metric."""
    families = text_string_to_metric_families(world.get("/metrics")[1])
    return [sample.value for family in families for sample in family.samples if sample.name == name]


def both(values: list[float]) -> str:
    """Return the median and the 99th percentile of milliseconds."""
    return f"{quantile(values, 0.5):.2f} / {quantile(values, 0.99):.2f} ms"


def best(values: list[float]) -> str:
    """Return the least, too: on a busy machine it comes nearest to what the work itself takes."""
    return f"{min(values):.2f} / {both(values)}"


PARTS: Final = {"node": measure, "quota": measure_quota, "quota-memory": measure_memory}


def main(parts: Sequence[str]) -> None:
    """Print the table of each part."""
    for part in parts or ("node",):
        Console(width=110).print(PARTS[part]())


if __name__ == "__main__":
    main(sys.argv[1:])
