"""Conformal sets calibrated on validation images, and their coverage of test images, by class and tier."""

from __future__ import annotations

from typing import Any

import numpy as np

from ltmed.evaluation.bootstrap import percentile_interval, resample_weights
from ltmed.evaluation.conformal import Condition, ConformalSets, Score, calibrate, coverage
from ltmed.evaluation.thresholds import Scores, widened

KINDS: tuple[tuple[Score, Condition], ...] = (
    ("lac", "marginal"),
    ("aps", "marginal"),
    ("lac", "pooled"),
    ("aps", "pooled"),
    ("prevalence", "marginal"),
    ("lac", "cluster"),
)
MEANING = {
    "marginal": "one threshold",
    "pooled": "by class, small classes pooled",
    "cluster": "by clusters of classes",
    "lac": "LAC",
    "aps": "APS",
    "prevalence": "LAC over prior",
}


def conformal_sets(
    validation: Scores,
    test: Scores,
    *,
    prior: np.ndarray,
    tiers: dict[str, list[int]],
    target: float = 0.9,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Calibrates every kind of set on validation images and scores it on test images.

    Thresholds depend only on validation images and the class frequencies of the training part. Probabilities should be
    those of the network: a temperature fitted on the same validation images would weaken the guarantee.

    Args:
        validation: calibration images.
        test: images for evaluation.
        prior: `[K]`, class frequencies of the training part.
        tiers: class indices of `head`, `medium` and `tail`.
        target: nominal coverage, inside (0, 1).
        resamples: of the intervals.
        seed: of resamples and clustering.

    Returns:
        plain values: `target`, `validation` [K] images, `kinds`: rows of score, condition, coverage {value, interval},
        mean_size {value, interval}, empty, tiers {tier: {coverage {value, interval}, images}}, classes [K] of coverage
        {value, interval} (value None without images) and `own`, whether the class has a threshold of its own.

    Raises:
        UserError: a target out of range, no validation images.
    """
    alpha = round(1 - target, 12)
    result = {
        "target": target,
        "validation": np.bincount(validation.labels, minlength=len(prior)).tolist(),
        "kinds": [],
    }
    for score, condition in KINDS:
        sets = calibrate(
            validation.probabilities, validation.labels, prior=prior, score=score, condition=condition, alpha=alpha,
            groups=validation.groups, seed=seed,
        )  # fmt: skip
        result["kinds"].append(_row(sets, test, tiers, resamples, seed))
    return result


def _row(sets: ConformalSets, test: Scores, tiers: dict[str, list[int]], resamples: int, seed: int) -> dict[str, Any]:
    in_set = sets(test.probabilities)
    overall = coverage(in_set, test.labels)
    hit = in_set[np.arange(len(test.labels)), test.labels].astype(float)
    masks = {tier: np.isin(test.labels, members) for tier, members in tiers.items()}
    masks |= {str(k): test.labels == k for k in range(len(sets.prior))}
    all_images = np.ones(len(hit), bool)
    values = {name: _covered(hit, mask) for name, mask in masks.items()}
    resampled: dict[str, list[np.ndarray]] = {name: [] for name in ("", "size", *masks)}
    members = np.arange(len(hit)) if test.groups is None else np.unique(test.groups, return_inverse=True)[1]
    for weights in resample_weights(members, resamples, seed):
        resampled["size"].append(weights @ in_set.sum(1) / weights.sum(1))
        for name, mask in {"": all_images, **masks}.items():
            with np.errstate(invalid="ignore"):
                resampled[name].append(weights @ (hit * mask) / (weights @ mask.astype(float)))

    def interval(name: str, mask: np.ndarray, value: float | None) -> list[float]:
        rate = float("nan") if value is None else value
        return widened(rate, percentile_interval(np.concatenate(resampled[name])), test.units(mask))

    cells = {
        name: {"value": values[name], "interval": interval(name, mask, values[name])} for name, mask in masks.items()
    }
    return {
        "score": sets.score,
        "condition": sets.condition,
        "coverage": {"value": overall.coverage, "interval": interval("", all_images, overall.coverage)},
        "mean_size": {"value": overall.mean_size, "interval": percentile_interval(np.concatenate(resampled["size"]))},
        "empty": overall.empty,
        "tiers": {tier: {"coverage": cells[tier], "images": int(masks[tier].sum())} for tier in tiers},
        "classes": [{"coverage": cells[str(k)], "own": bool(sets.guaranteed[k])} for k in range(len(sets.prior))],
    }


def _covered(hit: np.ndarray, mask: np.ndarray) -> float | None:
    return float(hit[mask].mean()) if mask.any() else None
