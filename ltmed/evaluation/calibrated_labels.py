"""Platt scaling of each label: fitted on validation predictions, evaluated on test predictions.

Letters: N images, K labels, R resamples. A label without a known positive or without a known negative among the test
images is not scored, as in `ltmed.evaluation.multilabel`; unknown entries are ignored.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from ltmed.evaluation.bootstrap import metric_interval, resample_weights
from ltmed.evaluation.calibration import TINY, Platt
from ltmed.evaluation.metrics import mean_of_defined
from ltmed.evaluation.multilabel import calibration_gaps

MEANING = {
    "ece": "expected calibration error, mean over the labels",
    "brier": "Brier score, mean over the labels",
    "nll": "negative log likelihood, mean over the labels",
}


def label_calibration(
    scaling: Platt,
    validation: np.ndarray,
    test: tuple[np.ndarray, np.ndarray],
    *,
    classes: tuple[str, ...],
    groups: np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Scores the test probabilities of several labels before and after a scaling of each.

    Args:
        scaling: from `ltmed.evaluation.calibration.fit_platt` on validation predictions.
        validation: the targets `[M, K]` that it was fitted on, 0, 1 or NaN.
        test: probabilities `[N, K]` and targets `[N, K]`.
        classes: K codes.
        groups: int64 `[N]`, test images that are resampled together.
        resamples: of the intervals.
        seed: of the resamples.

    Returns:
        plain values: `platt` {label: {slope, offset}}; `validation_images`; `few`, the labels that share a scaling ->
        their validation images with the label or without it, whichever are fewer; `reversed`, the labels of
        `Platt.reversed`; `before` and `after`, name of `MEANING` -> {value, interval}; `classes`, rows of class, images
        (positive test images), before, after: each {ece, brier, nll: {value, interval}}.
    """
    probabilities, targets = test
    parts = {"before": probabilities.astype(np.float64), "after": scaling(probabilities)}
    scored = {when: _LabelScores(values, targets) for when, values in parts.items()}
    unit_weights = np.ones((1, len(targets)))
    values = {when: scorer(unit_weights) for when, scorer in scored.items()}
    members = np.arange(len(targets)) if groups is None else np.unique(groups, return_inverse=True)[1]
    resampled: dict[str, list[dict[str, np.ndarray]]] = {when: [] for when in parts}
    for weights in resample_weights(members, resamples, seed):
        for when, scorer in scored.items():
            resampled[when].append(scorer(weights))
    samples = {
        when: {name: np.concatenate([chunk[name] for chunk in chunks]) for name in MEANING}
        for when, chunks in resampled.items()
    }
    fewest = np.minimum((validation == 1).sum(0), (validation == 0).sum(0))

    def with_interval(name: str, value: float, resampled: np.ndarray) -> dict[str, Any]:
        return {"value": float(value), "interval": metric_interval(name, resampled, value)}

    def overall(when: str) -> dict[str, Any]:
        with np.errstate(invalid="ignore"):
            means = {
                name: (mean_of_defined(values[when][name])[0], mean_of_defined(samples[when][name])) for name in MEANING
            }
        return {name: with_interval(name, *mean) for name, mean in means.items()}

    def of_label(when: str, k: int) -> dict[str, Any]:
        return {name: with_interval(name, values[when][name][0, k], samples[when][name][:, k]) for name in MEANING}

    return {
        "platt": {
            code: {"slope": float(slope), "offset": float(offset)}
            for code, slope, offset in zip(classes, scaling.slope, scaling.offset, strict=True)
        },
        "validation_images": len(validation),
        "few": {classes[k]: int(fewest[k]) for k in scaling.pooled},
        "reversed": [classes[k] for k in scaling.reversed],
        "before": overall("before"),
        "after": overall("after"),
        "classes": [
            {
                "class": code,
                "images": int((targets[:, k] == 1).sum()),
                "before": of_label("before", k),
                "after": of_label("after", k),
            }
            for k, code in enumerate(classes)
        ],
    }


class _LabelScores:
    """The metrics of `MEANING` of each label, for weights of the images `[R, N]`: name -> `[R, K]`."""

    def __init__(self, probabilities: np.ndarray, targets: np.ndarray) -> None:
        is_known = ~np.isnan(targets)
        positive = targets == 1
        self.counts = [positive.astype(float), (is_known & ~positive).astype(float)]
        clipped = np.clip(probabilities, TINY, 1 - TINY)
        likelihood = -np.where(positive, np.log(clipped), np.log1p(-clipped))
        self.terms = {
            "brier": np.where(is_known, (probabilities - positive) ** 2, 0),
            "nll": np.where(is_known, likelihood, 0),
        }
        self.gaps: list[sparse.csr_matrix] = [
            calibration_gaps(probabilities[:, k], positive[:, k], is_known[:, k]) for k in range(targets.shape[1])
        ]

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        positives, negatives = (weights @ counted for counted in self.counts)
        by_image = np.ascontiguousarray(weights.T)
        sums = {"ece": np.stack([np.abs(gaps @ by_image).sum(0) for gaps in self.gaps], axis=1)}
        sums |= {name: weights @ terms for name, terms in self.terms.items()}
        scored = (positives > 0) & (negatives > 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return {name: np.where(scored, values / (positives + negatives), np.nan) for name, values in sums.items()}
