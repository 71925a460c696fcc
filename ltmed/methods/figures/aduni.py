"""AdUni: the weight of positive samples."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ltmed.plots import style
from ltmed.plots.run.data import RunData


def alpha(data: RunData, stage: str) -> Figure | None:
    """Alpha as it was logged in each epoch."""
    values = data.series(f"{stage}/train/alpha")
    return alpha_curve(values, f"{data.title}: weight of positives") if values else None


@style.styled
def alpha_curve(alpha: Sequence[float], title: str = "") -> Figure:
    """The weight of positive samples in each epoch (Eq. 3).

    Args:
        alpha: a value for each epoch.
        title: above the figure.
    """
    figure = style.new_figure(3.0)
    axes = figure.add_subplot()
    marker = "o" if len(alpha) <= style.MAX_MARKED else None
    axes.plot(range(1, len(alpha) + 1), alpha, color=style.BLUE, marker=marker, ms=4)
    axes.set(xlabel="epoch", ylabel="alpha", ylim=(0, max(max(alpha), 1e-6) * 1.05), title=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid()
    return figure
