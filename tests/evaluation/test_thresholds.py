"""Thresholds come from validation images alone, and few images make wide intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from ltmed.evaluation.calibrated import calibration
from ltmed.evaluation.calibration import apply_temperature
from ltmed.evaluation.sets import conformal_sets
from ltmed.evaluation.thresholds import Scores, decision_curve, exact_interval, least_cost, operating_point, widened

CLASSES = ("a", "b", "c")
TIERS = {"head": [0], "medium": [1], "tail": [2]}


def part(images: int, seed: int, shares=(0.7, 0.25, 0.05)) -> Scores:
    """Softmax scores that are informative, groups of two images."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, images, p=shares)
    logits = rng.normal(size=(images, 3)) + 2.0 * np.eye(3)[labels]
    scores = np.exp(2 * logits)
    return Scores(scores / scores.sum(1, keepdims=True), labels, np.arange(images) // 2)


@pytest.mark.parametrize(("hits", "trials"), [(0, 4), (4, 4), (3, 7), (1, 1), (40, 90)])
def test_exact_intervals_are_scipys(hits, trials):
    expected = binomtest(hits, trials).proportion_ci(method="exact")
    assert exact_interval(hits, trials) == pytest.approx([expected.low, expected.high])


def test_without_an_image_everything_is_possible():
    assert exact_interval(0, 0) == [0, 1]


@pytest.mark.parametrize(("criterion", "target"), [("sensitivity", 0.95), ("specificity", 0.9), ("youden", None)])
def test_rates_are_counts_and_test_labels_change_no_threshold(criterion, target):
    validation, test = part(400, 1), part(300, 2)
    actual = operating_point(validation, test, 1, criterion, target, resamples=50)
    positive, truth = test.probabilities[:, 1] >= actual["threshold"], test.labels == 1
    tp, fp = (positive & truth).sum(), (positive & ~truth).sum()
    fn, tn = (~positive & truth).sum(), (~positive & ~truth).sum()
    rates = {"sensitivity": tp / (tp + fn), "specificity": tn / (tn + fp), "ppv": tp / (tp + fp), "npv": tn / (tn + fn)}
    for name, value in rates.items():
        assert actual["test"][name]["value"] == pytest.approx(value)
        low, high = actual["test"][name]["interval"]
        assert low <= value <= high
    if target is not None:
        assert actual["validation"][criterion]["value"] >= target
    assert actual["threshold_interval"][0] <= actual["threshold"] <= actual["threshold_interval"][1]
    other = Scores(test.probabilities, np.random.default_rng(0).permutation(test.labels), test.groups)
    again = operating_point(validation, other, 1, criterion, target, resamples=50)
    assert again["test"] != actual["test"]
    for name in ("threshold", "threshold_interval", "validation", "few"):
        assert again[name] == actual[name]


@pytest.mark.parametrize("positives", [0, 1, 5])
def test_few_validation_images_are_said_and_intervals_are_wide(positives):
    rng = np.random.default_rng(3)
    labels = np.r_[np.full(positives, 2), rng.choice(2, 200)]
    scores = rng.dirichlet([1, 1, 1], len(labels))
    validation = Scores(scores, labels)
    # Three test images of the class, all found: a bootstrap alone would say 100 to 100 %.
    test_labels = np.r_[np.full(3, 2), np.zeros(50, int)]
    certain = np.where(test_labels[:, None] == 2, [0.0, 0.0, 1.0], [1.0, 0.0, 0.0])
    actual = operating_point(validation, Scores(certain, test_labels), 2, "sensitivity", 0.95, resamples=50)
    assert actual["few"] == (positives < 5)
    assert actual["validation"]["positives"] == positives
    if not positives:
        assert actual["threshold"] is None
        assert actual["reason"]
        return
    low, high = actual["validation"]["sensitivity"]["interval"]
    assert low == pytest.approx(0.025 ** (1 / positives))
    assert high == 1
    assert actual["test"]["sensitivity"]["value"] == 1
    assert actual["test"]["sensitivity"]["interval"][0] == pytest.approx(0.025 ** (1 / 3))


def test_a_rate_of_all_of_many_is_not_certain():
    assert widened(1.0, [1.0, 1.0], 50)[0] == pytest.approx(0.025 ** (1 / 50))
    assert widened(0.0, [0.0, 0.0], 50)[1] == pytest.approx(1 - 0.025 ** (1 / 50))
    assert widened(0.9, [0.8, 0.95], 50) == [0.8, 0.95]
    assert widened(float("nan"), [float("nan")] * 2, 0) == [0, 1]


def test_a_test_part_without_the_class_has_no_sensitivity():
    test = part(100, 4, (0.6, 0.4, 0.0))
    actual = operating_point(part(400, 1), test, 2, "youden", resamples=20)["test"]
    assert actual["positives"] == 0
    assert actual["sensitivity"] == {"value": None, "interval": [0.0, 1.0]}


def test_net_benefit_is_a_hand_computation():
    test = part(500, 5)
    actual = decision_curve(test, 1, np.array([0.1, 0.4]))
    for index, t in enumerate((0.1, 0.4)):
        acted, truth = test.probabilities[:, 1] >= t, test.labels == 1
        model = ((acted & truth).sum() - (acted & ~truth).sum() * t / (1 - t)) / 500
        assert actual["model"][index] == pytest.approx(model)
        assert actual["all"][index] == pytest.approx((truth.sum() - (~truth).sum() * t / (1 - t)) / 500)


def test_costs_by_a_loop():
    test = part(200, 6)
    cost = np.array([[0, 1, 5], [2, 0, 1], [30, 10, 0]], dtype=float)
    actual = least_cost(test, cost, resamples=30)
    plain, least = 0.0, 0.0
    for scores, label in zip(test.probabilities, test.labels, strict=True):
        expected = [sum(scores[y] * cost[y, d] for y in range(3)) for d in range(3)]
        least += cost[label, int(np.argmin(expected))] / 200
        plain += cost[label, scores.argmax()] / 200
    assert actual["least_cost"]["cost"]["value"] == pytest.approx(least)
    assert actual["most_probable"]["cost"]["value"] == pytest.approx(plain)
    assert actual["saving"]["value"] == pytest.approx(plain - least)
    assert sum(actual["least_cost"]["decisions"]) == 200


def test_a_known_temperature_is_recovered_and_test_labels_do_not_touch_it():
    rng = np.random.default_rng(7)
    honest = rng.dirichlet([0.6, 0.5, 0.4], 6000)
    labels = np.array([rng.choice(3, p=row) for row in honest])
    overconfident = apply_temperature(honest, 1 / 2.5)
    half = slice(0, 3000), slice(3000, 6000)
    validation, test = ((overconfident[rows], labels[rows]) for rows in half)
    actual = calibration(validation, test, classes=CLASSES, resamples=50)
    assert actual["temperature"] == pytest.approx(2.5, rel=0.06)
    for name in ("ece", "classwise_ece", "brier", "nll"):
        assert actual["after"][name]["value"] < actual["before"][name]["value"]
        low, high = actual["before"][name]["interval"]
        assert low <= actual["before"][name]["value"] <= high + 0.01
    assert not actual["few"]
    other = calibration(validation, (test[0], rng.permutation(test[1])), classes=CLASSES, resamples=10)
    assert other["temperature"] == actual["temperature"]
    assert other["before"] != actual["before"]


def test_classes_with_few_validation_images_are_pooled():
    validation, test = part(300, 8), part(300, 9)
    number = np.bincount(validation.labels, minlength=3)
    assert number[2] < 20 <= number[1]
    actual = calibration(
        (validation.probabilities, validation.labels), (test.probabilities, test.labels), classes=CLASSES, resamples=10
    )
    assert actual["few"] == {"c": number[2]}
    few = np.array([0] * 250 + [1] * 3 + [2] * 2)
    actual = calibration((validation.probabilities[:255], few), (test.probabilities, test.labels), classes=CLASSES,
                        resamples=10)  # fmt: skip
    assert [row["class"] for row in actual["classes"]] == ["a", "b + c"]
    assert actual["classes"][1]["images"] == (test.labels > 0).sum()


def test_sets_do_not_depend_on_test_labels_and_cover_as_counted():
    validation, test = part(600, 10), part(400, 11)
    prior = np.array([700.0, 250, 50])
    actual = conformal_sets(validation, test, prior=prior, tiers=TIERS, target=0.9, resamples=30)
    shuffled = Scores(test.probabilities, np.random.default_rng(1).permutation(test.labels), test.groups)
    other = conformal_sets(validation, shuffled, prior=prior, tiers=TIERS, target=0.9, resamples=30)
    for one, two in zip(actual["kinds"], other["kinds"], strict=True):
        assert one["mean_size"] == two["mean_size"]  # The sets are the same,
        assert one["coverage"]["value"] > two["coverage"]["value"]  # what they cover is not.
    marginal = actual["kinds"][0]
    own = 1 - validation.probabilities[np.arange(600), validation.labels]
    threshold = np.sort(own)[int(np.ceil(601 * 0.9)) - 1]
    sets = 1 - test.probabilities <= threshold
    hit = sets[np.arange(400), test.labels]
    assert marginal["coverage"]["value"] == pytest.approx(hit.mean())
    assert marginal["tiers"]["tail"]["coverage"]["value"] == pytest.approx(hit[test.labels == 2].mean())
    assert marginal["mean_size"]["value"] == pytest.approx(sets.sum(1).mean())


def test_class_conditional_sets_pool_small_classes_and_cover_the_others():
    rng = np.random.default_rng(12)
    covered, splits = [], 60
    for seed in range(splits):
        labels = np.r_[rng.choice(2, 200, p=[0.8, 0.2]), np.full(4, 2)]
        scores = rng.dirichlet([1, 1, 1], len(labels)) + 0.8 * np.eye(3)[labels] * rng.random((len(labels), 1))
        validation = Scores(scores / scores.sum(1, keepdims=True), labels)
        labels = rng.choice(3, 600, p=[0.6, 0.3, 0.1])
        scores = rng.dirichlet([1, 1, 1], 600) + 0.8 * np.eye(3)[labels] * rng.random((600, 1))
        test = Scores(scores / scores.sum(1, keepdims=True), labels)
        actual = conformal_sets(validation, test, prior=np.ones(3), tiers=TIERS, resamples=2, seed=seed)
        (kind,) = (row for row in actual["kinds"] if (row["score"], row["condition"]) == ("lac", "pooled"))
        assert [row["own"] for row in kind["classes"]] == [True, True, False]
        covered.append([row["coverage"]["value"] for row in kind["classes"][:2]])
    # The mean over splits is at least 90 %, up to three standard errors.
    mean, error = np.mean(covered, 0), np.std(covered, 0) / np.sqrt(splits)
    assert (mean >= 0.9 - 3 * error).all()
    assert (mean <= 0.97).all()


@pytest.mark.parametrize("criterion", ["sensitivity", "youden"])
def test_one_of_several_labels_is_decided_as_if_it_were_alone(criterion):
    """Unknown images take no part, neither in the threshold nor in the rates nor in the resamples."""
    target = None if criterion == "youden" else 0.8
    alone = [part(300, seed, (0.6, 0.4, 0.0)) for seed in (1, 2)]
    joint = []
    for number, one in enumerate(alone):
        rng = np.random.default_rng(number)
        rows = np.sort(rng.permutation(500)[:300])
        labels = np.full((500, 2), np.nan, dtype=np.float32)
        labels[rows, 0], labels[:, 1] = one.labels == 1, rng.random(500) < 0.5
        scores, groups = rng.random((500, 2)), np.repeat(np.arange(1000, 1250), 2)
        scores[rows, 0], groups[rows] = one.probabilities[:, 1], one.groups
        joint.append(Scores(scores, labels, groups))
    actual = operating_point(joint[0], joint[1], 0, criterion, target, resamples=40)
    assert actual == operating_point(alone[0], alone[1], 1, criterion, target, resamples=40)
    thresholds = np.array([0.2, 0.5])
    for name, values in decision_curve(joint[1], 0, thresholds).items():
        assert values == pytest.approx(decision_curve(alone[1], 1, thresholds)[name])


def test_a_label_that_no_test_image_says_anything_about_has_a_threshold_and_no_rates():
    validation = part(300, 1)
    known = Scores(validation.probabilities, np.eye(3)[validation.labels], validation.groups)
    unknown = Scores(validation.probabilities, np.full((300, 3), np.nan))
    actual = operating_point(known, unknown, 1, "youden", resamples=10)
    assert actual["threshold"] is not None
    assert actual["test"] is None
