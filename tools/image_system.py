"""What the image has of an operating system: Python without pip, the libraries that it links to, `tar`, and no shell.

All is copied from the machine this runs on, to the same paths: from the base image in the Dockerfile's build stage.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Python's parts that need what is not there, or that nobody needs at run time.
_LEFT_OUT: Final = frozenset({
    "__pycache__", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages", "test", "tests", "tkinter",
    "turtledemo",
})  # fmt: skip
_EXTENSIONS_LEFT_OUT: Final = ("_tkinter.", "_test", "_ctypes_test.", "_xxtest")
#: Loaded by name at run time: by the driver's library (old names of glibc's parts), and where a thread ends.
LOADED_BY_NAME: Final = ("libdl.so.2", "libgcc_s.so.1", "libm.so.6", "libpthread.so.0", "librt.so.1")
#: `kubectl cp` calls it.
_PROGRAMS: Final = ("tar",)
#: Who is 65534, how names are resolved, where libraries lie, and which Debian this is: the container toolkit asks.
_FILES: Final = (
    "passwd", "group", "nsswitch.conf", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "debian_version", "os-release",
)  # fmt: skip
#: On Debian these lead to the directories of the same name below /usr.
_MERGED: Final = ("bin", "lib", "lib64", "sbin")
_LIBRARY: Final = re.compile(r"(?:=> )?(/\S+) \(0x")


def copy_system(folder: Path, extensions: Iterable[Path]) -> None:
    """Put into `folder` what Python and these extension modules need to run with `folder` as their root."""
    if shutil.which("dpkg-query") is None:
        raise SystemExit("no dpkg-query here: an image is made on Debian, as the base image is one")
    for name in _MERGED:
        if (place := Path("/", name)).is_symlink():
            (folder / name).symlink_to(place.readlink())
    programs = [_program(name) for name in _PROGRAMS]
    binaries = [Path(sys.executable).resolve(), *programs, *extensions, *_copy_python(folder)]
    copied = [*programs, *_libraries(binaries)]
    for path in copied:
        copy(path, folder)
    for name in _FILES:
        _copy_configuration(Path("/etc", name), folder)
    for name in ("dev", "proc", "sys", "tmp"):
        (folder / name).mkdir()
    (folder / "tmp").chmod(0o1777)
    _name_packages(folder, copied)


def copy(path: Path, folder: Path) -> Path:
    """Copy a file to its place below `folder`, and return that; a link becomes what it leads to."""
    target = folder / path.parent.resolve().relative_to("/") / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy2(path, target))


def _copy_python(folder: Path) -> Iterator[Path]:
    """Copy the interpreter, its names and its library; yields the extension modules."""
    executable = Path(sys.executable).resolve()
    python = copy(executable, folder)
    for name in ("python", "python3"):
        (python.parent / name).symlink_to(python.name)
    for directory, below, files in os.walk(sysconfig.get_path("stdlib")):
        below[:] = [name for name in below if name not in _LEFT_OUT and not name.startswith("config-")]
        for name in files:
            if not name.startswith(_EXTENSIONS_LEFT_OUT):
                copied = copy(Path(directory, name), folder)
                if copied.suffix == ".so":
                    yield Path(directory, name)


def _libraries(binaries: Iterable[Path]) -> list[Path]:
    """Return the shared libraries that these link to, and those that are loaded by name."""
    found: set[Path] = set()
    for line in _run("ldd", *map(str, binaries)).splitlines():
        if "not found" in line:
            raise SystemExit(f"a library is missing here: {line.strip()}")
        if match := _LIBRARY.search(line):
            found.add(Path(match[1]))
    beside_libc = next(path.parent for path in found if path.name == "libc.so.6")
    return sorted(found | {beside_libc / name for name in LOADED_BY_NAME})


def _copy_configuration(place: Path, folder: Path) -> None:
    """Copy a file or a directory of /etc; not every Debian has each."""
    if place.is_dir():
        shutil.copytree(place, folder / "etc" / place.name)
    elif place.exists():
        (folder / "etc").mkdir(exist_ok=True)
        shutil.copy2(place, folder / "etc" / place.name)


def _name_packages(folder: Path, copied: Iterable[Path]) -> None:
    """Leave what Debian says of the packages that the files are from: versions for scanners, and the licences.

    Scanners look for status.d in images without dpkg.
    """
    status = folder / "var/lib/dpkg/status.d"
    status.mkdir(parents=True)
    for package in {owner for path in copied for owner in _owners(path)}:
        name = package.partition(":")[0]
        (status / name).write_text(_run("dpkg-query", "--status", package), encoding="utf-8")
        if (licence := Path("/usr/share/doc", name, "copyright")).exists():
            copy(licence, folder)


def _owners(path: Path) -> list[str]:
    """Return the packages that a file is from: none for one of Python, which was not installed as a package.

    The package's list may have the file under its name from before / and /usr were merged.
    """
    real = path.parent.resolve() / path.name
    names = str(real), str(real).removeprefix("/usr")
    search = subprocess.run(["dpkg-query", "--search", *names], capture_output=True, text=True, check=False)  # noqa: S603, S607
    return [line.rpartition(": ")[0] for line in search.stdout.splitlines()]


def _program(name: str) -> Path:
    if (found := shutil.which(name)) is None:
        raise SystemExit(f"no {name} here")
    return Path(found)


def _run(*command: str) -> str:
    """Return what a program prints; its failure ends everything."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
