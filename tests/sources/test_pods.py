"""The pods' edge against a real HTTP server that lists, watches and misbehaves to order."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from kubernetes.config import incluster_config

from exporter.errors import SOURCE_REASONS
from exporter.sources.kube_api import Pace
from exporter.sources.pods import WatchedPods
from tests.waiting import starter, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kube_server import KubeServer

ROOT = Path(__file__).parents[2]
NODE = "n1"
QUICK = Pace(connect=2, read=2, backoff=(0.01, 0.05), steady=0.1, patience=0.3)


#: Starts a source with these keyword arguments; by default it uses the server's kubeconfig.
Start = Callable[..., WatchedPods]


@pytest.fixture
def start(server: KubeServer, tmp_path: Path) -> Iterator[Start]:
    """Return what starts a source."""
    yield from starter(partial(WatchedPods, NODE), "pods", server, tmp_path, QUICK)


def a_pod(name: str, uid: str = "", node: str = NODE, **metadata: object) -> dict[str, Any]:
    """Return a pod of namespace `team`; its uid is `uid-NAME` unless given."""
    return {
        "metadata": {"namespace": "team", "name": name, "uid": uid or f"uid-{name}", **metadata},
        "spec": {"nodeName": node, "containers": [{"name": "main"}]},
    }


def uids(source: WatchedPods) -> set[str] | None:
    """Return the uids of the pods known now."""
    pods = source.current().pods
    return None if pods is None else {pod.uid for pod in pods}


def up(source: WatchedPods) -> bool:
    """Whether the source says that it is up."""
    status = source.current().status
    assert status is not None
    return status.up


def errors(source: WatchedPods) -> dict[str, int]:
    """Return the error counts that are not 0."""
    status = source.current().status
    assert status is not None
    assert set(status.errors) == set(SOURCE_REASONS["pods"])
    return {reason: count for reason, count in status.errors.items() if count}


@contextmanager
def recovering(server: KubeServer, source: WatchedPods, *, relisted: bool) -> Iterator[None]:
    """Do something bad to the watch; then a pod that comes afterwards must be seen, with or without a new list."""
    server.wait_for_watch()
    until(lambda: uids(source) is not None)
    lists, watches = len(server.asked("list")), len(server.asked("watch"))
    yield
    until(lambda: len(server.asked("watch")) > watches)
    server.put(a_pod("afterwards"))
    until(lambda: "uid-afterwards" in (uids(source) or ()))
    until(lambda: up(source))
    assert (len(server.asked("list")) > lists) is relisted


# ---------------------------------------------------------------- when all is well


def test_pods_are_listed_and_followed(server: KubeServer, start: Start) -> None:
    """What is there is listed; what is added, changed and deleted afterwards is followed."""
    server.put(a_pod("a"))
    source = start()
    until(lambda: uids(source) == {"uid-a"})
    server.wait_for_watch()
    server.put(a_pod("b"))
    until(lambda: uids(source) == {"uid-a", "uid-b"})
    server.put(a_pod("b") | {"status": {"phase": "Succeeded"}})
    until(lambda: [pod.finished for pod in source.current().pods or ()] == [False, True])
    server.delete("team", "a")
    until(lambda: uids(source) == {"uid-b"})
    assert up(source)
    assert errors(source) == {}


def test_an_empty_node_has_no_pods(start: Start) -> None:
    """A complete list without pods is an empty tuple, which is not the same as None."""
    source = start()
    until(lambda: uids(source) == set())


def test_nothing_is_known_before_the_first_list(server: KubeServer, start: Start) -> None:
    """Before the first complete list the pods are None and the source is down, without an error yet."""
    server.hang()
    source = start()
    until(lambda: server.requests)
    assert uids(source) is None
    assert not up(source)
    assert errors(source) == {}


def test_only_pods_of_this_node_are_asked_for(server: KubeServer, start: Start) -> None:
    """The API server filters: other nodes' pods never come over the wire, listed or watched."""
    server.put(a_pod("elsewhere", node="n2"))
    source = start()
    server.wait_for_watch()
    server.put(a_pod("there", node="n2"))
    server.put(a_pod("here"))
    until(lambda: uids(source) == {"uid-here"})
    assert {request.query["fieldSelector"] for request in server.requests} == {"spec.nodeName=n1"}


