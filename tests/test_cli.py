"""The command line as a user meets it: real child processes, their exit codes, what they print and serve."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from exporter import __version__
from exporter.cli import main
from exporter.roles.demo import RECORDING
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "exporter"]
NODE = ("node", "--node-name", "n1", "--no-kubernetes")


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def environment(**extra: str) -> dict[str, str]:
    """Return this process's environment without settings of the exporter, plus some."""
    ours = ("VGPU_EXPORTER_", "NODE_NAME")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | extra


def run(*arguments: str, **extra: str) -> Done:
    """Run a command to its end; `extra` is added to the environment."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=ROOT,
        env=environment(**extra),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


class Refused(NamedTuple):
    """A wrong use: the arguments, what the line must say, the FILE that both may name, and a variable."""

    arguments: tuple[str, ...]
    expected: str
    file: bytes | None = None
    variable: tuple[str, str] = ("LC_ALL", "C")


REFUSED = {
    "no command": Refused((), "the following arguments are required: COMMAND"),
    "unknown command": Refused(("nonsense",), "invalid choice: 'nonsense'"),
    "unknown flag": Refused(("demo", "--nonsense"), "unrecognized arguments: --nonsense"),
    "shortened flag": Refused(("demo", "--spee", "5"), "unrecognized arguments: --spee 5"),
    "flag with an escape": Refused(("demo", "--a\n\x1b[2J"), "unrecognized arguments: --a\\n\\x1b[2J"),
    "speed 0": Refused(("demo", "--speed", "0"), "--speed: '0' is not a number above 0"),
    "speed fast": Refused(("demo", "--speed", "fast"), "--speed: 'fast' is not a number from 0 on"),
    "speed nan": Refused(("demo", "--speed", "nan"), "--speed: 'nan' is not a number from 0 on"),
    "hold before the start": Refused(("demo", "--hold", "-1"), "--hold: '-1' is not a number from 0 on"),
    "loop and hold": Refused(("demo", "--loop", "--hold", "5"), "--loop and --hold exclude each other"),
    "no port": Refused(("demo", "--listen", "9836"), "--listen: '9836' is not HOST:PORT"),
    "no host": Refused(("demo", "--listen", "a..b:1"), "--listen: 'a..b:1' is not HOST:PORT"),
    "missing capture": Refused(("demo", "--capture", "/nowhere/a.gz"), "/nowhere/a.gz cannot be read"),
    "empty capture": Refused(("demo", "--capture", "FILE"), "FILE: the capture is empty", b""),
    "corrupt capture": Refused(
        ("demo", "--capture", "FILE"),
        "the capture FILE cannot be read: Error -3 while decompressing",
        RECORDING.read_bytes()[:50] + b"\xff" * 40 + RECORDING.read_bytes()[90:],
    ),
    "truncated capture": Refused(
        ("demo", "--capture", "FILE"),
        "the capture FILE cannot be read: Compressed file ended before the end-of-stream marker",
        RECORDING.read_bytes()[:-1000],
    ),
    "capture to nowhere": Refused(("capture",), "the following arguments are required: --out"),
    "node without a name": Refused(("node",), "--node-name is not set: give it, or NODE_NAME"),
    "bad node name": Refused(("node",), "NODE_NAME: 'A B' is not the node's", variable=("NODE_NAME", "A B")),
    "bad duration": Refused((*NODE, "--interval", "1d"), "--interval: '1d' is not a duration such as"),
    "bad variable": Refused(
        NODE, "VGPU_EXPORTER_LOG_LEVEL: 'loud' is not debug or", variable=("VGPU_EXPORTER_LOG_LEVEL", "loud")
    ),
    "missing config": Refused((*NODE, "--config", "/nowhere/a.yaml"), "--config: /nowhere/a.yaml cannot be read"),
    "config by variable": Refused(
        NODE, "--config: /nowhere/b cannot be read", variable=("VGPU_EXPORTER_CONFIG", "/nowhere/b")
    ),
    "config is no text": Refused((*NODE, "--config", "FILE"), "--config: FILE cannot be read: 'utf-8'", b"\xff"),
    "config is no YAML": Refused((*NODE, "--config", "FILE"), "the --config file is not YAML: ", b"interval: ["),
    "unknown key": Refused(
        (*NODE, "--config", "FILE"), "unknown key 'intervall'; keys are node-name,", b"intervall: 1"
    ),
    "bad object name": Refused(("quota", "--hami-config", "hami"), "--hami-config: 'hami' is not NAMESPACE/NAME"),
    "missing names": Refused(("quota", "--resource-names", "/nowhere/a"), "--resource-names: /nowhere/a cannot be"),
    "names of nothing": Refused(("quota", "--resource-names", "FILE"), "--resource-names: FILE is not a dev", b"a: b"),
    "flag of the other role": Refused(("quota", "--interval", "1s"), "unrecognized arguments: --interval 1s"),
    "bad value of a key": Refused((*NODE, "--config", "FILE"), "--config file, interval: '1d' is not", b"interval: 1d"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_use_is_one_line_and_exit_code_2(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever cannot be used ends before anything starts: exit code 2, one line on standard error that names it."""
    case, file = REFUSED[name], tmp_path / "given.gz"
    if case.file is not None:
        file.write_bytes(case.file)
    monkeypatch.delenv("NODE_NAME", raising=False)
    monkeypatch.setenv(*case.variable)

    code = main([argument.replace("FILE", str(file)) for argument in case.arguments])

    out, err = capsys.readouterr()
    assert code == 2, err
    assert out == ""
    assert err.startswith("vgpu-exporter: ")
    assert err.splitlines(keepends=True) == [err]
    assert case.expected.replace("FILE", str(file)) in err


