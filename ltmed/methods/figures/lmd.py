"""LMD: validation metrics of the EM iterations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ltmed.plots import style
from ltmed.plots.run.data import RunData


def em_trajectory(data: RunData, stage: str) -> Figure | None:
    """Metrics of the EM stage, starting from the network of the stage before it."""
    metrics = data.validation(stage)
    if not metrics:
        return None
    names = list(data.stages)
    before = {}
    if index := names.index(stage):
        earlier = names[index - 1]
        epoch = data.selected_epoch(earlier)
        if epoch is not None:
            logged = data.validation(earlier)
            before = {metric: values[epoch] for metric, values in logged.items() if epoch < len(values)}
    epoch = data.selected_epoch(stage)
    losses, selected = data.series(f"{stage}/train/loss"), None if epoch is None else epoch + 1
    return trajectory(metrics, before, losses, f"{data.title}: EM calibration", selected)


@style.styled
def trajectory(
    metrics: Mapping[str, Sequence[float]],
    before: Mapping[str, float],
    loss: Sequence[float],
    title: str = "",
    selected: int | None = None,
) -> Figure:
    """Validation metrics after each M and E step, and the E step's loss.

    Args:
        metrics: J values of each metric, after iterations 1 to J.
        before: the same metrics of the network of stage 1: iteration 0.
        loss: J mean losses of the E step.
        title: above the figure.
        selected: the iteration, from 1, of the selected checkpoint.
    """
    figure = style.new_figure(5.0)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    lines = {name: [before.get(name, float("nan")), *values] for name, values in metrics.items()}
    style.plot_metrics(upper, lines, first=0)
    upper.axvline(0, color=style.GREY, lw=1, ls="-.", label="network of stage 1")
    if selected is not None:
        upper.axvline(selected, color=style.GREY, lw=1, ls=":", label="selected weights")
        lower.axvline(selected, color=style.GREY, lw=1, ls=":")
    upper.set_ylabel("validation")
    lower.plot(range(1, len(loss) + 1), loss, color=style.BLACK, marker="o", ms=4)
    lower.set(ylabel="E step loss", xlabel="EM iteration (0: the network of stage 1)")
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (upper, lower):
        axes.grid()
    figure.legend(loc="outside upper center", ncols=4, title=title or None, handlelength=3)
    return figure
