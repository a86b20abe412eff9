"""Pictures of all dashboards: `make pictures`, or `python -m tests.pictures [--out DIR] [--seconds N] [UID]...`.

A real Prometheus scrapes the demo and the made-up serving stacks for some minutes; the answers to every panel's queries
are drawn by Grafana's own components (@grafana/ui) in headless Chromium. There is no Grafana server in it: what is
around the panels (variables, rows) is drawn by tools/pictures/board.jsx.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dashboards.book import BOARDS
from tests.dashboards import grafana
from tests.monitored import demo_scraped
from tests.rules.checkers import ROOT, running
from tests.serving_stub import scrape_configs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.monitored import Prometheus

_PANELS: Final = ROOT / "tools" / "pictures"
#: The rules run faster, so that an hour's accounts are there within minutes.
_TIME_SCALE: Final = 20
_CHROMIUM: Final = (
    "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--hide-scrollbars", "--virtual-time-budget=8000", "--force-device-scale-factor=1",
)  # fmt: skip
_PAGE: Final = """<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="board.css">
<style>body {{ margin: 0; background: #111217 }}</style><div id="root"></div>
<script>window.DASHBOARD = {data}; window.__grafana_public_path__ = "";</script><script src="board.js"></script>"""
#: Choices where the first option would show little.
WANTED: Final[dict[str, Mapping[str, str]]] = {
    "vgpu-workload": {"namespace": "research", "pod": "ssh-lab-0"},
}


def drawn(prometheus: Prometheus, board: dict[str, Any], seconds: int, pages: Path, out: Path) -> None:
    """Write a board's pictures: as it opens, and with all its rows unfolded."""
    data = _data(prometheus, board, seconds)
    for name, unfold in ((board["uid"], False), (f"{board['uid']}-unfolded", True)):
        page = pages / f"{name}.html"
        page.write_text(_PAGE.format(data=json.dumps(data | {"unfold": unfold}).replace("</", "<\\/")))
        _shot(page, out / f"{name}.png")


def _shot(page: Path, picture: Path) -> None:
    """Write a picture of a page, which is opened twice: the first time it tells how high it is."""
    said = _chromium(page.parent, "--dump-dom", "--window-size=1920,1080", str(page))
    title = said.partition("<title>")[2].partition("</title>")[0]
    if not title.isdigit():
        sys.exit(f"{page.name} could not be drawn; it says:\n{said[-2000:]}")
    failed = said.partition('data-failed="')[2].partition('"')[0]
    if failed != "[]":
        sys.exit(f"{page.name}: panels that could not be drawn: {failed}")
    _chromium(page.parent, f"--screenshot={picture}", f"--window-size=1920,{title}", str(page))


def _data(prometheus: Prometheus, board: dict[str, Any], seconds: int) -> dict[str, Any]:
    """Return the board with the answers to its queries, by panel and letter."""
    step = max(seconds // 240, 1)
    now = time.time() // step * step
    built_in = {"__rate_interval": "10s", "__range": f"{seconds}s", "__interval": f"{step}s", "__range_s": str(seconds)}
    values = grafana.chosen(prometheus, board, WANTED.get(board["uid"], {}), built_in)
    answers: dict[int, dict[str, Any]] = {}
    for asked in grafana.queries(board, values, _TIME_SCALE):
        answers.setdefault(asked.panel_id, {})[asked.letter] = grafana.answer(prometheus, asked, now, seconds, step)
    shown = [
        (variable["label"], "All" if variable["includeAll"] else values[variable["name"]])
        for variable in board["templating"]["list"]
        if variable["type"] == "query"
    ]
    span = {"from": (now - seconds) * 1000, "to": now * 1000, "step": step * 1000}
    return {"board": board, "answers": answers, "span": span, "chosen": shown}


def _chromium(pages: Path, *arguments: str) -> str:
    profile = f"--user-data-dir={pages / 'profile'}"
    done = subprocess.run([*_CHROMIUM, profile, *arguments], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the dashboards that are asked for, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.pictures", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images", metavar="DIR")
    parser.add_argument("--seconds", type=int, default=240, metavar="N", help="how long to scrape first")
    parser.add_argument("uids", nargs="*", metavar="UID")
    asked = parser.parse_args(arguments)
    asked.out.mkdir(parents=True, exist_ok=True)
    subprocess.run(["node", "build.mjs"], cwd=_PANELS, check=True)
    boards = [board.json() for board in BOARDS if board.uid in (asked.uids or [one.uid for one in BOARDS])]
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        for name in ("board.js", "board.css"):
            (directory / name).symlink_to(_PANELS / "dist" / name)
        stub = [sys.executable, "-u", "-m", "tests.serving_stub", "--listen", "127.0.0.1:0"]
        with running(stub, directory / "stub.log", "http://([^/ ]+)") as address:
            stacks = scrape_configs(address)
            with demo_scraped(directory, time_scale=_TIME_SCALE, speed=1, others=stacks) as prometheus:
                time.sleep(asked.seconds)
                for board in boards:
                    drawn(prometheus, board, asked.seconds, directory, asked.out)


if __name__ == "__main__":
    main()
