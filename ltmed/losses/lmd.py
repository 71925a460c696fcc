"""The tensor mathematics of LMD (Pan et al., 2025). `ltmed/methods/lmd.py` has the paper and the order.

Letters: N images, D feature width, K classes. Student features z_s and teacher features z_t are the encoder's outputs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ltmed.losses.precision import full_precision

_NOTHING = 1e-24
"""A row with a smaller squared norm has no direction: a dead channel, or an image without features."""


@full_precision
def sample_relation(student: Tensor, teacher: Tensor, normalize_rows: bool = True) -> Tensor:
    """L_sample = (1/N) sum_ij (S^s - S^t)_ij^2 with S = z z^T, how images resemble each other.

    Args:
        student: z_s `[N, D]`; gets the gradient.
        teacher: z_t `[N, D]`.
        normalize_rows: whether each row of S is divided by its norm first.

    Returns:
        a scalar >= 0.
    """
    ours, theirs = student @ student.T, teacher @ teacher.T
    if normalize_rows:
        ours, theirs = (rows * _inverse_root(rows.square().sum(1, keepdim=True)) for rows in (ours, theirs))
    return (ours - theirs).square().sum() / len(student)


@full_precision
def channel_relation(student: Tensor, teacher: Tensor, normalize_rows: bool = True) -> Tensor:
    """L_channel = (1/D) sum_ij (C^s - C^t)_ij^2 with C = z^T z, how channels fire together.

    The D x D matrices are never made. With G_ab = z_a z_b^T `[N, N]` and z_i the i-th column of z, the norm of row i of
    C^a and the product of rows i of C^a and C^b are sqrt(z_a,i^T G_aa z_a,i) and z_a,i^T G_ab z_b,i, so that N x N and
    N x D matrices suffice.

    Args:
        student: z_s `[N, D]`; gets the gradient.
        teacher: z_t `[N, D]`.
        normalize_rows: whether each row of C is divided by its norm first.

    Returns:
        a scalar >= 0.
    """

    def products(one: Tensor, other: Tensor) -> Tensor:
        return (one * ((one @ other.T) @ other)).sum(0)

    ours, theirs, shared = products(student, student), products(teacher, teacher), products(student, teacher)
    if normalize_rows:
        shared = shared * _inverse_root(ours) * _inverse_root(theirs)
        ours, theirs = ((squared > _NOTHING).to(squared.dtype) for squared in (ours, theirs))
    return (ours + theirs - 2 * shared).clamp_min(0).sum() / student.shape[1]


def _inverse_root(squared: Tensor) -> Tensor:
    """1 / sqrt(x); 0 without a gradient where x is next to nothing, whose root has no finite slope."""
    present = squared > _NOTHING
    return torch.where(present, squared, 1).rsqrt() * present


@full_precision
def probability_consistency(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """L_prob = (1/N) sum KL(softmax(teacher) || softmax(student)).

    Args:
        student_logits: `[N, K]`; gets the gradient.
        teacher_logits: `[N, K]`.
    """
    return F.kl_div(
        student_logits.log_softmax(1), teacher_logits.log_softmax(1), reduction="batchmean", log_target=True
    )


class Whitening(NamedTuple):
    """What turns a squared Mahalanobis distance into a squared Euclidean one, for all classes at once."""

    origin: Tensor
    """`[D]`, taken off the features first: distances are differences of large numbers otherwise."""
    transform: Tensor
    """`[K D, D]`: the inverses of the Cholesky factors of the covariances, one below the other."""
    means: Tensor
    """`[K D]`: class means, less the origin, each transformed by its own class's block."""


@full_precision
def mahalanobis(features: Tensor, origin: Tensor, transform: Tensor, means: Tensor) -> Tensor:
    """Squared Mahalanobis distances (x - mu_k)^T Sigma_k^-1 (x - mu_k) to every class, by one matrix product.

    Args:
        features: x `[N, D]`.
        origin: `[D]`, of `Whitening`.
        transform: `[K D, D]`, likewise.
        means: `[K D]`, likewise.

    Returns:
        `[N, K]`, >= 0.
    """
    whitened = torch.addmm(-means, features - origin, transform.T)
    return whitened.view(len(features), -1, features.shape[1]).square().sum(2)


@full_precision
def distribution_consistency(distances: Tensor, labels: Tensor) -> Tensor:
    """Psi - Phi: mean distance to the own class less the mean distance to the K - 1 others.

    Args:
        distances: squared Mahalanobis distances `[N, K]`, K >= 2.
        labels: int64 `[N]`.
    """
    own = distances.gather(1, labels[:, None])[:, 0]
    return (own - (distances.sum(1) - own) / (distances.shape[1] - 1)).mean()
