"""Predictions of several networks for the same images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ltmed.data.manifest import Manifest
from ltmed.inference.parts import Labelled, joined


def test_members_that_could_not_read_the_same_images_are_joined_by_image():
    images = tuple(f"{row}.png" for row in range(5))
    manifest = Manifest(name="x", root=Path("/x"), images=images, labels=np.array([0, 1, 0, 1, 0]), classes=("a", "b"),
                        class_names=("a", "b"))  # fmt: skip

    def part(rows: list[int], member: int) -> Labelled:
        probabilities = torch.tensor([[[row / 10 + member, 1 - row / 10] for row in rows]])
        labels = torch.from_numpy(manifest.labels[rows])
        return Labelled(manifest, probabilities, labels, torch.tensor(rows), ("a", "b"))

    found = joined([part([0, 1, 3, 4], 0), part([0, 2, 3, 4], 1)])  # As many, but not the same.
    assert found.rows.tolist() == [0, 3, 4]
    assert found.labels.tolist() == [0, 1, 0]
    assert found.members[:, :, 0].tolist() == torch.tensor([[0, 0.3, 0.4], [1, 1.3, 1.4]]).tolist()
