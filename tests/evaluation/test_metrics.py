"""Every number of a report against scikit-learn, or against the equation written as a loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from ltmed.errors import UserError
from ltmed.evaluation.metrics import Evaluation, evaluate, mean_of_defined
from ltmed.evaluation.scalars import SCALARS
from ltmed.evaluation.tiers import tiers


def evaluation(labels, probabilities) -> Evaluation:
    labels, probabilities = torch.as_tensor(labels), torch.as_tensor(probabilities, dtype=torch.float32)
    return Evaluation(
        probabilities, labels, torch.arange(len(labels)), tuple(f"c{k}" for k in range(probabilities.shape[1]))
    )


def random_evaluation(images: int, classes: int, seed: int = 0, *, among=None, decimals=None, skill=1.0) -> Evaluation:
    """Long-tailed labels (only from `among` if given) and softmax scores, rounded to make ties if asked for."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, classes + 1)
    if among is not None:
        share = share * np.isin(np.arange(classes), among)
    labels = rng.choice(classes, images, p=share / share.sum())
    logits = rng.normal(size=(images, classes))
    logits[np.arange(images), labels] += skill
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return evaluation(labels, scores if decimals is None else scores.round(decimals))


def thirds(e: Evaluation) -> dict[str, list[int]]:
    return tiers(torch.bincount(e.labels, minlength=len(e.classes)), e.classes)


