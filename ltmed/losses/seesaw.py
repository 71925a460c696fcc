"""Seesaw loss: weaker gradients of frequent classes' images on the logits of rare classes.

J. Wang, W. Zhang, Y. Zang, Y. Cao, J. Pang, T. Gong, K. Chen, Z. Liu, C. C. Loy, D. Lin, "Seesaw Loss for Long-Tailed
Instance Segmentation", CVPR 2021. With i = y and s = softmax(z):

    loss = -log e^z_i / ( e^z_i + sum_{j != i} M_ij C_ij e^z_j )
    M_ij = (n_j / n_i)^p where n_j < n_i, else 1        mitigation
    C_ij = (s_j / s_i)^q where s_j > s_i, else 1        compensation, a constant to the gradient

Letters: B images, K classes, n_c training images of class c.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from ltmed.errors import require_between
from ltmed.losses.counts import log_mitigation
from ltmed.losses.precision import full_precision


@full_precision
def seesaw(
    logits: Tensor, labels: Tensor, counts: Tensor, *, p: float = 0.8, q: float = 2.0, eps: float = 0.01
) -> Tensor:
    """The loss above, mean over the batch.

    Args:
        logits: z `[B, K]`, any float type; half precision is computed in float32.
        labels: y, int64 `[B]`.
        counts: n, training images per class `[K]`.
        p: exponent of the mitigation, >= 0; 0 for none.
        q: exponent of the compensation, >= 0; 0 for none.
        eps: lowest s_i in C, in [0, 1], 0.01 in the released code; 0 for the ratio as printed.

    Raises:
        UserError: a class without training images, or an option out of range.
    """
    for name, value, high in (("p", p, 100), ("q", q, 100), ("eps", eps, 1)):
        require_between(f"loss.{name}", value, 0, high)
    # Both factors as logarithms, which are 0 at the label itself.
    factors = log_mitigation(counts, logits.dtype, p).index_select(0, labels)
    if q:
        scores = logits.detach()
        scores = scores.log_softmax(1) if eps else scores  # Without eps only their differences matter.
        label_scores = scores.gather(1, labels[:, None]).clamp_min(math.log(eps) if eps else -math.inf)
        factors.add_((scores - label_scores).relu_(), alpha=q)
    return F.cross_entropy(logits + factors, labels)
