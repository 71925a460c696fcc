"""Temperature scaling: fitted on validation predictions, evaluated on test predictions."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from ltmed.evaluation.calibration import (
    MIN_POSITIVES,
    apply_temperature,
    class_gaps,
    fit_temperature,
    quality,
    quality_intervals,
)

MEANING = {
    "ece": "expected calibration error of the predicted class",
    "classwise_ece": "mean calibration error of every class's probability",
    "brier": "Brier score",
    "nll": "negative log likelihood",
}


def calibration(
    validation: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    *,
    classes: tuple[str, ...],
    groups: np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Fits a temperature and scores the test probabilities before and after it.

    The temperature depends on validation predictions only.

    Args:
        validation: probabilities `[M, K]` and labels int64 `[M]` of the images for the fit.
        test: probabilities `[N, K]` and labels int64 `[N]`.
        classes: K codes.
        groups: int64 `[N]`, test images that are resampled together.
        resamples: of the intervals.
        seed: of the resamples.

    Returns:
        plain values: `temperature`, `validation_images`; `few`, the classes with fewer than `MIN_POSITIVES`
        validation images -> how many; `before` and `after`, number of `ltmed.evaluation.calibration.Quality` ->
        {value, interval}; `classes`, rows of class (or the classes of `few` pooled), images, before, after: the
        calibration error of that class's probability.

    Raises:
        UserError: there are no validation images.
    """
    temperature = fit_temperature(*validation)
    probabilities, labels = test
    scaled = apply_temperature(probabilities, temperature)
    n_validation = np.bincount(validation[1], minlength=len(classes))
    rare = np.flatnonzero(n_validation < MIN_POSITIVES)
    support = np.bincount(labels, minlength=len(classes))
    rows = [([k], code) for k, code in enumerate(classes) if k not in rare]
    if len(rare):
        rows.append((rare.tolist(), " + ".join(classes[k] for k in rare)))
    return {
        "temperature": temperature,
        "validation_images": len(validation[1]),
        "few": {classes[k]: int(n_validation[k]) for k in rare.tolist()},
        "before": _with_intervals(probabilities, labels, groups, resamples, seed),
        "after": _with_intervals(scaled, labels, groups, resamples, seed),
        "classes": [
            {
                "class": name,
                "images": int(support[members].sum()),
                "before": class_gaps(probabilities, labels, members),
                "after": class_gaps(scaled, labels, members),
            }
            for members, name in rows
        ],
    }


def _with_intervals(
    probabilities: np.ndarray, labels: np.ndarray, groups: np.ndarray | None, resamples: int, seed: int
) -> dict[str, Any]:
    intervals = quality_intervals(probabilities, labels, groups=groups, resamples=resamples, seed=seed)
    values = asdict(quality(probabilities, labels))
    return {name: {"value": value, "interval": intervals[name]} for name, value in values.items()}
