"""The cluster's edge against a real HTTP server: three kinds, each on its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from exporter.device_config import DeviceConfig
from exporter.hami.families import FAMILIES
from exporter.model import Failure
from exporter.sources.cluster import WatchedCluster
from exporter.sources.kube_api import Pace
from tests.quota_world import GPUMEM, MIB, container, namespace, pod, quota, slot
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kube_server import KubeServer

QUICK = Pace(connect=2, read=2, backoff=(0.01, 0.05), steady=0.1, patience=0.3)

#: Makes a source with these keyword arguments and has it follow HAMi's own names.
Start = Callable[..., WatchedCluster]


@pytest.fixture
def start(server: KubeServer, tmp_path: Path) -> Iterator[Start]:
    """Return what starts a source; at the end all are closed, and their threads seen to end."""
    started: list[WatchedCluster] = []
    config = str(server.kubeconfig(tmp_path / "config"))

    def starting(**options: Any) -> WatchedCluster:  # noqa: ANN401 - the constructor's own
        source = WatchedCluster(kubeconfig=config, pace=QUICK, **options)
        started.append(source)
        source.follow(FAMILIES)
        return source

    yield starting
    for source in started:
        source.close()
    until(lambda: not {thread.name for thread in threading.enumerate()} & {"quotas", "namespaces", "pods"})


def listed(source: WatchedCluster) -> bool:
    """Whether every kind was listed."""
    state = source.current()
    return None not in (state.quotas, state.namespaces, state.holdings)


def up(source: WatchedCluster) -> list[str]:
    """Return the sources that are up."""
    return [status.source for status in source.current().statuses if status.up]


def test_all_three_kinds_are_listed_and_followed(server: KubeServer, start: Start) -> None:
    """What is there is cut down and followed; pods that ask for no accelerator are not kept."""
    server.put(namespace("team", owner="red"))
    server.put(quota("gpu", {f"limits.{GPUMEM}": "100", "pods": "5"}))
    server.put(quota("cpu", {"cpu": "4"}))
    server.put(pod("model", slot(2000) + ";"))
    server.put(pod("web", None, container("main", None, gpus=0)))
    source = start(tenant_label="owner")
    until(lambda: listed(source))

    state = source.current()
    assert state.quotas is not None
    assert {key: one.hard for key, one in state.quotas.items()} == {"team/gpu": {GPUMEM: 100 * MIB}}
    assert [one.tenant for one in (state.namespaces or {}).values()] == ["red"]
    assert list(state.holdings or {}) == ["team/model"]
    assert up(source) == ["quotas", "namespaces", "pods"]
    server.delete("team", "gpu", "resourcequotas")
    server.delete("team", "model")
    server.delete("", "team", "namespaces")
    until(lambda: not any((source.current().quotas, source.current().namespaces, source.current().holdings)))


def test_nothing_is_asked_before_it_follows(server: KubeServer, tmp_path: Path) -> None:
    """Before `follow` no request is made, and nothing is known."""
    source = WatchedCluster(kubeconfig=str(server.kubeconfig(tmp_path / "config")), pace=QUICK)

    assert not listed(source)
    assert server.requests == []


def test_a_forbidden_kind_is_blind_and_the_others_serve(server: KubeServer, start: Start) -> None:
    """Each kind fails and recovers by itself."""
    server.forbidden.add("namespaces")
    server.put(pod("model", slot(2000) + ";"))
    source = start()
    until(lambda: up(source) == ["quotas", "pods"])

    assert source.current().namespaces is None
    assert source.current().holdings
    until(lambda: [one.errors["forbidden"] for one in source.current().statuses if one.source == "namespaces"] >= [1])
    server.forbidden.clear()
    until(lambda: up(source) == ["quotas", "namespaces", "pods"])


def test_the_state_is_the_same_until_something_changes(server: KubeServer, start: Start) -> None:
    """The mappings are one and the same until an object of theirs changes: nobody adds up for nothing."""
    source = start()
    until(lambda: len(up(source)) == 3)
    server.wait_for_watch(count=3)
    before = source.current()
    assert source.current().holdings is before.holdings

    server.put(pod("model", slot(2000) + ";"))
    until(lambda: source.current().holdings)

    assert source.current().quotas is before.quotas


def test_other_names_are_read_anew(server: KubeServer, start: Start) -> None:
    """After HAMi's names changed quotas and pods are cut down by the new ones, without a namespace being asked for."""
    server.put(quota("gpu", {f"limits.{GPUMEM}": "100", "limits.nvidia.com/vram": "7"}))
    source = start()
    until(lambda: len(up(source)) == 3)
    server.wait_for_watch(count=3)
    source.follow(FAMILIES)
    assert len(server.asked("list")) == 3

    source.follow(DeviceConfig(memory="nvidia.com/vram").families())

    until(lambda: [one.hard for one in (source.current().quotas or {}).values()] == [{"nvidia.com/vram": 7 * MIB}])
    until(lambda: len(server.asked("list")) == 5)
    assert sum(request.path.endswith("/namespaces") for request in server.asked("list")) == 1


def test_another_tenant_label_is_read_anew(server: KubeServer, start: Start) -> None:
    """After `relabel` tenants are told by the other label; the same label asks for nothing."""
    server.put(namespace("team", owner="red", unit="vision"))
    source = start(tenant_label="owner")
    until(lambda: len(up(source)) == 3)
    server.wait_for_watch(count=3)
    source.relabel("owner")

    source.relabel("unit")

    until(lambda: [one.tenant for one in (source.current().namespaces or {}).values()] == ["vision"])
    assert len(server.asked("list")) == 4


def test_what_cannot_be_used_is_named(server: KubeServer, start: Start) -> None:
    """An object that lacks what all have is a failure of its kind, and the others are kept."""
    broken = pod("broken", slot(2000) + ";")
    del broken["metadata"]["uid"]
    server.put(broken)
    server.put(namespace("<b>"))
    server.put(quota("", {f"limits.{GPUMEM}": "100"}))
    source = start()
    until(lambda: listed(source))

    assert source.current().unreadable == {
        Failure("pod_unreadable", "team/broken"),
        Failure("namespace_unreadable", "<b>"),
        Failure("quota_unreadable", "team"),
    }
