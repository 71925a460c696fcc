"""Batches from a part of the training images that may change between epochs, for curricula."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ltmed.data.samplers.single import Sampler


class SubsetSampler(Sampler):
    """Repeats the epochs of another sampler on a part of the images until the epoch has its floor(N / B) batches.

    The length of an epoch does not depend on the part, so that steps and schedule are those of training on all images.
    An epoch is a function of the seed, its number and the part.

    Args:
        labels: [N, ...] targets of all training images.
        batch_size: B.
        epochs: length of the stage.
        seed: of the stage.
        inner: `(labels, batch_size, epochs, seed) -> Sampler` that samples as many positions as there are labels.
        selected: returns, at the start of an epoch, which images are in the part, bool [N], at least one.

    Raises:
        UserError: fewer images than one batch needs, or an error of `inner` for the part.
    """

    def __init__(
        self,
        labels: np.ndarray,
        batch_size: int | None,
        epochs: int,
        seed: int,
        inner: Callable[..., Sampler],
        selected: Callable[[], np.ndarray],
    ) -> None:
        super().__init__(labels, batch_size, epochs, seed)
        self.inner, self.selected = inner, selected

    def order(self, epoch: int, rng: np.random.Generator) -> np.ndarray:
        """The positions of all batches, int64 [steps * B]; each pass over the part is sampled separately."""
        rows = np.flatnonzero(self.selected())
        # A batch may be larger than the part, so that the inner sampler does not get the batch size.
        inner = self.inner(labels=self.labels[rows], batch_size=1, epochs=self.epochs, seed=self.seed)
        needed = self.steps * self.batch_size
        passes = -(-needed // len(rows))
        return np.concatenate([rows[inner.order(epoch, rng)] for _ in range(passes)])[:needed]
