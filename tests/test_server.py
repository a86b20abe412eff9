"""The endpoint, over real sockets: formats, errors, hostile clients and labels, one rendering, a clean stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from typing_extensions import override

from exporter import page
from exporter.accounting import Accounting
from exporter.config import Address
from exporter.join import Carry
from exporter.model import Container
from exporter.server import Format, Renderer, Server, SnapshotRenderer, negotiate
from exporter.snapshot import Snapshot
from tests.make import GIB, GPU, cgroup, driver, joined, pod, process, processes, reading, roster, status
from tests.replay import Replay
from tests.served import BUILD, LOCAL, Running, ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exporter.model import Pod
    from exporter.snapshot import DeviceUse

GOLDEN = Path(__file__).parent / "golden"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
MODEL = pod("model", granted=f"{GPU},NVIDIA,2000,30:;")


def snapshot_of(*pods: Pod) -> Snapshot:
    """Return the snapshot of a GPU on which PID 7 runs in the pod `model`."""
    state = driver(reading({7: GIB}, busy={7: 0.5}))
    found = processes(process(7, cgroup("model", "model/main")))
    result, _ = joined(state, found, roster(*pods), Carry(listed=True))
    accounts = Accounting(started=0.0, longest=10.0).book(result)
    return Snapshot("node-a", 1_800_000_000.0, result, accounts, (status("nvml"),), None)


class Counted(tuple["DeviceUse", ...]):
    """The GPUs of a snapshot; counts how often a scrape of them was begun, and takes its time over each."""

    __slots__ = ()
    begun = 0
    pause = 0.1

    @override
    def __iter__(self) -> Iterator[DeviceUse]:
        """Count, and wait: many scrapes come meanwhile."""
        type(self).begun += 1
        time.sleep(self.pause)
        return super().__iter__()


class Broken(tuple["DeviceUse", ...]):
    """The GPUs of a snapshot that cannot be rendered."""

    __slots__ = ()

    @override
    def __iter__(self) -> Iterator[DeviceUse]:
        """Fail."""
        raise RuntimeError("cannot be rendered")


def with_devices(kind: Callable[[tuple[DeviceUse, ...]], tuple[DeviceUse, ...]]) -> Snapshot:
    """Return a snapshot whose GPUs are of such a kind."""
    snapshot = snapshot_of(MODEL)
    return replace(snapshot, joined=replace(snapshot.joined, devices=kind(snapshot.joined.devices)))


@pytest.fixture
def running() -> Iterator[Running]:
    """Return a server that has no snapshot yet."""
    server = Running()
    yield server
    server.close()


@pytest.fixture(name="golden", scope="module")
def _golden() -> Iterator[Running]:
    """Return a server that shows the recording at 80 s, when the golden scrape was taken."""
    server = Running(Replay().until(80.5), "Demo: a recording.")
    yield server
    server.close()


# ---------------------------------------------------------------- formats


def test_a_plain_scrape_is_the_golden_text(golden: Running) -> None:
    """Without any wish a client gets text 0.0.4: the golden scrape to the byte, then the process's own metrics."""
    answer = golden.get()

    plain = (GOLDEN / "h200-sharing-80s.prom").read_bytes()
    assert (answer.status, answer.headers["Content-Type"]) == (200, TEXT)
    assert answer.body.startswith(plain)
    own = {line.split()[2] for line in answer.body[len(plain) :].decode().splitlines() if line.startswith("# TYPE")}
    assert {"process_resident_memory_bytes", "python_info"} <= own
    assert all(name.startswith(("process_", "python_")) for name in own)
    assert b"_created" not in answer.body


def test_openmetrics_holds_the_same_as_text(golden: Running) -> None:
    """Asked for OpenMetrics, the same families come in that format, to its end mark."""
    answer = golden.get("/metrics", ("Accept", PROMETHEUS_3))

    assert answer.headers["Content-Type"] == OPENMETRICS
    assert answer.body.endswith(b"# EOF\n")
    modern = {one.name: one.type for one in parse_openmetrics(answer.body.decode())}
    text = {one.name: one.type for one in parse_text(golden.get().body.decode())}
    assert modern == text


