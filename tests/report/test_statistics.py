"""Means, intervals and tests against figures computed by hand and by scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ltmed.errors import UserError
from ltmed.report.statistics import basis, lacking, signed_rank, summary
from tests.report.factory import write

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
    assert one.std == pytest.approx(np.std([0.6, 0.8, 0.7], ddof=1))
    assert (one.low, one.high) == pytest.approx(stats.t.interval(0.95, 2, loc=0.7, scale=stats.sem([0.6, 0.8, 0.7])))


def test_the_mean_lies_in_its_interval_whatever_is_missing(tmp_path):
    """Five seeds of an easy fold weigh as much as one of a hard one."""
    values = {(0, seed): 0.9 for seed in range(5)} | {(1, 0): 0.1, (2, 0): 0.1, (3, 0): 0.1, (4, 0): 0.1}
    one = summary(repeated(tmp_path, "erm", values), METRIC)
    assert one
    assert one.low is not None
    assert one.high is not None
    assert one.mean == pytest.approx((0.9 + 4 * 0.1) / 5)
    assert one.low < one.mean < one.high
    assert one.count == 9


def test_splits_drawn_anew_are_units_as_folds_are(tmp_path):
    runs = [
        write(tmp_path, seed=s, overrides=f"s{s}", scalars={METRIC: 0.5 + s / 10}, settings={"split.seed": s})
        for s in range(3)
    ]
    one = summary(runs, METRIC)
    assert one
    assert (one.mean, one.std) == pytest.approx((0.6, 0.1))
    other = [
        write(tmp_path, "b", seed=7 + s, overrides=f"s{s}", scalars={METRIC: 0.4}, settings={"split.seed": s})
        for s in range(3)
    ]
    found = signed_rank(runs, other, METRIC)
    assert (found.pairs, found.over) == (3, "splits"), "paired by the split, whatever the training's seed"


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


def test_no_run_counts_for_another(tmp_path):
    """The later one replaced the earlier one, and the paired bootstrap averaged both."""
    runs = [write(tmp_path / name, scalars={METRIC: value}) for name, value in (("a", 0.5), ("b", 0.6))]
    with pytest.raises(UserError, match="same repetition"):
        summary(runs, METRIC)


def test_signed_rank_over_seeds_is_scipys(tmp_path):
    a = {(0, s): v for s, v in enumerate([0.51, 0.62, 0.56, 0.68, 0.70, 0.64, 0.55])}
    b = {(0, s): v for s, v in enumerate([0.50, 0.58, 0.59, 0.61, 0.60, 0.62, 0.50])}
    found = signed_rank(repeated(tmp_path, "a", a), repeated(tmp_path, "b", b), METRIC)
    assert found.p == pytest.approx(stats.wilcoxon(list(a.values()), list(b.values())).pvalue)
    # By hand: differences .01 .04 -.03 .07 .10 .02 .05, the negative one has rank 3; 5 of 2^7 sign patterns have a rank
    # sum of at most 3 ({}, {1}, {2}, {3}, {1, 2}).
    assert found.p == pytest.approx(2 * 5 / 2**7)
    assert (found.pairs, found.over) == (7, "seeds")


def test_signed_rank_counts_folds_once(tmp_path):
    a = {(f, s): 0.6 + f / 100 + s / 1000 for f in range(5) for s in range(3)}
    b = {(f, s): 0.5 for f in range(5) for s in range(3)}
    found = signed_rank(repeated(tmp_path, "a", a), repeated(tmp_path, "b", b), METRIC)
    assert (found.p, found.smallest_p) == pytest.approx((2 / 2**5, 2 / 2**5)), "all five: the least that five can have"
    assert (found.pairs, found.differing, found.over) == (5, 5, "folds")
    fewer = signed_rank(repeated(tmp_path / "c", "a", {k: v for k, v in a.items() if k[0] < 4}), [], METRIC)
    assert (fewer.p, fewer.pairs) == (None, 0)


def test_equal_pairs_do_not_count(tmp_path):
    a = {(0, s): v for s, v in enumerate([0.5, 0.6, 0.7, 0.81, 0.72, 0.63, 0.44])}
    b = {(0, s): v for s, v in enumerate([0.5, 0.6, 0.7, 0.80, 0.70, 0.60, 0.40])}
    found = signed_rank(repeated(tmp_path, "a", a), repeated(tmp_path, "b", b), METRIC)
    assert (found.p, found.pairs, found.differing) == (None, 7, 4)


def test_equal_differences_have_one_rank_whatever_their_last_digit(tmp_path):
    a = {(0, s): v for s, v in enumerate([0.2, 0.3, 0.8, 0.5, 0.6, 0.9])}
    b = {(0, s): v for s, v in enumerate([0.1, 0.2, 0.7, 0.4, 0.7, 0.8])}
    found = signed_rank(repeated(tmp_path, "a", a), repeated(tmp_path, "b", b), METRIC)
    # One of six against the others: as extreme are 2 * (1 + 6) of 2^6 sign patterns.
    assert found.p == pytest.approx(14 / 64)


def test_six_folds_in_favour_of_one(tmp_path):
    a, b = ({(f, 0): base + f * step for f in range(6)} for base, step in ((0.6, 0.02), (0.5, 0.01)))
    assert signed_rank(repeated(tmp_path, "a", a), repeated(tmp_path, "b", b), METRIC).p == pytest.approx(2 / 2**6)


OFFICIAL, OF_FILE = "ltmed.data.splits.protocols.official", "ltmed.data.splits.split_file.from_file"


def over(tmp_path, method, key, values, target="ltmed.data.splits.protocols.grouped"):
    """(fold, split seed) -> value, of runs whose split has this seed under `key`."""
    return [
        write(
            tmp_path, method, f, overrides=f"{key}={s}", scalars={METRIC: value}, split_hash=f"{f}-{s}",
            settings={key: s, "split._target_": target},
        )
        for (f, s), value in values.items()
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("split.val_seed", "ltmed.data.splits.protocols.grouped"),
        ("split.seed", OFFICIAL),
        ("split.seed", OF_FILE),
        ("split.inner.val_seed", "ltmed.data.splits.imbalance.long_tailed"),
        ("split.seed", "ltmed.data.splits.imbalance.long_tailed"),
    ],
)
def test_seeds_that_keep_the_test_images_are_averaged_as_seeds_of_the_training_are(tmp_path, key, target):
    """Five folds with two validation parts each are five units, not ten."""
    hard, gain = (0.60, 0.70, 0.62, 0.75, 0.66), (0.01, 0.03, 0.02, 0.05, 0.015)
    a, b = (
        over(tmp_path, name, key, {(f, s): hard[f] + of * gain[f] + s / 500 for f in range(5) for s in (0, 1)}, target)
        for name, of in (("a", 1), ("b", 0))
    )
    one = summary(b, METRIC)
    assert one
    units = [value + 0.001 for value in hard]
    assert (one.low, one.high) == pytest.approx(stats.t.interval(0.95, 4, np.mean(units), stats.sem(units)))
    found = signed_rank(a, b, METRIC)
    assert (found.pairs, found.over) == (5, "folds")
    assert found.p == pytest.approx(2 / 2**5)


def test_seeds_that_choose_the_test_images_are_units(tmp_path):
    drawn = over(tmp_path, "a", "split.seed", {(0, 0): 0.5, (0, 1): 0.7})
    whole = "ltmed.data.splits.imbalance.long_tailed"
    before = [
        write(
            tmp_path, "b", overrides=f"s{s}", scalars={METRIC: 0.5},
            settings={"split.seed": s, "split._target_": whole, "split.fixed_test": False},
        )
        for s in range(5)
    ]  # fmt: skip
    assert signed_rank(drawn, drawn, METRIC).over == signed_rank(before, before, METRIC).over == "splits"


def test_validation_seeds_of_one_test_part_are_paired_by_both_seeds(tmp_path):
    runs = over(tmp_path, "a", "split.val_seed", {(0, s): 0.5 + s / 10 for s in (0, 1, 2)})
    one = summary(runs, METRIC)
    assert one
    assert (one.mean, one.std, one.count) == (pytest.approx(0.6), pytest.approx(0.1), 3)
    found = signed_rank(runs, runs[1:], METRIC)
    assert (found.pairs, found.over) == (2, "seeds")


def test_a_row_without_a_validation_seed_lacks_runs_and_no_fold(tmp_path):
    full, few = (
        over(tmp_path, name, "split.val_seed", {(f, s): 0.5 for f in (0, 1) for s in seeds})
        for name, seeds in (("a", (None, 1)), ("b", (None,)))
    )
    needed = basis([full, full, few])
    assert {part.fold: number for part, number in needed.items()} == {0: 2, 1: 2}
    assert lacking(few, needed) == "1 of 2 runs"
    assert not lacking(full, needed)
