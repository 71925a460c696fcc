"""Mean, spread and tests over the repetitions of a row.

Repetitions are divisions (folds, and splits with another seed) and seeds of the training. Seeds of one division
share their test images and most of their training, so a cell with several divisions counts them as its independent
units, each the mean over its seeds; only a cell with one division counts its seeds. Every statistic of a cell
(mean, deviation, interval, difference to a paper, signed-rank test) is of these units.

Folds differ in how hard they are, so rows are ranked on the divisions (folds, random splits) that more than half of
them have, and with as many seeds as more than half of them have; seeds of one division are as good as each other. A row
that lacks some is shown and not ranked. A row with divisions of its own is ranked on those that the others have too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ltmed.evaluation.scalars import LOWEST
from ltmed.report.formatting import division_names
from ltmed.runs.reader import Division, Run

LEVEL = 0.95

FEWEST_PAIRS = 5
"""The signed-rank test of fewer pairs has no use: all of four in favour of one method have p = 2 / 2^4 = 0.125."""

Found = dict[tuple[Division, int], float]
"""(division, seed) -> value."""
Basis = Mapping[Division, int]
"""Division -> the runs of it that a ranked row has at least."""


@dataclass(frozen=True)
class Summary:
    """One metric of one cell, in the metric's own unit."""

    mean: float
    """Of the independent units, as the other figures are."""
    std: float | None
    """Of the sample (n - 1); None for a single unit."""
    low: float | None
    high: float | None
    count: int
    """Runs that define the metric."""
    interval: str
    """What [low, high] is: "t" over divisions or seeds, "bootstrap" over the test images of a single run, or ""."""


@dataclass(frozen=True)
class SignedRank:
    """Wilcoxon's signed-rank test over pairs of divisions or seeds."""

    p: float | None
    """Two-sided; None where too few pairs differ."""
    pairs: int
    differing: int
    over: str
    """"folds", "splits" or "seeds"."""

    @property
    def least(self) -> float:
        """The smallest p that so many differing pairs can have."""
        return 2 / 2**self.differing


def collect(runs: Iterable[Run], value: Callable[[Run], float | None]) -> Found:
    """`value` of each run that has one."""
    found = {(run.division, run.seed): value(run) for run in runs}
    return {repetition: one for repetition, one in found.items() if one is not None}


def values(runs: Iterable[Run], metric: str) -> Found:
    """The test part's `metric`, where it is defined."""
    return collect(runs, lambda run: run.metrics["test"]["scalars"][metric])


def mean(found: Found) -> float | None:
    """Over the independent units; None without any."""
    return float(np.mean(list(independent(found)[0].values()))) if found else None


def summary(runs: Sequence[Run], metric: str) -> Summary | None:
    """Mean, deviation and interval of a metric; None where no run defines it."""
    found = values(runs, metric)
    if not found:
        return None
    units = list(independent(found)[0].values())
    centre = float(np.mean(units))
    if len(units) > 1:
        low, high = t_interval(units)
        low, high = max(low, LOWEST[metric]), min(high, 1.0)  # Student's t is not bounded.
        return Summary(centre, float(np.std(units, ddof=1)), low, high, len(found), "t")
    run = next(run for run in runs if (run.division, run.seed) in found)
    low, high = run.metrics["test"]["intervals"]["scalars"].get(metric, (None, None))
    return Summary(centre, None, low, high, 1, "bootstrap" if low is not None else "")


def independent(found: Found) -> tuple[dict[Any, float], str]:
    """Division -> mean over its seeds, or seed -> value where there is only one division; and which it is."""
    divisions = {division for division, _ in found}
    if len(divisions) > 1:
        units = {one: float(np.mean([v for (division, _), v in found.items() if division == one])) for one in divisions}
        return dict(sorted(units.items())), "splits" if len({division.draw for division in divisions}) > 1 else "folds"
    return {seed: value for (_, seed), value in sorted(found.items())}, "seeds"


def t_interval(numbers: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """Student's interval of the mean of at least two numbers.

    Folds share training images, so their spread understates what another data set would show (Bengio and Grandvalet
    2004); nothing better is known for a few folds.
    """
    from scipy import stats

    centre, error = float(np.mean(numbers)), float(np.std(numbers, ddof=1)) / math.sqrt(len(numbers))
    reach = float(stats.t.ppf((1 + level) / 2, len(numbers) - 1)) * error
    return centre - reach, centre + reach


def signed_rank(row: Sequence[Run], other: Sequence[Run], metric: str) -> SignedRank:
    """Wilcoxon's test of `metric` over the divisions that both rows have; over the seeds, where there is one.

    Equal pairs say nothing about the order and are left out, as in Wilcoxon's paper.
    """
    from scipy import stats

    mine, theirs = values(row, metric), values(other, metric)
    shared = {division for division, _ in mine} & {division for division, _ in theirs}
    (left, over), (right, _) = (independent({r: v for r, v in one.items() if r[0] in shared}) for one in (mine, theirs))
    pairs = [left[key] - right[key] for key in sorted(left.keys() & right.keys())]
    differing = [pair for pair in pairs if abs(pair) > 1e-12]  # Means of equal numbers may differ in the last digit.
    if len(differing) < FEWEST_PAIRS:
        return SignedRank(None, len(pairs), len(differing), over)
    tested: Any = stats.wilcoxon(differing)
    return SignedRank(float(tested.pvalue), len(pairs), len(differing), over)


def basis(rows: Iterable[Sequence[Run]]) -> Basis:
    """What the rows of one column are ranked on; rows without runs are ignored."""
    counts = [Counter(run.division for run in runs) for runs in rows if runs]
    needed: dict[Division, int] = {}
    for division in sorted({division for count in counts for division in count}):
        most = sorted((count[division] for count in counts), reverse=True)[len(counts) // 2]
        if most:
            needed[division] = most
    return needed


def lacking(runs: Sequence[Run], needed: Basis) -> str:
    """Why a row is not ranked; empty where it is."""
    own = Counter(run.division for run in runs)
    if not needed:
        return "most rows have other folds"
    if without := [division for division in needed if not own[division]]:
        return f"without {division_names(without, {*needed, *own})}"
    few = {(own[division], number) for division, number in needed.items() if own[division] < number}
    if len(few) > 1:
        return "fewer seeds"
    return "".join(f"{have} of {number} {'runs' if len(needed) > 1 else 'seeds'}" for have, number in few)


def has_others(runs: Sequence[Run], needed: Basis) -> bool:
    """Whether a row has divisions that it is not ranked on."""
    return any(run.division not in needed for run in runs)


def ranked_mean(runs: Iterable[Run], metric: str, needed: Basis) -> float | None:
    """The mean that a row is ranked by."""
    return mean({key: value for key, value in values(runs, metric).items() if key[0] in needed})
