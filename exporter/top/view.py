"""Rows → lines of styled text for a terminal of some width: what is wrong is said in words as well as in red."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.text import Text

from exporter.top import columns, shown
from exporter.top.columns import amount, fitted, layout, percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from exporter.top.choice import Choice
    from exporter.top.columns import Column
    from exporter.top.rows import Frame, Gpu, Mark, Nobodys, Use

_BAD, _ODD, _FINE, _FAINT, _STRONG = "bold red", "yellow", "green", "dim", "bold"
_WORDS: Final[dict[Mark, str]] = {
    "escape": "escape",
    "no_grant": "no grant",
    "over_grant": "over grant",
    "hami_core_blind": "libvgpu blind",
}
_RED: Final = frozenset[str]({"escape", "no_grant"})
#: Sources of a grant that say nothing beyond the figure.
_USUAL_SOURCES: Final = frozenset({"hami", "none"})


class Glyphs(NamedTuple):
    """What bars and cuts are drawn with: a full cell, its growing parts, granted and not used, neither, a cut."""

    full: str
    parts: str
    granted: str
    free: str
    gap: str


BLOCKS: Final = Glyphs("█", "▏▎▍▌▋▊▉", "░", "·", "…")
ASCII: Final = Glyphs("#", "", "-", ".", "~")


@dataclass(frozen=True, slots=True)
class Paper:
    """What is drawn on: its width in cells and its glyphs; the columns of this frame."""

    width: int
    glyphs: Glyphs
    columns: Mapping[Column, int]

    @classmethod
    def of(cls, gpus: Sequence[Gpu], width: int, glyphs: Glyphs) -> Paper:
        """Return paper with the columns for these GPUs."""
        uses = [use for gpu in gpus for use in gpu.uses]
        names = [*map(_who, uses), *map(_which, gpus)]
        tenants = any(use.pod and use.tenant != use.namespace for use in uses)
        return cls(width, glyphs, layout(width, max(map(len, names), default=0), tenants=tenants))

    def line(self, text: str, style: str = "") -> Text:
        """Return a line of text, cut at the edge."""
        safe = shown(text)
        cut = safe if len(safe) <= self.width else safe[: max(self.width - 1, 0)] + self.glyphs.gap
        return Text(cut, style, no_wrap=True)

    def row(self, cells: Mapping[Column, Text | str], style: str = "") -> Text:
        """Return a row; a column that it has nothing for stays empty."""
        parts = []
        for column, width in self.columns.items():
            cell = cells.get(column, "")
            if isinstance(cell, str):
                cell = Text(fitted(shown(cell), column, width, self.glyphs.gap), style)
            parts.append(cell)
        return Text(" ", no_wrap=True).join(parts)

    def bar(self, used: float | None, granted: float | None, total: float | None, style: str) -> Text | str:
        """Return a bar of physical memory: what is used of it, and what is granted beyond that."""
        width = self.columns.get(columns.BAR)
        if width is None or not total:
            return ""
        filled = _filled(min((used or 0) / total, 1) * width, self.glyphs)[:width]
        promised = self.glyphs.granted * (math.ceil(min((granted or 0) / total, 1) * width) - len(filled))
        free = self.glyphs.free * (width - len(filled) - len(promised))
        return Text.assemble((filled, style), (promised, "blue"), (free, _FAINT))


def _filled(cells: float, glyphs: Glyphs) -> str:
    """Return so many filled cells, the last one in part; what there is at all is seen."""
    steps = len(glyphs.parts) + 1
    filled = max(round(cells * steps), int(cells > 0))
    rest = filled % steps
    return glyphs.full * (filled // steps) + (glyphs.parts[rest - 1] if rest else "")


# ---------------------------------------------------------------- the table


def titles(paper: Paper) -> Text:
    """Return the line above the rows."""
    return paper.row({column: column.title for column in paper.columns}, f"{_FAINT} underline")


def table(gpus: Iterable[Gpu], paper: Paper, *, measuring: bool = False) -> Iterator[Text]:
    """Yield a line for each GPU, for who uses it, and last for what belongs to nobody.

    `measuring`: cores are not known yet, because there is no past.
    """
    unknown = "..." if measuring else "-"
    for gpu in gpus:
        yield _gpu(gpu, paper, unknown)
        yield from (_use(use, gpu, paper, unknown) for use in gpu.uses)
        yield from (_nobodys(one, gpu, paper, unknown) for one in gpu.nobodys if one.memory_used or one.core_used)


def _cores(value: float | None, unknown: str) -> str:
    return unknown if value is None else percent(value)


def _which(gpu: Gpu) -> str:
    where = "/".join(part for part in (gpu.cluster, gpu.node) if part)
    index = f"#{gpu.index}" if gpu.index else ""
    return shown(" ".join(filter(None, (where, index, gpu.name.removeprefix("NVIDIA ") or gpu.uuid))))


def _who(use: Use) -> str:
    """Return who it is, with a mark that is seen without colours, too."""
    mark = "!" if _RED.intersection(use.marks) else " "
    return shown(f"{mark} {use.namespace}/{use.pod}" if use.pod else f"{mark} {use.tenant}")


def _gpu(gpu: Gpu, paper: Paper, unknown: str) -> Text:
    cells: dict[Column, Text | str] = {
        columns.WHO: _which(gpu),
        columns.BAR: paper.bar(gpu.memory_used, gpu.memory_granted, gpu.memory_total, "cyan"),
        columns.USED: amount(gpu.memory_used),
        columns.GRANTED: amount(gpu.memory_granted),
        columns.CORES: _cores(gpu.core_used, unknown),
        columns.CORES_GRANTED: percent(gpu.core_granted),
        columns.REMARK: f"of {amount(gpu.memory_total)}" if gpu.up else "not answering",
    }
    return paper.row(cells, _STRONG if gpu.up else _BAD)


def _use(use: Use, gpu: Gpu, paper: Paper, unknown: str) -> Text:
    style = _BAD if _RED.intersection(use.marks) else _ODD if use.marks else ""
    cells: dict[Column, Text | str] = {
        columns.WHO: _who(use),
        columns.TENANT: use.tenant,
        columns.BAR: paper.bar(use.memory_used, use.memory_granted, gpu.memory_total, style or _FINE),
        columns.USED: amount(use.memory_used),
        columns.GRANTED: amount(use.memory_granted),
        columns.CORES: _cores(use.core_used, unknown),
        columns.CORES_GRANTED: percent(use.core_granted),
        columns.PROCESSES: "-" if use.processes is None else f"{min(use.processes, 9999):.0f}",
        columns.REMARK: _remark(use),
    }
    return paper.row(cells, style)


def _remark(use: Use) -> str:
    """Return what is wrong, the worst first; else why the grant is not known."""
    words = [_WORDS[mark] for mark in use.marks]
    if "escape" in use.marks and use.memory_uncounted:
        words[0] = f"escape {amount(use.memory_uncounted)}"
    if not words and use.memory_granted is None:
        words = [source for source in use.grant_sources if source not in _USUAL_SOURCES]
    return ", ".join(words)


def _nobodys(one: Nobodys, gpu: Gpu, paper: Paper, unknown: str) -> Text:
    cells: dict[Column, Text | str] = {
        columns.WHO: f"  nobody's: {one.reason}",
        columns.BAR: paper.bar(one.memory_used, None, gpu.memory_total, "magenta"),
        columns.USED: amount(one.memory_used),
        columns.CORES: _cores(one.core_used, unknown),
    }
    return paper.row(cells, _FAINT)


# ---------------------------------------------------------------- around it


def header(frame: Frame, gpus: Sequence[Gpu], address: str, choice: Choice, paper: Paper) -> Iterator[Text]:
    """Yield what is shown and how old it is, then whatever keeps it from being the truth of now."""
    uses = sum(len(gpu.uses) for gpu in gpus)
    counted = f"{_plural(len(gpus), 'GPU')}, {_plural(uses, 'tenant' if choice.tenants else 'pod')}"
    cores = "cores: measuring" if frame.core_window is None else f"cores: mean of {frame.core_window:.0f} s"
    age = [] if frame.age is None else [f"data {frame.age:.0f} s old"]
    yield paper.line("  ".join([counted, cores, *age, address]), _STRONG)
    for word, names in (
        ("blind, figures that need it are missing or old: source", frame.blind),
        ("old data:", frame.stale),
        ("no answer from:", frame.silent),
    ):
        if names:
            yield paper.line(f"{word} {', '.join(names)}", _BAD)


def failure(message: str, age: float, paper: Paper) -> Text:
    """Return the line that says that this is not of now, and why."""
    return paper.line(f"{age:.0f} s old: {message}", _BAD)


def footer(choice: Choice, seen: int, rows: int, paper: Paper) -> Text:
    """Return the last line: the keys, and which rows are `seen`; or the filter while it is written."""
    if choice.typing:
        return paper.line(f"filter by namespace or pod: {choice.filter}_  (Enter keeps it, Esc clears it)", _STRONG)
    part = f"rows {choice.first + 1}-{choice.first + seen}/{rows}" if seen < rows else ""
    kept = f"filter: {choice.filter}" if choice.filter else ""
    keys = f"q quit  s sort ({choice.sort})  t {'pods' if choice.tenants else 'tenants'}  / filter  arrows, PgUp, PgDn"
    return paper.line("  ".join(filter(None, (part, kept, keys))), _FAINT)


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
