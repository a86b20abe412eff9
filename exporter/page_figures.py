"""What the pages at `/` say things with: amounts, shares, times, names, bars; HTML, or text that needs no escape."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape


def mib(value: float | None) -> str:
    """Return bytes for people, in MiB as HAMi grants them; "?" for None."""
    return "?" if value is None else f"{value / 2**20:,.0f} MiB"


def percent(value: float | None) -> str:
    """Return a ratio for people; "?" for None."""
    return "?" if value is None else f"{value:.1%}"


def count(number: int, noun: str) -> str:
    """Return so many of something, in words."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def name(text: str) -> str:
    """Return a name that somebody else chose, as HTML: a change of direction in it ends with it."""
    return f"<bdi>{escape(text)}</bdi>"


def moment(unix: float, identity: str = "") -> str:
    """Return a time as HTML, to the second; `identity` is the element's id."""
    at = datetime.fromtimestamp(unix, UTC)
    named = f" id={identity}" if identity else ""
    return f"<time{named} datetime={at:%Y-%m-%dT%H:%M:%SZ}>{at:%Y-%m-%d %H:%M:%S} UTC</time>"


def span(seconds: float) -> str:
    """Return how long something lasts, for people."""
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def alarm(text: str) -> str:
    """Return what is wrong, as HTML: a sign and bold letters, not only a colour; "" for nothing."""
    return f"<strong class=bad><span aria-hidden=true>▲ </span>{escape(text)}</strong>" if text else ""


def bar(label: str, filled: float | None, whole: float | None, mark: float | None = None) -> str:
    """Return a bar as HTML: `filled` of `whole`, and a line at `mark`; nothing if either is not known, or is no amount.

    `label` says it in words. Widths are attributes: the policy lets no element bring a style of its own.
    """
    if filled is None or not whole:
        return ""
    line = "" if mark is None else f"<rect class=mark x={_at(mark / whole, 98.5)} width=1.5 height=8 />"
    return (
        f"<svg class=bar viewBox='0 0 100 8' preserveAspectRatio=none role=img aria-label='{escape(label)}'>"
        f"<rect class=fill width={_at(filled / whole, 100)} height=8 />{line}</svg>"
    )


def drawn(picture: str, figure: str, kind: str = "drawn") -> str:
    """Return a bar, if there is one, and its figure beside it, as HTML; `kind` are classes of the style sheet."""
    return f"<div class='{kind}'>{picture}<span>{figure}</span></div>" if picture else figure


def _at(share: float, most: float) -> str:
    """Return a share as a place on a bar, which is 100 long."""
    return f"{min(max(share * 100, 0), most):.1f}"


def head(*columns: str) -> str:
    """Return a table's head as HTML; of a column "-name" the figures are on the right."""
    cells = (
        f"<th scope=col role=columnheader{' class=n' * (c[:1] == '-')}>{c.removeprefix('-')}</th>" for c in columns
    )
    return f"<thead role=rowgroup><tr role=row>{''.join(cells)}</tr></thead>"


def cell(html: str, title: str = "", *, span: int = 1, kind: str = "n") -> str:
    """Return a table's cell; on a narrow screen `title` stands before it. `kind` is a class of the style sheet."""
    titled = f" data-head='{title}'" if title and html else ""
    wide = f" colspan={span}" if span > 1 else ""
    return f"<td role=cell class={kind}{wide}{titled}>{html}</td>"
