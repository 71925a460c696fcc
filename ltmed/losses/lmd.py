"""The loss terms of LMD (Pan et al., 2025). `ltmed/methods/lmd.py` has the citation and the training procedure.

Letters: N images, D feature width, K classes. Student features z_s and teacher features z_t are the encoder's outputs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ltmed.losses.precision import full_precision

_MIN_SQUARED_NORM = 1e-24
"""A row with a smaller squared norm has no direction: a dead channel, or an image without features."""


@full_precision
def sample_relation(student: Tensor, teacher: Tensor, normalize_rows: bool = True) -> Tensor:
    """L_sample = (1/N) sum_ij (S^s - S^t)_ij^2 with S = z z^T, the similarities of the images.

    Args:
        student: z_s `[N, D]`; gets the gradient.
        teacher: z_t `[N, D]`.
        normalize_rows: whether each row of S is divided by its norm first.

    Returns:
        a scalar >= 0.
    """
    student_gram, teacher_gram = student @ student.T, teacher @ teacher.T
    if normalize_rows:
        student_gram, teacher_gram = (
            rows * _inverse_root(rows.square().sum(1, keepdim=True)) for rows in (student_gram, teacher_gram)
        )
    return (student_gram - teacher_gram).square().sum() / len(student)


@full_precision
def channel_relation(student: Tensor, teacher: Tensor, normalize_rows: bool = True) -> Tensor:
    """L_channel = (1/D) sum_ij (C^s - C^t)_ij^2 with C = z^T z, the co-activations of the channels.

    The D x D matrices are never formed. With G_ab = z_a z_b^T `[N, N]` and z_i the i-th column of z, the norm of row i
    of C^a and the product of rows i of C^a and C^b are sqrt(z_a,i^T G_aa z_a,i) and z_a,i^T G_ab z_b,i, so that N x N
    and N x D matrices suffice.

    Args:
        student: z_s `[N, D]`; gets the gradient.
        teacher: z_t `[N, D]`.
        normalize_rows: whether each row of C is divided by its norm first.

    Returns:
        a scalar >= 0.
    """

    def products(first: Tensor, second: Tensor) -> Tensor:
        return (first * ((first @ second.T) @ second)).sum(0)

    student_squares, teacher_squares, cross_products = (
        products(student, student),
        products(teacher, teacher),
        products(student, teacher),
    )
    if normalize_rows:
        cross_products = cross_products * _inverse_root(student_squares) * _inverse_root(teacher_squares)
        student_squares, teacher_squares = (
            (squared > _MIN_SQUARED_NORM).to(squared.dtype) for squared in (student_squares, teacher_squares)
        )
    return (student_squares + teacher_squares - 2 * cross_products).clamp_min(0).sum() / student.shape[1]


def _inverse_root(squared: Tensor) -> Tensor:
    """1 / sqrt(x); 0 without a gradient where x is almost 0, since the root has no finite slope there."""
    present = squared > _MIN_SQUARED_NORM
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
    """A transform of squared Mahalanobis distances into squared Euclidean ones, for all classes at once."""

    origin: Tensor
    """`[D]`, subtracted from the features first: otherwise distances are differences of large numbers."""
    transform: Tensor
    """`[K D, D]`: the inverses of the Cholesky factors of the covariances, one below the other."""
    means: Tensor
    """`[K D]`: class means minus the origin, each transformed by the block of its class."""


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
    """Psi - Phi: mean distance to the own class minus the mean distance to the K - 1 others.

    Args:
        distances: squared Mahalanobis distances `[N, K]`, K >= 2.
        labels: int64 `[N]`.
    """
    to_label = distances.gather(1, labels[:, None])[:, 0]
    return (to_label - (distances.sum(1) - to_label) / (distances.shape[1] - 1)).mean()