def test_what_a_role_has_written_already_comes_first() -> None:
    """The text that a role has at hand stands before its families, and its page is its own."""
    snapshot, written = snapshot_of(MODEL), b"# TYPE a gauge\na 1.0\n"
    renderer = SnapshotRenderer(lambda: snapshot, lambda _: (written, ()), lambda _, note: f"<p>{note}")
    with contextlib.closing(Running(note="A note.", renderer=renderer)) as running:
        text, modern = (running.get("/metrics", ("Accept", accept)).body for accept in ("", PROMETHEUS_3))
        assert running.get("/").body == b"<p>A note."

    assert text.startswith(written)
    assert modern.startswith(written)
    assert modern.endswith(b"# EOF\n")
    assert {one.name for one in parse_openmetrics(modern.decode())} >= {"a", "python_info"}


def test_gzip_is_the_same_compressed(golden: Running) -> None:
    """Asked for gzip, the answer is the plain one compressed, and says so."""
    for accept in ("text/plain", PROMETHEUS_3):
        plain = golden.get("/metrics", ("Accept", accept))
        packed = golden.get("/metrics", ("Accept", accept), ("Accept-Encoding", "gzip"))

        assert "Content-Encoding" not in plain.headers
        assert packed.headers["Content-Encoding"] == "gzip"
        assert len(packed.body) < len(plain.body) / 3
        unpacked = gzip.decompress(packed.body).decode()
        vgpu = [line for line in plain.body.decode().splitlines() if line.startswith("vgpu_")]
        assert [line for line in unpacked.splitlines() if line.startswith("vgpu_")] == vgpu


def test_a_client_library_reads_what_it_negotiated(golden: Running) -> None:
    """An ordinary client, which asks for gzip by itself, gets a text that parses."""

    async def scrape() -> tuple[str | None, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(golden.url + "metrics", headers={"Accept": PROMETHEUS_3}) as response,
        ):
            return response.headers.get("Content-Encoding"), await response.text()

    encoding, body = asyncio.run(scrape())

    assert encoding == "gzip"
    assert any(family.name == "vgpu_device_up" for family in parse_openmetrics(body))


def test_answers_that_differ_by_header_say_so(golden: Running) -> None:
    """A cache in between is told what the answer depends on."""
    assert golden.get().headers["Vary"] == "Accept, Accept-Encoding"


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("application/openmetrics-text", True),
        ("Application/OpenMetrics-Text; version=1.0.0; charset=utf-8", True),
        (PROMETHEUS_3, True),
        (PROMETHEUS_2, True),
        ("application/openmetrics-text;q=0.5,text/plain;q=0.5", False),
        ("application/openmetrics-text;q=0.4,text/plain;q=0.5", False),
        ("application/openmetrics-text;q=0.4,text/*;q=0.5", False),
        ("application/openmetrics-text;q=0.4,*/*;q=0.5", False),
        ("application/openmetrics-text;q=0.5,*/*;q=0.4", True),
        ("application/openmetrics-text;q=0.5,text/plain;q=0,*/*", True),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=high", False),
        ("application/openmetrics-text;q=nan", False),
        (",;,;q=,q=1;;", False),
    ],
)  # fmt: skip
def test_the_format_is_the_one_preferred(accept: str, openmetrics: bool) -> None:  # noqa: FBT001  a table
    """OpenMetrics is sent only to who prefers it to text by its q values."""
    assert negotiate(accept, "") == Format(openmetrics=openmetrics, gzipped=False)


@pytest.mark.parametrize(
    ("encoding", "gzipped"),
    [
        ("", False),
        ("identity", False),
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0, br", False),
        ("br", False),
    ],
)
def test_gzip_is_sent_only_when_asked_for(encoding: str, gzipped: bool) -> None:  # noqa: FBT001  a table
    """An answer is compressed only for who says it may be."""
    assert negotiate("", encoding) == Format(openmetrics=False, gzipped=gzipped)


def test_headers_given_in_several_lines_count_as_one(golden: Running) -> None:
    """A header may come in several lines (RFC 9110, section 5.3)."""
    answer = golden.get(
        "/metrics",
        ("Accept", "text/plain;q=0.1"),
        ("Accept", "application/openmetrics-text"),
        ("Accept-Encoding", "br"),
        ("Accept-Encoding", "gzip"),
    )

    assert (answer.headers["Content-Type"], answer.headers["Content-Encoding"]) == (OPENMETRICS, "gzip")


# ---------------------------------------------------------------- methods and paths


