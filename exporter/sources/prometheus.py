"""Prometheus' HTTP API, as far as `doctor` asks it: a few instant queries, and which rules are loaded."""

from __future__ import annotations

import json
from base64 import b64encode
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

import urllib3

from exporter import __version__
from exporter.doctor.prometheus import FIRING, PrometheusFound
from exporter.errors import SourceError, shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from exporter.doctor.prometheus import Queries

_LONGEST: Final = 64 * 2**20
_NAME: Final = "alertname"


def ask(url: str, queries: Queries, node: str | None, seconds: float) -> PrometheusFound | SourceError:
    """Ask all at `url` (`http://user:password@host:port/prefix`); what fires is of this `node`, or of no one's.

    Never raises; each answer may take so many `seconds`.
    """
    try:
        api = _Api(url, seconds)
        alerts, records = api.rules()
        return PrometheusFound(
            series=api.number(queries.present),
            overwritten=api.number(queries.overwritten),
            targets=api.number(queries.targets),
            alerts=alerts,
            records=records,
            firing=tuple(sorted(_named(api.series(FIRING), node))),
        )
    except SourceError as error:
        return error


def _named(series: Iterable[Mapping[str, Any]], node: str | None) -> set[str]:
    found = _objects([one.get("metric") for one in series])
    return {str(labels[_NAME]) for labels in found if _NAME in labels and labels.get("node", node) == node}


class _Api:
    """One Prometheus; its methods raise SourceError."""

    def __init__(self, url: str, seconds: float) -> None:
        try:
            parts = urlsplit(url)
        except ValueError as error:  # an IPv6 address that is none
            raise SourceError("unreachable", f"--prometheus is no address: {shorten(str(error))}") from error
        self._base = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
        self._headers = {"User-Agent": f"vgpu-exporter/{__version__}"}
        if parts.username:
            said = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode(errors="surrogateescape")
            self._headers["Authorization"] = f"Basic {b64encode(said).decode()}"
        self._pool = urllib3.PoolManager(timeout=seconds, retries=False)

    def number(self, query: str) -> int:
        """Return the one value of a query, 0 if it has none."""
        series = self.series(query)
        with suppress(LookupError, TypeError, ValueError, OverflowError):
            return int(float(series[0]["value"][1]))
        return 0

    def series(self, query: str) -> list[Mapping[str, Any]]:
        """Return the samples of an instant query."""
        return _objects(self._get("/api/v1/query", {"query": query}).get("result"))

    def rules(self) -> tuple[frozenset[str], frozenset[str]] | tuple[None, None]:
        """Return the names of alerts and of recording rules; (None, None) where that is not to be had."""
        try:
            groups = self._get("/api/v1/rules", {}).get("groups")
        except SourceError as error:
            if error.reason == "unreachable":
                raise
            return None, None
        found = [rule for group in _objects(groups) for rule in _objects(group.get("rules"))]
        alerts, records = ([rule for rule in found if rule.get("type") == kind] for kind in ("alerting", "recording"))
        return frozenset(str(rule.get("name")) for rule in alerts), frozenset(str(rule.get("name")) for rule in records)

    def _get(self, path: str, query: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the `data` of an answer."""
        address = self._base + path
        try:
            answer = self._pool.request(
                "GET", address, fields=dict(query), headers=self._headers, preload_content=False, redirect=False
            )
            text = answer.read(_LONGEST, decode_content=True)
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise SourceError("unreachable", f"{self._base} cannot be reached: {shorten(str(error))}") from error
        if answer.status != HTTPStatus.OK:
            raise SourceError("server_error", f"{address} answers HTTP {answer.status}: {_words(text)}")
        with suppress(ValueError, RecursionError):
            body = json.loads(text)
            if isinstance(body, dict) and isinstance(body.get("data"), dict):
                data: Mapping[str, Any] = body["data"]
                return data
        raise SourceError("malformed", f"{address} is no Prometheus: {_words(text)}")


def _objects(raw: object) -> list[Mapping[str, Any]]:
    """Return the objects of a JSON list; anything else in it, or in its place, is left out."""
    return [one for one in raw if isinstance(one, dict)] if isinstance(raw, list) else []


def _words(text: bytes) -> str:
    return shorten(text.decode("utf-8", "replace"))
