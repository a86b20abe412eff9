"""The command `top` as a child process: against the demo, hostile servers and a Prometheus; on a terminal or not."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.monitored import demo_scraped
from tests.program import ROOT
from tests.rules.checkers import running
from tests.top.pages import ON, Answer, Site, page
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = [sys.executable, "-m", "exporter", "top"]
DEMO = [sys.executable, "-u", "-m", "exporter", "demo", "--speed", "20", "--hold", "80", "--listen", "127.0.0.1:0"]
#: Turns the line around, clears the screen, changes the title, ends the line.
HOSTILE = "a\u202e\x1b[2J\x1b]0;x\x07\\nb\x9b\u200f"
ESCAPES = re.compile(rb"\x1b(\[[0-9;?]*[a-zA-Z]|[()][A-Z0-9])")


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def outside(**extra: str) -> dict[str, str]:
    """Return an environment that says nothing of the exporter or of colours."""
    hidden = ("VGPU_", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TTY_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "TERM": "xterm-256color"} | extra


def top(*flags: str, **environ: str) -> Done:
    """Run it to its end, without a terminal."""
    done = subprocess.run(
        [*COMMAND, *flags],
        env=outside(**environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(name="demo", scope="module")
def _demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the demo until its 80th second; yields its address."""
    with running(DEMO, tmp_path_factory.mktemp("demo") / "log", "(http://[^/]+)/metrics") as url:
        until(lambda: "escape" in json.dumps(seen(url)["gpus"]), 30)
        yield url


def seen(url: str, *flags: str) -> Any:  # noqa: ANN401 - a document
    """Return what `--json` prints."""
    done = top("--url", url, "--json", *flags)
    assert done.code == 0, done.err
    return json.loads(done.out)


# ---------------------------------------------------------------- scripts


def test_a_script_gets_a_document_with_cores(demo: str) -> None:
    """It waits for the second scrape; in sum the cores are those of the GPU."""
    found = seen(demo)
    [gpu] = found["gpus"]
    cores = [one["core_used_ratio"] or 0 for one in (*gpu["uses"], *gpu["unattributed"])]

    assert len(gpu["uses"]) == 10
    assert found["core_window_seconds"] >= 1
    assert sum(cores) == pytest.approx(gpu["core_used_ratio"], rel=1e-3)
    assert gpu["core_used_ratio"] > 0.5


def test_a_pipe_gets_the_table_without_any_control_character(demo: str) -> None:
    """Eighty columns of it."""
    done = top("--url", demo, "--once")

    assert (done.code, done.err) == (0, "")
    assert "\x1b" not in done.out
    assert all(len(line) <= 80 for line in done.out.splitlines())
    assert "escape 6.4G" in done.out
    assert "nobody's: unlisted" in done.out.splitlines()[-1]


def test_the_filter_and_the_order_are_flags_too(demo: str) -> None:
    """For whoever has no keyboard."""
    [gpu] = seen(demo, "--filter", "xinference", "--sort", "name")["gpus"]

    assert [use["pod"][-1] for use in gpu["uses"]] == list("01234")


def test_without_a_terminal_it_says_how(demo: str) -> None:
    """Wrong use: one line, exit code 2."""
    done = top("--url", demo)

    assert (done.code, done.out) == (2, "")
    assert done.err == "vgpu-exporter: this is no terminal to draw on: use --once or --json\n"


@pytest.mark.parametrize("flags", [("--url",), ("--prometheus",)])
def test_nobody_there_is_a_failure_in_one_line(flags: tuple[str, ...]) -> None:
    """Exit code 1."""
    done = top(*flags, "http://127.0.0.1:1", "--once")

    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert done.err.endswith("cannot be read: connection refused\n")


def hostile_page() -> str:
    """Return a scrape whose every name is hostile."""
    owner = f'{ON},namespace="{HOSTILE}",pod="{HOSTILE}",container="c"'
    return page(
        f'vgpu_device_info{{{ON},device_index="{HOSTILE}",device_name="{HOSTILE}"}} 1',
        f'vgpu_namespace_info{{namespace="{HOSTILE}",tenant="{HOSTILE}"}} 1',
        f"vgpu_container_memory_used_bytes{{{owner}}} 5",
        f'vgpu_container_info{{{owner},grant_source="{HOSTILE}"}} 1',
        f'vgpu_device_memory_unattributed_bytes{{{ON},reason="{HOSTILE}"}} 5',
        f'vgpu_source_up{{role="node",source="{HOSTILE}"}} 0',
        taken=time.time(),
    )


