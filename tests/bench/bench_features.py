"""B10: an epoch of a frozen EfficientNet-Lite0 at 112 px, with the encoder in every step and on kept features.

Both are `trainer.fit` of the same stage on the same images, batches of 128, random weights; the times are of whole
epochs, with a validation at the end of each. The first extraction is not counted: it costs an epoch with the encoder.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from ltmed.data.augment import EvaluationView
from ltmed.data.cache.features import FeatureCache, View
from ltmed.data.cache.images import ImageCache
from ltmed.data.loading.feature_loader import FeatureEvalLoader, FeatureTrainLoader
from ltmed.data.loading.loader import EvalLoader, TrainLoader
from ltmed.data.samplers.single import InstanceSampler
from ltmed.losses.classification import cross_entropy
from ltmed.methods.erm import ERM
from ltmed.nn.encoder import timm_encoder
from ltmed.nn.frozen import Frozen
from ltmed.nn.heads import Linear
from ltmed.nn.network import Network
from ltmed.training.context import StageContext

IMAGES, SIDE, SEEN, CLASSES, BATCH = 1024, 128, 112, 7, 128
GOAL = 100.0
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


class Data(pl.LightningDataModule):
    """Seven eighths of the images to train on, the rest to validate.

    Args:
        images: decoded.
        features: in place of them, or None.
    """

    def __init__(self, images: ImageCache, features: FeatureCache | None) -> None:
        super().__init__()
        self.images, self.features = images, features
        self.rows, self.labels = np.arange(IMAGES), np.arange(IMAGES) % CLASSES
        self.cut, self.view = IMAGES * 7 // 8, View(EvaluationView(size=SEEN), "centre")

    def train_dataloader(self) -> Any:
        rows, labels = self.rows[: self.cut], self.labels[: self.cut]
        sampler = InstanceSampler(labels, BATCH, 1, 0)
        if self.features is None:
            return TrainLoader(self.images, rows, labels, sampler, self.view.augment, seed=0)
        return FeatureTrainLoader(self.features, rows, labels, sampler, [self.view], passes=None, seed=0)

    def val_dataloader(self) -> Any:
        rows, labels = self.rows[self.cut :], self.labels[self.cut :]
        if self.features is None:
            return EvalLoader(self.images, rows, labels, self.view.augment)
        return FeatureEvalLoader(self.features, rows, labels, self.view)


def epoch(encoder: Frozen, data: Data, epochs: int) -> float:
    """Seconds of one of so many epochs."""
    context = StageContext(
        name="train", seed=0, epochs=epochs, classes=tuple("abcdefg"), counts=torch.ones(CLASSES, dtype=torch.long),
        tiers={"head": [0], "medium": [1], "tail": [2]}, mean=MEAN, std=STD, optimizer=partial(torch.optim.SGD, lr=0.1),
    )  # fmt: skip
    stage = ERM(Network(encoder, Linear, CLASSES), context, loss=cross_entropy)
    trainer = pl.Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    started = time.perf_counter()
    trainer.fit(stage, datamodule=data)
    return (time.perf_counter() - started) / epochs


def main(rounds: int = 3) -> None:
    """Prints both times and their ratio, the median of interleaved rounds."""
    pixels: Any = np.random.default_rng(0).integers(0, 256, (IMAGES, SIDE, SIDE, 3), np.uint8)
    images, encoder = ImageCache(pixels, name="bench"), Frozen(timm_encoder("tf_efficientnet_lite0"))
    ratios, slow, fast = [], 0.0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        features = FeatureCache(encoder.model, {}, mean=MEAN, std=STD, folder=Path(folder))
        features.images = images
        features.get(Data(images, None).view)
        for _ in range(rounds):
            slow, fast = epoch(encoder, Data(images, None), 1), epoch(encoder, Data(images, features), 20)
            ratios.append(slow / fast)
    ratio = statistics.median(ratios)
    print(
        f"B10 frozen encoder, {IMAGES * 7 // 8} images: an epoch with the encoder {slow:.1f} s, on kept features "
        f"{1e3 * fast:.0f} ms, ratio {ratio:.0f} (goal >= {GOAL:g} {'met' if ratio >= GOAL else 'MISSED'})",
        flush=True,
    )


if __name__ == "__main__":
    main()
