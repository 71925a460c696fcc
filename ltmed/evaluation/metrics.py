"""Metrics of a split's predictions: counts, ranking, calibration, per class and by class frequency.

Letters: N images, K classes. A class without images in the split is *absent*: it is named in `Report.absent`, its row
is NaN and no average includes it (images wrongly given to it still count against their true class). An undefined
metric is NaN, never 0, with two exceptions, as in scikit-learn, so that a model cannot gain by ignoring a rare class: a
present class that is never predicted has precision 0, and a constant prediction has MCC 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ltmed.errors import UserError
from ltmed.evaluation.scalars import PER_CLASS, SCALARS

ECE_BINS = 15
"""Equal-width confidence bins of the calibration error (Guo et al. 2017, section 2)."""


@dataclass(frozen=True)
class Evaluation:
    """The predictions for one split, gathered from all ranks."""

    probabilities: Tensor
    """float32 `[N, K]`; rows sum to 1 where an image has one label."""
    labels: Tensor
    """int64 `[N]`, class indices; or float32 `[N, K]` of several labels, 0, 1 or NaN (unknown)."""
    indices: Tensor
    """int64 `[N]`, rows of the manifest."""
    classes: tuple[str, ...]
    """K class codes."""

    @property
    def multilabel(self) -> bool:
        """Whether an image may carry several labels."""
        return self.labels.ndim == 2


def require_scorable(evaluation: Evaluation) -> None:
    """Checks that there are predictions, and that all outputs are finite.

    Raises:
        UserError: there are no images, or outputs are NaN or infinite.
    """
    probabilities = evaluation.probabilities
    if not len(evaluation.labels):
        raise UserError("There are no images to evaluate", "Check the split: its part is empty.")
    if not bool(torch.isfinite(probabilities).all()):
        bad = int((~torch.isfinite(probabilities)).any(1).sum())
        raise UserError(
            f"The network gave NaN or infinite outputs for {bad} of {len(probabilities)} images",
            "Training has diverged: lower the learning rate, or train in float32 (trainer.precision=32-true).",
        )


@dataclass(frozen=True)
class Report:
    """The numbers of one split; plain Python values, ready for JSON once NaN is replaced."""

    balanced_accuracy: float
    """Mean recall of the present classes, 0..1 (the same number as `macro_recall`, under the field's two names)."""
    macro_f1: float
    """Mean F1 of the present classes, 0..1."""
    macro_precision: float
    """Mean precision of the present classes, 0..1."""
    macro_recall: float
    """Mean recall of the present classes, 0..1."""
    accuracy: float
    """Share of images predicted correctly, 0..1."""
    macro_auroc: float
    """Mean one-versus-rest area under the ROC curve, on probabilities, over classes with images in and outside."""
    quadratic_kappa: float
    """Cohen's kappa with weights (i - j)^2, -1..1; meaningful only for ordered classes (grades)."""
    mcc: float
    """Matthews correlation of K classes (Gorodkin 2004), -1..1; NaN if the split has one class only."""
    ece: float
    """Expected calibration error of the top class, 0..1: `ECE_BINS` bins [a, b), confidence 1 in a bin of its own."""
    head_recall: float
    """Mean recall of the present head classes; NaN if there are none."""
    medium_recall: float
    """Mean recall of the present medium classes; NaN if there are none."""
    tail_recall: float
    """Mean recall of the present tail classes; NaN if there are none."""
    per_class: list[dict[str, Any]]
    """K rows: class (code), precision, recall, f1, auroc (floats), support (images in this split)."""
    absent: list[str]
    """Codes of the classes without images in this split."""
    confusion: list[list[int]]
    """K x K counts: row = true class, column = predicted class."""

    def scalars(self) -> dict[str, float]:
        """The single numbers by name, in the order of `SCALARS`."""
        return {name: getattr(self, name) for name in SCALARS}


class _Sums:
    """Sums of columns by class (or bin): weights `[R, N]` -> `[R, bins]`. After one sort, each sum is a single pass."""

    def __init__(self, bin_of: np.ndarray, bins: int) -> None:
        self.order = np.argsort(bin_of, kind="stable")
        self.filled, self.starts = np.unique(bin_of[self.order], return_index=True)
        self.bins = bins

    def __call__(self, values: np.ndarray) -> np.ndarray:
        sums = np.zeros((len(values), self.bins))
        sums[:, self.filled] = np.add.reduceat(values[:, self.order], self.starts, axis=1)
        return sums


class WeightedScorer:
    """All metrics for weighted images: the single implementation behind reports and bootstrap intervals.

    Construction does the work that does not depend on the weights (sorting scores); a call takes weights `[R, N]` and
    returns name -> `[R]` for single numbers, name -> `[R, K]` for numbers per class. Weights of 1 give the report,
    integer weights a bootstrap resample (`ltmed.evaluation.bootstrap`).
    """

    per_class = PER_CLASS

    def __init__(self, evaluation: Evaluation, tiers: dict[str, list[int]]) -> None:
        probabilities = evaluation.probabilities.detach().float().cpu().clamp(0, 1)
        confidence, predicted = (t.numpy() for t in probabilities.max(1))
        self.predicted = predicted
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
        metrics = {
            **count_scores(true, predicted, self.hit_sums(weights[:, self.correct]), self.tiers),
            "macro_auroc": mean_of_defined(auroc),
            "quadratic_kappa": self._kappa(weights, true, predicted, total),
            "ece": np.abs(self.bin_sums(weights * self.overconfidence)).sum(1) / total,
            "auroc": auroc,
        }
        return {name: metrics[name] for name in (*SCALARS, *PER_CLASS)}

    @staticmethod
    def _auroc(
        weights: np.ndarray, positive: np.ndarray, negative: np.ndarray, below: np.ndarray, not_above: np.ndarray
    ) -> np.ndarray:
        """Mann-Whitney: the weighted share of (positive, negative) pairs in the right order, ties counting half."""
        cumulative = np.zeros((len(weights), len(negative) + 1))
        np.cumsum(weights[:, negative], axis=1, out=cumulative[:, 1:])
        wins = (cumulative[:, below] + cumulative[:, not_above]) / 2
        members = weights[:, positive]
        return (members * wins).sum(1) / (members.sum(1) * cumulative[:, -1])

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
        hits: `[R, K]`, weight of the correctly predicted images of each class.
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
    """`[R, n]` -> `[R]`: mean over the entries that are not NaN; NaN where all are."""
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(defined, values, 0).sum(1) / defined.sum(1)


def _matthews(hits: np.ndarray, true: np.ndarray, predicted: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Gorodkin (2004), equation 8: NaN for one true class, 0 for one predicted class."""
    true_spread = total**2 - (true**2).sum(1)
    predicted_spread = total**2 - (predicted**2).sum(1)
    covariance = hits * total - (true * predicted).sum(1)
    correlation = np.where(predicted_spread > 0, covariance / np.sqrt(true_spread * predicted_spread), 0)
    return np.where(true_spread > 0, correlation, np.nan)


def evaluate(evaluation: Evaluation, tiers: dict[str, list[int]]) -> Report:
    """Scores one split, at the end of an epoch, from the gathered predictions.

    Args:
        evaluation: predictions `[N, K]` and labels `[N]`, on any device; copied to the CPU once.
        tiers: class indices of `head`, `medium` and `tail` (see `tiers`).

    Returns:
        The report; see its fields for definitions and for what NaN means.

    Raises:
        UserError: the split is empty, or the network's outputs are not finite.
    """
    require_scorable(evaluation)
    scorer = WeightedScorer(evaluation, tiers)
    scores = {name: values[0] for name, values in scorer(np.ones((1, len(evaluation.labels)))).items()}
    support = np.bincount(scorer.labels, minlength=scorer.classes)
    confusion = np.zeros((scorer.classes, scorer.classes), dtype=np.int64)
    np.add.at(confusion, (scorer.labels, scorer.predicted), 1)
    columns = (evaluation.classes, *(scores[name].tolist() for name in PER_CLASS), support.tolist())
    return Report(
        **{name: float(scores[name]) for name in SCALARS},
        per_class=[dict(zip(("class", *PER_CLASS, "support"), row, strict=True)) for row in zip(*columns, strict=True)],
        absent=[code for code, images in zip(evaluation.classes, support, strict=True) if not images],
        confusion=confusion.tolist(),
    )
