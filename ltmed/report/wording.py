"""Figures and names as a report prints them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ltmed.logging.console import SPELLING
from ltmed.runs.reader import Division

_OF_A_CLASS = {"f1": "F1", "auroc": "AUROC"}


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


def numbers(found: Sequence[int]) -> str:
    """`0 to 4`, or a list."""
    if len(found) > 2 and list(found) == list(range(found[0], found[-1] + 1)):
        return f"{found[0]} to {found[-1]}"
    return ", ".join(map(str, found))


def draw(seeds: tuple[int, ...]) -> str:
    """The split seeds of one division."""
    return "/".join(map(str, seeds))


def divisions(some: Iterable[Division], among: Iterable[Division]) -> str:
    """`folds 1, 2`: what tells `some` divisions apart from all those of a column."""
    some, among = sorted(some), set(among)
    if len({one.draw for one in among}) < 2:
        return f"fold{'s' * (len(some) > 1)} {numbers([one.fold for one in some])}"
    if len({one.fold for one in among}) < 2:
        return f"split seed{'s' * (len(some) > 1)} {', '.join(draw(one.draw) for one in some)}"
    return ", ".join(f"fold {one.fold} of split seed {draw(one.draw)}" for one in some)
