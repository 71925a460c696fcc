"""The weighted formulas against resampled rows that are really copied out and scored by scikit-learn."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from ltmed.evaluation import bootstrap as module
from ltmed.evaluation.bootstrap import bootstrap, metric_interval, resample_weights, without_excess
from ltmed.evaluation.metrics import Evaluation, WeightedScorer, evaluate
from ltmed.evaluation.scalars import PER_CLASS, SCALARS

TIERS = {"head": [0], "medium": [1, 2], "tail": [3, 4]}


def make(images: int = 120, seed: int = 0, decimals: int | None = None) -> Evaluation:
    rng = np.random.default_rng(seed)
    labels = rng.choice(5, images, p=[0.55, 0.25, 0.13, 0.05, 0.02])
    logits = rng.normal(size=(images, 5))
    logits[np.arange(images), labels] += 1
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    scores = scores if decimals is None else scores.round(decimals)
    return Evaluation(
        torch.tensor(scores, dtype=torch.float32), torch.tensor(labels), torch.arange(images), tuple("ABCDE")
    )


def slow(e: Evaluation, rows: np.ndarray) -> dict[str, float]:
    """One resample, copied out row by row; undefined numbers left out of averages, NaN if nothing is left."""
    labels, scores = e.labels.numpy()[rows], e.probabilities.numpy()[rows]
    predicted, present = scores.argmax(1), np.unique(labels)
    precision, recall, f1, _ = sk.precision_recall_fscore_support(labels, predicted, labels=present, zero_division=0)
    recall_of = dict(zip(present, recall, strict=True))
    auroc = [sk.roc_auc_score(labels == k, scores[:, k]) for k in present] if len(present) > 1 else []
    confidence, bins = scores.max(1), np.floor(scores.max(1) * np.float32(15)).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "balanced_accuracy": recall.mean(),
            "macro_f1": f1.mean(),
            "macro_precision": precision.mean(),
            "macro_recall": recall.mean(),
            "accuracy": sk.accuracy_score(labels, predicted),
            "macro_auroc": np.mean(auroc) if auroc else math.nan,
            "quadratic_kappa": sk.cohen_kappa_score(labels, predicted, weights="quadratic", labels=range(5)),
            "mcc": sk.matthews_corrcoef(labels, predicted) if len(present) > 1 else math.nan,
            "ece": sum(
                abs((predicted == labels)[bins == b].sum() - confidence[bins == b].sum()) for b in np.unique(bins)
            )
            / len(rows),
            **{
                f"{tier}_recall": np.mean([recall_of[k] for k in members if k in recall_of] or [math.nan])
                for tier, members in TIERS.items()
            },
        }


@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize("images", [120, 12, 2])
def test_weights_score_like_copied_rows(images, decimals):
    e = make(images, seed=images, decimals=decimals)
    rng = np.random.default_rng(1)
    sampled = rng.integers(0, images, (25 if images == 2 else 8, images))  # Of two images most lack a class.
    weights = np.stack([np.bincount(rows, minlength=images) for rows in sampled]).astype(float)
    actual = WeightedScorer(e, TIERS)(weights)
    for r, rows in enumerate(sampled):
        expected = slow(e, rows)
        for name in SCALARS:
            assert actual[name][r] == pytest.approx(expected[name], abs=1e-6, nan_ok=True), (name, r)


def test_weights_of_one_give_the_report():
    e = make(300, seed=3)
    report, actual = evaluate(e, TIERS), WeightedScorer(e, TIERS)(np.ones((1, 300)))
    for name, value in report.scalars().items():
        assert actual[name][0] == pytest.approx(value, abs=2e-6), name
    for name in PER_CLASS:
        assert actual[name][0] == pytest.approx([row[name] for row in report.per_class], abs=1e-6, nan_ok=True)


def test_a_missing_class_is_left_out_of_the_resample():
    e = make(60, seed=4)
    keep = (e.labels != 0).numpy().astype(float)
    actual = WeightedScorer(e, TIERS)(keep[None])
    assert math.isnan(actual["recall"][0, 0])
    assert math.isnan(actual["head_recall"][0])
    assert actual["balanced_accuracy"][0] == pytest.approx(np.nanmean(actual["recall"][0, 1:]))


def test_intervals_are_percentiles_of_independent_resamples():
    e = make(200, seed=5)
    actual = bootstrap(e, TIERS, resamples=2000, seed=1)
    rng = np.random.default_rng(99)
    hit, labels, values = (e.probabilities.argmax(1) == e.labels).numpy(), e.labels.numpy(), []
    for _ in range(2000):
        rows = rng.integers(0, 200, 200)
        values.append(np.mean([hit[rows][labels[rows] == k].mean() for k in np.unique(labels[rows])]))
    expected = np.percentile(values, [2.5, 97.5]).tolist()
    assert actual.scalars["balanced_accuracy"] == pytest.approx(expected, abs=0.3 * np.std(values))
    assert (actual.unit, actual.units, actual.resamples, actual.level) == ("image", 200, 2000, 0.95)
    assert list(actual.scalars) == list(SCALARS)


def test_accuracy_interval_has_the_binomial_width():
    e = make(400, seed=6)
    share = float((e.probabilities.argmax(1) == e.labels).float().mean())
    low, high = bootstrap(e, TIERS, resamples=4000).scalars["accuracy"]
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(share * (1 - share) / 400), rel=0.08)


def calibrated(images: int, generator: np.random.Generator) -> Evaluation:
    """Two classes, their labels drawn from the probabilities themselves: the calibration error is noise alone."""
    second = generator.uniform(0.1, 0.9, images)
    labels = (generator.uniform(size=images) < second).astype(int)
    probabilities = torch.tensor(np.stack([1 - second, second], 1), dtype=torch.float32)
    return Evaluation(probabilities, torch.tensor(labels), torch.arange(images), ("A", "B"))


def test_the_interval_of_a_calibration_error_is_around_it_and_as_wide_as_its_spread_over_data_sets():
    generator, tiers = np.random.default_rng(7), {"head": [0], "medium": [], "tail": [1]}
    low, high = np.quantile([evaluate(calibrated(400, generator), tiers).ece for _ in range(400)], [0.025, 0.975])
    widths = []
    for _ in range(10):
        evaluation = calibrated(400, generator)
        interval = bootstrap(evaluation, tiers, resamples=400).scalars["ece"]
        assert interval[0] < evaluate(evaluation, tiers).ece < interval[1]
        widths.append(interval[1] - interval[0])
    assert np.mean(widths) == pytest.approx(high - low, rel=0.2)


def test_only_calibration_errors_are_moved():
    resampled = np.array([0.3, 0.5, np.nan, 0.4])
    assert without_excess("ece:MEL", resampled, 0.1) == pytest.approx([0, 0.2, np.nan, 0.1], nan_ok=True)
    assert metric_interval("macro_ece", resampled, 0.05, level=0.9) == pytest.approx([0, 0.14])
    assert metric_interval("macro_f1", resampled, 0.05, level=0.9) == pytest.approx([0.31, 0.49])
    assert np.isnan(metric_interval("ece", np.array([np.nan]), math.nan)).all()


def test_whole_groups_are_drawn():
    groups = np.array([7, 7, 7, 3, 3, 9])
    members = np.unique(groups, return_inverse=True)[1]
    weights = np.concatenate(list(resample_weights(members, 500, seed=0)))
    assert (weights[:, :3] == weights[:, :1]).all()
    assert (weights[:, 3] == weights[:, 4]).all()
    assert (weights[:, 0] + weights[:, 3] + weights[:, 5] == 3).all()
    assert weights[:, [0, 3, 5]].mean(0) == pytest.approx([1, 1, 1], abs=0.1)


def test_copies_in_one_group_do_not_narrow_the_interval():
    e = make(100, seed=7)
    copies = Evaluation(*(t.repeat_interleave(9, 0) for t in (e.probabilities, e.labels, e.indices)), classes=e.classes)
    groups = np.repeat(np.arange(100) * 5, 9)
    once = bootstrap(e, TIERS)
    grouped = bootstrap(copies, TIERS, groups=groups, unit="lesion")
    assert (grouped.unit, grouped.units) == ("lesion", 100)
    for name, bounds in once.scalars.items():
        assert grouped.scalars[name] == pytest.approx(bounds, abs=1e-6), name
    naive = bootstrap(copies, TIERS).scalars["accuracy"]
    assert naive[1] - naive[0] < 0.5 * (once.scalars["accuracy"][1] - once.scalars["accuracy"][0])


def test_result_depends_on_the_seed_and_not_on_the_chunks(monkeypatch):
    e = make(80, seed=8)
    first = bootstrap(e, TIERS, resamples=50, seed=2)
    assert bootstrap(e, TIERS, resamples=50, seed=3).scalars != first.scalars
    monkeypatch.setattr(module, "CHUNK_VALUES", 7 * 80)
    again = bootstrap(e, TIERS, resamples=50, seed=2)
    for name, bounds in first.scalars.items():
        assert again.scalars[name] == pytest.approx(bounds, abs=1e-12)


def test_a_class_that_is_absent_has_no_interval():
    e = make(40, seed=9)
    without = Evaluation(e.probabilities, e.labels.clamp(max=3), e.indices, e.classes)
    actual = bootstrap(without, TIERS, resamples=100)
    assert all(math.isnan(bound) for name in PER_CLASS for bound in actual.per_class[4][name])
    assert not any(math.isnan(bound) for bound in actual.scalars["balanced_accuracy"])
