"""Losses on logits. Letters: B images, K classes. All share `(logits [B, K], labels [B], counts [K]) -> scalar`."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ltmed.losses.precision import full_precision


@full_precision
def cross_entropy(logits: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """Mean of -log softmax(z)_y over the batch.

    Args:
        logits: z `[B, K]`, any float type; half precision is computed in float32.
        labels: y, int64 `[B]`.
        counts: training images per class `[K]`; not used, part of the common signature.
    """
    return F.cross_entropy(logits, labels)
