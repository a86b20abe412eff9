"""The table of `vgpu-exporter top`: series in; rows, a JSON document and lines of text out.

Pure: the edges fetch (`sources/scrape.py`), the role draws (`roles/top.py`). What comes in was written by whoever can
name a pod, or who answers at the address: no figure that cannot be gets in (`samples`), no character that a terminal
would obey gets out (`shown`).
"""

from __future__ import annotations

from typing import Final

_LONGEST: Final = 256


def shown(text: str) -> str:
    """Return a text as it may stand on a terminal: one line of at most 256 characters of printable ASCII.

    The rest is escaped: no name in Kubernetes or of a GPU has any, and it can turn a line around or hide in it.
    """
    escaped = "".join(char if " " <= char <= "~" else ascii(char)[1:-1] for char in text[:_LONGEST])
    return escaped[:_LONGEST]
