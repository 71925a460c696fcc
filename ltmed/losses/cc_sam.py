"""Ascent steps of CC-SAM: perturbations of weights and features along the gradient of the loss of one class.

Z. Zhou, L. Li, P. Zhao, P.-A. Heng, W. Gong, "Class-Conditional Sharpness-Aware Minimization for Deep Long-Tailed
Recognition", CVPR 2023. Letters: B images of this process, A of the whole batch (all processes), K classes, D features,
n_c training images of class c, m_c of them in the batch, P parameters of the classifier.

For a linear classifier z = W h + b the gradients are known. With the residuals r = softmax(z) - onehot(y), class c has

    G_c = 1/m_c sum_{i in c} r_i h_i^T  (of W)        g_c = 1/m_c sum_{i in c} r_i  (of b)

so that a step along G_c changes the logits of h by a sum over the images of c, r_i (h_i . h), and |G_c| is a sum over
pairs of images, (r_i . r_j) (h_i . h_j). All classes are perturbed at once, and no K x K x D tensor is formed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ltmed.losses.counts import once_per_counts
from ltmed.losses.precision import full_precision

SMALLEST_NORM = 1e-12
"""Lower limit of a gradient's norm, since the steps below grow without limit as it vanishes."""


@full_precision
def sharpness_shift(
    features: Tensor,
    labels: Tensor,
    all_features: Tensor,
    all_residuals: Tensor,
    all_labels: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    counts: Tensor,
    *,
    rho: float,
) -> Tensor:
    """Change of the logits `[B, K]` by an ascent step of W and b along the gradient of the image's own class.

    The step of w = W and of w = b, with gradient G_c, is that of the released code,

        e_c = rho (P / (n_c - 1))^(1/4) (|w| / (2 |G_c|))^(1/2) G_c / |G_c|

    A class of one image is treated as one of two. The steps are detached from the gradient; `features` are not.

    Args:
        features: h of this process `[B, D]`.
        labels: of them, int64 `[B]`.
        all_features: h of the whole batch `[A, D]`.
        all_residuals: r of the whole batch `[A, K]`.
        all_labels: of the whole batch, int64 `[A]`.
        weight: W `[K, D]`.
        bias: b `[K]`, or None.
        counts: training images per class `[K]`.
        rho: the overall size of the steps, >= 0.
    """
    all_features, all_residuals = all_features.detach(), all_residuals.detach()
    parameters = weight.numel() + (0 if bias is None else bias.numel())
    radius = rho * parameters**0.25 * radii(counts, all_residuals.dtype)[all_labels]
    same_class, same_class_pairs = (
        (some[:, None] == all_labels).to(all_residuals.dtype) for some in (labels, all_labels)
    )
    products, gram = same_class * (features @ all_features.T), all_features @ all_features.T
    shift = _step(products, gram, all_residuals, same_class_pairs, radius, weight)
    if bias is not None:  # The bias is the weight of a constant feature 1.
        shift = shift + _step(
            same_class, torch.ones_like(same_class_pairs), all_residuals, same_class_pairs, radius, bias
        )
    return shift


def _step(
    products: Tensor, gram: Tensor, misses: Tensor, same_class_pairs: Tensor, radius: Tensor, parameter: Tensor
) -> Tensor:
    """Change of the logits `[B, K]` by the step of one parameter.

    Args:
        products: h_i . h_j for images j of the class of i, else 0, `[B, A]`.
        gram: h_i . h_j of the whole batch, `[A, A]`.
        misses: r `[A, K]`.
        same_class_pairs: 1 where two images of the batch share their class, `[A, A]`.
        radius: rho (P / (n_c - 1))^(1/4) of each image's class, `[A]`.
        parameter: W or b.
    """
    with torch.no_grad():
        size = same_class_pairs.sum(1)
        squares = same_class_pairs @ (same_class_pairs * gram * (misses @ misses.T)).sum(1) / size.square()
        norms = squares.clamp_min(0).sqrt().clamp_min(SMALLEST_NORM)
        lengths = radius * (parameter.norm() / (2 * norms)).sqrt()
        uphill = misses * (lengths / (norms * size))[:, None]
    return products @ uphill


@once_per_counts
def radii(counts: Tensor) -> Tensor:
    """(n_c - 1)^(-1/4), `[K]`, with n_c at least 2.

    Raises:
        UserError: a class without images.
    """
    return (counts - 1).clamp_min(1) ** -0.25


@once_per_counts
def rarity(counts: Tensor, divisor: float) -> Tensor:
    """log(n_max / n_c + 0.01) / divisor, `[K]`: the weights of the second stage in the released code.

    Raises:
        UserError: a class without images.
    """
    return (counts.max() / counts + 0.01).log() / divisor


@full_precision
def uphill_features(
    misses: Tensor, labels: Tensor, weight: Tensor, class_weights: Tensor, total: Callable[[Tensor], Tensor]
) -> Tensor:
    """Ascent steps `[B, D]` of the features in their own cross-entropy, of length w_c over all images of class c.

        e_i = w_{y_i} v_i / sqrt(sum_{j in y_i} |v_j|^2)      v_i = W^T r_i

    Args:
        misses: r `[B, K]`.
        labels: y, int64 `[B]`.
        weight: W `[K, D]`.
        class_weights: w `[K]`.
        total: sums a tensor over all processes.
    """
    gradients = misses @ weight.detach()
    members = torch.zeros_like(misses).scatter_(1, labels[:, None], 1.0)
    norms = total(gradients.square().sum(1) @ members).sqrt().clamp_min(SMALLEST_NORM)
    return gradients * (class_weights / norms)[labels][:, None]


@full_precision
def class_weighted_cross_entropy(logits: Tensor, labels: Tensor, class_weights: Tensor) -> Tensor:
    """Mean over the batch, not over the weights, of w_y times cross-entropy."""
    return (F.cross_entropy(logits, labels, reduction="none") * class_weights[labels]).mean()


def softmax_residuals(logits: Tensor, labels: Tensor) -> Tensor:
    """The residuals softmax(z) - onehot(y), `[B, K]`, without gradient and at least in float32."""
    probabilities = logits.detach().to(torch.promote_types(logits.dtype, torch.float32)).softmax(1)
    return probabilities.scatter_add(1, labels[:, None], -torch.ones_like(probabilities[:, :1]))