@pytest.mark.parametrize("path", ["/metrics", "/", "/healthz", "/readyz"])
def test_head_is_get_without_the_body(golden: Running, path: str) -> None:
    """HEAD answers like GET, with the length and no body."""
    whole, head = golden.get(path), golden.get(path, method="HEAD")

    assert (head.status, head.headers["Content-Type"]) == (whole.status, whole.headers["Content-Type"])
    assert head.body == b""
    assert int(head.headers["Content-Length"]) == len(whole.body)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("path", ["/metrics", "/", "/healthz", "/readyz"])
def test_nothing_can_be_sent(golden: Running, method: str, path: str) -> None:
    """Only reading is allowed."""
    assert golden.get(path, ("Content-Length", "0"), method=method).status == 405


@pytest.mark.parametrize(
    "path", ["/metric", "/metrics/", "//metrics", "/METRICS", "/../etc/passwd", "/%2e%2e/etc/passwd", "/favicon.ico"]
)
def test_an_unknown_path_is_not_found(golden: Running, path: str) -> None:
    """Anything but the four paths is 404, and says as little."""
    answer = golden.get(path)

    assert answer.status == 404
    assert len(answer.body) < 100


def test_no_browser_guesses_what_an_answer_is(golden: Running) -> None:
    """Every answer, errors too, forbids guessing its type."""
    for path in ("/metrics", "/", "/healthz", "/readyz", "/nothing"):
        assert golden.get(path).headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "request_text",
    [
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GARBAGE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    ],
    ids=["long header", "long path", "garbage", "TLS", "smuggling"],
)
def test_a_request_out_of_bounds_is_refused_and_the_server_lives(
    golden: Running, request_text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A header beyond 8 KiB and what is no HTTP get a 4xx and no line in the log, and the next client is served."""
    url = urlsplit(golden.url)
    with socket.create_connection((url.hostname, url.port), timeout=10) as client:
        client.sendall(request_text)
        assert client.recv(12, socket.MSG_WAITALL) in (b"HTTP/1.0 400", b"HTTP/1.1 400")

    assert golden.get("/healthz").status == 200
    assert caplog.records == []


@pytest.mark.parametrize(
    "request_text",
    [
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nExpect: \xff\r\n\r\n",
        b"GET http://xn--/metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["expectation", "host"],
)
def test_what_the_http_library_stumbles_over_fills_no_log(
    running: Running, request_text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that ends aiohttp's own code with an exception costs its sender the answer, and us no line."""
    url = urlsplit(running.url)
    with socket.create_connection((url.hostname, url.port), timeout=10) as client:
        client.sendall(request_text)
        client.settimeout(0.1)
        with contextlib.suppress(TimeoutError):
            client.recv(12)
    assert running.get("/healthz").status == 200
    gc.collect()

    assert caplog.records == []


def test_a_client_that_goes_away_hurts_nobody(golden: Running) -> None:
    """Who asks and hangs up at once costs nothing but the answer."""
    url = urlsplit(golden.url)
    for _ in range(5):
        with socket.create_connection((url.hostname, url.port), timeout=10) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")

    assert golden.get().status == 200


# ---------------------------------------------------------------- health


def test_before_the_first_snapshot_only_health_is_good(running: Running) -> None:
    """Before the first snapshot the process lives but is not ready, and there is nothing to scrape."""
    assert running.get("/healthz")[::2] == (200, b"ok\n")
    for path in ("/metrics", "/", "/readyz"):
        answer = running.get(path)
        assert answer.status == 503
        assert answer.body.startswith(b"no snapshot yet")


def test_readiness_follows_the_snapshot(running: Running) -> None:
    """/readyz is 503 with the snapshot's reason, 200 without one; /healthz and /metrics do not mind."""
    snapshot = snapshot_of(MODEL)
    running.shown = replace(snapshot, not_ready="the NVIDIA driver has not answered yet")
    assert running.get("/readyz")[::2] == (503, b"the NVIDIA driver has not answered yet\n")
    assert running.get("/healthz").status == 200
    assert running.get("/metrics").status == 200

    running.shown = snapshot
    assert running.get("/readyz")[::2] == (200, b"ok\n")


def test_the_health_port_serves_no_data() -> None:
    """The port for the kubelet answers /healthz and /readyz and knows nothing else."""
    server = Running(snapshot_of(MODEL), health=[LOCAL])
    try:
        [url] = server.health_urls
        assert {path: ask(url, path).status for path in ("/healthz", "/readyz", "/metrics", "/")} == {
            "/healthz": 200,
            "/readyz": 200,
            "/metrics": 404,
            "/": 404,
        }
        assert server.get("/healthz").status == 200
    finally:
        server.close()


# ---------------------------------------------------------------- one rendering a snapshot


def test_a_snapshot_is_rendered_once_however_many_scrape(running: Running) -> None:
    """Twenty scrapes at once, and one later, share one rendering: the same body, process metrics and all."""
    Counted.begun = 0
    running.shown = with_devices(Counted)

    with ThreadPoolExecutor(20) as clients:
        answers = [future.result() for future in [clients.submit(running.get) for _ in range(20)]]

    assert Counted.begun == 1
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in [*answers, running.get()]}) == 1
    assert Counted.begun == 1


