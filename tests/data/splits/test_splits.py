"""Splits: disjoint, complete, balanced, deterministic, honest about leakage."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from ltmed.data.manifest import Manifest
from ltmed.data.splits.coverage import require_training_images, warn_of_unseen_classes
from ltmed.data.splits.protocols import Split, grouped, official, random
from tests.data.manifests import long_tailed, manifest_of

CODES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
manifests = st.builds(long_tailed, st.integers(0, 2**31), st.integers(2, 6), st.integers(20, 150), st.integers(1, 6))
protocols = st.sampled_from([grouped, random])


@settings(max_examples=30, deadline=None)
@given(manifests, protocols, st.integers(2, 6), st.floats(0.05, 0.4), st.integers(0, 1000))
def test_folds_are_disjoint_complete_and_each_image_is_tested_once(manifest, protocol, folds, val, seed):
    tested = np.zeros(len(manifest), dtype=int)
    for fold in range(folds):
        split = protocol(manifest, fold, folds=folds, val=val, seed=seed)
        rows = np.concatenate([split.train, split.val, split.test])
        assert np.array_equal(np.sort(rows), np.arange(len(manifest)))
        for part in split.parts.values():
            assert part.dtype == np.int64
            assert np.all(np.diff(part) > 0)
        tested[split.test] += 1
    assert np.all(tested == 1)


@settings(max_examples=30, deadline=None)
@given(manifests, st.integers(0, 4), st.sampled_from([None, 0.2, 0.3]), st.integers(0, 1000))
def test_grouped_keeps_every_lesion_in_one_part(manifest, fold, test, seed):
    split = grouped(manifest, 0 if test else fold, test=test, seed=seed)
    observed: dict[int, str] = {}
    for part, rows in split.parts.items():
        for row in rows:
            assert observed.setdefault(manifest.groups[row], part) == part
    assert split.leakage(manifest)["leaking"] == 0


@settings(max_examples=40, deadline=None)
@given(manifests, protocols, st.integers(2, 6), st.integers(0, 1000))
def test_folds_are_balanced_per_class_to_within_one_lesion(manifest, protocol, folds, seed):
    sizes = np.array(
        [protocol(manifest, fold, folds=folds, seed=seed).counts(manifest)["test"] for fold in range(folds)]
    )
    for label in range(len(manifest.classes)):
        largest = 1
        if protocol is grouped:
            largest = np.unique(manifest.groups[manifest.labels == label], return_counts=True)[1].max()
        assert np.ptp(sizes[:, label]) <= largest


@settings(max_examples=30, deadline=None)
@given(manifests, protocols, st.sampled_from([0.1, 0.2, 0.3, 0.5]), st.integers(0, 1000))
def test_fractions_are_met_per_class_to_within_one_lesion(manifest, protocol, share, seed):
    split = protocol(manifest, 0, test=share, val=share, seed=seed)
    counts = split.counts(manifest)
    rest = counts["train"] + counts["val"]
    for label in range(len(manifest.classes)):
        largest = 1
        if protocol is grouped:
            largest = np.unique(manifest.groups[manifest.labels == label], return_counts=True)[1].max()
        assert abs(counts["test"][label] - share * manifest.counts[label]) <= largest
        assert abs(counts["val"][label] - share * rest[label]) <= largest


@settings(max_examples=20, deadline=None)
@given(manifests, protocols, st.integers(0, 4), st.integers(0, 1000))
def test_same_arguments_give_the_same_split_and_another_seed_another(manifest, protocol, fold, seed):
    one, two = protocol(manifest, fold, seed=seed), protocol(manifest, fold, seed=seed)
    assert one.digest(manifest) == two.digest(manifest)
    assert protocol(manifest, fold, seed=seed + 1).digest(manifest) != one.digest(manifest)


def test_large_lesions_get_into_small_parts():
    """A small hold-out must not be made of single-image lesions only."""
    manifest = long_tailed(3, classes=1, head=600)
    sizes = np.bincount(np.unique(manifest.groups, return_inverse=True)[1])
    split = grouped(manifest, 0, test=0.2)
    held_out = np.unique(manifest.groups[split.test], return_counts=True)[1]
    assert held_out.mean() == pytest.approx(sizes.mean(), rel=0.05)
    assert (held_out >= 4).mean() == pytest.approx((sizes >= 4).mean(), abs=0.03)


def test_scarce_classes_are_in_every_part_from_three_images_on_and_in_training_first():
    manifest = manifest_of([0] * 200 + [1] * 3 + [2] * 9 + [3] * 2 + [4])
    counts = random(manifest, 0, test=0.2, val=0.1).counts(manifest)
    assert [part[1] for part in counts.values()] == [1, 1, 1]
    assert [part[2] for part in counts.values()] == [6, 1, 2]
    assert [part[3] for part in counts.values()] == [2, 0, 0]
    assert [part[4] for part in counts.values()] == [1, 0, 0]


few_images = st.lists(st.integers(1, 9), min_size=2, max_size=12).map(
    lambda sizes: manifest_of(np.repeat(np.arange(len(sizes) + 1), [60, *sizes]), np.arange(60 + sum(sizes)))
)


@settings(max_examples=60, deadline=None)
@given(few_images, protocols, st.sampled_from([None, 0.1, 0.2]), st.integers(0, 4), st.integers(0, 50))
def test_every_class_of_three_groups_is_validated_and_trained_on(manifest, protocol, test, fold, seed):
    counts = protocol(manifest, 0 if test else fold, test=test, seed=seed).counts(manifest)
    rest = manifest.counts - counts["test"]
    validated = (manifest.counts >= 3) & (rest >= 2)
    assert (counts["val"][validated] >= 1).all()
    assert (counts["train"][rest >= 1] >= 1).all()
    # Classes with enough groups keep the share that they had, and small ones give no more than one.
    assert (counts["val"] <= np.maximum(1, np.ceil(0.1 * rest))).all()
    share = 0.1 * rest.sum()
    assert counts["val"].sum() >= min(share, (rest >= 2).sum()) - len(rest) / 2


def test_classes_of_two_groups_keep_up_the_share_of_all_images():
    labels = np.repeat(np.arange(100), 2)
    manifest = manifest_of([*labels, 0], parts=["train"] * 200 + ["test"])
    counts = official(manifest, 0).counts(manifest)
    assert counts["val"].sum() == 20
    assert counts["val"].max() == counts["val"][0] == 1
    assert (counts["train"] >= 1).all()


def test_a_class_never_loses_its_last_group_of_training():
    """Group 0 has images of classes 1 and 2, and is the only one with class 2."""
    labels = [0] * 50 + [1, 2, 1, 1]
    manifest = manifest_of(labels, [*range(50), 60, 60, 61, 62])
    split = official(replace(manifest, parts=np.array(["test"] + ["train"] * 53)), 0)
    counts = split.counts(manifest)
    assert counts["val"].tolist()[1:] == [1, 0]
    assert split.absent(manifest, "val").tolist() == [2]


def test_a_validation_part_without_a_class_is_warned_of():
    manifest = manifest_of([0] * 30 + [1] * 2 + [2] * 5)
    split = random(manifest, 0, test=0.2)
    with pytest.warns(UserWarning, match=r"1 of 3 classes have no validation image \(c1\)"):
        warn_of_unseen_classes(split, manifest)
    many = manifest_of([*range(13)] * 2)
    with pytest.warns(UserWarning, match=r"12 of 13 classes have no .*c10 and 2 more"):
        warn_of_unseen_classes(Split("x", np.arange(13), np.array([13]), np.arange(14, 26)), many)


def test_groups_of_several_classes_stay_together_and_balanced():
    """Patients whose images have different labels (chest radiographs)."""
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(400), rng.integers(1, 5, 400))
    manifest = manifest_of(rng.choice(3, len(groups), p=[0.7, 0.2, 0.1]), groups)
    sizes = []
    for fold in range(5):
        split = grouped(manifest, fold)
        assert not set(manifest.groups[split.test]) & set(manifest.groups[np.r_[split.train, split.val]])
        sizes.append(split.counts(manifest)["test"])
    assert np.all(np.abs(np.array(sizes) - manifest.counts / 5) <= np.maximum(4, 0.1 * manifest.counts))


@pytest.mark.parametrize("seed", range(4))
def test_balance_is_not_worse_than_scikit_learns(seed):
    manifest = long_tailed(seed, classes=6, head=300)

    def deviation(folds):
        sizes = np.array([np.bincount(manifest.labels[test], minlength=6) for test in folds])
        return np.abs(sizes / manifest.counts - 0.2).max()

    actual = [grouped(manifest, fold, seed=seed).test for fold in range(5)]
    reference = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(
        manifest.labels, manifest.labels, manifest.groups
    )
    assert deviation(actual) <= deviation([test for _, test in reference]) + 1e-12


def test_validation_images_never_depend_on_the_test_fold_order():
    """The division of the folds is one and the same for every fold: only which one is tested changes."""
    manifest = long_tailed(1)
    tests = [set(grouped(manifest, fold, val=0.1).test) for fold in range(5)]
    assert tests == [set(grouped(manifest, fold, val=0.3).test) for fold in range(5)]


@settings(max_examples=20, deadline=None)
@given(manifests, protocols, st.data())
def test_digest_changes_when_any_row_moves(manifest, protocol, data):
    split = protocol(manifest, 0)
    source, target = data.draw(st.permutations(["train", "val", "test"]))[:2]
    row = data.draw(st.sampled_from(list(split.parts[source])))
    moved = replace(
        split,
        **{
            source: split.parts[source][split.parts[source] != row],
            target: np.sort(np.append(split.parts[target], row)),
        },
    )
    digest = split.digest(manifest)
    assert len(digest) == 12
    assert int(digest, 16) >= 0
    assert moved.digest(manifest) != digest
    assert split.without([row]).digest(manifest) != digest
    labels = manifest.labels.copy()
    labels[row] = (labels[row] + 1) % len(manifest.classes)
    assert split.digest(replace(manifest, labels=labels)) != digest


def test_digest_ignores_folders_unless_names_repeat():
    split = Split("x", np.array([0]), np.array([1]), np.array([2]))
    one = replace(manifest_of([0, 0, 0]), images=("a/1.jpg", "a/2.jpg", "a/3.jpg"))
    two = replace(one, images=("b/1.JPG", "c/2.jpg", "a/3.png"))
    assert split.digest(one) == split.digest(two)
    one, two = (
        replace(one, images=("a/1.jpg", "b/1.jpg", "c/2.jpg")),
        replace(one, images=("a/1.jpg", "b/1.jpg", "d/2.jpg")),
    )
    assert split.digest(one) != split.digest(two)


@settings(max_examples=20, deadline=None)
@given(manifests, st.integers(0, 1000))
def test_leakage_counts_what_a_slow_loop_counts(manifest, seed):
    split = random(manifest, 0, test=0.3, seed=seed)
    leaking = dict.fromkeys(manifest.classes, 0)
    for row in split.test:
        if any(manifest.groups[row] == manifest.groups[other] for other in split.train):
            leaking[manifest.classes[manifest.labels[row]]] += 1
    actual = split.leakage(manifest)
    assert {code: entry["leaking"] for code, entry in actual["per_class"].items()} == leaking
    assert actual["leaking"] == sum(leaking.values())
    assert actual["images"] == len(split.test) == sum(entry["images"] for entry in actual["per_class"].values())
    assert actual["fraction"] == pytest.approx(sum(leaking.values()) / len(split.test))


def test_without_groups_leakage_is_unknown_and_said_so():
    manifest = manifest_of([0, 1] * 30)
    split = random(manifest, 0)
    assert split.leakage(manifest) is None
    assert "leakage is unknown" in split.describe(manifest)


def test_describe_has_the_counts_the_protocol_and_the_leakage():
    manifest = long_tailed(2)
    split = random(manifest, 1)
    lines = split.describe(manifest).splitlines()
    counts = split.counts(manifest)
    for index, code in enumerate(manifest.classes):
        cells = lines[1 + index].replace(",", "").split()
        assert cells == [code, *(str(counts[part][index]) for part in ("train", "val", "test"))]
    assert lines[-1].startswith(f"split random {split.digest(manifest)}: {split.leakage(manifest)['fraction']:.1%}")


def test_without_drops_rows_from_every_part():
    manifest = long_tailed(4)
    split = grouped(manifest, 0)
    bad = [int(split.train[3]), int(split.val[0]), int(split.test[-1])]
    selected = split.without(bad)
    for part, rows in split.parts.items():
        assert set(selected.parts[part]) == set(rows) - set(bad)
    assert split.without([]).digest(manifest) == split.digest(manifest)


# real lesion ids


@pytest.fixture(scope="module")
def ham10000(shared: Path) -> Manifest:
    with open(shared / "data/ham10000/HAM10000_metadata.csv", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["image_id"])
    lesions = np.unique([row["lesion_id"] for row in rows], return_inverse=True)[1]
    return replace(
        manifest_of([CODES.index(row["dx"].upper()) for row in rows], lesions),
        classes=CODES,
        images=tuple(row["image_id"] + ".jpg" for row in rows),
    )


@pytest.mark.parametrize(("options", "percent"), [({"folds": 5}, 38.8), ({"test": 0.3}, 35.3)])
def test_image_level_splits_of_ham10000_leak_as_measured_elsewhere(ham10000, options, percent):
    actual = []
    for seed in range(5):
        split = random(ham10000, 0, seed=seed, **options)
        papers = Split("random", np.sort(np.r_[split.train, split.val]), split.val[:0], split.test)
        actual.append(100 * papers.leakage(ham10000)["fraction"])
    assert np.mean(actual) == pytest.approx(percent, abs=1.5)


def test_grouped_folds_of_ham10000_are_disjoint_and_balanced(ham10000):
    sizes = []
    for fold in range(5):
        split = grouped(ham10000, fold)
        assert split.leakage(ham10000)["leaking"] == 0
        require_training_images(split, ham10000)
        sizes.append(split.counts(ham10000)["test"])
    assert np.ptp(np.array(sizes), axis=0).max() <= 1
