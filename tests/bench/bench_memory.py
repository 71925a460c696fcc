"""The memory of a run on 150,000 images: 2 GiB for the process must do, whatever the data set weighs.

Both stores of the cache are gone through once by TrainLoader, in random order, and once by EvalLoader. The raw pixels
are 2.3 GB, so that a copy of them in memory would show. Counted is what belongs to the process alone (RssAnon); pages
of mapped files are the machine's file cache, which it takes back when it needs them. The files are made without
decoding: the one of raw pixels is sparse, and the JPEGs repeat.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ltmed.data.augment import CenterCrop, RandomCrop
from ltmed.data.cache.images import ImageCache
from ltmed.data.cache.store import JPEG, JPEGS, PIXELS, RAW, SPANS, Store
from ltmed.data.loading.loader import EvalLoader, TrainLoader
from ltmed.data.samplers.single import InstanceSampler
from tests.bench.loading import timed
from tests.bench.timing import memory

IMAGES, SIDE, CROP, BATCH, DIFFERENT = 150_000, 72, 64, 500, 100
SHAPE = (IMAGES, SIDE, SIDE, 3)
GOAL_MIB = 2048


def write_raw(folder: Path) -> None:
    """Zeros, which take no room on the disk."""
    with (folder / PIXELS).open("wb") as file:
        file.truncate(int(np.prod(SHAPE)))


def write_jpegs(folder: Path) -> None:
    """A few JPEGs over and over."""
    rng = np.random.default_rng(0)
    with JPEG.writing(folder, SHAPE) as keep:
        for row in range(DIFFERENT):
            keep(row, np.full(SHAPE[1:], rng.integers(0, 256, 3), np.uint8))
    spans = np.fromfile(folder / SPANS, np.int64).reshape(-1, 2)[:DIFFERENT]
    size, times = (folder / JPEGS).stat().st_size, IMAGES // DIFFERENT
    data = (folder / JPEGS).read_bytes()
    with (folder / JPEGS).open("wb") as file:
        for _ in range(times):
            file.write(data)
    starts = np.repeat(np.arange(times) * size, DIFFERENT)
    (np.tile(spans, (times, 1)) + np.stack([starts, 0 * starts], 1)).tofile(folder / SPANS)


def peak(cache: ImageCache) -> int:
    """Most KiB that belonged to this process while one epoch of training and one of evaluation were loaded."""
    rows, labels = np.arange(IMAGES), np.arange(IMAGES) % 7
    sampler = InstanceSampler(labels, batch_size=BATCH, epochs=1, seed=0)
    train = TrainLoader(cache, rows, labels, sampler, RandomCrop(CROP), seed=0)
    test = EvalLoader(cache, rows, labels, CenterCrop(CROP), batch_size=BATCH)

    def used() -> Iterator[int]:
        observed = 0
        for loader in (train, test):
            for step, batch in enumerate(loader):
                observed += len(batch.images)
                if step % 10 == 0:
                    yield memory("RssAnon")
        assert observed == 2 * IMAGES

    return max(used())


def main(rounds: int = 1) -> None:
    """Prints the peak for both stores."""
    stores: dict[str, tuple[Store, Callable[[Path], None]]] = {"raw": (RAW, write_raw), "JPEG": (JPEG, write_jpegs)}
    for name, (store, write) in stores.items():
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder))
            before, most = memory("RssAnon") / 1024, []
            pixels = store.open(Path(folder), SHAPE)
            assert pixels is not None
            cache = ImageCache(pixels)
            wall, cpu = timed(lambda: most.extend(peak(cache) for _ in range(rounds)))  # noqa: B023
        highest = max(most) / 1024
        print(
            f"memory, {IMAGES:,} images, {name}: {highest:.0f} MiB, {before:.0f} of them before (goal <= {GOAL_MIB} "
            f"MiB {'met' if highest <= GOAL_MIB else 'MISSED'}); wall {wall / rounds:.1f} s, CPU {cpu / rounds:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1, help="how often both are gone through")
    main(parser.parse_args().rounds)
