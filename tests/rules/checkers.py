"""The programs of Prometheus's family that `make tools` installs: found, run, and served on a port of their own."""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[2]

#: Both generations of promtool: what a rule means must not depend on which Prometheus evaluates it.
PROMTOOLS = ("promtool-2", "promtool-3")


def checker(name: str) -> str:
    """Return a program's path in .tools/; where it is missing the test is skipped, and fails under CI=true."""
    path = ROOT / ".tools" / name
    if not path.exists():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"no .tools/{name}: run `make tools`")
    return str(path)


def answer(name: str, *arguments: str) -> str:
    """Return what a program prints; a failure fails the test with all it said."""
    done = subprocess.run(
        [checker(name), *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"{name} {' '.join(arguments)}\n{done.stdout}{done.stderr}"
    return done.stdout


@contextmanager
def running(command: Sequence[str], log: Path, announcement: str) -> Iterator[str]:
    """Run a program from the checkout; yields the first group of what it announces in its log, once it has."""
    with log.open("wb") as output:
        child = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)

    def announced() -> re.Match[str] | None:
        text = log.read_text()
        assert child.poll() is None, text
        return re.search(announcement, text)

    try:
        until(announced, 30)
        found = announced()
        assert found is not None
        yield found[1]
    finally:
        child.kill()
        child.wait()


@contextmanager
def serving(name: str, directory: Path, *arguments: str) -> Iterator[str]:
    """Run one of the servers on a port of its own; yields HOST:PORT. Its log is DIRECTORY/NAME.log."""
    command = [checker(name), *arguments, "--web.listen-address=127.0.0.1:0"]
    with running(command, directory / f"{name}.log", r'msg="Listening on" address=(\S+)') as address:
        yield address
