"""The picture of a run that needs its images and its network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ltmed.plots import features
from ltmed.runs.reader import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def encode_test_images(run: Run, most: int = features.MOST_IMAGES) -> tuple[np.ndarray, np.ndarray]:
    """Encoder features [N, D] of test images and their class indices [N].

    Args:
        run: a finished run, on a machine that has its images and its checkpoint.
        most: large classes give up images beyond about so many.

    Raises:
        UserError: the images are not where they were, or are other ones.
    """
    import torch

    from ltmed.data.batch import normalise
    from ltmed.data.loader import EvalLoader
    from ltmed.inference.restore import load_network
    from ltmed.runs.dataset import open_dataset

    cfg = run.config.copy()
    data = open_dataset(cfg, run.path)
    data.open()
    assert data.cache is not None
    test = data.split.test
    rows = test[features.choose_images(data.manifest.labels[test], most)]
    labels = data.manifest.labels[rows]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder = load_network(run).encoder.to(device)
    mean, std = (255 * torch.tensor(list(values), device=device) for values in (cfg.pixels.mean, cfg.pixels.std))
    found = []
    with torch.no_grad():
        for batch in EvalLoader(data.cache, rows, labels, data.evaluation, threads=data.threads):
            found.append(encoder(normalise(batch.images.to(device), mean, std)).float().cpu())
    return torch.cat(found).numpy(), labels


def feature_picture(run: Run, how: features.Embedding) -> Figure:
    """t-SNE or UMAP of the encoder's features of test images.

    Args:
        run: as for `encode_test_images`.
        how: "tsne" or "umap".

    Raises:
        UserError: see `encode_test_images` and `ltmed.plots.features.embed`.
    """
    found, labels = encode_test_images(run)
    about = run.found["run"]
    spelling = {"tsne": "t-SNE", "umap": "UMAP"}[how]
    repetition = f"fold {about['fold']}, seed {about['seed']}"
    title = f"{about['method']} on {about['dataset']}, {repetition}: {spelling} of {len(labels):,} test images"
    tiers = [row["tier"] for row in run.found["test"]["per_class"]]
    counts = list(run.found["split"]["counts"]["train"].values())
    return features.feature_map(features.embed(found, how), labels, run.classes, tiers, counts, title)
