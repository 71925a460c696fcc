"""Calibration of a run's probabilities: a temperature for one label an image, a scaling of each of several labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ltmed.evaluation.calibrated import calibration
from ltmed.evaluation.calibrated_labels import label_calibration
from ltmed.evaluation.calibration import apply_temperature, fit_platt
from ltmed.runs.predictions import Predictions


@dataclass(frozen=True)
class Scaled:
    """Probabilities after the scaling, and how well they are calibrated before and after."""

    results: dict[str, Any]
    """See `ltmed.evaluation.calibrated.calibration`, of several labels `...calibrated_labels.label_calibration`."""
    validation: np.ndarray
    """float64 `[M, K]`."""
    test: np.ndarray
    """float64 `[N, K]`."""


def scale(validation: Predictions, test: Predictions, *, resamples: int = 1000) -> Scaled:
    """Fits the scaling on validation predictions alone, and judges it on test predictions.

    Args:
        validation: with images.
        test: likewise, of the same classes.
        resamples: of the intervals.
    """
    if not test.multilabel:
        results = calibration(
            (validation.probabilities, validation.labels), (test.probabilities, test.labels), classes=test.classes,
            groups=test.groups, resamples=resamples,
        )  # fmt: skip
        parts = (apply_temperature(part.probabilities, results["temperature"]) for part in (validation, test))
        return Scaled(results, *parts)
    fitted = fit_platt(validation.probabilities, validation.labels)
    results = label_calibration(
        fitted, validation.labels, (test.probabilities, test.labels), classes=test.classes, groups=test.groups,
        resamples=resamples,
    )  # fmt: skip
    return Scaled(results, fitted(validation.probabilities), fitted(test.probabilities))
