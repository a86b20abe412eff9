"""The page at `/` of the quota role, for people: what each namespace was granted, may be granted, and waits for."""

from __future__ import annotations

from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, Final

from exporter import page_frame
from exporter.page_figures import alarm, bar, cell, count, drawn, head, mib, name, percent
from exporter.quota_model import PENDING_REASONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from exporter.quota_model import Measure, QuotaSnapshot, QuotaTotals, View

HEADING: Final = "What each namespace was granted, and may be"
_HEAD: Final = head(
    "Namespace and resource",
    "-Granted",
    "-Allowed",
    "-Share",
    "Binding quota",
    "How others read it",
    "Remarks",
)
_OTHERS_HEAD: Final = head("Namespace and quota", "Resource", "-Granted", "-Allowed", "Remarks")
#: How others read the same quota, in words before the amount.
_VIEWS: Final[Mapping[View, str]] = {
    "kubernetes_used": "Kubernetes counts",
    "hami_hard": "HAMi allows",
    "hami_used": "HAMi counts",
}


def render(snapshot: QuotaSnapshot, note: str = "") -> str:
    """Return the page as HTML; `note` is one sentence to show on top."""
    parts = body(snapshot)
    return page_frame.document("vGPUs of the cluster", HEADING, parts, snapshot.statuses, snapshot.taken, note=note)


def body(snapshot: QuotaSnapshot) -> list[str]:
    """Return what is between heading and sources, as HTML."""
    totals = snapshot.totals
    return [
        f"<p class=alarm>{alarm(f'Not all is known: {snapshot.not_ready}.')}</p>" if snapshot.not_ready else "",
        _table("Granted, against the strictest quota that holds for all pods", _HEAD, _groups(totals))
        or "<p>No namespace has a quota of vGPUs, a grant, or a pod that waits.</p>",
        _table("Quotas with scopes, and those that another is stricter than", _OTHERS_HEAD, _other_quotas(totals)),
    ]


def _table(caption: str, columns: str, rows: Iterable[str]) -> str:
    """Return a table as HTML; "" without any row."""
    found = "".join(rows)
    return f"<table role=table><caption>{caption}</caption>{columns}{found}</table>" if found else ""


# ---------------------------------------------------------------- namespaces


def _groups(totals: QuotaTotals) -> Iterator[str]:
    """Yield the rows of each namespace of which something is granted or allowed, or pods wait for."""
    known = {*totals.hard, *totals.granted}
    waiting = {(namespace, "") for namespace, _ in totals.pending}
    for namespace, keys in groupby(sorted(known | waiting), lambda key: key[0]):
        rows = "".join(_row(totals, namespace, resource) for _, resource in keys if resource)
        yield f"<tbody role=rowgroup>{_namespace(totals, namespace)}{rows}</tbody>"


def _namespace(totals: QuotaTotals, namespace: str) -> str:
    """Return a namespace's own row: its tenant, and the pods that wait there."""
    tenant = totals.tenants.get(namespace)
    owner = f"<span class=dim>tenant {'?' if tenant is None else name(tenant)}</span>"
    counts = [(reason, totals.pending.get((namespace, reason), 0)) for reason in PENDING_REASONS]
    waiting = sum(pods for _, pods in counts)
    reasons = ", ".join(f"{pods:,} ({reason})" for reason, pods in counts if pods)
    said = alarm(f"{count(waiting, 'pod')} waiting: {reasons}" if waiting else "")
    return (
        f"<tr role=row class=group><th scope=rowgroup role=rowheader>{name(namespace)} {owner}</th>"
        f"{cell(said, span=6, kind='wide')}</tr>"
    )


def _row(totals: QuotaTotals, namespace: str, resource: str) -> str:
    """Return what is granted and allowed of one resource."""
    key = (namespace, resource)
    granted, hard, measure = totals.granted.get(key), totals.hard.get(key), totals.measures.get(resource)
    share = percent(granted / hard) if granted is not None and hard else ""
    others = ", ".join(
        f"{words} {_amount(totals.views[namespace, resource, view], measure)}"
        for view, words in _VIEWS.items()
        if (namespace, resource, view) in totals.views
    )
    return (
        f"<tr role=row><th scope=row role=rowheader>{name(resource)}</th>"
        f"{cell(drawn(_bar(granted, hard), _amount(granted, measure)), 'Granted')}"
        f"{_allowed(hard, measure)}{cell(share, 'Share')}"
        f"{cell(name(totals.binding.get(key, '')) if key in totals.binding else '', 'Quota', kind='text')}"
        f"{cell(others, kind='wide')}{cell(_over(granted, hard), kind='wide')}</tr>"
    )


def _allowed(hard: float | None, measure: Measure | None) -> str:
    return cell("not limited") if hard is None else cell(_amount(hard, measure), "of")


def _bar(granted: float | None, hard: float | None) -> str:
    if granted is None or not hard:
        return ""
    return bar(f"{percent(granted / hard)} of the quota", granted, max(granted, hard), hard)


def _over(granted: float | None, hard: float | None) -> str:
    return alarm("over quota" if granted is not None and hard is not None and granted > hard else "")


def _amount(value: float | None, measure: Measure | None) -> str:
    """Return an amount in the unit that people grant it in."""
    if measure == "memory":
        return mib(value)
    if measure == "core":
        return percent(value)
    return "?" if value is None else f"{value:,.0f}"


# ---------------------------------------------------------------- other quotas


def _other_quotas(totals: QuotaTotals) -> Iterator[str]:
    """Yield a row for each quota and resource that does not bind all of its namespace."""
    others = sorted(key for key in totals.quota_hard if totals.binding.get((key[0], key[2])) != key[1])
    rows = "".join(_other_quota(totals, *key) for key in others)
    if rows:
        yield f"<tbody role=rowgroup>{rows}</tbody>"


def _other_quota(totals: QuotaTotals, namespace: str, quota: str, resource: str) -> str:
    key, measure = (namespace, quota, resource), totals.measures.get(resource)
    granted, hard = totals.quota_granted.get(key), totals.quota_hard[key]
    return (
        f"<tr role=row><th scope=row role=rowheader>{name(namespace)} / {name(quota)}</th>"
        f"{cell(escape(resource), kind='wide')}{cell(drawn(_bar(granted, hard), _amount(granted, measure)), 'Granted')}"
        f"{cell(_amount(hard, measure), 'of')}{cell(_over(granted, hard), kind='wide')}</tr>"
    )
