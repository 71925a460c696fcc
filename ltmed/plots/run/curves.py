"""Training, epoch by epoch: loss, validation metrics and learning rate of each stage; the loss of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ltmed.plots import style, titles


@dataclass(frozen=True)
class StageCurves:
    """The logged curves of one stage."""

    name: str
    loss: Sequence[float]
    """Mean training loss of each epoch."""
    metrics: Mapping[str, Sequence[float]]
    """Validation metrics of each epoch by name."""
    selected: int | None = None
    """The selected epoch, counted from 0."""
    rate: tuple[Sequence[float], Sequence[float]] = field(default=((), ()))
    """Epochs, fractions included, and learning rates; empty if unknown."""


@style.styled
def training_curves(stages: Sequence[StageCurves], title: str = "") -> Figure:
    """A column for each stage; validation metrics have one axis over all stages, losses and rates have their own.

    Args:
        stages: in the order of training; those without logged values are left out.
        title: above the figure.

    Raises:
        ValueError: no stage has logged anything.
    """
    stages = [stage for stage in stages if stage.loss or stage.metrics]
    if not stages:
        raise ValueError("no stage has logged anything")
    rows = 3 if any(stage.rate[0] for stage in stages) else 2
    figure = style.new_figure(2.1 * rows + 0.8, max(style.WIDTH, 3.2 * len(stages) + 0.6))
    grid = figure.subplots(rows, len(stages), squeeze=False, sharex="col")
    for column, stage in zip(grid.T, stages, strict=True):
        column[0].set_title(style.label(stage.name))
        _loss(column[0], stage)
        _metrics(column[1], stage)
        if rows == 3:
            _rate(column[2], stage)
        column[-1].set_xlabel("epoch")
        column[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        for axes in column:
            axes.grid()
    _share_range(list(grid[1]))
    for axes, label in zip(grid[:, 0], ("training loss", "validation", "learning rate"), strict=False):
        axes.set_ylabel(label)
    handles = {}
    for axes in grid[1]:
        lines, names = axes.get_legend_handles_labels()
        handles.update(zip(names, lines, strict=True))
    figure.legend(
        handles.values(), handles.keys(), loc="outside upper center", ncols=3, title=title or None, handlelength=3
    )
    return figure


def _loss(axes: Axes, stage: StageCurves) -> None:
    marker = "o" if len(stage.loss) <= style.MAX_MARKED else ""
    axes.plot(range(1, len(stage.loss) + 1), stage.loss, color=style.BLACK, lw=1.2, marker=marker, ms=3)
    positive = [value for value in stage.loss if value > 0]
    if len(positive) == len(stage.loss) > 0 and max(positive) > 100 * min(positive):
        axes.set_yscale("log")
        style.plain_numbers(axes.yaxis)
    if stage.selected is not None:
        axes.axvline(stage.selected + 1, color=style.GREY, lw=1, ls=":")


def _rate(axes: Axes, stage: StageCurves) -> None:
    epochs, rates = stage.rate
    if not rates:
        axes.text(0.5, 0.5, "unknown", ha="center", transform=axes.transAxes)
        return
    marker = "o" if len(rates) <= style.MAX_MARKED else ""  # Of one epoch there is a point and no line.
    axes.plot(epochs, rates, color=style.BLUE, lw=1.2, marker=marker, ms=3)
    axes.set_ylim(0, 1.05 * max(rates) or None)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 3), useMathText=False)


def _metrics(axes: Axes, stage: StageCurves) -> None:
    style.plot_metrics(axes, stage.metrics)
    if stage.selected is not None:
        axes.axvline(stage.selected + 1, color=style.GREY, lw=1, ls=":", label="selected weights")


def _share_range(axes: list[Axes]) -> None:
    low, high = min(ax.get_ylim()[0] for ax in axes), max(ax.get_ylim()[1] for ax in axes)
    for ax in axes:
        ax.set_ylim(low, high)


MAX_LINES = 12
"""Up to so many classes have lines in the legend; of more it lists the tiers and their means."""
Losses = Mapping[str, Sequence[tuple[int, float]]]
"""Class code -> (epoch from 0, mean training loss)."""


@style.styled
def class_losses(
    panels: Mapping[str, Losses], classes: Sequence[str], tiers: Sequence[str], counts: Sequence[int], title: str = ""
) -> Figure:
    """Mean training loss of each class over epochs, as in figure 2 of the AdUni paper, a panel for each stage or run.

    Every panel has its own scale: losses of different methods cannot be compared, but their differences between
    classes can.

    Args:
        panels: name of a stage or run -> its losses.
        classes: K codes.
        tiers: K times "head", "medium" or "tail".
        counts: K training images, which give the order of the classes.
        title: above the figure.
    """
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = style.new_figure(0.6 + 2.6 * rows, max(style.WIDTH, 3.2 * columns + 0.6))
    grid = figure.subplots(rows, columns, squeeze=False)
    order = style.by_size(counts)
    few, shades = len(classes) <= MAX_LINES, style.class_shades(order, tiers)
    for index, axes in enumerate(grid.flat):
        if index >= len(panels):
            axes.remove()
            continue
        name, losses = list(panels.items())[index]
        for k in order:
            points = losses.get(classes[k], ())
            look = style.TIERS[tiers[k]]
            marker = look.marker if few and len(points) <= style.MAX_MARKED else ""
            x, y = [epoch + 1 for epoch, _ in points], [loss for _, loss in points]
            axes.plot(x, y, color=shades[k], lw=1.3 if few else 0.4, marker=marker, ms=3)
        if not few:
            _tier_means(axes, losses, classes, tiers)
        axes.set_ylim(0, None)
        axes.set_title(style.label(name, 60), fontsize=9)
        axes.set_xlabel("epoch" if index + columns >= len(panels) else "")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid()
    for axes in grid[:, 0]:
        axes.set_ylabel("training loss")
    names = style.labels(classes[k] for k in order)
    handles = [
        Line2D(
            [], [], color=shades[k], marker=style.TIERS[tiers[k]].marker, ms=4, label=f"{name}, {counts[k]:,} images"
        )
        for k, name in zip(order, names, strict=True)
    ]
    if not few:
        handles = [
            Line2D([], [], color=style.TIERS[tier].colour, lw=2, label=f"{tier}, mean of classes")
            for tier in style.TIERS
            if tier in tiers
        ]
    titles.legend(figure, handles, title)
    return figure


def _tier_means(axes: Axes, losses: Losses, classes: Sequence[str], tiers: Sequence[str]) -> None:
    for tier, look in style.TIERS.items():
        members = [code for code, class_tier in zip(classes, tiers, strict=True) if class_tier == tier]
        of_epoch: dict[int, list[float]] = {}
        for epoch, loss in (point for code in members for point in losses.get(code, ())):
            of_epoch.setdefault(epoch, []).append(loss)
        epochs = sorted(of_epoch)
        axes.plot([e + 1 for e in epochs], [float(np.mean(of_epoch[e])) for e in epochs], color=look.colour, lw=2.2)
