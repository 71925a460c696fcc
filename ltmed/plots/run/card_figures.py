"""The figures of a run's card."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.figure import Figure

from ltmed.plots.embedded import embedded
from ltmed.plots.run.figures import figures
from ltmed.report.card import FIGURES
from ltmed.report.renderers.html import EmbeddedFigure
from ltmed.runs.reader import Run

_CAPTIONS = {
    "class_distribution": "Images of each class in each part of the split",
    "recall_by_size": "Recall of each class, the largest first, with its interval",
    "confusion_matrix": "Confusion matrix of the test part",
    "reliability": "Reliability: confidence against accuracy on the test part",
}
_WIDE = ("class_distribution", "recall_by_size")


def card_figures(run: Run) -> dict[str, EmbeddedFigure]:
    """Name -> figure, for all that `ltmed.report.card.FIGURES` places.

    A figure that cannot be plotted is a warning and stops no other.

    Args:
        run: finished.
    """
    plots = figures(run)
    found = {}
    for name in (name for names in FIGURES.values() for name in names):
        plot = _required(plots[name])
        for figure in embedded(_CAPTIONS[name], _CAPTIONS[name], plot, wide=name in _WIDE):
            found[name] = figure
    return found


def _required(plot: Callable[[], Figure | None]) -> Callable[[], Figure]:
    def plotted() -> Figure:
        figure = plot()
        assert figure is not None  # Every run has what these figures need.
        return figure

    return plotted
