"""Counts of classes are those of the training part, in the data module and in every stage that gets them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch

from ltmed import train
from ltmed.data.augment import EvaluationView
from ltmed.data.datamodule import DataModule
from ltmed.data.manifest import Manifest
from ltmed.data.splits.protocols import random
from ltmed.nn.heads import Linear
from ltmed.nn.network import Network
from tests.data.manifests import manifest_of
from tests.methods.small import Encoder
from tests.test_presets import composed

LABELS = np.repeat(np.arange(3), (60, 20, 10))


class Toy(DataModule):
    """A table without images."""

    name = "toy"

    def read(self, root: Path) -> Manifest:
        return manifest_of(LABELS)


def data_module() -> Toy:
    return Toy(
        root="/toy", image_size=8, split=partial(random, test=0.3), evaluation=EvaluationView(8), cache_dir="/nowhere"
    )


def test_counts_are_those_of_the_training_part() -> None:
    data = data_module()
    expected = [int((data.manifest.labels[data.split.train] == label).sum()) for label in range(3)]
    assert data.counts.tolist() == expected
    assert (data.counts < data.manifest.counts).all()


def test_a_stage_has_the_counts_of_the_training_part(tmp_path: Path) -> None:
    data, cfg = data_module(), composed("method=erm", "pixels.mean=[0.5,0.5,0.5]", "pixels.std=[0.5,0.5,0.5]")
    stage = train._build_stage(cfg, "train", cfg.method.stages.train, Network(Encoder(), Linear, 3), data, tmp_path)
    assert stage.class_counts.tolist() == torch.bincount(torch.from_numpy(LABELS[data.split.train])).tolist()
    assert stage.class_counts.sum() == len(data.split.train) < len(LABELS)
