"""How a row is cut into columns: which fit, how wide they are, and what figures look like in them."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNITS: Final = "KMGTPE"
_MOST_PERCENT: Final = 999


class Column(NamedTuple):
    """A column: its title, the width it must have, the width it can use, and whether it is aligned to the right."""

    title: str
    least: int
    most: int
    right: bool = False


WHO: Final = Column("GPU, WHO", 24, 64)
TENANT: Final = Column("TENANT", 12, 16)
BAR: Final = Column("OF PHYSICAL", 11, 32)
USED: Final = Column("MEMORY", 7, 7, right=True)
GRANTED: Final = Column("GRANTED", 7, 7, right=True)
CORES: Final = Column("CORES", 5, 5, right=True)
CORES_GRANTED: Final = Column("GRANT", 5, 5, right=True)
PROCESSES: Final = Column("PROC", 4, 4, right=True)
REMARK: Final = Column("", 13, 26)

_IN_ORDER: Final = (WHO, TENANT, BAR, USED, GRANTED, CORES, CORES_GRANTED, PROCESSES, REMARK)
#: The last is the first to go.
_BY_IMPORTANCE: Final = (WHO, USED, GRANTED, CORES, REMARK, CORES_GRANTED, BAR, TENANT, PROCESSES)


def layout(width: int, longest: int, *, tenants: bool) -> Mapping[Column, int]:
    """Return the columns that fit into a line with one blank between them, and their widths.

    What is left of the line goes to who, as far as the `longest` name needs it, then to the remark, then to the bar.
    `tenants`: there is something to tell besides namespaces.
    """
    wanted = [column for column in _BY_IMPORTANCE if tenants or column is not TENANT]
    ends = accumulate(column.least + 1 for column in wanted)
    fit = wanted[: sum(end - 1 <= width for end in ends)] or [WHO]
    widths = {column: column.least for column in sorted(fit, key=_IN_ORDER.index)}
    left = width - sum(widths.values()) - len(widths) + 1
    for column, most in ((WHO, min(longest, WHO.most)), (REMARK, REMARK.most), (BAR, BAR.most)):
        if column in widths:
            more = min(left, max(most - column.least, 0))
            widths[column] = max(widths[column] + more, 1)
            left -= more
    return widths


def fitted(text: str, column: Column, width: int, gap: str) -> str:
    """Return a text of exactly this width; one that is too long loses its end to `gap`, a name its middle."""
    if len(text) > width:
        tail = (width - len(gap)) // 2 if column is WHO else 0
        text = text[: max(width - len(gap) - tail, 0)] + gap + text[len(text) - tail :]
        text = text[:width]
    return text.rjust(width) if column.right else text.ljust(width)


def amount(value: float | None) -> str:
    """Return bytes in at most seven characters, by powers of 1024; "-" for None."""
    if value is None:
        return "-"
    power = min(int(math.log2(value) // 10), len(_UNITS)) if value >= 1 else 0
    if power == 0:
        return f"{value:.0f}B"
    scaled = value / 2 ** (10 * power)
    return f"{scaled:.1f}{_UNITS[power - 1]}" if scaled < 2**10 else f">1024{_UNITS[-1]}"


def percent(value: float | None) -> str:
    """Return a ratio in at most five characters; "-" for None."""
    if value is None:
        return "-"
    if 0 < value < 0.005:  # noqa: PLR2004  what would look like nothing
        return "<1%"
    return f"{value:.0%}" if value * 100 <= _MOST_PERCENT else f">{_MOST_PERCENT}%"
