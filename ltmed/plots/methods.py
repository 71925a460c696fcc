"""What single methods learn besides their network: PCCT's centres, LMD's EM loop, ProCo's omega, AdUni's alpha."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ltmed.plots import fit, style

MOST_NUMBERED = 15


@style.styled
def centre_distances(
    centres: np.ndarray, classes: Sequence[str], counts: Sequence[int], title: str = "PCCT: distances of class centres"
) -> Figure:
    """Euclidean distances between the centres of PCCT, classes from the largest to the smallest.

    Args:
        centres: [K, E].
        classes: K names, shown up to `style.MOST_NAMED` classes.
        counts: K training images, which give the order.
        title: above the picture.
    """
    order, number = style.by_size(counts), len(classes)
    centres = np.asarray(centres, dtype=float)[order]
    between = np.sqrt(np.square(centres[:, None] - centres).sum(-1))
    side = min(9.0, 2.2 + 0.36 * number) if number <= style.MOST_NAMED else style.WIDTH
    figure = style.new_figure(side, side + 1.2)
    axes = figure.add_subplot()
    image = axes.imshow(between, cmap="cividis", vmin=0, interpolation="nearest")
    figure.colorbar(image, ax=axes, label="distance", shrink=0.8, pad=0.02)
    if number <= MOST_NUMBERED:
        for (row, column), value in np.ndenumerate(between):
            if row != column:
                text = axes.text(column, row, f"{value:.2g}", ha="center", va="center", fontsize=8, in_layout=False)
                text.set_color("black" if value > 0.6 * between.max() else "white")
    style.matrix_ticks(axes, [classes[k] for k in order])
    fit.title(figure, title)
    return figure


@style.styled
def em_trajectory(
    metrics: Mapping[str, Sequence[float]],
    before: Mapping[str, float],
    loss: Sequence[float],
    title: str = "",
    kept: int | None = None,
) -> Figure:
    """LMD's calibration, iteration by iteration: validation metrics after each M and E step, and the E step's loss.

    Args:
        metrics: J values of each metric, after iterations 1 to J.
        before: the same metrics of the network that stage 1 handed on: iteration 0.
        loss: J mean losses of the E step.
        title: above the picture.
        kept: the iteration, from 1, whose weights are the run's.
    """
    figure = style.new_figure(5.0)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    lines = {name: [before.get(name, float("nan")), *values] for name, values in metrics.items()}
    style.draw_metrics(upper, lines, first=0)
    upper.axvline(0, color=style.GREY, lw=1, ls="-.", label="network of stage 1")
    if kept is not None:
        upper.axvline(kept, color=style.GREY, lw=1, ls=":", label="weights that were kept")
        lower.axvline(kept, color=style.GREY, lw=1, ls=":")
    upper.set_ylabel("validation")
    lower.plot(range(1, len(loss) + 1), loss, color=style.BLACK, marker="o", ms=4)
    lower.set(ylabel="E step loss", xlabel="EM iteration (0: the network of stage 1)")
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (upper, lower):
        axes.grid()
    figure.legend(loc="outside upper center", ncols=4, title=title or None, handlelength=3)
    return figure


@style.styled
def omega_per_class(
    omega: Sequence[float], classes: Sequence[str], tiers: Sequence[str], counts: Sequence[int], title: str = ""
) -> Figure:
    """ProCo's running confidence of each class (Eq. 5), against its training images or, of few classes, as rows.

    Args:
        omega: K values of 0 to 1.
        classes: K names.
        tiers: K times "head", "medium" or "tail".
        counts: K training images.
        title: above the picture.
    """
    order = style.by_size(counts)
    named = len(classes) <= style.MOST_NAMED
    figure = style.new_figure(1.3 + 0.24 * len(order) if named else 4.0)
    axes = figure.add_subplot()
    handles = style.tier_handles(tiers, filled=named)
    if named:
        for place, k in enumerate(order):
            look = style.TIERS[tiers[k]]
            axes.barh(place, omega[k], 0.72, facecolor=look.colour, hatch=look.hatch, edgecolor="white")
            axes.annotate(f"{omega[k]:.3f}", (omega[k], place), (4, 0), textcoords="offset points", va="center")
        axes.set(xlim=(0, max(omega) * 1.15), xlabel="omega")
        style.class_rows(axes, style.labels(classes[k] for k in order))
    else:
        for tier, look in style.TIERS.items():
            members = [k for k in order if tiers[k] == tier]
            axes.plot(
                [counts[k] for k in members], [omega[k] for k in members], look.marker, color=look.colour, ms=4, ls=""
            )
        axes.set(xscale="log", xlabel="training images of the class", ylabel="omega")
        style.plain_numbers(axes.xaxis)
        axes.grid()
    figure.legend(handles=handles, loc="outside upper center", ncols=3, title=title or None)
    return figure


@style.styled
def alpha_curve(alpha: Sequence[float], title: str = "") -> Figure:
    """AdUni's weight of positive samples in each epoch (Eq. 3).

    Args:
        alpha: a value for each epoch.
        title: above the picture.
    """
    figure = style.new_figure(3.0)
    axes = figure.add_subplot()
    few = len(alpha) <= 60
    axes.plot(range(1, len(alpha) + 1), alpha, color=style.BLUE, marker="o" if few else None, ms=4)
    axes.set(xlabel="epoch", ylabel="alpha", ylim=(0, max(max(alpha), 1e-6) * 1.05), title=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid()
    return figure
