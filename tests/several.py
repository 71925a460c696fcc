"""A tiny data set whose images carry several labels, and a run of it, for tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

import ltmed
from ltmed.data.datamodule import DataModule
from ltmed.data.manifest import Manifest
from ltmed.runs.reader import Run

CLASSES = ("dark", "light", "red", "rare")


class Tiny(DataModule):
    """120 images of 16 x 16 pixels, two of each patient, some targets unknown."""

    name = "tiny"
    classes, class_names = CLASSES, CLASSES
    group_name = "patient"
    source, licence, layout, fetch = "made here", "none", "", ""

    def read(self, root: Path) -> Manifest:
        """Makes the images if they are not there."""
        rng = np.random.default_rng(0)
        targets = (rng.random((120, 4)) < [0.5, 0.4, 0.3, 0.2]).astype(np.float32)
        noise = rng.integers(0, 60, (120, 16, 16, 3))
        root.mkdir(parents=True, exist_ok=True)
        images = tuple(f"{k:03}.png" for k in range(120))
        for name, pixels, row in zip(images, noise, targets, strict=True):
            if not (root / name).exists():
                light = np.array([60.0, 60, 60]) + 90 * row[1] + np.array([0, 0, 60]) * row[2] - 50 * row[0]
                cv2.imwrite(str(root / name), np.clip(pixels + light, 0, 255).astype(np.uint8))
        targets[rng.random(targets.shape) < 0.1] = np.nan
        parts = np.array(["train"] * 60 + ["val"] * 30 + ["test"] * 30)
        return Manifest(
            self.name, root, images, targets, CLASSES, CLASSES, groups=np.arange(120) // 2, group_name="patient",
            parts=parts, attributes={"sex": np.array(["female", "male"], dtype=object)[np.arange(120) // 2 % 2]},
        )  # fmt: skip


def overrides(folder: Path, *further: str) -> list[str]:
    """A command for the data set that takes a second."""
    return [
        "method=erm", "loss=bce", "dataset=phantom_multi", "dataset._target_=tests.several.Tiny",
        f"dataset.root={folder / 'tiny'}", f"runs={folder / 'runs'}", f"cache_dir={folder / 'cache'}",
        "backbone=smallest", "image_size=16", "epochs=2", "batch_size=20", "trainer=cpu",
        "trainer.enable_progress_bar=false", "figures=false", *further,
    ]  # fmt: skip


def trained(folder: Path, *further: str) -> Run:
    """The finished run of a command."""
    return ltmed.train(overrides(folder, *further))
