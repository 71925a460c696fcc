"""Split conformal prediction for the long tail: sets of classes that contain the true one with a given probability.

A nonconformity score s(x, y) says how unusual class y is for image x. With the n scores of the true classes of
calibration images, the set of a new image is {y : s(x, y) <= q}, q the ceil((n + 1)(1 - alpha)) / n quantile of them:
it contains the true class with probability at least 1 - alpha (Vovk et al. 2005; Angelopoulos and Bates 2023, section
1). This coverage is marginal over all images; class-conditional thresholds q (Mondrian) give it for each class, and
need images of each.
Letters: N images, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy.cluster.vq import kmeans2

from ltmed.errors import UserError, require_choice

Score = Literal["lac", "aps", "prevalence"]
Condition = Literal["marginal", "class", "pooled", "cluster"]


@dataclass(frozen=True)
class ConformalSets:
    """Calibrated thresholds, ready for new images."""

    score: Score
    condition: Condition
    alpha: float
    """1 - coverage."""
    thresholds: np.ndarray
    """float64 `[K]`: a class belongs to the set where its score is not above its threshold; infinity always does."""
    prior: np.ndarray
    """float64 `[K]`, class frequencies of the training part."""
    guaranteed: np.ndarray
    """bool `[K]`: whether class-conditional coverage of this class is guaranteed by a finite threshold."""
    calibration_counts: np.ndarray
    """int64 `[K]`, calibration images per class."""

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """Which classes are in the set of each image: probabilities `[N, K]` -> bool `[N, K]`."""
        return scores(probabilities, self.score, self.prior) <= self.thresholds


def scores(probabilities: np.ndarray, score: Score, prior: np.ndarray) -> np.ndarray:
    """Nonconformity score of each class for each image, `[N, K]`.

    `lac`: 1 - p_y, the smallest sets (Sadinle et al. 2019). `aps`: the probability of the classes that are at least as
    likely as y, with y (Romano et al. 2020, without randomisation: sets are never smaller than needed, so coverage is
    at least as high). `prevalence`: -p_y / prior_y, which does not penalise a class for being rare (Ding,
    Fermanian and Salmon 2025, PAS).
    """
    if score == "lac":
        return 1 - probabilities
    if score == "prevalence":
        return -probabilities / np.clip(prior, 1e-12, None)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    cumulative = np.take_along_axis(probabilities, order, 1).cumsum(1)
    at_least_as_likely = np.empty_like(cumulative)
    np.put_along_axis(at_least_as_likely, order, cumulative, 1)
    return at_least_as_likely


def calibrate(
    probabilities: np.ndarray,
    labels: np.ndarray,
    *,
    prior: np.ndarray,
    score: Score = "lac",
    condition: Condition = "marginal",
    alpha: float = 0.1,
    groups: np.ndarray | None = None,
    seed: int = 0,
) -> ConformalSets:
    """Thresholds from calibration images, which must not have been trained on.

    Args:
        probabilities: `[N, K]`.
        labels: int64 `[N]`.
        prior: `[K]`, class frequencies of the training part; any positive scale.
        score: see `scores`.
        condition: `marginal`, one threshold; `class`, one per class, infinite (the class is in every set) where
            (n_y + 1)(1 - alpha) > n_y, i.e. with fewer than 9 images at alpha = 0.1; `pooled`, the same, but classes
            with fewer images share one threshold, without a guarantee for each of them; `cluster`, one for
            each cluster of classes with similar score quantiles, and one for all classes with too few images (Ding et
            al. 2023).
        alpha: 1 - coverage, inside (0, 1).
        groups: int64 `[N]`, images of one lesion or patient; None if unknown. Such images are alike, so what a class
            needs enough of are groups: nine images of one lesion say as little about other lesions as one of them.
        seed: of the clustering.

    Raises:
        UserError: alpha out of range, an unknown score or condition, no images.
    """
    require_choice("score", score, get_args(Score))
    require_choice("condition", condition, get_args(Condition))
    if not 0 < alpha < 1:
        raise UserError(f"alpha={alpha} is not between 0 and 1", "For instance 0.1 for a coverage of 90 %.")
    if not len(labels):
        raise UserError("Conformal sets cannot be calibrated without images", "Choose a split with validation images.")
    classes = probabilities.shape[1]
    prior = np.asarray(prior, dtype=np.float64) / np.sum(prior)
    label_scores = scores(probabilities, score, prior)[np.arange(len(labels)), labels]
    has_enough = _has_enough(labels, groups, classes, alpha)
    shared = {
        "marginal": lambda: np.zeros(classes, dtype=int),
        "class": lambda: np.arange(classes),
        "pooled": lambda: np.where(has_enough, 1 + np.arange(classes), 0),
        "cluster": lambda: _clusters(label_scores, labels, has_enough, alpha, seed),
    }[condition]()
    by_part = {part: conformal_quantile(label_scores[shared[labels] == part], alpha) for part in np.unique(shared)}
    thresholds = np.array([by_part[part] for part in shared])
    return ConformalSets(
        score, condition, alpha, thresholds, prior,
        guaranteed=has_enough & (condition in ("class", "pooled")),
        calibration_counts=np.bincount(labels, minlength=classes),
    )  # fmt: skip


def _has_enough(labels: np.ndarray, groups: np.ndarray | None, classes: int, alpha: float) -> np.ndarray:
    """Which classes have enough images (of different groups) for a class-conditional threshold, bool `[K]`."""
    if groups is not None:
        labels = np.unique(np.stack([labels, groups]), axis=1)[0]
    return np.bincount(labels, minlength=classes) >= np.ceil(round(1 / alpha - 1, 9))


def conformal_quantile(values: np.ndarray, alpha: float) -> float:
    """The ceil((n + 1)(1 - alpha))-th smallest of n values; infinity where there are too few."""
    # Rounded, since (9 + 1) * (1 - 0.1) may be 9.000000000000002 in floating point.
    rank = int(np.ceil(round((len(values) + 1) * (1 - alpha), 9)))
    return float("inf") if rank > len(values) else float(np.sort(values)[rank - 1])


def _clusters(
    label_scores: np.ndarray, labels: np.ndarray, has_enough: np.ndarray, alpha: float, seed: int
) -> np.ndarray:
    """The cluster of each class, int `[K]`, by the quantiles of its scores; 0: classes with too few images."""
    large = np.flatnonzero(has_enough)
    n_clusters = max(1, len(large) // 2)
    groups = np.zeros(len(has_enough), dtype=int)
    if len(large) < 2:
        return groups
    levels = np.unique([0.5, 0.6, 0.7, 0.8, 0.9, 1 - alpha])
    points = np.stack([np.quantile(label_scores[labels == k], levels) for k in large])
    _, clusters = kmeans2(points, n_clusters, minit="++", seed=seed)  # pyright: ignore[reportCallIssue]
    groups[large] = 1 + np.unique(clusters, return_inverse=True)[1]
    return groups


@dataclass(frozen=True)
class Coverage:
    """Coverage and size of sets on labelled images."""

    coverage: float
    """Share of images whose set contains the true class."""
    mean_size: float
    """Classes per set."""
    empty: float
    """Share of empty sets."""
    per_class: np.ndarray
    """float64 `[K]`: coverage of each class, NaN without images."""


def coverage(sets: np.ndarray, labels: np.ndarray) -> Coverage:
    """Scores sets, bool `[N, K]`, against labels int64 `[N]`."""
    hit, classes = sets[np.arange(len(labels)), labels], sets.shape[1]
    support = np.bincount(labels, minlength=classes)
    with np.errstate(invalid="ignore"):
        per_class = np.bincount(labels, hit, minlength=classes) / support
    return Coverage(float(hit.mean()), float(sets.sum(1).mean()), float((~sets.any(1)).mean()), per_class)
