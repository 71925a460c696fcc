"""Selects a head's tau on the validation images. Letters: N validation images, K classes.

A stage with such a head calls `begin` before its validation and `choose` after it, while it is fitted. Every rank sees
all validation images and so chooses the same tau, and the checkpoint of an epoch has the tau of its own weights. What
is only evaluated keeps the tau of its checkpoint; test images never take part.
"""

from __future__ import annotations

import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from ltmed.nn.adjusted import TauHead
from ltmed.training.stage import Stage
from ltmed.utils import distributed

Outputs = list[tuple[Tensor, Tensor, Tensor]]
"""Of the batches of this rank's shard: logits `[B, K]`, labels `[B]`, indices `[B]`."""

GRID = torch.linspace(0, 2, 21, dtype=torch.float64).tolist()
"""0, 0.1, ..., 2, as in the code of Kang et al., ICLR 2020."""


def is_fitted(stage: Stage) -> bool:
    """Whether this validation belongs to training; `trainer.validate` and `trainer.test` must not choose."""
    return stage.trainer.state.fn == TrainerFn.FITTING


def begin(stage: Stage, head: TauHead) -> None:
    """Sets tau to 0, so that the validation's logits are those that `choose` expects."""
    if is_fitted(stage):
        head.tau.zero_()


@torch.no_grad()
def choose(stage: Stage, head: TauHead, outputs: Outputs) -> Outputs:
    """Sets tau to the one with the best validation balanced accuracy; of equal ones, the smallest.

    Args:
        stage: that was validated, after `begin`.
        head: whose tau is set.
        outputs: of this rank's shard, at tau = 0.

    Returns:
        the outputs at the chosen tau; unchanged ones if the stage is only evaluated.
    """
    if not is_fitted(stage):
        return outputs
    logits, labels = (distributed.gather_uneven(torch.cat(parts)) for parts in list(zip(*outputs, strict=True))[:2])
    set_best_tau(head, logits, labels)
    return [(head.adjust(logits), labels, indices) for logits, labels, indices in outputs]


def set_best_tau(head: TauHead, logits: Tensor, labels: Tensor) -> None:
    """Tries the grid on logits at tau = 0 `[N, K]` and labels `[N]`, and sets the head's tau to the best."""
    scores = []
    for tau in GRID:
        head.tau.fill_(tau)
        scores.append(balanced_accuracy(head.adjust(logits).argmax(1), labels, logits.shape[1]))
    accuracies = torch.stack(scores).cpu()
    # Values that differ by rounding are equal: recalls of the same classes may be summed in another order.
    head.tau.fill_(GRID[int((accuracies >= accuracies.max() - 1e-9).int().argmax())])


def balanced_accuracy(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean recall of the classes that occur; `[N]` and `[N]` -> float64 scalar in [0, 1]."""
    support = labels.bincount(minlength=classes)
    hits = labels[predicted == labels].bincount(minlength=classes)
    return (hits.double() / support.clamp_min(1)).sum() / (support > 0).sum()
