"""The own Node's edge against a real HTTP server that answers, or misbehaves, to order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from exporter.errors import SOURCE_REASONS, ApiError
from exporter.hami.node_register import FOURPD, HAMI, VOLCANO
from exporter.sources.kube_api import KubeApi, Pace, Resource
from exporter.sources.node import NodeWatch
from exporter.sources.poll import PACE
from tests.waiting import starter, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kube_server import KubeServer

NODE = "n1"
#: Asks often, and after a failure more often still.
QUICK = Pace(connect=2, read=2, every=(0.04, 0.06), backoff=(0.01, 0.03), patience=0.3)
#: Asks once, and again only after failures.
ONCE = replace(QUICK, every=(600, 600))
GOOD = "GPU-1,10,81920,100,NVIDIA-NVIDIA A100 80GB,0,true,0,hami-core:"

#: Starts a source with these keyword arguments; by default it uses the server's kubeconfig.
Start = Callable[..., NodeWatch]


@pytest.fixture
def start(server: KubeServer, tmp_path: Path) -> Iterator[Start]:
    """Return what starts a source."""
    yield from starter(partial(NodeWatch, NODE), "node", server, tmp_path, QUICK)


def a_node(text: str | None = GOOD, *, name: str = NODE, **annotations: object) -> dict[str, Any]:
    """Return a Node with HAMi's annotation (None: without), other annotations, and much that nobody needs."""
    registered = {} if text is None else {HAMI: text}
    return {
        "kind": "Node",
        "metadata": {"name": name, "annotations": {"secret": "other"} | registered | annotations},
        "status": {"images": [{"names": ["registry.example/image"], "sizeBytes": 5}] * 50},
    }


def uuids(source: NodeWatch) -> list[str] | None:
    """Return the UUIDs registered now."""
    devices = source.current().devices
    return None if devices is None else [device.uuid for device in devices]


def up(source: NodeWatch) -> bool:
    """Whether the source says that it is up."""
    status = source.current().status
    assert status is not None
    return status.up


def errors(source: NodeWatch) -> dict[str, int]:
    """Return the error counts that are not 0."""
    status = source.current().status
    assert status is not None
    assert status.source == "node"
    assert set(status.errors) == set(SOURCE_REASONS["node"])
    return {reason: count for reason, count in status.errors.items() if count}


def reads(source: NodeWatch) -> int:
    """Return how often the Node was read."""
    status = source.current().status
    assert status is not None
    return status.reads


# ---------------------------------------------------------------- when all is well


def test_the_registered_devices_are_read(server: KubeServer, start: Start) -> None:
    """One GET of the own Node, and nothing else, tells what HAMi registered on it."""
    server.put(a_node())
    server.put(a_node("GPU-2,1,1,1,T,true:", name="n2"))
    source = start(pace=ONCE)
    until(lambda: up(source))
    (device,) = source.current().devices or ()
    assert (device.uuid, device.slots, device.memory, device.cores) == ("GPU-1", 10, 80 * 2**30, 1.0)
    assert errors(source) == {}
    assert [(request.verb, request.path, request.query) for request in server.requests] == [
        ("get", "/api/v1/nodes/n1", {})
    ]


def test_changes_are_seen_by_the_next_reading(server: KubeServer, start: Start) -> None:
    """What the plugin registers anew, or takes away, takes effect."""
    server.put(a_node())
    source = start()
    until(lambda: uuids(source) == ["GPU-1"])
    server.put(a_node(GOOD + GOOD.replace("GPU-1", "GPU-2")))
    until(lambda: uuids(source) == ["GPU-1", "GPU-2"])
    server.put(a_node(None))
    until(lambda: uuids(source) == [])


@pytest.mark.parametrize("node", [a_node(None), {"kind": "Node", "metadata": {"name": NODE}}], ids=["others", "none"])
def test_a_node_without_hami_has_nothing_registered(server: KubeServer, start: Start, node: dict[str, Any]) -> None:
    """A Node without the annotation, or without any, is no error: nothing is registered, and that is known."""
    server.put(node)
    source = start()
    until(lambda: reads(source) > 1)
    assert (uuids(source), up(source), errors(source)) == ([], True, {})


