"""Batches from a part of the images: nothing else, evenly, and what the inner sampler would draw of all."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ltmed.data.samplers.single import InstanceSampler, PowerSampler
from ltmed.data.samplers.subset import SubsetSampler
from ltmed.errors import UserError

COUNTS = (40, 12, 1)
K, N = len(COUNTS), sum(COUNTS)
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(K), COUNTS))


def subset(chosen: np.ndarray, inner: Any = InstanceSampler, batch_size: int = 8, seed: int = 1) -> SubsetSampler:
    return SubsetSampler(LABELS, batch_size, 10, seed, inner=inner, selected=lambda: chosen)


def test_all_images_are_what_the_inner_sampler_draws() -> None:
    for inner in (InstanceSampler, partial(PowerSampler, q=0.0)):
        expected = inner(LABELS, 8, 10, 1).batches(3)
        np.testing.assert_array_equal(subset(np.ones(N, bool), inner).batches(3), expected)


@pytest.mark.parametrize("size", [1, 3, 20, 52])
def test_a_part_is_used_evenly_and_nothing_else(size: int) -> None:
    selected = np.zeros(N, bool)
    selected[np.random.default_rng(size).permutation(N)[:size]] = True
    sampler = subset(selected)
    batches = sampler.batches(2)
    assert batches.shape == (N // 8, 8) == (sampler.steps, 8)
    times = np.bincount(batches.ravel(), minlength=N)
    assert (times[~selected] == 0).all()
    assert np.ptp(times[selected]) <= 1
    np.testing.assert_array_equal(batches, subset(selected).batches(2))
    if size > 1:
        assert (batches != subset(selected, seed=2).batches(2)).any()
        assert (batches != subset(selected).batches(3)).any()


def test_a_part_may_be_class_balanced() -> None:
    selected = np.ones(N, bool)
    selected[np.flatnonzero(LABELS == 1)[2:]] = False
    sampler = subset(selected, partial(PowerSampler, q=0.0))
    sampled = np.concatenate([sampler.batches(epoch).ravel() for epoch in range(40)])
    assert selected[sampled].all()
    assert stats.chisquare(np.bincount(LABELS[sampled], minlength=K)).pvalue > 1e-3


@pytest.mark.parametrize(("batch_size", "says"), [(N + 1, str(N)), (None, "batch_size is null")])
def test_mistakes(batch_size: int | None, says: str) -> None:
    with pytest.raises(UserError, match=says):
        SubsetSampler(LABELS, batch_size, 10, 1, inner=InstanceSampler, selected=lambda: np.ones(N, bool))
