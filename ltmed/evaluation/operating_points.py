"""Decision thresholds: selected on validation images, evaluated on test images.

One class (or label) against the rest: score s, decision "positive" where s >= t. Letters: N images, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ltmed.errors import UserError
from ltmed.evaluation.bootstrap import percentile_interval, resample_weights
from ltmed.evaluation.metrics import Evaluation, require_scorable
from ltmed.evaluation.multilabel import HALF

FEW_POSITIVES = 5
"""A threshold from fewer positive validation images is reported with a warning."""


@dataclass(frozen=True)
class Counts:
    """Weighted confusion counts of a decision, each a float or `[R]`."""

    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    tn: np.ndarray

    def rates(self) -> dict[str, np.ndarray]:
        """Sensitivity, specificity, PPV, NPV and F1, each in 0..1; NaN where undefined."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return {
                "sensitivity": self.tp / (self.tp + self.fn),
                "specificity": self.tn / (self.tn + self.fp),
                "ppv": self.tp / (self.tp + self.fp),
                "npv": self.tn / (self.tn + self.fn),
                "f1": 2 * self.tp / (2 * self.tp + self.fp + self.fn),
            }


def count(positive: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> Counts:
    """Counts of a decision bool `[N]` against truth bool `[N]` for weights `[R, N]` (or `[N]`)."""
    sums = (weights @ (mask.astype(float)) for mask in (positive & truth, positive & ~truth, ~positive & truth))
    tp, fp, fn = (np.asarray(value) for value in sums)
    return Counts(tp, fp, fn, np.asarray(weights.sum(-1)) - tp - fp - fn)


def candidates(scores: np.ndarray) -> np.ndarray:
    """All thresholds with different decisions, in ascending order: the distinct scores, and one above them all."""
    distinct = np.unique(scores)
    return np.append(distinct, np.nextafter(distinct[-1], np.inf))


def curve(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thresholds `[T]`, and sensitivity and specificity `[T]` of `score >= threshold`; sorted once, O(N log N)."""
    thresholds = candidates(scores)
    positives, negatives = np.sort(scores[truth]), np.sort(scores[~truth])
    _require_both(len(positives), len(negatives))
    sensitivity = 1 - np.searchsorted(positives, thresholds, "left") / len(positives)
    specificity = np.searchsorted(negatives, thresholds, "left") / len(negatives)
    return thresholds, sensitivity, specificity


def threshold_for_sensitivity(scores: np.ndarray, truth: np.ndarray, target: float) -> float:
    """The highest threshold with a sensitivity of at least `target`, which is the most specific one.

    Args:
        scores: float `[N]` of the validation images.
        truth: bool `[N]`.
        target: inside (0, 1].

    Raises:
        UserError: no positive or no negative image, or a target out of range.
    """
    _require_share("sensitivity", target)
    thresholds, sensitivity, _ = curve(scores, truth)
    return float(thresholds[sensitivity >= target - 1e-12].max())


def threshold_for_specificity(scores: np.ndarray, truth: np.ndarray, target: float) -> float:
    """The lowest threshold with a specificity of at least `target`, which is the most sensitive one."""
    _require_share("specificity", target)
    thresholds, _, specificity = curve(scores, truth)
    return float(thresholds[specificity >= target - 1e-12].min())


def youden_threshold(scores: np.ndarray, truth: np.ndarray) -> float:
    """The threshold of the largest sensitivity + specificity - 1 (Youden 1950); the lowest of several."""
    thresholds, sensitivity, specificity = curve(scores, truth)
    index = sensitivity + specificity
    return float(thresholds[np.flatnonzero(index >= index.max() - 1e-12)[0]])


def f1_threshold(scores: np.ndarray, truth: np.ndarray) -> float:
    """The threshold of the largest F1, the highest of several; above all scores where no image is positive."""
    if truth.all() or not truth.any():
        return float(scores.min() if truth.any() else np.nextafter(scores.max(), np.inf))
    thresholds, sensitivity, specificity = curve(scores, truth)
    tp, fp = sensitivity * truth.sum(), (1 - specificity) * (~truth).sum()
    f1 = 2 * tp / (tp + fp + truth.sum())
    return float(thresholds[f1 >= f1.max() - 1e-12].max())


def label_thresholds(evaluation: Evaluation) -> np.ndarray:
    """The threshold of the largest F1 for each of several labels, float64 `[K]`, from validation predictions.

    Unknown entries are ignored. A label without a known positive or without a known negative has 0.5, since its
    images do not determine a threshold.

    Raises:
        UserError: there are no images, or the network's outputs are not finite.
    """
    require_scorable(evaluation)
    probabilities, targets = evaluation.probabilities.cpu().numpy(), evaluation.labels.cpu().numpy()
    thresholds = np.full(targets.shape[1], HALF)
    for k, column in enumerate(targets.T):
        known = ~np.isnan(column)
        truth = column[known] == 1
        if truth.any() and not truth.all():
            thresholds[k] = f1_threshold(probabilities[known, k], truth)
    return thresholds


def minimum_cost(probabilities: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """The class of least expected cost for each image (Elkan 2001, Eq. 1).

    Args:
        probabilities: `[N, K]`, calibrated.
        cost: `[K, K]`, row = true class, column = decision.

    Returns:
        int64 `[N]`.

    Raises:
        UserError: the matrix is not K x K, or has a negative or undefined entry.
    """
    classes = probabilities.shape[1]
    if cost.shape != (classes, classes) or not np.isfinite(cost).all() or (cost < 0).any():
        raise UserError(
            f"The cost matrix is {' x '.join(map(str, cost.shape))}",
            f"Give {classes} x {classes} finite costs of at least 0: rows true classes, columns decisions.",
        )
    return (probabilities @ cost).argmin(1)


def net_benefit(scores: np.ndarray, truth: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Net benefit of acting where a calibrated probability is at least t (Vickers and Elkin 2006), `[T]`.

    TP / N - FP / N * t / (1 - t). The net benefit of acting on all images is `prevalence - (1 - prevalence) t / (1 -
    t)`, that of acting on none is 0.
    """
    n = len(scores)
    positives, negatives = np.sort(scores[truth]), np.sort(scores[~truth])
    tp = len(positives) - np.searchsorted(positives, thresholds, "left")
    fp = len(negatives) - np.searchsorted(negatives, thresholds, "left")
    return tp / n - fp / n * thresholds / (1 - thresholds)


@dataclass(frozen=True)
class Decision:
    """Performance of a threshold on test images."""

    threshold: float
    rates: dict[str, float]
    """Sensitivity, specificity, PPV, NPV, F1."""
    intervals: dict[str, list[float]]
    """The same: [low, high], 95 % percentile bootstrap over groups."""
    positives: int
    """Positive test images."""


def decide(
    scores: np.ndarray,
    truth: np.ndarray,
    threshold: float,
    *,
    groups: np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Decision:
    """Rates of `score >= threshold` on test images, with intervals over whole groups (lesions, patients).

    Args:
        scores: float `[N]`.
        truth: bool `[N]`.
        threshold: from validation images.
        groups: int64 `[N]`, or None for single images.
        resamples: R.
        seed: of the resamples.
    """
    positive = scores >= threshold
    members = np.arange(len(scores)) if groups is None else np.unique(groups, return_inverse=True)[1]
    chunks = [count(positive, truth, weights).rates() for weights in resample_weights(members, resamples, seed)]
    point = count(positive, truth, np.ones(len(scores))).rates()
    return Decision(
        threshold,
        {name: float(value) for name, value in point.items()},
        {name: percentile_interval(np.concatenate([chunk[name] for chunk in chunks])) for name in point},
        int(truth.sum()),
    )


CRITERIA: dict[str, Callable[[np.ndarray, np.ndarray, float], float]] = {
    "sensitivity": threshold_for_sensitivity,
    "specificity": threshold_for_specificity,
}


def _require_share(name: str, target: float) -> None:
    if not 0 < target <= 1:
        raise UserError(f"{name}={target} is not a share", "Give a number above 0, up to 1.")


def _require_both(positives: int, negatives: int) -> None:
    if not positives or not negatives:
        kind = "positive" if not positives else "negative"
        raise UserError(
            f"A threshold needs positive and negative validation images, and there is no {kind} one",
            "Choose another class, or a split with more validation images.",
        )
