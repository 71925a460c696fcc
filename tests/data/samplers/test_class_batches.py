"""Class-balanced batches: what each holds, who takes turns, and what every rank must agree on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltmed.data.samplers.class_batches import ClassBatchSampler
from ltmed.data.samplers.single import InstanceSampler, shard
from ltmed.errors import UserError

COUNTS = np.array([300, 45, 10, 3])
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(4), COUNTS))


def test_every_batch_has_n_images_of_every_class() -> None:
    sampler = ClassBatchSampler(LABELS, None, 5, seed=1, images_per_class=10)
    batches = sampler.batches(0)
    assert batches.shape == (sampler.steps, sampler.batch_size) == (9, 40)
    for batch in batches:
        assert np.bincount(LABELS[batch]).tolist() == [10] * 4


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=6), st.integers(2, 7), st.integers(0, 3), st.integers(0, 4))
def test_large_classes_take_turns_and_never_repeat_in_a_batch(
    counts: list[int], images: int, epoch: int, fewer: int
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    per_batch = max(2, len(counts) - fewer)
    sampler = ClassBatchSampler(labels, None, 5, seed=1, images_per_class=images, classes_per_batch=per_batch)
    batches = sampler.batches(epoch)
    assert sampler.steps == -(-len(labels) // (images * per_batch))
    for batch in batches:
        assert sorted(np.bincount(labels[batch])[np.bincount(labels[batch]) > 0]) == [images] * per_batch
        for label in np.flatnonzero(np.array(counts) >= images):
            assert len(np.unique(batch[labels[batch] == label])) in (0, images)
    observed = np.bincount(batches.ravel(), minlength=len(labels))
    for label in np.flatnonzero(np.array(counts) >= images):
        assert np.ptp(observed[labels == label]) <= 1
    classes = np.bincount(labels[batches.ravel()], minlength=len(counts)) // images
    assert np.ptp(classes) <= 1


def test_an_epoch_of_the_largest_class_shows_all_its_images_and_the_others_as_often_as_it_takes() -> None:
    sampler = ClassBatchSampler(LABELS, 24, 5, seed=1, length="largest_class")
    batches = sampler.batches(0)
    assert batches.shape == (50, 24), "4 classes x 300 images"
    observed = np.bincount(batches.ravel(), minlength=len(LABELS))
    assert (observed[LABELS == 0] == 1).all()
    assert observed[LABELS == 1].sum() == observed[LABELS == 3].sum() == 300
    assert np.ptp(observed[LABELS == 1]) <= 1
    assert {tuple(np.bincount(LABELS[batch])) for batch in batches} == {(6, 6, 6, 6)}


def test_small_classes_are_drawn_with_replacement() -> None:
    sampler = ClassBatchSampler(LABELS, None, 5, seed=1, images_per_class=10)
    rare = [np.bincount(batch[LABELS[batch] == 3], minlength=len(LABELS))[LABELS == 3] for batch in sampler.batches(0)]
    assert np.sum(rare, axis=0).min() > 0
    assert len({tuple(row) for row in rare}) > 1


def test_more_than_the_training_part_in_a_batch() -> None:
    assert ClassBatchSampler(np.array([0, 1, 1]), None, 1, seed=0, images_per_class=5).batches(0).shape == (1, 10)


def test_slices_of_all_processes_have_the_same_mixture() -> None:
    batches = ClassBatchSampler(LABELS, None, 5, seed=1, images_per_class=4).batches(0)
    for rank in range(2):
        for batch in shard(batches, rank, 2):
            assert np.bincount(LABELS[batch]).tolist() == [2] * 4


def test_batches_depend_on_seed_and_epoch_only() -> None:
    def make(seed: int) -> ClassBatchSampler:
        return ClassBatchSampler(LABELS, None, 5, seed=seed, images_per_class=5, classes_per_batch=3)

    later = make(3)
    later.batches(0)
    np.testing.assert_array_equal(make(3).batches(2), later.batches(2))
    assert (make(3).batches(2) != make(3).batches(1)).any()
    assert (make(3).batches(2) != make(4).batches(2)).any()


def test_a_batch_size_decides_the_images_per_class() -> None:
    assert ClassBatchSampler(LABELS, 32, 5, seed=1, images_per_class=10).images_per_class == 8
    sampler = ClassBatchSampler(LABELS, 6, 5, seed=1, classes_per_batch=2)
    assert (sampler.images_per_class, sampler.batch_size) == (3, 6)


MANY = np.repeat(np.arange(198), 30)


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        (lambda: ClassBatchSampler(LABELS, 30, 1, 0), "batch_size 30.*of 4.*images_per_class.*classes_per_batch"),
        (lambda: ClassBatchSampler(LABELS, 4, 1, 0), "batch_size 4.*at least 8"),
        (lambda: ClassBatchSampler(MANY, 128, 1, 0), "198 classes.*images_per_class.*classes_per_batch"),
        (lambda: ClassBatchSampler(LABELS, None, 1, 0, images_per_class=1), "images_per_class is 1"),
        (lambda: ClassBatchSampler(LABELS, None, 1, 0, classes_per_batch=5), "classes_per_batch is 5.*from 2 to 4"),
        (lambda: ClassBatchSampler(LABELS, None, 1, 0, classes_per_batch=1), "classes_per_batch is 1"),
        (lambda: ClassBatchSampler(LABELS, None, 1, 0, length="largest"), r"length.*largest_class"),  # pyright: ignore
        (lambda: ClassBatchSampler(np.array([0, 0, 2]), None, 1, 0), "class number 1"),
        (lambda: ClassBatchSampler(np.zeros((9, 3), np.int64), None, 1, 0), "sampler=instance"),
        (lambda: InstanceSampler(LABELS, None, 1, 0), "batch_size is null.*class_batches"),
    ],
)  # fmt: skip
def test_mistakes(mistake, says) -> None:
    with pytest.raises(UserError, match=says):
        mistake()
