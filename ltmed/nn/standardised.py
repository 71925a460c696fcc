"""A linear classifier on standardised features. Letters: B images, D encoder width, K classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CONSTANT = 1e-4
"""A feature whose standard deviation is at most this part of the largest one has no weight: none could be learnt."""
LIMIT = 10.0
"""Standardised values are cut here. A feature that is active on one of n training images is sqrt(n) standard deviations
from the mean there, and may be hundreds from it on others: it alone would then decide, with certainty."""


class StandardisedLinear(nn.Module):
    """Logits = W z + b, with z = (h - m) / s cut to [-10, 10], m and s the moments of the training features.

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
        """Sets the mean and the variance of the training features, each `[D]`.

        Constant features get scale 1, as in scikit-learn's `StandardScaler`, and the weights 0.
        """
        deviation = variance.sqrt()
        constant = deviation <= CONSTANT * deviation.max()
        self.centre.copy_(mean)
        self.scale.copy_(torch.where(constant, 1.0, deviation))
        self.linear.weight.masked_fill_(constant, 0.0)

    def forward(self, features: Tensor) -> Tensor:
        """`[B, D]` -> logits `[B, K]`."""
        return self.linear(((features - self.centre) / self.scale).clamp(-LIMIT, LIMIT))
