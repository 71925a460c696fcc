"""A linear classifier on standardised features. Letters: B images, D encoder width, K classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

EPSILON = 1e-6
"""Added to the variance: a feature that is the same for all images becomes 0."""


class StandardisedLinear(nn.Module):
    """Logits = W (h - m) / s + b, with the mean m and the standard deviation s of the training features.

    They are 0 and 1 until a stage sets them, and are part of the state dict.

    Args:
        in_features: D.
        out_features: K.
        bias: whether each class has an offset.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features, bias=bias)
        self.register_buffer("centre", torch.zeros(in_features))
        self.register_buffer("scale", torch.ones(in_features))

    @torch.no_grad()
    def set_moments(self, mean: Tensor, variance: Tensor) -> None:
        """Sets the mean and the variance of the training features, each `[D]`."""
        self.centre.copy_(mean)
        self.scale.copy_((variance + EPSILON).sqrt())

    def forward(self, features: Tensor) -> Tensor:
        """`[B, D]` -> logits `[B, K]`."""
        return self.linear((features - self.centre) / self.scale)
