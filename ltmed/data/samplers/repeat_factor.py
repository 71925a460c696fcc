"""Repeat factor sampling: images are repeated by the rarity of their rarest label.

A. Gupta, P. Dollar, R. Girshick, "LVIS", CVPR 2019, section 5.

    f_c = share of the training images that have label c                                    (1)
    r_c = max(1, sqrt(t / f_c)),   r_i = max over the labels c of image i of r_c            (2)

Image i is in an epoch r_i times on average: floor(r_i) times, and once more with probability r_i - floor(r_i),
sampled in every epoch. Letters as in `single`.
"""

from __future__ import annotations

import numpy as np

from ltmed.data.samplers.single import Sampler
from ltmed.errors import UserError


class RepeatFactorSampler(Sampler):
    """Every image r_i times per epoch, shuffled (Eq. 2); an image without labels once.

    Rounding is stochastic. To have the same length, each epoch has floor(sum_i r_i / B) batches; if an epoch has too
    few images, further images are sampled in proportion to r_i to fill the last batch.

    Args:
        labels: [N] class numbers, or targets [N, K], of which 1 is a label that is present.
        batch_size: B.
        epochs: length of the stage.
        seed: of the stage.
        threshold: t in (0, 1]; images with labels of a lower frequency are repeated.

    Raises:
        UserError: fewer images than one batch needs, or `threshold` out of range.
    """

    def __init__(
        self, labels: np.ndarray, batch_size: int | None, epochs: int, seed: int, threshold: float = 0.1
    ) -> None:
        super().__init__(labels, batch_size, epochs, seed)
        if not 0 < threshold <= 1:
            raise UserError(f"sampler.threshold is {threshold}", "It must be more than 0 and at most 1.")
        self.factors = repeat_factors(labels, threshold)
        # The sum may be slightly below an integer in floating point.
        self.steps = int(self.factors.sum() * (1 + 1e-12)) // self.batch_size

    def order(self, epoch: int, rng: np.random.Generator) -> np.ndarray:
        """The positions of all batches, int64 [steps * B]."""
        floors = np.floor(self.factors)
        repeats = (floors + (rng.random(len(floors)) < self.factors - floors)).astype(np.int64)
        sampled = rng.permutation(np.repeat(np.arange(len(repeats)), repeats))
        missing = self.steps * self.batch_size - len(sampled)
        if missing > 0:
            extra = rng.choice(len(repeats), size=missing, p=self.factors / self.factors.sum())
            sampled = np.concatenate([sampled, extra])
        return sampled[: self.steps * self.batch_size]


def repeat_factors(labels: np.ndarray, threshold: float) -> np.ndarray:
    """r_i of Eq. 2, float64 [N], at least 1.

    Args:
        labels: [N] class numbers, or float [N, K] of 0, 1 and NaN.
        threshold: t.
    """
    if labels.ndim == 1:
        share = np.bincount(labels) / len(labels)
        return np.maximum(1.0, np.sqrt(threshold / share[labels]))
    present = labels == 1
    share = present.mean(axis=0)
    factors = np.maximum(1.0, np.sqrt(threshold / np.where(share > 0, share, 1.0)))
    return np.where(present, factors, 1.0).max(axis=1)
