"""Means and covariances of the features of each class. Letters: N images, K classes, D feature width."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ltmed.losses.lmd import Whitening
from ltmed.utils import distributed

RIDGE = 0.01
"""Added to the diagonal of every covariance (Pan et al., 2025), which else lacks full rank for few images."""


class ClassMoments(NamedTuple):
    """Class moments of one pass over the features."""

    present: Tensor
    """bool `[K]`: whether the class has any feature."""
    means: Tensor
    """float64 `[K, D]`."""
    covariances: Tensor
    """float64 `[K, D, D]`, unbiased."""


class Moments:
    """Accumulates the sums for class means and covariances, batch by batch; features are not stored.

    Sums are in float64: a covariance is a small difference of large sums.

    Args:
        num_classes: K.
        width: D.
        device: where the features are.
    """

    def __init__(self, num_classes: int, width: int, device: torch.device) -> None:
        options = {"dtype": torch.float64, "device": device}
        self.weights = torch.zeros(num_classes, **options)  # pyright: ignore[reportArgumentType]
        self.sums = torch.zeros(num_classes, width, **options)  # pyright: ignore[reportArgumentType]
        self.products = torch.zeros(num_classes, width, width, **options)  # pyright: ignore[reportArgumentType]

    def add(self, features: Tensor, labels: Tensor, weights: Tensor) -> None:
        """Adds a batch; each image is counted with its weight.

        Args:
            features: `[n, D]`.
            labels: int64 `[n]`.
            weights: `[n]`, >= 0.
        """
        order = labels.argsort(stable=True)
        sizes = labels.bincount(minlength=len(self.weights)).tolist()
        for label, part in enumerate(order.split(sizes)):
            if len(part):
                x, w = features[part].double(), weights[part].double()
                weighted = x * w[:, None]
                self.weights[label] += w.sum()
                self.sums[label] += weighted.sum(0)
                self.products[label].addmm_(weighted.T, x)

    def finish(self) -> ClassMoments:
        """The moments over all processes; a class of one image has covariance 0."""
        weights, sums, products = (distributed.all_sum(t) for t in (self.weights, self.sums, self.products))
        weights = weights[:, None]
        means = sums / weights.clamp_min(1)
        scatter = products - (weights * means)[:, :, None] * means[:, None, :]
        return ClassMoments(weights[:, 0] > 0, means, scatter / (weights[:, :, None] - 1).clamp_min(1))


class ClassStatistics(nn.Module):
    """Running means and covariances of K classes, as persistent buffers.

    Args:
        num_classes: K.
        width: D.
        ridge: added to the diagonal of the covariances.
    """

    means: Tensor
    covariances: Tensor

    def __init__(self, num_classes: int, width: int, *, ridge: float = RIDGE) -> None:
        super().__init__()
        self.ridge = ridge
        self.register_buffer("means", torch.zeros(num_classes, width))
        self.register_buffer("covariances", torch.eye(width).repeat(num_classes, 1, 1))

    @torch.no_grad()
    def update(self, moments: ClassMoments, *, momentum: float) -> None:
        """S <- momentum S + (1 - momentum) S_new for both, the new covariances with the ridge.

        Args:
            moments: moments over all processes; classes that are not present keep their statistics.
            momentum: in [0, 1]; 0 replaces the old statistics.
        """
        ridge = self.ridge * torch.eye(moments.means.shape[1], device=moments.means.device)
        weight = (1 - momentum) * moments.present.to(self.means.dtype)
        self.means.lerp_(moments.means.to(self.means.dtype), weight[:, None])
        self.covariances.lerp_((moments.covariances + ridge).to(self.covariances.dtype), weight[:, None, None])

    @torch.no_grad()
    def factors(self) -> Tensor:
        """Lower Cholesky factors L_k of the covariances, Sigma_k = L_k L_k^T: float32 `[K, D, D]`."""
        return torch.linalg.cholesky(self.covariances.double()).float()

    @torch.no_grad()
    def whitening(self, factors: Tensor) -> Whitening:
        """The arguments of `losses.lmd.mahalanobis`, from `factors()`; to be computed once for many batches."""
        classes, width = self.means.shape
        eye = torch.eye(width, dtype=torch.float64, device=factors.device)
        inverse = torch.linalg.solve_triangular(factors.double(), eye.expand(classes, -1, -1), upper=False)
        origin = self.means.double().mean(0)
        means = inverse @ (self.means - origin)[:, :, None]
        return Whitening(origin.float(), inverse.reshape(-1, width).float(), means.flatten().float())
