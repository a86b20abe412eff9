"""Log lines: one a message, and nothing in them that a terminal would obey."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.logs import JsonLines, TextLines, printable

#: A pod's name as an attacker would like it: colours, a title, an 8-bit CSI, a bidi override, a line of its own.
HOSTILE = "model\x1b[31m\x1b]0;owned\x07\x9b2J\u202e\r\n2026-01-01 00:00:00 ERROR all is lost\u2028\x00\x7f\ud800"

formats = pytest.mark.parametrize("formatter", [TextLines(), JsonLines()], ids=["text", "json"])


def written(formatter: logging.Formatter, message: str, *arguments: object, error: Exception | None = None) -> str:
    """Return what a handler with this formatter writes for a warning."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    trace = (type(error), error, error.__traceback__) if error else None
    handler.handle(logging.LogRecord("exporter.test", logging.WARNING, __file__, 1, message, arguments, trace))
    return stream.getvalue()


def raised(message: str) -> Exception:
    """Return an exception that was really raised, with a text of somebody else's."""
    with pytest.raises(ValueError, match="model") as caught:
        fail(message)
    return caught.value


def fail(message: str) -> None:
    """Fail with a message."""
    raise ValueError(message)


def test_a_text_line_is_time_level_and_message() -> None:
    """A line for people begins with the time and the level."""
    line = written(TextLines(), "could not place %s: %s", "7", "pod_unknown")

    assert line[:19].replace("-", "").replace(":", "").replace(" ", "").isdigit()
    assert line[19:] == " WARNING could not place 7: pod_unknown\n"


def test_a_json_line_is_one_object() -> None:
    """A line for machines holds time, level, logger and message, and no traceback where there is none."""
    line = json.loads(written(JsonLines(), "could not place %s", "7"))

    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "warning", "logger": "exporter.test", "message": "could not place 7"}


@formats
def test_what_a_tenant_wrote_stays_on_one_line_of_printable_characters(formatter: logging.Formatter) -> None:
    """Escape sequences, control characters, line ends and bidi marks in a name arrive escaped, the rest as it was."""
    line = written(formatter, "could not place %s", HOSTILE)

    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert "could not place model" in line


def test_json_gives_back_what_was_logged() -> None:
    """Escaping loses nothing: who parses the JSON gets the message to the character."""
    assert json.loads(written(JsonLines(), "%s", HOSTILE))["message"] == HOSTILE


def test_text_keeps_what_prints() -> None:
    """Names in any script stay readable."""
    assert written(TextLines(), "模型 größer").endswith("模型 größer\n")


def test_a_text_traceback_is_indented_and_escaped() -> None:
    """A traceback follows its line, indented, so that no text in it can pass for a log line or move the cursor."""
    first, *rest = written(TextLines(), "a tick failed", error=raised(HOSTILE)).splitlines()

    assert first.endswith("WARNING a tick failed")
    assert rest[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") and line.isprintable() for line in rest)
    assert "ValueError: model\\x1b[31m" in rest[-2]


def test_a_json_traceback_is_a_field() -> None:
    """A traceback is a field of the line's object, still on that line."""
    text = written(JsonLines(), "a tick failed", error=raised(HOSTILE))

    assert text[:-1].isprintable()
    assert json.loads(text)["traceback"].startswith("Traceback (most recent call last):\n")
    assert json.loads(text)["traceback"].endswith("ValueError: " + HOSTILE)


@given(st.text())
def test_whatever_is_logged_prints(text: str) -> None:
    """No text at all keeps a character that does not print."""
    assert printable(text).isprintable()


@pytest.mark.parametrize(("log_format", "lines"), [("text", 2), ("json", 2)])
def test_a_configured_program_logs_to_standard_error_from_its_level_on(log_format: str, lines: int) -> None:
    """`configure` sends messages from the level on to standard error in the format, once even if called again."""
    program = f"""
import logging
from exporter import logs
logs.configure("text", "debug")
logs.configure({log_format!r}, "warning")
log = logging.getLogger("exporter.x")
log.info("not shown")
log.warning("shown %s", "\\x1b[2J")
log.error("shown too")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == lines
    assert "\x1b" not in done.stderr
    assert "not shown" not in done.stderr
