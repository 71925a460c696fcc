"""Mean, spread and tests over the repetitions of a row.

Repetitions are divisions (folds, and splits with another seed) and seeds of the training. Runs with the same test
images share most of their training, whether they differ in the training's seed or in the validation images
(`split.val_seed`). So a cell with several test parts counts them as its independent units, each the mean over its runs;
only a cell with one test part counts its runs ("seeds"). Every statistic of a cell (mean, deviation, interval,
difference to a paper, signed-rank test) is of these units.

Folds differ in how hard they are, so rows are ranked on the test parts (folds, random splits) that more than half of
them have, and with as many runs as more than half of them have; runs of one test part are as good as each other. A row
that lacks some is shown and not ranked. A row with test parts of its own is ranked on those that the others have too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from ltmed.errors import UserError
from ltmed.evaluation.scalars import LOWEST
from ltmed.report.formatting import division_names
from ltmed.runs.division import Division

LEVEL = 0.95

MIN_PAIRS = 5
"""Fewer pairs are not tested: even four pairs in favour of one method have only p = 2 / 2^4 = 0.125."""


class Result(Protocol):
    """The figures of one run: a `Run`, or a part of a file of results."""

    @property
    def path(self) -> Path | str:
        """Where it is, for messages."""
        ...

    @property
    def division(self) -> Division:
        """The fold and the split seeds."""
        ...

    @property
    def seed(self) -> int:
        """Of the training."""
        ...

    @property
    def metrics(self) -> dict[str, Any]:
        """metrics.json; see `ltmed.runs.record`."""
        ...


R = TypeVar("R", bound=Result)
Values = dict[tuple[Division, int], float]
"""(division, seed) -> value."""
Basis = Mapping[Division, int]
"""Test part (`Division.tested`) -> the number of runs that a ranked row must have."""


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
    def smallest_p(self) -> float:
        """The smallest p that is possible with this number of differing pairs."""
        return 2 / 2**self.differing


def collect(runs: Iterable[R], value: Callable[[R], float | None]) -> Values:
    """`value` of each run that has one.

    Raises:
        UserError: two runs are the same repetition, so that one would count for the other.
    """
    first: dict[tuple[Division, int], R] = {}
    found: Values = {}
    for run in runs:
        repetition = (run.division, run.seed)
        if repetition in first:
            raise UserError(
                f"{first[repetition].path} and {run.path} are the same repetition of one row",
                "Give only one of them.",
            )
        first[repetition] = run
        if (number := value(run)) is not None:
            found[repetition] = number
    return found


def values(runs: Iterable[Result], metric: str) -> Values:
    """The test part's `metric`, where it is defined."""
    return collect(runs, lambda run: run.metrics["test"]["scalars"].get(metric))


def mean(values: Values) -> float | None:
    """Over the independent units; None without any."""
    return float(np.mean(list(independent(values)[0].values()))) if values else None


def summary(runs: Sequence[Result], metric: str) -> Summary | None:
    """Mean, deviation and interval of a metric; None where no run defines it."""
    by_repetition = values(runs, metric)
    if not by_repetition:
        return None
    units = list(independent(by_repetition)[0].values())
    centre = float(np.mean(units))
    if len(units) > 1:
        low, high = t_interval(units)
        low, high = max(low, LOWEST[metric]), min(high, 1.0)  # Student's t is not bounded.
        return Summary(centre, float(np.std(units, ddof=1)), low, high, len(by_repetition), "t")
    run = next(run for run in runs if (run.division, run.seed) in by_repetition)
    low, high = run.metrics["test"]["intervals"]["scalars"].get(metric, (None, None))
    return Summary(centre, None, low, high, 1, "bootstrap" if low is not None else "")


