"""Functions of the training counts that losses use: class weights, priors, margins.

Letters: n_c images of class c, K classes.

Counts do not change while a stage trains, so each function is computed once per tensor of counts, on the CPU and in
float64, since 1 - .9999^1 has only three correct digits in float32. A step never waits for the check of the counts.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from ltmed.errors import UserError, require_between

P = ParamSpec("P")


def once_per_counts(
    function: Callable[Concatenate[Tensor, P], Tensor],
) -> Callable[Concatenate[Tensor, torch.dtype, P], Tensor]:
    """Turns `function(counts, *options)` into `(counts, dtype, *options)`, computed once for each tensor of counts.

    The function gets the counts as float64 on the CPU. Its result is cached on the device of the counts, as `dtype`,
    for as long as the tensor of counts exists. After a change of the counts in place it is computed again.
    """
    cache = WeakIdKeyDictionary()

    @functools.wraps(function)
    def wrapped(counts: Tensor, dtype: torch.dtype, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        if counts not in cache:
            cache[counts] = {}
        results: dict[Any, Tensor] = cache[counts]
        key = (counts._version, dtype, args, tuple(kwargs.items()))
        if key not in results:
            with torch.inference_mode(False):  # The first use may be in validation; later uses need gradients.
                results[key] = function(_checked(counts), *args, **kwargs).to(counts.device, dtype)
        return results[key]

    return wrapped


@once_per_counts
def inverse_frequency(counts: Tensor) -> Tensor:
    """w_c = N / (K n_c), `[K]`; scikit-learn's "balanced" weights.

    Raises:
        UserError: a class without images.
    """
    return counts.sum() / (len(counts) * counts)


@once_per_counts
def effective_number(counts: Tensor, beta: float) -> Tensor:
    """w_c ~ (1 - b) / (1 - b^n_c) with sum K, `[K]` (Cui et al., CVPR 2019). All 1 where b = 0.

    Raises:
        UserError: a class without images, or `beta` outside [0, 1).
    """
    require_between("loss.beta", beta, 0, 1, below=True)
    if beta == 0:
        return torch.ones_like(counts)
    weights = -1 / torch.expm1(counts * math.log(beta))
    return weights * (len(counts) / weights.sum())


@once_per_counts
def log_prior(counts: Tensor) -> Tensor:
    """Log pi_c = log(n_c / N), `[K]`.

    Raises:
        UserError: a class without images.
    """
    return (counts / counts.sum()).log()


@once_per_counts
def margins(counts: Tensor, largest: float) -> Tensor:
    """D_c ~ n_c^(-1/4), `[K]`, the largest of them `largest` (Cao et al., NeurIPS 2019).

    Raises:
        UserError: a class without images.
    """
    inverse = counts**-0.25
    return inverse * (largest / inverse.max())


@once_per_counts
def log_mitigation(counts: Tensor, p: float) -> Tensor:
    """Log M_ij = p log(n_j / n_i) where n_j < n_i, else 0, `[K, K]` (Wang et al., CVPR 2021).

    Raises:
        UserError: a class without images.
    """
    logs = counts.log()
    return p * (logs[None, :] - logs[:, None]).clamp_max(0)


@once_per_counts
def log_odds(counts: Tensor) -> Tensor:
    """b_c = log(n_c / m_c), `[K]`, of the n_c images with and the m_c images without label c; 0 where either is 0.

    `counts` is `[K]`, with m_c = N - n_c, or `[2, K]`: n and m.

    Raises:
        UserError: a class without images, of counts `[K]`.
    """
    positives, negatives = _positives_and_negatives(counts)
    defined = (positives > 0) & (negatives > 0)
    return torch.where(defined, positives / negatives.where(defined, 1), 1).log()


@once_per_counts
def odds_against(counts: Tensor, largest: float | None) -> Tensor:
    """m_c / n_c, at most `largest`, `[K]`; 1 where either is 0. Counts and errors as for `log_odds`."""
    positives, negatives = _positives_and_negatives(counts)
    defined = (positives > 0) & (negatives > 0)
    ratio = torch.where(defined, negatives / positives.where(defined, 1), 1)
    return ratio if largest is None else ratio.clamp_max(largest)


@once_per_counts
def inverse_positives(counts: Tensor) -> Tensor:
    """1 / n_c, `[K]`; 0 where n_c is 0. Counts and errors as for `log_odds`."""
    positives, _ = _positives_and_negatives(counts)
    return torch.where(positives > 0, 1 / positives.clamp_min(1), 0)


def _positives_and_negatives(counts: Tensor) -> tuple[Tensor, Tensor]:
    if counts.ndim == 2:
        return counts[0], counts[1]
    return counts, counts.sum() - counts


def _checked(counts: Tensor) -> Tensor:
    """The counts as float64 on the CPU; a class without images raises UserError.

    With several labels per image, `[2, K]`, a label without positives is allowed: it is not learnt.
    """
    numbers = counts.cpu().double()
    if numbers.ndim == 2:
        return numbers
    empty = [str(index) for index, number in enumerate(numbers.tolist()) if not number > 0]
    if empty:
        raise UserError(
            f"No training image of class number {', '.join(empty)}: a loss that corrects for class frequency needs one",
            "Use loss=ce, another split, or leave the class out of the data.",
        )
    return numbers
