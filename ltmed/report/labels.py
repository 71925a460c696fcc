"""The shortest words that tell settings apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

Settings = dict[str, Any]
"""Flat `{dotted key: value}`, as `ltmed.runs.directory.identity` gives it."""


def distinguishing(groups: Sequence[Sequence[Settings]]) -> list[str]:
    """The keys that tell apart all different settings of each group; settings of two groups need not differ.

    Greedy: the key that separates most of what is not yet told apart comes first, of equals one that all settings have
    (`loss` rather than an argument of one of the losses), nearest to the top of the configuration, a choice, the
    shortest. What follows from another key (`augment.crop.size` from `image_size`) is so left out.
    """
    pairs = [pair for group in groups for pair in combinations(group, 2) if pair[0] != pair[1]]
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


def words(settings: Settings, keys: Sequence[str]) -> str:
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
