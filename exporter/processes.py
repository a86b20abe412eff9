"""The texts of /proc/<pid>, as values (man 5 proc).

Only what outlives hostile names: `comm` may hold blanks, parentheses and newlines, so `stat` is read from its end.
"""

from __future__ import annotations

import re
from typing import Final

from exporter.errors import ProcError, shorten

#: Kernel ticks a second in `stat`; USER_HZ is 100 on every architecture Linux runs on with an NVIDIA GPU.
TICKS: Final = 100
#: The start time's position behind the `)` of `stat`: field 22 of `man 5 proc`, where field 3 comes first.
_START: Final = 19
_TICKS: Final = re.compile(r"[0-9]{1,20}")  # an unsigned 64-bit number
_PID: Final = re.compile(r"[0-9]{1,10}")


def parse_stat(text: str) -> tuple[float, str]:
    """Return (start in seconds since boot, one tick wide; comm) of a /proc/<pid>/stat text."""
    head, _, tail = text.rpartition(")")
    _, opened, comm = head.partition("(")
    fields = tail.split()
    if not opened or len(fields) <= _START or not _TICKS.fullmatch(fields[_START]):
        raise ProcError(f"not a /proc/<pid>/stat text: {shorten(text)}")
    return int(fields[_START]) / TICKS, comm


def parse_nspid(status: str) -> tuple[int, ...]:
    """Return the process's PIDs from the host's namespace inwards, empty if the kernel does not say (`NSpid`)."""
    # Not splitlines(): `Name` stands first, and the kernel escapes only the newline in it.
    for line in status.split("\n"):
        if line.startswith("NSpid:"):
            return tuple(int(pid) for pid in line.split()[1:] if _PID.fullmatch(pid))
    return ()
