"""The column of a table that says what an XID code means, and leads to NVIDIA's page on it."""

from __future__ import annotations

from typing import Final

from dashboards import fields as f
from dashboards.fields import Column
from exporter.xids import KNOWN

_PAGES: Final = {"title": "What XIDs mean", "url": "https://docs.nvidia.com/deploy/xid-errors/", "targetBlank": True}
_MEANINGS: Final = f.words({str(code): (f"{code}: {meaning}", f.NEUTRAL) for code, meaning in KNOWN.items()})

XID: Final = Column(field="xid", title="XID", link=_PAGES, mappings=tuple(_MEANINGS))