def test_silence_in_steady_state(server: KubeServer, start: Start) -> None:
    """After the list there is one open watch and nothing else is asked, whatever happens to pods."""
    source = start()
    server.wait_for_watch()
    for count in range(20):
        server.put(a_pod("a", label=str(count)))
    server.bookmark()
    server.put(a_pod("b"))
    until(lambda: uids(source) == {"uid-a", "uid-b"})
    assert [request.verb for request in server.requests] == ["list", "watch"]
    assert server.open_watches == 1


def test_a_watch_asks_for_bookmarks_and_an_end(server: KubeServer, start: Start) -> None:
    """A watch starts at the list's version, wants bookmarks and ends by itself after 4 to 8 minutes."""
    start()
    server.wait_for_watch()
    query = server.asked("watch")[0].query
    assert query["allowWatchBookmarks"] == "true"
    assert query["resourceVersion"] == "100"
    assert 240 <= int(query["timeoutSeconds"]) <= 480


def test_a_watch_that_ends_properly_is_resumed(server: KubeServer, start: Start) -> None:
    """The normal end of a watch is no error and no reason to list: it goes on where it was, and stays up."""
    source = start(pace=replace(QUICK, watch=(1, 1)))
    with recovering(server, source, relisted=False):
        version = server.put(a_pod("a"))
        until(lambda: uids(source) == {"uid-a"})
    assert server.asked("watch")[1].query["resourceVersion"] == version
    assert errors(source) == {}


def test_bookmarks_move_the_place_to_resume_from(server: KubeServer, start: Start) -> None:
    """A resumed watch starts at the last bookmark, though no pod changed."""
    source = start()
    with recovering(server, source, relisted=False):
        version = server.bookmark()
        server.cut(b"", proper=True)
    assert server.asked("watch")[1].query["resourceVersion"] == version


def test_bookmarks_are_signs_of_life(server: KubeServer, start: Start) -> None:
    """The time of the last success moves with every bookmark."""
    ticks = iter(range(1, 100))
    source = start(pace=replace(QUICK, wall=lambda: next(ticks)))

    def last_success() -> float:
        status = source.current().status
        assert status is not None
        return status.last_success or 0

    until(lambda: last_success() == 1)
    server.wait_for_watch()
    server.bookmark()
    until(lambda: last_success() == 2)


def test_long_lists_come_in_pages(server: KubeServer, start: Start) -> None:
    """All pages make one list; half a list is never shown."""
    server.largest_page = 2
    for name in "abcde":
        server.put(a_pod(name))
    source = start()
    until(lambda: uids(source) is not None)
    assert uids(source) == {"uid-a", "uid-b", "uid-c", "uid-d", "uid-e"}
    assert [request.query.get("limit") for request in server.asked("list")] == ["500"] * 3


def test_a_pod_of_the_same_name_is_another_pod(server: KubeServer, start: Start) -> None:
    """A pod that is deleted and created again under its name has the new uid, and only that."""
    server.put(a_pod("a", uid="old"))
    source = start()
    server.wait_for_watch()
    server.delete("team", "a")
    server.put(a_pod("a", uid="new"))
    until(lambda: uids(source) == {"new"})


def test_labels_and_tenant_come_as_configured(server: KubeServer, start: Start) -> None:
    """Only allow-listed labels are kept, and the tenant is the configured label's value."""
    server.put(a_pod("a", labels={"team": "red", "app": "web", "other": "x"}))
    source = start(labels=frozenset({"app"}), tenant_label="team")
    until(lambda: source.current().pods)
    (pod,) = source.current().pods or ()
    assert (pod.labels, pod.tenant) == ({"app": "web"}, "red")


