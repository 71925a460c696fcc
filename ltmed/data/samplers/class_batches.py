"""Batches with the same number of images of every class, for losses that compare images within a batch.

Letters as in `samplers`; n images of each class in a batch, C classes in a batch, so that B = C n.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from ltmed.data.samplers.single import Sampler, group_by_class
from ltmed.errors import UserError, require_choice

Length = Literal["training_part", "largest_class"]


class ClassBatchSampler(Sampler):
    """Batches of n images of each of C classes (Chen et al., JBHI 2023, class-balanced sampling).

    A class of at least n images goes through all of them in random order before it repeats one, and has none twice in a
    batch; a smaller class is drawn with replacement. An epoch has ceil(N / B) batches, or ceil(K n_max / B), in which
    the images of the largest class (n_max of them) are all used. Within a batch the first C images are one of each
    class, the next C again, so that the slices of all processes have the same mixture.

    Args:
        labels: [N] class numbers; every class from 0 to the largest must occur.
        batch_size: B; None for C n. If given it decides n.
        epochs: length of the stage.
        seed: of the stage.
        images_per_class: n, at least 2; not used where `batch_size` is given.
        classes_per_batch: C; None for all K. Fewer take turns: over time every class is in equally many batches.
        length: of an epoch: "training_part" is N images, as for every other sampler, "largest_class" K n_max, as for
            data that are up-sampled to the size of the largest class.

    Raises:
        UserError: a batch that is not n >= 2 images of each of 2 <= C <= K classes, more than one label per image, a
            class without images, or an unknown `length`.
    """

    def __init__(
        self,
        labels: np.ndarray,
        batch_size: int | None,
        epochs: int,
        seed: int,
        images_per_class: int = 10,
        classes_per_batch: int | None = None,
        length: Length = "training_part",
    ) -> None:
        require_choice("sampler.length", length, get_args(Length))
        self.groups = group_by_class(labels)
        known = len(self.groups.counts)
        self.classes = known if classes_per_batch is None else classes_per_batch
        if not 2 <= self.classes <= known:
            raise UserError(
                f"classes_per_batch is {self.classes}", f"Set it to a number from 2 to {known}, or to null for all."
            )
        if batch_size is not None and (batch_size % self.classes or batch_size < 2 * self.classes):
            raise UserError(
                f"batch_size {batch_size} is not two or more images of each of {self.classes} classes",
                f"Set it to a multiple of {self.classes} (at least {2 * self.classes}), or to null and choose "
                "images_per_class; for many classes set classes_per_batch.",
            )
        self.images_per_class = images_per_class if batch_size is None else batch_size // self.classes
        if self.images_per_class < 2:
            raise UserError(
                f"images_per_class is {self.images_per_class}",
                "Set it to 2 or more: an image needs another one of its class in the batch.",
            )
        size = self.classes * self.images_per_class
        super().__init__(labels, min(size, len(labels)), epochs, seed)
        # Classes may be drawn with replacement, so that unlike elsewhere a batch may be larger than the training part.
        images = len(labels) if length == "training_part" else known * int(self.groups.counts.max())
        self.batch_size, self.steps = size, -(-images // size)

    def order(self, epoch: int, rng: np.random.Generator) -> np.ndarray:
        """The positions of all batches, int64 [steps * B]."""
        chosen = _in_turn(rng, len(self.groups.counts), self.classes, self.steps)
        images = np.empty((*chosen.shape, self.images_per_class), np.int64)
        for label, (count, start) in enumerate(zip(self.groups.counts, self.groups.starts, strict=True)):
            places = chosen == label
            drawn = _in_turn(rng, int(count), self.images_per_class, int(places.sum()))
            images[places] = self.groups.positions[start + drawn]
        return images.transpose(0, 2, 1).ravel()


def _in_turn(rng: np.random.Generator, items: int, size: int, groups: int) -> np.ndarray:
    """Groups of `size` out of `items` things, int64 [groups, size], all of which get their turn before one repeats.

    No group has a thing twice, unless there are fewer than `size`: then all are drawn with replacement.
    """
    if items < size:
        return rng.integers(items, size=(groups, size))
    rounds = -(-groups * size // items)
    orders = rng.permuted(np.broadcast_to(np.arange(items), (rounds, items)), axis=1)
    for number in range(1, rounds):
        begun = number * items % size
        if begun:
            # The group that the last round left unfinished takes the first things that it does not have yet.
            present = np.zeros(items, bool)
            present[orders[number - 1, items - begun :]] = True
            new = np.flatnonzero(~present[orders[number]])[: size - begun]
            orders[number] = np.concatenate([orders[number, new], np.delete(orders[number], new)])
    return orders.ravel()[: groups * size].reshape(groups, size)
