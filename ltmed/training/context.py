"""The settings of the run that its stages use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


@dataclass(frozen=True)
class StageContext:
    """The same for every method, built by `ltmed.train`. Letters: K classes."""

    name: str
    """Stage name, the first part of its metric names (`train/val/balanced_accuracy`)."""
    seed: int
    epochs: int
    classes: tuple[str, ...]
    counts: Tensor
    """int64 `[K]`: training images per class, of the training part only, no zeros. Where images carry several labels
    `[2, K]`: known positives and known negatives of each label."""
    tiers: dict[str, list[int]]
    """Class indices of `head`, `medium` and `tail`."""
    mean: tuple[float, float, float]
    """Per channel, of pixels scaled to [0, 1]."""
    std: tuple[float, float, float]
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    schedule: Callable[[Optimizer, int], LRScheduler] | None = None
    """`(optimizer, total_steps) -> scheduler`, stepped once per training step; None keeps the rate."""
    interpolation: str = "bilinear"
    """Of the resize to squares; stored in checkpoints beside `mean` and `std`."""
    class_losses: bool = False
    """Whether the training loss of each class is logged."""
    layer_decay: float | None = None
    """See `ltmed.nn.param_groups.build_optimizer`."""
    head_lr_scale: float = 1.0
    """Likewise."""
    checkpoint: Path | None = None
    """Where the last good checkpoint of this stage is, for messages."""

    @property
    def multilabel(self) -> bool:
        """Whether an image may carry several labels, or none."""
        return self.counts.ndim == 2
