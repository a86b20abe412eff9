"""All files of the image, in a folder: `python -m tools.image FOLDER [--budget MB]`.

The Dockerfile calls this in its build stage, and its final stage is the folder and nothing else. So whoever runs it
without Docker gets the image of the Python at hand: the locked wheels and the program, less what it never loads, and
Python with what all need of an operating system (image_system.py), compiled. More than the budget is an error.
"""

from __future__ import annotations

import argparse
import compileall
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tools.image_system import copy_system

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).parent.parent
#: Megabytes (10^6 bytes), unpacked.
BUDGET: Final = 150
COMMAND: Final = "vgpu-exporter"
#: Where this Python lies, and will lie in the image.
PREFIX: Final = Path(sys.base_prefix)

#: What the wheel of the image is built from: the program alone, without the generators beside it.
SOURCES: Final = ("pyproject.toml", "README.md", "LICENSE", "exporter")
#: Most of the Kubernetes client: a second client for asyncio, and the calls and models that are loaded by name only.
_NEEDLESS: Final = ("kubernetes/aio", "kubernetes/client/api/*_api.py", "kubernetes/client/models/*_*.py")


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill the folder, measure it, and tell; 1 if it is too much."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="an empty or new folder: the image's root")
    parser.add_argument("--budget", type=int, default=BUDGET, help=f"megabytes that it may take [{BUDGET}]")
    given = parser.parse_args(arguments)
    fill(given.folder.absolute())
    return report(given.folder, given.budget)


def fill(folder: Path) -> None:
    """Put all files of the image into an empty or new `folder`."""
    if folder.exists() and any(folder.iterdir()):
        raise SystemExit(f"{folder} is not empty")
    folder.mkdir(parents=True, exist_ok=True)
    _install(folder)
    packages = site_packages(folder)
    prune(packages)
    copy_system(folder, packages.rglob("*.so"))
    _compile(folder)


def site_packages(folder: Path) -> Path:
    """Return where the packages lie in an image."""
    return (
        folder / PREFIX.relative_to("/") / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    )


def prune(packages: Path) -> None:
    """Remove what the program never loads; a pattern without a match is an error: the client has changed."""
    for pattern in _NEEDLESS:
        found = list(packages.glob(pattern))
        if not found:
            raise SystemExit(f"{packages} has no {pattern}: see what the Kubernetes client looks like now")
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def size(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def report(folder: Path, budget: int) -> int:
    """Print how much the image takes; 1 if that is more than `budget` megabytes."""
    total, packages = size(folder), size(site_packages(folder))
    print(  # noqa: T201
        f"{total / 10**6:.1f} of {budget} MB unpacked: {packages / 10**6:.1f} MB of packages, the rest is Python "
        f"{sys.version_info.major}.{sys.version_info.minor} with the libraries that it links to"
    )
    return int(total > budget * 10**6)


def _install(folder: Path) -> None:
    """Install the locked wheels and the program's own; of the commands that come along, the program's stays."""
    prefix = folder / PREFIX.relative_to("/")
    into = ("install", "--prefix", str(prefix), "--ignore-installed", "--no-compile", "--no-warn-script-location")
    with tempfile.TemporaryDirectory() as scratch:
        _pip(*into, "--only-binary=:all:", "--require-hashes", "-r", "constraints/run.txt")
        _pip(*into, "--no-deps", str(_wheel(Path(scratch))))
    for script in (prefix / "bin").iterdir():
        if script.name != COMMAND:
            script.unlink()
    _set_interpreter(prefix / "bin" / COMMAND)


def _wheel(scratch: Path) -> Path:
    """Build the program's wheel from a copy of its sources: what lies about in the checkout must not get in."""
    _pip("install", "--target", str(scratch / "build"), "--require-hashes", "-r", "constraints/build.txt")
    for name in SOURCES:
        place, copied = ROOT / name, scratch / "sources" / name
        if place.is_dir():
            shutil.copytree(place, copied, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            copied.parent.mkdir(exist_ok=True)
            shutil.copy2(place, copied)
    flags = ("--no-deps", "--no-build-isolation", "--wheel-dir", str(scratch))
    _pip("wheel", *flags, str(scratch / "sources"), PYTHONPATH=str(scratch / "build"))
    return next(scratch.glob("*.whl"))


def _set_interpreter(script: Path) -> None:
    """Have a command start the image's Python, also if a virtual environment's pip wrote it."""
    _, _, body = script.read_text(encoding="utf-8").partition("\n")
    script.write_text(f"#!{PREFIX}/bin/python3\n{body}", encoding="utf-8")


def _pip(*arguments: str, **environment: str) -> None:
    """Run pip in the root of the checkout; in a build stage it may be root."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir", "--quiet"]
    environment.setdefault("PIP_ROOT_USER_ACTION", "ignore")
    try:
        subprocess.run([*pip, *arguments], cwd=ROOT, env=os.environ | environment, check=True)  # noqa: S603
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"pip {arguments[0]} failed with exit code {error.returncode}") from None


def _compile(folder: Path) -> None:
    """Compile Python's library and the packages, as a read-only root lets nobody do it later.

    Python is not to compare them with their sources: nobody can write there, and times say nothing in an image.
    """
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compiled = compileall.compile_dir(
        site_packages(folder).parent,
        quiet=1,
        stripdir=str(folder),
        prependdir="/",
        invalidation_mode=unchecked,
        workers=0,
    )
    if not compiled:
        raise SystemExit("not everything could be compiled")


if __name__ == "__main__":
    sys.exit(main())
