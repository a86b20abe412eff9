"""The quota role as a user runs it, against a real API server: what it says of quotas, grants and waiting pods.

The numbered scenarios are those of the acceptance list.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.quota_world import GPU, GPUCORES, GPUMEM, MIB, QuotaWorld, container, namespace, pod, quota, slot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HARD = "vgpu_namespace_quota_memory_bytes"
GRANTED = "vgpu_namespace_granted_memory_bytes"
DEVICES = "vgpu_namespace_granted_devices"
CORES = "vgpu_namespace_granted_core_ratio"
ENTRIES = f"{slot(4000)};{slot(2000, card=2)};"


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> Iterator[QuotaWorld]:
    """Give a cluster with one empty namespace, `team`."""
    with QuotaWorld(tmp_path) as world:
        yield world


# ---------------------------------------------------------------- the scenarios


def test_two_percentage_workers_add_up_in_bytes(world: QuotaWorld) -> None:
    """Scenario 2: five workers that asked by percentage count what the scheduler gave them, in bytes."""
    for index in range(5):
        asked = container("main", None, cores=None)
        asked["resources"]["limits"]["nvidia.com/gpumem-percentage"] = "9"
        world.kube.put(pod(f"worker-{index}", slot(2048) + ";", asked))
    world.ready()

    assert world.value(GRANTED, namespace="team", resource=GPUMEM) == 5 * 2048 * MIB
    assert world.value(DEVICES, namespace="team", resource=GPU) == 5


def test_cores_that_nobody_limited_are_no_quota(world: QuotaWorld) -> None:
    """Scenario 6: a pod without gpucores is granted memory and no cores, and there is no quota to hold it against."""
    world.kube.put(pod("free", slot(2000, 0) + ";", container("main", 2000, cores=None)))
    world.ready()

    assert world.value(GRANTED, namespace="team") == 2000 * MIB
    assert not world.value(CORES, namespace="team")
    assert world.value("vgpu_namespace_quota_core_ratio") is None


def test_every_gpu_of_a_pod_counts(world: QuotaWorld) -> None:
    """Scenario 12: a container with two GPUs was granted twice the memory and the cores of one."""
    world.kube.put(pod("parallel", slot(8000) + slot(8000, card=2) + ";", container("main", 8000, gpus=2)))
    world.ready()

    assert world.value(GRANTED, namespace="team", resource=GPUMEM) == 16000 * MIB
    assert world.value(CORES, namespace="team", resource=GPUCORES) == pytest.approx(0.6)
    assert world.value(DEVICES, namespace="team", resource=GPU) == 2
    assert world.value("vgpu_node_granted_containers", node="node-a") == 1


@pytest.mark.parametrize(
    "allocated",
    [";" + ENTRIES, ENTRIES, ",,0,0:;" + ENTRIES],
    ids=["placeholder", "compacted", "empty device"],
)
def test_an_init_container_without_a_gpu_shifts_nothing(world: QuotaWorld, allocated: str) -> None:
    """Scenario 13: apps behind a CPU-only init container hold what they asked for, however its slot is written."""
    both = (container("one", 4000), container("two", 2000))
    world.kube.put(pod("apps", allocated, *both, init=(container("prepare", None, gpus=0),)))
    world.ready()

    assert world.value(GRANTED, namespace="team") == 6000 * MIB
    assert world.value("vgpu_node_granted_containers", node="node-a") == 2
    assert sum(world.values("vgpu_attribution_failures_total")) == 0


def test_a_finished_pod_gives_its_grant_back(world: QuotaWorld) -> None:
    """Scenario 15: a Completed pod that is still in the API holds nothing, and what the namespace holds falls."""
    running = pod("job", slot(2000) + ";")
    world.kube.put(quota("gpu", {f"limits.{GPUMEM}": "20000"}))
    world.kube.put(running)
    world.kube.put(pod("server", slot(3000) + ";", container("main", 3000)))
    world.ready()
    assert world.value(GRANTED, namespace="team") == 5000 * MIB

    world.kube.put(running | {"status": {"phase": "Succeeded"}})

    world.wait_for(lambda: world.value(GRANTED, namespace="team") == 3000 * MIB)
    assert world.value("vgpu_node_granted_containers", node="node-a") == 1


def test_a_quota_that_is_nearly_used_up_shows_both_figures(world: QuotaWorld) -> None:
    """Scenario 16: 18500 of 20000 MiB are granted; both figures stand side by side, with the quota that binds."""
    world.kube.put(quota("gpu", {f"limits.{GPUMEM}": "20000"}))
    for index, mib in enumerate((10000, 5000, 3500)):
        world.kube.put(pod(f"pod-{index}", slot(mib) + ";", container("main", mib)))
    world.ready()

    assert world.value(HARD, namespace="team", resource=GPUMEM) == 20000 * MIB
    assert world.value(GRANTED, namespace="team", resource=GPUMEM) == 18500 * MIB
    assert world.value("vgpu_namespace_quota_info", namespace="team", resource=GPUMEM, quota="gpu") == 1
    row = world.get("/")[1]
    assert "18,500 MiB" in row
    assert "92.5%" in row


def test_the_stricter_of_two_quotas_binds(world: QuotaWorld) -> None:
    """Scenario 17: of 20000 and 30000 the first binds; deleting the looser one changes nothing, the other much."""
    world.kube.put(quota("platform", {f"limits.{GPUMEM}": "20000"}))
    world.kube.put(quota("tenant", {f"requests.{GPUMEM}": "30000"}))
    world.ready()
    assert world.value(HARD, namespace="team", resource=GPUMEM) == 20000 * MIB
    assert world.value("vgpu_quota_memory_bytes", quota="tenant") == 30000 * MIB

    world.kube.delete("team", "tenant", "resourcequotas")
    world.wait_for(lambda: world.value("vgpu_quota_memory_bytes", quota="tenant") is None)
    assert world.value(HARD, namespace="team", resource=GPUMEM) == 20000 * MIB

    world.kube.delete("team", "platform", "resourcequotas")
    world.wait_for(lambda: world.value(HARD, namespace="team") is None)
    assert world.value("vgpu_namespace_quota_info", namespace="team") is None


def test_an_edited_quota_is_the_same_series(world: QuotaWorld) -> None:
    """Scenario 18: a hard value raised from 100 to 200 is the same series with the new value."""
    world.kube.put(quota("gpu", {f"limits.{GPUMEM}": "100"}))
    world.ready()
    before = {key for key in world.scrape() if key[0] == HARD}

    world.kube.put(quota("gpu", {f"limits.{GPUMEM}": "200"}))

    world.wait_for(lambda: world.value(HARD, namespace="team") == 200 * MIB)
    assert {key for key in world.scrape() if key[0] == HARD} == before


# ---------------------------------------------------------------- who owns, who waits, who forges


def test_the_tenant_is_a_label_of_the_namespace(world: QuotaWorld) -> None:
    """With --tenant-label that label's value owns the namespace, else its name; SIGHUP takes another label over."""
    world.kube.put(namespace("red-1", owner="red", unit="vision"))
    file = world.directory / "config.yaml"
    file.write_text("tenant-label: owner\n")
    world.ready(f"--config={file}")
    assert world.value("vgpu_namespace_info", namespace="red-1", tenant="red") == 1
    assert world.value("vgpu_namespace_info", namespace="team", tenant="team") == 1

    file.write_text("tenant-label: unit\nmemory-factor: 2\n")
    world.signal(signal.SIGHUP)

    world.wait_for(lambda: world.value("vgpu_namespace_info", namespace="red-1", tenant="vision") == 1)
    assert world.value("vgpu_namespace_info", namespace="red-1", tenant="red") is None
    assert "restart for the rest" in world.log.read_text()


