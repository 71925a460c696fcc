"""Batches of pairs of images that are drawn in two ways, for methods that mix or compare the two.

Letters as in `samplers`; B pairs in a batch, so that 2 B images are loaded for it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ltmed.data.samplers.single import Sampler


class PairedSampler(Sampler):
    """Pairs of an image that one sampler draws and an image that another one draws, independently of each other.

    A batch is (a_1, b_1, a_2, b_2, ...): the images of a pair are neighbours, so that slices of an even number of
    images keep pairs together. An epoch has as many batches as the two samplers have, floor(N / B) for all that draw N
    images. The first sampler draws what it would draw alone with the same seed.

    Args:
        labels: [N, ...] targets of the training images.
        batch_size: B, pairs, not images.
        epochs: length of the stage.
        seed: of the stage.
        first: `(labels, batch_size, epochs, seed) -> Sampler` of the images a.
        second: likewise of the images b.

    Raises:
        UserError: fewer images than one batch has pairs, or what the two samplers raise.
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

    def order(self, epoch: int, rng: np.random.Generator) -> np.ndarray:
        """The positions of all batches, int64 [steps * 2 B]."""
        drawn = [half.order(epoch, rng)[: self.steps * self.pairs] for half in self.halves]
        return np.stack(drawn, axis=1).ravel()
