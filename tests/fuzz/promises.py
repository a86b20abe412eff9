"""What every parser promises alike."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

    from exporter.errors import ExporterError

#: The most characters of an error's sentence: two shortened texts, each character escaped, and the words between.
_LONGEST_SENTENCE: Final = 3000
_LABEL: Final = re.compile(r"[^\ud800-\udfff]*", re.DOTALL)


def refused(error: ExporterError, reasons: Collection[str] = ("",)) -> None:
    """Hold an error to its promise: one line for people, whatever the text was, and a reason of the closed list."""
    assert getattr(error, "reason", "") in reasons
    sentence = str(error)
    assert 0 < len(sentence) <= _LONGEST_SENTENCE, len(sentence)
    assert sentence.isprintable(), sentence


def can_be_a_label(text: str) -> bool:
    """Tell whether a text can be written as UTF-8, as every label is."""
    return _LABEL.fullmatch(text) is not None
