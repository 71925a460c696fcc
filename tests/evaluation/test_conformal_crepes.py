"""Conformal sets against those of the library crepes, where it is installed (`pip install crepes`)."""

from __future__ import annotations

import numpy as np
import pytest

from ltmed.evaluation.conformal import Score, calibrate, scores
from tests.evaluation.test_conformal import PRIOR, split

crepes = pytest.importorskip("crepes")


def theirs(own: np.ndarray, fresh: np.ndarray, alpha: float) -> np.ndarray:
    """Classes whose p value by crepes is above alpha.

    `predict_set` of crepes keeps those of exactly alpha too, which valid sets need not: P(p <= alpha) <= alpha. The
    two differ where (n + 1) alpha is a whole number.

    Args:
        own: scores of the true classes of calibration images.
        fresh: scores of every class of new images.
        alpha: 1 - coverage.
    """
    classifier = crepes.ConformalClassifier()
    classifier.fit(own, seed=0)
    sets = np.asarray(classifier.predict_p(fresh, smoothing=False)) > alpha + 1e-9
    if abs((len(own) + 1) * alpha - round((len(own) + 1) * alpha)) > 1e-9:
        np.testing.assert_array_equal(sets, classifier.predict_set(fresh, confidence=1 - alpha, smoothing=False) == 1)
    return sets


@pytest.mark.parametrize("score", ["lac", "aps", "prevalence"])
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.25])
def test_marginal_sets_are_equal(score: Score, alpha: float) -> None:
    for seed in range(5):
        probabilities, labels = split(137 + seed, seed)
        fresh, _ = split(400, 100 + seed)
        sets = calibrate(probabilities, labels, prior=PRIOR, score=score, alpha=alpha)(fresh)
        own = scores(probabilities, score, PRIOR)[np.arange(len(labels)), labels]
        np.testing.assert_array_equal(sets, theirs(own, scores(fresh, score, PRIOR), alpha))


@pytest.mark.parametrize("score", ["lac", "aps"])
def test_class_conditional_sets_are_equal(score: Score) -> None:
    probabilities, labels = split(600, 3)
    fresh, _ = split(500, 4)
    sets = calibrate(probabilities, labels, prior=PRIOR, score=score, condition="class", alpha=0.1)(fresh)
    strange, new = scores(probabilities, score, PRIOR), scores(fresh, score, PRIOR)
    for k in range(4):
        expected = theirs(strange[labels == k, k], new[:, [k]], 0.1)
        np.testing.assert_array_equal(sets[:, k], expected[:, 0])