def test_volcano_s_registration_is_read(server: KubeServer, start: Start) -> None:
    """Where only Volcano's plugin registers, its devices are known; beside HAMi's they are not used."""
    theirs = {VOLCANO: "GPU-9,10,81920,NVIDIA-NVIDIA A100,true,hami-core:"}
    server.put(a_node(None, **theirs))
    source = start()
    until(lambda: uuids(source) == ["GPU-9"])
    server.put(a_node(**theirs))
    until(lambda: uuids(source) == ["GPU-1"])
    assert errors(source) == {}


def test_hami_s_old_registration_is_read(server: KubeServer, start: Start) -> None:
    """What HAMi up to 2.3.4 registered under its old name is known, and not used beside the new one's."""
    old = {FOURPD: "GPU-8,10,81920,100,NVIDIA-NVIDIA A100,true:"}
    server.put(a_node(None, **old))
    source = start()
    until(lambda: uuids(source) == ["GPU-8"])
    server.put(a_node(**old))
    until(lambda: uuids(source) == ["GPU-1"])


def test_nothing_is_known_before_the_first_answer(server: KubeServer, start: Start) -> None:
    """Before the first answer the devices are None, not (), and the source is down without an error."""
    server.hang()
    source = start()
    until(lambda: server.requests)
    assert (uuids(source), up(source), errors(source)) == (None, False, {})


# ---------------------------------------------------------------- the pace


def test_the_pause_is_five_minutes_give_or_take_a_fifth() -> None:
    """The real pace draws its pauses from all of 240 to 360 s, and retries from 0.5 s to 60 s."""
    pauses = [PACE.pause() for _ in range(2000)]
    assert 240 <= min(pauses) < 252
    assert 348 < max(pauses) <= 360
    for failures, longest in ((1, 1), (2, 2), (5, 16), (7, 60), (99, 60)):
        delays = [PACE.delay(failures) for _ in range(200)]
        assert longest / 2 <= min(delays) < max(delays) <= longest


