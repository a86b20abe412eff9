"""The texts of /proc/<pid>/stat and /proc/<pid>/status: exporter/processes.py."""

from __future__ import annotations

from typing import Final

from exporter.errors import ProcError
from exporter.processes import parse_nspid, parse_stat
from tests.fuzz.inputs import grown, seed, text
from tests.fuzz.promises import refused

MAX_LEN: Final = 4096
_READ: Final = 64 * 1024  # by sources/procfs.py, at most
_NUMBERS: Final = " ".join(["0"] * 18)
EXAMPLES: Final = (
    f"661 (python) S {_NUMBERS} 3033 0 0\n",
    f"7 (a) (b)\n) R {_NUMBERS} 18446744073709551615 0 0\n",
    f"1 () S {_NUMBERS} 0",
    "Name:\tpython\nNSpid:\t661\t1\nThreads:\t4\n",
    "Name:\tNSpid: 5\\n\nNSpid:\t661\n",
    "NSpid:",
)
SEEDS: Final = (*map(seed, EXAMPLES), grown("NSpid: 1", 1), grown("NSpid: 1 ", 2, 0xA7), grown(EXAMPLES[2], 1))


def one_input(data: bytes) -> None:
    """Take a text for a `stat` and for a `status`."""
    written = text(data)[:_READ]
    try:
        start, comm = parse_stat(written)
    except ProcError as error:
        refused(error)
    else:
        assert 0 <= start < 10**18
        assert comm in written
    inner = parse_nspid(written)
    assert len(inner) <= len(written)
    assert all(type(pid) is int and pid >= 0 for pid in inner)