def test_waiting_pods_count_by_reason(world: QuotaWorld) -> None:
    """A pod that HAMi found no card for waits for a reason of the closed list, and is gone once it is bound."""
    waiting = pod("waiting", None)
    message = "0/3 nodes are available: 3 CardInsufficientMemory."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    world.kube.put(waiting | {"status": {"phase": "Pending", "conditions": [condition]}})
    world.ready()
    assert world.value("vgpu_namespace_pending_pods", namespace="team", reason="memory") == 1

    world.kube.put(pod("waiting", slot(2000) + ";"))

    world.wait_for(lambda: world.value(GRANTED, namespace="team") == 2000 * MIB)
    assert not world.value("vgpu_namespace_pending_pods", namespace="team", reason="memory")


def test_a_forged_annotation_eats_no_quota(world: QuotaWorld) -> None:
    """A pod that asks for nothing and says that it got 80 GB holds nothing, and is counted once (law 8)."""
    world.kube.put(quota("gpu", {f"limits.{GPUMEM}": "20000"}))
    world.kube.put(pod("forger", slot(80000) + ";", container("main", None, gpus=0)))
    world.ready()
    time.sleep(2)  # more than one tick: once is once

    assert world.value(GRANTED, namespace="team", resource=GPUMEM) == 0
    assert world.value("vgpu_attribution_failures_total", reason="grant_unasked") == 1


