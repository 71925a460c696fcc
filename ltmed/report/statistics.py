"""What repetitions of two methods say about each other.

Repetitions are folds and seeds. Seeds of one fold share their test images and most of their training, so wherever
independence is needed (intervals, the signed-rank test) a cell with several folds counts its folds, each the mean
over its seeds. Letters: N test images, G groups of them (lesions, patients, or single images), K classes, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ltmed.bootstrap import draw
from ltmed.metrics import LOWEST
from ltmed.runs import Run

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.95

FEWEST_PAIRS = 6
"""Fewer pairs can never give p < 0.05: all of five in favour of one method have p = 2 / 2^5 = 0.0625."""


@dataclass(frozen=True)
class Summary:
    """One metric of one cell, in the metric's own unit."""

    mean: float
    std: float | None
    """Of the sample (n - 1); None for a single repetition."""
    low: float | None
    high: float | None
    count: int
    """Repetitions that define the metric."""
    interval: str
    """What [low, high] is: "t" over folds or seeds, "bootstrap" over the test images of a single run, or ""."""


@dataclass(frozen=True)
class Paired:
    """How much better one row is than another on the same test images."""

    difference: float
    low: float
    high: float
    p: float
    """Two-sided, in [1 / (R + 1), 1]."""
    images: int
    units: int
    unit: str


@dataclass(frozen=True)
class SignedRank:
    """Wilcoxon's signed-rank test over pairs of folds or seeds."""

    p: float | None
    """Two-sided; None where there are too few pairs."""
    pairs: int
    over: str
    """"folds" or "seeds"."""


def values(runs: Sequence[Run], metric: str) -> dict[tuple[int, int], float]:
    """(fold, seed) -> the test part's `metric`, where it is defined."""
    found = {(run.found["run"]["fold"], run.found["run"]["seed"]): run.found["test"]["scalars"][metric] for run in runs}
    return {repetition: value for repetition, value in found.items() if value is not None}


def summary(runs: Sequence[Run], metric: str) -> Summary | None:
    """Mean, deviation and interval of a metric; None where no run defines it."""
    found = values(runs, metric)
    if not found:
        return None
    numbers = np.array(list(found.values()))
    mean = float(numbers.mean())
    if len(numbers) > 1:
        low, high = t_interval(list(independent(found)[0].values()))
        low, high = max(low, LOWEST[metric]), min(high, 1.0)  # Student's knows no bounds.
        return Summary(mean, float(numbers.std(ddof=1)), low, high, len(numbers), "t")
    repetition = next(iter(found))
    run = next(r for r in runs if (r.found["run"]["fold"], r.found["run"]["seed"]) == repetition)
    low, high = run.found["test"]["intervals"]["scalars"].get(metric, (None, None))
    return Summary(mean, None, low, high, 1, "bootstrap" if low is not None else "")


def independent(found: dict[tuple[int, int], float]) -> tuple[dict[int, float], str]:
    """Fold -> mean over its seeds, or seed -> value where there is only one fold; and which it is."""
    folds = {fold for fold, _ in found}
    if len(folds) > 1:
        return {f: float(np.mean([v for (fold, _), v in found.items() if fold == f])) for f in sorted(folds)}, "folds"
    return {seed: value for (_, seed), value in sorted(found.items())}, "seeds"


