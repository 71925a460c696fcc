"""Batches of pairs of images from two samplers, for methods that mix or compare the two.

Letters as in `samplers`; B pairs in a batch, so that 2 B images are loaded for it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ltmed.data.samplers.single import Sampler


class PairedSampler(Sampler):
    """Pairs of one image from each of two independent samplers.

    A batch is (a_1, b_1, a_2, b_2, ...): the images of a pair are adjacent, so that slices of an even number of
    images do not divide pairs. An epoch has as many batches as the shorter sampler, floor(N / B) for samplers of N
    images. The first sampler yields the same images as without the second one.

    Args:
        labels: [N, ...] targets of the training images.
        batch_size: B, pairs, not images.
        epochs: length of the stage.
        seed: of the stage.
        first: `(labels, batch_size, epochs, seed) -> Sampler` of the images a.
        second: likewise of the images b.

    Raises:
        UserError: fewer images than the pairs of a batch, or an error of the two samplers.
    """

    def __init__(
        self,
        labels: np.ndarray,
        batch_size: int | None,
        epochs: int,
        seed: int,
        first: Callable[..., Sampler],
        second: Callable[..., Sampler],
    ) -> None:
        super().__init__(labels, batch_size, epochs, seed)
        self.pairs = self.batch_size
        self.halves = [half(labels=labels, batch_size=batch_size, epochs=epochs, seed=seed) for half in (first, second)]
        self.batch_size, self.steps = 2 * self.pairs, min(half.steps for half in self.halves)
        self.complete_from = max(half.complete_from for half in self.halves)

    def order(self, epoch: int, rng: np.random.Generator) -> np.ndarray:
        """The positions of all batches, int64 [steps * 2 B]."""
        sampled = [half.order(epoch, rng)[: self.steps * self.pairs] for half in self.halves]
        return np.stack(sampled, axis=1).ravel()
