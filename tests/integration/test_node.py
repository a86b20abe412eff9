"""The whole node role as a child process, among a real driver library, API server and procfs tree: faults and all."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.cache_files import CacheFile, Slot, put
from tests.fake_driver import Code, FakeGpu, FakeMemory, FakeProcess, FakeSample
from tests.make import GIB, cgroup, uid
from tests.world import World, manifest, node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

A, B, C = ("GPU-00000000-0000-0000-0000-00000000000" + digit for digit in "abc")
USED = "vgpu_container_memory_used_bytes"


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> Iterator[World]:
    """Give a node with one GPU, on which the pod `model` uses 1 GiB and 40 % of the SMs."""
    with World(tmp_path) as world:
        world.kube.put(manifest("model", A))
        world.proc.put(7, cgroup("model", "model/main"))
        world.driver.set([gpu(A)])
        yield world


def gpu(uuid: str, pid: int = 7, **fields: object) -> FakeGpu:
    """Return a GPU on which one process runs."""
    defaults: dict[str, object] = {
        "memory": FakeMemory(used=GIB),
        "processes": [FakeProcess(pid, GIB)],
        "samples": [FakeSample(pid, 40)],
        "utilization": 40,
    }
    return FakeGpu(uuid, **(defaults | fields))  # type: ignore[arg-type]


def test_a_node_publishes_who_uses_what(world: World) -> None:
    """Driver, /proc and API server together give a container's memory, grant and core seconds."""
    world.start()

    world.wait_for(lambda: (world.value("vgpu_container_core_busy_seconds_total", pod="model") or 0) > 0.3)

    assert world.value(USED, namespace="team", pod="model", container="main", device_uuid=A) == GIB
    assert world.value("vgpu_container_memory_granted_bytes", pod="model") == 2000 * 2**20
    assert world.get("/readyz") == (200, "ok\n")
    assert world.get("/healthz") == (200, "ok\n")
    assert "model" in world.get("/")[1]


def test_a_new_pod_is_seen_and_a_deleted_one_is_gone(world: World) -> None:
    """Through the watch a pod has series at once, and none once it is deleted; its use is then unknown_pod."""
    world.start()
    world.wait_for(lambda: world.value(USED, pod="model") == GIB)
    world.kube.put(manifest("notebook", A))
    world.wait_for(lambda: world.value(USED, pod="notebook") == 0)

    world.kube.delete("team", "model")
    world.wait_for(lambda: world.value(USED, pod="model") is None)

    assert world.value("vgpu_device_memory_unattributed_bytes", reason="unknown_pod") == GIB
    assert (world.value("vgpu_namespace_core_busy_seconds_total", namespace="team") or 0) >= 0


def test_only_the_one_watch_is_asked_of_the_api_server(world: World) -> None:
    """In steady state the API server is asked one list and one watch, and nothing else."""
    world.start()
    world.wait_for(lambda: world.value(USED, pod="model") == GIB)
    time.sleep(1.5)

    assert [request.verb for request in (*world.kube.asked("list"), *world.kube.asked("watch"))] == ["list", "watch"]


def test_what_hami_registered_stands_beside_what_the_card_has(world: World) -> None:
    """HAMi's registration gives the sharing mode, slots and the scaled memory; a GPU the driver lacks is down."""
    world.kube.put(
        node(
            node_nvidia_register=f"{A},10,288768,100,NVIDIA-H200,0,true,0,hami-core:{B},10,1024,100,x,0,true,1,hami-core:"
        )
    )
    world.start()
    world.wait_for(lambda: world.value("vgpu_device_slots", device_uuid=A) == 10)

    assert world.value("vgpu_device_info", device_uuid=A, sharing_mode="hami-core") == 1
    assert world.value("vgpu_device_memory_schedulable_bytes", device_uuid=A) == 288768 * 2**20
    assert world.value("vgpu_device_memory_total_bytes", device_uuid=A) == 141 * GIB
    assert world.value("vgpu_device_core_schedulable_ratio", device_uuid=A) == 1
    assert world.value("vgpu_device_up", device_uuid=B) == 0
    assert world.value("vgpu_source_up", source="node") == 1


