"""Without an effect all values of p are equally likely, however an attribute lies within and between groups."""

from __future__ import annotations

from collections import Counter
from itertools import permutations, product

import numpy as np
import pytest
from scipy.stats import kstest

from ltmed.evaluation.permutations import MIN_PERMUTATIONS, p_of_largest_difference, permuted_attribute


def test_a_value_of_whole_groups_goes_to_groups_of_any_size():
    members = np.repeat([7, 3, 5], [1, 2, 3])
    found = Counter(
        map(tuple, permuted_attribute(np.repeat([0, 1, 2], [1, 2, 3]), members, np.zeros(6), 6000, 0).tolist())
    )
    assert set(found) == {tuple(np.repeat(values, [1, 2, 3]).tolist()) for values in permutations(range(3))}
    assert min(found.values()) > 850  # 1000 expected, standard deviation 29.


def test_values_within_groups_move_together_to_groups_of_equal_size_in_any_order():
    members = np.array([0, 1, 2, 0, 1, 2, 2, 3])
    codes = np.array([0, 1, 0, 0, 2, 1, 1, 2])  # Groups: 00, 12, 011 and 2; only the first two have equal sizes.
    wanted = set()
    for pair, three in product([((0, 0), (1, 2)), ((1, 2), (0, 0))], set(permutations((0, 1, 1)))):
        for first, second in product(set(permutations(pair[0])), set(permutations(pair[1]))):
            wanted.add((first[0], second[0], three[0], first[1], second[1], three[1], three[2], 2))
    found = Counter(map(tuple, permuted_attribute(codes, members, np.zeros(8), 6000, 0).tolist()))
    assert set(found) == wanted
    assert len(wanted) == 12
    assert min(found.values()) > 400  # 500 expected, standard deviation 21.


@pytest.mark.parametrize("varies", [False, True])
def test_groups_of_one_class_exchange_values_with_groups_of_the_same_class(varies):
    members = np.repeat(np.arange(40), 2)
    classes = np.repeat(np.arange(40) % 3, 2)
    codes = np.tile([0, 1], 40) if varies else (members * 7 // 5) % 2
    codes[:2] = 1
    permuted = permuted_attribute(codes, members, classes, 30, 0)
    assert len(np.unique(permuted, axis=0)) == 30
    for k in range(3):
        assert (permuted[:, classes == k].sum(1) == codes[classes == k].sum()).all()
    # Groups of several classes exchange values all the same.
    mixed = permuted_attribute(codes, members, np.tile([0, 1], 40), 30, 0)
    assert np.ptp(mixed[:, classes == 0].sum(1)) > 0
    assert (mixed.sum(1) == codes.sum()).all()


@pytest.mark.parametrize("kind", ["whole groups", "left first", "some groups"])
def test_without_an_effect_p_is_uniform(kind):
    values = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        sizes = np.full(40, 2) if kind == "left first" else rng.integers(1, 4, 40)
        members = np.repeat(np.arange(40), sizes)
        codes = {
            "whole groups": rng.integers(0, 3, 40)[members],
            "left first": np.tile([0, 1], 40)[: len(members)],
            # Half of the groups have one value, the others a value for each image.
            "some groups": np.where(members % 2, rng.integers(0, 3, 40)[members], rng.integers(0, 3, len(members))),
        }[kind]
        # Images of a group are nearly copies of each other.
        outcome = rng.normal(size=40)[members] + 0.3 * rng.normal(size=len(members))

        def means(codes: np.ndarray, outcome: np.ndarray = outcome) -> np.ndarray:
            return np.array([outcome[codes == k].mean() for k in range(codes.max() + 1)])

        permuted = permuted_attribute(codes, members, np.zeros(len(codes)), 59, seed)
        metric = np.stack([means(row) for row in permuted])
        values.append(p_of_largest_difference(float(np.ptp(means(codes))), metric, permuted)[0])
    assert kstest(values, "uniform").pvalue > 0.01
    assert 0.01 < np.mean(np.array(values) <= 0.05) < 0.1


def test_a_permutation_without_a_metric_is_not_counted():
    permuted = np.arange(40)[:, None]
    metric = np.stack([np.zeros(40), np.arange(40) / 40], axis=1)
    assert p_of_largest_difference(0.5, metric, permuted) == (21 / 41, "")
    metric[:20, 0] = np.nan
    assert p_of_largest_difference(0.5, metric, permuted) == (1.0, "")


def test_too_few_different_permutations_give_no_p_but_a_reason():
    metric = np.zeros((200, 2))
    few = np.arange(200)[:, None] % (MIN_PERMUTATIONS - 1)
    p, reason = p_of_largest_difference(0.1, metric, few)
    assert np.isnan(p)
    assert "18 differ" in reason
    p, reason = p_of_largest_difference(0.1, np.full((200, 2), np.nan), np.arange(200)[:, None])
    assert np.isnan(p)
    assert "0 differ" in reason
