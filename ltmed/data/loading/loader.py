"""Batches of augmented images from the cache, loaded by threads of this process.

OpenCV and NumPy release the GIL, so that threads scale, and unlike worker processes they need not copy pixels between
processes. Worker processes are an option for augmentations that hold the GIL (`ltmed.data.loading.workers`).
The random stream of an image is a function of its position in the epoch: pixels do not depend on the number of threads
and processes.

Letters: B images in a batch of this process, S the side of a cached image, H and W of a view.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch

from ltmed.data.augment import Augmentation
from ltmed.data.batch import Batch
from ltmed.data.cache.images import ImageCache
from ltmed.data.loading.pace import Pace
from ltmed.data.loading.ring import Ring
from ltmed.data.loading.workers import Step, in_processes
from ltmed.data.samplers.single import EpochAware, Sampler, shard
from ltmed.data.threads import keep_opencv_sequential, usable_cores
from ltmed.errors import UserError
from ltmed.utils.seeding import derive

_AHEAD = 2
"""Batches prefetched while one is consumed: the second keeps all threads busy at the end of the first."""
_RING = _AHEAD + 5
"""The prefetched batches, the current one, the previous one (a `for` loop still holds it), three in copy to a GPU."""
_CHUNK = 16


class TrainLoader(EpochAware):
    """This rank's part of every training batch of an epoch, in order.

    Args:
        cache: the images.
        rows: int64 [n], rows of the cache that form the training part.
        labels: [n, ...], their targets.
        sampler: yields the positions in the training part that form each batch.
        augment: the augmentation of all views; or a list with one for each view.
        views: views of each image, 1 or 2.
        seed: of the augmentation.
        rank: this process's number.
        world: number of processes; each gets an equal slice of every batch.
        threads: None takes as many as keep up with the consumer, at most one per usable core, divided among the
            processes of this machine.
        workers: processes that load the batches instead of threads; 0 for none.
        pin_memory: page-lock the batches, for a CUDA device.
        parts: number of parts of each batch of this process (gradient accumulation).

    Raises:
        UserError: the batch cannot be divided evenly among the processes, or the numbers of augmentations and views
            differ.
    """

    def __init__(
        self,
        cache: ImageCache,
        rows: np.ndarray,
        labels: np.ndarray,
        sampler: Sampler,
        augment: Augmentation | Sequence[Augmentation],
        *,
        views: int = 1,
        seed: int,
        rank: int = 0,
        world: int = 1,
        threads: int | None = None,
        workers: int = 0,
        pin_memory: bool = False,
        parts: int = 1,
    ) -> None:
        self.rows, self.labels, self.seed, self.rank, self.world = rows, labels, seed, rank, world
        self.parts = parts
        self._sampler, self.complete_from = sampler, sampler.complete_from
        per_process = shard(sampler.batches(0), rank, world, parts).shape[1]
        self.images_per_process = per_process
        augments = list(augment) if isinstance(augment, Sequence) else [augment] * views
        if len(augments) != views:
            raise UserError(
                f"{len(augments)} augmentations for {views} views of an image",
                "Give one for all views, or one for each.",
            )
        self._stream = _Stream(cache, augments, per_process, _pace(threads, world), pin_memory, workers)

    def __len__(self) -> int:
        return self._sampler.steps * self.parts

    def __iter__(self) -> Iterator[Batch]:
        # Everything is lazy up to the first batch: Lightning sets the epoch only then.
        batches = self._sampler.batches(self.epoch)
        all_stream_ids = shard(np.arange(batches.size).reshape(batches.shape), self.rank, self.world, self.parts)
        shards = shard(batches, self.rank, self.world, self.parts)
        steps = (
            Step(self.rows[positions], self.labels[positions], stream_ids)
            for positions, stream_ids in zip(shards, all_stream_ids, strict=True)
        )
        yield from self._stream.run(steps, derive(self.seed, "augment", self.epoch))


class EvalLoader:
    """Every image of a part exactly once over all ranks: this rank has `rows[rank::world]`, which may be empty.

    Args:
        cache: the images.
        rows: int64 [n], rows of the cache.
        labels: [n, ...], their targets.
        augment: the evaluation view; if it is random, the stream is a function of the image's row.
        batch_size: images in a batch of this process; the last one may be smaller.
        rank: this process's number.
        world: number of processes.
        threads: None takes as many as keep up with the consumer, at most one per usable core, divided among the
            processes of this machine.
        workers: processes that load the batches instead of threads; 0 for none.
        pin_memory: page-lock the batches, for a CUDA device.
        key: of the random streams.
    """

    def __init__(
        self,
        cache: ImageCache,
        rows: np.ndarray,
        labels: np.ndarray,
        augment: Augmentation,
        *,
        batch_size: int = 128,
        rank: int = 0,
        world: int = 1,
        threads: int | None = None,
        workers: int = 0,
        pin_memory: bool = False,
        key: int = 0,
    ) -> None:
        self.rows, self.labels = rows[rank::world], labels[rank::world]
        self.batch_size, self.key = batch_size, key
        self._stream = _Stream(cache, [augment], batch_size, _pace(threads, world), pin_memory, workers)

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        starts = range(0, len(self.rows), self.batch_size)
        parts = (slice(start, start + self.batch_size) for start in starts)
        yield from self._stream.run((Step(self.rows[p], self.labels[p], self.rows[p]) for p in parts), self.key)


class _Pending(NamedTuple):
    """A batch that is being filled."""

    buffer: np.ndarray
    step: Step
    tasks: list[Future[None]]


class _Stream:
    """Fills buffers [views, B, H, W, 3] by threads and yields them in order."""

    def __init__(
        self,
        cache: ImageCache,
        augments: list[Augmentation],
        batch: int,
        pace: Pace,
        pin_memory: bool,
        workers: int,
    ) -> None:
        sides = {augment.size or cache.pixels.shape[1] for augment in augments}
        if len(sides) > 1:
            raise UserError(
                f"The views of a batch would have {sorted(sides)} pixels a side", "Give their crops one size."
            )
        (side,) = sides
        self.pixels = cache.pixels
        self.augments, self.pace, self.workers = augments, pace, workers
        self.ring = Ring((len(augments), batch, side, side, 3), _RING, pin_memory)

    def run(self, steps: Iterable[Step], key: int) -> Iterator[Batch]:
        """Yields the batches of `steps`; its threads or processes end with the iterator, also after an error."""
        if self.workers:
            yield from in_processes(self._make, list(steps), key, self.workers, self.ring.pin_memory)
        else:
            yield from self._run_threads(steps, key)

    def _run_threads(self, steps: Iterable[Step], key: int) -> Iterator[Batch]:
        keep_opencv_sequential()
        steps, stop, pending = iter(steps), threading.Event(), deque[_Pending]()
        pools = _Pools(self.pace)
        try:
            pending.extend(self._begin(pools, step, key, stop) for step in islice(steps, _AHEAD))
            left = None
            while pending:
                asked = time.perf_counter()
                for task in pending[0].tasks:
                    task.result()
                if left is not None:  # Before the first batch everybody waits.
                    self.pace.record(time.perf_counter() - asked, asked - left)
                pending.extend(self._begin(pools, step, key, stop) for step in islice(steps, 1))
                if len(pending) == 1:
                    pools.shutdown()  # A consumer that counts batches never resumes after the last one.
                left = time.perf_counter()
                yield self._finish(pending.popleft())  # Held nowhere else, so that its buffer is soon free.
        finally:
            stop.set()
            pools.shutdown(cancel_futures=True)

    def _make(self, step: Step, key: int) -> Batch:
        """A whole batch, filled by the calling thread."""
        buffer = np.empty((len(self.augments), len(step.rows), *self.ring.shape[2:]), np.uint8)
        self._fill(buffer, step, slice(0, len(step.rows)), key, threading.Event())
        return self._finish(_Pending(buffer, step, []))

    def _begin(self, pools: _Pools, step: Step, key: int, stop: threading.Event) -> _Pending:
        buffer, number, pool = self.ring.take(), len(step.rows), pools.current
        chunk = max(1, min(_CHUNK, self.ring.shape[1] // self.pace.threads))
        parts = [slice(start, min(start + chunk, number)) for start in range(0, number, chunk)]
        return _Pending(buffer, step, [pool.submit(self._fill, buffer, step, part, key, stop) for part in parts])

    def _fill(self, buffer: np.ndarray, step: Step, part: slice, key: int, stop: threading.Event) -> None:
        streams = _RandomStreams(key)
        rows, stream_ids = step.rows[part].tolist(), step.places[part].tolist()
        for index, row, stream_id in zip(range(part.start, part.stop), rows, stream_ids, strict=True):
            if stop.is_set():
                return
            image = self.pixels[row]
            for view, augment in enumerate(self.augments):
                augment(image, streams.of(2 * stream_id + view), buffer[view, index])

    def _finish(self, pending: _Pending) -> Batch:
        views, number = torch.from_numpy(pending.buffer), len(pending.step.rows)
        return Batch(
            images=views[0, :number],
            labels=torch.tensor(pending.step.labels),
            indices=torch.tensor(pending.step.rows),
            views=views[1, :number] if len(self.augments) == 2 else None,
        )


class _Pools:
    """Threads in the number that the pace asks for; those of before finish what they have."""

    def __init__(self, pace: Pace) -> None:
        self._pace, self._size = pace, 0
        # Threads of a pool end with the interpreter, even if an unfinished iterator is still referenced.
        self._pools: list[ThreadPoolExecutor] = []

    @property
    def current(self) -> ThreadPoolExecutor:
        """The pool for the next batch."""
        if self._size != self._pace.threads:
            self.shutdown(wait=False)
            self._size = self._pace.threads
            self._pools.append(ThreadPoolExecutor(self._size, thread_name_prefix="ltmed-loader"))
        return self._pools[-1]

    def shutdown(self, wait: bool = True, cancel_futures: bool = False) -> None:
        """Ends the threads of all pools."""
        for pool in self._pools:
            pool.shutdown(wait, cancel_futures=cancel_futures)


class _RandomStreams:
    """One generator that is reset to an independent stream for every view.

    Philox is a function of a key and a counter (Salmon et al. 2011), so that independent streams need no hashing:
    setting the state takes 2 us, a new generator 20 us.
    """

    def __init__(self, key: int) -> None:
        self._philox = np.random.Philox(key=0)
        self._generator = np.random.Generator(self._philox)
        self._state = self._philox.state
        self._key = self._state["state"]["key"]
        self._key[0] = key

    def of(self, stream_id: int) -> np.random.Generator:
        """The generator at the start of stream `stream_id`; the next call invalidates it."""
        self._key[1] = stream_id
        self._philox.state = self._state
        return self._generator


def _pace(threads: int | None, world: int) -> Pace:
    """At most one thread per core, divided among the processes of this machine (LOCAL_WORLD_SIZE, else all)."""
    if threads:
        return Pace(threads, fixed=True)
    return Pace(usable_cores(int(os.environ.get("LOCAL_WORLD_SIZE", world))))