def test_other_labels_can_be_asked_for(server: KubeServer, start: Start) -> None:
    """A changed allow-list takes effect at once by one new list, which is no error; the same one changes nothing."""
    server.put(a_pod("a", labels={"team": "red", "app": "web"}))
    source = start(labels=frozenset({"app"}))
    server.wait_for_watch()
    source.relabel(frozenset({"team"}), "app")
    until(lambda: [(pod.labels, pod.tenant) for pod in source.current().pods or ()] == [({"team": "red"}, "web")])
    until(lambda: len(server.asked("watch")) == 2)
    source.relabel(frozenset({"team"}), "app")
    server.put(a_pod("b"))
    until(lambda: uids(source) == {"uid-a", "uid-b"})
    assert len(server.asked("list")) == 2
    assert errors(source) == {}
    assert up(source)


def test_an_unchanged_node_costs_nothing_to_ask_about(server: KubeServer, start: Start) -> None:
    """As long as nothing changes, every call returns the very same tuple."""
    server.put(a_pod("a"))
    source = start()
    until(lambda: source.current().pods)
    assert source.current().pods is source.current().pods


def test_close_ends_the_thread_at_once(server: KubeServer, start: Start) -> None:
    """A watch that would stay open for minutes does not keep the thread, and closing is no error."""
    source = start()
    server.wait_for_watch()
    source.close()
    until(lambda: not any(thread.name == "pods" for thread in threading.enumerate()), seconds=1)
    assert errors(source) == {}


# ---------------------------------------------------------------- objects that are no pods


