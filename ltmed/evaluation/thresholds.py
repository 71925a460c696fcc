"""Thresholds of classes, or of several labels: chosen on validation images, judged on test images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import beta

from ltmed.evaluation.bootstrap import draw, percentile_interval
from ltmed.evaluation.operating_points import (
    CRITERIA,
    FEW_POSITIVES,
    decide,
    minimum_cost,
    net_benefit,
    youden_threshold,
)

LEAST_UNITS = 30
"""Of fewer lesions, patients or images a bootstrap interval is too narrow: an exact one is joined with it."""


@dataclass(frozen=True)
class OneClass:
    """One class (or label) against the rest. N images, those whose label is known."""

    scores: np.ndarray
    """float `[N]`, probabilities."""
    truth: np.ndarray
    """bool `[N]`."""
    groups: np.ndarray | None = None
    """int64 `[N]`, images that are resampled together."""

    def units(self, mask: np.ndarray) -> int:
        """Groups (or images) among some images."""
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

    def of(self, k: int) -> OneClass:
        """A class against the rest, or a label against its absence; images on which it is unknown are left out."""
        if self.labels.ndim == 1:
            return OneClass(self.probabilities[:, k], self.labels == k, self.groups)
        known = ~np.isnan(self.labels[:, k])
        groups = None if self.groups is None else self.groups[known]
        return OneClass(self.probabilities[known, k], self.labels[known, k] == 1, groups)

    def units(self, mask: np.ndarray) -> int:
        """Groups (or images) among some images."""
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
    """One threshold: where it comes from, and what it gives.

    Only validation images reach the threshold.

    Args:
        validation: what it is chosen on.
        test: what it is judged on.
        k: the class against all others, or the label against its absence.
        criterion: "sensitivity", "specificity" or "youden".
        target: of the first two.
        resamples: of the intervals.
        seed: of the resamples.

    Returns:
        plain values: `criterion`, `target`, `threshold` (None where there is none, and `reason` says why);
        `threshold_interval`, 95 % percentile over resamples of the validation part; `validation` {positives, negatives,
        sensitivity {value, interval}, specificity {...}}, the intervals exact; `few`, whether it is from fewer than
        `FEW_POSITIVES` positive images; `test` {images, positives, sensitivity, specificity, ppv, npv, f1: {value,
        interval}}, a value None where it is undefined; `test` is None where the label is unknown on every test image.
    """
    chosen_on = validation.of(k)
    scores, truth = chosen_on.scores, chosen_on.truth
    found: dict[str, Any] = {
        "criterion": criterion, "target": target, "threshold": None, "threshold_interval": None, "reason": None,
        "few": int(truth.sum()) < FEW_POSITIVES,
        "validation": {"positives": int(truth.sum()), "negatives": int((~truth).sum())}, "test": None,
    }  # fmt: skip
    if chosen_on.one_sided:
        found["reason"] = f"no {'other ' if truth.any() else ''}validation image"
        return found
    choose = _choice(criterion, target)
    threshold = choose(scores, truth)
    positive = scores >= threshold
    found["threshold"] = threshold
    found["threshold_interval"] = _threshold_interval(chosen_on, choose, min(resamples, 200), seed)
    for name, side, hit in (("sensitivity", truth, positive), ("specificity", ~truth, ~positive)):
        rate = float((hit & side).sum() / side.sum())
        units = chosen_on.units(side)
        found["validation"][name] = {"value": rate, "interval": exact_interval(rate * units, units)}
    found["test"] = _on_test(test.of(k), threshold, resamples, seed)
    return found


def _choice(criterion: str, target: float | None) -> Callable[[np.ndarray, np.ndarray], float]:
    if criterion == "youden":
        return youden_threshold
    assert target is not None
    return lambda scores, truth: CRITERIA[criterion](scores, truth, target)


def _threshold_interval(
    validation: OneClass, choose: Callable[[np.ndarray, np.ndarray], float], resamples: int, seed: int
) -> list[float]:
    """Where the threshold would lie, were the validation images drawn again; resamples without the class have none."""
    found = []
    for weights in draw(validation.members, resamples, seed):
        for row in weights.astype(int):
            drawn = np.repeat(validation.truth, row)
            if drawn.any() and not drawn.all():
                found.append(choose(np.repeat(validation.scores, row), drawn))
    return percentile_interval(np.array(found, dtype=float))


def _on_test(test: OneClass, threshold: float, resamples: int, seed: int) -> dict[str, Any] | None:
    scores, truth = test.scores, test.truth
    if not len(truth):  # The label is unknown on every image.
        return None
    decision = decide(scores, truth, threshold, groups=test.groups, resamples=resamples, seed=seed)
    positive = scores >= threshold
    denominators = {"sensitivity": truth, "specificity": ~truth, "ppv": positive, "npv": ~positive}
    found: dict[str, Any] = {"images": len(truth), "positives": decision.positives}
    for name, value in decision.rates.items():
        interval = decision.intervals[name]
        if name in denominators:
            interval = widened(value, interval, test.units(denominators[name]))
        found[name] = {"value": None if np.isnan(value) else value, "interval": interval}
    return found


def widened(value: float, interval: list[float], units: int) -> list[float]:
    """A bootstrap interval of a rate, joined with the exact one where it rests on few units, or is 0 or 1.

    Resampling hits alone gives the same hits again, so that 3 of 3 would be 100 to 100 %.

    Args:
        value: the rate; NaN where it is undefined.
        interval: [low, high].
        units: groups (or images) that the rate is of.
    """
    if units >= LEAST_UNITS and 0 < value < 1:
        return interval
    exact = [0.0, 1.0] if np.isnan(value) else exact_interval(value * units, units)
    return [float(np.fmin(interval[0], exact[0])), float(np.fmax(interval[1], exact[1]))]


def decision_curve(test: Scores, k: int, thresholds: np.ndarray) -> dict[str, np.ndarray]:
    """Net benefit at each threshold `[T]`: of the class's probability, of calling every image positive, and none."""
    judged = test.of(k)
    scores, truth = judged.scores, judged.truth
    prevalence, odds = float(truth.mean()), thresholds / (1 - thresholds)
    return {
        "thresholds": thresholds,
        "model": net_benefit(scores, truth, thresholds),
        "all": prevalence - (1 - prevalence) * odds,
        "none": np.zeros(len(thresholds)),
    }


