"""Linear classifiers whose logits tau adjusts in evaluation. Letters: B images, D encoder width, K classes."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class TauHead(nn.Module, ABC):
    """A linear classifier whose logits are changed by `adjust` in evaluation; tau = 0 leaves them unchanged.

    tau is a persistent buffer, 0 until a stage sets it, so that a checkpoint predicts with its tau.

    Args:
        in_features: D.
        out_features: K.
        bias: whether each class has an offset.
    """

    tau: Tensor

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features, bias=bias)
        self.register_buffer("tau", torch.zeros(()))

    @abstractmethod
    def adjust(self, logits: Tensor) -> Tensor:
        """Logits at tau = 0 -> logits at tau, `[B, K]`, float32 also under autocast."""

    def forward(self, features: Tensor) -> Tensor:
        """`[B, D]` -> `[B, K]`."""
        logits = self.linear(features)
        return logits if self.training else self.adjust(logits)


class TauNormalised(TauHead):
    """Logits / |w_c|^tau: weight vectors w_c / |w_c|^tau and no bias (Kang et al., ICLR 2020, Section 4).

    tau = 1 makes all norms 1. The stage that sets tau sets the bias to 0 first.
    """

    def adjust(self, logits: Tensor) -> Tensor:
        """`[B, K]` -> `[B, K]`; a weight vector of 0 has logit 0."""
        return logits / self.linear.weight.detach().norm(dim=1).clamp_min(1e-12) ** self.tau


class LogitAdjusted(TauHead):
    """Logits - tau log pi_c, with pi_c the share of class c in the training part (Menon et al., ICLR 2021, Eq. 9).

    Log pi is a persistent buffer, zeros until a stage sets it.

    Args:
        in_features: D.
        out_features: K.
        bias: whether each class has an offset.
    """

    log_prior: Tensor

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias=bias)
        self.register_buffer("log_prior", torch.zeros(out_features))

    def adjust(self, logits: Tensor) -> Tensor:
        """`[B, K]` -> `[B, K]`: the rarer a class, the larger the increase of its logit."""
        return logits - self.tau * self.log_prior
