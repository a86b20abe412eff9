"""The table of one GPU on the page at `/`: its containers by namespace, and last what belongs to none."""

from __future__ import annotations

from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

from exporter.page_figures import alarm, bar, cell, count, drawn, head, mib, name, percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from exporter.snapshot import DeviceUse, PairUse, Snapshot

_HEAD: Final = head(
    "Namespace and container",
    "-Memory used",
    "-Memory granted",
    "-Cores used",
    "-Cores granted",
    "-Processes",
    "Remarks",
)
#: Whose memory it is that belongs to no container, by the reasons of `vgpu_device_memory_unattributed_bytes`.
_NOBODY: Final = {
    "host": "processes outside Kubernetes",
    "unknown_pod": "processes of pods, or containers, that the API server does not name",
    "unknown_process": "processes that are gone, or cannot be read",
    "unlisted": "under no process: managed memory, and the driver's own part",
}


class _Scale(NamedTuple):
    """What a full bar of memory is, and what the GPU has, in bytes; None: not known."""

    longest: float
    physical: int | None


def table(snapshot: Snapshot, use: DeviceUse, pairs: Sequence[PairUse], title: str) -> str:
    """Return the table as HTML; `pairs` are those of this GPU, in the order of their names: rows keep their places."""
    found = {pair.owner: _amounts(snapshot, pair) for pair in pairs}
    groups = {namespace: list(members) for namespace, members in groupby(pairs, lambda pair: pair.owner.namespace)}
    totals = {namespace: _total(found[pair.owner] for pair in members) for namespace, members in groups.items()}
    nobody = [(reason, used) for reason, used in (use.unattributed or {}).items() if used]
    scale = _scale(use, totals.values(), nobody)
    rows = [_group(scale, name, totals[name], [(pair, found[pair.owner]) for pair in groups[name]]) for name in groups]
    rows += _nobody(use, scale, nobody)
    if not rows:
        return f"<p>No container holds or uses {title}.</p>"
    caption = (
        f"Who uses {title}: {count(len(pairs), 'container')}, by namespace. A line in a bar marks what was granted; "
        f"a full bar of memory is {mib(scale.longest)}."
    )
    return f"<table role=table><caption>{caption}</caption>{_HEAD}{''.join(rows)}</table>"


def _scale(use: DeviceUse, totals: Iterable[_Amounts], nobody: Iterable[tuple[str, int]]) -> _Scale:
    """Return the scale of a table's bars: the longest is full, or small tenants of a large GPU would show none."""
    amounts = [amount or 0 for total in totals for amount in (total.used, total.granted)]
    amounts.append(sum(used for _, used in nobody))
    memory = use.reading.memory if use.reading is not None else None
    return _Scale(max(amounts), memory.total if memory is not None else None)


def is_marked(pair: PairUse) -> bool:
    """Tell whether something is wrong with a container's use."""
    return any(True for _ in _remarks(pair))


def _remarks(pair: PairUse) -> Iterator[str]:
    """Yield what is wrong with a container's use, if anything."""
    if pair.used is not None and pair.memory_granted is not None and pair.used > pair.memory_granted:
        yield "no grant" if pair.memory_granted == 0 else "over its grant"
    if pair.counted.uncounted:
        yield f"escaped HAMi: {mib(pair.counted.uncounted)}"
    elif pair.counted.processes_uncounted:
        yield f"escaped HAMi: {count(pair.counted.processes_uncounted, 'process')}"
    if pair.counted.blind:
        yield "HAMi-core is blind"


# ---------------------------------------------------------------- containers


class _Amounts(NamedTuple):
    """What a container, or all of a namespace together, use and were granted; None: not known, or not limited."""

    used: float | None
    granted: float | None
    busy: float | None
    cores: float | None
    processes: float | None


def _amounts(snapshot: Snapshot, pair: PairUse) -> _Amounts:
    """Return a container's; of one whose processes are not known the share of the cores is old."""
    busy = snapshot.accounts.pairs[pair.uuid, pair.owner].utilization if pair.processes is not None else None
    return _Amounts(pair.used, pair.memory_granted, busy, pair.core_granted, pair.processes)


def _total(parts: Iterable[_Amounts]) -> _Amounts:
    """Return the sums; of what is not known of one part there is none."""
    columns = zip(*parts, strict=True)
    return _Amounts(*(sum(filter(None, column)) if None not in column else None for column in columns))


