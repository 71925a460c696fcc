"""What one stage of a method asks of the training images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ltmed.data.augment import Augmentation
from ltmed.data.samplers.single import Sampler


@dataclass(frozen=True)
class StageData:
    """How the training images of one stage are sampled and augmented."""

    batch_size: int | None
    """Of all processes together; None where the sampler determines it."""
    views: int
    """Augmented views of each image in a batch, 1 or 2."""
    sampler: Callable[..., Sampler]
    """`(labels, batch_size, epochs, seed) -> Sampler`."""
    augment: Augmentation | Sequence[Augmentation]
    """One for all views, or one per view."""
    epochs: int
    seed: int
    described: tuple[str, ...] = ()
    """The configuration of the augmentation of every view as text, the key of its cached features."""
    accumulate: int = 1
    """Number of parts of each process's share of a batch (gradient accumulation)."""
    passes: int | None = None
    """Of cached features: number of passes of a random view; None if views must be deterministic."""