def test_the_process_ends_with_that_code_too() -> None:
    """What the shell sees of a wrong use is the same line and the same code."""
    code, out, err = run("node", "--node-name=a", "--interval", "1d")

    assert (code, out) == (2, "")
    assert err.startswith("vgpu-exporter: --interval: '1d' is not a duration")


def test_version_is_printed() -> None:
    """`--version` names the program, its version and the revision that the image was built from."""
    assert run("--version", VGPU_EXPORTER_REVISION="abc123") == (0, f"vgpu-exporter {__version__} (abc123)\n", "")


@pytest.mark.parametrize("command", [(), ("node",), ("quota",), ("demo",), ("capture",)], ids=" ".join)
def test_help_is_printed(command: tuple[str, ...]) -> None:
    """`--help` shows the flags of a command, or the commands, and exits 0."""
    code, out, err = run(*command, "--help")

    assert (code, err) == (0, "")
    assert out.startswith(f"usage: {' '.join(('vgpu-exporter', *command))} ")
    wanted = {
        "": "capture",
        "node": "--pods-max-age",
        "quota": "--hami-config",
        "demo": "--hold",
        "capture": "--no-red",
    }
    assert wanted["".join(command)] in out


# ---------------------------------------------------------------- the demo, running


@contextmanager
def demo(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the demo on a free port; yields the child and its URL once it has told it."""
    with subprocess.Popen(
        [*COMMAND, "demo", "--listen", "127.0.0.1:0", *arguments],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            assert child.stdout is not None
            line = child.stdout.readline()
            match = re.search(r"Open (http://127\.0\.0\.1:[0-9]+/) in a browser", line)
            assert match, line
            yield child, match[1]
        finally:
            child.kill()


def get(url: str, path: str) -> tuple[int, str]:
    """Ask a server for a path."""
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()


def ends_well(child: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal; the child ends with 0 within 5 s and has nothing to complain about."""
    begun = time.monotonic()
    child.send_signal(number)
    _, err = child.communicate(timeout=10)
    assert (child.returncode, err) == (0, "")
    assert time.monotonic() - begun < 5


def test_the_demo_plays_to_its_hold_serves_and_ends() -> None:
    """The demo says its URL, is ready at once, plays to the escape and stays there, and ends on SIGTERM."""
    with demo("--speed", "50", "--hold", "80") as (child, url):
        assert get(url, "/readyz") == (200, "ok\n")
        until(lambda: "over its grant" in get(url, "/")[1])
        status, body = get(url, "/metrics")
        samples = {
            (sample.name, sample.labels.get("pod")): sample.value for one in parse(body) for sample in one.samples
        }

        assert status == 200
        assert samples["vgpu_device_up", None] == 1
        assert samples["vgpu_container_memory_used_bytes", "ssh-lab-0"] > 8e9
        assert get(url, "/nothing")[0] == 404
        ends_well(child, signal.SIGTERM)


def test_ctrl_c_ends_the_demo() -> None:
    """SIGINT ends like SIGTERM, without a traceback, although a client keeps its connection open."""
    with (
        demo("--speed", "50", "--loop") as (child, url),
        socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=10) as client,
    ):
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"
        ends_well(child, signal.SIGINT)


def test_a_reader_that_has_seen_enough_ends_it_without_a_traceback() -> None:
    """`… --json | head -1` closes the pipe early: nothing is said of it."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(
            [*COMMAND, "doctor", "--no-kubernetes", "--node-name=x", "--health-listen=", "--json"],
            cwd=ROOT, env=environment(), stdout=closed, stderr=subprocess.PIPE, timeout=30, check=False,
        )  # fmt: skip

    assert (done.returncode, done.stderr) == (1, b"")


def test_a_port_in_use_is_one_line_and_exit_code_1() -> None:
    """An address that somebody else has is told in one line with the address; it is no wrong use: exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = run("demo", "--listen", f"127.0.0.1:{port}")

    assert (code, out) == (1, "")
    assert err.startswith("vgpu-exporter: cannot listen: ")
    assert str(port) in err
    assert "address already in use" in err
    assert err.splitlines(keepends=True) == [err]


def test_a_host_that_nobody_knows_is_named() -> None:
    """An address that does not resolve (here: for want of its interface, so no resolver is asked) is named."""
    code, _, err = run("demo", "--listen", "[fe80::1%nowhere]:1")

    assert code == 1
    assert "cannot listen: fe80::1%nowhere: " in err
    assert err.splitlines(keepends=True) == [err]


def test_a_node_without_a_driver_serves_and_ends(tmp_path: Path) -> None:
    """Where no driver answers, `node` serves all the same, lives, and ends in time."""
    log = tmp_path / "log"
    with (
        log.open("w") as err,
        subprocess.Popen(
            [*COMMAND, *NODE, "--listen", "127.0.0.1:0", "--health-listen", "", "--log-format", "json"],
            cwd=ROOT,
            env=environment(),
            stderr=err,
        ) as child,
    ):
        try:
            until(lambda: "serving on http://127.0.0.1:" in log.read_text())
            [url] = re.findall(r"http://127\.0\.0\.1:[0-9]+/", log.read_text())
            assert get(url, "/healthz") == (200, "ok\n")
            assert "vgpu_exporter_build_info{" in get(url, "/metrics")[1]
            child.send_signal(signal.SIGTERM)
            assert child.wait(5) == 0
        finally:
            child.kill()
