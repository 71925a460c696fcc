"""Pairs: what each half is, that they stay together, and that ranks share nothing."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy import stats

from ltmed.data.samplers.class_batches import ClassBatchSampler
from ltmed.data.samplers.paired import PairedSampler
from ltmed.data.samplers.single import InstanceSampler, PowerSampler, ProgressiveSampler, shard
from ltmed.errors import UserError

COUNTS = np.array([600, 90, 9, 1])
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(4), COUNTS))
BALANCED = partial(PowerSampler, q=0.0)


def make(batch_size: int | None = 50, seed: int = 1, second=BALANCED) -> PairedSampler:
    return PairedSampler(LABELS, batch_size, 10, seed, first=InstanceSampler, second=second)


@pytest.mark.parametrize("batch_size", [1, 32, 350, 700])
def test_first_half_is_what_the_first_sampler_draws_alone(batch_size):
    sampler = make(batch_size)
    alone = InstanceSampler(LABELS, batch_size, 10, seed=1)
    assert sampler.steps == alone.steps == 700 // batch_size
    for epoch in range(3):
        batches = sampler.batches(epoch)
        assert batches.shape == (sampler.steps, 2 * batch_size)
        np.testing.assert_array_equal(batches[:, 0::2], alone.batches(epoch))


def test_it_is_complete_when_both_halves_are():
    assert make(second=ProgressiveSampler).complete_from == 9  # The last of ten epochs.
    assert make().complete_from == 0


@pytest.mark.parametrize("q", [0.0, 0.5])
def test_class_frequencies_of_the_second_half(q):
    sampler = make(second=partial(PowerSampler, q=q))
    sampled = np.concatenate([LABELS[sampler.batches(epoch)[:, 1::2]].ravel() for epoch in range(40)])
    expected = COUNTS.astype(float) ** q
    observed = np.bincount(sampled, minlength=4)
    assert stats.chisquare(observed, expected / expected.sum() * observed.sum()).pvalue > 1e-3


def test_halves_are_independent():
    first, second = (
        np.concatenate([LABELS[make().batches(epoch)[:, half::2]].ravel() for epoch in range(60)]) for half in (0, 1)
    )
    table = np.histogram2d(np.minimum(first, 1), second, bins=(2, 4))[0]
    assert stats.chi2_contingency(table).pvalue > 1e-3


@pytest.mark.parametrize("world", [2, 5])
def test_shards_keep_pairs_together_and_share_no_place(world):
    batches = make(50).batches(3)
    # Pair p of a batch, as images 2 p and 2 p + 1: the same division of the pairs themselves.
    pairs = batches.reshape(len(batches), 50, 2)
    shards = [shard(batches, rank, world) for rank in range(world)]
    for rank, own in enumerate(shards):
        np.testing.assert_array_equal(
            own.reshape(len(own), -1, 2), pairs[:, rank * 50 // world : (rank + 1) * 50 // world]
        )
    places = [shard(np.arange(batches.size).reshape(batches.shape), rank, world) for rank in range(world)]
    assert len(np.unique(np.concatenate(places, axis=1))) == batches.size
    # No image of the instance half is on two ranks.
    observed = np.concatenate([own[:, 0::2].ravel() for own in shards])
    assert len(np.unique(observed)) == len(observed)


def test_the_shorter_of_two_samplers_decides():
    sampler = make(8, second=ClassBatchSampler)
    assert sampler.steps == 87
    labels = LABELS[sampler.batches(0)[:, 1::2]]
    assert (np.sort(labels, axis=1) == np.repeat(np.arange(4), 2)).all()


def test_depends_on_seed_and_epoch_only():
    batches = make().batches(2)
    np.testing.assert_array_equal(batches, make().batches(2))
    assert batches.dtype == np.int64
    for other in (make().batches(3), make(seed=2).batches(2)):
        for half in (0, 1):
            assert (batches[:, half::2] != other[:, half::2]).any()


@pytest.mark.parametrize(("batch_size", "says"), [(701, "700"), (0, "batch_size"), (None, "batch_size is null")])
def test_mistakes(batch_size, says):
    with pytest.raises(UserError, match=says):
        make(batch_size)
