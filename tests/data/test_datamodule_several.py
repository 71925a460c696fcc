"""Labels of several findings on their way from the table to the batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ltmed.data.augment import EvaluationView
from ltmed.data.datamodule import DataModule, StageData
from ltmed.data.manifest import Manifest
from ltmed.data.samplers.repeat_factor import RepeatFactorSampler
from ltmed.data.splits.protocols import official
from tests.data.images import encoded, folder_of, picture

LABELS = np.array([[1, 0, np.nan], [0, 0, 0], [1, 1, 0], [0, 1, 0]] * 3, np.float32)
PARTS = np.array(["train"] * 8 + ["val"] * 2 + ["test"] * 2)


class Toy(DataModule):
    """Twelve images with any of three labels, the last of which no image is known to have."""

    name = "toy"

    def read(self, root: Path) -> Manifest:
        actual = folder_of(root, {f"{n:02d}.png": encoded(picture(n, 20, 20), "PNG") for n in range(12)})
        return replace(actual, labels=LABELS, classes=("a", "b", "c"), class_names=("a", "b", "c"), parts=PARTS)


def test_targets_counts_and_unknowns_reach_the_batch(tmp_path):
    with pytest.warns(UserWarning, match="1 of 3 labels have no positive training image"):
        data = Toy(
            root=str(tmp_path / "data"), image_size=16, cache_scale=1.0, split=official, evaluation=EvaluationView(16),
            cache_dir=str(tmp_path / "cache"),
        )  # fmt: skip
    assert data.multilabel
    assert data.counts.tolist() == [4, 4, 0]
    assert data.tiers["tail"] == [2]
    assert any("(c)" in text for text in data.warnings)
    data.open()
    data.use(StageData(4, 1, RepeatFactorSampler, EvaluationView(16), epochs=1, seed=0))
    for rank in (0, 1):
        for batch in data.train_loader(rank, 2):
            assert batch.labels.dtype == torch.float32
            np.testing.assert_array_equal(batch.labels.numpy(), LABELS[batch.indices.numpy()])
            assert batch.labels.shape == (2, 3)
