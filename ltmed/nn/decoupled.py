"""Classifiers that a second stage derives from a trained linear one. Letters: B images, D encoder width, K classes.

Each is a linear classifier until that stage changes it; the result of the stage is in its state dict.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltmed.errors import require_choice
from ltmed.losses.precision import full_precision

Metric = Literal["euclidean", "cosine"]


class ScaledLinear(nn.Module):
    """Logits = f_c (w_c h + b_c), one scale f_c per class (LWS; Kang et al., ICLR 2020, Section 4).

    The scales are 1 and have no gradient until a stage enables it.

    Args:
        in_features: D.
        out_features: K.
        bias: whether each class has an offset b_c.
    """

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features, bias=bias)
        self.scales = nn.Parameter(torch.ones(out_features), requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        """`[B, D]` -> `[B, K]`."""
        return self.linear(features) * self.scales


class NearestMean(nn.Module):
    """A linear classifier in training, the nearest class mean in evaluation, once the means are set.

    x = (h - m) / |h - m|, with m the mean of all training features where `centred`, else 0, and mu_c the mean x of
    class c. Logits are -|x - mu_c|^2 ("euclidean"), or the cosine of x and mu_c ("cosine").

    Args:
        in_features: D.
        out_features: K.
        metric: "euclidean" or "cosine".
        centred: whether m is subtracted.
        bias: of the linear classifier.

    Raises:
        UserError: `metric` is neither.
    """

    centre: Tensor
    means: Tensor
    is_set: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        metric: Metric = "euclidean",
        centred: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features, bias=bias)
        require_choice("method.network.classifier.metric", metric, get_args(Metric))
        self.metric: Metric = metric
        self.centred = centred
        self.register_buffer("centre", torch.zeros(in_features))
        self.register_buffer("means", torch.zeros(out_features, in_features))
        self.register_buffer("is_set", torch.tensor(False))

    def normalised(self, features: Tensor) -> Tensor:
        """`[B, D]` -> x `[B, D]`, float32; 0 where h is m."""
        return F.normalize(features.float() - self.centre, dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """`[B, D]` -> `[B, K]`; float32 in evaluation, also under autocast."""
        logits = self.linear(features)
        if self.training:
            return logits
        nearest_mean = similarities(self.normalised(features), self.means, self.metric)
        return torch.where(
            self.is_set, nearest_mean, logits.float()
        )  # An `if` on `is_set` would synchronise with the device.


@full_precision
def similarities(x: Tensor, means: Tensor, metric: Metric) -> Tensor:
    """`[B, D]` of norm 1 and `[K, D]` -> minus the squared distances, or the cosines, `[B, K]`."""
    if metric == "cosine":
        return x @ F.normalize(means, dim=1).T
    return 2 * x @ means.T - means.square().sum(1) - x.square().sum(1, keepdim=True)
