"""Means, intervals and tests against figures computed by hand, by scipy and by resampling rows one by one."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score

from ltmed.bootstrap import draw
from ltmed.report.statistics import Paired, paired_bootstrap, resampled, signed_rank, summary
from tests.report.factory import LABELS, write

METRIC = "balanced_accuracy"


def repeated(tmp_path, method, values):
    """(fold, seed) -> value."""
    return [write(tmp_path, method, f, s, scalars={METRIC: value}) for (f, s), value in values.items()]


def test_mean_deviation_and_interval_of_three_seeds(tmp_path):
    one = summary(repeated(tmp_path, "erm", {(0, 0): 0.5, (0, 1): 0.6, (0, 2): 0.7}), METRIC)
    assert one
    assert one.mean == pytest.approx(0.6)
    assert one.std == pytest.approx(0.1)
    # t quantile of 2 degrees of freedom: 4.302653.
    assert (one.low, one.high) == pytest.approx((0.6 - 4.302653 * 0.1 / math.sqrt(3), 0.6 + 4.302653 * 0.1 / 3**0.5))
    assert (one.count, one.interval) == (3, "t")


def test_seeds_of_a_fold_are_not_independent(tmp_path):
    values = {(0, 0): 0.5, (0, 1): 0.7, (1, 0): 0.8, (1, 1): 0.8, (2, 0): 0.6, (2, 1): 0.8}
    one = summary(repeated(tmp_path, "erm", values), METRIC)
    assert one
    assert one.mean == pytest.approx(0.7)
    assert one.std == pytest.approx(np.std(list(values.values()), ddof=1))
    assert (one.low, one.high) == pytest.approx(stats.t.interval(0.95, 2, loc=0.7, scale=stats.sem([0.6, 0.8, 0.7])))


def test_intervals_end_where_the_metric_does(tmp_path):
    """Two folds of 0.2 and 0.9 have a t interval of -3.9 to 5.0."""
    for metric, lowest in (("balanced_accuracy", 0.0), ("ece", 0.0), ("mcc", -1.0), ("quadratic_kappa", -1.0)):
        one = summary([write(tmp_path / metric, fold=f, scalars={metric: v}) for f, v in enumerate((0.2, 0.9))], metric)
        assert one
        assert (one.low, one.high) == (lowest, 1.0)


def test_a_single_run_has_its_bootstrap_interval_and_no_deviation(tmp_path):
    one = summary([write(tmp_path, predicted=list("AAAAAABBAACC"))], METRIC)
    assert one
    assert one.mean == pytest.approx((1 + 0.5 + 1) / 3)
    assert (one.std, one.interval) == (None, "bootstrap")
    assert (one.low, one.high) == pytest.approx((one.mean - 0.05, one.mean + 0.04))


def test_undefined_figures_are_left_out(tmp_path):
    runs = [write(tmp_path, seed=0, scalars={METRIC: None}), write(tmp_path, seed=1, scalars={METRIC: 0.5})]
    one = summary(runs, METRIC)
    assert one
    assert (one.mean, one.count, one.std) == (0.5, 1, None)
    assert summary(runs[:1], METRIC) is None


def test_signed_rank_over_seeds_is_scipys(tmp_path):
    a = {(0, s): v for s, v in enumerate([0.51, 0.62, 0.56, 0.68, 0.70, 0.64, 0.55])}
    b = {(0, s): v for s, v in enumerate([0.50, 0.58, 0.59, 0.61, 0.60, 0.62, 0.50])}
    found = signed_rank(repeated(tmp_path, "a", a), repeated(tmp_path, "b", b), METRIC)
    assert found.p == pytest.approx(stats.wilcoxon(list(a.values()), list(b.values())).pvalue)
    # By hand: differences .01 .04 -.03 .07 .10 .02 .05, the negative one has rank 3; 5 of 2^7 sign patterns have a rank
    # sum of at most 3 ({}, {1}, {2}, {3}, {1, 2}).
    assert found.p == pytest.approx(2 * 5 / 2**7)
    assert (found.pairs, found.over) == (7, "seeds")


def test_signed_rank_counts_folds_once_and_says_when_they_are_too_few(tmp_path):
    a = {(f, s): 0.6 + f / 100 + s / 1000 for f in range(5) for s in range(3)}
    b = {(f, s): 0.5 for f in range(5) for s in range(3)}
    found = signed_rank(repeated(tmp_path, "a", a), repeated(tmp_path, "b", b), METRIC)
    assert (found.p, found.pairs, found.over) == (None, 5, "folds")


def test_six_folds_in_favour_of_one(tmp_path):
    a, b = ({(f, 0): base + f * step for f in range(6)} for base, step in ((0.6, 0.02), (0.5, 0.01)))
    assert signed_rank(repeated(tmp_path, "a", a), repeated(tmp_path, "b", b), METRIC).p == pytest.approx(2 / 2**6)


def test_resamples_are_those_of_copied_rows():
    rng = np.random.default_rng(3)
    labels, members = rng.choice(3, 90, p=[0.6, 0.35, 0.05]), rng.permutation(np.repeat(np.arange(30), 3))
    labels = np.where(members == 0, 2, np.minimum(labels, 1))
    a, b = (np.where(rng.random(90) < share, labels, (labels + 1) % 3) for share in (0.8, 0.6))
    better = (a == labels).astype(float) - (b == labels)
    difference, drawn = resampled(better, labels, members, 60, seed=4)
    assert difference == pytest.approx(balanced_accuracy_score(labels, a) - balanced_accuracy_score(labels, b))
    weights = np.concatenate(list(draw(np.arange(30), 60, 4))).astype(int)
    some_lack_a_class = False
    for r in range(60):
        rows = np.concatenate([np.flatnonzero(members == g) for g in range(30) for _ in range(weights[r, g])])
        some_lack_a_class |= len(np.unique(labels[rows])) < 3
        recalls = [
            [(one[rows] == labels[rows])[labels[rows] == k].mean() for k in np.unique(labels[rows])] for one in (a, b)
        ]
        assert drawn[r] == pytest.approx(np.mean(recalls[0]) - np.mean(recalls[1]))
    assert some_lack_a_class


def test_paired_bootstrap_pools_folds_and_averages_seeds(tmp_path):
    wrong = list("BAAAAABBBACC"), list("AAAAAABBBBCA"), list("AAAAAABBBBCC")
    a = [write(tmp_path, "a", f, s, predicted=wrong[(f + s) % 3]) for f in (0, 1) for s in (0, 1)]
    b = [write(tmp_path, "b", f, predicted=list("AAAAAAAAAAAC")) for f in (0, 1, 2)]
    found = paired_bootstrap(a, b, resamples=400)
    assert isinstance(found, Paired)
    pooled = [balanced_accuracy_score(LABELS * 2, wrong[s] + wrong[1 + s]) for s in (0, 1)]
    expected = np.mean(pooled) - balanced_accuracy_score(LABELS * 2, list("AAAAAAAAAAAC") * 2)
    assert found.difference == pytest.approx(expected)
    assert (found.images, found.units, found.unit) == (24, 24, "image")
    assert found.low < found.difference < found.high
    assert found.low > 0
    assert found.p == pytest.approx(2 / 401)


def test_paired_bootstrap_draws_groups(tmp_path):
    groups = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    a = write(tmp_path, "a", groups=groups)
    b = write(tmp_path, "b", groups=groups, predicted=list("AABBAABBBBCC"))
    found = paired_bootstrap([a], [b], resamples=500, seed=2)
    assert isinstance(found, Paired)
    assert (found.units, found.unit, found.images) == (6, "lesion", 12)
    better = np.array([0, 0, 1, 1] + [0] * 8, float)
    classes = np.array([0] * 6 + [1] * 4 + [2] * 2)
    _, drawn = resampled(better, classes, np.array(groups), 500, 2)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))


def test_equal_rows_differ_by_nothing(tmp_path):
    found = paired_bootstrap([write(tmp_path, "a")], [write(tmp_path, "b")])
    assert isinstance(found, Paired)
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_no_comparison_says_why(tmp_path):
    a, b = write(tmp_path, "a", 0), write(tmp_path, "b", 1)
    assert paired_bootstrap([a], [b]) == "no fold in common"
    c = write(tmp_path, "c", 0, images=[f"other{n}" for n in range(12)])
    assert paired_bootstrap([a], [c]) == "not the same test images"
    d = write(tmp_path, "d", 0)
    (d.path / "predictions.parquet").unlink()
    assert paired_bootstrap([a], [d]) == "predictions.parquet is missing"


def test_ten_thousand_images_take_seconds():
    rng = np.random.default_rng(0)
    labels, better = rng.integers(0, 23, 10_000), rng.integers(-1, 2, 10_000).astype(float)
    started = time.process_time()
    resampled(better, labels, np.arange(10_000), 1000)
    assert time.process_time() - started < 10
