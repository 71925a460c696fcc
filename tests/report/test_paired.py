"""PairedDifference differences against resamples whose rows are really copied out and scored by scikit-learn."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from ltmed.evaluation.bootstrap import resample_weights
from ltmed.report.paired import PairedBootstrap, PairedDifference, score_resamples
from tests.report.factory import CLASSES, LABELS, write

THIRTY = list("AAAAAAAAAAAABBBBBBBBBBBBCCCCCC")


def guesses(rng: np.random.Generator, right: float) -> list[str]:
    return [one if rng.random() < right else str(rng.choice(CLASSES)) for one in THIRTY]


def compare(row, other, metric="balanced_accuracy", **further) -> PairedDifference:
    found = PairedBootstrap(other, metric, **further)(row)
    assert isinstance(found, PairedDifference)
    return found


def sklearns(metric: str, labels, predicted) -> float:
    present = np.unique(labels)
    if metric == "accuracy":
        return sk.accuracy_score(labels, predicted)
    score = {"macro_f1": sk.f1_score, "balanced_accuracy": sk.recall_score}[metric]
    return float(score(labels, predicted, labels=present, average="macro", zero_division=0))


@pytest.mark.parametrize("metric", ["balanced_accuracy", "macro_f1", "accuracy"])
def test_resamples_are_those_of_copied_rows(tmp_path, metric):
    """Two folds, two seeds; groups of three images, one group alone has class C in fold 0."""
    rng = np.random.default_rng(3)
    groups = {fold: [10 * fold + n // 3 for n in range(30)] for fold in (0, 1)}
    labels = dict.fromkeys((0, 1), THIRTY)
    labels[0] = [*THIRTY[:24], *"BBB", *"CCC"]
    rows = {
        name: [
            write(tmp_path, name, fold, seed, predicted=guesses(rng, share), labels=labels[fold], groups=groups[fold])
            for fold in (0, 1)
            for seed in (0, 1)
        ]
        for name, share in (("a", 0.8), ("b", 0.5))
    }
    found = compare(rows["a"], rows["b"], metric, resamples=20, seed=4)
    assert (found.images, found.units, found.unit) == (60, 20, "lesion")
    weights = np.concatenate([np.ones((1, 20)), *resample_weights(np.arange(20), 20, 4)]).astype(int)
    expected, some_lack_a_class = [], False
    for drawn in weights:
        figures = {}
        for name, runs in rows.items():
            of_folds = []
            for fold in (0, 1):
                copied = np.concatenate([np.repeat(n, drawn[group]) for n, group in enumerate(groups[fold])])
                true = np.array(labels[fold])[copied]
                some_lack_a_class |= len(np.unique(true)) < 3
                told = [r.predictions["predicted"].to_numpy()[copied] for r in runs if r.metrics["run"]["fold"] == fold]
                of_folds.append(np.mean([sklearns(metric, true, one) for one in told]))
            figures[name] = np.mean(of_folds)
        expected.append(figures["a"] - figures["b"])
    assert some_lack_a_class
    assert found.difference == pytest.approx(expected[0])
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(expected[1:], [0.025, 0.975])))


@pytest.mark.parametrize("metric", ["macro_auroc", "quadratic_kappa", "ece"])
def test_metrics_that_need_more_than_counts(tmp_path, metric):
    rng = np.random.default_rng(1)
    a, b = (write(tmp_path, name, predicted=guesses(rng, 0.6), labels=THIRTY) for name in "ab")
    for run in (a, b):
        scores = rng.dirichlet(np.ones(3), 30).astype(np.float32)
        told = run.predictions.assign(**{f"prob_{code}": scores[:, k] for k, code in enumerate(CLASSES)})
        told.to_parquet(run.path / "predictions.parquet")
        del run.__dict__["predictions"]
    found = compare([a], [b], metric, resamples=50)
    one, other = (score_resamples(run, metric, np.arange(30), np.ones((1, 30), np.uint16))[0] for run in (a, b))
    assert found.difference == pytest.approx(one - other)
    if metric == "macro_auroc":
        table = a.predictions
        scores = table[[f"prob_{code}" for code in CLASSES]].to_numpy()
        assert one == pytest.approx(
            np.mean([sk.roc_auc_score(table["label"] == c, scores[:, k]) for k, c in enumerate(CLASSES)])
        )
    assert found.low <= found.difference <= found.high


def test_rows_are_compared_on_common_divisions_with_their_seeds_averaged(tmp_path):
    wrong = list("BAAAAABBBACC"), list("AAAAAABBBBCA"), list("AAAAAABBBBCC")
    a = [write(tmp_path, "a", f, s, predicted=wrong[(f + s) % 3]) for f in (0, 1) for s in (0, 1)]
    b = [write(tmp_path, "b", f, predicted=list("AAAAAAAAAAAC")) for f in (0, 1, 2)]
    found = compare(a, b, resamples=400)
    of_folds = [np.mean([sk.balanced_accuracy_score(LABELS, wrong[(f + s) % 3]) for s in (0, 1)]) for f in (0, 1)]
    expected = np.mean(of_folds) - sk.balanced_accuracy_score(LABELS, list("AAAAAAAAAAAC"))
    assert found.difference == pytest.approx(expected)
    assert (found.images, found.units, found.unit) == (24, 24, "image")
    assert 0 < found.low < found.difference < found.high
    assert found.p == pytest.approx(4 / 401), "one of 400 resamples is at or below zero"


def test_splits_drawn_anew_are_paired_by_their_seed(tmp_path):
    """Images that two random splits test are counted and drawn once."""
    images = {s: [f"{n}.png" for n in range(6 * s, 6 * s + 12)] for s in range(2)}
    told = {"a": LABELS, "b": list("AAAAAAAAAAAC")}
    runs = {
        name: [
            write(
                tmp_path, name, seed=s + (name == "b"), overrides=f"s{s}", images=images[s], predicted=told[name],
                settings={"split.seed": s},
            )
            for s in range(2)
        ]
        for name in told
    }  # fmt: skip
    found = compare(runs["a"], runs["b"], resamples=100)
    assert (found.images, found.units) == (18, 18)
    assert PairedBootstrap(runs["b"][:1])(runs["a"][1:]) == "no fold in common"


def test_equal_rows_differ_by_nothing(tmp_path):
    found = compare([write(tmp_path, "a")], [write(tmp_path, "b")])
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_no_comparison_says_why(tmp_path):
    a, b = write(tmp_path, "a", 0), write(tmp_path, "b", 1)
    assert PairedBootstrap([b])([a]) == "no fold in common"
    c = write(tmp_path, "c", 0, images=[f"other{n}" for n in range(12)])
    assert PairedBootstrap([c])([a]) == "not the same test images"
    labelled = write(tmp_path, "e", 0, labels=list("AAAAABBBBBCC"))
    assert PairedBootstrap([labelled])([a]) == "not the same test images"
    d = write(tmp_path, "d", 0)
    (d.path / "predictions.parquet").unlink()
    assert PairedBootstrap([a])([d]) == PairedBootstrap([d])([a]) == "predictions.parquet is missing"


def test_ten_thousand_images_take_seconds(tmp_path):
    rng = np.random.default_rng(0)
    run = write(tmp_path)
    labels = rng.choice(CLASSES, 10_000)
    rows = {"image": [f"{n:05}" for n in range(10_000)], "label": labels, "predicted": rng.permutation(labels)}
    pd.DataFrame(rows).to_parquet(run.path / "predictions.parquet")
    started = time.process_time()
    compare([run], [run])
    assert time.process_time() - started < 10
