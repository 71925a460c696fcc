"""Gaussian clouded logits (GCL). Letters: B images, K classes, n_c training images of class c.

M. Li, Y.-m. Cheung, Y. Lu, "Long-Tailed Visual Recognition via Gaussian Clouded Logit Adjustment", CVPR 2022. Every
training logit is a cloud whose size grows as its class shrinks; cos_c are cosines and s is the scale of the head:

    z_c = s (cos_c - k (d_c / d_max) |e_c|)      d_c = log n_max - log n_c      e_c ~ N(0, 1/3), cut at -1 and 1
    loss = -log softmax(z)_y

The cloud only lowers a logit, so that a small class must reach a larger cosine, and the softmax of its images does not
saturate. One e is sampled for every image and class; predictions have no noise.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ltmed.errors import UserError, require_between
from ltmed.losses.counts import once_per_counts
from ltmed.losses.precision import full_precision
from ltmed.losses.traits import of_scaled_cosines


@of_scaled_cosines
@full_precision
def gcl(
    logits: Tensor,
    labels: Tensor,
    counts: Tensor,
    *,
    scale: float | None,
    strength: float = 0.5,
    noise: Tensor | None = None,
) -> Tensor:
    """The loss above, a mean over the batch.

    Args:
        logits: s cos `[B, K]`, of a `ltmed.nn.cosine.Cosine` head, which multiplies by s; any float type.
        labels: y, int64 `[B]`.
        counts: training images per class `[K]`.
        scale: s of the head; None, where the head has none, is an error, since the noise could not be scaled.
        strength: k in [0, 2], the largest shift of the smallest class, as a cosine; 0 is cross-entropy.
        noise: e `[B, K]` in [-1, 1]; None samples it from torch's global generator.

    Raises:
        UserError: a class without training images, a head without scale, or an option out of range.
    """
    if scale is None:
        raise UserError(
            "loss=gcl needs a head whose logits are cosines times a scale",
            "Use method=gcl, whose head is ltmed.nn.cosine.Cosine.",
        )
    require_between("loss.strength", strength, 0, 2)
    if noise is None:
        noise = torch.randn_like(logits).div_(3).clamp_(-1, 1)
    return F.cross_entropy(logits - scale * strength * cloud_sizes(counts, logits.dtype) * noise.abs(), labels)


@once_per_counts
def cloud_sizes(counts: Tensor) -> Tensor:
    """d_c / d_max, `[K]` in [0, 1]: 0 for the largest class, 1 for the smallest; all 0 where no class is smaller.

    Raises:
        UserError: a class without images.
    """
    logs = counts.log()
    distances = logs.max() - logs
    return distances / distances.max().clamp_min(torch.finfo(logs.dtype).tiny)
