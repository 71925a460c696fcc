"""Nearest class mean as a classifier. Letters: B images, D encoder width, E embedding width, K classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ltmed.losses.triplet import distances


class CentreHead(nn.Module):
    """Classifier that compares an embedding with one centre per class: logits = minus the Euclidean distances.

    The embedding is Linear(D, E), not divided by its norm (Chen et al., JBHI 2023). The centres are a persistent
    buffer, zeros until a stage sets them, so that a checkpoint predicts without the training images.

    Args:
        in_features: D.
        num_classes: K.
        width: E.
    """

    centres: Tensor

    def __init__(self, in_features: int, num_classes: int, *, width: int = 128) -> None:
        super().__init__()
        self.embedding = nn.Linear(in_features, width)
        self.register_buffer("centres", torch.zeros(num_classes, width))

    def embed(self, features: Tensor) -> Tensor:
        """`[B, D]` -> `[B, E]`."""
        return self.embedding(features)

    def forward(self, features: Tensor) -> Tensor:
        """`[B, D]` -> logits `[B, K]`, float32 also under autocast."""
        return -distances(self.embed(features), self.centres)