def least_cost(test: Scores, cost: np.ndarray, *, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """What decisions of least expected cost cost on test images, beside the most probable class.

    Args:
        test: calibrated probabilities of images with one label each.
        cost: `[K, K]`, row = true class, column = decision.
        resamples: of the intervals.
        seed: of the resamples.

    Returns:
        plain values: `most_probable` and `least_cost`, each {cost {value, interval}, recall [K], decisions [K]}:
        the mean cost of an image, recall of every class, images that were given each class; `saving` {value, interval},
        paired.

    Raises:
        UserError: the matrix does not fit.
    """
    classes = test.probabilities.shape[1]
    decisions = {"most_probable": test.probabilities.argmax(1), "least_cost": minimum_cost(test.probabilities, cost)}
    costs = {name: cost[test.labels, chosen] for name, chosen in decisions.items()}
    costs["saving"] = costs["most_probable"] - costs["least_cost"]
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in costs}
    for weights in draw(_members(test.groups, len(test.labels)), resamples, seed):
        for name, values in costs.items():
            drawn[name].append(weights @ values / weights.sum(1))
    means = {
        name: {"value": float(values.mean()), "interval": percentile_interval(np.concatenate(drawn[name]))}
        for name, values in costs.items()
    }
    support = np.bincount(test.labels, minlength=classes)
    found: dict[str, Any] = {"saving": means["saving"]}
    for name, chosen in decisions.items():
        hits = np.bincount(test.labels, chosen == test.labels, minlength=classes)
        found[name] = {
            "cost": means[name],
            "recall": [float(h / n) if n else None for h, n in zip(hits, support, strict=True)],
            "decisions": np.bincount(chosen, minlength=classes).tolist(),
        }
    return found
