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
        return json.dumps(line, ensure_ascii=False)


class TextLines(logging.Formatter):
    """`2026-11-22 03:00:00 WARNING message`; control characters that a tenant put into a name are shown escaped."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return "\n".join(
            "".join(char if char.isprintable() else repr(char)[1:-1] for char in part) for part in line.split("\n")
        )


def configure(log_format: str, log_level: str) -> None:
    """Send the program's log to standard error in the given format, from the given level on."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonLines() if log_format == "json" else TextLines("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(log_level.upper())