@pytest.mark.parametrize("flags", [("--once",), ("--once", "--tenants"), ("--json",)])
def test_nothing_in_a_label_reaches_the_terminal(flags: tuple[str, ...]) -> None:
    """Neither a control character nor a mark that turns the line around."""
    with Site(lambda *_: Answer(hostile_page().encode())) as site:
        done = top("--url", site.url, "--interval", "0.5", *flags)

    assert done.code == 0, done.err
    assert not set(done.out) & set("\x1b\x07\x9b\u202e\u200f\r\x7f")
    assert "\\u202e" in done.out


# ---------------------------------------------------------------- a terminal


class Terminal:
    """A terminal with the program on it; `text` is all that it was sent."""

    def __init__(self, *flags: str, **environ: str) -> None:
        """Start the program."""
        self.ours, theirs = pty.openpty()
        self.resize(24, 80)
        self.before = termios.tcgetattr(theirs)
        self.theirs = theirs
        self.child = subprocess.Popen(
            [*COMMAND, *flags],
            env=outside(**environ),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        self.raw = b""

    def resize(self, rows: int, columns: int) -> None:
        """Make it another size."""
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self) -> None:
        """Take in what was sent meanwhile."""
        while select.select([self.ours], [], [], 0.05)[0]:
            with suppress(OSError):
                self.raw += os.read(self.ours, 65536)

    @property
    def text(self) -> str:
        """What was sent, without colours and movements."""
        return ESCAPES.sub(b"", self.raw).decode()

    def press(self, keys: str) -> None:
        """Type; what was sent before is forgotten."""
        self.read()
        self.raw = b""
        os.write(self.ours, keys.encode())

    def shows(self, *texts: str) -> None:
        """Wait until all of them were sent."""

        def sent() -> bool:
            self.read()
            return all(text in self.text for text in texts)

        try:
            until(sent, 20)
        except AssertionError:
            pytest.fail(f"never showed {texts}: {self.text[-3000:]}")

    def ended(self) -> int:
        """Wait for its end; returns the exit code."""

        def over() -> bool:
            self.read()
            return self.child.poll() is not None

        until(over)
        return self.child.returncode

    @property
    def restored(self) -> bool:
        """Whether the terminal is as it was: its mode, its own screen, its cursor."""
        modes = termios.tcgetattr(self.theirs) == self.before
        return modes and self.raw.rfind(b"\x1b[?1049l") > self.raw.rfind(b"\x1b[?1049h") and b"\x1b[?25h" in self.raw


@contextmanager
def terminal(*flags: str, **environ: str) -> Iterator[Terminal]:
    """Run it on a terminal, and end it."""
    on = Terminal(*flags, **environ)
    try:
        yield on
    finally:
        on.child.kill()
        on.child.wait()
        os.close(on.ours)
        os.close(on.theirs)


def test_a_person_watches_sorts_filters_and_quits(demo: str) -> None:
    """From "measuring" to figures; the terminal is as it was in the end."""
    with terminal("--url", demo, "--interval", "1") as on:
        on.shows("cores: measuring", "! research/ssh-lab-0", "...", "q quit  s sort (memory)")
        on.shows("cores: mean of")
        on.press("s")
        on.shows("s sort (cores)")
        on.press("t")
        on.shows("3 tenants", "t pods")
        on.press("t/RAG")
        on.shows("2 pods", "filter by namespace or pod: RAG_")
        on.press("\r")
        on.shows("filter: RAG")
        on.press("q")
        assert on.ended() == 0
        assert on.restored


