"""Samplers: the training images of each batch of an epoch.

Letters: N training images, K classes, n_c images of class c, B images in a batch over all processes together.
Every rank computes the same batches from the same seed and then takes its own slice of each (`shard`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ltmed.errors import UserError, require_between
from ltmed.utils.seeding import derive

if TYPE_CHECKING:
    from typing_extensions import Self


class Sampler(ABC):
    """Batches of positions into the training part, a pure function of the seed and the epoch.

    Args:
        labels: [N, ...] targets of the training images.
        batch_size: B; None only for samplers that determine it themselves.
        epochs: length of the stage.
        seed: of the stage.

    Raises:
        UserError: fewer images than one batch needs, or no batch size.
    """

    complete_from: int = 0
    """Epoch (from 0) from which on the classes are as frequent as the sampler is to make them."""

    def __init__(self, labels: np.ndarray, batch_size: int | None, epochs: int, seed: int) -> None:
        if batch_size is None:
            raise UserError(
                f"batch_size is null, but {type(self).__name__} does not determine it",
                "Set batch_size to a number, or use sampler=class_batches for this stage.",
            )
        if not 1 <= batch_size <= len(labels):
            raise UserError(
                f"batch_size is {batch_size} but the training part has {len(labels)} images",
                f"Set batch_size to a number from 1 to {len(labels)}.",
            )
        self.labels, self.batch_size, self.epochs, self.seed = labels, batch_size, epochs, seed
        self.steps = len(labels) // batch_size
        """Batches per epoch; an incomplete last one is dropped."""

    @abstractmethod
    def order(self, epoch: int, rng: np.random.Generator) -> np.ndarray:
        """Samples the N positions (int64) of one epoch, in the order of use."""

    def batches(self, epoch: int) -> np.ndarray:
        """Positions of the images of every batch of `epoch` (from 0), int64 [steps, B], the same on all ranks."""
        order = self.order(epoch, np.random.default_rng(derive(self.seed, "sampler", epoch)))
        return order[: self.steps * self.batch_size].reshape(self.steps, self.batch_size)


class InstanceSampler(Sampler):
    """Each image once per epoch, in a new random order; up to B - 1 images of an incomplete last batch are skipped."""

    def order(self, epoch: int, rng: np.random.Generator) -> np.ndarray:
        """A permutation of all positions."""
        return rng.permutation(len(self.labels))


class Grouped(NamedTuple):
    """The training images by class; with several labels, an image is in every class that it has."""

    counts: np.ndarray
    """n_c, int64 [K]; no zeros."""
    positions: np.ndarray
    """int64 [n_0 + n_1 + ...]: those of class 0 first, then those of class 1, ..."""
    starts: np.ndarray
    """int64 [K]: where in `positions` each class begins."""


def group_by_class(labels: np.ndarray) -> Grouped:
    """Sorts the positions 0 ... N-1 by class.

    Args:
        labels: [N] class numbers; every class from 0 to the largest must occur.

    Raises:
        UserError: more than one label per image, or a class without images.
    """
    if labels.ndim != 1:
        raise UserError(
            f"Batches by class need one label per image, not targets of shape {labels.shape}",
            "Use sampler=instance, class_balanced or repeat_factor.",
        )
    counts = np.bincount(labels)
    if not counts.all():
        absent = ", ".join(str(label) for label in np.flatnonzero(counts == 0))
        raise UserError(
            f"No training image of class number {absent}: it cannot be sampled",
            "Use sampler=instance, another split, or leave the class out of the data.",
        )
    return Grouped(counts, np.argsort(labels, kind="stable"), np.cumsum(counts) - counts)


def group_by_label(labels: np.ndarray) -> tuple[Grouped, int]:
    """Sorts the positions 0 ... N-1 by the labels that are present; labels that no image has are left out.

    Args:
        labels: float [N, K]: 1 present, 0 absent, NaN unknown.

    Returns:
        the images of each label, followed by those without any label as a separate class, and the number of the
        latter.

    Raises:
        UserError: no image has a label.
    """
    present = labels == 1
    without = ~present.any(axis=1)
    if without.all():
        raise UserError("No training image has a label: they cannot be sampled by label", "Use sampler=instance.")
    present = np.column_stack([present, without])
    _, positions = np.nonzero(present.T)
    counts = present.sum(axis=0)
    counts = counts[counts > 0]
    return Grouped(counts, positions, np.cumsum(counts) - counts), int(without.sum())


class _ClassSampler(Sampler):
    """N samples with replacement: a class by `class_probabilities`, then one of its images uniformly.

    With several labels (targets [N, K]), images without any label are sampled with their frequency in the data;
    otherwise a label is sampled by `class_probabilities`, then one of the images that have it.
    """

    def __init__(self, labels: np.ndarray, batch_size: int | None, epochs: int, seed: int) -> None:
        super().__init__(labels, batch_size, epochs, seed)
        groups, without = group_by_label(labels) if labels.ndim == 2 else (group_by_class(labels), 0)
        self._sizes, self._by_class, self._starts = groups
        self.counts = self._sizes[:-1] if without else self._sizes
        """n_c of the classes of `class_probabilities`."""
        self._without = without / len(labels)

    @abstractmethod
    def class_probabilities(self, epoch: int) -> np.ndarray:
        """Sampling probability of each class, [K], sum 1."""

    def order(self, epoch: int, rng: np.random.Generator) -> np.ndarray:
        """N positions, sampled with replacement."""
        probabilities = self.class_probabilities(epoch)
        if self._without:
            probabilities = np.append(probabilities * (1 - self._without), self._without)
        classes = rng.choice(len(self._sizes), size=len(self.labels), p=probabilities)
        return self._by_class[self._starts[classes] + rng.integers(self._sizes[classes])]

    def _power(self, q: float) -> np.ndarray:
        weights = self.counts.astype(np.float64) ** q
        return weights / weights.sum()


class PowerSampler(_ClassSampler):
    """Classes in proportion to n_c^q (Kang et al. 2020, Eq. 1): N samples with replacement per epoch.

    Args:
        labels: [N] class numbers; every class from 0 to the largest must occur. Or targets [N, K], see
            `group_by_label`.
        batch_size: B.
        epochs: length of the stage.
        seed: of the stage.
        q: 0 is class-balanced, 0.5 square root, 1 instance-balanced; below 0 rare classes are the most frequent.

    Raises:
        UserError: fewer images than one batch needs, a class without images, or `q` out of range.
    """

    def __init__(self, labels: np.ndarray, batch_size: int | None, epochs: int, seed: int, q: float) -> None:
        super().__init__(labels, batch_size, epochs, seed)
        require_between("sampler.q", q, -10, 10)  # Powers of counts must be finite.
        self.q = q

    def class_probabilities(self, epoch: int) -> np.ndarray:
        """n_c^q / sum_k n_k^q, [K], in every epoch."""
        return self._power(self.q)


class EffectiveNumberSampler(_ClassSampler):
    """Images in proportion to 1 / E of their class, E_c = (1 - b^n_c) / (1 - b) (Cui et al. 2019): N samples per epoch.

    E is the effective number of images: near n_c for classes much smaller than 1 / (1 - b), which become equally
    frequent, and at most 1 / (1 - b), so that larger classes are still sampled more often.

    Args:
        labels: [N] class numbers; every class from 0 to the largest must occur. Or targets [N, K], see
            `group_by_label`.
        batch_size: B.
        epochs: length of the stage.
        seed: of the stage.
        beta: b in [0, 1); 0 is instance-balanced, towards 1 class-balanced.

    Raises:
        UserError: fewer images than one batch needs, a class without images, or `beta` out of range.
    """

    def __init__(self, labels: np.ndarray, batch_size: int | None, epochs: int, seed: int, beta: float) -> None:
        super().__init__(labels, batch_size, epochs, seed)
        if not 0 <= beta < 1:
            raise UserError(f"sampler.beta is {beta}", "It must be at least 0 and less than 1.")
        self.beta = beta

    def class_probabilities(self, epoch: int) -> np.ndarray:
        """(n_c / E_c) / sum_k n_k / E_k, [K], in every epoch."""
        weights = self.counts / (1 - self.beta ** self.counts.astype(np.float64))
        return weights / weights.sum()


class ProgressiveSampler(_ClassSampler):
    """From instance to class-balanced over the epochs t = 0 ... T-1 of the stage (Kang et al. 2020, Eq. 2)."""

    def __init__(self, labels: np.ndarray, batch_size: int | None, epochs: int, seed: int) -> None:
        super().__init__(labels, batch_size, epochs, seed)
        self.complete_from = epochs - 1

    def class_probabilities(self, epoch: int) -> np.ndarray:
        """(1 - t/(T-1)) n_c/N + (t/(T-1)) 1/K, [K]; the paper's t/T would never reach the balanced end."""
        share = min(epoch / max(self.epochs - 1, 1), 1.0)
        return (1 - share) * self._power(1) + share * self._power(0)


