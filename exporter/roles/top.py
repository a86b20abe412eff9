"""The role of `top`: reads frames and shows them, once or live, on a terminal or as JSON."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import threading
import time
import tty
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from rich.console import Console, Group
from rich.live import Live

from exporter.errors import ConfigError, ExporterError
from exporter.sources.scrape import ClusterFrames, NodeFrames
from exporter.sources.web import Web
from exporter.top import view
from exporter.top.choice import chosen, keys, pressed
from exporter.top.document import document
from exporter.top.view import ASCII, BLOCKS, Paper

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.text import Text

    from exporter.sources.scrape import Frames
    from exporter.top.choice import Choice
    from exporter.top.flags import TopSettings
    from exporter.top.rows import Frame, Gpu

#: How often a single look asks again until cores are known: an exporter may read its node only every 10 s.
_LOOKS: Final = 8
#: Seconds until a resized terminal, or new data, show.
_GLANCE: Final = 0.2
_TYPED_AT_ONCE: Final = 1024
_NO_TERMINAL: Final = "this is no terminal to draw on: use --once or --json"


def show(settings: TopSettings) -> None:
    """Show it, live until a key or a signal ends it; ExporterError if the first frame cannot be read."""
    live = not (settings.once or settings.json)
    console = Console(highlight=False, soft_wrap=True)
    if live and (not sys.stdin.isatty() or not sys.stdout.isatty() or console.is_dumb_terminal):
        raise ConfigError(_NO_TERMINAL)
    web = Web(settings.access)
    frames: Frames = ClusterFrames(settings.url, web) if settings.cluster else NodeFrames(settings.url, web)
    try:
        if live:
            _watch(frames, settings, console)
        else:
            _print(_once(frames, settings.interval), settings, console)
    except KeyboardInterrupt:
        return


def _once(frames: Frames, interval: float) -> Frame:
    """Return a frame with cores, if they are to be had at all."""
    frame = frames.read()
    for _ in range(_LOOKS if frames.measures else 0):
        if frame.core_window is not None:
            break
        time.sleep(interval)
        frame = frames.read()
    return frame


def _print(frame: Frame, settings: TopSettings, console: Console) -> None:
    gpus = chosen(frame.gpus, settings.choice)
    if settings.json:
        print(document(frame, gpus))  # noqa: T201
        return
    paper = _paper(console, gpus)
    lines = [
        *view.header(frame, gpus, settings.url, settings.choice, paper),
        view.titles(paper),
        *view.table(gpus, paper, measuring=frame.core_window is None),
    ]
    for line in lines:
        line.rstrip()
        console.print(line, overflow="ignore", crop=False)


def _paper(console: Console, gpus: Sequence[Gpu]) -> Paper:
    return Paper.of(gpus, console.width, ASCII if console.options.ascii_only else BLOCKS)


# ---------------------------------------------------------------- live


class _Reading(NamedTuple):
    """The last frame, when it came (by the monotonic clock), and why there is no newer one, "" if nothing is wrong."""

    frame: Frame
    came: float
    error: str = ""


class _Reader:
    """Reads frames in a thread of its own, so that keys are answered while a server is not."""

    def __init__(self, frames: Frames, interval: float) -> None:
        """Read the first one; SourceError if that fails."""
        self._frames = frames
        self._interval = interval
        self.last = _Reading(frames.read(), time.monotonic())
        threading.Thread(target=self._run, name="frames", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(self._interval)
            try:
                self.last = _Reading(self._frames.read(), time.monotonic())
            except ExporterError as error:
                self.last = self.last._replace(error=str(error))


def _watch(frames: Frames, settings: TopSettings, console: Console) -> None:
    """Draw until a key or a signal ends it."""
    reader, choice = _Reader(frames, settings.interval), settings.choice
    drawn: object = None
    with _Stop() as stop, _keyboard(), Live(console=console, screen=True, auto_refresh=False) as live:
        while not (choice.quit or stop.wanted):
            screen = _Screen(reader.last, choice, settings, console)
            choice = screen.choice
            if screen.state != drawn:
                drawn = screen.state
                live.update(Group(*screen.lines()), refresh=True)
            for key in keys(_typed()):
                choice = pressed(choice, key, screen.page, len(screen.rows))


class _Screen:
    """What the terminal is to show now; `state` is another whenever that is."""

    def __init__(self, reading: _Reading, choice: Choice, settings: TopSettings, console: Console) -> None:
        since = time.monotonic() - reading.came
        frame = reading.frame
        gpus = chosen(frame.gpus, choice)
        self._paper = paper = _paper(console, gpus)
        aged = frame if frame.age is None else replace(frame, age=frame.age + since)
        self._head = list(view.header(aged, gpus, settings.url, choice, paper))
        if reading.error or since > settings.interval + settings.access.timeout:
            self._head.append(view.failure(reading.error or "there is no answer", since, paper))
        self.rows = list(view.table(gpus, paper, measuring=frame.core_window is None))
        self.page = max(console.height - len(self._head) - 2, 1)  # the titles above, the keys below
        self.choice = replace(choice, first=max(0, min(choice.first, len(self.rows) - self.page)))
        self.state = (id(frame), [line.plain for line in self._head], self.choice, console.size)

    def lines(self) -> Sequence[Text]:
        """Return them, as many as the terminal has."""
        first = self.choice.first
        seen = self.rows[first : first + self.page]
        blank = [self._paper.line("")] * (self.page - len(seen))
        footer = view.footer(self.choice, len(seen), len(self.rows), self._paper)
        return [*self._head, view.titles(self._paper), *seen, *blank, footer]


class _Stop:
    """Wanted from the first SIGINT or SIGTERM on; the handlers are put back, and the terminal before them.

    A plain flag: an exception could come anywhere, also where nobody would hear it.
    """

    def __init__(self) -> None:
        self.wanted = False

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._want) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _want(self, *_: object) -> None:
        self.wanted = True


@contextmanager
def _keyboard() -> Iterator[None]:
    """Get keys as they are pressed; Ctrl-Z is none, as it would leave the shell on our screen."""
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    mode = termios.tcgetattr(sys.stdin)
    mode[6][termios.VSUSP] = b"\0"
    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, mode)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _typed() -> str:
    """Return what was typed meanwhile; a terminal that went away quits."""
    if not select.select([sys.stdin], [], [], _GLANCE)[0]:
        return ""
    try:
        typed = os.read(sys.stdin.fileno(), _TYPED_AT_ONCE)
    except OSError:
        typed = b""
    return typed.decode("utf-8", "replace") or "\x04"
