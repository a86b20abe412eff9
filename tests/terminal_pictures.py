"""Pictures of the terminal: `python -m tests.terminal_pictures [--out DIR]` writes top.svg and doctor.svg.

The real commands run in a real terminal (tmux) beside the demo; what stands on the screen is captured with its colours
and drawn as text by rich.
"""

from __future__ import annotations

import argparse
import io
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.text import Text

from tests.monitored import ANNOUNCED, DEMO
from tests.rules.checkers import ROOT, running

if TYPE_CHECKING:
    from collections.abc import Sequence

#: rich asks for a font from elsewhere; any monospaced one will do.
_WEB_FONT: Final = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
_COMMAND: Final = (sys.executable, "-m", "exporter")


def captured(directory: Path, command: Sequence[str], columns: int, rows: int, seconds: float) -> str:
    """Return what stands on a terminal of that size after a command has run in it for a while, colours included."""
    tmux = ("tmux", "-S", str(directory / "tmux"))
    size = ("-x", str(columns), "-y", str(rows))
    shell = f"{shlex.join(command)}; sleep 60"  # what it has said stays on the screen
    subprocess.run([*tmux, "new-session", "-d", *size, shell], cwd=ROOT, check=True)
    try:
        time.sleep(seconds)
        screen = subprocess.run([*tmux, "capture-pane", "-e", "-p"], capture_output=True, text=True, check=True)
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)
    return screen.stdout.rstrip("\n")


def drawn(screen: str, title: str, columns: int, file: Path) -> None:
    """Write a screen as SVG."""
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(screen), soft_wrap=True)
    svg = console.export_svg(title=title, unique_id=file.stem)
    file.write_text(_WEB_FONT.sub("", svg), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw both."""
    parser = argparse.ArgumentParser(prog="python -m tests.terminal_pictures", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images", metavar="DIR")
    out = parser.parse_args(arguments).out
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        with running([*DEMO, "--speed", "20"], directory / "demo.log", ANNOUNCED) as demo:
            time.sleep(6)  # until the recording holds
            top = captured(directory, [*_COMMAND, "top", "--url", f"http://{demo}"], 110, 22, 15)
        drawn(top, "vgpu-exporter top", 110, out / "top.svg")
        asked = [*_COMMAND, "doctor", "--no-kubernetes", "--node-name", "gpu-node-1", "--health-listen="]
        drawn(captured(directory, asked, 110, 34, 12), "vgpu-exporter doctor", 110, out / "doctor.svg")


if __name__ == "__main__":
    main()
