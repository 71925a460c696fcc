"""Batches of features instead of images: a training part in memory, and its rows by number.

Letters: N images of the data set, n of a part, B in a batch of this process, D width of the encoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ltmed.data.batch import Batch
from ltmed.data.cache.features import FeatureCache, View, draws
from ltmed.data.samplers.single import ChoosesEpoch, Sampler, shard
from ltmed.errors import UserError
from ltmed.utils.seeding import derive

_HINT = (
    "Choose a view without random numbers (augment=none), keep several passes of it (features.views=4), or compute "
    "features anew in every step (features.cache=false)."
)


class FeatureTrainLoader(ChoosesEpoch):
    """This rank's part of every training batch of an epoch, as `TrainLoader`, but of features `[B, D]`.

    Args:
        cache: of the features; they are not needed before the first iteration.
        rows: int64 [n], rows of the data set that form the training part.
        labels: [n, ...], their targets.
        sampler: says which positions of the training part make up each batch.
        views: one or two, in the order of the batch's views.
        passes: how many passes are kept of a view that draws random numbers; an epoch takes each image from one of
            them at random. None: no view may draw any.
        seed: of the choice of passes.
        rank: this process's number.
        world: number of processes.
        parts: that each batch of this process comes in.

    Raises:
        UserError: a view draws random numbers and `passes` is None; the two views of an image would be one.
    """

    def __init__(
        self,
        cache: FeatureCache,
        rows: np.ndarray,
        labels: np.ndarray,
        sampler: Sampler,
        views: Sequence[View],
        *,
        passes: int | None,
        seed: int,
        rank: int = 0,
        world: int = 1,
        parts: int = 1,
    ) -> None:
        assert cache.images is not None
        self.cache, self.rows, self.labels, self.views = cache, torch.from_numpy(rows), labels, views
        self.seed, self.rank, self.world, self._sampler = seed, rank, world, sampler
        self.parts = parts
        self.images_per_process = shard(sampler.batches(0), rank, world, parts).shape[1]
        random = [draws(view.augment, cache.images.pixels.shape[1]) for view in views]
        if any(random) and passes is None:
            raise UserError("The features of a frozen backbone are kept, but augment draws random numbers", _HINT)
        self.passes = [(passes or 1) if drawn else 1 for drawn in random]
        alike = len(views) == 2 and views[0].described == views[1].described
        if alike and self.passes[0] < 2:
            raise UserError("The method compares two views of an image, and the kept features have one", _HINT)
        self.distinct = alike

    def __len__(self) -> int:
        return self._sampler.steps * self.parts

    def prepare(self) -> None:
        """Computes what is not there yet."""
        for view, passes in zip(self.views, self.passes, strict=True):
            for number in range(passes):
                self.cache.get(view, number)

    def __iter__(self) -> Iterator[Batch]:
        batches = self._sampler.batches(self.epoch)
        chosen = [
            torch.from_numpy(shard(one, self.rank, self.world, self.parts)) for one in self._choose(batches.shape)
        ]
        own = torch.from_numpy(np.ascontiguousarray(shard(batches, self.rank, self.world, self.parts)))
        labels, kept = torch.from_numpy(self.labels), self._kept()
        for step, positions in enumerate(own):
            rows = self.rows[positions]
            seen = [_rows(features, number[step], rows) for features, number in zip(kept, chosen, strict=True)]
            yield Batch(seen[0], labels[positions], rows, seen[1] if len(seen) == 2 else None)

    def _kept(self) -> list[list[Tensor]]:
        """For every view its passes, each `[N, D]`."""
        return [
            [self.cache.get(view, number) for number in range(passes)]
            for view, passes in zip(self.views, self.passes, strict=True)
        ]

    def _choose(self, shape: tuple[int, ...]) -> list[np.ndarray]:
        """For every view the pass of each place of the epoch, int64 `[steps, B]`, the same on all ranks."""
        rng = np.random.default_rng(derive(self.seed, "features", self.epoch))
        chosen = [rng.integers(passes, size=shape) for passes in self.passes]
        if self.distinct:
            passes = self.passes[0]
            chosen[1] = (chosen[0] + 1 + rng.integers(passes - 1, size=shape)) % passes
        return chosen


class FeatureEvalLoader:
    """Every image of a part exactly once over all ranks, as `EvalLoader`, but of features `[B, D]`.

    Args:
        cache: of the features.
        rows: int64 [n], rows of the data set.
        labels: [n, ...], their targets.
        view: of evaluation.
        batch_size: images in a batch of this process; the last one may be smaller.
        rank: this process's number.
        world: number of processes.
    """

    def __init__(
        self,
        cache: FeatureCache,
        rows: np.ndarray,
        labels: np.ndarray,
        view: View,
        *,
        batch_size: int = 4096,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.cache, self.view, self.batch_size = cache, view, batch_size
        self.rows, self.labels = torch.from_numpy(rows[rank::world]), torch.from_numpy(labels[rank::world])

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        features = self.cache.get(self.view)
        for start in range(0, len(self.rows), self.batch_size):
            rows = self.rows[start : start + self.batch_size]
            yield Batch(features[rows].float(), self.labels[start : start + self.batch_size], rows)


def _rows(passes: list[Tensor], number: Tensor, rows: Tensor) -> Tensor:
    """Row `rows[i]` of pass `number[i]`: `[B, D]`, float32."""
    if len(passes) == 1:
        return passes[0][rows].float()
    made = torch.empty(len(rows), passes[0].shape[1])
    for index, features in enumerate(passes):
        here = number == index
        made[here] = features[rows[here]].float()
    return made
