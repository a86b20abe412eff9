"""All files of the image as the root of a process that sees nothing else, held as strictly as in the chart."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from exporter import __version__
from tests.program import ROOT
from tools import image, image_system

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.live  # it takes half a minute, and what pip downloads

#: Runs a command with a folder as its read-only root, as 65534, without capabilities or a way to gain privileges.
CONTAINED = """
mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && mount -t proc proc "$1/proc" || exit
root=$1 path=$2; shift 2
exec setpriv --no-new-privs env -i PATH="$path" LANG=C.UTF-8 "$(command -v chroot)" --userspec=65534:65534 "$root" "$@"
"""


@pytest.fixture(name="root", scope="module")
def _root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the image's files; it takes half a minute and what pip downloads."""
    if os.geteuid() != 0 or shutil.which("dpkg-query") is None:
        pytest.skip("only root, on Debian, can make a folder of it the root of a process")
    folder = tmp_path_factory.mktemp("image") / "root"
    subprocess.run([sys.executable, "-m", "tools.image", str(folder)], cwd=ROOT, check=True)
    return folder


def contained(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command with the image as all that it sees."""
    path = f"{image.PREFIX}/bin:/usr/bin:/bin"
    contain = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", CONTAINED, "sh", str(root), path]
    return subprocess.run([*contain, *command], capture_output=True, text=True, check=False, timeout=120)


def test_the_image_alone_runs_the_program(root: Path) -> None:
    """As uid 65534 on a read-only root without capabilities, it plays its recording and reads its own scrape."""
    play = (
        "import subprocess, sys, time, urllib.request as u\n"
        "demo = subprocess.Popen(['vgpu-exporter', 'demo', '--speed', '20', '--hold', '80', '--listen', '127.0.0.1:0'],"
        " stdout=subprocess.PIPE, text=True)\n"
        "url = demo.stdout.readline().split()[5]\n"
        "for _ in range(50):\n"
        "    time.sleep(0.2)\n"
        "    scrape = u.build_opener(u.ProxyHandler({})).open(url + 'metrics').read().decode()\n"
        "    if 'vgpu_device_up{' in scrape: break\n"
        "demo.terminate()\n"
        "print(scrape)\n"
        "print(open('/proc/self/status').read())\n"
        "sys.exit(demo.wait())\n"
    )

    done = contained(root, "python3", "-c", play)

    assert done.returncode == 0, done.stderr
    assert re.search(r"^vgpu_device_up\{.*\} 1", done.stdout, re.MULTILINE)
    assert "\nUid:\t65534\t65534\t65534\t65534\n" in done.stdout
    assert "\nCapEff:\t0000000000000000\n" in done.stdout
    assert "\nNoNewPrivs:\t1\n" in done.stdout


def test_every_module_of_the_program_and_of_python_loads_in_the_image(root: Path) -> None:
    """Nothing that the program could import, and no library that an extension links to, was left out."""
    load = (
        "import importlib, os, pkgutil, sysconfig, exporter\n"
        "ours = (one.name for one in pkgutil.walk_packages(exporter.__path__, 'exporter.'))\n"
        "names = [name for name in ours if not name.endswith('__main__')]\n"
        "names += [file.split('.')[0] for file in os.listdir(sysconfig.get_path('stdlib') + '/lib-dynload')]\n"
        "for name in names: importlib.import_module(name)\n"
        "import ctypes\n"
        f"for name in {image_system.LOADED_BY_NAME}: ctypes.CDLL(name)\n"
        "print(len(names))\n"
    )

    done = contained(root, "python3", "-c", load)

    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 120


def test_the_image_has_one_command_and_no_shell(root: Path) -> None:
    """Beside the program there are Python and tar: no shell, pip, compiler or package manager, and nothing setuid."""
    programs = {path.name for folder in ("usr/bin", "usr/sbin", "usr/local/bin", f"{image.PREFIX}/bin".lstrip("/"))
                for path in (root / folder).glob("*")}  # fmt: skip
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"

    assert programs == {image.COMMAND, "python", "python3", version, "tar"}
    assert contained(root, image.COMMAND, "--version").stdout == f"vgpu-exporter {__version__} (unknown)\n"
    assert contained(root, "python3", "-c", "import pip").returncode == 1
    assert [path for path in root.rglob("*") if path.is_file() and path.lstat().st_mode & 0o6000] == []


def test_everything_in_the_image_is_compiled(root: Path) -> None:
    """A read-only root cannot keep what Python compiles, so each start would do it again."""
    sources = set(root.rglob("*.py"))
    compiled = {path.parent.parent / f"{path.name.split('.')[0]}.py" for path in root.rglob("__pycache__/*.pyc")}

    assert sources
    assert sources == compiled


def test_scanners_find_the_packages_of_the_image(root: Path) -> None:
    """Each library from Debian's packages is under its package's name and version, as in images without dpkg."""
    status = {path.name: path.read_text() for path in (root / "var/lib/dpkg/status.d").iterdir()}

    assert {"libc6", "libssl3", "tar", "zlib1g"} <= status.keys()
    assert all(re.search(r"^Version: \S+$", text, re.MULTILINE) for text in status.values())