def slow_ece(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Guo et al. (2017), equation 3, image by image."""
    inside: dict[int, list[tuple[float, float]]] = {}
    for row, label in zip(probabilities, labels, strict=True):
        k = int(row.argmax())
        inside.setdefault(math.floor(float(row[k]) * bins), []).append((float(row[k]), float(k == label)))
    gaps = [abs(sum(hit for _, hit in rows) - sum(conf for conf, _ in rows)) for rows in inside.values()]
    return sum(gaps) / len(labels)


CASES = {
    "random": random_evaluation(400, 7),
    "absent": random_evaluation(300, 6, 1, among=[0, 2, 3, 5], skill=3),
    "absent but predicted": random_evaluation(300, 6, 2, among=[0, 2, 3], skill=0),
    "ties": random_evaluation(250, 4, 3, decimals=1),
    "two classes": random_evaluation(200, 2, 4),
    "198 classes": random_evaluation(1500, 198, 5),
    "three images": random_evaluation(3, 5, 12),
}


@pytest.mark.parametrize("case", CASES)
def test_numbers_agree_with_scikit_learn(case):
    e = CASES[case]
    labels, scores = e.labels.numpy(), e.probabilities.numpy()
    predicted, present = scores.argmax(1), np.unique(labels)
    report = evaluate(e, thirds(e))
    if case == "absent but predicted":
        assert set(predicted) - set(present)

    precision, recall, f1, _ = sk.precision_recall_fscore_support(labels, predicted, labels=present, zero_division=0)
    expected = {
        "balanced_accuracy": recall.mean(),
        "macro_recall": recall.mean(),
        "macro_precision": precision.mean(),
        "macro_f1": f1.mean(),
        "accuracy": sk.accuracy_score(labels, predicted),
        "macro_auroc": np.mean([sk.roc_auc_score(labels == k, scores[:, k]) for k in present]),
        "quadratic_kappa": sk.cohen_kappa_score(labels, predicted, weights="quadratic", labels=range(len(e.classes))),
        "mcc": sk.matthews_corrcoef(labels, predicted),
        "ece": slow_ece(scores, labels),
    }
    for name, value in expected.items():
        assert report.scalars()[name] == pytest.approx(value, abs=2e-6), name
    for k, p, r, f in zip(present, precision, recall, f1, strict=True):
        row = report.per_class[k]
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx((p, r, f), abs=1e-6)
        assert row["auroc"] == pytest.approx(sk.roc_auc_score(labels == k, scores[:, k]), abs=1e-6)
        assert row["support"] == (labels == k).sum()
    np.testing.assert_array_equal(
        report.confusion, sk.confusion_matrix(labels, predicted, labels=range(len(e.classes)))
    )
    assert list(report.scalars()) == list(SCALARS)
    assert all(type(value) is float for value in report.scalars().values())


def test_absent_classes_are_named_and_not_scored():
    e = CASES["absent but predicted"]
    report = evaluate(e, thirds(e))
    assert report.absent == ["c1", "c4", "c5"]
    for k in (1, 4, 5):
        row = report.per_class[k]
        assert row["support"] == 0
        assert all(math.isnan(row[name]) for name in ("precision", "recall", "f1", "auroc"))


def test_tier_recall_is_the_mean_over_present_classes_of_the_tier():
    e = CASES["absent"]
    recall = [row["recall"] for row in evaluate(e, thirds(e)).per_class]
    report = evaluate(e, {"head": [0, 1], "medium": [2, 3], "tail": [4]})
    assert report.head_recall == pytest.approx(recall[0])
    assert report.medium_recall == pytest.approx((recall[2] + recall[3]) / 2)
    assert math.isnan(report.tail_recall)


def test_one_image():
    report = evaluate(evaluation([1], [[0.2, 0.5, 0.3]]), {"head": [0], "medium": [1], "tail": [2]})
    assert (report.accuracy, report.balanced_accuracy, report.medium_recall) == (1, 1, 1)
    assert report.ece == pytest.approx(0.5)
    undefined = ("macro_auroc", "mcc", "quadratic_kappa", "head_recall", "tail_recall")
    assert all(math.isnan(report.scalars()[name]) for name in undefined)
    assert report.absent == ["c0", "c2"]


@pytest.mark.parametrize("classes", [2, 3])
def test_a_constant_prediction_has_no_correlation(classes):
    scores = np.zeros((4, classes))
    scores[:, 0] = 1
    report = evaluate(evaluation([0, 0, 0, 1], scores), {"head": [0], "medium": [], "tail": [1]})
    assert report.mcc == 0
    assert report.macro_precision == pytest.approx(0.75 / 2)
    assert report.macro_auroc == 0.5
    assert report.quadratic_kappa == 0


def test_certain_predictions_have_a_bin():
    scores = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.97, 0.03]])
    report = evaluate(evaluation([0, 1, 1, 0], scores), {"head": [0], "medium": [], "tail": [1]})
    assert report.ece == pytest.approx(slow_ece(scores, np.array([0, 1, 1, 0])))


def test_rounding_above_one_does_not_change_the_ranking():
    e = CASES["random"]
    scores = e.probabilities.clone()
    scores[0] = torch.nn.functional.one_hot(e.labels[0], 7) * (1 + 1e-6)
    above = evaluate(evaluation(e.labels, scores), thirds(e))
    exact = evaluate(evaluation(e.labels, scores.clamp(0, 1)), thirds(e))
    assert above == exact


def test_broken_outputs_and_empty_splits_are_user_errors():
    e = CASES["random"]
    scores = e.probabilities.clone()
    scores[5, 2] = torch.nan
    with pytest.raises(UserError, match="1 of 400 images"):
        evaluate(evaluation(e.labels, scores), thirds(e))
    with pytest.raises(UserError, match="no images"):
        evaluate(evaluation(e.labels[:0], e.probabilities[:0]), thirds(e))


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([5, 9], {"head": [1], "medium": [], "tail": [0]}),
        ([7], {"head": [0], "medium": [], "tail": []}),
        ([50, 40, 30, 20, 10], {"head": [0, 1], "medium": [2], "tail": [3, 4]}),
        ([1113, 6705, 514, 327, 1099, 115, 142], {"head": [0, 1], "medium": [2, 3, 4], "tail": [5, 6]}),
        ([4, 4, 4, 4], {"head": [0], "medium": [1, 2], "tail": [3]}),
    ],
)
def test_tiers_by_rank(counts, expected):
    assert tiers(counts, [f"c{k}" for k in range(len(counts))]) == expected


def test_tiers_of_many_classes_are_thirds():
    actual = tiers(torch.arange(198), [str(k) for k in range(198)])
    assert actual == {"head": list(range(132, 198)), "medium": list(range(66, 132)), "tail": list(range(66))}


@pytest.mark.filterwarnings("error")
def test_a_mean_of_nothing_is_undefined_without_a_warning():
    """A resample without an image of the tail: `ltmed report --metric tail_recall` printed numpy's warning."""
    values = np.array([[np.nan, np.nan], [0.5, np.nan], [0.25, 0.75]])
    np.testing.assert_array_equal(mean_of_defined(values), [np.nan, 0.5, 0.5])


def test_listed_tiers():
    classes = ("MEL", "NV", "BCC", "VASC")
    assert tiers([1, 2, 3, 4], classes, head=["NV"], tail=["VASC", "MEL"]) == {
        "head": [1],
        "medium": [2],
        "tail": [0, 3],
    }
    assert tiers([1, 2, 3, 4], classes, tail=["NV"]) == {"head": [], "medium": [0, 2, 3], "tail": [1]}
    with pytest.raises(UserError, match=r"'VAS'.*Did you mean 'VASC'"):
        tiers([1, 2, 3, 4], classes, head=["VAS"])
    with pytest.raises(UserError, match="'NV' is listed twice"):
        tiers([1, 2, 3, 4], classes, head=["NV"], tail=["BCC", "NV"])