def _group(scale: _Scale, namespace: str, total: _Amounts, members: Iterable[tuple[PairUse, _Amounts]]) -> str:
    """Return a namespace's rows: their sum first."""
    unlimited = "not limited" if total.granted is not None else "?"
    cores = percent(total.cores) if total.cores is not None else unlimited
    rows = "".join(_row(scale, pair, amounts) for pair, amounts in members)
    return (
        f"<tbody role=rowgroup><tr role=row class=group><th scope=rowgroup role=rowheader>{name(namespace)}</th>"
        f"{_figures(scale, total, mib(total.granted), cores)}{cell('', kind='wide')}</tr>{rows}</tbody>"
    )


def _row(scale: _Scale, pair: PairUse, amounts: _Amounts) -> str:
    """Return one container's row."""
    unknown = f"unknown ({escape(pair.grant_source)})"
    granted = mib(pair.memory_granted) if pair.memory_granted is not None else unknown
    unlimited = "not limited" if pair.memory_granted is not None else unknown
    cores = percent(pair.core_granted) if pair.core_granted is not None else unlimited
    remarks = "<br>".join(alarm(text) for text in _remarks(pair))
    return (
        f"<tr role=row><th scope=row role=rowheader>{_who(pair)}</th>{_figures(scale, amounts, granted, cores)}"
        f"{cell(remarks, kind='wide')}</tr>"
    )


def _who(pair: PairUse) -> str:
    """Return a container's name, and its tenant's where the pod says who that is."""
    container = f" / {name(pair.owner.container)}" if pair.owner.container else ""
    tenant = f" <span class=dim>tenant {name(pair.pod.tenant)}</span>" if pair.pod.tenant else ""
    return f"{name(pair.owner.pod)}<span class=dim>{container}</span>{tenant}"


def _figures(scale: _Scale, amounts: _Amounts, granted: str, cores: str) -> str:
    """Return the cells of memory, cores and processes; `granted` and `cores` are what was granted, in words."""
    picture = bar(_said(amounts.busy, amounts.cores, 1.0), amounts.busy, 1.0, amounts.cores)
    cells = (
        _memory(scale, amounts.used, amounts.granted),
        cell(granted, "of" if amounts.granted is not None else ""),
        cell(drawn(picture, percent(amounts.busy), "drawn share"), "Cores"),
        cell(cores, "of" if amounts.cores is not None else ""),
        cell("?" if amounts.processes is None else f"{amounts.processes:,.0f}", "Processes"),
    )
    return "".join(cells)


def _memory(scale: _Scale, used: float | None, granted: float | None = None) -> str:
    """Return the cell of used memory."""
    picture = bar(_said(used, granted, scale.physical), used, scale.longest, granted)
    return cell(drawn(picture, mib(used)), "Memory")


def _said(used: float | None, granted: float | None, whole: float | None) -> str:
    """Return a bar's label: what the figures beside it do not say."""
    of_grant = f"{used / granted:.0%} of the grant" if used is not None and granted else ""
    of_gpu = f"{percent(used / whole)} of the GPU" if used is not None and whole else ""
    return ", ".join(part for part in (of_grant, of_gpu) if part)


# ---------------------------------------------------------------- nobody


def _nobody(use: DeviceUse, scale: _Scale, found: Sequence[tuple[str, int]]) -> Iterator[str]:
    """Yield the rows of what belongs to no container, by reason; none where that is nothing or not known."""
    rows = [_line(reason, _memory(scale, used), _NOBODY[reason]) for reason, used in found]
    if use.overcounted:
        said = "less than the processes add up to: two readings, a moment apart"
        rows.append(_line("counted twice", cell(f"-{mib(use.overcounted)}", "Memory"), said))
    if rows:
        total = _memory(scale, sum(used for _, used in found))
        yield (
            "<tbody role=rowgroup><tr role=row class=group><th scope=rowgroup role=rowheader>Belongs to no container"
            f"</th>{total}{cell('', span=5, kind='wide')}</tr>{''.join(rows)}</tbody>"
        )


def _line(what: str, figure: str, said: str) -> str:
    words = cell(f"<span class=dim>{said}</span>", span=5, kind="wide")
    return f"<tr role=row><th scope=row role=rowheader>{escape(what)}</th>{figure}{words}</tr>"
