"""Cross-entropy on logits that are shifted by class frequency. Letters: B images, K classes, n_c of class c, N of all.

LDAM: K. Cao, C. Wei, A. Gaidon, N. Arechiga, T. Ma, "Learning Imbalanced Datasets with Label-Distribution-Aware Margin
Loss", NeurIPS 2019. Logit adjustment: A. K. Menon, S. Jayasumana, A. S. Rawat, H. Jain, A. Veit,
S. Kumar, "Long-Tail Learning via Logit Adjustment", ICLR 2021; with tau = 1 it is the balanced softmax of
J. Ren, C. Yu, S. Sheng, X. Ma, H. Zhao, S. Yi, H. Li, "Balanced Meta-Softmax for Long-Tailed Visual Recognition",
NeurIPS 2020, also called PriorCE.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ltmed.errors import UserError, require_between
from ltmed.losses.counts import effective_number, log_prior, margins
from ltmed.losses.precision import full_precision
from ltmed.losses.traits import adds_log_prior, class_weighted, of_scaled_cosines


@class_weighted
@of_scaled_cosines
@full_precision
def ldam(
    logits: Tensor,
    labels: Tensor,
    counts: Tensor,
    *,
    scale: float | None,
    max_margin: float = 0.5,
    beta: float = 0.0,
) -> Tensor:
    """Cross-entropy of s (cos_y - D_y) for the label and s cos_j for the other classes, D_c ~ n_c^(-1/4).

    Args:
        logits: s cos `[B, K]`, of a `ltmed.nn.cosine.Cosine` head, which multiplies by s; any float type.
        labels: y, int64 `[B]`.
        counts: training images per class `[K]`.
        scale: s of the head; None, where the head has none, is an error, since the margins could not be scaled.
        max_margin: D of the smallest class, as a cosine.
        beta: b in [0, 1) of class-balanced weights, see `effective_number`; 0 for none.

    Returns:
        the mean over the batch, divided by the sum of the weights where there are weights.

    Raises:
        UserError: a class without training images, a head without scale, or an option out of range.
    """
    if scale is None:
        raise UserError(
            "loss=ldam needs a head whose logits are cosines times a scale",
            "Use method=ldam (method=ldam sampler=class_balanced, ...), whose head is ltmed.nn.cosine.Cosine.",
        )
    require_between("loss.max_margin", max_margin, 0, 2)
    shift = -scale * margins(counts, logits.dtype, max_margin)[labels]
    shifted = logits.scatter_add(1, labels[:, None], shift[:, None])
    return F.cross_entropy(shifted, labels, weight=effective_number(counts, logits.dtype, beta) if beta else None)


@adds_log_prior
@full_precision
def logit_adjusted(logits: Tensor, labels: Tensor, counts: Tensor, *, tau: float = 1.0) -> Tensor:
    """Cross-entropy of z + tau log pi with pi_c = n_c / N, in training only: z itself does not contain the prior.

    Args:
        logits: z `[B, K]`, any float type; half precision is computed in float32.
        labels: y, int64 `[B]`.
        counts: training images per class `[K]`.
        tau: factor of the prior; 0 is cross-entropy, 1 balanced softmax.

    Raises:
        UserError: a class without training images, or `tau` negative.
    """
    require_between("loss.tau", tau, 0, 100)
    return F.cross_entropy(logits + tau * log_prior(counts, logits.dtype), labels)
