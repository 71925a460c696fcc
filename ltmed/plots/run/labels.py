"""The labels of a run whose images carry several: average precision, precision and recall, and co-occurrence.

Letters: N test images, K labels.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from ltmed.plots import style, titles
from ltmed.plots.run.classes import points_with_bounds, size_axis
from ltmed.runs.reader import Run

MAX_NAMED_CURVES = 14
"""At most so many labels have curves, those with the most training images: two for each colour."""
_MAX_CURVE_NAME = 24
"""Letters of their names."""


@style.styled
def ap_by_positives(run: Run, title: str = "") -> Figure:
    """Average precision of each label against its positives in training, with its interval and its chance level.

    Args:
        run: with several labels; labels that are not scored are left out.
        title: above the figure.
    """
    rows, intervals = run.metrics["test"]["per_class"], run.metrics["test"]["intervals"]["per_class"]
    counts = run.metrics["split"]["counts"]["train"]
    scored = [row for row in rows if row["ap"] is not None and counts[row["class"]] > 0]
    figure = style.new_figure(4.2)
    axes = figure.add_subplot()
    for name, look in style.TIERS.items():
        members = [row for row in scored if row["tier"] == name]
        x = [counts[row["class"]] for row in members]
        bounds = [intervals[row["class"]]["ap"] for row in members]
        points_with_bounds(axes, x, [row["ap"] for row in members], bounds, look)
        axes.plot(x, [row["prevalence"] for row in members], "_", color=style.GREY, ms=9)
    if scored:
        size_axis(axes, [counts[row["class"]] for row in scored])
    axes.set(xlabel="training images with the label", ylabel="average precision (-: chance)", ylim=(-0.04, 1.04))
    axes.set_title(title)
    points = [(counts[row["class"]], float(row["ap"])) for row in scored]
    titles.name_points(axes, points, [row["class"] for row in scored], [row["tier"] for row in scored])
    return figure


@style.styled
def precision_recall(run: Run, title: str = "") -> Figure:
    """Precision against recall of the labels with the most training images, with the point of the selected threshold.

    Args:
        run: with several labels and its predictions.
        title: above the figure.
    """
    table, counts = run.predictions, run.metrics["split"]["counts"]["train"]
    scored = [row for row in run.metrics["test"]["per_class"] if row["ap"] is not None]
    plotted = sorted(scored, key=lambda row: -counts[row["class"]])[:MAX_NAMED_CURVES]
    figure = style.new_figure(4.6)
    axes = figure.add_subplot()
    names = style.labels([row["class"] for row in plotted], _MAX_CURVE_NAME)
    for number, (row, name) in enumerate(zip(plotted, names, strict=True)):
        targets, scores = (table[f"{kind}_{row['class']}"].to_numpy(float) for kind in ("label", "prob"))
        known = ~np.isnan(targets)
        recall, precision = curve(targets[known] == 1, scores[known])
        look, dashes = style.line_look(number), ("-", "--")[number // len(style.CYCLE)]
        axes.plot(recall, precision, drawstyle="steps-pre", lw=1.2, ls=dashes, color=look["color"])
        axes.plot(row["recall"], row["precision"], ls="", ms=5, **look)
        axes.plot([], [], ms=5, lw=1.2, ls=dashes, label=f"{name} {row['ap']:.2f}", **look)
    axes.set(xlabel="recall", ylabel="precision", xlim=(-0.02, 1.02), ylim=(-0.02, 1.04), title=title)
    axes.grid()
    figure.legend(loc="outside right center", title="AP", fontsize=8, handlelength=3)
    return figure


def curve(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision at each distinct score from the highest on; average precision is the area of its steps.

    Args:
        truth: bool `[N]`, with at least one positive.
        scores: float `[N]`.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    hits = truth[order].cumsum()[ends]
    return hits / truth.sum(), hits / (ends + 1)


@style.styled
def co_occurrence(run: Run, title: str = "") -> Figure:
    """Share of the test images with the label of a row that also have the label of a column, labels by size.

    Args:
        run: with several labels and its predictions; images on which either label is unknown do not count.
        title: above the figure.
    """
    table, counts = run.predictions, run.metrics["split"]["counts"]["train"]
    codes = sorted(run.classes, key=lambda code: -counts[code])
    targets = table[[f"label_{code}" for code in codes]].to_numpy(float)
    share = shares(targets)
    figure = style.new_figure(2.2 + 0.28 * min(len(codes), 40))
    axes = figure.add_subplot()
    image = axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    if len(codes) <= style.MAX_NAMED:
        names = list(style.labels(codes))
        axes.set_xticks(range(len(codes)), names, rotation=90, fontsize=8)
        axes.set_yticks(range(len(codes)), names, fontsize=8)
    if len(codes) <= MAX_NAMED_CURVES:
        for i, j in np.argwhere(~np.isnan(share)):
            colour = "white" if share[i, j] > 0.6 else "black"
            axes.text(j, i, f"{100 * share[i, j]:.0f}", ha="center", va="center", fontsize=7, color=colour)
    axes.set(xlabel="also has", ylabel="images with", title=title)
    figure.colorbar(image, ax=axes, shrink=0.8)
    return figure


def shares(targets: np.ndarray) -> np.ndarray:
    """P(label j | label i) over the images on which both are known, `[K, K]`; NaN where no image has i.

    Args:
        targets: `[N, K]` in {0, 1, NaN}.
    """
    positive, known = (targets == 1).astype(float), (~np.isnan(targets)).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (positive.T @ positive) / (positive.T @ known)
