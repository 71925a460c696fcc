"""Classifiers and projectors. Letters: B images, D encoder width, E embedding width, K classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltmed.losses.precision import full_precision


class Linear(nn.Linear):
    """The plain classifier: features `[B, D]` -> logits `[B, K]`.

    Args:
        in_features: D.
        out_features: K.
        bias: whether each class has an offset.
    """

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias=bias)


class EmbeddedLinear(nn.Module):
    """A linear classifier on an embedding of a given width, Linear(D, E) -> Linear(E, K), without a nonlinearity.

    The baseline network with the output width of a metric-learning method (Chen et al., JBHI 2023, Fig. 2).

    Args:
        in_features: D.
        out_features: K.
        width: E.
    """

    def __init__(self, in_features: int, out_features: int, *, width: int = 128) -> None:
        super().__init__()
        self.embedding = nn.Linear(in_features, width)
        self.linear = nn.Linear(width, out_features)

    def forward(self, features: Tensor) -> Tensor:
        """`[B, D]` -> logits `[B, K]`."""
        return self.linear(self.embedding(features))


class MLP(nn.Module):
    """Projector with one hidden layer, Linear -> ReLU -> Linear: features `[B, D]` -> embeddings `[B, E]`.

    Args:
        in_features: D.
        out_features: E.
        hidden: width of the hidden layer; None for D.
        normalize: whether embeddings are divided by their Euclidean norm (cosine space).
    """

    def __init__(
        self, in_features: int, out_features: int = 128, *, hidden: int | None = None, normalize: bool = True
    ) -> None:
        super().__init__()
        width = hidden or in_features
        self.layers = nn.Sequential(nn.Linear(in_features, width), nn.ReLU(), nn.Linear(width, out_features))
        self.out_features = out_features
        self.normalize = normalize

    def forward(self, features: Tensor) -> Tensor:
        """`[B, D]` -> `[B, E]`; float32 where normalised, also under autocast."""
        embeddings = self.layers(features)
        return F.normalize(embeddings.float(), dim=1) if self.normalize else embeddings


class PrototypeHead(nn.Module):
    """Classifier that compares an embedding with one learnable prototype per class: logits = F(h) P^T.

    F = Linear(D, E) -> ReLU, its outputs not divided by their norm; P `[K, E]` is a parameter (Yang et al., MICCAI
    2022, Sections 3.1 and 4.2).

    Args:
        in_features: D.
        num_classes: K.
        width: E.
        init_std: standard deviation of the normal distribution that the prototypes start from.
        batch_norm: whether F normalises over the batch before its ReLU. Without it, on a long tail, the units that
            lower the logit of the largest class become negative for all images and stay at 0 (dead ReLUs).
    """

    def __init__(
        self, in_features: int, num_classes: int, *, width: int = 128, init_std: float = 0.3, batch_norm: bool = False
    ) -> None:
        super().__init__()
        self.embedding = nn.Linear(in_features, width)
        self.norm = nn.BatchNorm1d(width) if batch_norm else nn.Identity()
        self.prototypes = nn.Parameter(torch.empty(num_classes, width).normal_(std=init_std))

    def embed(self, features: Tensor) -> Tensor:
        """F: `[B, D]` -> `[B, E]`, non-negative."""
        return self.norm(self.embedding(features)).relu()

    def forward(self, features: Tensor) -> Tensor:
        """`[B, D]` -> logits `[B, K]`, float32 also under autocast."""
        return prototype_logits(self.embed(features), self.prototypes)


@full_precision
def prototype_logits(embeddings: Tensor, prototypes: Tensor) -> Tensor:
    """`[B, E]` and `[K, E]` -> inner products `[B, K]`."""
    return embeddings @ prototypes.T
