"""Learning-rate schedules: `(optimizer, total_steps, ...) -> scheduler`, stepped once per training step."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ltmed.errors import UserError


def cosine(
    optimizer: Optimizer, total_steps: int, *, warmup_fraction: float = 0.0, final_fraction: float = 0.0
) -> LambdaLR:
    """Half a cosine from the optimiser's rate down to `final_fraction` of it, after a linear warm-up.

    SGDR without restarts (Loshchilov & Hutter 2017, Eq. 5), per step instead of per epoch.

    Args:
        optimizer: its learning rates are the highest ones.
        total_steps: training steps of the stage.
        warmup_fraction: part of the steps over which the rate first rises, in [0, 1): 10 epochs of 400 are 0.025.
        final_fraction: last rate / highest rate, in [0, 1].

    Raises:
        UserError: a fraction is out of its range.
    """
    for name, value, valid in (
        ("warmup_fraction", warmup_fraction, 0 <= warmup_fraction < 1),
        ("final_fraction", final_fraction, 0 <= final_fraction <= 1),
    ):
        if not valid:
            raise UserError(f"{name} = {value} of the cosine schedule", "Give a fraction from 0 to 1.")
    warmup = round(warmup_fraction * total_steps)
    # LambdaLR leaves the contents of a partial out of checkpoints: resuming restores no outdated values.
    return LambdaLR(optimizer, partial(_cosine_factor, total=total_steps, warmup=warmup, final=final_fraction))


def milestones(
    optimizer: Optimizer, total_steps: int, *, fractions: Sequence[float] = (0.25, 0.5, 0.75), gamma: float = 0.1
) -> LambdaLR:
    """The optimiser's rate times `gamma` for every milestone that has passed.

    Args:
        optimizer: its learning rates are the first ones.
        total_steps: training steps of the stage.
        fractions: milestones as parts of the stage, each in (0, 1): epochs 50, 100 and 150 of 200 are the default.
        gamma: factor at each milestone.

    Raises:
        UserError: a fraction is out of its range.
    """
    if not all(0 < fraction < 1 for fraction in fractions):
        raise UserError(f"fractions = {list(fractions)} of the milestones schedule", "Give fractions between 0 and 1.")
    # The first step always has the full rate, also in stages of so few steps that a milestone is rounded to 0.
    at = sorted(max(1, round(fraction * total_steps)) for fraction in fractions)
    return LambdaLR(optimizer, partial(_milestones_factor, at=at, gamma=gamma))


def _milestones_factor(step: int, at: list[int], gamma: float) -> float:
    return gamma ** bisect_right(at, step)


def _cosine_factor(step: int, total: int, warmup: int, final: float) -> float:
    if step < warmup:
        return (step + 1) / (warmup + 1)  # Not step / warmup: a first step with rate 0 would teach nothing.
    progress = min((step - warmup) / max(total - warmup, 1), 1.0)
    return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2
