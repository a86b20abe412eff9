"""Fuzz one parser in this process, or try a finding again: `python -m tests.fuzz.child NAME FILE`.

libFuzzer's own limit on a single allocation needs a sanitizer, without which it silently does nothing. So the process
may not grow by more than 64 MB while it has an input before it: what asks for more gets a MemoryError, a finding like
any other exception. Blocks from 128 KiB on always come from the system and go back to it, as memory that was used
before would not count.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

REQUIREMENTS: Final = "tests/fuzz/requirements.txt"
_MOST_BYTES: Final = 64_000_000
_OPTIONS: Final = ("-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1", "-entropic_scale_per_exec_time=1")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_M_MMAP_THRESHOLD: Final = -3  # malloc.h


def limited(one_input: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Return the target with its memory limited."""
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 128 * 1024)
    size = os.open("/proc/self/statm", os.O_RDONLY)
    _, most = resource.getrlimit(resource.RLIMIT_AS)

    def one(data: bytes) -> None:
        now = int(os.pread(size, 64, 0).split()[0]) * _PAGE
        resource.setrlimit(resource.RLIMIT_AS, (now + _MOST_BYTES, most))
        try:
            one_input(data)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (most, most))

    return one


def main() -> None:
    """Fuzz until libFuzzer's options say stop."""
    try:
        atheris: Any = import_module("atheris")
    except ImportError:
        sys.exit(f"atheris is missing: pip install --require-hashes -r {REQUIREMENTS}")
    with atheris.instrument_imports(include=["exporter"]):
        target = import_module(f"tests.fuzz.targets.{sys.argv[1]}")
    options = [*_OPTIONS, f"-max_len={target.MAX_LEN}", *sys.argv[2:]]
    atheris.Setup([sys.argv[0], *options], limited(target.one_input))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