def test_the_node_is_never_asked_more_often_than_the_pace_says(
    server: KubeServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two requests lies at least the shortest pause, each drawn anew, and not much more than the longest."""
    server.put(a_node())
    began: list[float] = []
    get = KubeApi.get

    def noting(api: KubeApi) -> dict[str, object]:
        began.append(time.monotonic())
        return get(api)

    monkeypatch.setattr(KubeApi, "get", noting)
    start()
    until(lambda: len(began) > 10)
    spans = [later - earlier for earlier, later in pairwise(began)]
    assert min(spans) >= 0.04
    assert min(spans) < 0.5  # a busy machine may hold up some, not all
    assert len(set(spans)) == len(spans)


def test_one_good_answer_is_enough_for_a_round(server: KubeServer, start: Start) -> None:
    """After an answer nothing is asked until the pause is over, however quick the retries would be."""
    server.put(a_node())
    source = start(pace=ONCE)
    until(lambda: up(source))
    time.sleep(0.3)
    assert len(server.requests) == 1


def test_an_unreadable_registration_is_no_reason_to_ask_sooner(server: KubeServer, start: Start) -> None:
    """The API server answered, and would answer the same again: the next GET keeps to the pace."""
    server.put(a_node("garbage"))
    source = start(pace=ONCE)
    until(lambda: errors(source))
    time.sleep(0.3)
    assert len(server.requests) == 1


def test_close_ends_the_thread_at_once(server: KubeServer, start: Start) -> None:
    """A pause of minutes does not keep the thread, and what was known can still be asked for."""
    server.put(a_node())
    source = start(pace=ONCE)
    until(lambda: up(source))
    source.close()
    until(lambda: not any(thread.name == "node" for thread in threading.enumerate()), seconds=1)
    assert (uuids(source), errors(source)) == (["GPU-1"], {})


def test_a_request_that_is_under_way_at_the_end_is_no_error(server: KubeServer, start: Start) -> None:
    """Whatever becomes of a GET after `close` is not counted, and the thread ends with it."""
    server.hang()
    source = start(pace=replace(QUICK, read=0.2))
    until(lambda: server.requests)
    source.close()
    until(lambda: not any(thread.name == "node" for thread in threading.enumerate()))
    assert errors(source) == {}


# ---------------------------------------------------------------- when the API server is away


def test_an_api_server_that_comes_late(server: KubeServer, start: Start) -> None:
    """A source that starts before the API server waits for it, and does not wait out a whole round."""
    server.refuse()
    server.put(a_node())
    source = start(pace=ONCE)
    until(lambda: errors(source).get("unreachable", 0) > 1)
    assert (uuids(source), up(source)) == (None, False)
    server.accept()
    until(lambda: uuids(source) == ["GPU-1"] and up(source))


def test_an_api_server_that_goes_away(server: KubeServer, start: Start) -> None:
    """The registration known last serves on with the source down, until it is too old; then it comes back."""
    later = [0.0]
    server.put(a_node())
    source = start(max_age=900, pace=replace(QUICK, monotonic=lambda: time.monotonic() + later[0]))
    until(lambda: uuids(source) == ["GPU-1"])
    server.refuse()
    until(lambda: not up(source))
    later[0] = 890
    assert uuids(source) == ["GPU-1"]
    later[0] = 910
    assert uuids(source) is None
    server.accept()
    until(lambda: uuids(source) == ["GPU-1"] and up(source))
    assert set(errors(source)) <= {"unreachable", "closed"}


def test_a_pause_longer_than_the_largest_age_loses_nothing(server: KubeServer, start: Start) -> None:
    """Between two good readings the devices stay known and the source up, even with a `max_age` of seconds."""
    later = [0.0]
    server.put(a_node())
    source = start(max_age=10, pace=replace(ONCE, monotonic=lambda: time.monotonic() + later[0]))
    until(lambda: up(source))
    later[0] = 600
    assert (uuids(source), up(source)) == (["GPU-1"], True)


def test_a_thread_that_hangs_does_not_stay_up(server: KubeServer, start: Start) -> None:
    """With nothing new for more than two rounds the source is down, though nothing has failed, and then unknown."""
    later = [0.0]
    server.put(a_node())
    source = start(max_age=1500, pace=replace(ONCE, monotonic=lambda: time.monotonic() + later[0]))
    until(lambda: up(source))
    later[0] = 1300
    assert (uuids(source), up(source), errors(source)) == (["GPU-1"], False, {})
    later[0] = 1600
    assert uuids(source) is None


def test_a_server_that_never_answers(server: KubeServer, start: Start) -> None:
    """A request that hangs is given up after the read timeout, counts as unreachable, and is made again soon."""
    server.put(a_node())
    server.hang()
    source = start(pace=replace(ONCE, read=0.1))
    until(lambda: up(source))
    assert errors(source) == {"unreachable": 1}


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        (401, "unauthorized", "token"),
        (403, "forbidden", "ClusterRole with the rule `nodes: get`"),
        (404, "gone", "--node-name is wrong"),
        (410, "gone", "HTTP 410"),
        (429, "throttled", "busy"),
        (500, "server_error", "its log"),
        (503, "server_error", "its log"),
    ],
)
def test_a_refusal(
    server: KubeServer, start: Start, caplog: pytest.LogCaptureFixture, status: int, reason: str, words: str
) -> None:
    """A refused GET is counted by its reason, explained with what the server said, and tried again soon."""
    server.put(a_node())
    server.fail(status)
    source = start(pace=ONCE)
    until(lambda: up(source))
    assert (uuids(source), errors(source)) == (["GPU-1"], {reason: 1})
    (message,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert words in message
    assert f"HTTP {status} to get the own Node" in message
    assert "says the test" in message


def test_a_lasting_refusal_is_said_once(server: KubeServer, start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """A role that may not get nodes costs one warning, and nothing but the registration."""
    server.fail(403, count=10_000)
    source = start()
    until(lambda: errors(source).get("forbidden", 0) > 4)
    assert (uuids(source), up(source)) == (None, False)
    assert [record.levelname for record in caplog.records if record.levelname == "WARNING"] == ["WARNING"]


def test_a_node_that_is_deleted(server: KubeServer, start: Start) -> None:
    """Without its Node what was registered serves on for its time; the Node that comes back is read again."""
    server.put(a_node())
    source = start()
    until(lambda: up(source))
    server.delete("", NODE, "nodes")
    until(lambda: errors(source).get("gone", 0) > 1)
    assert (uuids(source), up(source)) == (["GPU-1"], False)
    server.put(a_node(GOOD.replace("GPU-1", "GPU-3")))
    until(lambda: uuids(source) == ["GPU-3"] and up(source))


def test_the_server_says_when_to_come_back(server: KubeServer, start: Start) -> None:
    """Retry-After is honoured where it is longer than our own wait."""
    server.put(a_node())
    server.fail(429, retry_after=0.25)
    began = time.monotonic()
    source = start()
    until(lambda: up(source))
    assert time.monotonic() - began >= 0.25


def test_the_server_may_not_send_us_away_for_long(server: KubeServer, start: Start) -> None:
    """A Retry-After beyond our patience is cut to it."""
    server.put(a_node())
    server.fail(429, retry_after=3600)
    source = start()
    until(lambda: up(source), seconds=3)


def test_a_token_that_changes(server: KubeServer, start: Start, tmp_path: Path) -> None:
    """Credentials are read for every GET, so a new token is taken up without a restart."""
    server.put(a_node())
    source = start()
    until(lambda: up(source))
    server.token = server.token[::-1]
    until(lambda: errors(source).get("unauthorized", 0) > 1)
    server.kubeconfig(tmp_path / "config")
    until(lambda: up(source))


def test_no_configuration_at_all(start: Start, tmp_path: Path) -> None:
    """A kubeconfig that is not there is a `config` error, tried again soon."""
    source = start(kubeconfig=str(tmp_path / "nowhere"))
    until(lambda: errors(source).get("config", 0) > 1)
    assert uuids(source) is None


# ---------------------------------------------------------------- answers that make no sense


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 99_999,
        b"x" * 5_000_000,
        b'{"kind":"Node","metadata":5}',
        b'{"kind":"Node","metadata":{"name":"n2"}}',
        b'{"kind":"Node","metadata":{"name":"n1","annotations":5}}',
        b'{"kind":"Node","metadata":{"name":"n1","annotations":{"hami.io/node-nvidia-register":5}}}',
    ],
    ids=range(11),
)
def test_a_senseless_answer(server: KubeServer, start: Start, body: bytes) -> None:
    """An answer that is not the own Node is malformed, changes nothing, and is asked for again soon."""
    server.put(a_node())
    server.garble(body)
    source = start(pace=ONCE)
    until(lambda: up(source))
    assert (uuids(source), errors(source)) == (["GPU-1"], {"malformed": 1})


@pytest.mark.parametrize("text", ["garbage", "[" * 60_000, "x,1:", "x" * 70_000], ids=range(4))
def test_an_unreadable_registration(
    server: KubeServer, start: Start, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    """A text that means nothing is malformed and named; what was registered before serves on until it is readable."""
    server.put(a_node())
    source = start()
    until(lambda: up(source))
    server.put(a_node(text))
    until(lambda: errors(source).get("malformed", 0) > 1)
    assert (uuids(source), up(source)) == (["GPU-1"], False)
    assert f"{HAMI}: " in caplog.text
    assert text[:3] in caplog.text
    server.put(a_node(GOOD.replace("GPU-1", "GPU-2")))
    until(lambda: uuids(source) == ["GPU-2"] and up(source))


def test_a_mistake_of_ours_does_not_end_the_thread(
    server: KubeServer, start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error that nobody thought of is logged with its traceback, counted, and survived."""
    server.put(a_node())
    with monkeypatch.context() as patched:
        patched.setattr("exporter.sources.node.decode", lambda _: 1 / 0)
        source = start()
        until(lambda: errors(source).get("malformed"))
    until(lambda: up(source))
    assert "ZeroDivisionError" in caplog.text


def test_a_resource_says_its_own_words(server: KubeServer, tmp_path: Path) -> None:
    """The transport asks for the path it is given, lists included, and speaks of it by its word."""
    server.put({"kind": "Namespace", "metadata": {"name": "team"}})
    resource = Resource("/api/v1/namespaces", "namespaces", "the verbs list and watch on namespaces")
    api = KubeApi(str(server.kubeconfig(tmp_path / "config")), QUICK, resource)
    assert [len(page.items) for page in api.pages({})] == [1]
    server.fail(403)
    with pytest.raises(ApiError, match=r"to list namespaces .* the verbs list and watch on namespaces"):
        list(api.pages({}))
    api.close()
