"""Thresholds of classes or labels: selected on validation images, evaluated on test images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import beta

from ltmed.evaluation.bootstrap import percentile_interval, resample_weights
from ltmed.evaluation.operating_points import (
    CRITERIA,
    FEW_POSITIVES,
    decide,
    minimum_cost,
    net_benefit,
    youden_threshold,
)

MIN_UNITS = 30
"""With fewer lesions, patients or images, a bootstrap interval is too narrow: it is joined with an exact one."""
THRESHOLD_RESAMPLES = 200
"""At most so many resamples of the validation part for the interval of a threshold, which is chosen in each."""


@dataclass(frozen=True)
class OneVersusRest:
    """One class (or label) against the rest. N images, those whose label is known."""

    scores: np.ndarray
    """float `[N]`, probabilities."""
    truth: np.ndarray
    """bool `[N]`."""
    groups: np.ndarray | None = None
    """int64 `[N]`, images that are resampled together."""

    def units(self, mask: np.ndarray) -> int:
        """Number of groups (or images) among the images of a mask."""
        return _units(self.groups, mask)

    @property
    def members(self) -> np.ndarray:
        """int64 `[N]`, the unit (0..G-1) that each image belongs to."""
        return _members(self.groups, len(self.truth))

    @property
    def one_sided(self) -> bool:
        """Whether there is no positive or no negative image."""
        return bool(self.truth.all() or not self.truth.any())


@dataclass(frozen=True)
class Scores:
    """Probabilities of one part. N images, K classes."""

    probabilities: np.ndarray
    """float `[N, K]`, calibrated."""
    labels: np.ndarray
    """int64 `[N]`; or float `[N, K]` of several labels, 0, 1 or NaN (unknown)."""
    groups: np.ndarray | None = None
    """int64 `[N]`, images that are resampled together."""

    def of(self, k: int) -> OneVersusRest:
        """A class against the rest, or a label against its absence; images on which it is unknown are left out."""
        if self.labels.ndim == 1:
            return OneVersusRest(self.probabilities[:, k], self.labels == k, self.groups)
        known = ~np.isnan(self.labels[:, k])
        groups = None if self.groups is None else self.groups[known]
        return OneVersusRest(self.probabilities[known, k], self.labels[known, k] == 1, groups)

    def units(self, mask: np.ndarray) -> int:
        """Number of groups (or images) among the images of a mask."""
        return _units(self.groups, mask)


def _units(groups: np.ndarray | None, mask: np.ndarray) -> int:
    return int(mask.sum()) if groups is None else len(np.unique(groups[mask]))


def _members(groups: np.ndarray | None, images: int) -> np.ndarray:
    return np.arange(images) if groups is None else np.unique(groups, return_inverse=True)[1]


def exact_interval(hits: float, trials: float, level: float = 0.95) -> list[float]:
    """[low, high] of a binomial proportion (Clopper and Pearson 1934); [0, 1] without a trial."""
    if trials <= 0:
        return [0.0, 1.0]
    tail = (1 - level) / 2
    low = 0.0 if hits <= 0 else float(beta.ppf(tail, hits, trials - hits + 1))
    high = 1.0 if hits >= trials else float(beta.ppf(1 - tail, hits + 1, trials - hits))
    return [low, high]


def operating_point(
    validation: Scores,
    test: Scores,
    k: int,
    criterion: str,
    target: float | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """One threshold, its performance on validation images and on test images.

    The threshold depends on validation images only.

    Args:
        validation: scores for its selection.
        test: scores for its evaluation.
        k: the class against all others, or the label against its absence.
        criterion: "sensitivity", "specificity" or "youden".
        target: of the first two.
        resamples: of the intervals.
        seed: of the resamples.

    Returns:
        plain values: `criterion`, `target`, `threshold` (None where there is none, for the `reason` given);
        `threshold_interval`, 95 % percentile over resamples of the validation part; `validation` {positives, negatives,
        sensitivity {value, interval}, specificity {...}}, the intervals exact; `few`, whether it is from fewer than
        `FEW_POSITIVES` positive images; `test` {images, positives, sensitivity, specificity, ppv, npv, f1: {value,
        interval}}, a value None where it is undefined; `test` is None where the label is unknown on every test image.
    """
    selection = validation.of(k)
    scores, truth = selection.scores, selection.truth
    result: dict[str, Any] = {
        "criterion": criterion, "target": target, "threshold": None, "threshold_interval": None, "reason": None,
        "few": int(truth.sum()) < FEW_POSITIVES,
        "validation": {"positives": int(truth.sum()), "negatives": int((~truth).sum())}, "test": None,
    }  # fmt: skip
    if selection.one_sided:
        result["reason"] = f"no {'other ' if truth.any() else ''}validation image"
        return result
    select = _selector(criterion, target)
    threshold = select(scores, truth)
    positive = scores >= threshold
    result["threshold"] = threshold
    result["threshold_interval"] = _threshold_interval(selection, select, min(resamples, THRESHOLD_RESAMPLES), seed)
    for name, side, hit in (("sensitivity", truth, positive), ("specificity", ~truth, ~positive)):
        rate = float((hit & side).sum() / side.sum())
        units = selection.units(side)
        result["validation"][name] = {"value": rate, "interval": exact_interval(rate * units, units)}
    result["test"] = _on_test(test.of(k), threshold, resamples, seed)
    return result


def _selector(criterion: str, target: float | None) -> Callable[[np.ndarray, np.ndarray], float]:
    if criterion == "youden":
        return youden_threshold
    assert target is not None
    return lambda scores, truth: CRITERIA[criterion](scores, truth, target)


def _threshold_interval(
    validation: OneVersusRest, select: Callable[[np.ndarray, np.ndarray], float], resamples: int, seed: int
) -> list[float]:
    """Percentile interval of the threshold over resamples of the validation images that contain both classes."""
    thresholds = []
    for weights in resample_weights(validation.members, resamples, seed):
        for row in weights.astype(int):
            resampled_truth = np.repeat(validation.truth, row)
            if resampled_truth.any() and not resampled_truth.all():
                thresholds.append(select(np.repeat(validation.scores, row), resampled_truth))
    return percentile_interval(np.array(thresholds, dtype=float))


def _on_test(test: OneVersusRest, threshold: float, resamples: int, seed: int) -> dict[str, Any] | None:
    scores, truth = test.scores, test.truth
    if not len(truth):  # The label is unknown on every image.
        return None
    decision = decide(scores, truth, threshold, groups=test.groups, resamples=resamples, seed=seed)
    positive = scores >= threshold
    denominators = {"sensitivity": truth, "specificity": ~truth, "ppv": positive, "npv": ~positive}
    result: dict[str, Any] = {"images": len(truth), "positives": decision.positives}
    for name, value in decision.rates.items():
        interval = decision.intervals[name]
        if name in denominators:
            interval = widened(value, interval, test.units(denominators[name]))
        result[name] = {"value": None if np.isnan(value) else value, "interval": interval}
    return result


def widened(value: float, interval: list[float], units: int) -> list[float]:
    """A bootstrap interval of a rate, joined with the exact one where it rests on few units, or is 0 or 1.

    Resamples of hits alone contain nothing but hits: the interval of 3 of 3 would be 100 to 100 %.

    Args:
        value: the rate; NaN where it is undefined.
        interval: [low, high].
        units: groups (or images) that the rate is of.
    """
    if units >= MIN_UNITS and 0 < value < 1:
        return interval
    exact = [0.0, 1.0] if np.isnan(value) else exact_interval(value * units, units)
    return [float(np.fmin(interval[0], exact[0])), float(np.fmax(interval[1], exact[1]))]


def decision_curve(test: Scores, k: int, thresholds: np.ndarray) -> dict[str, np.ndarray]:
    """Net benefit at each threshold `[T]`: of the class's probability, of calling every image positive, and none."""
    test_scores = test.of(k)
    scores, truth = test_scores.scores, test_scores.truth
    prevalence, odds = float(truth.mean()), thresholds / (1 - thresholds)
    return {
        "thresholds": thresholds,
        "model": net_benefit(scores, truth, thresholds),
        "all": prevalence - (1 - prevalence) * odds,
        "none": np.zeros(len(thresholds)),
    }


