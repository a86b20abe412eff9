"""The rendered containers run: as nobody, on a read-only root, behind TLS and a password, probed by the kubelet."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.charts.deployed import PODS, deployed
from tests.charts.recorded_node import SECOND
from tests.program import ROOT
from tests.served import ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.charts.deployed import Deployed

#: All of the node that does not depend on when one looks: who was granted what, who uses what, what cannot be told.
STEADY: Final = {
    "vgpu_device_info", "vgpu_device_memory_used_bytes", "vgpu_container_info", "vgpu_container_memory_used_bytes",
    "vgpu_container_memory_granted_bytes", "vgpu_container_memory_limit_bytes", "vgpu_container_core_granted_ratio",
    "vgpu_container_processes", "vgpu_attribution_failures_total",
}  # fmt: skip
#: A mark in a scrape that the role has reached what it watches.
REACHED: Final = {
    "node": 'vgpu_container_memory_used_bytes{container="worker"',
    "quota": 'vgpu_namespace_quota_memory_bytes{namespace="rag"',
}
each_role = pytest.mark.parametrize("exporter", PODS, indirect=True)
of_the_node = pytest.mark.parametrize("exporter", ["node"], indirect=True)


@pytest.fixture(name="exporter", scope="module")
def _exporter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """Give a role, running as rendered."""
    with deployed(tmp_path_factory.mktemp("exporter"), request.param) as exporter:
        yield exporter


def kernel(exporter: Deployed, file: str) -> str:
    """Return a file of /proc about the program."""
    assert exporter.child is not None
    return Path(f"/proc/{exporter.child.pid}/{file}").read_text()


def steady(page: str) -> set[tuple[str, frozenset[tuple[str, str]], float]]:
    """Return the samples of the families that stay as they are."""
    return {
        (sample.name, frozenset(sample.labels.items()), sample.value)
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name in STEADY
    }


@of_the_node
def test_the_recorded_node_is_told_as_it_was(exporter: Deployed) -> None:
    """Driver, processes, HAMi's regions and pods are all reached: the scrape says what the recording's does."""
    golden = steady((ROOT / "tests" / "golden" / f"h200-sharing-{SECOND}s.prom").read_text())

    assert {name for name, _, _ in golden} == STEADY
    assert steady(exporter.answer().body.decode()) == golden


@each_role
def test_who_has_the_password_is_served(exporter: Deployed) -> None:
    """With it everything is told, by TLS."""
    answer = exporter.answer()

    assert answer.status == 200
    assert REACHED[exporter.role] in answer.body.decode()


@each_role
@pytest.mark.parametrize("password", ["wrong", None])
def test_without_the_password_there_is_nothing(exporter: Deployed, password: str | None) -> None:
    """A wrong one and none at all are refused, on every path."""
    assert {exporter.answer(password, path).status for path in ("/metrics", "/", "/healthz")} == {401}


@each_role
def test_without_tls_there_is_nothing(exporter: Deployed) -> None:
    """Who speaks plain HTTP is not answered, and who does not know the authority does not trust the server."""
    with socket.create_connection(("127.0.0.1", exporter.port), timeout=10) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP" not in client.recv(100)
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(exporter.url, "/metrics", context=ssl.create_default_context())


@each_role
@pytest.mark.parametrize("probe", ["livenessProbe", "readinessProbe"])
def test_the_kubelets_probes_pass(exporter: Deployed, probe: str) -> None:
    """It knows neither the authority nor the password that the endpoint asks for, and needs none."""
    assert exporter.answer(None).status == 401
    assert exporter.probe(probe) == 200


@each_role
def test_it_is_nobody_and_can_become_nobody_else(exporter: Deployed) -> None:
    """The kernel's own words: uid, gid and groups, no capability in any set, and no way to gain one."""
    lines = (line.partition(":\t") for line in kernel(exporter, "status").splitlines())
    status = {name: text.split() for name, _, text in lines}

    assert status["Uid"] == status["Gid"] == ["65534"] * 4
    assert status["Groups"] == ["65534"]
    assert all(int(status[name][0], 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))
    assert status["NoNewPrivs"] == ["1"]


@each_role
def test_it_can_write_nowhere(exporter: Deployed) -> None:
    """Its root and all that is mounted there are read-only, but for devices and what the kernel says of it."""
    mounts = [line.split() for line in kernel(exporter, "mountinfo").splitlines()]
    writable = {inside for _, _, _, _, inside, options, *_ in mounts if "ro" not in options.split(",")}

    assert "/" in {mount[4] for mount in mounts}
    assert {inside for inside in writable if not inside.startswith("/dev/")} == {"/proc/self"}


@each_role
def test_it_complains_of_nothing(exporter: Deployed) -> None:
    """No source lacks a permission or a file: nothing in the log is worse than information."""
    log = exporter.log.read_text()

    assert "INFO serving on https://" in log
    assert [line for line in log.splitlines() if " INFO " not in line] == []
