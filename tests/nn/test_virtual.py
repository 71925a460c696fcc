"""Virtual features, and real ones in their place: their number, order, moments and memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ltmed.nn.virtual import real_batches, virtual_batches


def draw(per_class: int, batch: int, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(5)
    means, roots = torch.randn(3, 4, generator=generator), torch.randn(3, 4, 4, generator=generator)
    factors = torch.linalg.cholesky(roots @ roots.mT)
    return list(virtual_batches(means, factors, per_class, batch, torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize(("per_class", "batch"), [(10, 7), (10, 30), (10, 100), (3000, 352)])
def test_every_class_gets_its_number_in_full_batches(per_class: int, batch: int) -> None:
    batches = draw(per_class, batch)
    assert torch.cat([labels for _, labels in batches]).bincount().tolist() == [per_class] * 3
    assert all(len(labels) == batch for _, labels in batches[:-1])
    assert all(features.shape == (len(labels), 4) for features, labels in batches)


def test_moments_are_those_asked_for_within_sampling_error() -> None:
    number = 40_000
    features, labels = (torch.cat(parts).numpy() for parts in zip(*draw(number, 352), strict=True))
    generator = torch.Generator().manual_seed(5)
    means, roots = torch.randn(3, 4, generator=generator), torch.randn(3, 4, 4, generator=generator)
    covariances = (roots @ roots.mT).numpy()
    for label in range(3):
        mine = features[labels == label]
        scale = np.sqrt(np.diag(covariances[label]))
        assert (np.abs(mine.mean(0) - means[label].numpy()) < 5 * scale / np.sqrt(number)).all()
        error = np.abs(np.cov(mine.T) - covariances[label])
        assert (error < 5 * np.sqrt(2 / number) * np.outer(scale, scale)).all()


def test_order_is_random_and_repeats_with_the_seed() -> None:
    first, again, other = draw(100, 10), draw(100, 10), draw(100, 10, seed=1)
    assert all(torch.equal(x, y) for one, two in zip(first, again, strict=True) for x, y in zip(one, two, strict=True))
    assert not torch.equal(first[0][0], other[0][0])
    assert len({tuple(labels.bincount(minlength=3).tolist()) for _, labels in first}) > 3, "batches sorted by class"


REAL = torch.tensor([0, 2, 0, 1, 0, 2, 0])
"""Classes of 4, 1 and 2 features."""


def draw_real(per_class: int, batch: int, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    features = torch.arange(len(REAL))[:, None] + torch.tensor([0.0, 0.5])
    return list(real_batches(features, REAL, per_class, batch, torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize(("per_class", "batch"), [(10, 7), (10, 30), (10, 100), (3000, 352)])
def test_real_features_come_in_the_number_order_and_batches_of_virtual_ones(per_class: int, batch: int) -> None:
    batches, virtual = draw_real(per_class, batch), draw(per_class, batch)
    assert all(torch.equal(one, other) for (_, one), (_, other) in zip(batches, virtual, strict=True))
    for features, labels in batches:
        rows = features[:, 0].long()
        assert torch.equal(REAL[rows], labels), "a feature of another class"
        assert torch.equal(features[:, 1], features[:, 0] + 0.5)


def test_every_real_feature_of_a_class_is_drawn_equally_often() -> None:
    rows = torch.cat([features[:, 0] for features, _ in draw_real(12_000, 352)]).long()
    times = rows.bincount(minlength=len(REAL)).double()
    for label, size in enumerate((4, 1, 2)):
        mine, expected = times[label == REAL], 12_000 / size
        assert mine.sum() == 12_000
        assert ((mine - expected).abs() <= 5 * expected**0.5).all()
    again, other = draw_real(100, 10), draw_real(100, 10, seed=1)
    assert torch.equal(again[0][0], draw_real(100, 10)[0][0])
    assert not torch.equal(again[0][0], other[0][0])
