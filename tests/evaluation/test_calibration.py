"""Scalings against simulated truth, scores against scikit-learn and loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from ltmed.errors import UserError
from ltmed.evaluation.calibration import apply_temperature, fit_platt, fit_temperature, quality


def simulated(images: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a calibrated classifier and labels drawn from its probabilities."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(images, classes)) * 2
    labels = np.array([rng.choice(classes, p=row) for row in softmax(logits, 1)])
    return logits, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_recovered(temperature: float) -> None:
    logits, labels = simulated(6000, 5)
    sharp = softmax(logits * temperature, 1)
    actual = fit_temperature(sharp, labels)
    assert actual == pytest.approx(temperature, rel=0.06)
    before, after = quality(sharp, labels), quality(apply_temperature(sharp, actual), labels)
    assert after.nll <= before.nll + 1e-9
    assert (apply_temperature(sharp, actual).argmax(1) == sharp.argmax(1)).all()
    if temperature != 1:
        assert after.ece < before.ece / 2


def test_the_temperature_of_an_overconfident_network_is_recovered_from_saved_probabilities() -> None:
    """Saved float32 probabilities of such a network reach from 1 to 1e-37."""
    temperature, logits = 14.0, np.clip(simulated(6000, 4, seed=5)[0], -3, 3)
    rng = np.random.default_rng(0)
    labels = np.array([rng.choice(4, p=row) for row in softmax(logits, 1)])
    saved = softmax((logits * temperature).astype(np.float32), 1)
    assert saved.dtype == np.float32
    assert (saved[np.arange(6000), labels] < 1e-12).mean() > 0.03
    actual = fit_temperature(saved, labels)
    assert actual == pytest.approx(temperature, rel=0.06)
    np.testing.assert_allclose(apply_temperature(saved, temperature), softmax(logits, 1), rtol=1e-3)
    assert quality(apply_temperature(saved, actual), labels).ece < 0.02


def test_the_minimum_is_the_one_of_a_grid() -> None:
    logits, labels = simulated(80, 4, seed=3)
    probabilities = softmax(logits * 2.2, 1)
    grid = np.exp(np.linspace(-1, 2, 1501))
    losses = [-np.log(apply_temperature(probabilities, t)[np.arange(80), labels]).mean() for t in grid]
    assert fit_temperature(probabilities, labels) == pytest.approx(grid[int(np.argmin(losses))], rel=2.1e-3)


def test_quality_is_that_of_scikit_learn() -> None:
    logits, labels = simulated(300, 4, seed=1)
    probabilities = softmax(logits * 1.7, 1)
    actual = quality(probabilities, labels)
    hot = np.eye(4)[labels]
    assert actual.nll == pytest.approx(log_loss(labels, probabilities, labels=range(4)))
    assert actual.brier == pytest.approx(sum(brier_score_loss(hot[:, k], probabilities[:, k]) for k in range(4)))
    gaps = []
    for k in range(4):
        bins: dict[int, list[float]] = {}
        for p, y in zip(probabilities[:, k], hot[:, k], strict=True):
            bins.setdefault(math.floor(p * 15), []).append(y - p)
        gaps.append(sum(abs(sum(rows)) for rows in bins.values()) / len(labels))
    assert actual.classwise_ece == pytest.approx(np.mean(gaps))


def test_weights_count_images_several_times() -> None:
    logits, labels = simulated(60, 3, seed=2)
    probabilities = softmax(logits, 1)
    weights = np.random.default_rng(0).integers(0, 4, 60)
    rows = np.repeat(np.arange(60), weights)
    weighted, copied = quality(probabilities, labels, weights.astype(float)), quality(probabilities[rows], labels[rows])
    assert vars(weighted) == pytest.approx(vars(copied))


def test_platt_is_a_logistic_regression_and_pools_small_labels() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(3000, 3)) * 2
    targets = (rng.random((3000, 3)) < expit(0.4 * scores - 1)).astype(float)
    targets[:, 2] = 0
    targets[:4, 2] = 1  # Four positives: too few for a scaling of its own.
    targets[5:50, 0] = np.nan
    actual = fit_platt(expit(scores), targets)
    assert actual.pooled == (2,)
    known = ~np.isnan(targets[:, 0])
    oracle = LogisticRegression(C=1e6).fit(scores[known, :1], targets[known, 0])
    assert actual.slope[0] == pytest.approx(oracle.coef_[0, 0], rel=0.02)
    assert actual.offset[0] == pytest.approx(oracle.intercept_[0], rel=0.02)
    calibrated = actual(expit(scores))
    assert calibrated[known, 0].mean() == pytest.approx(targets[known, 0].mean(), abs=0.01)


def test_nothing_to_fit() -> None:
    with pytest.raises(UserError):
        fit_temperature(np.zeros((0, 3)), np.zeros(0, dtype=int))
    never = fit_platt(np.full((30, 1), 0.3), np.zeros((30, 1)))
    np.testing.assert_allclose(never(np.array([[0.3]])), [[0.3]])


@pytest.mark.parametrize("right", [True, False])
def test_certain_networks_have_a_finite_temperature(right: bool) -> None:
    labels = np.arange(40) % 2
    probabilities = np.eye(2)[labels if right else 1 - labels]
    assert np.isfinite(fit_temperature(probabilities, labels))
    assert np.isfinite(quality(probabilities, labels).nll)