# ---------------------------------------------------------------- HAMi's own names


def test_hamis_configmap_names_the_resources(world: QuotaWorld) -> None:
    """With --hami-config names and factor come from HAMi's ConfigMap, and a flag wins over it."""
    names = "resourceMemoryName: nvidia.com/vram\n  resourceCountName: nvidia.com/vgpu"
    world.kube.put(config_map(f"nvidia:\n  memoryFactor: 1024\n  {names}\n"))
    world.kube.put(quota("gpu", {"limits.nvidia.com/vram": "16", "limits.nvidia.com/vgpu": "4"}))
    world.ready("--hami-config=kube-system/hami-scheduler-device", "--memory-factor=2048")

    assert world.value(HARD, namespace="team", resource="nvidia.com/vram") == 16 * 2048 * MIB
    assert world.value("vgpu_namespace_quota_devices", namespace="team", resource="nvidia.com/vgpu") == 4
    assert world.value("vgpu_source_up", role="quota", source="hami_config") == 1


def test_without_hamis_configmap_the_defaults_serve(world: QuotaWorld) -> None:
    """Where the ConfigMap is missing its source says so, and HAMi's own names are used."""
    world.kube.put(quota("gpu", {f"limits.{GPUMEM}": "16"}))
    world.ready("--hami-config=nowhere/none")

    assert world.value(HARD, namespace="team", resource=GPUMEM) == 16 * MIB
    assert world.value("vgpu_source_up", source="hami_config") == 0
    assert (world.value("vgpu_source_errors_total", source="hami_config", reason="gone") or 0) >= 1


def test_a_file_names_the_resources(world: QuotaWorld) -> None:
    """With --resource-names the names come from a file, in HAMi's own words."""
    file = world.directory / "names.yaml"
    file.write_text("resourceMemoryName: nvidia.com/vram\n")
    world.kube.put(quota("gpu", {"limits.nvidia.com/vram": "16"}))
    world.ready(f"--resource-names={file}")

    assert world.value(HARD, namespace="team", resource="nvidia.com/vram") == 16 * MIB
    assert world.value("vgpu_source_up", source="hami_config") is None


def config_map(text: str) -> dict[str, object]:
    """Return HAMi's ConfigMap."""
    metadata = {"namespace": "kube-system", "name": "hami-scheduler-device"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"device-config.yaml": text}}


# ---------------------------------------------------------------- what goes wrong


