"""Text of a report: numbers, names, settings that distinguish rows, and grids that are too wide for their place."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from ltmed.logging.console import SPELLING
from ltmed.report.model import FormattedCell, Grid
from ltmed.runs.reader import Division

_OF_A_CLASS = {"f1": "F1", "auroc": "AUROC"}
_UNBROKEN = re.compile(r"without \S+ \S+|\[[^\]]*\]|\([^)]*\)|\S+ ± \S+|p [=<] \S+")
"""What stays on one line: intervals, brackets, figures with their deviation, p values."""
Settings = dict[str, Any]
"""Flat `{dotted key: value}`, as `ltmed.runs.directory.identity` gives it."""
Widths = Callable[[str, Sequence[FormattedCell]], float]
"""(heading, cells) of a column -> its width."""


# --- numbers and names ------------------------------------------------------------------------------------------------


def percent(value: float) -> str:
    """One decimal, and no minus before a zero."""
    text = f"{100 * value:.1f}"
    return text.removeprefix("-") if float(text) == 0 else text


def signed(value: float) -> str:
    """The same with its sign."""
    text = percent(value)
    return text if text.startswith("-") else f"+{text}"


def p_value(p: float) -> str:
    """Three decimals; small ones as a bound."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def duration(seconds: float) -> str:
    """`45 s`, `12 min` or `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def metric_name(metric: str) -> str:
    """As people write it."""
    return _OF_A_CLASS.get(metric) or SPELLING.get(metric, metric.replace("_", " "))


def number_list(found: Sequence[int]) -> str:
    """`0 to 4`, or a list."""
    if len(found) > 2 and list(found) == list(range(found[0], found[-1] + 1)):
        return f"{found[0]} to {found[-1]}"
    return ", ".join(map(str, found))


def split_seed(seeds: tuple[int, ...]) -> str:
    """The split seeds of one division."""
    return "/".join(map(str, seeds))


def division_names(some: Iterable[Division], among: Iterable[Division]) -> str:
    """`folds 1, 2`: what tells `some` divisions apart from all those of a column."""
    some, among = sorted(some), set(among)
    if len({one.draw for one in among}) < 2:
        return f"fold{'s' * (len(some) > 1)} {number_list([one.fold for one in some])}"
    if len({one.fold for one in among}) < 2:
        return f"split seed{'s' * (len(some) > 1)} {', '.join(split_seed(one.draw) for one in some)}"
    return ", ".join(f"fold {one.fold} of split seed {split_seed(one.draw)}" for one in some)


# --- settings ---------------------------------------------------------------------------------------------------------


def distinguishing_keys(groups: Sequence[Sequence[Settings]]) -> list[str]:
    """The keys that distinguish all different settings of each group; settings of two groups need not differ.

    A setting that is None counts as missing. Greedy: the key that separates most of what is not yet distinguished comes
    first, of equals one that all settings have (`loss` rather than an argument of one of the losses), nearest to the
    top of the configuration, a choice, the shortest. What follows from another key (`augment.crop.size` from
    `image_size`) is so left out.
    """
    pairs = [
        (one, other)
        for group in groups
        for one, other in combinations(group, 2)
        if any(_differ(key, one, other) for key in {**one, **other})
    ]
    ones = [one for pair in pairs for one in pair]

    def order(key: str) -> tuple[bool, int, bool, int, str]:
        return any(key not in one for one in ones), key.count("."), not key.endswith("._target_"), len(key), key

    known = sorted({key for one in ones for key in one}, key=order)
    chosen: list[str] = []
    while pairs:
        key = max(known, key=lambda k: sum(_differ(k, *pair) for pair in pairs))
        chosen.append(key)
        pairs = [pair for pair in pairs if not _differ(key, *pair)]
    return chosen


def settings_text(settings: Settings, keys: Sequence[str]) -> str:
    """`key=value` of each key, separated by commas; keys and import paths are cut to what is needed."""
    return ", ".join(f"{_short(key, settings)}={_value(key, settings)}" for key in keys)


def _differ(key: str, one: Settings, other: Settings) -> bool:
    return one.get(key) != other.get(key)


def _short(key: str, settings: Settings) -> str:
    """The fewest last parts of the key that no other key ends in."""
    parts = key.split(".")
    for number in range(1, len(parts)):
        tail = ".".join(parts[-number:])
        if tail != "_target_" and not any(other == tail or other.endswith(f".{tail}") for other in {*settings} - {key}):
            return tail.removesuffix("._target_")
    return key.removesuffix("._target_")


def _value(key: str, settings: Settings) -> str:
    below = {k.removeprefix(f"{key}."): v for k, v in settings.items() if k.startswith(f"{key}.")}
    if below:  # One value for all in one run, a map in another.
        return "{" + ", ".join(f"{k}: {v}" for k, v in below.items()) + "}"
    value = settings.get(key)
    if isinstance(value, str):
        return value.rpartition(".")[2] if value.startswith(("ltmed.", "torch.", "lightning.")) else value
    if isinstance(value, float):
        return f"{value:g}"
    return "null" if value is None else str(value)


# --- grids ------------------------------------------------------------------------------------------------------------


def wrap(text: str, width: int) -> list[str]:
    """`text` broken at blanks into lines of at most `width` characters; what cannot be broken may be longer."""
    unbroken = _UNBROKEN.sub(lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), text)
    whole = unbroken.split("\n")
    broken = (textwrap.wrap(one, max(width, 1), break_long_words=False, break_on_hyphens=False) for one in whole)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for part in broken for line in part] or [""]


def width(comfort: int, *texts: str) -> int:
    """Characters of a column for `texts`: those of the longest one, of long ones `comfort`, and room for every word."""
    whole = max(len(line) for text in texts for line in text.split("\n"))
    return max(min(comfort, whole), *(len(line) for text in texts for line in wrap(text, 1)))


def divide(grid: Grid, room: float, width_of: Widths, label: float) -> Iterator[Grid]:
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
