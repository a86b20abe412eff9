"""A ResourceQuota's JSON → `quota_model.Quota`; and which resources quotas name, in which units.

A resource stands in a quota as `limits.<name>`, `requests.<name>` or bare. Kubernetes itself counts `requests.` of
accelerators only, and without the number of devices; HAMi reads `limits.` only, of memory and cores
(hami-contract.md 4). We take each spelling as what its author meant, and of several in one object the strictest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from exporter.errors import ManifestError, shorten
from exporter.quantity import number, whole_number
from exporter.quota_model import Quota, Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from exporter.hami.families import Family
    from exporter.quota_model import Measure

#: The only spelling that HAMi reads.
_LIMITS: Final = "limits."
_PREFIXES: Final = (_LIMITS, "requests.")
#: HAMi has quotas since 2.7.0, when all its annotations were under this domain; Volcano's scheduler has none.
_HAMI: Final = "hami.io/"
_INT64: Final = 2**63
#: Digits of a resourceVersion: it is a uint64.
_LONGEST_VERSION: Final = 20


class Resource(NamedTuple):
    """A resource that quotas name: what it measures, and the family that it is of."""

    measure: Measure
    family: Family

    @property
    def recorded(self) -> bool:
        """Whether the annotation's figures have a known unit, so that what is granted of it can be known."""
        return self.granted(0) is not None

    @property
    def hami(self) -> bool:
        """Whether HAMi's own quotas know it."""
        return self.measure != "devices" and by_hami(self.family)

    def asked(self, amount: float) -> float | None:
        """Return in base units what quotas and requests write as `amount`; None where the unit is not known."""
        return self._base(amount, self.family.asked_memory_unit, self.family.asked_core_units)

    def granted(self, amount: float) -> float | None:
        """Return in base units what HAMi's annotation writes as `amount`; None where the unit is not known."""
        return self._base(amount, self.family.memory_unit, self.family.core_units)

    def _base(self, amount: float, bytes_each: int | None, whole: int | None) -> float | None:
        if self.measure == "memory":
            return None if bytes_each is None else float(amount * bytes_each)
        if self.measure == "core":
            return None if whole is None else amount / whole
        return float(amount)


def by_hami(family: Family) -> bool:
    """Tell whether a HAMi that has quotas counts what the family's annotation says."""
    return family.allocated.startswith(_HAMI)


def resources(families: Iterable[Family]) -> dict[str, Resource]:
    """Return every resource that a quota can name, by its bare name; of families that share one the first counts."""
    known: dict[str, Resource] = {}
    for family in families:
        known.setdefault(family.count, Resource("devices", family))
        if family.memory:
            known.setdefault(family.memory, Resource("memory", family))
        if family.cores:
            known.setdefault(family.cores, Resource("core", family))
    return known


def quota(raw: object, families: Iterable[Family]) -> Quota | None:
    """Return one v1.ResourceQuota, as `json.loads` gives it, cut down; None if it names none of the resources.

    An amount is read as Kubernetes reads it, so `16Gi` of a resource in MiB is 17179869184 MiB. One that is negative or
    no number, or of a resource whose unit is not known, costs itself only: its key is `unreadable`.

    Raises ManifestError if namespace or name is missing, and nothing else.
    """
    body = _mapping(raw)
    metadata, spec, status = (_mapping(body.get(part)) for part in ("metadata", "spec", "status"))
    namespace, name = _name(metadata.get("namespace")), _name(metadata.get("name"))
    if not (namespace and name):
        given = shorten(f"{metadata.get('namespace')}/{metadata.get('name')}")
        raise ManifestError(f"The quota {given} lacks a name or a namespace: it is left out.")
    known = resources(families)
    written = _of_interest(_mapping(spec.get("hard")), known)
    if not written:
        return None
    hard = _amounts(written, known)
    used = _amounts(_of_interest(_mapping(status.get("used")), known), known)
    return Quota(
        namespace=namespace,
        name=name,
        version=_version(metadata.get("resourceVersion")),
        hard=_by_resource(hard, min),
        used=_by_resource(used, max),
        hami=_as_hami(written, known),
        scopes=_scopes(spec),
        unreadable=tuple(sorted(written.keys() - hard.keys())),
    )


# ---------------------------------------------------------------- amounts


def _bare(key: str) -> str:
    """Return the resource that a key names, whichever its spelling."""
    prefix = next((prefix for prefix in _PREFIXES if key.startswith(prefix)), "")
    return key.removeprefix(prefix)


def _of_interest(written: Mapping[str, object], known: Mapping[str, Resource]) -> dict[str, object]:
    return {key: amount for key, amount in written.items() if _bare(key) in known}


def _amounts(written: Mapping[str, object], known: Mapping[str, Resource]) -> dict[str, float]:
    """Return the amounts that can be read, by key, in base units."""
    numbers = {key: number(amount) for key, amount in written.items()}
    amounts = {key: known[_bare(key)].asked(amount) for key, amount in numbers.items() if amount is not None}
    return {key: amount for key, amount in amounts.items() if amount is not None}


def _by_resource(amounts: Mapping[str, float], choose: Callable[[float, float], float]) -> dict[str, float]:
    """Return one amount by resource; `choose` decides between those of its spellings."""
    chosen: dict[str, float] = {}
    for key, amount in amounts.items():
        resource = _bare(key)
        chosen[resource] = choose(chosen.get(resource, amount), amount)
    return chosen


def _as_hami(written: Mapping[str, object], known: Mapping[str, Resource]) -> dict[str, int]:
    """Return what HAMi reads of it: whole numbers that fit an int64 (Go's `AsInt64`), and 0 is one."""
    keys = [key for key in written if key.startswith(_LIMITS) and known[_bare(key)].hami]
    numbers = {_bare(key): whole_number(written[key]) for key in keys}
    return {resource: amount for resource, amount in numbers.items() if amount is not None and amount < _INT64}


# ---------------------------------------------------------------- scopes


def _scopes(spec: Mapping[str, object]) -> tuple[Scope, ...]:
    """Return both kinds; what cannot be read stays, as one that nobody knows: without it the quota would be wider."""
    expressions = _sequence(_mapping(spec.get("scopeSelector")).get("matchExpressions"))
    return (
        *[Scope(_text(name)) for name in _sequence(spec.get("scopes"))],
        *[_expression(_mapping(expression)) for expression in expressions],
    )


def _expression(raw: Mapping[str, object]) -> Scope:
    values = tuple(_text(value) for value in _sequence(raw.get("values")))
    return Scope(_text(raw.get("scopeName")), _text(raw.get("operator")), values)


# ---------------------------------------------------------------- values of the promised type, or nothing


def _version(raw: object) -> int:
    """Return the resourceVersion, which only orders changes; 0 where it is no number."""
    text = _text(raw)
    return int(text) if len(text) <= _LONGEST_VERSION and text.isascii() and text.isdigit() else 0


def _name(raw: object) -> str:
    """Return the name of an object, which has ASCII letters only."""
    return text if (text := _text(raw)).isascii() else ""


def _mapping(raw: object) -> Mapping[str, object]:
    return raw if isinstance(raw, dict) else {}


def _sequence(raw: object) -> list[object]:
    return raw if isinstance(raw, list) else []


def _text(raw: object) -> str:
    return raw if isinstance(raw, str) else ""
