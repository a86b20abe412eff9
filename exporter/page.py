"""The page at `/`, for people: who uses which GPU now, what belongs to nobody, which source is blind."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from exporter import page_frame
from exporter.page_containers import is_marked, table
from exporter.page_figures import alarm, bar, count, mib, name, percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from exporter.model import Device, DeviceReading, SourceStatus
    from exporter.snapshot import DeviceUse, PairUse, Snapshot

#: The Content-Security-Policy to send with the page of either role.
POLICY: Final = page_frame.POLICY


def render(snapshot: Snapshot, note: str = "", more: Iterable[str] = (), sources: Iterable[SourceStatus] = ()) -> str:
    """Return the page as HTML; `note` is a text to show on top (the demo says what it is).

    `more` is HTML to show beneath the GPUs, and `sources` are those that it came from.
    """
    blind = snapshot.joined.blind
    pairs: dict[str, list[PairUse]] = {use.device.uuid: [] for use in snapshot.joined.devices}
    for pair in sorted(snapshot.joined.pairs, key=lambda pair: (pair.owner[1:], pair.owner.pod_uid)):
        pairs.setdefault(pair.uuid, []).append(pair)
    parts = [
        f"<p class=alarm>{alarm(f'Use is not known: {blind}.')}</p>" if blind else "",
        _overview(snapshot, pairs),
        *(_section(snapshot, number, pairs[use.device.uuid]) for number, use in enumerate(snapshot.joined.devices)),
        *more,
    ]
    statuses = (*snapshot.statuses, *sources)
    heading = f"Who uses the GPUs of {name(snapshot.node)}"
    return page_frame.document(f"GPUs of {snapshot.node}", heading, parts, statuses, snapshot.taken, note=note)


def _overview(snapshot: Snapshot, pairs: dict[str, list[PairUse]]) -> str:
    """Return a line and a link for each GPU, where there are several."""
    if len(snapshot.joined.devices) < 2:  # noqa: PLR2004  several
        return "" if snapshot.joined.devices else "<p>The driver has named no GPU yet.</p>"
    lines = (
        f"<li><a href='#gpu-{number}'>{_title(use.device)}</a>: {_in_short(snapshot, use, pairs[use.device.uuid])}</li>"
        for number, use in enumerate(snapshot.joined.devices)
    )
    return f"<nav aria-label=GPUs><ul>{''.join(lines)}</ul></nav>"


def _in_short(snapshot: Snapshot, use: DeviceUse, pairs: Sequence[PairUse]) -> str:
    """Return how full and busy a GPU is, and how much is wrong on it."""
    if use.reading is None:
        return alarm("no fresh reading")
    memory, busy = use.reading.memory, _busy(snapshot, use)
    marked = sum(map(is_marked, pairs))
    said = [
        f"{percent(memory.used / memory.total)} of memory used" if memory is not None and memory.total else "",
        f"{percent(busy)} busy" if busy is not None else "",
        count(len(pairs), "container"),
        alarm(f"{marked} marked" if marked else ""),
    ]
    return ", ".join(part for part in said if part)


def _section(snapshot: Snapshot, number: int, pairs: Sequence[PairUse]) -> str:
    """Return all of one GPU."""
    use = snapshot.joined.devices[number]
    return (
        f"<section id=gpu-{number} aria-labelledby=gpu-{number}-name>"
        f"<h2 id=gpu-{number}-name>{_title(use.device)}: {name(use.device.name)}</h2>"
        f"<p class=dim>{', '.join(_facts(use))}</p>{''.join(_bars(snapshot, use))}"
        f"{table(snapshot, use, pairs, _title(use.device))}</section>"
    )


def _title(device: Device) -> str:
    return f"MIG instance of GPU {device.index}" if device.parent else f"GPU {device.index}"


def _facts(use: DeviceUse) -> Iterator[str]:
    """Yield what else is known of a GPU."""
    yield name(use.device.uuid)
    yield f"driver {escape(use.device.driver)}"
    if use.reading is not None and use.reading.temperature is not None:
        yield f"{use.reading.temperature:.0f} °C"
    if use.reading is not None and use.reading.power is not None:
        yield f"{use.reading.power:.0f} W"


def _busy(snapshot: Snapshot, use: DeviceUse) -> float | None:
    account = snapshot.accounts.devices.get(use.device.uuid)
    return account.utilization if account is not None and use.reading is not None else None


def _bars(snapshot: Snapshot, use: DeviceUse) -> Iterator[str]:
    """Yield what a GPU has, has given away, and is used of, one above the other to compare."""
    if use.reading is None:
        yield f"<p class=alarm>{alarm('The driver gives no fresh reading of this GPU.')}</p>"
        return
    yield "<dl>"
    yield from _memory_bars(use, use.reading)
    busy, cores = _busy(snapshot, use), use.granted.cores
    whole = max(1.0, cores)
    if busy is not None:
        yield _bar("Cores busy", busy, whole, "mean of the last minute", percent(busy))
    if use.reading.memory is not None or busy is not None:  # else its instances have them
        yield _bar("Cores granted", cores, whole, "where cores are limited", percent(cores))
        yield _bar("Whole GPU", 1.0, whole, "", percent(1.0))
    yield "</dl>"


def _memory_bars(use: DeviceUse, reading: DeviceReading) -> Iterator[str]:
    memory, granted = reading.memory, use.granted
    if memory is None:
        return
    whole = max(memory.total, granted.memory)  # more may be granted than there is
    share = f"{percent(memory.used / memory.total)} of the GPU" if memory.total else ""
    yield _bar("Memory used", memory.used, whole, share, mib(memory.used))
    yield _bar(
        "Memory granted", granted.memory, whole, f"to {count(granted.containers, 'container')}", mib(granted.memory)
    )
    yield _bar("Physical memory", memory.total, whole, "", mib(memory.total))


def _bar(title: str, amount: float, whole: float, remark: str, figure: str) -> str:
    """Return one bar and its figure; `whole` is what the longest of its kind may be."""
    said = f"{figure} <span class=dim>{remark}</span>" if remark else figure
    return f"<div><dt>{title}</dt><dd><span>{said}</span>{bar(f'{title}: {figure}', amount, whole)}</dd></div>"
