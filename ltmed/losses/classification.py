"""Losses on logits. Letters: B images, K classes. All share `(logits [B, K], labels [B], counts [K]) -> scalar`."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """Mean of -log softmax(z)_y over the batch.

    Args:
        logits: `[B, K]`, any float type; computed in float32.
        labels: int64 `[B]`.
        counts: training images per class `[K]`; not used, part of the common signature.
    """
    return F.cross_entropy(logits.float(), labels)