def test_what_hami_core_counted_stands_beside_what_the_driver_says(world: World) -> None:
    """A HAMi-core region gives limit and count; a process that it does not know shows as an escape."""
    world.proc.put(8, cgroup("model", "model/main"), inner=30)
    world.driver.set(
        [gpu(A, memory=FakeMemory(used=3 * GIB), processes=[FakeProcess(7, GIB), FakeProcess(8, 2 * GIB)])]
    )
    region = CacheFile(uuids=[A], slots=[Slot(1, [GIB], host_pid=7)])
    put(world.containers, region.bytes(), box=f"{uid('model')}_wrong-name")
    world.start()
    world.wait_for(lambda: world.value("vgpu_container_memory_counted_bytes", pod="model") == GIB)

    assert world.value("vgpu_container_memory_limit_bytes", pod="model") == 2000 * 2**20
    assert world.value("vgpu_container_core_limit_ratio", pod="model") == 0.3
    assert world.value("vgpu_container_memory_uncounted_bytes", pod="model") == 2 * GIB
    assert world.value("vgpu_container_processes_uncounted", pod="model") == 1
    assert world.value("vgpu_container_hami_core_blind", pod="model") == 0
    assert world.value("vgpu_source_up", source="regions") == 1
    (world.containers / f"{uid('model')}_wrong-name" / "a.cache").write_bytes(b"rubbish")
    world.wait_for(lambda: world.value("vgpu_attribution_failures_total", reason="region_malformed") == 1)
    assert world.value("vgpu_container_memory_counted_bytes", pod="model") is None
    assert world.value(USED, pod="model") == 3 * GIB


def test_without_a_driver_the_program_waits_for_one(tmp_path: Path) -> None:
    """No NVML library: alive but not ready, the source is down and counted; when it comes, data comes."""
    with World(tmp_path, installed=False) as world:
        world.driver.set([FakeGpu(A)])
        world.start()
        assert world.get("/readyz")[0] == 503
        assert world.get("/healthz")[0] == 200
        assert world.value("vgpu_source_up", source="nvml") == 0
        world.wait_for(
            lambda: (world.value("vgpu_source_errors_total", source="nvml", reason="library_not_found") or 0) > 0
        )

        world.driver.install()

        world.wait_for(lambda: world.get("/readyz")[0] == 200)
        assert world.value("vgpu_source_up", source="nvml") == 1


def test_one_lost_gpu_costs_itself_only(world: World) -> None:
    """When the driver loses one GPU of three, the others stay whole and its own series say that it is down."""
    world.kube.put(manifest("other", B))
    world.proc.put(8, cgroup("other", "other/main"))
    world.driver.set([gpu(A), gpu(B, 8), FakeGpu(C)])
    world.start()
    world.wait_for(lambda: world.value(USED, pod="other") == GIB)

    world.driver.set([gpu(A), gpu(B, 8, errors={"*": Code.GPU_IS_LOST}), FakeGpu(C)])

    world.wait_for(lambda: (world.value("vgpu_source_errors_total", source="nvml", reason="gpu_lost") or 0) > 0)
    world.wait_for(lambda: world.value("vgpu_device_up", device_uuid=B) == 0, 15)
    assert world.value("vgpu_device_up", device_uuid=A) == 1
    assert world.value(USED, pod="model") == GIB
    assert world.value(USED, pod="other") is None
    assert world.value("vgpu_container_memory_granted_bytes", pod="other") == 2000 * 2**20


def test_a_hanging_driver_call_costs_its_gpu_only_and_a_stop_does_not_wait(world: World) -> None:
    """While one GPU's call hangs, the other's counters move and scrapes answer; SIGTERM still ends it in time."""
    block = world.directory / "block"
    block.touch()
    world.kube.put(manifest("other", B))
    world.proc.put(8, cgroup("other", "other/main"))
    world.driver.set([gpu(A), gpu(B, 8)])
    world.start()
    world.wait_for(lambda: world.value(USED, pod="other") == GIB)
    world.driver.set([gpu(A), gpu(B, 8, hangs={"*": block})])
    time.sleep(1)

    before = world.value("vgpu_container_core_busy_seconds_total", pod="model")
    stuck = world.value("vgpu_container_core_busy_seconds_total", pod="other")
    time.sleep(1.5)
    assert (world.value("vgpu_container_core_busy_seconds_total", pod="model") or 0) > (before or 0)
    assert world.value("vgpu_container_core_busy_seconds_total", pod="other") == stuck

    assert world.child is not None
    begun = time.monotonic()
    world.child.send_signal(signal.SIGTERM)
    assert world.child.wait(timeout=6) == 0
    assert time.monotonic() - begun < 5
    block.unlink()


