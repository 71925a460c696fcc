"""What more loader threads cost beside a busy main thread: crops and flips at 224 px, batches of 64.

The main thread runs small operations for 20 ms per batch, as one that starts the kernels of a GPU does; or it only
takes the batches. The images are noise in memory: nothing waits for a disk.
"""

from __future__ import annotations

import statistics
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from ltmed.data.augment import Compose, HorizontalFlip, RandomCrop, VerticalFlip
from ltmed.data.loading.loader import TrainLoader
from ltmed.data.samplers.single import InstanceSampler

NUMBER, BATCH, CACHED, SIDE = 4000, 64, 256, 224
THREADS = (1, 2, 4, 16)
BUSY = 0.02
"""Seconds of the main thread per batch."""


def _loader(pixels: np.ndarray, threads: int) -> TrainLoader:
    labels = np.zeros(NUMBER, np.int64)
    augment = Compose(crop=RandomCrop(SIDE), horizontal=HorizontalFlip(0.5), vertical=VerticalFlip(0.5))
    cache: Any = SimpleNamespace(pixels=pixels)
    sampler = InstanceSampler(labels=labels, batch_size=BATCH, epochs=1, seed=0)
    return TrainLoader(cache, np.arange(NUMBER), labels, sampler, augment, seed=0, threads=threads)


def _epoch(loader: TrainLoader, busy: float) -> tuple[float, float]:
    """Images a second, and operations a second of the main thread while it is busy."""
    layer, features = torch.nn.Linear(64, 64), torch.randn(64, 64)
    images, operations, begun = 0, 0, time.perf_counter()
    for batch in loader:
        images += len(batch.images)
        end = time.perf_counter() + busy
        while time.perf_counter() < end:
            layer(features)
            operations += 1
    seconds = time.perf_counter() - begun
    return images / seconds, operations / (images / BATCH * busy) if busy else 0.0


def main(rounds: int = 5) -> None:
    """Prints both rates for each number of threads."""
    torch.set_num_threads(1)
    pixels = np.random.default_rng(0).integers(0, 255, (NUMBER, CACHED, CACHED, 3), np.uint8)
    loaders = {threads: _loader(pixels, threads) for threads in THREADS}
    for busy in (0.0, BUSY):
        turns = [{threads: _epoch(loader, busy) for threads, loader in loaders.items()} for _ in range(rounds)]
        for threads in THREADS:
            images, operations = (statistics.median(turn[threads][n] for turn in turns) for n in (0, 1))
            beside = f", {operations:,.0f} operations/s of the busy main thread" if busy else ""
            print(f"{threads} threads: {images:,.0f} images/s{beside}", flush=True)
