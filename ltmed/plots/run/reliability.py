"""Reliability diagram: confidence against accuracy (Guo et al., ICML 2017, figure 1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ltmed.evaluation.metrics import ECE_BINS
from ltmed.plots import style
from ltmed.runs.reader import Run

MAX_LABELS = 12
"""At most so many labels have diagrams."""
_MAX_TITLE = 15
"""Letters of a name above its diagram, a quarter of the figure wide."""


def confidences(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """The largest probability of each test image of a run, and whether the prediction was correct.

    Raises:
        FileNotFoundError: the run's predictions are missing.
    """
    table = run.predictions
    confidence = table[[f"prob_{code}" for code in run.classes]].to_numpy().max(1)
    return confidence, (table["label"] == table["predicted"]).to_numpy()


def bin_confidences(confidence: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number of images, mean confidence and accuracy in each of `ECE_BINS` equal bins; NaN in an empty one.

    A confidence of exactly 1 counts to the last bin here, and to a bin of its own in the figure `ece`.

    Args:
        confidence: [N], largest probability of each image.
        correct: bool [N].
    """
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    number = np.bincount(bins, minlength=ECE_BINS)
    means = []
    for values in (confidence, correct):
        sums = np.bincount(bins, values.astype(float), ECE_BINS)
        means.append(np.divide(sums, number, out=np.full(ECE_BINS, np.nan), where=number > 0))
    return number, means[0], means[1]


@style.styled
def reliability_diagram(confidence: np.ndarray, correct: np.ndarray, ece: float | None, title: str = "") -> Figure:
    """Accuracy of each bin of confidence against the diagonal, and below how many images each bin has.

    Args:
        confidence: [N], largest probability of each image.
        correct: bool [N].
        ece: expected calibration error, written into the figure.
        title: above the figure.
    """
    number, mean, true = bin_confidences(confidence, correct)
    figure = style.new_figure(5.2, 4.8)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    centres, width = (np.arange(ECE_BINS) + 0.5) / ECE_BINS, 0.92 / ECE_BINS
    upper.bar(centres, true, width, color=style.BLUE, label="accuracy")
    low, high = np.fmin(mean, true), np.fmax(mean, true)
    upper.bar(
        centres, high - low, width, bottom=low, facecolor="none", edgecolor=style.VERMILLION, hatch="////", lw=0.8,
        label="gap to the confidence",
    )  # fmt: skip
    upper.plot([0, 1], [0, 1], color=style.BLACK, ls="--", lw=1, label="perfect")
    upper.set(ylabel="accuracy", ylim=(0, 1.02), xlim=(0, 1))
    lower.bar(centres, number, width, color=style.GREY)
    lower.set(xlabel="confidence (largest probability)", ylabel="images")
    for axes in (upper, lower):
        axes.grid(axis="y")
    upper.set_title("" if ece is None else f"ECE {ece:.3f}", loc="right")
    figure.legend(loc="outside upper center", ncols=3, title=title or None)
    return figure


@style.styled
def label_reliability(
    parts: Sequence[tuple[str, np.ndarray]], targets: np.ndarray, codes: Sequence[str], title: str = ""
) -> Figure:
    """One small diagram for each label: share of images with the label against its probability, by bins.

    Args:
        parts: (name, probabilities [N, K]), for instance before and after a calibration.
        targets: [N, K] in {0, 1, NaN}; unknown entries take no part.
        codes: K of the labels; at most `MAX_LABELS` of them, those with the most images, are shown.
        title: above the figure.
    """
    selected = np.sort(np.argsort(-(targets == 1).sum(0), kind="stable")[:MAX_LABELS])
    columns = min(4, len(selected))
    rows = -(-len(selected) // columns)
    figure = style.new_figure(0.9 + 1.9 * rows)
    grid = np.atleast_2d(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False))
    for axes in grid.flat[len(selected) :]:
        axes.set_visible(False)
    names = style.labels([str(codes[k]) for k in map(int, selected)], _MAX_TITLE)
    for k, text, axes in zip(map(int, selected), names, grid.flat, strict=False):
        known = ~np.isnan(targets[:, k])
        axes.plot([0, 1], [0, 1], color=style.BLACK, ls="--", lw=0.8)
        for number, (name, probabilities) in enumerate(parts):
            images, mean, share = bin_confidences(probabilities[known, k], targets[known, k] == 1)
            nonempty = images > 0
            line_style = {"color": (style.VERMILLION, style.BLUE)[number % 2], "marker": style.MARKERS[number]}
            axes.plot(mean[nonempty], share[nonempty], lw=0.8, ms=0, **line_style)
            sizes = 4 + 26 * np.sqrt(images[nonempty] / max(1, known.sum()))
            axes.scatter(mean[nonempty], share[nonempty], s=sizes, label=name, **line_style)
        axes.set_title(f"{text} ({int((targets[:, k] == 1).sum()):,})", fontsize=7.5)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.grid()
    figure.supxlabel("probability of the label", fontsize=9)
    figure.supylabel("share of images with it", fontsize=9)
    figure.legend(
        *grid.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(parts), title=title or None
    )
    return figure
