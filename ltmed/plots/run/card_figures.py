"""The figures of a run's card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from ltmed.evaluation.calibration import Platt
from ltmed.inference.card_results import CardResults, card_results
from ltmed.plots.embedded import embedded
from ltmed.plots.run import decisions, reliability, subgroups
from ltmed.plots.run.figures import figures
from ltmed.report.card import FIGURES, card
from ltmed.report.renderers.card import render_html
from ltmed.report.renderers.html import EmbeddedFigure
from ltmed.runs.reader import Run
from ltmed.utils.files import write_atomic

_CAPTIONS = {
    "class_distribution": "Images of each class in each part of the split",
    "recall_by_size": "Recall of each class against its training images, with its interval",
    "confusion_matrix": "Confusion matrix of the test part",
    "ap_by_positives": "Average precision of each label against its training images, with its interval",
    "precision_recall": "Precision and recall of the test part, with the point of the run's threshold",
    "reliability": "Reliability on the test part: what was predicted against what happened",
    "operating_curves": "Sensitivity and specificity of the operating points on the test part, with intervals",
    "subgroups": "Subgroups of the test part, with intervals",
}
_WIDE = ("class_distribution", "recall_by_size", "operating_curves", "subgroups")
"""And the reliability of several labels, which is a diagram of each."""


def card_figures(run: Run, results: CardResults) -> dict[str, EmbeddedFigure]:
    """Name -> figure, for all of `ltmed.report.card.FIGURES` that the run has.

    A figure that cannot be plotted causes a warning and does not prevent others.

    Args:
        run: finished.
        results: as for `ltmed.report.card.card`.
    """
    plots: dict[str, Callable[[], Figure | None]] = {**figures(run)}
    if run.multilabel and results.predictions is not None:
        plots["reliability"] = lambda: _label_reliability(results)
    if results.decisions is not None:
        plots["operating_curves"] = lambda: decisions.operating_points((results.decisions or {})["points"])
    single = [report for report in results.subgroups if ":" not in report["metric"]]
    if single:
        metric = single[0]["metric"]
        overall = run.metrics["test"]["scalars"][metric]
        reports = [report for report in single if report["metric"] == metric]
        plots["subgroups"] = lambda: subgroups.forest(reports, overall)
    wide = (*_WIDE, "reliability") if run.multilabel else _WIDE
    embedded_figures = {}
    for name in (name for names in FIGURES.values() for name in names if name in plots):
        for figure in embedded(_CAPTIONS[name], _CAPTIONS[name], _required(plots[name]), wide=name in wide):
            embedded_figures[name] = figure
    return embedded_figures


def write_html(run: Run, file: Path) -> None:
    """Writes the card as one page that needs no other file.

    Raises:
        OSError: it cannot be written.
    """
    results = card_results(run)
    write_atomic(file, render_html(card(run, results), card_figures(run, results)))


def _label_reliability(results: CardResults) -> Figure:
    test = results.predictions
    assert test is not None
    parts = [("as predicted", test.probabilities)]
    if results.decisions is not None:
        scaling = Platt.from_dict(results.decisions["calibration"]["platt"], test.classes)
        parts.append(("calibrated", scaling(test.probabilities)))
    return reliability.label_reliability(parts, test.labels, test.classes)


def _required(plot: Callable[[], Figure | None]) -> Callable[[], Figure]:
    def plotted() -> Figure:
        figure = plot()
        assert figure is not None  # Every run of its kind has the data of these figures.
        return figure

    return plotted