def test_each_format_is_rendered_once_and_each_snapshot_anew(running: Running) -> None:
    """The four formats are one rendering each; the next snapshot begins anew."""
    Counted.begun = 0
    forms = [(accept, encoding) for accept in ("text/plain", PROMETHEUS_3) for encoding in ("gzip", "identity")]
    running.shown = with_devices(Counted)
    for accept, encoding in forms * 2:
        running.get("/metrics", ("Accept", accept), ("Accept-Encoding", encoding))
    assert Counted.begun == 4

    running.shown = with_devices(Counted)
    running.get()
    assert Counted.begun == 5


def test_the_page_is_rendered_once_however_many_look() -> None:
    """Whoever asks for the page again and again, and does not wait for it, leaves no work behind; the next is new."""
    shown: list[str] = []

    def show(snapshot: Snapshot, note: str) -> str:
        shown.append(snapshot.node)
        time.sleep(0.1)
        return note

    renderer = SnapshotRenderer(lambda: served[-1], lambda _: (b"", ()), show)
    served = [snapshot_of(MODEL)]
    with Running(renderer=renderer, note="größer") as running, ThreadPoolExecutor(20) as clients:
        answers = list(clients.map(lambda _: running.get("/"), range(20)))
        assert {answer.body.decode() for answer in [*answers, running.get("/")]} == {"größer"}
        served.append(replace(served[0], node="node-b"))
        assert running.get("/").status == 200

    assert shown == ["node-a", "node-b"]


def test_scrapes_share_one_body_object() -> None:
    """Concurrent calls of the renderer return the very same bytes."""

    async def bodies() -> list[bytes | None]:
        renderer = Renderer(lambda: snapshot, BUILD)
        form = Format(openmetrics=False, gzipped=True)
        return await asyncio.gather(*(renderer.body(form) for _ in range(20)), return_exceptions=False)

    snapshot = snapshot_of(MODEL)
    first, *others = asyncio.run(bodies())

    assert first
    assert all(body is first for body in others)


def test_a_scrape_that_is_given_up_does_not_spoil_the_others() -> None:
    """A scrape cancelled while the snapshot is being rendered leaves the rendering to those who still wait."""

    async def scrape() -> bytes | None:
        renderer = Renderer(lambda: snapshot, BUILD)
        form = Format(openmetrics=False, gzipped=False)
        impatient, patient = (asyncio.create_task(renderer.body(form)) for _ in range(2))
        await asyncio.sleep(0.02)
        impatient.cancel()
        return await patient

    snapshot = with_devices(Counted)

    assert asyncio.run(scrape())


def test_rendering_holds_nobody_up(running: Running) -> None:
    """While a snapshot is being rendered the health endpoint answers."""
    running.shown = with_devices(Counted)
    with ThreadPoolExecutor(1) as clients:
        scrape = clients.submit(running.get)
        begun = time.monotonic()
        while not scrape.done():
            assert running.get("/healthz").status == 200
        assert time.monotonic() - begun >= Counted.pause / 2


