"""Divisions of images with several labels: iterative stratification by group, counts, digests, coverage, refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ltmed.data.manifest import Manifest, count_labels
from ltmed.data.splits.apportion import apportion
from ltmed.data.splits.coverage import require_training_images, warn_of_unseen_classes
from ltmed.data.splits.imbalance import lmd, long_tailed
from ltmed.data.splits.protocols import Split, grouped, official, random
from ltmed.errors import UserError

from ..manifests import manifest_of


def several(seed: int, number: int = 400, classes: int = 5, unknown: float = 0.05) -> Manifest:
    """Findings of falling prevalence that patients of 1 to 4 images share in part."""
    rng = np.random.default_rng(seed)
    groups = np.sort(rng.integers(0, max(1, number // 2), number))
    prevalence = 0.4 * 0.5 ** np.arange(classes)
    labels = (rng.random((number, classes)) < prevalence).astype(np.float32)
    labels[rng.random(labels.shape) < unknown] = np.nan
    codes = tuple(f"c{index}" for index in range(classes))
    images = tuple(f"images/{row:06d}.jpg" for row in range(number))
    return Manifest("toy", Path("/toy"), images, labels, codes, codes, groups, "patient")


def sechidis(labels: np.ndarray, groups: np.ndarray, shares: list[float], seed: int) -> np.ndarray:
    """Iterative stratification in plain loops, groups in place of examples, the most wanting part by rounded shares."""
    sets = [[k for k, value in enumerate(row) if value == 1] or [len(row)] for row in labels.tolist()]
    members: dict[int, list[int]] = {}
    for row, group in enumerate(groups.tolist()):
        members.setdefault(group, []).append(row)
    numbers = sorted(members)
    turn = {
        numbers[part_of]: number for number, part_of in enumerate(np.random.default_rng(seed).permutation(len(numbers)))
    }
    waiting, part_of = set(numbers), {}
    parts: list[list[int]] = [[] for _ in shares]

    def having(rows: list[int], label: int) -> int:
        return sum(label in sets[row] for row in rows)

    while waiting:
        remaining = [sum(having(members[g], k) for g in waiting) for k in range(labels.shape[1] + 1)]
        label = min((n, k) for k, n in enumerate(remaining) if n)[1]
        selected = [g for g in waiting if having(members[g], label)]
        for group in sorted(selected, key=lambda g: (-having(members[g], label), -len(members[g]), turn[g])):
            rows = members[group]
            wants = [
                ((having(part, label) + having(rows, label) / 2) / share, (len(part) + len(rows) / 2) / share, number)
                for number, (part, share) in enumerate(zip(parts, shares, strict=True))
            ]
            part_of[group] = min(wants)[2]
            parts[part_of[group]] += rows
            waiting.remove(group)
    return np.array([part_of[group] for group in groups.tolist()])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.2] * 5, [0.9, 0.1]])
def test_places_are_those_of_iterative_stratification_in_loops(seed, shares):
    actual = several(seed, 60 + 7 * seed)
    np.testing.assert_array_equal(
        apportion(actual.labels, actual.groups, shares, seed), sechidis(actual.labels, actual.groups, shares, seed)
    )


@pytest.mark.parametrize("seed", range(8))
def test_one_label_an_image_is_divided_as_classes_are(seed):
    rng = np.random.default_rng(seed)
    kinds, sizes = rng.choice(4, 90, p=[0.6, 0.2, 0.15, 0.05]), rng.integers(1, 5, 90)
    labels, groups = np.repeat(kinds, sizes), np.repeat(np.arange(90), sizes)
    onehot = np.eye(labels.max() + 1, dtype=np.float32)[labels]
    np.testing.assert_array_equal(
        apportion(onehot, groups, [0.3, 0.3, 0.4], seed), apportion(labels, groups, [0.3, 0.3, 0.4], seed)
    )


def test_parts_have_their_share_of_every_label_and_whole_patients():
    actual = several(3, 4000, 8)
    whole = actual.counts
    for fold in range(5):
        split = grouped(actual, fold)
        parts = [set(actual.groups[rows].tolist()) for rows in split.parts.values()]
        assert sum(map(len, parts)) == len(set.union(*parts))
        counts = split.counts(actual)["test"]
        assert (abs(counts - whole / 5) <= np.maximum(3, 0.04 * whole)).all(), counts
        none = lambda rows: (~(actual.labels[rows] == 1).any(1)).sum()  # noqa: E731
        assert none(split.test) == pytest.approx(none(np.arange(len(actual))) / 5, rel=0.1)
        assert split.leakage(actual)["leaking"] == 0
    leak = random(actual, 0).leakage(actual)
    loop = {code: {"images": 0, "leaking": 0} for code in actual.classes}
    trained = set(actual.groups[random(actual, 0).train].tolist())
    for row in random(actual, 0).test.tolist():
        for k in np.flatnonzero(actual.labels[row] == 1).tolist():
            loop[actual.classes[k]]["images"] += 1
            loop[actual.classes[k]]["leaking"] += actual.groups[row] in trained
    assert leak["per_class"] == loop


def test_a_digest_depends_on_every_label_and_its_kind():
    actual = several(1, 30)
    split = Split("x", np.arange(20), np.arange(20, 25), np.arange(25, 30))
    digests = {split.digest(actual)}
    for value in (0, 1, np.nan):
        labels = actual.labels.copy()
        labels[3, 2] = value
        digests.add(split.digest(replace(actual, labels=labels)))
    assert len(digests) == 3


def test_a_digest_of_classes_is_the_hash_of_its_lines():
    import hashlib

    actual = manifest_of([0, 1, 1, 0])
    split = Split("x", np.array([0, 1]), np.array([2]), np.array([3]))
    lines = "test 000003 c0\ntrain 000000 c0\ntrain 000001 c1\nval 000002 c1\n"
    assert split.digest(actual) == hashlib.sha256(lines.encode()).hexdigest()[:12]


def test_codes_name_present_and_unknown_labels():
    labels = np.array([[1, 0, np.nan], [0, 0, 0], [1, 1, 0]], np.float32)
    actual = replace(several(0, 3, 3), labels=labels)
    assert actual.codes(np.array([2, 0, 1])) == ["c0|c1", "c0|c2?", ""]
    assert actual.counts.tolist() == [2, 1, 0]
    assert count_labels(np.array([2, 0, 2]), 4).tolist() == [1, 0, 2, 0]


def test_a_label_without_positive_is_warned_of_and_none_at_all_is_refused():
    labels = several(2, 40, 3, unknown=0).labels.copy()
    labels[:, 2] = 0
    actual = replace(several(2, 40, 3), labels=labels)
    split = Split("x", np.arange(30), np.arange(30, 35), np.arange(35, 40))
    with pytest.warns(UserWarning, match="c2"):
        warn_of_unseen_classes(split, actual)
    require_training_images(split, actual)
    with pytest.raises(UserError):
        require_training_images(split, replace(actual, labels=np.zeros_like(labels)))


def test_the_table_counts_images_once():
    actual = several(4, 50)
    split = official(replace(actual, parts=np.array(["train"] * 30 + ["val"] * 8 + ["test"] * 12)), 0)
    assert split.describe(actual).splitlines()[-2].split() == ["total", "30", "8", "12"]


@pytest.mark.parametrize("rule", [lambda found: long_tailed(found, 0, inner=random), lambda found: lmd(found, 0)])
def test_rules_for_one_class_an_image_refuse(rule):
    with pytest.raises(UserError, match="several labels"):
        rule(several(0))
