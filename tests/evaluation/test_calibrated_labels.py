"""Calibration of several labels against scikit-learn and the report's own numbers; few validation images are pooled."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, logit
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from ltmed.evaluation.bootstrap import bootstrap
from ltmed.evaluation.calibrated_labels import label_calibration
from ltmed.evaluation.calibration import fit_platt
from ltmed.evaluation.metrics import Evaluation
from ltmed.evaluation.multilabel import report
from ltmed.runs.predictions import Predictions

CLASSES = ("a", "b", "c")
TIERS = {"head": [0], "medium": [1], "tail": [2]}


def part(images: int, seed: int, slope: float = 1.0, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """float32 probabilities that are honest after (slope * logit + offset), and targets, some of them unknown."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(images, 3)) + np.array([-0.5, -1, -2])
    targets = (rng.random((images, 3)) < expit(logits)).astype(np.float32)
    targets[rng.random(targets.shape) < 0.1] = np.nan
    return expit((logits - offset) / slope).astype(np.float32), targets


def test_before_is_the_runs_own_report_and_scikit_learns():
    validation, (scores, targets) = part(300, 1), part(400, 2)
    groups = np.arange(400) // 2
    fitted = fit_platt(*validation)
    actual = label_calibration(fitted, validation[1], (scores, targets), classes=CLASSES, groups=groups, resamples=60)
    evaluation = Evaluation(torch.from_numpy(scores), torch.from_numpy(targets), torch.arange(400), CLASSES)
    reported = report(evaluation, TIERS, np.full(3, 0.5))
    intervals = bootstrap(evaluation, TIERS, thresholds=np.full(3, 0.5), groups=groups, resamples=60)
    assert actual["before"]["ece"]["value"] == pytest.approx(reported.values["macro_ece"])
    assert actual["before"]["ece"]["interval"] == pytest.approx(intervals.scalars["macro_ece"])
    for when, probabilities in (("before", scores.astype(float)), ("after", fitted(scores))):
        briers, losses = [], []
        for k, row in enumerate(actual["classes"]):
            known = ~np.isnan(targets[:, k])
            truth, values = targets[known, k], probabilities[known, k]
            briers.append(brier_score_loss(truth, values))
            losses.append(log_loss(truth, values))
            assert row[when]["brier"]["value"] == pytest.approx(briers[-1])
            assert row[when]["nll"]["value"] == pytest.approx(losses[-1])
            assert row["images"] == (truth == 1).sum()
            low, high = row[when]["nll"]["interval"]
            assert low < losses[-1] < high
        assert actual[when]["brier"]["value"] == pytest.approx(np.mean(briers))
        assert actual[when]["nll"]["value"] == pytest.approx(np.mean(losses))
    assert [row["before"]["ece"]["value"] for row in actual["classes"]] == pytest.approx(
        [row["ece"] for row in reported.per_class]
    )


def test_a_known_scaling_is_recovered_and_improves_every_number():
    validation, test = part(6000, 3, 2.0, -1.0), part(6000, 4, 2.0, -1.0)
    fitted = fit_platt(*validation)
    assert fitted.slope == pytest.approx(2.0, rel=0.1)
    assert fitted.offset == pytest.approx(-1.0, abs=0.15)
    actual = label_calibration(fitted, validation[1], test, classes=CLASSES, resamples=20)
    for name in ("ece", "brier", "nll"):
        assert actual["after"][name]["value"] < actual["before"][name]["value"]
    assert not actual["few"]
    assert not actual["reversed"]
    assert actual["platt"]["b"] == {"slope": fitted.slope[1], "offset": fitted.offset[1]}


def test_the_number_beside_a_label_with_few_validation_images_is_of_the_few():
    """Of 394 images with the label and 6 without it, 6: the page says "fewer than 20"."""
    scores, targets = part(400, 5)
    targets[:, 2] = np.arange(400) >= 6
    actual = label_calibration(fit_platt(scores, targets), targets, part(200, 6), classes=CLASSES, resamples=10)
    assert actual["few"] == {"c": 6}


@pytest.mark.parametrize("positives", [0, 1, 5])
def test_labels_with_few_validation_images_share_a_scaling_and_are_named(positives):
    scores, targets = part(400, 5)
    targets[:, 2] = 0
    targets[:positives, 2] = 1
    fitted = fit_platt(scores, targets)
    actual = label_calibration(fitted, targets, part(200, 6), classes=CLASSES, resamples=10)
    assert actual["few"] == {"c": positives}
    assert np.isfinite([*fitted.slope, *fitted.offset]).all()
    if not positives:  # Nothing is known of one side: the probabilities stay as they are.
        assert (fitted.slope[2], fitted.offset[2]) == (1, 0)
    targets[targets[:, 1] == 1, 1] = 0
    targets[:3, 1] = 1
    both = fit_platt(scores, targets)
    assert both.pooled == (1, 2)
    assert both.slope[1] == both.slope[2]


def test_a_label_that_validation_ranks_the_wrong_way_round_keeps_its_order():
    scores, targets = part(500, 7)
    targets[:, 0] = np.where(np.isnan(targets[:, 0]), np.nan, 1 - targets[:, 0])
    known = ~np.isnan(targets[:, 0])
    assert roc_auc_score(targets[known, 0], scores[known, 0]) < 0.4
    fitted = fit_platt(scores, targets)
    assert fitted.reversed == (0,)
    assert fitted.slope[0] == 1
    after = fitted(scores)
    assert (np.argsort(after[:, 0], kind="stable") == np.argsort(scores[:, 0], kind="stable")).all()
    assert after[known, 0].mean() == pytest.approx(targets[known, 0].mean(), abs=0.01)


def test_certain_float32_probabilities_stay_finite():
    scores = np.array([[0.0], [1.0]] * 30, dtype=np.float32)
    fitted = fit_platt(scores, np.array([[0.0], [1.0]] * 30))
    assert np.isfinite(fitted(scores)).all()
    assert np.isfinite([fitted.slope, fitted.offset]).all()
    assert logit(fitted(scores)[1, 0]) > 0


def test_test_labels_change_nothing_that_is_fitted():
    from ltmed.inference.scaling import scale

    (vp, vt), (tp, tt) = part(300, 8), part(300, 9)
    validation = Predictions(CLASSES, vp, vt)
    one = scale(validation, Predictions(CLASSES, tp, tt), resamples=5)
    other = scale(validation, Predictions(CLASSES, tp, np.random.default_rng(0).permutation(tt)), resamples=5)
    assert one.results["before"] != other.results["before"]
    for key in ("platt", "few", "reversed"):
        assert one.results[key] == other.results[key]
    assert (one.test == other.test).all()
    assert (one.validation == other.validation).all()