def test_a_small_terminal_scrolls_and_a_larger_one_shows_more(demo: str) -> None:
    """The last line says which rows are seen."""
    with terminal("--url", demo) as on:
        on.resize(8, 80)
        on.shows("rows 1-5/13")
        on.press("\x1b[B")
        on.shows("rows 2-6/13")
        on.press("\x1b[6~")
        on.shows("rows 7-11/13")
        on.press("\x1b[F")
        on.shows("rows 9-13/13", "nobody's: unlisted")
        on.press("")
        on.resize(30, 150)
        on.shows("TENANT", "rag/vllm-bge-reranker-v2-m3-deployment-vllm-7dcb7965d9-xwvr7", "escape 6.4G, over grant")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_leaves_the_terminal_as_it_was(demo: str, number: signal.Signals) -> None:
    """Like `q`."""
    with terminal("--url", demo) as on:
        on.shows("q quit")
        on.child.send_signal(number)

        assert on.ended() == 0
        assert on.restored


def test_no_colour_is_used_where_none_is_wanted(demo: str) -> None:
    """NO_COLOR; what is red otherwise has its mark and its words."""
    coloured = re.compile(rb"\x1b\[[0-9;]*3[0-9]m")
    with terminal("--url", demo, NO_COLOR="1") as on:
        on.shows("! research/ssh-lab-0", "escape 6.4G", "q quit")
        assert not coloured.search(on.raw)
    with terminal("--url", demo) as on:
        on.shows("q quit")
        assert coloured.search(on.raw)


def test_the_last_frame_stays_when_the_server_goes() -> None:
    """It says since when and why, and goes on when the server is back."""
    broken: list[bool] = []
    good = page(f"vgpu_device_up{{{ON}}} 1", taken=time.time())
    with (
        Site(lambda *_: Answer(b"oh no", 500) if broken else Answer(good.encode())) as site,
        terminal("--url", site.url, "--interval", "0.5") as on,
    ):
        on.shows("1 GPU", "q quit")
        broken.append(True)
        on.shows("s old: ", "answers HTTP 500")
        on.press("")
        on.shows("n1 GPU-1", "3 s old: ")
        broken.clear()
        on.press("s")
        on.shows("s sort (cores)")
        until(lambda: len(site.asked) > 10, 10)
        on.press("s")
        on.shows("s sort (name)")
        assert "HTTP 500" not in on.text


def test_a_live_terminal_is_sent_nothing_of_a_label() -> None:
    """All that is sent, besides what moves and colours, is printable."""
    with Site(lambda *_: Answer(hostile_page().encode())) as site, terminal("--url", site.url) as on:
        on.shows("\\u202e", "q quit")
        on.press("t")
        on.shows("t pods")

        assert not set(on.text) & set("\x1b\x07\x9b\u202e\u200f\x7f")


def test_a_terminal_that_cannot_be_drawn_on_is_none(demo: str) -> None:
    """TERM=dumb, as in an editor's shell."""
    with terminal("--url", demo, TERM="dumb") as on:
        assert on.ended() == 2
        assert "use --once or --json" in on.text


def test_no_answer_at_first_leaves_no_empty_screen() -> None:
    """It fails in one line, on the screen that was there."""
    with terminal("--url", "http://127.0.0.1:1") as on:
        assert on.ended() == 1
        assert b"\x1b[?1049h" not in on.raw
        assert "connection refused" in on.text


# ---------------------------------------------------------------- a cluster


@pytest.mark.live
def test_a_real_prometheus_shows_the_same_as_the_node(tmp_path: Path) -> None:
    """Two clusters of it: the cores of pods and of nobody add up to the GPU's."""
    with demo_scraped(tmp_path, time_scale=60, clusters=("east", "west")) as prometheus:

        def found() -> Any:  # noqa: ANN401 - a document
            return json.loads(top("--prometheus", f"http://{prometheus.address}", "--json").out or '{"gpus": []}')

        def known() -> bool:
            gpus = found()["gpus"]
            return len(gpus) == 2 and "escape" in json.dumps(gpus) and all(gpu["core_used_ratio"] for gpu in gpus)

        until(known, 60)
        document = found()

    assert [gpu["cluster"] for gpu in document["gpus"]] == ["east", "west"]
    for gpu in document["gpus"]:
        assert len(gpu["uses"]) == 10
        cores = [one["core_used_ratio"] or 0 for one in (*gpu["uses"], *gpu["unattributed"])]
        assert sum(cores) == pytest.approx(gpu["core_used_ratio"], rel=0.05)
    assert document["blind_sources"] == document["silent_exporters"] == document["stale_exporters"] == []
