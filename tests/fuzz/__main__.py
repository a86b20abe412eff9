"""Fuzz every parser of foreign text or bytes, guided by coverage: `python -m tests.fuzz [--runs N] [--jobs N] [NAME…]`.

Each target of tests/fuzz/targets has a process of its own, which begins with real examples. A finding is an exception
that the parser does not promise, a broken promise, an input that takes more than 10 s or more than 64 MB (child.py);
the input is kept in .cache/fuzz, and the exit status is 1. `make fuzz` installs what is needed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Column, Table

from tests.fuzz.child import REQUIREMENTS

FOLDER: Final = Path(__file__).parent
ROOT: Final = FOLDER.parents[1]
TARGETS: Final = tuple(sorted(path.stem for path in (FOLDER / "targets").glob("*.py")))
FINDINGS: Final = ROOT / ".cache" / "fuzz"
_COVERAGE: Final = re.compile(r"cov: ([0-9]+)")
_STATISTIC: Final = re.compile(r"stat::(\w+): +([0-9]+)")
_KEPT: Final = re.compile(r"Test unit written to (\S+)")


@dataclass(frozen=True)
class Outcome:
    """How fuzzing one target went; `peak` in MB; `finding` is the path of the input, "" if there is none."""

    executions: int
    seconds: float
    peak: int
    edges: int
    status: int
    finding: str
    log: str


def fuzz(name: str, runs: int) -> Outcome:
    """Fuzz one target in a child process, from its seeds on."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(import_module(f"tests.fuzz.targets.{name}").SEEDS):
            (Path(corpus) / str(number)).write_bytes(seed)
        prefix = f"-artifact_prefix={FINDINGS.relative_to(ROOT)}/{name}-"
        command = [sys.executable, "-m", "tests.fuzz.child", name, f"-runs={runs}", prefix, corpus]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
    one = outcome(done, time.monotonic() - begun)
    sys.stderr.write(f"{name}: {one.executions} executions in {one.seconds:.0f} s\n")
    return one


def outcome(done: subprocess.CompletedProcess[str], seconds: float) -> Outcome:
    """Read what libFuzzer printed; the traceback of an exception is all that stands on stdout."""
    statistics = {name: int(figure) for name, figure in _STATISTIC.findall(done.stderr)}
    kept = _KEPT.search(done.stderr)
    return Outcome(
        executions=statistics.get("number_of_executed_units", 0),
        seconds=seconds,
        peak=statistics.get("peak_rss_mb", 0),
        edges=max(map(int, _COVERAGE.findall(done.stderr)), default=0),
        status=done.returncode,
        finding=kept[1] if kept else "",
        log=done.stdout[:3000] + done.stderr[-2000:],
    )


def report(outcomes: dict[str, Outcome]) -> Table:
    """Return what came out as a table."""
    figures = ("executions", "seconds", "executions/s", "peak RSS", "edges covered")
    table = Table("target", *figures, Column("outcome", overflow="fold"))
    for name, one in outcomes.items():
        rate = f"{one.executions / one.seconds:.0f}"
        verdict = "nothing found" if one.status == 0 else one.finding or f"exit status {one.status}"
        table.add_row(name, str(one.executions), f"{one.seconds:.0f}", rate, f"{one.peak} MB", str(one.edges), verdict)
    return table


def main() -> None:
    """Fuzz the targets named, else all; print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz every parser of foreign text.")
    parser.add_argument("targets", nargs="*", metavar="NAME", help=f"one of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--runs", type=int, default=1_000_000, help="executions of each")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes side by side")
    given = parser.parse_args()
    names = given.targets or TARGETS
    if unknown := set(names) - set(TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    if find_spec("atheris") is None:
        sys.exit(f"atheris is missing: make fuzz, or pip install --require-hashes -r {REQUIREMENTS}")
    FINDINGS.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(given.jobs) as pool:
        outcomes = dict(zip(names, pool.map(partial(fuzz, runs=given.runs), names), strict=True))
    for name, one in outcomes.items():
        if one.status:
            sys.stderr.write(f"--- {name}: python -m tests.fuzz.child {name} {one.finding}\n{one.log}\n")
    Console(width=130).print(report(outcomes))
    sys.exit(any(one.status for one in outcomes.values()))


if __name__ == "__main__":
    main()