def test_one_bad_pod_costs_itself_only(server: KubeServer, start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """An object that is no pod is named as unreadable while it exists, said once, and the others are kept."""
    bad = a_pod("bad")
    bad["metadata"]["uid"] = 5
    server.put(bad)
    server.put(a_pod("good"))
    source = start()
    until(lambda: uids(source) == {"uid-good"})
    assert source.current().unreadable == {"team/bad"}
    server.wait_for_watch()
    server.put(bad)
    server.delete("team", "bad")
    until(lambda: source.current().unreadable == set())
    assert sum("team/bad" in record.message for record in caplog.records) == 1
    assert errors(source) == {}


def test_a_bad_pod_can_become_a_good_one(server: KubeServer, start: Start) -> None:
    """What was unreadable is a pod as soon as it reads as one, and the other way round."""
    bad = a_pod("a")
    bad["metadata"]["uid"] = None
    server.put(bad)
    source = start()
    until(lambda: source.current().unreadable == {"team/a"})
    server.wait_for_watch()
    server.put(a_pod("a"))
    until(lambda: uids(source) == {"uid-a"} and not source.current().unreadable)
    server.put(bad)
    until(lambda: uids(source) == set() and source.current().unreadable == {"team/a"})


# ---------------------------------------------------------------- when the API server is away


def test_an_api_server_that_comes_late(server: KubeServer, start: Start) -> None:
    """A source that starts before the API server waits for it."""
    server.refuse()
    server.put(a_pod("a"))
    source = start()
    until(lambda: errors(source).get("unreachable", 0) > 1)
    assert uids(source) is None
    assert not up(source)
    server.accept()
    until(lambda: uids(source) == {"uid-a"} and up(source))


def test_an_api_server_that_goes_away(server: KubeServer, start: Start) -> None:
    """The pods known last serve on with the source down, until they are too old; then they come back."""
    later = [0.0]
    server.put(a_pod("a"))
    source = start(max_age=900, pace=replace(QUICK, monotonic=lambda: time.monotonic() + later[0]))
    server.wait_for_watch()
    until(lambda: uids(source) == {"uid-a"})
    server.refuse()
    until(lambda: not up(source))
    later[0] = 890
    assert uids(source) == {"uid-a"}
    later[0] = 910
    assert uids(source) is None
    server.accept()
    until(lambda: uids(source) == {"uid-a"} and up(source))
    assert len(server.asked("list")) == 1  # the watch was resumed


def test_quiet_is_not_away(server: KubeServer, start: Start) -> None:
    """With the watch open pods never grow too old, however long nothing happens."""
    later = [0.0]
    source = start(max_age=900, pace=replace(QUICK, monotonic=lambda: time.monotonic() + later[0]))
    server.wait_for_watch()
    until(lambda: up(source))
    later[0] = 10_000
    assert uids(source) == set()


def test_a_new_list_drops_what_was_deleted_meanwhile(server: KubeServer, start: Start) -> None:
    """A pod deleted while nobody listened, and whose deletion is forgotten, is gone with the next list."""
    server.put(a_pod("a"))
    server.put(a_pod("b"))
    source = start()
    until(lambda: uids(source) == {"uid-a", "uid-b"})
    server.wait_for_watch()
    server.refuse()
    server.delete("team", "a")
    server.compact()
    server.accept()
    until(lambda: uids(source) == {"uid-b"} and up(source))
    assert errors(source)["gone"] == 1


def test_a_server_that_never_answers(server: KubeServer, start: Start) -> None:
    """A request that hangs is given up after the read timeout and counts as unreachable."""
    server.hang()
    source = start(pace=replace(QUICK, read=0.1))
    until(lambda: errors(source) == {"unreachable": 1})
    until(lambda: up(source))


def test_a_watch_that_falls_silent(server: KubeServer, start: Start) -> None:
    """A stream that goes on beyond its own end without a word is given up and resumed."""
    server.hang(verb="watch")
    source = start(pace=replace(QUICK, watch=(0, 0), grace=0.1))
    until(lambda: errors(source) == {"unreachable": 1})


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        (401, "unauthorized", "token"),
        (403, "forbidden", "ClusterRole with the verbs list and watch on pods"),
        (404, "config", "Kubernetes API server"),
        (410, "gone", "listed again"),
        (429, "throttled", "busy"),
        (500, "server_error", "its log"),
        (503, "server_error", "its log"),
    ],
)
def test_a_refused_list(
    server: KubeServer, start: Start, caplog: pytest.LogCaptureFixture, status: int, reason: str, words: str
) -> None:
    """A refused list is counted by its reason, explained with what the server said, and tried again."""
    server.put(a_pod("a"))
    server.fail(status)
    source = start()
    until(lambda: uids(source) == {"uid-a"})
    assert errors(source) == {reason: 1}
    (message,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert words in message
    assert f"HTTP {status} to list pods" in message
    assert "says the test" in message


@pytest.mark.parametrize(
    ("status", "reason", "relisted"),
    [
        (401, "unauthorized", False),
        (403, "forbidden", False),
        (410, "gone", True),
        (429, "throttled", False),
        (500, "server_error", True),
    ],
)
def test_a_refused_watch(server: KubeServer, start: Start, status: int, reason: str, *, relisted: bool) -> None:
    """A watch is resumed where it was, unless the refusal may be about the version."""
    source = start()
    with recovering(server, source, relisted=relisted):
        server.fail(status, verb="watch")
        server.cut(b"", proper=True)
    assert errors(source) == {reason: 1}


def test_the_server_says_when_to_come_back(server: KubeServer, start: Start) -> None:
    """Retry-After is honoured where it is longer than our own wait."""
    server.fail(429, retry_after=0.25)
    began = time.monotonic()
    source = start()
    until(lambda: up(source))
    assert time.monotonic() - began >= 0.25


def test_the_server_may_not_send_us_away_for_long(server: KubeServer, start: Start) -> None:
    """A Retry-After beyond our patience is cut to it."""
    server.fail(429, retry_after=3600)
    source = start()
    until(lambda: up(source), seconds=3)


def test_a_refused_list_keeps_the_old_pods(server: KubeServer, start: Start) -> None:
    """While listing again fails, what was known serves on, and the source is down."""
    server.put(a_pod("a"))
    source = start()
    server.wait_for_watch()
    server.fail(500, count=10_000, verb="list")
    server.expire()
    until(lambda: errors(source).get("server_error", 0) > 2)
    assert uids(source) == {"uid-a"}
    assert not up(source)


def test_a_version_that_expires_while_paging(server: KubeServer, start: Start) -> None:
    """If the rest of a list is gone, the list starts over."""
    server.largest_page = 1
    for name in "ab":
        server.put(a_pod(name))
    server.fail(200)
    server.fail(410)
    source = start()
    until(lambda: uids(source) == {"uid-a", "uid-b"})
    assert errors(source) == {"gone": 1}
    assert ["continue" in request.query for request in server.asked("list")] == [False, True, False, True]


# ---------------------------------------------------------------- answers that make no sense


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"",
        b"[]",
        b"{}",
        b'{"items":[]}',
        b'{"items":5,"metadata":{"resourceVersion":"1"}}',
        b"\xff",
        b"[" * 99_999,
    ],
    ids=range(8),
)
def test_a_senseless_list(server: KubeServer, start: Start, body: bytes) -> None:
    """An answer that is no list is malformed, and asked for again."""
    server.garble(body)
    source = start()
    until(lambda: up(source))
    assert errors(source) == {"malformed": 1}


