"""Maps of the encoder's features: the figures of runs that need their images and their networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from ltmed.errors import UserError, suggest
from ltmed.plots import features
from ltmed.plots.run.data import RunData
from ltmed.runs.reader import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = get_args(Part)
_PART_NAMES = {"train": "training", "val": "validation", "test": "test"}
_DISPLAY_NAMES = {"tsne": "t-SNE", "umap": "UMAP"}


def encode(
    run: Run, part: Part = "test", classes: Sequence[str] = (), limit: int = features.MAX_IMAGES
) -> tuple[np.ndarray, np.ndarray]:
    """Encoder features [N, D] of images, seen as in evaluation, and their class indices [N].

    Args:
        run: a finished run, on a machine that has its images and its checkpoint.
        part: of the split.
        classes: codes of the classes; none takes all.
        limit: the approximate number of images; large classes are subsampled first.

    Raises:
        UserError: a run of several labels, a class is unknown, too few images, or the images are missing or changed.
    """
    if run.multilabel:
        raise UserError(
            "A map of features has a colour for the one class of each image, and these carry several labels"
        )
    import torch

    from ltmed.inference import neighbours
    from ltmed.inference.restore import load_network

    selected = class_indices(run, classes)
    data = neighbours.open_images(run)
    rows = data.split.parts[part]
    if selected:
        rows = rows[np.isin(data.manifest.labels[rows], selected)]
    if len(rows) < 3:
        raise UserError(
            f"{len(rows)} images of {run.path} are too few for a map", "Choose another part or more classes."
        )
    rows = rows[features.choose_images(data.manifest.labels[rows], limit)]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder = load_network(run).encoder.to(device)
    pixels = run.config.pixels
    mean, std = (255 * torch.tensor(list(values), device=device) for values in (pixels.mean, pixels.std))
    return neighbours.encode(encoder, data, rows, mean, std).numpy(), data.manifest.labels[rows]


def class_indices(run: Run, codes: Sequence[str]) -> list[int]:
    """Indices of class codes.

    Raises:
        UserError: the run has no such class.
    """
    for code in codes:
        if code not in run.classes:
            raise UserError(f"--class: {run.path} has no class '{code}'", suggest(code, run.classes))
    return [run.classes.index(code) for code in codes]


def require_same_classes(runs: Sequence[Run]) -> None:
    """Raises UserError if runs of one figure have different classes: its colours and names are those of the first."""
    first, *others = runs
    for run in others:
        if run.classes != first.classes:
            raise UserError(f"{run.path} has other classes than {first.path}", "Compare runs of one data set.")


def feature_figure(run: Run, embedding: features.Embedding, part: Part = "test", classes: Sequence[str] = ()) -> Figure:
    """t-SNE or UMAP of the encoder's features of a run's images.

    Args:
        run: as for `encode`.
        embedding: "tsne" or "umap".
        part: of the split.
        classes: codes; none takes all.

    Raises:
        UserError: see `encode` and `ltmed.plots.features.embed`.
    """
    points = _points(run, "", embedding, part, classes)
    data = RunData(run)
    title = f"{data.title}: {_DISPLAY_NAMES[embedding]} of {len(points.labels):,} {_PART_NAMES[part]} images"
    return features.feature_map([points], data.classes, data.tiers, data.counts, title, class_indices(run, classes))


def side_by_side(
    runs: dict[str, Run], embedding: features.Embedding, part: Part = "test", classes: Sequence[str] = ()
) -> Figure:
    """The same for several runs: a panel with its own map for each.

    Args:
        runs: title -> run.
        embedding: "tsne" or "umap".
        part: of the split.
        classes: codes; none takes all.

    Raises:
        UserError: the runs have different classes; or see `encode`.
    """
    require_same_classes(list(runs.values()))
    first = next(iter(runs.values()))
    points = [_points(run, title, embedding, part, classes) for title, run in runs.items()]
    data = RunData(first)
    title = f"{_DISPLAY_NAMES[embedding]} of {_PART_NAMES[part]} images: {first.metrics['run']['dataset']}"
    return features.feature_map(points, data.classes, data.tiers, data.counts, title, class_indices(first, classes))


def _points(run: Run, title: str, embedding: features.Embedding, part: Part, classes: Sequence[str]) -> features.Points:
    vectors, labels = encode(run, part, classes)
    return features.Points(title, features.embed(vectors, embedding), labels)
