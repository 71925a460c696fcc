"""Recall of the classes of one run against their sizes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from ltmed.plots import style

MOST_THICK = 30
"""Classes up to which points and intervals are drawn large."""


@style.styled
def recall_by_size(
    recall: Sequence[float | None],
    intervals: Sequence[Sequence[float | None]],
    classes: Sequence[str],
    tiers: Sequence[str],
    counts: Sequence[int],
    title: str = "",
) -> Figure:
    """Recall of each class against its training images, with its interval.

    Args:
        recall: K values, None where undefined.
        intervals: K pairs of bounds.
        classes: K names.
        tiers: K times "head", "medium" or "tail".
        counts: K training images.
        title: above the picture.
    """
    there = [k for k in style.by_size(counts) if recall[k] is not None]
    figure = style.new_figure(4.2)
    axes = figure.add_subplot()
    thin = len(there) > MOST_THICK
    for name, look in style.TIERS.items():
        members = [k for k in there if tiers[k] == name]
        x, y = [counts[k] for k in members], [float(recall[k] or 0) for k in members]
        bounds = [[y_k if b is None else b for b in intervals[k]] for k, y_k in zip(members, y, strict=True)]
        spread = np.abs(np.array(bounds).reshape(-1, 2).T - np.array(y))
        axes.errorbar(
            x, y, spread, ls="", marker=look.marker, color=look.colour, ms=4 if thin else 7, lw=0.5 if thin else 1.2,
                    )  # fmt: skip
    size_axis(axes, counts)
    axes.set(ylabel="recall", ylim=(-0.04, 1.04), title=title)
    points = [(counts[k], float(recall[k] or 0)) for k in there]
    style.name_points(axes, points, [classes[k] for k in there], [tiers[k] for k in there])
    return figure


def size_axis(axes: Axes, counts: Sequence[int]) -> None:
    """Makes the x axis one of training images, logarithmic."""
    axes.set_xscale("log")
    # Room on the right for the names of the largest classes.
    axes.set_xlim(min(counts) / 1.4, max(counts) * (max(counts) / min(counts)) ** 0.14 * 1.4)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(counts) < 300 * min(counts) else (1,)))
    style.plain_numbers(axes.xaxis)
    axes.set_xlabel("training images of the class")
    axes.grid()
