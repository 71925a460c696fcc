"""Batches of cached features instead of images.

Letters: N images of the data set, n of a part, B in a batch of this process, D width of the encoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ltmed.data.batch import Batch
from ltmed.data.cache.features import FeatureCache, View, is_random
from ltmed.data.samplers.single import EpochAware, Sampler, shard
from ltmed.errors import UserError
from ltmed.utils.seeding import derive

_HINT = (
    "Use a deterministic view (augment=none), cache several passes of it (features.views=4), or compute "
    "features in every step (features.cache=false)."
)


class FeatureTrainLoader(EpochAware):
    """This rank's part of every training batch of an epoch, as `TrainLoader`, but of features `[B, D]`.

    Args:
        cache: the features; they are computed before the first iteration.
        rows: int64 [n], rows of the data set that form the training part.
        labels: [n, ...], their targets.
        sampler: yields the positions in the training part that form each batch.
        views: one or two, in the order of the batch's views.
        passes: number of cached passes of a random view; an epoch takes each image from a random pass. None: views
            must be deterministic.
        seed: of the random passes.
        rank: this process's number.
        world: number of processes.
        parts: number of parts of each batch of this process (gradient accumulation).

    Raises:
        UserError: a view is random and `passes` is None; the two views of an image would be identical.
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
        self.complete_from = sampler.complete_from
        self.parts = parts
        self.images_per_process = shard(sampler.batches(0), rank, world, parts).shape[1]
        random_views = [is_random(view.augment, cache.images.pixels.shape[1]) for view in views]
        if any(random_views) and passes is None:
            raise UserError("The features of a frozen backbone are cached, but augment is random", _HINT)
        self.passes = [(passes or 1) if random_view else 1 for random_view in random_views]
        same_view = len(views) == 2 and views[0].described == views[1].described
        if same_view and self.passes[0] < 2:
            raise UserError("The method compares two views of an image, and the cached features have one", _HINT)
        self.distinct = same_view

    def __len__(self) -> int:
        return self._sampler.steps * self.parts

    def prepare(self) -> None:
        """Computes the features that are not cached yet."""
        for view, passes in zip(self.views, self.passes, strict=True):
            for number in range(passes):
                self.cache.get(view, number)

    def __iter__(self) -> Iterator[Batch]:
        batches = self._sampler.batches(self.epoch)
        pass_numbers = [
            torch.from_numpy(shard(one, self.rank, self.world, self.parts))
            for one in self._sample_passes(batches.shape)
        ]
        shards = torch.from_numpy(np.ascontiguousarray(shard(batches, self.rank, self.world, self.parts)))
        labels, views = torch.from_numpy(self.labels), self._features()
        for step, positions in enumerate(shards):
            rows = self.rows[positions]
            features = [_rows(view, number[step], rows) for view, number in zip(views, pass_numbers, strict=True)]
            yield Batch(features[0], labels[positions], rows, features[1] if len(features) == 2 else None)

    def _features(self) -> list[list[Tensor]]:
        """The passes of every view, each `[N, D]`."""
        return [
            [self.cache.get(view, number) for number in range(passes)]
            for view, passes in zip(self.views, self.passes, strict=True)
        ]

    def _sample_passes(self, shape: tuple[int, ...]) -> list[np.ndarray]:
        """For every view the pass of each image of the epoch, int64 `[steps, B]`, the same on all ranks."""
        rng = np.random.default_rng(derive(self.seed, "features", self.epoch))
        numbers = [rng.integers(passes, size=shape) for passes in self.passes]
        if self.distinct:
            passes = self.passes[0]
            numbers[1] = (numbers[0] + 1 + rng.integers(passes - 1, size=shape)) % passes
        return numbers


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
    features = torch.empty(len(rows), passes[0].shape[1])
    for index, pass_features in enumerate(passes):
        mask = number == index
        features[mask] = pass_features[rows[mask]].float()
    return features
