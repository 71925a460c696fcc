"""The training loss of each class, epoch by epoch (`class_losses=true`)."""

from __future__ import annotations

import torch
from torch import Tensor

from ltmed.losses.traits import Loss
from ltmed.utils import distributed


class ClassLosses:
    """Mean loss of the images of each class over an epoch, of all processes. K classes, B images of a batch.

    It changes no weight: losses are computed a second time without a gradient, and with random numbers of their own.

    Args:
        classes: K.
    """

    def __init__(self, classes: int) -> None:
        self._sums = torch.zeros(2, classes, dtype=torch.float64)

    def start(self, device: torch.device) -> None:
        """Begins an epoch."""
        self._sums = torch.zeros_like(self._sums, dtype=torch.float32 if device.type == "mps" else None, device=device)

    def add(self, losses: Tensor, labels: Tensor) -> None:
        """Adds losses of single images.

        Args:
            losses: `[B]`.
            labels: int64 `[B]`.
        """
        losses_and_ones = torch.stack([losses.detach(), torch.ones_like(losses)]).to(self._sums.dtype)
        self._sums.index_add_(1, labels, losses_and_ones)

    def add_from(self, loss: Loss, logits: Tensor, labels: Tensor, counts: Tensor) -> None:
        """Adds a loss that is only known as the mean of a batch: that of the images of each class alone.

        Args:
            loss: `(logits, labels, counts) -> scalar`.
            logits: `[B, K]`.
            labels: int64 `[B]`.
            counts: training images per class `[K]`.
        """
        logits = logits.detach()
        devices = [logits.device] if logits.device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices):
            for k in labels.unique().tolist():
                of_class = labels == k
                value = loss(logits[of_class], labels[of_class], counts)
                self.add(value.float().expand(int(of_class.sum())), labels[of_class])

    def means(self) -> Tensor:
        """Mean loss of each class `[K]` over all processes; NaN of a class without an image in the epoch."""
        sums, numbers = distributed.all_sum(self._sums)
        return sums / numbers.where(numbers > 0, torch.nan)
