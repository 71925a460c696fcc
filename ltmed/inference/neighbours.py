"""The training images that are most similar to a network: nearest by the cosine of its encoder's features.

Letters: B images, N training images, D width of the features.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ltmed.data.batch import normalise
from ltmed.data.datamodule import DataModule
from ltmed.data.loading.loader import EvalLoader
from ltmed.runs import dataset
from ltmed.runs.reader import Run
from ltmed.utils.progress import bar


class Neighbour(NamedTuple):
    """One training image."""

    image: str
    """As the data set names it."""
    label: str
    """Class code; of several labels those that are present, joined by `|`."""
    similarity: float
    """Cosine of the features, -1 to 1."""
    row: int
    """Of the manifest."""


def open_images(run: Run) -> DataModule:
    """The data set of a run with its images decoded.

    Raises:
        UserError: the images are missing, or have changed.
    """
    data = dataset.open_dataset(run.config.copy(), run.path)
    dataset.open_images(data, run.path)
    return data


def image(data: DataModule, row: int) -> np.ndarray:
    """The network's input for one image of an opened data set in evaluation: uint8 [S, S, 3]."""
    assert data.cache is not None
    (batch,) = EvalLoader(data.cache, np.array([row]), data.manifest.labels[[row]], data.evaluation, threads=1)
    return batch.images[0].numpy().copy()


def encode(
    encoder: nn.Module, data: DataModule, rows: np.ndarray, mean: Tensor, std: Tensor, note: str = "encoding"
) -> Tensor:
    """Features [N, D], float32 on the CPU, of images of an opened data set, seen as in evaluation.

    Args:
        encoder: in evaluation mode, on the device of `mean`.
        data: opened.
        rows: [N], of the manifest.
        mean: [3], of pixels from 0 to 255.
        std: [3].
        note: before the progress bar.
    """
    assert data.cache is not None
    loader = EvalLoader(data.cache, rows, data.manifest.labels[rows], data.evaluation, threads=data.threads)
    features = []
    with torch.inference_mode(), bar(note, len(rows)) as advance:
        for batch in loader:
            features.append(encoder(normalise(batch.images.to(mean.device), mean, std)).float().cpu())
            advance(len(batch.images))
    return torch.cat(features)


class TrainingImages:
    """The features of a run's training part.

    Args:
        data: the run's data set, opened.
        encoder: of the run's network.
        mean: [3], of pixels from 0 to 255.
        std: [3].
    """

    def __init__(self, data: DataModule, encoder: nn.Module, mean: Tensor, std: Tensor) -> None:
        self.data, self.rows = data, data.split.train
        features = encode(encoder, data, self.rows, mean, std, "training images")
        self._features = functional.normalize(features, dim=1)

    def nearest(self, features: Tensor, number: int) -> list[list[Neighbour]]:
        """The training images nearest to each of B images, the most similar first.

        Args:
            features: [B, D], of the same encoder.
            number: of neighbours of each.
        """
        similarities = functional.normalize(features.float().cpu(), dim=1) @ self._features.T
        values, indices = similarities.topk(min(number, len(self.rows)), dim=1)
        return [list(self._named(*pair)) for pair in zip(values.tolist(), indices.tolist(), strict=True)]

    def _named(self, values: list[float], indices: list[int]) -> Iterator[Neighbour]:
        manifest = self.data.manifest
        for value, index in zip(values, indices, strict=True):
            row = int(self.rows[index])
            (code,) = manifest.codes(np.array([row]))
            yield Neighbour(manifest.images[row], code, value, row)
