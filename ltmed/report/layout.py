"""Grids that are too wide for their place: text broken at blanks, and columns moved into further grids as a whole."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ltmed.report.shown import Grid, Shown

_HELD = re.compile(r"without \S+ \S+|\[[^\]]*\]|\([^)]*\)|\S+ ± \S+|p [=<] \S+")
"""What stays on one line: intervals, brackets, figures with their deviation, p values."""

Widths = Callable[[str, Sequence[Shown]], float]
"""(heading, cells) of a column -> its width."""


def lines(text: str, width: int) -> list[str]:
    """`text` broken at blanks into lines of at most `width` characters; what cannot be broken may be longer."""
    held = _HELD.sub(lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), text)
    whole = held.split("\n")
    broken = (textwrap.wrap(one, max(width, 1), break_long_words=False, break_on_hyphens=False) for one in whole)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for lines in broken for line in lines] or [""]


def width(comfort: int, *texts: str) -> int:
    """Characters of a column for `texts`: those of the longest one, of long ones `comfort`, and room for every word."""
    whole = max(len(line) for text in texts for line in text.split("\n"))
    return max(min(comfort, whole), *(len(line) for text in texts for line in lines(text, 1)))


def divided(grid: Grid, room: float, width_of: Widths, label: float) -> Iterator[Grid]:
    """The grid as one or several, each with all rows, as many whole columns as fit, and at least one.

    Args:
        grid: to be laid out.
        room: for a whole line.
        width_of: a column's width, with what stands between columns.
        label: width of the rows' names.
    """
    parts: list[list[int]] = [[]]
    used = label
    for number, heading in enumerate(grid.headings):
        wide = width_of(heading, [cells[number] for _, cells in grid.rows])
        if parts[-1] and used + wide > room:
            parts.append([])
            used = label
        parts[-1].append(number)
        used += wide
    for place, numbers in enumerate(parts, 1):
        yield replace(
            grid,
            title=grid.title + (f" ({place} of {len(parts)})" if len(parts) > 1 else ""),
            headings=tuple(grid.headings[number] for number in numbers),
            rows=tuple((row, tuple(cells[number] for number in numbers)) for row, cells in grid.rows),
            notes=grid.notes if place == len(parts) else (),
        )
