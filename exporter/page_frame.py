"""What the pages at `/` of both roles have around what they show: style, script, policy, age, sources.

One self-contained document: nothing is loaded from elsewhere, every text from outside is escaped.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html import escape
from typing import TYPE_CHECKING, Final

from exporter import __version__
from exporter.page_figures import alarm, moment, span
from exporter.page_script import SCRIPT
from exporter.page_style import STYLE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.model import SourceStatus


def _digest(text: str) -> str:
    return b64encode(sha256(text.encode()).digest()).decode()


#: The Content-Security-Policy to send with the page: its own style and script, itself again, and nothing else.
POLICY: Final = (
    f"default-src 'none'; script-src 'sha256-{_digest(SCRIPT)}'; style-src 'sha256-{_digest(STYLE)}'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: Changes with style and script: an open page that finds another one loads itself anew.
_BUILD: Final = _digest(STYLE + SCRIPT)
#: Seconds after which a browser that runs no script loads the page anew, which costs the reader the place.
_WITHOUT_SCRIPT: Final = 30


def document(
    title: str, heading: str, parts: Iterable[str], statuses: Iterable[SourceStatus], taken: float, *, note: str = ""
) -> str:
    """Return a page of either role: `parts` and heading are HTML, the title is text; `taken` is Unix time."""
    frame = [
        "<!doctype html><html lang=en><head><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width, initial-scale=1'><link rel=icon href='data:,'>",
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f"<noscript><meta http-equiv=refresh content={_WITHOUT_SCRIPT}></noscript></head><body>",
        f"<header><h1>{heading}</h1><p class=dim>Read {moment(taken, 'taken')} ",
        "<span id=age></span> <button id=pause type=button hidden>Pause updates</button></p>",
        "<p id=trouble class=bad role=status></p></header>",
        f"<main id=page data-build='{_BUILD}'>",
        f"<p class=note>{escape(note)}</p>" if note else "",
        *parts,
        _sources(statuses, taken),
        f"</main><footer><p class=dim>vgpu-tenant-exporter {escape(__version__)} · <a href=metrics>metrics</a> · ",
        f"<a href=readyz>readiness</a></p></footer><script>{SCRIPT}</script></body></html>",
    ]
    return "".join(frame)


def _sources(statuses: Iterable[SourceStatus], taken: float) -> str:
    """Return how the sources do, in one line each."""
    lines = "".join(f"<li>{_source(status, taken)}</li>" for status in statuses)
    return f"<section aria-labelledby=sources><h2 id=sources>Sources</h2><ul>{lines}</ul></section>"


def _source(status: SourceStatus, taken: float) -> str:
    """Return whether a source answers, since when it does not, and what went wrong so far."""
    counted = ", ".join(f"{reason} {number:,}" for reason, number in sorted(status.errors.items()) if number)
    errors = f" <span class=dim>(errors since the start: {escape(counted)})</span>" if counted else ""
    if status.up:
        return f"{escape(status.source)}: answers{errors}"
    last = status.last_success
    since = "it never has" if last is None else f"last answer {moment(last)}, {span(taken - last)} before"
    return f"{alarm(f'{status.source}: does not answer')}; {since}{errors}"