def test_a_snapshot_that_cannot_be_rendered_costs_its_scrapes_only(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """A failing rendering is a 500 without a word about the inside, and logged; the next snapshot is served."""
    running.shown = with_devices(Broken)
    for path in ("/metrics", "/"):
        answer = running.get(path)
        assert answer.status == 500
        assert b"cannot be rendered" not in answer.body
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["cannot be rendered"] * 2

    running.shown = snapshot_of(MODEL)
    assert running.get().status == 200


# ---------------------------------------------------------------- hostile labels

HOSTILE = [
    'quote " and "} 5',
    "line\nbreak\r\n# HELP vgpu_device_up gone",
    "back\\slash\\n\\",
    "<script>alert(1)</script><img src=x onerror=alert(1)>&amp;",
    "long " + "x" * 10_000,
    "\x1b[31m\x07\x7f\u202e",
    "名前 größe 🦆",
    " ",
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_label_comes_back_equal(running: Running, name: str) -> None:
    """Whatever a tenant calls things, both formats give it back to the character, as one label of one sample."""
    hostile = pod("model", namespace=name, containers=[Container(name, "app")])
    running.shown = snapshot_of(replace(hostile, name=name, labels={"app": name}, tenant=name or "t"))

    modern = parse_openmetrics(running.get("/metrics", ("Accept", PROMETHEUS_3)).body.decode())
    for families in (list(parse_text(running.get().body.decode())), list(modern)):
        [used] = [family.samples for family in families if family.name == "vgpu_container_memory_used_bytes"]
        [info] = [family.samples for family in families if family.name == "vgpu_container_info"]
        [named] = [family.samples for family in families if family.name == "vgpu_pod_labels"]
        for label in ("namespace", "pod", "container"):
            assert used[0].labels[label] == name
        assert used[0].value == GIB
        assert info[0].labels["tenant"] == name or "t"
        assert named[0].labels["label_app"] == name
        assert (len(used), len(info), len(named)) == (1, 1, 1)


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_label_is_text_on_the_page(running: Running, name: str) -> None:
    """On the page a name brings no element with it."""
    hostile = pod("model", namespace=name, containers=[Container(name, "app")])
    running.shown = snapshot_of(replace(hostile, name=name))
    page_text = running.get("/").body.decode()

    assert page_text.count("<script") == 1  # the page's own
    assert "<img" not in page_text


def test_the_page_comes_with_its_policy(golden: Running) -> None:
    """The page is HTML in UTF-8 under a policy that runs its own script alone; it shows the note."""
    answer = golden.get("/")

    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["Content-Security-Policy"] == page.POLICY
    assert answer.headers["Cache-Control"] == "no-store"
    assert "ssh-lab-0" in answer.body.decode()
    assert "Demo: a recording." in answer.body.decode()


# ---------------------------------------------------------------- start and stop


def test_a_stop_finishes_the_scrape_in_flight() -> None:
    """A scrape that is being rendered when the stop comes is answered in full; who comes later finds nobody."""
    server = Running(with_devices(Counted))
    Counted.begun = 0
    with ThreadPoolExecutor(1) as clients:
        scrape = clients.submit(server.get)
        while not Counted.begun:
            time.sleep(0.005)
        server.close()
        answer = scrape.result()

    assert answer.status == 200
    assert b"vgpu_device_up" in answer.body
    with pytest.raises(ConnectionRefusedError):
        server.get()


def test_a_stop_does_not_wait_for_idle_connections(running: Running) -> None:
    """A Prometheus that keeps its connection open holds no stop up."""
    url = urlsplit(running.url)
    with socket.create_connection((url.hostname, url.port), timeout=10) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"
        begun = time.monotonic()

        running.call(running.server.stop())

        assert time.monotonic() - begun < 1


def test_a_taken_port_is_an_error_of_the_operating_system() -> None:
    """A port that somebody else has is an OSError, and the server can be stopped all the same."""

    async def start(port: int) -> None:
        server = Server(Renderer(lambda: None, BUILD))
        try:
            await server.start([LOCAL, Address("127.0.0.1", port)], [])
        finally:
            await server.stop()

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="address already in use"):
        asyncio.run(start(taken.getsockname()[1]))


def test_every_address_is_served_under_its_own_url() -> None:
    """Each address gives a URL that works on this machine, also where it listens everywhere or on IPv6."""
    addresses = [LOCAL, Address("0.0.0.0", 0)]  # noqa: S104  a test of just that
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        addresses.append(Address("::1", 0))

    async def urls() -> list[tuple[str, int]]:
        server = Server(Renderer(lambda: None, BUILD))
        found = await server.start(addresses, [])
        answers = [(url, (await asyncio.to_thread(ask, url, "/healthz")).status) for url in found]
        await server.stop()
        return answers

    served = asyncio.run(urls())

    assert [url.rpartition(":")[0] for url, _ in served] == [
        "http://127.0.0.1",
        "http://localhost",
        "http://[::1]",
    ][: len(addresses)]
    assert {code for _, code in served} == {200}