def independent(values: Values) -> tuple[dict[Any, float], str]:
    """Test part -> mean over its runs, or run's seeds -> value where there is only one test part; and which it is."""
    of_part: dict[Division, list[float]] = {}
    for (division, _), value in values.items():
        of_part.setdefault(division.tested, []).append(value)
    if len(of_part) > 1:
        units = {part: float(np.mean(numbers)) for part, numbers in sorted(of_part.items())}
        return units, "splits" if len({part.split_seeds for part in units}) > 1 else "folds"
    return {(division.other_seeds, seed): value for (division, seed), value in sorted(values.items())}, "seeds"


def t_interval(numbers: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """Student's interval of the mean of at least two numbers.

    Folds share training images, so their spread understates what another data set would show (Bengio and Grandvalet
    2004); nothing better is known for a few folds.
    """
    from scipy import stats

    centre, error = float(np.mean(numbers)), float(np.std(numbers, ddof=1)) / math.sqrt(len(numbers))
    reach = float(stats.t.ppf((1 + level) / 2, len(numbers) - 1)) * error
    return centre - reach, centre + reach


def signed_rank(row: Sequence[Result], other: Sequence[Result], metric: str) -> SignedRank:
    """Wilcoxon's test of `metric` over the test parts that both rows have; over the seeds, where there is one.

    Equal pairs say nothing about the order and are left out, as in Wilcoxon's paper.
    """
    from scipy import stats

    row_values, other_values = values(row, metric), values(other, metric)
    shared = {division.tested for division, _ in row_values} & {division.tested for division, _ in other_values}
    (left, over), (right, _) = (
        independent({r: v for r, v in data.items() if r[0].tested in shared}) for data in (row_values, other_values)
    )
    # Equal differences may differ in the last digit (0.3 - 0.2 is less than 0.2 - 0.1), and have one rank.
    pairs = [round(left[key] - right[key], 12) for key in sorted(left.keys() & right.keys())]
    differing = [pair for pair in pairs if pair]
    if len(differing) < MIN_PAIRS:
        return SignedRank(None, len(pairs), len(differing), over)
    tested: Any = stats.wilcoxon(differing)
    return SignedRank(float(tested.pvalue), len(pairs), len(differing), over)


def basis(rows: Iterable[Sequence[Result]]) -> Basis:
    """The test parts that the rows of a column are ranked on; rows without runs are ignored."""
    counts = [Counter(run.division.tested for run in runs) for runs in rows if runs]
    needed: dict[Division, int] = {}
    for division in sorted({division for count in counts for division in count}):
        typical = sorted((count[division] for count in counts), reverse=True)[len(counts) // 2]
        if typical:
            needed[division] = typical
    return needed


def lacking(runs: Sequence[Result], needed: Basis) -> str:
    """The reason why a row is not ranked; empty if it is."""
    counts = Counter(run.division.tested for run in runs)
    if not needed:
        return "most rows have other folds"
    if missing := [division for division in needed if not counts[division]]:
        return f"without {division_names(missing, {*needed, *counts})}"
    few = {(counts[division], number) for division, number in needed.items() if counts[division] < number}
    if len(few) > 1:
        return "fewer seeds"
    return "".join(f"{available} of {number} {'runs' if len(needed) > 1 else 'seeds'}" for available, number in few)


def unranked(runs: Sequence[Result], metric: str, needed: Basis) -> str:
    """The reason why a row is not ranked by `metric`; empty if it is, or if no run defines it."""
    defined = len(values(runs, metric))
    if 0 < defined < len(runs):
        return f"defined in {defined} of {len(runs)} runs"
    return lacking(runs, needed) if defined else ""


def has_others(runs: Sequence[Result], needed: Basis) -> bool:
    """Whether a row has test parts that it is not ranked on."""
    return any(run.division.tested not in needed for run in runs)


def ranked_mean(runs: Iterable[Result], metric: str, needed: Basis) -> float | None:
    """The mean that a row is ranked by."""
    return mean({key: value for key, value in values(runs, metric).items() if key[0].tested in needed})
