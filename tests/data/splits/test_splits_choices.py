"""Splits: official parts and folds, the yaml files, and mistakes in the choice."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf

from ltmed.data.splits.coverage import require_training_images
from ltmed.data.splits.protocols import Split, grouped, official, random
from ltmed.errors import UserError
from tests.data.manifests import long_tailed, manifest_of
from tests.harness import ROOT

# official parts and folds


def test_official_parts_are_taken_as_they_are():
    parts = ["train"] * 10 + ["val"] * 4 + ["test"] * 5 + [""]
    split = official(manifest_of([0, 1] * 10, parts=parts), 0)
    assert split.train.tolist() == list(range(10))
    assert split.val.tolist() == [10, 11, 12, 13]
    assert split.test.tolist() == [14, 15, 16, 17, 18]


def test_official_without_validation_images_takes_them_from_training_by_group():
    manifest = long_tailed(6)
    parts = np.where(np.arange(len(manifest)) % 4 == 0, "test", "train")
    manifest = replace(manifest, parts=parts)
    split = official(manifest, 0)
    assert np.array_equal(split.test, np.flatnonzero(parts == "test"))
    assert not set(manifest.groups[split.val]) & set(manifest.groups[split.train])
    assert len(split.val) / (len(split.val) + len(split.train)) == pytest.approx(0.1, abs=0.02)
    by_image = official(replace(manifest, groups=None), 0)
    assert np.array_equal(np.sort(np.r_[by_image.train, by_image.val]), np.flatnonzero(parts == "train"))


def test_official_can_replace_a_validation_part_that_is_too_small():
    manifest = manifest_of([0, 1] * 50, parts=["train"] * 80 + ["val"] * 2 + ["test"] * 18)
    split = official(manifest, 0, val=0.25)
    assert len(split.val) == 20
    assert split.val.max() < 80


def test_official_folds():
    manifest = manifest_of([0, 1] * 50, folds=[row % 5 for row in range(99)] + [-1])
    split = official(manifest, 3)
    assert split.test.tolist() == list(range(3, 99, 5))
    assert 99 not in np.r_[split.train, split.val]
    with pytest.raises(UserError, match="fold 5 is out of range: split=official has folds 0-4"):
        official(manifest, 5)


def test_folds_beside_a_test_part_divide_the_training_images_alone():
    parts = np.array(["test"] * 20 + ["train"] * 79 + [""])
    manifest = manifest_of([0, 1] * 50, parts=parts, folds=[row % 5 for row in range(99)] + [3])
    split = official(manifest, 3)
    assert split.test.tolist() == list(range(20))
    assert split.val.tolist() == list(range(23, 99, 5))
    assert split.train.tolist() == [row for row in range(20, 99) if row % 5 != 3]
    halved = official(manifest, 3, val=0.5)
    assert halved.test.tolist() == list(range(20))
    assert set(np.r_[halved.train, halved.val]) == set(split.train)
    with pytest.raises(UserError, match="fold 5 is out of range"):
        official(manifest, 5)


def test_folds_beside_a_validation_part_choose_the_test_images():
    parts = ["train"] * 80 + ["val"] * 20
    split = official(manifest_of([0, 1] * 50, parts=parts, folds=np.arange(100) % 5), 1)
    assert split.test.tolist() == list(range(1, 80, 5))
    assert split.val.tolist() == list(range(80, 100))
    assert split.train.tolist() == [row for row in range(80) if row % 5 != 1]


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        (["train"] * 8 + ["val"] * 6 + ["test"] * 6, "both say which images validate"),
        (["test", "train", "train", "train"] * 5, "fold 0 has no image of the part train"),
        (["val", "train", "train", "train"] * 5, "fold 0 has no image of the part train"),
    ],
)
def test_parts_and_folds_that_divide_the_images_in_two_ways_are_refused(parts, problem):
    with pytest.raises(UserError, match=rf"{problem}.*dataset.columns.fold=\[\].*dataset.columns.part=\[\]"):
        official(manifest_of([0, 1] * 10, parts=parts, folds=np.arange(20) % 4), 1)


def test_official_validation_and_test_images_are_not_divided_again_unless_asked():
    manifest = manifest_of([0, 1] * 50, groups=range(100), parts=["train"] * 70 + ["val"] * 10 + ["test"] * 19 + [""])
    for protocol in (grouped, random):
        split = protocol(manifest, 0)
        assert max(map(max, split.parts.values())) < 70
        every = protocol(manifest, 0, pool="all")
        assert sorted(np.concatenate(list(every.parts.values()))) == list(range(99))


# yaml


@pytest.mark.parametrize("path", sorted((ROOT / "conf/split").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_yaml_shows_every_option_with_its_default(path):
    config = OmegaConf.to_container(OmegaConf.load(path))
    assert path.read_text().startswith("# ")
    config.pop("defaults", None)
    function = get_object(config.pop("_target_"))
    assert config.pop("_partial_") is True
    options = [
        option for option in inspect.signature(function).parameters.values() if option.kind is option.KEYWORD_ONLY
    ]
    needed = {option.name for option in options if option.default is option.empty}
    for name in needed & set(config):
        config.pop(name)
    assert config == {option.name: option.default for option in options if option.name not in needed}


# mistakes

TWO = manifest_of([0, 1] * 50, groups=range(100))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(grouped, TWO, 7), "fold 7 is out of range: split=grouped has folds 0-4"),
        (partial(random, TWO, -1), "fold -1 is out of range: split=random has folds 0-4"),
        (
            partial(grouped, TWO, 1, test=0.3),
            "fold 1 is out of range: split=grouped with split.test=0.3 has fold 0 only",
        ),
        (partial(grouped, TWO, 0, folds=1), "split.folds=1 leaves nothing"),
        (partial(grouped, TWO, 0, val=1.5), "split.val=1.5 is not a fraction"),
        (partial(grouped, TWO, 0, test=0), "split.test=0 is not a fraction"),
        (partial(grouped, TWO, 0, pool="al"), "split.pool=al does not exist. Did you mean 'all'"),
        (partial(grouped, manifest_of([0, 1] * 9), 0), "needs lesion ids.*has none. Use split=random"),
        (partial(grouped, manifest_of([0] * 9, source="L.csv"), 0), "needs lesion ids.*Add L.csv, or use split=random"),
        (partial(grouped, manifest_of([0] * 9, groups=[1] * 9), 0), "has no (train|val|test) image of toy"),
        (partial(official, TWO, 0), "no parts of its own"),
        (partial(official, manifest_of([0] * 4, parts=["train"] * 4), 0), "split=official has no test image of toy"),
        (
            partial(official, manifest_of([0] * 4, parts=["train", "val", "test", "test"]), 1),
            "fold 1 is out of range: split=official has fold 0 only",
        ),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_a_class_without_training_images_is_named_but_absence_elsewhere_is_fine():
    manifest = manifest_of([0, 1, 2] * 4)
    everything = np.arange(12)
    require_training_images(Split("x", everything[:6], everything[6:9], everything[[9]]), manifest)
    without = Split("x", np.array([0, 1, 3, 4]), np.array([2]), np.array([5]))
    with pytest.raises(UserError, match=r"no training image of class c2 \(4 in all\)"):
        require_training_images(without, manifest)


# validation images alone


@pytest.mark.parametrize("protocol", [grouped, random])
@pytest.mark.parametrize("test", [None, 0.3])
def test_another_val_seed_leaves_the_test_images_as_they_are(protocol, test):
    manifest = long_tailed(3)
    plain = protocol(manifest, 0, test=test, seed=5)
    same = protocol(manifest, 0, test=test, seed=5, val_seed=5)
    other = protocol(manifest, 0, test=test, seed=5, val_seed=6)
    assert all(np.array_equal(plain.parts[part], same.parts[part]) for part in plain.parts)
    assert np.array_equal(plain.test, other.test)
    assert not np.array_equal(plain.val, other.val)
    assert not set(other.test) & {*other.val, *other.train}
