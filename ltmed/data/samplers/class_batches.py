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

    A class of at least n images is sampled without replacement until all its images are used, and has none twice in a
    batch; a smaller class is sampled with replacement. An epoch has ceil(N / B) batches, or ceil(K n_max / B), in which
    the images of the largest class (n_max of them) are all used if every batch has all classes (C = K; else they are on
    average). In a batch, every block of C images has one of each class, so that the slices of all processes have the
    same class distribution if their number divides n.

    Args:
        labels: [N] class numbers; every class from 0 to the largest must occur.
        batch_size: B, which determines n; None for C n.
        epochs: length of the stage.
        seed: of the stage.
        images_per_class: n, at least 2; ignored if `batch_size` is set.
        classes_per_batch: C; None for all K. Fewer classes alternate, so that every class is in equally many batches
            over time.
        length: of an epoch: "training_part" is N images, as for all other samplers, "largest_class" K n_max, as for
            oversampling of all classes to the size of the largest class.

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
        n_classes = len(self.groups.counts)
        self.classes = n_classes if classes_per_batch is None else classes_per_batch
        if not 2 <= self.classes <= n_classes:
            raise UserError(
                f"classes_per_batch is {self.classes}", f"Set it to a number from 2 to {n_classes}, or to null for all."
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
        # Since small classes are sampled with replacement, a batch may be larger than the training part.
        images = len(labels) if length == "training_part" else n_classes * int(self.groups.counts.max())
        self.batch_size, self.steps = size, -(-images // size)

    def order(self, epoch: int, rng: np.random.Generator) -> np.ndarray:
        """The positions of all batches, int64 [steps * B]."""
        class_of_slot = _permuted_groups(rng, len(self.groups.counts), self.classes, self.steps)
        images = np.empty((*class_of_slot.shape, self.images_per_class), np.int64)
        for label, (count, start) in enumerate(zip(self.groups.counts, self.groups.starts, strict=True)):
            slots = class_of_slot == label
            sampled = _permuted_groups(rng, int(count), self.images_per_class, int(slots.sum()))
            images[slots] = self.groups.positions[start + sampled]
        return images.transpose(0, 2, 1).ravel()


def _permuted_groups(rng: np.random.Generator, items: int, size: int, groups: int) -> np.ndarray:
    """Groups of `size` of `items` items, int64 [groups, size], where all items are used before one is repeated.

    No group contains an item twice, unless there are fewer than `size` items: then they are sampled with replacement.
    """
    if items < size:
        return rng.integers(items, size=(groups, size))
    rounds = -(-groups * size // items)
    orders = rng.permuted(np.broadcast_to(np.arange(items), (rounds, items)), axis=1)
    for number in range(1, rounds):
        n_carried = number * items % size
        if n_carried:
            # The unfinished group of the last round is filled with the first items that it does not contain yet.
            present = np.zeros(items, bool)
            present[orders[number - 1, items - n_carried :]] = True
            new = np.flatnonzero(~present[orders[number]])[: size - n_carried]
            orders[number] = np.concatenate([orders[number, new], np.delete(orders[number], new)])
    return orders.ravel()[: groups * size].reshape(groups, size)
