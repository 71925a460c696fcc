"""Encoders of a stranger: other settings than timm's, and two computations with the same weights."""

from __future__ import annotations

from torch import Tensor, nn


class Mean(nn.Module):
    """Mean of `width` filters over the image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width
        self.filters = nn.Conv2d(3, width, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.filters(images).mean((2, 3))


class Maximum(Mean):
    """Their maximum."""

    def forward(self, images: Tensor) -> Tensor:
        return self.filters(images).amax((2, 3))
