"""PCCT: distances between the class centres that predict the class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ltmed.plots import style, titles
from ltmed.plots.run.data import RunData

MAX_NUMBERED = 15
"""Classes up to which the cells have numbers."""


def centre_distances(data: RunData, stage: str) -> Figure | None:
    """The centres of the selected checkpoint."""
    centres = data.tensor(stage, "network.classifier.centres")
    if centres is None:
        return None
    title = f"{data.title}: distances of class centres"
    return distance_matrix(centres.double().numpy(), data.classes, data.counts, title)


@style.styled
def distance_matrix(centres: np.ndarray, classes: Sequence[str], counts: Sequence[int], title: str = "") -> Figure:
    """Euclidean distances between class centres, classes from the largest to the smallest.

    Args:
        centres: [K, E].
        classes: K names, shown up to `style.MAX_NAMED` classes.
        counts: K training images, which give the order.
        title: above the figure.
    """
    order, number = style.by_size(counts), len(classes)
    centres = np.asarray(centres, dtype=float)[order]
    between = np.sqrt(np.square(centres[:, None] - centres).sum(-1))
    side = min(9.0, 2.2 + 0.36 * number) if number <= style.MAX_NAMED else style.WIDTH
    figure = style.new_figure(side, side + 1.2)
    axes = figure.add_subplot()
    image = axes.imshow(between, cmap="cividis", vmin=0, interpolation="nearest")
    figure.colorbar(image, ax=axes, label="distance", shrink=0.8, pad=0.02)
    if number <= MAX_NUMBERED:
        for (row, column), value in np.ndenumerate(between):
            if row != column:
                cell = axes.text(column, row, f"{value:.2g}", ha="center", va="center", fontsize=8, in_layout=False)
                cell.set_color("black" if value > 0.6 * between.max() else "white")
    style.matrix_ticks(axes, [classes[k] for k in order])
    titles.title(figure, title)
    return figure
