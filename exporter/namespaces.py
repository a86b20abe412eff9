"""A v1.Namespace's JSON → who owns it."""

from __future__ import annotations

import re
from typing import Final

from exporter import manifest
from exporter.errors import ManifestError, shorten
from exporter.quota_model import Namespace

#: What the API server admits as a label's value; a namespace's name is one, too.
_VALUE: Final = re.compile(r"[a-zA-Z0-9](?:[-_.a-zA-Z0-9]{0,61}[a-zA-Z0-9])?")


def namespace(raw: object, *, tenant_label: str = "") -> Namespace:
    """Return one v1.Namespace, as `json.loads` gives it; its tenant is that label's value, else its name.

    Raises ManifestError if it has no name, and nothing else.
    """
    metadata = raw.get("metadata") if isinstance(raw, dict) else None
    if not isinstance(metadata, dict) or not (name := _value(metadata.get("name"))):
        raise ManifestError(f"The namespace {shorten(manifest.key(raw))} lacks a name: it is left out.")
    labels = metadata.get("labels")
    tenant = _value(labels.get(tenant_label)) if tenant_label and isinstance(labels, dict) else ""
    return Namespace(name, tenant or name)


def _value(raw: object) -> str:
    """Return a text that can be a label's value, "" for anything else."""
    return raw if isinstance(raw, str) and _VALUE.fullmatch(raw) else ""