@pytest.mark.parametrize(
    "line", [b"<html>\n", b"5\n", b"{}\n", b'{"type":"SURPRISE"}\n', b"\xff\n", b"x" * 5_000_000], ids=range(6)
)
def test_a_senseless_event(server: KubeServer, start: Start, line: bytes) -> None:
    """A watch that says something senseless, or says it without end, is malformed; everything is listed again."""
    source = start()
    with recovering(server, source, relisted=True):
        server.cut(line, proper=True)
    assert errors(source) == {"malformed": 1}


@pytest.mark.parametrize("raw", [b"5", b"null", b'{"metadata":7}'])
def test_an_event_about_nothing(server: KubeServer, start: Start, raw: bytes) -> None:
    """An event whose object is no pod at all costs itself only: the watch goes on, the next list forgets it."""
    source = start()
    with recovering(server, source, relisted=False):
        server.cut(b'{"type":"ADDED","object":%s}\n' % raw, proper=True)
    assert source.current().unreadable == {"unnamed"}
    assert errors(source) == {}


@pytest.mark.parametrize("words", [b'{"type":"MODIFIED","object":{"meta', b""], ids=["mid-object", "between objects"])
def test_a_watch_that_is_cut(server: KubeServer, start: Start, words: bytes) -> None:
    """A stream that breaks off is counted as closed and resumed where it was."""
    source = start()
    with recovering(server, source, relisted=False):
        server.cut(words)
    assert errors(source) == {"closed": 1}


def test_half_an_object_before_a_proper_end(server: KubeServer, start: Start) -> None:
    """A stream that ends by the rules of HTTP, but in the middle of an object, was cut too."""
    source = start()
    with recovering(server, source, relisted=False):
        server.cut(proper=True)
    assert errors(source) == {"closed": 1}


def test_a_version_that_expires_while_watching(server: KubeServer, start: Start) -> None:
    """An ERROR event of code 410 leads to a new list, at once and without losing a pod."""
    server.put(a_pod("a"))
    source = start()
    with recovering(server, source, relisted=True):
        server.expire()
    assert uids(source) == {"uid-a", "uid-afterwards"}
    assert errors(source) == {"gone": 1}


# ---------------------------------------------------------------- configuration


