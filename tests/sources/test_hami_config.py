"""The edge to HAMi's ConfigMap against a real HTTP server that answers, or misbehaves, to order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from exporter.config import ObjectName
from exporter.device_config import DeviceConfig
from exporter.errors import SOURCE_REASONS
from exporter.sources.hami_config import hami_config
from exporter.sources.kube_api import Pace
from exporter.sources.poll import PACE, Poll
from tests.waiting import starter, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kube_server import KubeServer

NAME = ObjectName("hami", "device")
#: Asks often, and after a failure more often still.
QUICK = Pace(connect=2, read=2, every=(0.04, 0.06), backoff=(0.01, 0.03), patience=0.3)
#: Asks once, and again only after failures.
ONCE = replace(QUICK, every=(600, 600))
GOOD = "nvidia:\n  resourceMemoryName: nvidia.com/vram\n"
SAID = DeviceConfig(memory="nvidia.com/vram")

#: Starts a source with these keyword arguments; by default it uses the server's kubeconfig.
Start = Callable[..., Poll[DeviceConfig]]


@pytest.fixture
def start(server: KubeServer, tmp_path: Path) -> Iterator[Start]:
    """Return what starts a source."""
    yield from starter(partial(hami_config, NAME), "hami_config", server, tmp_path, QUICK)


def a_map(data: object, *, namespace: str = NAME.namespace) -> dict[str, Any]:
    """Return the ConfigMap."""
    return {"kind": "ConfigMap", "metadata": {"namespace": namespace, "name": NAME.name}, "data": data}


def said(source: Poll[DeviceConfig]) -> DeviceConfig | None:
    """Return what is known now."""
    return source.known()[0]


def up(source: Poll[DeviceConfig]) -> bool:
    """Whether the source says that it is up."""
    return source.known()[1].up


def errors(source: Poll[DeviceConfig]) -> dict[str, int]:
    """Return the error counts that are not 0."""
    status = source.known()[1]
    assert status.source == "hami_config"
    assert set(status.errors) == set(SOURCE_REASONS["hami_config"])
    return {reason: count for reason, count in status.errors.items() if count}


def test_what_it_says_is_read_and_read_again(server: KubeServer, start: Start) -> None:
    """The ConfigMap of that namespace is read, and what changes is seen at the next round."""
    server.put(a_map({"device-config.yaml": "memoryFactor: 5"}, namespace="elsewhere"))
    server.put(a_map({"device-config.yaml": GOOD, "other": "x"}))
    source = start()
    until(lambda: said(source) == SAID)
    assert up(source)
    assert errors(source) == {}

    server.put(a_map({"device-config.yaml": "nvidia:\n  memoryFactor: 1024\n"}))

    until(lambda: said(source) == DeviceConfig(memory_factor=1024))
    assert {request.path for request in server.requests} == {"/api/v1/namespaces/hami/configmaps/device"}


def test_nothing_else_is_asked_between_two_rounds(server: KubeServer, start: Start) -> None:
    """One GET, and silence until the next round, which is 5 min ± 20 % away."""
    server.put(a_map({"device-config.yaml": GOOD}))
    source = start(pace=ONCE)
    until(lambda: said(source) == SAID)

    assert [request.verb for request in server.requests] == ["get"]
    assert PACE.every == (240, 360)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "malformed"),
        ({"device-config.yaml": 5}, "malformed"),
        ({"device-config.yaml": "nvidia: ["}, "malformed"),
        ({"other": GOOD}, "malformed"),
    ],
)
def test_one_that_says_nothing_is_told(server: KubeServer, start: Start, data: object, reason: str) -> None:
    """A ConfigMap without a text that can be used counts as malformed, and nothing is known."""
    server.put(a_map(data))
    source = start(pace=ONCE)

    until(lambda: errors(source) == {reason: 1})
    assert said(source) is None
    assert not up(source)


def test_a_missing_one_is_gone(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """Where there is no such ConfigMap the log says what to look at, once."""
    source = start()
    until(lambda: errors(source).get("gone", 0) > 3)

    [told] = [message for message in caplog.messages if "hami_config" in message]
    assert "--hami-config is wrong" in told
    assert not up(source)


def test_a_forbidden_one_says_which_rule_is_missing(
    server: KubeServer, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """HTTP 403 names the rule that the ClusterRole lacks."""
    server.forbidden.add("configmaps")
    source = start()

    until(lambda: errors(source).get("forbidden", 0) > 0)
    assert "configmaps: get" in caplog.text


def test_what_was_known_last_serves_on(server: KubeServer, start: Start) -> None:
    """When the ConfigMap goes away, or becomes rubbish, the last names stay and the source is down."""
    server.put(a_map({"device-config.yaml": GOOD}))
    source = start()
    until(lambda: up(source))

    server.put(a_map({"device-config.yaml": "rubbish"}))
    until(lambda: not up(source))
    assert said(source) == SAID
    server.delete(NAME.namespace, NAME.name, "configmaps")
    until(lambda: "gone" in errors(source))
    assert said(source) == SAID

    server.put(a_map({"device-config.yaml": GOOD}))
    until(lambda: up(source))


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (lambda server: server.fail(500), "server_error"),
        (lambda server: server.fail(401), "unauthorized"),
        (lambda server: server.fail(429, retry_after=0.01), "throttled"),
        (lambda server: server.garble(), "malformed"),
    ],
)
def test_a_failure_is_counted_and_asked_again(
    server: KubeServer, start: Start, order: Callable[[KubeServer], None], reason: str
) -> None:
    """Whatever the API server answers, it is counted by reason and soon asked again."""
    server.put(a_map({"device-config.yaml": GOOD}))
    order(server)
    source = start(pace=ONCE)

    until(lambda: up(source))
    assert errors(source) == {reason: 1}


def test_an_unreachable_server_is_counted(server: KubeServer, start: Start) -> None:
    """Without an API server nothing is known, and nobody waits."""
    server.refuse()
    source = start()

    until(lambda: "unreachable" in errors(source))
    assert said(source) is None


def test_a_get_that_hangs_makes_it_old(server: KubeServer, start: Start) -> None:
    """While a GET hangs the source is down as soon as the last answer is older than two rounds."""
    server.put(a_map({"device-config.yaml": GOOD}))
    source = start(pace=replace(QUICK, read=30))
    until(lambda: up(source))
    server.hang()

    until(lambda: not up(source))
    assert said(source) == SAID


def test_our_own_mistake_is_counted_and_outlived(server: KubeServer, tmp_path: Path) -> None:
    """Should what reads the answer fail in a way nobody thought of, the thread lives on."""
    server.put(a_map({"device-config.yaml": GOOD}))
    source = hami_config(NAME, kubeconfig=str(server.kubeconfig(tmp_path / "config")), pace=QUICK)
    calls: list[int] = []

    def cut(_: object) -> DeviceConfig:
        calls.append(1)
        if len(calls) < 3:
            raise KeyError("nobody thought of this")
        return SAID

    source._cut = cut  # noqa: SLF001
    source.start()

    until(lambda: said(source) == SAID)
    assert errors(source) == {"malformed": 2}
    source.close()
