"""The edge to HAMi-core's regions: every `*.cache` in every directory `<podUID>_<containerName>` below the roots.

A tenant writes these files and directories, and may change both while they are read. So nothing is ever mapped (a file
truncated under us: SIGBUS), no lock is taken, no link is followed, nothing is opened that can block, each file is read
by a few `pread`s of a few KB, and what one directory can cost is bounded: in entries, files, slots and time.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from exporter.errors import RegionError
from exporter.hami.region import (
    HEADER,
    MAX_SLOTS,
    SLOT,
    FoundRegion,
    RegionState,
    decode,
    layout_of,
    slots_span,
    steady,
    tail_span,
)
from exporter.model import Failure
from exporter.sources.health import Health

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from exporter.hami.region import Layout, Region
    from exporter.model import SourceStatus

_log = logging.getLogger(__name__)

#: Directories of one root; a node has a few hundred pods at most.
MAX_DIRECTORIES: Final = 4096
#: Regions of one directory, and entries of it that are looked at to find them; HAMi makes one or two, and `libvgpu.so`.
MAX_FILES: Final = 16
MAX_ENTRIES: Final = 256

_SLOTS: Final = 32 * 1024  # of all directories; each has its share of them, so that none can take another's
_LEAST_SLOTS: Final = 64
_RETRIES: Final = 3
_KEY_PART: Final = 128
_DIRECTORY: Final = re.compile(r"([0-9A-Za-z-]{1,64})_([0-9A-Za-z.-]{1,253})")
_OPEN_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(slots=True)
class _Visited:
    """What one directory gave; `slots` are those that its files may still have, `whole`: each file gave a region."""

    slots: int
    regions: list[FoundRegion]
    problems: set[Failure]
    pod_uid: str = ""
    waiting: int = 0
    whole: bool = True

    def fail(self, reason: str, key: str) -> None:
        """Note a file, or the directory itself, that gives no region."""
        self.problems.add(_failure(reason, key))
        self.whole = False


class Regions:
    """Reads the regions below `roots`; not thread-safe: one sampler asks."""

    def __init__(
        self,
        roots: Sequence[str],
        *,
        budget: float = 0.25,
        monotonic: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Beyond `budget` seconds in one `read` the rest has its turn next time; `monotonic` times the readings."""
        self._roots: Final = tuple(dict.fromkeys(roots))
        self._budget: Final = budget
        self._monotonic: Final = monotonic
        self._health: Final = Health("regions")
        self._last = ("", "")

    def read(self, physical: Mapping[str, int] = MappingProxyType({})) -> RegionState:
        """Return all regions; `physical` is `decode`'s: the most bytes that a process can have, by GPU."""
        begun = self._monotonic()
        visited: dict[tuple[str, str], _Visited] = {}
        with ExitStack() as stack:
            roots, up = self._open(stack)
            places = sorted((root, name) for root, (_, names) in roots.items() for name in names)
            for root, name in self._from_last(places):
                one = _Visited(max(_LEAST_SLOTS, min(MAX_SLOTS, _SLOTS // len(places))), [], set())
                visited[root, name] = _visit(roots[root][0], name, one, physical)
                self._last = (root, name)
                if self._monotonic() - begun > self._budget:
                    self._health.failed("slow", f"more than {self._budget} s of regions to read", part="pace")
                    break
        if up:
            self._health.succeeded(self._monotonic() - begun)
        missed = {_pod_uid(name) for root, name in places if (root, name) not in visited}
        complete = not any(len(names) == MAX_DIRECTORIES for _, names in roots.values())
        return _state(visited, missed if complete else None, self._health.status(up=up))

    def _open(self, stack: ExitStack) -> tuple[dict[str, tuple[int, list[str]]], bool]:
        """Open and list each root once, even if it has two names; one that is missing is fine, and empty."""
        found: dict[tuple[int, int], tuple[str, tuple[int, list[str]]]] = {}
        up = True
        for root in self._roots:
            try:
                descriptor = stack.enter_context(_opened(root, _OPEN_DIRECTORY))
                about = os.fstat(descriptor)
                if (about.st_dev, about.st_ino) not in found:
                    found[about.st_dev, about.st_ino] = (root, (descriptor, self._names(root, descriptor)))
            except FileNotFoundError:
                continue
            except OSError as error:
                self._health.failed("unreadable", f"{root} cannot be read ({error.strerror}): it must be a directory")
                up = False
        return dict(found.values()), up

    def _names(self, root: str, descriptor: int) -> list[str]:
        """List the directories in a root."""
        with os.scandir(descriptor) as entries:
            directories = (entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
            names = list(islice(directories, MAX_DIRECTORIES + 1))
        if len(names) > MAX_DIRECTORIES:
            self._health.failed("too_many", f"{root} has more than {MAX_DIRECTORIES} directories", part=root)
        return names[:MAX_DIRECTORIES]

    def _from_last(self, places: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return the places in turn, beginning behind the one that was visited last."""
        return [place for place in places if place > self._last] + [place for place in places if place <= self._last]


def _pod_uid(name: str) -> str:
    """Return whose pod a directory is, by its name."""
    return name.partition("_")[0]


def _state(
    visited: Mapping[tuple[str, str], _Visited], missed: Collection[str] | None, status: SourceStatus
) -> RegionState:
    """Put together what the directories gave; `missed` are pods with others, None: there may be others of any pod."""
    found = [one for _, one in sorted(visited.items(), key=itemgetter(0))]
    broken = {one.pod_uid for one in found if not one.whole}
    return RegionState(
        regions=tuple(region for one in found for region in one.regions),
        problems=frozenset(problem for one in found for problem in one.problems),
        waiting=sum(one.waiting for one in found),
        status=status,
        complete=frozenset() if missed is None else frozenset(one.pod_uid for one in found) - broken - set(missed),
    )


@contextmanager
def _opened(path: str, flags: int, directory: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, flags, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _visit(root: int, name: str, visited: _Visited, physical: Mapping[str, int]) -> _Visited:
    """Read one directory's regions into `visited`; what vanishes meanwhile was never there."""
    named = _DIRECTORY.fullmatch(name)
    if named is None:
        visited.fail("region_unnamed", name)
        return visited
    visited.pod_uid = named[1]
    try:
        with _opened(name, _OPEN_DIRECTORY, root) as descriptor:
            for file, regular in _files(descriptor, name, visited):
                region = _try(descriptor, file, f"{name}/{file}", visited, physical) if regular else None
                if region is not None:
                    visited.regions.append(FoundRegion(named[1], named[2], file, region))
    except FileNotFoundError:
        visited.whole = False
    except OSError as error:
        _log.debug("%a: %s", name, error.strerror)
        visited.fail("region_unreadable", name)
    return visited


def _files(descriptor: int, name: str, visited: _Visited) -> list[tuple[str, bool]]:
    """List the `*.cache` of a directory and whether each is a regular file: what is none is better not even opened."""
    files: list[tuple[str, bool]] = []
    with os.scandir(descriptor) as entries:
        for number, entry in enumerate(entries):
            cache = entry.name.endswith(".cache")
            if number == MAX_ENTRIES or (cache and len(files) == MAX_FILES):
                visited.fail("region_excess", name)
                break
            if cache:
                files.append((entry.name, entry.is_file(follow_symlinks=False)))
    for file in (file for file, regular in files if not regular):
        visited.fail("region_unreadable", f"{name}/{file}")
    return files


def _try(descriptor: int, file: str, key: str, visited: _Visited, physical: Mapping[str, int]) -> Region | None:
    """Read one file; one that gives no region costs itself only."""
    try:
        with _opened(file, _OPEN_FILE, descriptor) as opened:
            region, dropped = _region(opened, visited, physical)
    except FileNotFoundError:
        visited.whole = False
        return None
    except OSError as error:
        _log.debug("%a: %s", key, error.strerror)
        visited.fail("region_unreadable", key)
        return None
    except RegionError as error:
        if error.reason == "region_not_initialised":
            visited.waiting += 1
            visited.whole = False
            return None
        _log.debug("%a: %s", key, error)
        visited.fail(error.reason, key)
        return None
    visited.problems.update(_failure(reason, key) for reason in dropped)
    return region


def _region(opened: int, visited: _Visited, physical: Mapping[str, int]) -> tuple[Region, Mapping[str, int]]:
    """Read an open file by pieces. Raises RegionError and OSError."""
    about = os.fstat(opened)
    if not stat.S_ISREG(about.st_mode):
        raise RegionError("region_unreadable", "not a regular file")
    header = os.pread(opened, HEADER, 0)
    layout = layout_of(about.st_size, header)
    offset, length = tail_span(layout)
    tail = _piece(opened, offset, length)
    offset, length = slots_span(layout, tail)
    if length > visited.slots * SLOT:
        raise RegionError("region_excess", f"{length // SLOT} slots, {visited.slots} are allowed")
    visited.slots -= length // SLOT
    slots, torn = _slots(opened, layout, offset, length)
    return decode(layout, header, slots, tail, torn, physical)


def _slots(opened: int, layout: Layout, offset: int, length: int) -> tuple[bytes, frozenset[int]]:
    """Read slots twice, and again those that were being written, a few times; no waiting: a crash leaves them so."""
    slots, moving = steady(layout, _piece(opened, offset, length), _piece(opened, offset, length))
    for _ in range(_RETRIES):
        if not moving:
            break
        first, end = min(moving), max(moving) + 1
        span = (opened, offset + first * SLOT, (end - first) * SLOT)
        again, still = steady(layout, _piece(*span), _piece(*span))
        settled = moving.difference(first + number for number in still)
        moving -= settled
        slots = _patched(slots, again, first, settled)
    return slots, moving


def _patched(slots: bytes, again: bytes, first: int, numbers: frozenset[int]) -> bytes:
    """Put the slots of these numbers from a later reading, which begins with number `first`, in their place."""
    patched = bytearray(slots)
    for number in numbers:
        at = (number - first) * SLOT
        patched[number * SLOT : (number + 1) * SLOT] = again[at : at + SLOT]
    return bytes(patched)


def _piece(opened: int, offset: int, length: int) -> bytes:
    """Read exactly these bytes."""
    piece = os.pread(opened, length, offset)
    if len(piece) < length:
        raise RegionError("region_malformed", "truncated while it was read")
    return piece


def _failure(reason: str, key: str) -> Failure:
    """Name a failure; a tenant chooses what its files are called."""
    return Failure(reason, ascii(key[:_KEY_PART])[1:-1][:_KEY_PART])
