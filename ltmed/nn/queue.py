"""First-in-first-out memory of keys (He et al., "Momentum contrast", CVPR 2020). Letters: M slots, E width, n keys."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

EMPTY = -1


class QueueItems(NamedTuple):
    """Content of a queue, in the order of the ring buffer. Slots that were never filled have label -1."""

    keys: Tensor
    """float32 `[M, E]`; zeros in empty slots."""
    labels: Tensor
    """int64 `[M]`."""
    predicted: Tensor
    """int64 `[M]`: the predicted class of each item when it was enqueued."""


class FeatureQueue(nn.Module):
    """The newest M keys with their labels and predicted classes, as persistent buffers.

    It fills gradually: an empty slot has label -1, never a random vector, and the caller must ignore it. No value is
    read back from the device. Processes hold the same queue if each enqueues the same gathered keys. It is updated with
    every batch: where an optimiser step accumulates the gradients of several batches, the keys of the earlier batches
    are among the items of the later ones, all computed with the same weights of the teacher.

    Args:
        size: M.
        width: E.
    """

    keys: Tensor
    labels: Tensor
    predicted: Tensor
    cursor: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("keys", torch.zeros(size, width))
        self.register_buffer("labels", torch.full((size,), EMPTY))
        self.register_buffer("predicted", torch.full((size,), EMPTY))
        self.register_buffer("cursor", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def enqueue(self, keys: Tensor, labels: Tensor, predicted: Tensor) -> QueueItems:
        """Replaces the oldest items. Of more than M keys only the last M are enqueued.

        Args:
            keys: `[n, E]`, oldest first.
            labels: int64 `[n]`, not negative.
            predicted: int64 `[n]`.

        Returns:
            copies of the new content, so that a graph built on it survives the next `enqueue`.
        """
        size = len(self.keys)
        keys, labels, predicted = keys[-size:], labels[-size:], predicted[-size:]
        slots = (self.cursor + torch.arange(len(keys), device=self.cursor.device)) % size
        self.keys.index_copy_(0, slots, keys.to(self.keys.dtype))
        self.labels.index_copy_(0, slots, labels)
        self.predicted.index_copy_(0, slots, predicted)
        self.cursor.add_(len(keys)).remainder_(size)
        return QueueItems(self.keys.clone(), self.labels.clone(), self.predicted.clone())
