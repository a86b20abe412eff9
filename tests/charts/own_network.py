"""A network as each pod has one: its ports are free, whatever else runs on the machine."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_CLONE_NEWNET: Final = 0x40000000
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1


def need_namespaces() -> None:
    """Skip the test where nobody may make namespaces, as root may; under CI=true it fails."""
    refusal = "no unshare or setpriv here"
    if shutil.which("unshare") and shutil.which("setpriv"):
        tried = subprocess.run(
            ["unshare", "--mount", "--net", "true"], capture_output=True, text=True, check=False, timeout=30
        )
        refusal = tried.stderr
    if refusal:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            f"only who may make namespaces, such as root, can run a container as the kubelet does: {refusal}"
        )


@contextmanager
def own_network() -> Iterator[None]:
    """Let this thread, and the threads and programs that it starts meanwhile, share a network that is 127.0.0.1."""
    with Path("/proc/thread-self/ns/net").open() as before:
        _call("unshare", _CLONE_NEWNET)
        try:
            _switch_on("lo")
            yield
        finally:
            _call("setns", before.fileno(), _CLONE_NEWNET)


def _call(function: str, *arguments: int) -> None:
    """Call libc for what `os` has from Python 3.12 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments):
        code = ctypes.get_errno()
        raise OSError(code, f"{function}: {os.strerror(code)}")


def _switch_on(interface: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", interface.encode(), _IFF_UP))
