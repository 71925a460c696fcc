"""How training went: loss, validation metrics and learning rate, epoch by epoch, a column for each stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ltmed.plots import style


@dataclass(frozen=True)
class StageCurves:
    """What one stage logged."""

    name: str
    loss: Sequence[float]
    """Mean training loss of each epoch."""
    metrics: Mapping[str, Sequence[float]]
    """Validation metrics of each epoch by name."""
    selected: int | None = None
    """The epoch whose weights the stage handed on, from 0."""
    rate: tuple[Sequence[float], Sequence[float]] = field(default=((), ()))
    """Epochs, fractions included, and learning rates; empty if unknown."""


@style.styled
def training_curves(stages: Sequence[StageCurves], title: str = "") -> Figure:
    """A column for each stage; validation metrics have one axis over all stages, losses and rates have their own.

    Args:
        stages: in the order in which they were trained; those without a number are left out.
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
    marker = "o" if len(stage.loss) <= style.MOST_MARKED else ""
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
    axes.plot(epochs, rates, color=style.BLUE, lw=1.2)
    axes.set_ylim(0, 1.05 * max(rates) or None)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 3), useMathText=False)


def _metrics(axes: Axes, stage: StageCurves) -> None:
    style.plot_metrics(axes, stage.metrics)
    if stage.selected is not None:
        axes.axvline(stage.selected + 1, color=style.GREY, lw=1, ls=":", label="selected weights")


def _share_range(axes: list[Axes]) -> None:
    low, high = min(one.get_ylim()[0] for one in axes), max(one.get_ylim()[1] for one in axes)
    for one in axes:
        one.set_ylim(low, high)
