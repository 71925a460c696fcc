"""Virtual features: sampled from a normal distribution per class, never stored (Pan et al., 2025, Section 3.4.1).

Letters: K classes, D feature width, R features per class.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_CHUNK = 4096
"""Features sampled at once: many enough for large matrix products per class, few enough to fit in memory."""


def virtual_batches(
    means: Tensor, factors: Tensor, per_class: int, batch_size: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Samples mu_k + L_k z, z ~ N(0, I), R times for each class, in random order, batch by batch.

    Args:
        means: mu `[K, D]`.
        factors: L `[K, D, D]`, lower Cholesky factors of the covariances.
        per_class: R.
        batch_size: features per batch; the last batch may be smaller.
        generator: on the device of `means`.

    Yields:
        features `[batch_size, D]` and labels int64 `[batch_size]`.
    """
    classes, width = means.shape
    for labels in _class_order(classes, per_class, generator).split(max(_CHUNK // batch_size, 1) * batch_size):
        by_class = labels.argsort(stable=True)
        sizes = labels.bincount(minlength=classes).tolist()
        noise = torch.randn(len(labels), width, generator=generator, device=means.device)
        samples = [
            torch.addmm(mean, z, factor.T) for mean, z, factor in zip(means, noise.split(sizes), factors, strict=True)
        ]
        features = torch.empty_like(noise).index_copy_(0, by_class.to(means.device), torch.cat(samples))
        yield from zip(features.split(batch_size), labels.to(means.device).split(batch_size), strict=True)


def real_batches(
    features: Tensor, labels: Tensor, per_class: int, batch_size: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Samples R features of each class with replacement, in random order, batch by batch: as many as virtual ones.

    Args:
        features: `[N, D]`.
        labels: int64 `[N]`; every class from 0 to the largest must occur.
        per_class: R.
        batch_size: features per batch; the last batch may be smaller.
        generator: on the device of `features`.

    Yields:
        features `[batch_size, D]` and labels int64 `[batch_size]`.
    """
    by_class, sizes = labels.argsort(stable=True), labels.bincount()
    starts = sizes.cumsum(0) - sizes
    for labels_of_batch in _class_order(len(sizes), per_class, generator).split(batch_size):
        batch_labels = labels_of_batch.to(features.device)
        positions = torch.rand(len(batch_labels), generator=generator, device=features.device, dtype=torch.float64)
        yield features[by_class[starts[batch_labels] + (positions * sizes[batch_labels]).long()]], batch_labels


def _class_order(classes: int, per_class: int, generator: torch.Generator) -> Tensor:
    """Each class R times in random order, int64 `[R K]` on the host, where sizes need no synchronisation."""
    on_host = torch.Generator().manual_seed(int(generator.initial_seed()))
    return torch.randperm(per_class * classes, generator=on_host) % classes
