"""Samplers of images with several labels, against loops over the definitions."""

from __future__ import annotations

import numpy as np
import pytest

from ltmed.data.samplers.class_batches import ClassBatchSampler
from ltmed.data.samplers.repeat_factor import RepeatFactorSampler, repeat_factors
from ltmed.data.samplers.single import EffectiveNumberSampler, InstanceSampler, PowerSampler
from ltmed.errors import UserError


def targets(seed: int = 0, number: int = 200) -> np.ndarray:
    rng = np.random.default_rng(seed)
    labels = (rng.random((number, 5)) < [0.5, 0.25, 0.1, 0.04, 0.0]).astype(np.float32)
    labels[rng.random(labels.shape) < 0.05] = np.nan
    labels[0], labels[1, :4] = 0, 1
    return labels


def sampled_share(sampler, epochs: int) -> np.ndarray:
    """How often each image is drawn, as a share of all draws."""
    actual = np.concatenate([sampler.batches(epoch).ravel() for epoch in range(epochs)])
    return np.bincount(actual, minlength=len(sampler.labels)) / len(actual)


@pytest.mark.parametrize("q", [0.0, 0.5])
def test_a_label_is_drawn_and_then_an_image_that_has_it(q):
    labels = targets()
    sets = [[k for k, value in enumerate(row) if value == 1] for row in labels.tolist()]
    counts = {k: sum(k in one for one in sets) for k in range(5)}
    weight = {k: n**q for k, n in counts.items() if n}
    none = [row for row, one in enumerate(sets) if not one]
    expected = np.zeros(len(labels))
    for row, one in enumerate(sets):
        if one:
            label_shares = [weight[k] / sum(weight.values()) / counts[k] for k in one]
            expected[row] = (1 - len(none) / len(labels)) * sum(label_shares)
        else:
            expected[row] = 1 / len(labels)
    assert expected.sum() == pytest.approx(1)
    actual = sampled_share(PowerSampler(labels, 20, 500, 3, q=q), 500)
    deviation = np.sqrt(expected * (1 - expected) / 100_000)
    assert (abs(actual - expected) < 5 * deviation).all()


def test_effective_numbers_are_those_of_the_labels():
    labels = targets()
    sampler = EffectiveNumberSampler(labels, 20, 1, 0, beta=0.9)
    counts = np.array([n for n in (labels == 1).sum(0) if n])
    weights = counts / (1 - 0.9**counts)
    np.testing.assert_allclose(sampler.class_probabilities(0), weights / weights.sum())


def test_every_image_once_whatever_its_labels():
    assert sorted(InstanceSampler(targets(), 20, 1, 0).batches(0).ravel().tolist()) == list(range(200))


def factors_in_a_loop(sets: list[list[int]], t: float) -> list[float]:
    number = len(sets)
    share = {k: sum(k in one for one in sets) / number for one in sets for k in one}
    return [max([1.0, *((t / share[k]) ** 0.5 for k in one)]) for one in sets]


def test_repeat_factors_are_those_of_the_paper():
    labels = targets(1)
    sets = [[k for k, value in enumerate(row) if value == 1] for row in labels.tolist()]
    np.testing.assert_allclose(repeat_factors(labels, 0.3), factors_in_a_loop(sets, 0.3))
    classes = np.array([0] * 90 + [1] * 9 + [2])
    np.testing.assert_allclose(repeat_factors(classes, 0.2), factors_in_a_loop([[k] for k in classes.tolist()], 0.2))


def test_images_are_in_an_epoch_as_often_as_their_factor_says():
    labels = targets(2)
    sampler = RepeatFactorSampler(labels, 10, 400, 5, threshold=0.3)
    factors = repeat_factors(labels, 0.3)
    assert sampler.steps == int(factors.sum()) // 10
    whole = RepeatFactorSampler(labels, 1, 400, 5, threshold=0.3)
    times = np.array([np.bincount(whole.batches(e).ravel(), minlength=200) for e in range(400)])
    full = times.sum(1) >= int(factors.sum())
    assert full.all()
    np.testing.assert_allclose(times.mean(0), factors, atol=5 * 0.5 / 20 + 0.02)
    assert (times[:, factors == 1] >= 0).all()
    assert len({tuple(row) for row in times.tolist()}) > 390  # Rounded anew in every epoch.
    np.testing.assert_array_equal(sampler.batches(7), RepeatFactorSampler(labels, 10, 400, 5, threshold=0.3).batches(7))


def test_frequent_labels_change_nothing():
    labels = np.ones((40, 2), np.float32)
    assert sorted(RepeatFactorSampler(labels, 8, 1, 0).batches(0).ravel().tolist()) == list(range(40))


def test_what_cannot_be_sampled_is_refused():
    labels = targets()
    with pytest.raises(UserError, match="one label per image"):
        ClassBatchSampler(labels, None, 1, 0)
    with pytest.raises(UserError):
        PowerSampler(np.zeros((30, 3), np.float32), 5, 1, 0, q=0.0)
    for threshold in (0, -1, 1.5, float("nan")):
        with pytest.raises(UserError):
            RepeatFactorSampler(labels, 5, 1, 0, threshold=threshold)
