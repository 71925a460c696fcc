"""A classifier of cosines, for losses with margins. Letters: B images, D encoder width, K classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltmed.errors import UserError
from ltmed.losses.precision import full_precision


class Cosine(nn.Module):
    """Logits = s cos(h, w_c): the angle between features and one learnable vector per class, and no bias.

    Args:
        in_features: D.
        num_classes: K.
        scale: s > 0; the softmax of unscaled cosines could not approach 0 or 1. Losses with margins need the same s.

    Raises:
        UserError: `scale` is not positive.
    """

    def __init__(self, in_features: int, num_classes: int, *, scale: float = 30.0) -> None:
        super().__init__()
        if not scale > 0:
            raise UserError(f"network.classifier.scale is {scale}", "It must be positive.")
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(num_classes, in_features))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Samples the class vectors, with uniformly distributed directions."""
        # Of norm 1, so that the first steps rotate them by an angle set by the learning rate alone.
        self.weight.copy_(F.normalize(torch.randn_like(self.weight), dim=1))

    def forward(self, features: Tensor) -> Tensor:
        """`[B, D]` -> logits `[B, K]` in [-s, s], float32 also under autocast; 0 where the features are 0."""
        return cosine_logits(features, self.weight, self.scale)


@full_precision
def cosine_logits(features: Tensor, weight: Tensor, scale: float) -> Tensor:
    """`[B, D]` and `[K, D]` -> s times the cosines `[B, K]`."""
    # eps also bounds the gradient where the features are 0.
    return scale * F.normalize(features, dim=1, eps=1e-6) @ F.normalize(weight, dim=1, eps=1e-6).T
