"""B11: what a data set of a million images costs besides its pixels: table, evaluation, intervals, kept features.

Processor seconds of one core and the growth of the process's memory; `B9` has splits and samplers. The table is of a
tenth of the images, whose (empty) files are made in a temporary folder, since a million of them would take minutes.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ltmed.data.augment import EvaluationView
from ltmed.data.cache.features import FeatureCache, View
from ltmed.data.cache.images import ImageCache
from ltmed.data.loading.feature_loader import FeatureTrainLoader
from ltmed.data.readers.manifest import ManifestFile
from ltmed.data.samplers.single import InstanceSampler
from ltmed.data.splits.protocols import grouped
from ltmed.evaluation.bootstrap import bootstrap
from ltmed.evaluation.metrics import Evaluation, evaluate
from ltmed.nn.frozen import Frozen
from tests.bench.timing import extra_memory

IMAGES, CLASSES, WIDTH = 1_000_000, 15, 384


def report(name: str, step: Callable[[], Any]) -> None:
    """Runs a step once."""
    seconds = 0.0

    def timed() -> None:
        nonlocal seconds
        begun = time.process_time()
        step()
        seconds = time.process_time() - begun

    memory = extra_memory(timed)
    print(f"B11 {name}: {seconds:.1f} s of one core, {memory:.0f} MiB", flush=True)


def read_table(folder: Path, images: int) -> None:
    """A table with image, label and patient."""
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    labels, patients = rng.integers(0, CLASSES, images), rng.integers(0, images // 4, images)
    lines = ["image,label,patient"]
    for row in range(images):
        name = f"images/{row:08d}.png"
        (folder / name).touch()
        lines.append(f"{name},class {labels[row]:02d},p{patients[row]}")
    (folder / "manifest.csv").write_text("\n".join(lines))
    report(
        f"{images:,} images, table read, files matched, split by patient",
        lambda: ManifestFile(
            root=str(folder), image_size=224, split=grouped, evaluation=EvaluationView(size=224), cache_dir="/nowhere"
        ),
    )


def scored(images: int) -> Evaluation:
    """Predictions of so many images."""
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(images, CLASSES, generator=generator).softmax(1)
    labels = torch.randint(CLASSES, (images,), generator=generator)
    return Evaluation(probabilities, labels, torch.arange(images), tuple(f"c{k}" for k in range(CLASSES)))


class Nothing(torch.nn.Module):
    """Stands for an encoder whose features are there."""

    num_features = WIDTH


def cached_features(folder: Path) -> None:
    """An epoch over the features of a million images, as ViT-S has them."""
    images = ImageCache(np.broadcast_to(np.zeros((1, 8, 8, 3), np.uint8), (IMAGES, 8, 8, 3)), name="big")  # pyright: ignore
    cache = FeatureCache(Frozen(Nothing()).model, {}, mean=(0.5,) * 3, std=(0.5,) * 3, folder=folder, dtype="float16")
    cache.images = images
    view = View(EvaluationView(size=8), "centre")
    file, about = cache._file(view, 0)
    file.parent.mkdir(parents=True)
    np.save(file, np.ones((IMAGES, WIDTH), np.float16))
    file.with_suffix(".json").write_text(__import__("json").dumps(about))
    labels = np.arange(IMAGES) % CLASSES
    sampler = InstanceSampler(labels, 1024, 1, 0)
    loader = FeatureTrainLoader(cache, np.arange(IMAGES), labels, sampler, [view], passes=None, seed=0)
    report(f"{IMAGES:,} kept features of width {WIDTH}, an epoch in batches of 1,024", lambda: [None for _ in loader])


def main(rounds: int = 1) -> None:
    """Prints a line for each step; `rounds` is not used."""
    tiers = {"head": [0, 1, 2, 3, 4], "medium": [5, 6, 7, 8, 9], "tail": [10, 11, 12, 13, 14]}
    with tempfile.TemporaryDirectory() as folder:
        read_table(Path(folder), IMAGES // 10)
    whole, test = scored(IMAGES), scored(IMAGES // 5)
    report(f"{IMAGES:,} predictions scored", lambda: evaluate(whole, tiers))
    patients = np.arange(IMAGES // 5) // 4
    report(
        f"{IMAGES // 5:,} test images, 1,000 resamples", lambda: bootstrap(test, tiers, groups=patients, unit="patient")
    )
    with tempfile.TemporaryDirectory() as folder:
        cached_features(Path(folder))


if __name__ == "__main__":
    main()
