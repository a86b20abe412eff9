"""The picture of docs/attribution.md: `python -m tools.picture_attribution [--check]`.

One process followed from the driver's answer to the series that it ends in. Boxes in rows, arrows straight down: drawn
here rather than by a program, so that a change of a word is a change of a line.
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PICTURE: Final = Path(__file__).parents[1] / "docs" / "images" / "attribution.svg"

_WIDTH: Final = 1000
_MARGIN: Final = 20
_GAP: Final = 20
_TITLE: Final = 26
_LINE: Final = 19
_BETWEEN: Final = 44


class Box(NamedTuple):
    """A titled box: what is in it, and the colour of its edge."""

    title: str
    lines: tuple[str, ...]
    edge: str = "#57606a"


_SOURCE, _JOIN, _KNOWN, _NOBODY = "#0969da", "#8250df", "#1a7f37", "#9a6700"

#: Rows from top to bottom; the boxes of a row share its width.
ROWS: Final[tuple[tuple[Box, ...], ...]] = (
    (
        Box("driver (NVML)", ("GPU-11cf…, PID 4242:", "1618 MiB", "and whose core time"), _SOURCE),
        Box("/proc/4242", ("cgroup: pod 3f2a…,", "container 9c41…", "start time: is it still the same?"), _SOURCE),
        Box("API server", ("3f2a… is xinference/worker-0", "granted 2304 MiB, 20 %", "and asked for as much"), _SOURCE),
        Box("HAMi-core's region", ("limit 2304 MiB", "counted 1618 MiB", "knows PID 4242"), _SOURCE),
    ),
    (
        Box(
            "join: whose is it?",
            ("The outermost pod that the cgroup names. Whoever began after the driver's answer is not charged.",),
            _JOIN,
        ),
    ),
    (
        Box(
            "a container",
            ("used 1618 MiB, beside granted, limit and counted", "uncounted: what its region does not know"),
            _KNOWN,
        ),
        Box(
            "nobody's, with a reason",
            ("host, unknown_pod, unknown_process,", "unlisted (memory), mps (core time)"),
            _NOBODY,
        ),
    ),
    (
        Box(
            "accounts and snapshot, once a second: /metrics only reads it",
            ("used + overcounted = attributed + sum of unattributed, to the byte",),
        ),
    ),
)


def picture() -> str:
    """Return the SVG's text."""
    body, top = [], _MARGIN
    for row, boxes in enumerate(ROWS):
        height = _TITLE + _LINE * max(len(box.lines) for box in boxes) + 14
        body += [text for box, left, width in _placed(boxes) for text in _box(box, left, top, width, height)]
        if row + 1 < len(ROWS):
            body += _arrows(boxes, ROWS[row + 1], top + height)
        top += height + _BETWEEN
    height = top - _BETWEEN + _MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" '
    )
    return "\n".join(
        [
            head + 'font-family="system-ui, sans-serif" font-size="14" role="img">',
            "<title>How the exporter finds out whose a process is</title>",
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            *body,
            "</svg>\n",
        ]
    )


def _placed(boxes: Sequence[Box]) -> Iterator[tuple[Box, int, int]]:
    """Yield each box of a row with its left edge and its width."""
    width = (_WIDTH - 2 * _MARGIN - _GAP * (len(boxes) - 1)) // len(boxes)
    for place, box in enumerate(boxes):
        yield box, _MARGIN + place * (width + _GAP), width


def _box(box: Box, left: int, top: int, width: int, height: int) -> Iterator[str]:
    yield (
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="6" fill="#f6f8fa" stroke="{box.edge}" '
        'stroke-width="2"/>'
    )
    yield _text(left + width // 2, top + _TITLE - 4, box.title, f'font-weight="600" fill="{box.edge}"')
    for place, line in enumerate(box.lines, start=1):
        yield _text(left + width // 2, top + _TITLE + _LINE * place, line, 'fill="#1f2328"')


def _text(middle: int, baseline: int, text: str, look: str) -> str:
    return f'<text x="{middle}" y="{baseline}" text-anchor="middle" {look}>{escape(text)}</text>'


def _arrows(upper: Sequence[Box], lower: Sequence[Box], top: int) -> Iterator[str]:
    """Yield an arrow for each box of the fuller row, straight down into the other row."""
    fuller = max(upper, lower, key=len)
    for _, left, width in _placed(fuller):
        middle, tip = left + width // 2, top + _BETWEEN - 4
        yield f'<path d="M{middle} {top + 4}V{tip - 7}" stroke="#57606a" stroke-width="2"/>'
        yield f'<path d="M{middle - 6} {tip - 9}h12l-6 9z" fill="#57606a"/>'


def main(arguments: Sequence[str]) -> int:
    """Write the picture; with `--check` return 1 if it is not what would be written."""
    if arguments == ["--check"]:
        return int(PICTURE.read_text(encoding="utf-8") != picture())
    PICTURE.write_text(picture(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
