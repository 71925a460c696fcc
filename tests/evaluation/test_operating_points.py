"""Thresholds and rates against loops and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score

from ltmed.errors import UserError
from ltmed.evaluation import operating_points as op


def data(n: int = 200, seed: int = 0, decimals: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.2
    return np.clip(rng.normal(0.3 + 0.25 * truth, 0.2), 0, 1).round(decimals), truth


def slow(scores: np.ndarray, truth: np.ndarray, threshold: float) -> dict[str, float]:
    tn, fp, fn, tp = confusion_matrix(truth, scores >= threshold, labels=[False, True]).ravel()
    return {
        "sensitivity": tp / (tp + fn),
        "specificity": tn / (tn + fp),
        "ppv": tp / (tp + fp) if tp + fp else np.nan,
        "npv": tn / (tn + fn) if tn + fn else np.nan,
        "f1": f1_score(truth, scores >= threshold, zero_division=0),
    }


@pytest.mark.parametrize("target", [0.5, 0.9, 0.95, 1.0])
def test_of_all_thresholds_that_reach_the_target_the_best_one(target: float) -> None:
    scores, truth = data()
    every = {t: slow(scores, truth, t) for t in op.candidates(scores)}
    actual = op.threshold_for_sensitivity(scores, truth, target)
    good = [t for t, rates in every.items() if rates["sensitivity"] >= target]
    assert actual in good
    assert every[actual]["specificity"] == max(every[t]["specificity"] for t in good)
    actual = op.threshold_for_specificity(scores, truth, target)
    good = [t for t, rates in every.items() if rates["specificity"] >= target]
    assert actual in good
    assert every[actual]["sensitivity"] == max(every[t]["sensitivity"] for t in good)


def test_youden_and_f1_are_the_best_of_all() -> None:
    scores, truth = data(seed=4)
    every = {t: slow(scores, truth, t) for t in op.candidates(scores)}
    youden = every[op.youden_threshold(scores, truth)]
    assert youden["sensitivity"] + youden["specificity"] == pytest.approx(
        max(rates["sensitivity"] + rates["specificity"] for rates in every.values())
    )
    assert every[op.f1_threshold(scores, truth)]["f1"] == pytest.approx(max(rates["f1"] for rates in every.values()))


def test_rates_and_intervals_over_groups() -> None:
    scores, truth = data(400, seed=2)
    groups = np.arange(400) // 4
    actual = op.decide(scores, truth, 0.5, groups=groups, resamples=400)
    assert actual.rates == pytest.approx(slow(scores, truth, 0.5))
    single = op.decide(scores, truth, 0.5, resamples=400)
    for name, value in actual.rates.items():
        low, high = actual.intervals[name]
        assert low <= value <= high
    copies = op.decide(
        np.repeat(scores, 4), np.repeat(truth, 4), 0.5, groups=np.repeat(np.arange(400), 4), resamples=400
    )
    wide = [high - low for low, high in copies.intervals.values()]
    assert wide == pytest.approx([high - low for low, high in single.intervals.values()], rel=0.25)


def test_net_benefit_is_the_hand_computation() -> None:
    # Ten images, three positive. At 0.2, 4 are called positive, 2 of them rightly: 2/10 - 2/10 * 0.25 = 0.15.
    scores = np.array([0.9, 0.3, 0.25, 0.2, 0.1, 0.1, 0.05, 0.05, 0.01, 0.15])
    truth = np.array([1, 1, 0, 0, 0, 0, 0, 0, 0, 1], dtype=bool)
    np.testing.assert_allclose(op.net_benefit(scores, truth, np.array([0.2])), [0.15])
    everybody = op.net_benefit(np.ones(10), truth, np.array([0.2]))
    np.testing.assert_allclose(everybody, [0.3 - 0.7 * 0.25])


def test_least_cost() -> None:
    p = np.array([[0.8, 0.2], [0.95, 0.05]])
    missed = np.array([[0, 1], [10, 0]])  # A missed case costs ten false alarms.
    assert op.minimum_cost(p, missed).tolist() == [1, 0]
    for wrong in (np.zeros((2, 3)), -missed, np.full((2, 2), np.nan)):
        with pytest.raises(UserError):
            op.minimum_cost(p, wrong)


def test_impossible_thresholds_are_user_errors() -> None:
    scores, truth = data(20)
    for labels in (truth & False, truth | True):
        with pytest.raises(UserError):
            op.threshold_for_sensitivity(scores, labels, 0.9)
    for target in (0, 1.2, -1):
        with pytest.raises(UserError):
            op.threshold_for_sensitivity(scores, truth, target)
    assert op.f1_threshold(scores, truth & False) > scores.max()
    assert op.f1_threshold(scores, truth | True) == scores.min()