def t_interval(numbers: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """Student's interval of the mean of at least two numbers.

    Folds share training images, so their spread understates what another data set would show (Bengio and Grandvalet
    2004); nothing better is known for a few folds.
    """
    from scipy import stats

    mean, error = float(np.mean(numbers)), float(np.std(numbers, ddof=1)) / math.sqrt(len(numbers))
    reach = float(stats.t.ppf((1 + level) / 2, len(numbers) - 1)) * error
    return mean - reach, mean + reach


def signed_rank(row: Sequence[Run], other: Sequence[Run], metric: str) -> SignedRank:
    """Wilcoxon's test of `metric` over the folds that both rows have; over the seeds, where there is one fold."""
    from scipy import stats

    mine, theirs = values(row, metric), values(other, metric)
    shared = {fold for fold, _ in mine} & {fold for fold, _ in theirs}
    (left, over), (right, _) = (independent({r: v for r, v in one.items() if r[0] in shared}) for one in (mine, theirs))
    pairs = [left[key] - right[key] for key in sorted(left.keys() & right.keys())]
    differences = [difference for difference in pairs if difference]
    if len(differences) < FEWEST_PAIRS:
        return SignedRank(None, len(pairs), over)
    tested: Any = stats.wilcoxon(differences)
    return SignedRank(float(tested.pvalue), len(pairs), over)


def paired_bootstrap(row: Sequence[Run], other: Sequence[Run], *, resamples: int = 1000, seed: int = 0) -> Paired | str:
    """Balanced accuracy of `row` less that of `other` on the same test images, from images drawn again.

    The test images of all folds that both rows have are put together, each image once; how right a row is on it is
    the mean over its repetitions that test it. Whole groups are drawn where the data set knows them.

    Returns:
        The comparison, or a few words on why there is none.
    """
    shared = {_fold(run) for run in row} & {_fold(run) for run in other}
    if not shared:
        return "no fold in common"
    try:
        mine, theirs = (_correctness([run for run in runs if _fold(run) in shared]) for runs in (row, other))
    except FileNotFoundError:
        return "predictions.parquet is missing"
    if not (mine.index.equals(theirs.index) and mine["label"].equals(theirs["label"])):
        return "not the same test images"
    unit = row[0].found["split"]["group"]
    members = np.unique(mine[unit].to_numpy(), return_inverse=True)[1] if unit else np.arange(len(mine))
    labels = np.unique(mine["label"].to_numpy(), return_inverse=True)[1]
    better = mine["correct"].to_numpy() - theirs["correct"].to_numpy()
    difference, drawn = (np.round(x, 12) for x in resampled(better, labels, members, resamples, seed))
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    # Draws at zero speak against either side; one is added so that p is never 0 (Davison and Hinkley 1997, 4.2).
    tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (resamples + 1))
    return Paired(float(difference), low, high, p, len(mine), int(members.max()) + 1, unit or "image")


def resampled(
    better: np.ndarray, labels: np.ndarray, members: np.ndarray, resamples: int, seed: int = 0
) -> tuple[float, np.ndarray]:
    """The difference of balanced accuracy, and the same in each resample of the groups.

    Recall is linear in what is right, so only sums per group and class are needed and a resample is one row of a
    matrix product. A class that a resample does not have is left out of its average.

    Args:
        better: `[N]`, how right the one is on each image less how right the other is, -1..1.
        labels: int64 `[N]`, 0..K-1, each of them present.
        members: int64 `[N]`, the group of each image, 0..G-1.
        resamples: R.
        seed: of the draws.

    Returns:
        The difference and float64 `[R]`.
    """
    units, classes = int(members.max()) + 1, int(labels.max()) + 1
    place = members * classes + labels
    images, gain = (np.bincount(place, weights, units * classes) for weights in (None, better))
    sums = np.concatenate([gain.reshape(units, classes), images.reshape(units, classes)], axis=1)
    drawn = [_mean_gain(weights @ sums) for weights in draw(np.arange(units), resamples, seed)]
    return float(_mean_gain(sums.sum(0)[None])[0]), np.concatenate(drawn)


def _mean_gain(sums: np.ndarray) -> np.ndarray:
    """`[R, 2 K]`, gains then images -> `[R]`."""
    gain, images = np.split(sums, 2, axis=1)
    present = images > 0
    return np.where(present, gain / np.where(present, images, 1), 0).sum(1) / present.sum(1)


def _fold(run: Run) -> int:
    return run.found["run"]["fold"]


def _correctness(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per test image, sorted: label, how right the runs are on it (0..1), its group where there is one."""
    import pandas as pd

    unit = runs[0].found["split"]["group"]
    columns = ["label", *([unit] if unit else [])]
    frames = [
        run.predictions[["image", *columns]].assign(correct=run.predictions["label"] == run.predictions["predicted"])
        for run in runs
    ]
    images = pd.concat(frames, ignore_index=True).groupby("image", sort=True)
    return images[columns].first().assign(correct=images["correct"].mean())
