"""The page at `/`, for people: who uses which GPU now, what belongs to nobody, which source is blind.

`document` is what the pages of both roles are made of.

One self-contained document: nothing is loaded from elsewhere, every text from outside is escaped.
"""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Final

from exporter import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.model import SourceStatus
    from exporter.snapshot import DeviceUse, PairUse, Snapshot

#: The Content-Security-Policy to send with the page.
POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_STYLE: Final = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 84rem; padding: 0 1rem }
h1 { font-size: 1.3rem } h2 { font-size: 1.1rem; margin: 2rem 0 .3rem } p { margin: .3rem 0 }
.table { overflow-x: auto } table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #8885; overflow-wrap: anywhere }
th, .n, .bad { white-space: nowrap }
.n { text-align: right; font-variant-numeric: tabular-nums }
.bad { color: #c22; font-weight: 600 } .dim { opacity: .65 }
@media (prefers-color-scheme: dark) { .bad { color: #f77 } }
"""

_HEAD: Final = (
    "<tr><th scope=col>Namespace<th scope=col>Pod<th scope=col>Container<th scope=col class=n>Used"
    "<th scope=col class=n>Granted<th scope=col class=n>Cores used<th scope=col class=n>Cores granted"
    "<th scope=col class=n>Processes<th scope=col></tr>"
)


def render(snapshot: Snapshot, note: str = "", more: Iterable[str] = (), sources: Iterable[SourceStatus] = ()) -> str:
    """Return the page as HTML; `note` is a text to show on top (the demo says what it is).

    `more` is HTML to show beneath the GPUs, and `sources` are those that it came from.
    """
    blind = snapshot.joined.blind
    node = escape(snapshot.node)
    parts = [
        f"<p class=bad>Use is not known: {escape(blind)}.</p>" if blind else "",
        *(_device(snapshot, use) for use in snapshot.joined.devices),
        *more,
    ]
    statuses = (*snapshot.statuses, *sources)
    return document(f"GPUs of {node}", f"Who uses the GPUs of {node}", parts, statuses, snapshot.taken, note=note)


def document(
    title: str, heading: str, parts: Iterable[str], statuses: Iterable[SourceStatus], taken: float, *, note: str = ""
) -> str:
    """Return a page of either role: `parts` are HTML, as are title and heading; `taken` is Unix time."""
    read = datetime.fromtimestamp(taken, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    frame = [
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta http-equiv=refresh content=5>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<title>{title}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{heading}</h1>",
        f"<p><strong>{escape(note)}</strong></p>" if note else "",
        *parts,
        _sources(statuses),
        f"<p class=dim>Read {read} · vgpu-tenant-exporter {escape(__version__)} · <a href=/metrics>/metrics</a> · ",
        "<a href=/readyz>/readyz</a></p></body></html>",
    ]
    return "".join(frame)


def _device(snapshot: Snapshot, use: DeviceUse) -> str:
    """Return one GPU's section."""
    device = use.device
    head = f"<h2>GPU {device.index}: {escape(device.name)}</h2><p class=dim>{escape(device.uuid)}</p>"
    if use.reading is None:
        head += "<p class=bad>The driver gives no fresh reading of this GPU.</p>"
    elif use.reading.memory is not None:
        memory = use.reading.memory
        head += (
            f"<p>{mib(memory.used)} of {mib(memory.total)} in use; {mib(use.granted.memory)} granted to "
            f"{use.granted.containers} containers.</p>"
        )
    pairs = [pair for pair in snapshot.joined.pairs if pair.uuid == device.uuid]
    pairs.sort(key=lambda pair: (-(pair.used or 0), pair.owner))
    rows = "".join(_pair(snapshot, pair) for pair in pairs) + "".join(_nobody(use))
    return f"{head}<div class=table><table>{_HEAD}{rows}</table></div>"


def _pair(snapshot: Snapshot, pair: PairUse) -> str:
    """Return one container's row."""
    account = snapshot.accounts.pairs[pair.uuid, pair.owner]
    busy = account.utilization if pair.processes is not None else None
    cells = "".join(f"<td>{escape(text)}" for text in (pair.owner.namespace, pair.owner.pod, pair.owner.container))
    unknown = f"unknown ({pair.grant_source})"
    granted = mib(pair.memory_granted) if pair.memory_granted is not None else unknown
    unlimited = "not limited" if pair.memory_granted is not None else unknown
    cores = percent(pair.core_granted) if pair.core_granted is not None else unlimited
    processes = "?" if pair.processes is None else str(pair.processes)
    return (
        f"<tr>{cells}<td class=n>{mib(pair.used)}<td class=n>{escape(granted)}"
        f"<td class=n>{percent(busy)}<td class=n>{cores}<td class=n>{processes}<td class=bad>{_remark(pair)}</tr>"
    )


def _remark(pair: PairUse) -> str:
    """Return what is wrong with a container's use of memory, if anything."""
    if pair.used is None or pair.memory_granted is None or pair.used <= pair.memory_granted:
        return ""
    return "no grant" if pair.memory_granted == 0 else "over grant"


def _nobody(use: DeviceUse) -> Iterable[str]:
    """Yield the remainder's rows: what belongs to no container, by reason."""
    for reason, used in (use.unattributed or {}).items():
        if used:
            yield f"<tr class=dim><td colspan=3>nobody: {escape(reason)}<td class=n>{mib(used)}<td colspan=5></tr>"


def _sources(statuses: Iterable[SourceStatus]) -> str:
    """Return how the sources do, in one line each."""
    lines = "".join(
        f"<li>{escape(status.source)}: {'answers' if status.up else '<span class=bad>does not answer</span>'}"
        for status in statuses
    )
    return f"<h2>Sources</h2><ul>{lines}</ul>"


def mib(value: float | None) -> str:
    """Return bytes for people, in MiB as HAMi grants them; "?" for None."""
    return "?" if value is None else f"{value / 2**20:,.0f} MiB"


def percent(value: float | None) -> str:
    """Return a ratio for people; "?" for None."""
    return "?" if value is None else f"{value:.1%}"
