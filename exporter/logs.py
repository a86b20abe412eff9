"""How log lines look: for people, or one JSON object a line."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from typing_extensions import override


class JsonLines(logging.Formatter):
    """One JSON object a line: time (RFC 3339), level, logger, message, and the traceback where there is one."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)  # all ASCII: what a terminal would obey is escaped, beyond the control characters too


class TextLines(logging.Formatter):
    """`2026-11-22 03:00:00 WARNING message`, and the traceback indented below where there is one.

    A message stays one line, and what a tenant put into a name reaches no terminal: see `printable`.
    """

    @override
    def format(self, record: logging.LogRecord) -> str:
        line = f"{self.formatTime(record, '%Y-%m-%d %H:%M:%S')} {record.levelname} {printable(record.getMessage())}"
        traceback = self.formatException(record.exc_info).split("\n") if record.exc_info else []
        return "\n    ".join([line, *map(printable, traceback)])


def printable(text: str) -> str:
    """Return `text` with line ends, control characters and whatever else does not print shown escaped."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def configure(log_format: str, log_level: str) -> None:
    """Send the program's log to standard error in the given format, from the given level on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(log_level.upper())
