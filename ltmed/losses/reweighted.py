"""Cross-entropy and focal loss with weights. Letters: B images, K classes, n_c training images of class c, N of all.

With p = softmax(z)_y, all are a mean over the batch, weighted by the class of each image where there are weights:

    loss = sum_j w_{y_j} l_j / sum_j w_{y_j}        l = -log p  or  -(1 - p)^g log p

as in PyTorch's cross-entropy: a batch of rare images has the same total weight as one of frequent images. With
several processes, each divides by the weights of its own part of the batch.

Inverse frequency: w_c = N / (K n_c). Effective number, w_c ~ (1 - b) / (1 - b^n_c): Y. Cui, M. Jia, T.-Y. Lin,
Y. Song, S. Belongie, "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019. Focal: T.-Y. Lin, P. Goyal,
R. Girshick, K. He, P. Dollar, "Focal Loss for Dense Object Detection", ICCV 2017, Eq. 4.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ltmed.errors import UserError, require_between, suggest
from ltmed.losses.counts import effective_number, inverse_frequency
from ltmed.losses.power import power
from ltmed.losses.precision import full_precision
from ltmed.losses.sigmoid import focal_terms as sigmoid_focal_terms
from ltmed.losses.traits import class_weighted

Form = Literal["softmax", "sigmoid"]


@full_precision
def weighted_ce(logits: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """Cross-entropy with w_c = N / (K n_c).

    Args:
        logits: z `[B, K]`, any float type; half precision is computed in float32.
        labels: y, int64 `[B]`.
        counts: training images per class `[K]`.

    Raises:
        UserError: a class without training images.
    """
    return F.cross_entropy(logits, labels, weight=inverse_frequency(counts, logits.dtype))


@class_weighted
@full_precision
def class_balanced_ce(logits: Tensor, labels: Tensor, counts: Tensor, *, beta: float = 0.9999) -> Tensor:
    """Cross-entropy with weights by the effective number of images.

    Args:
        logits: z `[B, K]`.
        labels: y, int64 `[B]`.
        counts: training images per class `[K]`.
        beta: b in [0, 1); 0 is plain cross-entropy, towards 1 the weights become those of inverse frequency.

    Raises:
        UserError: a class without training images, or `beta` out of range.
    """
    return F.cross_entropy(logits, labels, weight=effective_number(counts, logits.dtype, beta))


@full_precision
def focal(logits: Tensor, labels: Tensor, counts: Tensor, *, gamma: float = 2.0) -> Tensor:
    """Mean of -(1 - p)^g log p.

    Args:
        logits: z `[B, K]`.
        labels: y, int64 `[B]`.
        counts: training images per class `[K]`; not used, part of the common signature.
        gamma: g >= 0; larger values reduce the weight of easy images; 0 is cross-entropy.

    Raises:
        UserError: `gamma` out of range.
    """
    return focal_terms(logits, labels, gamma).mean()


@full_precision
def weighted_focal(logits: Tensor, labels: Tensor, counts: Tensor, *, gamma: float = 2.0) -> Tensor:
    """Focal loss with w_c = N / (K n_c); arguments and errors of `focal` and `weighted_ce`."""
    return _weighted_mean(focal_terms(logits, labels, gamma), labels, inverse_frequency(counts, logits.dtype))


@class_weighted
@full_precision
def class_balanced_focal(
    logits: Tensor, labels: Tensor, counts: Tensor, *, beta: float = 0.9999, gamma: float = 2.0, form: Form = "softmax"
) -> Tensor:
    """Focal loss with weights by the effective number of images.

    Args:
        logits: z `[B, K]`.
        labels: y, int64 `[B]`.
        counts: training images per class `[K]`.
        beta: b in [0, 1).
        gamma: g >= 0.
        form: "softmax": -(1 - p)^g log p; "sigmoid": the sum over classes of the binary focal loss, without its weight
            of positives, as in the released code of Cui et al.

    Raises:
        UserError: a class without training images, or an option out of range.
    """
    weights = effective_number(counts, logits.dtype, beta)
    if form == "softmax":
        return _weighted_mean(focal_terms(logits, labels, gamma), labels, weights)
    if form == "sigmoid":
        return _weighted_mean(sigmoid_focal_terms(logits, labels, gamma, None), labels, weights)
    raise UserError(f"loss.form has no choice '{form}'", suggest(str(form), get_args(Form)))


def focal_terms(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """-(1 - p)^g log p of each image, `[B]`."""
    require_between("loss.gamma", gamma, 0, 100)
    cost = F.cross_entropy(logits, labels, reduction="none")
    error = -torch.expm1(-cost)  # 1 - p, as precise as the cost.
    return power(error, gamma) * cost


def _weighted_mean(terms: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    label_weights = weights[labels]
    return label_weights @ terms / label_weights.sum()
