"""Percentile intervals from test images, or whole groups of them, drawn with replacement (Efron and Tibshirani 1993).

A resample is a row of integer weights: how often each image was drawn. Every metric is computed from the weights of
many resamples at once, so no resampled prediction is ever copied. Where groups are known (images of one lesion or
one patient resemble each other), whole groups are drawn: intervals over images would be too narrow (Field and Welsh
2007, "Bootstrapping clustered data"). Letters: N images, K classes, R resamples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ltmed.evaluation.metrics import ECE_BINS, SCALARS, Evaluation
from ltmed.utils.seeding import derive

CHUNK_VALUES = 2**21
"""Weights held at once (16 MiB of float64, about a CPU's cache): bounds memory whatever N and R are."""

PER_CLASS = ("precision", "recall", "f1", "auroc")


@dataclass(frozen=True)
class Intervals:
    """Where each number would lie, were the test images drawn again; plain Python values."""

    scalars: dict[str, list[float]]
    """Metric name (as in `Report.scalars`) -> [low, high]; NaN where no resample defines the metric."""
    per_class: list[dict[str, list[float]]]
    """K rows: precision, recall, f1, auroc -> [low, high]."""
    resamples: int
    level: float
    """Coverage aimed at, 0..1."""
    unit: str
    """What was drawn: "image", or what a group is ("lesion", "patient")."""
    units: int
    """How many of them the split has."""
    seed: int


def bootstrap(
    evaluation: Evaluation,
    tiers: dict[str, list[int]],
    *,
    groups: np.ndarray | None = None,
    unit: str = "image",
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Intervals:
    """Percentile intervals of every number of `ltmed.evaluation.metrics.Report`; no stratification.

    A class that has no image in a resample is left out of that resample's averages, as in a report, and the interval
    of its own numbers is over the resamples that have it. The result depends on the predictions, the groups and the
    seed only.

    Args:
        evaluation: predictions `[N, K]` of one split.
        tiers: class indices of `head`, `medium` and `tail`.
        groups: int64 `[N]`, the group of each row of the evaluation; None draws single images.
        unit: what is drawn, for people.
        resamples: R.
        level: coverage, inside (0, 1).
        seed: of the draws.
    """
    scorer = WeightedScorer(evaluation, tiers)
    images = len(evaluation.labels)
    members = np.arange(images) if groups is None else np.unique(groups, return_inverse=True)[1]
    chunks = [scorer(weights) for weights in draw(members, resamples, seed)]
    values = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
    return Intervals(
        scalars={name: _interval(column, level) for name, column in values.items() if column.ndim == 1},
        per_class=[
            {name: _interval(values[name][:, k], level) for name in PER_CLASS} for k in range(len(evaluation.classes))
        ],
        resamples=resamples,
        level=level,
        unit=unit,
        units=int(members.max()) + 1,
        seed=seed,
    )


def draw(members: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yields the weights of all resamples, in chunks of rows, float64 `[r, N]` holding whole numbers.

    Args:
        members: int64 `[N]`, the unit (0..G-1) that each image belongs to; G units are drawn from the G.
        resamples: R, the sum of the chunks' lengths.
        seed: the draws of a resample do not depend on the size of the chunks.
    """
    generator = np.random.default_rng(derive("bootstrap", seed))
    units = int(members.max()) + 1
    rows = max(1, CHUNK_VALUES // len(members))
    for start in range(0, resamples, rows):
        weights = np.empty((min(rows, resamples - start), len(members)))
        for row in weights:
            row[:] = np.bincount(generator.integers(0, units, units), minlength=units)[members]
        yield weights


def _interval(values: np.ndarray, level: float) -> list[float]:
    defined = values[~np.isnan(values)]
    if not len(defined):
        return [float("nan"), float("nan")]
    return np.quantile(defined, [(1 - level) / 2, (1 + level) / 2]).tolist()


class _Sums:
    """Adds up columns by class (or bin): weights `[R, N]` -> `[R, bins]`. Sorting once makes every sum one pass."""

    def __init__(self, bin_of: np.ndarray, bins: int) -> None:
        self.order = np.argsort(bin_of, kind="stable")
        self.filled, self.starts = np.unique(bin_of[self.order], return_index=True)
        self.bins = bins

    def __call__(self, values: np.ndarray) -> np.ndarray:
        sums = np.zeros((len(values), self.bins))
        sums[:, self.filled] = np.add.reduceat(values[:, self.order], self.starts, axis=1)
        return sums


class WeightedScorer:
    """All metrics of `ltmed.evaluation.metrics.evaluate` for images that count several times, or not at all.

    Construction does what does not depend on the weights (sorting scores); a call takes weights `[R, N]` and returns
    name -> `[R]` for single numbers, name -> `[R, K]` for numbers per class. Definitions, exclusions and NaN are
    those of `ltmed.evaluation.metrics`; weights of 1 give the report.
    """

    def __init__(self, evaluation: Evaluation, tiers: dict[str, list[int]]) -> None:
        probabilities = evaluation.probabilities.detach().float().cpu().clamp(0, 1)
        confidence, predicted = (t.numpy() for t in probabilities.max(1))
        self.labels = evaluation.labels.cpu().numpy()
        self.tiers = tiers
        self.classes = classes = len(evaluation.classes)
        correct = predicted == self.labels
        self.correct = np.flatnonzero(correct)
        self.true_sums = _Sums(self.labels, classes)
        self.predicted_sums = _Sums(predicted, classes)
        self.hit_sums = _Sums(self.labels[correct], classes)
        self.squared_error = (self.labels - predicted).astype(np.float64) ** 2
        edges = torch.linspace(0, 1, ECE_BINS + 1)
        bins = torch.bucketize(torch.from_numpy(confidence), edges, right=True).numpy() - 1
        self.bin_sums = _Sums(bins, ECE_BINS + 1)
        self.overconfidence = confidence.astype(np.float64) - correct
        self.rankings = [self._rank(probabilities[:, k].numpy(), k) for k in range(classes)]

    def _rank(self, scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Images of class k, the others by rising score, and for each of the former how many of those lie below
        (first) and not above (second) its score.
        """
        positive, negative = np.flatnonzero(self.labels == k), np.flatnonzero(self.labels != k)
        negative = negative[np.argsort(scores[negative], kind="stable")]
        below, not_above = (np.searchsorted(scores[negative], scores[positive], side) for side in ("left", "right"))
        return positive, negative, below, not_above

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Scores R weightings of the images, float64 `[R, N]`, at once."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._scores(weights)

    def _scores(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        total = weights.sum(1)
        true, predicted = self.true_sums(weights), self.predicted_sums(weights)
        auroc = np.stack([self._auroc(weights, *ranking) for ranking in self.rankings], axis=1)
        found = {
            **count_scores(true, predicted, self.hit_sums(weights[:, self.correct]), self.tiers),
            "macro_auroc": mean_of_defined(auroc),
            "quadratic_kappa": self._kappa(weights, true, predicted, total),
            "ece": np.abs(self.bin_sums(weights * self.overconfidence)).sum(1) / total,
            "auroc": auroc,
        }
        return {name: found[name] for name in (*SCALARS, *PER_CLASS)}

    @staticmethod
    def _auroc(
        weights: np.ndarray, positive: np.ndarray, negative: np.ndarray, below: np.ndarray, not_above: np.ndarray
    ) -> np.ndarray:
        """Mann-Whitney: the weighted share of (positive, negative) pairs in the right order, ties counting half."""
        seen = np.zeros((len(weights), len(negative) + 1))
        np.cumsum(weights[:, negative], axis=1, out=seen[:, 1:])
        wins = (seen[:, below] + seen[:, not_above]) / 2
        members = weights[:, positive]
        return (members * wins).sum(1) / (members.sum(1) * seen[:, -1])

    def _kappa(self, weights: np.ndarray, true: np.ndarray, predicted: np.ndarray, total: np.ndarray) -> np.ndarray:
        """1 - observed / expected squared error, where sum_ij (i - j)^2 t_i p_j is written out by powers of i, j."""
        grade = np.arange(self.classes, dtype=np.float64)
        expected = total * (true @ grade**2 + predicted @ grade**2) - 2 * (true @ grade) * (predicted @ grade)
        return 1 - (weights @ self.squared_error) * total / expected


def count_scores(
    true: np.ndarray, predicted: np.ndarray, hits: np.ndarray, tiers: dict[str, list[int]]
) -> dict[str, np.ndarray]:
    """The metrics that depend on the counts of each class alone: name -> `[R]`, or `[R, K]` for those per class.

    Args:
        true: `[R, K]`, weight of the images of each class.
        predicted: `[R, K]`, weight of the images that each class was predicted for.
        hits: `[R, K]`, weight of the images of each class that are right.
        tiers: class indices of `head`, `medium` and `tail`.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        present = true > 0
        recall = hits / true
        precision = np.where(present, np.where(predicted > 0, hits / predicted, 0), np.nan)
        f1 = np.where(present, 2 * hits / (true + predicted), np.nan)
        return {
            "balanced_accuracy": mean_of_defined(recall),
            "macro_f1": mean_of_defined(f1),
            "macro_precision": mean_of_defined(precision),
            "macro_recall": mean_of_defined(recall),
            "accuracy": hits.sum(1) / true.sum(1),
            "mcc": _matthews(hits.sum(1), true, predicted, true.sum(1)),
            **{f"{tier}_recall": mean_of_defined(recall[:, tiers[tier]]) for tier in ("head", "medium", "tail")},
            "precision": precision,
            "recall": recall,
            "f1": f1,
        }


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """`[R, n]` -> `[R]`: mean over what is not NaN; NaN where nothing is."""
    defined = ~np.isnan(values)
    return np.where(defined, values, 0).sum(1) / defined.sum(1)


def _matthews(hits: np.ndarray, true: np.ndarray, predicted: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Gorodkin (2004), equation 8: NaN for one true class, 0 for one predicted class."""
    true_spread = total**2 - (true**2).sum(1)
    predicted_spread = total**2 - (predicted**2).sum(1)
    covariance = hits * total - (true * predicted).sum(1)
    correlation = np.where(predicted_spread > 0, covariance / np.sqrt(true_spread * predicted_spread), 0)
    return np.where(true_spread > 0, correlation, np.nan)
