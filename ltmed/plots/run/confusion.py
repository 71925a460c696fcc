"""The confusion matrix: which classes are predicted for which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ltmed.plots import style, titles

MAX_NUMBERED = 25
"""Up to so many classes have numbers in their cells."""


@style.styled
def confusion_matrix(
    confusion: Sequence[Sequence[int]],
    classes: Sequence[str],
    tiers: Sequence[str],
    counts: Sequence[int],
    title: str = "",
) -> Figure:
    """Shares of each true class in percent, classes from the largest to the smallest, lines between the tiers.

    Args:
        confusion: K x K test images, row = true class, column = predicted class; the row of an absent class is blank.
        classes: K names, shown up to `style.MAX_NAMED` classes.
        tiers: K times "head", "medium" or "tail".
        counts: K training images, which give the order.
        title: above the figure.
    """
    order, number = style.by_size(counts), len(classes)
    matrix = np.asarray(confusion, dtype=float)[np.ix_(order, order)]
    totals = matrix.sum(1, keepdims=True)
    shares = np.divide(100 * matrix, totals, out=np.full_like(matrix, np.nan), where=totals > 0)
    side = min(10.0, 2.4 + 0.42 * number) if number <= style.MAX_NAMED else style.WIDTH
    figure = style.new_figure(side, side + 1.2)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, interpolation="nearest")
    figure.colorbar(image, ax=axes, label="% of the true class", shrink=0.8, pad=0.02)
    if number <= MAX_NUMBERED:
        _numbers(axes, shares, size=9 if number <= 10 else 6.5)
    style.matrix_ticks(axes, [classes[k] for k in order])
    _tier_lines(axes, [tiers[k] for k in order])
    axes.spines[:].set_visible(True)
    axes.set(xlabel="predicted", ylabel="true")
    titles.title(figure, title)  # Not the title of the axes: the names of the tiers are there.
    return figure


def _numbers(axes: Axes, shares: np.ndarray, size: float) -> None:
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.5:
            cell = axes.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=size, in_layout=False)
            cell.set_color("white" if share > 55 else "black")


def _tier_lines(axes: Axes, tiers: list[str]) -> None:
    """Only where every class of one tier is larger than those of the next; listed tiers need not be."""
    ends = [k for k in range(1, len(tiers)) if tiers[k] != tiers[k - 1]]
    if len(ends) >= len(set(tiers)):
        return
    for end in ends:
        axes.axhline(end - 0.5, color=style.BLACK, lw=0.8)
        axes.axvline(end - 0.5, color=style.BLACK, lw=0.8)
    for start, end in zip([0, *ends], [*ends, len(tiers)], strict=True):
        axes.text(
            (start + end - 1) / 2, -0.6, tiers[start], ha="center", va="bottom", fontsize=8,
            color=style.TIERS[tiers[start]].colour,
        )  # fmt: skip
