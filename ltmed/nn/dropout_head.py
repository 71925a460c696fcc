"""A linear classifier behind dropout. Letters: B images, D encoder width, K classes."""

from __future__ import annotations

from torch import Tensor, nn


class DropoutLinear(nn.Module):
    """Dropout -> Linear: features `[B, D]` -> logits `[B, K]`.

    Args:
        in_features: D.
        out_features: K.
        p: probability in [0, 1] that a feature is set to 0 in a training step.
        bias: whether each class has an offset.
    """

    def __init__(self, in_features: int, out_features: int, *, p: float = 0.5, bias: bool = True) -> None:
        super().__init__()
        self.dropout = nn.Dropout(p)
        self.linear = nn.Linear(in_features, out_features, bias=bias)

    def forward(self, features: Tensor) -> Tensor:
        """`[B, D]` -> `[B, K]`."""
        return self.linear(self.dropout(features))