def test_no_configuration_at_all(
    server: KubeServer, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without any configuration the source says what to do and tries again; a kubeconfig that appears is used."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "late"))
    source = start(kubeconfig=None)
    until(lambda: errors(source).get("config", 0) > 1)
    assert "--kubeconfig PATH" in caplog.text
    server.kubeconfig(tmp_path / "late")
    until(lambda: up(source))


@pytest.mark.parametrize("text", ["", "{", "[]", "clusters: 5", "current-context: x"], ids=range(5))
def test_a_broken_kubeconfig(start: Start, tmp_path: Path, text: str) -> None:
    """A kubeconfig that cannot be used is a `config` error, whatever is wrong with it."""
    path = tmp_path / "broken"
    path.write_text(text, encoding="utf-8")
    source = start(kubeconfig=str(path))
    until(lambda: errors(source).get("config"))
    assert set(errors(source)) == {"config"}


@pytest.mark.parametrize("character", ["\n", "€"])
def test_a_token_that_no_header_can_have(
    server: KubeServer, start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture, character: str
) -> None:
    """A token with a line end, say, is a `config` error that says so, and nothing of the token."""
    source = start(kubeconfig=str(server.kubeconfig(tmp_path / "odd", token=f"{character}secret{character}")))
    until(lambda: errors(source).get("config"))
    assert "the token has a character that no header may have" in caplog.text
    assert "secret" not in caplog.text
    assert "€" not in caplog.text
    assert "20ac" not in caplog.text


def test_a_token_that_changes(server: KubeServer, start: Start, tmp_path: Path) -> None:
    """After a 401 the credentials are read again, so a new token is taken up without a restart."""
    source = start()
    server.wait_for_watch()
    server.token = server.token[::-1]
    server.cut(b"", proper=True)
    until(lambda: errors(source).get("unauthorized", 0) > 1)
    server.kubeconfig(tmp_path / "config")
    until(lambda: up(source))


def test_inside_a_pod_the_service_account_is_used(
    server: KubeServer, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In a pod the service account goes before any kubeconfig; a failed TLS handshake is unreachable."""
    for field, text in (("TOKEN", "t"), ("CERT", "no certificate")):
        (tmp_path / field).write_text(text, encoding="utf-8")
        monkeypatch.setattr(incluster_config, f"SERVICE_{field}_FILENAME", str(tmp_path / field))
    host, _, port = server.url.removeprefix("http://").partition(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    source = start(kubeconfig=None)
    until(lambda: errors(source).get("unreachable"))
    assert f"https://{host}:{port}" in caplog.text


def test_the_server_is_a_program_too(start: Start, tmp_path: Path) -> None:
    """`tests/kube_server.py` serves the pods of a file to whoever has the kubeconfig that it wrote."""
    pods, kubeconfig = tmp_path / "pods.json", tmp_path / "served"
    pods.write_text(json.dumps({"kind": "PodList", "items": [a_pod("a")]}), encoding="utf-8")
    command = [sys.executable, "tests/kube_server.py", "--pods", str(pods), "--kubeconfig", str(kubeconfig)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline().startswith("http://127.0.0.1:")
            source = start(kubeconfig=str(kubeconfig))
            until(lambda: uids(source) == {"uid-a"})
        finally:
            program.terminate()


def test_the_client_s_models_stay_out_of_memory(server: KubeServer, tmp_path: Path) -> None:
    """Listing and watching does not load the generated models, which would cost 23 MB."""
    server.put(a_pod("a"))
    program = f"""
import sys, time
from exporter.sources.pods import WatchedPods
source = WatchedPods("n1", kubeconfig={str(server.kubeconfig(tmp_path / "config"))!r})
source.start()
while not source.current().pods or not source.current().status.up:
    time.sleep(0.01)
source.close()
models = [name for name in sys.modules if name.startswith("kubernetes.client.models.")]
rss = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS"))
print(len(models), int(rss) // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    models, rss = map(int, done.stdout.split())
    print(f"RSS after list and watch: {rss} MiB, models loaded: {models}")  # noqa: T201 - for `pytest -s`
    assert models < 5
    assert rss < 80
