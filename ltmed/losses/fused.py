"""Losses that compute their gradient together with their value, in fewer passes than automatic differentiation needs.

For matrices of some ten thousand entries a loss is bound by the number of elementwise operations. Sigmoid losses need
the sigmoid both for the value and for the gradient, and autograd would compute products again that are known from the
value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Formula = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Logits `[B, K]` -> the sums over classes `[B]`, and the derivative of each sum by its own logits `[B, K]`."""


def sums_of(logits: Tensor, formula: Formula) -> Tensor:
    """The sums of `formula`, `[B]`, differentiable by the logits, once.

    Args:
        logits: `[B, K]`.
        formula: called with grad mode off.

    Raises:
        RuntimeError: a second derivative is requested.
    """
    return _WithGradient.apply(logits, formula, False)  # pyright: ignore[reportReturnType]


def mean_of(logits: Tensor, formula: Formula) -> Tensor:
    """The mean of `sums_of` over the batch, a scalar."""
    return _WithGradient.apply(logits, formula, True)  # pyright: ignore[reportReturnType]


class _WithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, formula: Formula, mean: bool) -> Tensor:
        sums, gradient = formula(logits)
        ctx.save_for_backward(gradient)
        return sums.mean() if mean else sums

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if torch.is_grad_enabled():  # As once_differentiable, which costs as much as the loss.
            raise RuntimeError("This loss has no second derivative.")
        (gradient,) = ctx.saved_tensors
        share = upstream / len(gradient) if upstream.ndim == 0 else upstream[:, None]
        return gradient * share, None, None