def least_cost(test: Scores, cost: np.ndarray, *, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Mean cost of decisions of minimum expected cost on test images, compared with the most probable class.

    Args:
        test: calibrated probabilities of images with one label each.
        cost: `[K, K]`, row = true class, column = decision.
        resamples: of the intervals.
        seed: of the resamples.

    Returns:
        plain values: `most_probable` and `least_cost`, each {cost {value, interval}, recall [K], decisions [K]}:
        the mean cost of an image, recall of every class, images assigned to each class; `saving` {value, interval},
        paired.

    Raises:
        UserError: the matrix does not fit.
    """
    classes = test.probabilities.shape[1]
    decisions = {"most_probable": test.probabilities.argmax(1), "least_cost": minimum_cost(test.probabilities, cost)}
    costs = {name: cost[test.labels, predicted] for name, predicted in decisions.items()}
    costs["saving"] = costs["most_probable"] - costs["least_cost"]
    resampled: dict[str, list[np.ndarray]] = {name: [] for name in costs}
    for weights in resample_weights(_members(test.groups, len(test.labels)), resamples, seed):
        for name, values in costs.items():
            resampled[name].append(weights @ values / weights.sum(1))
    means = {
        name: {"value": float(values.mean()), "interval": percentile_interval(np.concatenate(resampled[name]))}
        for name, values in costs.items()
    }
    support = np.bincount(test.labels, minlength=classes)
    result: dict[str, Any] = {"saving": means["saving"]}
    for name, predicted in decisions.items():
        hits = np.bincount(test.labels, predicted == test.labels, minlength=classes)
        result[name] = {
            "cost": means[name],
            "recall": [float(h / n) if n else None for h, n in zip(hits, support, strict=True)],
            "decisions": np.bincount(predicted, minlength=classes).tolist(),
        }
    return result
