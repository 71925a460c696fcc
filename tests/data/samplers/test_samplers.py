"""Frequencies against their formula, and what every rank must agree on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from scipy import stats

from ltmed.data.samplers.single import EffectiveNumberSampler, InstanceSampler, PowerSampler, ProgressiveSampler, shard
from ltmed.errors import UserError

CONF = Path(__file__).resolve().parents[3] / "conf" / "sampler"
COUNTS = np.array([600, 90, 9, 1])
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(4), COUNTS))


def sampled_labels(sampler, epochs) -> np.ndarray:
    return np.concatenate([LABELS[sampler.batches(epoch)].ravel() for epoch in epochs])


@pytest.mark.parametrize("q", [0.0, 0.5, 1.0, 0.25])
def test_class_frequencies(q):
    sampler = PowerSampler(LABELS, 50, 10, seed=1, q=q)
    assert sampler.steps == 14
    observed = np.bincount(sampled_labels(sampler, range(40)), minlength=4)
    expected = [float(n) ** q for n in COUNTS]
    assert stats.chisquare(observed, np.array(expected) / sum(expected) * observed.sum()).pvalue > 1e-3


def test_images_of_a_class_are_drawn_evenly():
    sampler = PowerSampler(LABELS, 50, 10, seed=1, q=0.0)
    observed = np.bincount(np.concatenate([sampler.batches(epoch).ravel() for epoch in range(60)]), minlength=700)
    for label in range(3):
        assert stats.chisquare(observed[label == LABELS]).pvalue > 1e-3


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.99, 0.9999])
def test_effective_number_weighs_each_image_by_its_class(beta):
    sampler = EffectiveNumberSampler(LABELS, 50, 10, seed=1, beta=beta)
    weights = [1 / sum(beta**power for power in range(n)) for n in COUNTS]  # 1 / (1 + b + ... + b^(n-1))
    expected = np.bincount(LABELS, weights=np.array(weights)[LABELS])
    np.testing.assert_allclose(sampler.class_probabilities(3), expected / expected.sum())
    observed = np.bincount(sampled_labels(sampler, range(40)), minlength=4)
    assert stats.chisquare(observed, expected / expected.sum() * observed.sum()).pvalue > 1e-3


def test_effective_number_goes_from_instance_to_balanced():
    ends = [EffectiveNumberSampler(LABELS, 50, 10, seed=1, beta=b).class_probabilities(0) for b in (0, 1 - 1e-9)]
    np.testing.assert_allclose(ends[0], COUNTS / 700)
    np.testing.assert_allclose(ends[1], np.full(4, 0.25), rtol=1e-5)


def test_progressive_goes_from_instance_to_balanced():
    sampler = ProgressiveSampler(LABELS, 50, 3, seed=1)
    instance, balanced = COUNTS / 700, np.full(4, 0.25)
    for epoch, expected in enumerate([instance, (instance + balanced) / 2, balanced]):
        np.testing.assert_allclose(sampler.class_probabilities(epoch), expected)
    observed = np.bincount(sampler.batches(2).ravel() * 0 + LABELS[sampler.batches(2).ravel()], minlength=4)
    assert stats.chisquare(observed).pvalue > 1e-3
    np.testing.assert_allclose(ProgressiveSampler(LABELS, 50, 1, seed=1).class_probabilities(0), instance)


@pytest.mark.parametrize("batch_size", [1, 32, 700])
def test_each_image_once(batch_size):
    sampler = InstanceSampler(LABELS, batch_size, 10, seed=1)
    batches = sampler.batches(0)
    assert batches.shape == (sampler.steps, batch_size) == (700 // batch_size, batch_size)
    assert len(np.unique(batches)) == batches.size > 700 - batch_size


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_configs_depend_on_seed_and_epoch_only(path):
    def make(seed):
        return instantiate(OmegaConf.load(path))(labels=LABELS, batch_size=32, epochs=5, seed=seed)

    first = make(3).batches(2)
    assert first.dtype == np.int64
    later = make(3)
    later.batches(0)
    np.testing.assert_array_equal(first, later.batches(2))
    assert (first != make(3).batches(1)).any()
    assert (first != make(4).batches(2)).any()


SHARES = {
    "instance": COUNTS / 700, "class_balanced": np.full(4, 0.25), "square_root": COUNTS**0.5 / (COUNTS**0.5).sum(),
    "class_batches": np.full(4, 0.25), "instance_and_balanced": (COUNTS / 700 + 0.25) / 2,
    "repeat_factor": (_TIMES := COUNTS * np.maximum(1, (0.1 * 700 / COUNTS) ** 0.5)) / _TIMES.sum(),
}  # fmt: skip
"""Of each class among the images drawn; of the other samplers, what `class_probabilities` says."""


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_two_ranks_have_other_places_of_each_batch_and_each_has_the_right_classes(path):
    epochs = range(20, 40)
    samplers = [instantiate(OmegaConf.load(path))(labels=LABELS, batch_size=40, epochs=40, seed=5) for _ in range(2)]
    observed = np.zeros((2, 4), np.int64)
    expected = np.zeros(4)
    for epoch in epochs:
        whole = samplers[0].batches(epoch)
        places = np.arange(whole.size).reshape(whole.shape)
        mine, others = (shard(places, rank, 2) for rank in range(2))
        assert mine.shape == others.shape
        for step in range(len(whole)):
            assert sorted([*mine[step], *others[step]]) == places[step].tolist(), "each place once"
        for rank, sampler in enumerate(samplers):  # Each rank has a sampler of its own, that knows nothing of others.
            own = shard(sampler.batches(epoch), rank, 2)
            np.testing.assert_array_equal(own, whole.ravel()[(mine, others)[rank]])
            observed[rank] += np.bincount(LABELS[own].ravel(), minlength=4)
        expected += SHARES[path.stem] if path.stem in SHARES else samplers[0].class_probabilities(epoch)
    for rank in range(2):
        assert stats.chisquare(observed[rank], expected / len(epochs) * observed[rank].sum()).pvalue > 1e-3
    assert stats.chi2_contingency(observed + 1).pvalue > 1e-3


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 9))
def test_shards_make_up_the_batch(world, own, epoch):
    batches = InstanceSampler(LABELS, world * own, 10, seed=1).batches(epoch)
    shards = [shard(batches, rank, world) for rank in range(world)]
    np.testing.assert_array_equal(np.concatenate(shards, axis=1), batches)
    assert all(part.shape == (len(batches), own) for part in shards)


def test_multi_label_targets_by_instance():
    assert InstanceSampler(np.zeros((10, 3)), 5, 1, seed=0).batches(0).shape == (2, 5)


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        (lambda: InstanceSampler(LABELS, 701, 1, 0), "700"),
        (lambda: InstanceSampler(LABELS, 0, 1, 0), "batch_size"),
        (lambda: PowerSampler(np.array([0, 0, 2, 2]), 2, 1, 0, q=0.0), "class number 1"),
        (lambda: PowerSampler(np.zeros((10, 3), np.int64), 5, 1, 0, q=0.0), "sampler=instance"),
        (lambda: EffectiveNumberSampler(LABELS, 5, 1, 0, beta=1.0), "beta is 1.0"),
        (lambda: PowerSampler(LABELS, 5, 1, 0, q=float("nan")), "sampler.q=nan"),
        (lambda: PowerSampler(LABELS, 5, 1, 0, q=400.0), "sampler.q=400.0"),
        (lambda: shard(np.zeros((2, 10), np.int64), 0, 4), "multiple of 4"),
    ],
)
def test_mistakes(mistake, says):
    with pytest.raises(UserError, match=says):
        mistake()