class EpochAware:
    """Mixin with `set_epoch`, by which Lightning or a training loop sets the epoch of a loader."""

    epoch = 0
    """From 0; the epoch of the next iteration."""

    @property
    def sampler(self) -> Self:
        """The loader itself: Lightning calls `sampler.set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch (from 0) of the next iteration."""
        self.epoch = epoch


class EpochBatches(EpochAware):
    """A sampler as the `batch_sampler` of a `torch.utils.data.DataLoader`, for training loops of your own.

    Lightning sets the epoch itself; a training loop calls `set_epoch`, as with torch's `DistributedSampler`.

    Args:
        sampler: yields the positions of each batch.
        rank: this process's number.
        world: number of processes; each gets an equal slice of every batch.
    """

    def __init__(self, sampler: Sampler, rank: int = 0, world: int = 1) -> None:
        self._sampler, self._rank, self._world = sampler, rank, world
        self.epoch = 0

    def __len__(self) -> int:
        return self._sampler.steps

    def __iter__(self) -> Iterator[list[int]]:
        yield from shard(self._sampler.batches(self.epoch), self._rank, self._world).tolist()


def shard(batches: np.ndarray, rank: int, world: int, parts: int = 1) -> np.ndarray:
    """This rank's contiguous slice of every batch, [steps, B] -> [steps parts, B / (world parts)].

    Args:
        batches: of all ranks together.
        rank: this process's number.
        world: number of processes.
        parts: number of consecutive parts of each slice.

    Raises:
        UserError: B is not divisible by `world`, or the slice by `parts`.
    """
    batch_size = batches.shape[1]
    if batch_size % world:
        raise UserError(
            f"batch_size {batch_size} cannot be divided evenly among {world} processes",
            f"batch_size counts all processes together: choose a multiple of {world}.",
        )
    per_process = batch_size // world
    if per_process % parts:
        raise UserError(
            f"The {per_process} images that a process has of a batch cannot be computed in {parts} equal parts",
            f"Choose a batch_size that {parts * world} divides, or another finetune.accumulate.",
        )
    return batches[:, rank * per_process : (rank + 1) * per_process].reshape(-1, per_process // parts)
