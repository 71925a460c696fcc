"""Which part of the images a run was tested on: its fold, and the seeds that the images were divided with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

Seeds = tuple[tuple[str, int | str], ...]
"""(dotted key, value), sorted by key; text is a hash that stands for unknown seeds."""

_OWN_TEST_PART = ("ltmed.data.splits.protocols.official", "ltmed.data.splits.split_file.from_file")
"""Splits whose test part is given, so that their seed selects validation images only."""
_SUBSAMPLED = "ltmed.data.splits.imbalance.long_tailed"


class Division(NamedTuple):
    """Identifies the parts of a run's data within a protocol: all runs of one division have the same images in each."""

    fold: int
    split_seeds: Seeds = ()
    """Seeds that the test images depend on."""
    other_seeds: Seeds = ()
    """Seeds of validation or training images only. A `val_seed` that is null or equals the `seed` beside it says
    nothing more, and is left out."""

    @property
    def seeds(self) -> Seeds:
        """All of them."""
        return tuple(sorted(self.split_seeds + self.other_seeds))

    @property
    def tested(self) -> Division:
        """The same without the seeds that no test image depends on: equal for runs with the same test images."""
        return Division(self.fold, self.split_seeds)


def division_of(fold: int, split_seeds: Mapping[str, int], split: Mapping[str, Any]) -> Division:
    """The division of a run.

    Args:
        fold: of the split.
        split_seeds: dotted key -> value of every seed of the split (`ltmed.runs.facts`).
        split: the flat settings of the split, for instance `split._target_`.
    """
    of_test: dict[str, int] = {}
    others: dict[str, int] = {}
    for key, value in sorted(split_seeds.items()):
        node, _, name = key.rpartition(".")
        target = split.get(f"{node}._target_")
        if name == "val_seed":
            if value != split_seeds.get(f"{node}.seed"):
                others[key] = value
        elif target in _OWN_TEST_PART or (target == _SUBSAMPLED and split.get(f"{node}.fixed_test", True)):
            others[key] = value
        else:
            of_test[key] = value
    return Division(fold, tuple(of_test.items()), tuple(others.items()))