def test_a_forbidden_kind_blinds_itself_only(world: QuotaWorld) -> None:
    """Where the quotas may not be listed their source is down and says why; grants serve, and /readyz names it."""
    world.kube.forbidden.add("resourcequotas")
    world.kube.put(pod("model", slot(2000) + ";"))
    world.start()
    world.wait_for(lambda: world.value(GRANTED, namespace="team") == 2000 * MIB)

    assert world.value("vgpu_source_up", source="quotas") == 0
    assert world.value("vgpu_source_up", source="pods") == 1
    world.wait_for(lambda: (world.value("vgpu_source_errors_total", source="quotas", reason="forbidden") or 0) >= 1)
    assert world.get("/healthz") == (200, "ok\n")
    status, reason = world.get("/readyz")
    assert (status, "quotas" in reason, "pods" in reason) == (503, True, False)

    world.kube.forbidden.clear()
    world.kube.put(quota("gpu", {f"limits.{GPUMEM}": "20000"}))
    world.wait_for(lambda: world.value(HARD, namespace="team") == 20000 * MIB, 40)
    assert world.get("/readyz") == (200, "ok\n")


def test_a_namespace_deleted_with_its_pods_is_gone(world: QuotaWorld) -> None:
    """Pods outlive their namespace for a moment: its series go as its objects go, and no other's do."""
    world.kube.put(namespace("doomed"))
    world.kube.put(quota("gpu", {f"limits.{GPUMEM}": "20000"}, namespace="doomed"))
    world.kube.put(pod("model", slot(2000) + ";", namespace="doomed"))
    world.kube.put(pod("model", slot(3000) + ";", container("main", 3000)))
    world.ready()

    world.kube.delete("", "doomed", "namespaces")
    world.wait_for(lambda: world.value("vgpu_namespace_info", namespace="doomed") is None)
    assert world.value(GRANTED, namespace="doomed") == 2000 * MIB
    world.kube.delete("doomed", "gpu", "resourcequotas")
    world.kube.delete("doomed", "model")

    world.wait_for(lambda: not [key for key in world.scrape() if ("namespace", "doomed") in key[1]])
    assert world.value(GRANTED, namespace="team") == 3000 * MIB


def test_a_storm_of_pods_is_kept_up_with(world: QuotaWorld) -> None:
    """Thousands of pods that come and go within seconds leave exactly those that stayed, and no list is asked anew."""
    world.ready()
    world.kube.wait_for_watch(count=3)
    for index in range(3000):
        world.kube.put(pod(f"pod-{index % 300}", slot(100) + ";", container("main", 100)))
        if index % 3 == 0:
            world.kube.delete("team", f"pod-{index % 300}")
    stayed = len(world.kube.listed("pods", lambda _: True)[1])

    world.wait_for(lambda: world.value(DEVICES, namespace="team", resource=GPU) == stayed)
    assert 0 < stayed < 300
    assert len(world.kube.asked("list")) == 3


def test_lists_that_change_between_pages_come_out_right(world: QuotaWorld) -> None:
    """What is created and deleted while pages are read is as it is in the end, neither lost nor doubled."""
    world.kube.largest_page = 20
    for index in range(200):
        world.kube.put(pod(f"pod-{index:03}", slot(100) + ";", container("main", 100)))
    stop = threading.Event()

    def change() -> None:
        for index in range(10_000):
            if stop.wait(0.001):
                return
            world.kube.put(pod(f"pod-{index % 200:03}", slot(100) + ";", container("main", 100)))
            world.kube.delete("team", f"pod-{(index * 7) % 200:03}")
            world.kube.put(pod(f"pod-{(index * 7) % 200:03}", slot(100) + ";", container("main", 100)))

    changing = threading.Thread(target=change)
    changing.start()
    world.ready()
    stop.set()
    changing.join()

    world.wait_for(lambda: world.value(GRANTED, namespace="team") == 200 * 100 * MIB)
    assert world.value(DEVICES, namespace="team", resource=GPU) == 200


