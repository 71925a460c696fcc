"""Text of a report: numbers, names, settings that distinguish rows, and the division of grids that are too wide."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from ltmed.logging.console import DISPLAY_NAMES
from ltmed.report.model import FormattedCell, Grid
from ltmed.runs.division import Division

_OF_A_CLASS = {"f1": "F1", "auroc": "AUROC"}
_UNBROKEN = re.compile(r"without \S+ \S+|\[[^\]]*\]|\([^)]*\)|\S+ ± \S+|p [=<] \S+")
"""Text without line breaks: intervals, brackets, figures with their deviation, p values."""
Settings = dict[str, Any]
_MISSING = object()
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
    """The display name of a metric."""
    return _OF_A_CLASS.get(metric) or DISPLAY_NAMES.get(metric, metric.replace("_", " "))


def number_list(numbers: Sequence[int]) -> str:
    """`0 to 4`, or a list."""
    if len(numbers) > 2 and list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))


def split_seed(division: Division) -> str:
    """The split seeds of one division, those that do not choose its test images by name: `0`, `0/val_seed=1`."""
    others = (f"{key.removeprefix('split.')}={value}" for key, value in division.other_seeds)
    return "/".join([*(str(value) for _, value in division.split_seeds), *others])


def division_names(divisions: Iterable[Division], among: Iterable[Division]) -> str:
    """`folds 1, 2`: what distinguishes `divisions` among all those of a column."""
    divisions, among = sorted(divisions), set(among)
    if len({division.seeds for division in among}) < 2:
        return f"fold{'s' * (len(divisions) > 1)} {number_list([division.fold for division in divisions])}"
    if len({division.fold for division in among}) < 2:
        seeds = ", ".join(split_seed(division) for division in divisions)
        return f"split seed{'s' * (len(divisions) > 1)} {seeds}"
    return ", ".join(f"fold {division.fold} of split seed {split_seed(division)}" for division in divisions)


# --- settings ---------------------------------------------------------------------------------------------------------


def distinguishing_keys(groups: Sequence[Sequence[Settings]]) -> list[str]:
    """The keys that distinguish all different settings of each group; settings of two groups need not differ.

    Greedy: the key that separates most of what is not yet distinguished comes first, of equals one that all settings
    have (`loss` rather than an argument of one of the losses), nearest to the top of the configuration, a choice, the
    shortest. Keys that follow from another one (`augment.crop.size` from `image_size`) are thus left out.
    """
    pairs = [pair for group in groups for pair in combinations(group, 2) if pair[0] != pair[1]]
    settings_of_pairs = [settings for pair in pairs for settings in pair]

    def order(key: str) -> tuple[bool, int, bool, int, str]:
        return (
            any(key not in settings for settings in settings_of_pairs),
            key.count("."),
            not key.endswith("._target_"),
            len(key),
            key,
        )

    candidates = sorted({key for settings in settings_of_pairs for key in settings}, key=order)
    selected: list[str] = []
    while pairs:
        key = max(candidates, key=lambda k: sum(_differ(k, *pair) for pair in pairs))
        selected.append(key)
        pairs = [pair for pair in pairs if not _differ(key, *pair)]
    return selected


def settings_text(settings: Settings, keys: Sequence[str]) -> str:
    """`key=value` of each key, separated by commas; keys and import paths are cut to what is needed."""
    return ", ".join(f"{_short(key, settings)}={_value(key, settings)}" for key in keys)


def _differ(key: str, one: Settings, other: Settings) -> bool:
    return one.get(key, _MISSING) != other.get(key, _MISSING)


def _short(key: str, settings: Settings) -> str:
    """The shortest ending of the key that no other key has."""
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
    if key not in settings:
        return "unset"
    value = settings[key]
    if isinstance(value, str):
        return value.rpartition(".")[2] if value.startswith(("ltmed.", "torch.", "lightning.")) else value
    if isinstance(value, float):
        return f"{value:g}"
    return "null" if value is None else str(value)


# --- grids ------------------------------------------------------------------------------------------------------------


def wrap(text: str, width: int) -> list[str]:
    """`text` broken at blanks into lines of at most `width` characters; what cannot be broken may be longer."""
    unbroken = _UNBROKEN.sub(lambda match: match[0].replace(" ", "\N{NO-BREAK SPACE}"), text)
    whole = unbroken.split("\n")
    broken = (textwrap.wrap(line, max(width, 1), break_long_words=False, break_on_hyphens=False) for line in whole)
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
        width_of: a column's width, with the gap between columns.
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
    for part_number, numbers in enumerate(parts, 1):
        yield replace(
            grid,
            title=grid.title + (f" ({part_number} of {len(parts)})" if len(parts) > 1 else ""),
            headings=tuple(grid.headings[number] for number in numbers),
            rows=tuple((row, tuple(cells[number] for number in numbers)) for row, cells in grid.rows),
            notes=grid.notes if part_number == len(parts) else (),
        )
