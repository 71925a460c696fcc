"""Groups into parts: the same places as a loop that follows the rule group by group."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltmed.data.splits import apportion as module
from ltmed.data.splits.apportion import apportion, reach_all_classes


def loop(labels: np.ndarray, groups: np.ndarray, shares: list[float], seed: int) -> np.ndarray:
    """The rule, one group after another, with a table of all groups and classes."""
    groups = np.unique(groups, return_inverse=True)[1]
    number, width = int(groups.max()) + 1, int(labels.max()) + 1
    members = np.bincount(groups * width + labels, minlength=number * width).reshape(number, width)
    rarest_first = np.argsort(np.bincount(labels, minlength=width), kind="stable")
    rank = np.argmax(members[:, rarest_first], axis=1)
    major, sizes = rarest_first[rank], members.sum(axis=1)
    shuffled = np.random.default_rng(seed).permutation(number)
    part_of = np.empty(number, dtype=np.int64)
    counts = np.zeros((len(shares), width))
    for group in shuffled[np.lexsort((-sizes[shuffled], rank[shuffled]))]:
        label, share = major[group], np.array(shares)
        of_class = (counts[:, label] + members[group, label] / 2) / share
        overall = (counts.sum(axis=1) + sizes[group] / 2) / share
        part_of[group] = np.lexsort((overall, of_class))[0]
        counts[part_of[group]] += members[group]
    return part_of[groups]


def drawn(seed: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels and groups of up to 400 images."""
    rng = np.random.default_rng(seed)
    number, classes = int(rng.integers(1, 400)), int(rng.integers(1, 7))
    groups = np.arange(number) if kind == "images" else np.sort(rng.integers(-9, max(1, number // 3), number))
    labels = rng.choice(classes, number, p=rng.dirichlet(np.full(classes, 0.5)))
    order = rng.permutation(number)
    return (labels if kind != "pure" else labels[groups % number])[order], groups[order]


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**31),
    st.sampled_from(["images", "pure", "mixed"]),
    st.one_of(st.integers(2, 7).map(lambda parts: [1 / parts] * parts), st.floats(0.02, 0.9).map(lambda s: [1 - s, s])),
    st.sampled_from([1, 2, 8, 32]),
)
def test_places_are_those_of_the_loop(seed, kind, shares, run):
    labels, groups = drawn(seed, kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_RUN", run)
        actual = apportion(labels, groups, shares, seed)
    np.testing.assert_array_equal(actual, loop(labels, groups, shares, seed))


def test_nothing_is_placed_nowhere():
    assert apportion(np.zeros(0, np.int64), np.zeros(0, np.int64), [0.5, 0.5], 0).shape == (0,)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["images", "pure", "mixed"]), st.sampled_from([0.05, 0.1, 0.3]))
def test_reaching_all_classes_only_adds_whole_groups_and_leaves_one_of_each(seed, kind, share):
    labels, groups = drawn(seed, kind)
    held_out = apportion(labels, groups, [1 - share, share], seed) == 1
    pairs = {(group, label) for group, label in zip(groups.tolist(), labels.tolist(), strict=True)}
    known = np.bincount([label for _, label in pairs], minlength=int(labels.max()) + 1)
    extra = reach_all_classes(held_out, labels, groups, share, seed, known)
    assert extra[held_out].all()
    assert all(len(set(extra[groups == group].tolist())) == 1 for group in set(groups.tolist()))
    for label, number in enumerate(known):
        of_class = labels == label
        if held_out[of_class].all():
            continue
        assert not extra[of_class].all()
        if kind != "mixed":
            assert held_out[of_class].sum() == extra[of_class].sum() or not held_out[of_class].any()
            assert extra[of_class].any() or number < 3
    np.testing.assert_array_equal(extra, reach_all_classes(held_out, labels, groups, share, seed, known))


def test_the_smallest_group_is_given():
    labels = np.array([0] * 40 + [1] * 9)
    groups = np.array([*range(40), 50, 50, 50, 51, 51, 52, 52, 52, 52])
    held_out = np.arange(49) < 4
    extra = reach_all_classes(held_out, labels, groups, 0.1, 0, np.array([40, 3]))
    assert np.flatnonzero(extra).tolist() == [0, 1, 2, 3, 43, 44]
