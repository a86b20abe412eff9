"""Exporters that cannot see: a real Prometheus says so, each once, and accuses nobody of anything.

Left out of the default run: `make test-live`.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.cache_files import CacheFile, Slot, put
from tests.fake_driver import Code, FakeGpu, FakeMemory, FakeProcess, FakeSample
from tests.make import GIB, cgroup, uid
from tests.monitored import job, scraped
from tests.waiting import until
from tests.world import World, manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.monitored import Prometheus

pytestmark = pytest.mark.live

#: The slowest alert about an exporter or a GPU waits 15 min, which is 7.5 s at this speed.
TIME_SCALE: Final = 120
#: Scrapes until all that would fire has had its time, twice over.
PATIENCE: Final = 20

BLINDED: Final = ("nvml", "procfs", "pods", "regions")


def blind(world: World, source: str) -> None:
    """Take away what one source reads."""
    if source == "nvml":
        world.driver.set([], errors={"*": Code.DRIVER_NOT_LOADED})
    elif source == "procfs":
        world.proc.root.rename(world.directory / "elsewhere")
    elif source == "pods":
        world.kube.refuse()
    else:
        world.containers.rename(world.directory / "nowhere")
        world.containers.write_text("no directory")


def healthy(world: World, number: int) -> World:
    """Start a node on which one pod uses half of its grant, seen by libvgpu as well."""
    uuid = f"GPU-00000000-0000-0000-0000-00000000000{number}"
    world.kube.put(manifest("model", uuid))
    world.proc.put(7, cgroup("model", "model/main"))
    world.driver.set(
        [
            FakeGpu(
                uuid, memory=FakeMemory(used=GIB), processes=[FakeProcess(7, GIB)], samples=[FakeSample(7, 20)],
                utilization=20,
            )
        ]
    )  # fmt: skip
    put(
        world.containers,
        CacheFile(uuids=[uuid], slots=[Slot(1, [GIB], host_pid=7)]).bytes(),
        box=f"{uid('model')}_main",
    )
    world.start()
    world.wait_for(lambda: world.value("vgpu_container_memory_counted_bytes", pod="model") == GIB)
    return world


def named(world: World, source: str) -> dict[str, Any]:
    """Return a scrape configuration that gives the node, and its series, a name of its own: all are `node-1`."""
    renamed = [{"source_labels": ["node"], "regex": ".+", "target_label": "node", "replacement": source}]
    return job(f"vgpu-tenant-exporter-{source}", f"127.0.0.1:{world.port}", metric_relabel_configs=renamed)


def firing(prometheus: Prometheus) -> set[tuple[str, str, str]]:
    """Return (job, alert, source) of all that fire."""
    alerts = [alert["labels"] for alert in prometheus.ask("alerts")["alerts"] if alert["state"] == "firing"]
    return {(of.get("job", ""), of["alertname"], of.get("source", "")) for of in alerts}


@pytest.fixture(name="prometheus", scope="module")
def _prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Give a Prometheus that saw four nodes well, and then each blind in its own way for long enough."""
    with ExitStack() as stack:
        worlds = {
            source: healthy(stack.enter_context(World(tmp_path_factory.mktemp(source))), number)
            for number, source in enumerate(BLINDED)
        }
        jobs = [named(world, source) for source, world in worlds.items()]
        prometheus = stack.enter_context(scraped(tmp_path_factory.mktemp("prometheus"), jobs, time_scale=TIME_SCALE))
        until(lambda: prometheus.series("vgpu_container_core_busy_seconds_total > 0.5"), 30)
        for source, world in worlds.items():
            blind(world, source)
        time.sleep(PATIENCE)
        yield prometheus


def test_nothing_fires_on_a_blind_exporter_but_that_it_is_blind(prometheus: Prometheus) -> None:
    """One alert for each source that does not answer: no GPU is called lost, no tenant idle, no memory nobody's."""
    wanted = {(f"vgpu-tenant-exporter-{source}", "VgpuExporterBlind", source) for source in BLINDED}

    assert firing(prometheus) == wanted