def test_a_version_that_is_gone_is_listed_anew(world: QuotaWorld) -> None:
    """After HTTP 410 everything is listed again: what changed meanwhile is there, what was deleted is not."""
    world.kube.put(quota("gpu", {f"limits.{GPUMEM}": "100"}))
    world.kube.put(pod("model", slot(2000) + ";"))
    world.ready()
    world.kube.wait_for_watch(count=3)

    world.kube.expire()
    world.kube.put(quota("gpu", {f"limits.{GPUMEM}": "200"}))
    world.kube.delete("team", "model")

    world.wait_for(lambda: world.value(HARD, namespace="team") == 200 * MIB)
    world.wait_for(lambda: world.value(GRANTED, namespace="team", resource=GPUMEM) == 0)
    assert world.value("vgpu_source_errors_total", source="quotas", reason="gone") == 1


def test_what_was_known_serves_on_without_an_api_server(world: QuotaWorld) -> None:
    """While the API server is away the last figures stay, its sources are down, and it comes back by itself."""
    world.kube.put(quota("gpu", {f"limits.{GPUMEM}": "100"}))
    world.ready()

    world.kube.refuse()
    world.wait_for(lambda: world.values("vgpu_source_up", role="quota") == [0, 0, 0])
    assert world.value(HARD, namespace="team") == 100 * MIB
    assert world.get("/readyz") == (200, "ok\n")

    world.kube.accept()
    world.wait_for(lambda: world.values("vgpu_source_up", role="quota") == [1, 1, 1], 40)


def test_an_object_that_is_no_object_costs_itself_only(world: QuotaWorld) -> None:
    """A pod without a uid and a quota whose amount is no number are counted once, and the others serve."""
    broken = pod("broken", slot(2000) + ";")
    del broken["metadata"]["uid"]
    world.kube.put(broken)
    world.kube.put(quota("odd", {f"limits.{GPUMEM}": "many", f"limits.{GPU}": "4"}))
    world.ready()

    assert world.value("vgpu_namespace_quota_devices", namespace="team") == 4
    assert world.value(HARD, namespace="team") is None
    assert world.value("vgpu_attribution_failures_total", reason="pod_unreadable") == 1
    assert world.value("vgpu_attribution_failures_total", reason="quota_quantity") == 1


# ---------------------------------------------------------------- the program


def test_a_second_replica_gives_the_same_series(world: QuotaWorld, tmp_path: Path) -> None:
    """Nothing in the labels tells two replicas apart: rules can take the maximum of both."""
    world.kube.put(quota("gpu", {f"limits.{GPUMEM}": "100"}))
    world.kube.put(pod("model", slot(2000) + ";"))
    world.ready()
    (tmp_path / "second").mkdir()
    with QuotaWorld(tmp_path / "second") as second:
        second.kubeconfig = world.kubeconfig
        second.ready()

        assert set(second.scrape()) == set(world.scrape())


def test_it_ends_in_time(world: QuotaWorld) -> None:
    """SIGTERM ends it with code 0 within 5 s, although three watches are open."""
    world.ready("--log-format=json")
    world.kube.wait_for_watch(count=3)
    assert world.child is not None

    begun = time.monotonic()
    world.signal(signal.SIGTERM)

    assert world.child.wait(6) == 0
    assert time.monotonic() - begun < 5
    assert {json.loads(line)["level"] for line in world.log.read_text().splitlines()} == {"info"}


def test_only_three_lists_and_three_watches_are_asked(world: QuotaWorld) -> None:
    """In steady state each kind is listed once and watched once, and nothing else is asked."""
    world.ready()
    world.kube.wait_for_watch(count=3)
    time.sleep(1.5)

    assert sorted(request.verb for request in world.kube.requests) == ["list"] * 3 + ["watch"] * 3
