"""The page at `/` of the quota role, for people: what each namespace was granted, may be granted, and waits for."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from exporter import page
from exporter.quota_model import PENDING_REASONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.quota_model import Measure, QuotaSnapshot, QuotaTotals

HEADING: Final = "What each namespace was granted, and may be"
_HEAD: Final = (
    "<tr><th scope=col>Namespace<th scope=col>Tenant<th scope=col>Resource<th scope=col class=n>Granted"
    "<th scope=col class=n>Allowed<th scope=col class=n>Share<th scope=col>Binding quota<th scope=col>Pending pods"
    "<th scope=col></tr>"
)


def render(snapshot: QuotaSnapshot, note: str = "") -> str:
    """Return the page as HTML; `note` is one sentence to show on top."""
    return page.document("vGPUs of the cluster", HEADING, body(snapshot), snapshot.statuses, snapshot.taken, note=note)


def body(snapshot: QuotaSnapshot) -> list[str]:
    """Return what is between heading and sources, as HTML."""
    return [
        f"<p class=bad>Not all is known: {escape(snapshot.not_ready)}.</p>" if snapshot.not_ready else "",
        f"<div class=table><table>{_HEAD}{''.join(_rows(snapshot.totals))}</table></div>",
    ]


def _rows(totals: QuotaTotals) -> Iterator[str]:
    """Yield a row for each namespace and resource of which something is granted or allowed, or pods wait for."""
    resources = {(namespace, resource) for namespace, resource in (*totals.hard, *totals.granted)}
    waiting = {(namespace, "") for namespace, _ in totals.pending} - {(namespace, "") for namespace, _ in resources}
    before = ""
    for namespace, resource in sorted(resources | waiting):
        pending = _pending(totals, namespace) if namespace != before else ""
        yield _row(totals, namespace, resource, pending)
        before = namespace


def _row(totals: QuotaTotals, namespace: str, resource: str, pending: str) -> str:
    granted, hard = totals.granted.get((namespace, resource)), totals.hard.get((namespace, resource))
    measure = totals.measures.get(resource)
    names = (namespace, totals.tenants.get(namespace, "?"), resource)
    cells = "".join(f"<td>{escape(text)}" for text in names)
    allowed = "not limited" if hard is None else _amount(hard, measure)
    share = page.percent(granted / hard) if granted is not None and hard else ""
    full = "over quota" if granted is not None and hard is not None and granted > hard else ""
    return (
        f"<tr>{cells}<td class=n>{_amount(granted, measure)}<td class=n>{allowed}<td class=n>{share}"
        f"<td>{escape(totals.binding.get((namespace, resource), ''))}<td>{escape(pending)}<td class=bad>{full}</tr>"
    )


def _amount(value: float | None, measure: Measure | None) -> str:
    """Return an amount in the unit that people grant it in."""
    if measure == "memory":
        return page.mib(value)
    if measure == "core":
        return page.percent(value)
    return "?" if value is None else f"{value:,.0f}"


def _pending(totals: QuotaTotals, namespace: str) -> str:
    """Return how many pods of the namespace wait, by reason."""
    counts = [(reason, totals.pending.get((namespace, reason), 0)) for reason in PENDING_REASONS]
    return ", ".join(f"{pods} ({reason})" for reason, pods in counts if pods)