def test_the_known_pods_serve_on_while_the_api_server_is_away(world: World) -> None:
    """When the API server goes away the last known pods stay, and source_up says that they are old (law 4)."""
    world.start()
    world.wait_for(lambda: world.value(USED, pod="model") == GIB)

    world.kube.refuse()

    world.wait_for(lambda: world.value("vgpu_source_up", source="pods") == 0)
    assert world.value(USED, pod="model") == GIB
    world.kube.accept()
    world.wait_for(lambda: world.value("vgpu_source_up", source="pods") == 1)


def test_pods_older_than_their_time_lose_their_names(world: World) -> None:
    """After --pods-max-age without an API server names and grants are gone and use is unknown_pod (law 4)."""
    world.start("--pods-max-age=1s")
    world.wait_for(lambda: world.value(USED, pod="model") == GIB)

    world.kube.refuse()

    world.wait_for(lambda: world.value("vgpu_device_memory_unattributed_bytes", reason="unknown_pod") == GIB)
    assert world.value(USED, pod="model") is None
    assert world.value("vgpu_device_memory_granted_bytes") is None


def test_an_api_server_absent_at_the_start_blinds_until_it_comes(world: World) -> None:
    """Before the pods were ever listed no use is shown, only the device's totals (law 4)."""
    world.kube.refuse()
    world.start()
    world.wait_for(lambda: world.value("vgpu_device_memory_used_bytes") == GIB)
    assert world.value("vgpu_device_memory_attributed_bytes") is None
    assert world.get("/readyz")[0] == 200

    world.kube.accept()

    world.wait_for(lambda: world.value(USED, pod="model") == GIB)


def test_a_stopped_program_books_nothing_for_the_time_it_slept(world: World) -> None:
    """After SIGSTOP the window is thrown away: a sample gap, and observed time does not jump (law 9)."""
    world.start()
    world.wait_for(lambda: (world.value("vgpu_device_observed_seconds_total") or 0) > 0.5)
    assert world.child is not None

    observed = world.value("vgpu_device_observed_seconds_total")
    begun = time.monotonic()
    world.child.send_signal(signal.SIGSTOP)
    time.sleep(3)  # more than the five intervals that count as watched
    before = time.monotonic()
    world.child.send_signal(signal.SIGCONT)

    world.wait_for(lambda: world.value("vgpu_source_errors_total", source="nvml", reason="sample_gap") == 1)
    world.wait_for(lambda: time.monotonic() - before > 1)
    after = world.value("vgpu_device_observed_seconds_total")
    assert observed is not None
    assert after is not None
    assert after - observed < time.monotonic() - begun - 2  # the 3 s asleep are not in it, whatever was late


def test_no_kubernetes_at_all_gives_owners_without_names(world: World) -> None:
    """With --no-kubernetes use inside pods is unknown_pod, and there is no pods source to be down."""
    world.start("--no-kubernetes")

    world.wait_for(lambda: world.value("vgpu_device_memory_unattributed_bytes", reason="unknown_pod") == GIB)
    assert world.value("vgpu_source_up", source="pods") is None
    assert world.kube.asked("list") == []


def test_sighup_takes_over_the_label_allow_list_and_keeps_the_rest(world: World) -> None:
    """After SIGHUP a label that the file now allows is published; a changed interval is refused in words."""
    world.kube.put(manifest("model", A, team="vision"))
    file = world.directory / "config.yaml"
    file.write_text("log-level: info\n")
    world.start(f"--config={file}")
    world.wait_for(lambda: world.value(USED, pod="model") == GIB)
    assert world.value("vgpu_pod_labels", pod="model") is None
    assert world.child is not None

    file.write_text("pod-labels: [team]\npods-max-age: 1h\n")
    world.child.send_signal(signal.SIGHUP)

    world.wait_for(lambda: world.value("vgpu_pod_labels", pod="model", label_team="vision") == 1)
    assert "restart for the rest" in world.log.read_text()


def test_a_bad_file_at_sighup_changes_nothing(world: World) -> None:
    """A file that cannot be used at SIGHUP is named in the log, and the program goes on as it was."""
    file = world.directory / "config.yaml"
    file.write_text("log-level: info\n")
    world.start(f"--config={file}")
    assert world.child is not None

    file.write_text("log-levle: debug\n")
    world.child.send_signal(signal.SIGHUP)

    world.wait_for(lambda: "log-levle" in world.log.read_text())
    assert world.get("/healthz")[0] == 200
