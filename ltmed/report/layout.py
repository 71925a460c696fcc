"""Grids that are too wide for their place: text broken at blanks, and columns moved into further grids as a whole."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ltmed.report.shown import Grid, Shown

COMFORT = 20
"""Longer texts are broken at blanks, no narrower than this."""

_HELD = re.compile(r"\[[^\]]*\]|\([^)]*\)|\S+ ± \S+|p [=<] \S+")
"""What stays on one line: intervals, brackets, figures with their deviation, p values."""

Widths = Callable[[str, Sequence[Shown]], float]
"""(heading, cells) of a column -> its width."""


def lines(text: str, width: int) -> list[str]:
    """`text` broken at blanks into lines of at most `width` characters; what cannot be broken may be longer."""
    held = _HELD.sub(lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), text)
    broken = textwrap.wrap(held, max(width, 1), break_long_words=False, break_on_hyphens=False)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in broken] or [""]


def width(*texts: str) -> int:
    """Characters of a column for `texts`: those of the longest one, or as few as leave every word whole."""
    return max(min(COMFORT, max(map(len, texts))), *(len(line) for text in texts for line in lines(text, 1)))


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
