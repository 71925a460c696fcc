"""Curves of decisions: ROC and precision-recall with an operating point, net benefit, and coverage of sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ltmed.evaluation.operating_points import curve
from ltmed.evaluation.sets import MEANING
from ltmed.evaluation.thresholds import Scores, decision_curve
from ltmed.plots import style

MAX_THRESHOLD = 0.6
"""Largest threshold of a decision curve; larger ones are not used in practice."""


@style.styled
def operating_curves(test: Scores, k: int, points: Sequence[Mapping[str, Any]], title: str = "") -> Figure:
    """ROC and precision-recall of one class on test images, the operating points with their intervals.

    Args:
        test: calibrated scores.
        k: the class; some test images are of it, and some are not.
        points: of this class, as `ltmed.evaluation.thresholds.operating_point`.
        title: above the figure.
    """
    judged = test.of(k)
    scores, truth = judged.scores, judged.truth
    _, sensitivity, specificity = curve(scores, truth)
    positives, negatives = sensitivity * truth.sum(), (1 - specificity) * (~truth).sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = positives / (positives + negatives)
    figure = style.new_figure(3.9)
    left, right = figure.subplots(1, 2)
    left.plot(1 - specificity, sensitivity, color=style.BLUE, lw=1.6)
    left.plot([0, 1], [0, 1], color=style.GREY, ls=":", lw=1)
    left.set(xlabel="1 - specificity", ylabel="sensitivity", title="ROC")
    right.plot(sensitivity, precision, color=style.BLUE, lw=1.6)
    right.axhline(float(truth.mean()), color=style.GREY, ls=":", lw=1)
    right.set(xlabel="sensitivity", ylabel="positive predictive value", title="precision and recall")
    for number, point in enumerate(point for point in points if point["test"] is not None):
        # Equal points overlap: the first stay visible around the later ones.
        marker_style: dict[str, Any] = {
            "color": style.CYCLE[1 + number % 6], "marker": style.MARKERS[number % 9], "ms": max(4.0, 9 - 3 * number),
        }  # fmt: skip
        rates = point["test"]
        name = (
            "Youden" if point["target"] is None else f"{point['criterion']} {100 * point['target']:g} % on validation"
        )
        for axes, x, y in ((left, "specificity", "sensitivity"), (right, "sensitivity", "ppv")):
            _point(
                axes,
                rates[x],
                rates[y],
                marker_style,
                mirrored=x == "specificity",
                label=name if axes is left else None,
            )
    for axes in (left, right):
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.grid()
    figure.legend(loc="outside upper center", ncols=2, title=title or None)
    return figure


def _point(
    axes: Any,
    x: Mapping[str, Any],
    y: Mapping[str, Any],
    marker_style: dict[str, Any],
    *,
    mirrored: bool,
    label: str | None,
) -> None:
    if x["value"] is None or y["value"] is None:
        return
    position = 1 - x["value"] if mirrored else x["value"]
    bounds = [1 - bound for bound in reversed(x["interval"])] if mirrored else x["interval"]
    # From bound to bound: an interval of resamples need not contain the value.
    axes.plot(bounds, [y["value"]] * 2, color=marker_style["color"], lw=1.1)
    axes.plot([position] * 2, y["interval"], color=marker_style["color"], lw=1.1)
    axes.plot([position], [y["value"]], ls="", label=label, **marker_style)


@style.styled
def net_benefits(test: Scores, k: int, points: Sequence[Mapping[str, Any]], title: str = "") -> Figure:
    """Decision curve of one class on test images (Vickers and Elkin 2006), thresholds of the points as lines.

    Args: as for `operating_curves`.
    """
    truth = test.of(k).truth
    benefits = decision_curve(test, k, np.linspace(0.005, MAX_THRESHOLD, 240))
    prevalence = float(truth.mean())
    figure = style.new_figure(3.6)
    axes = figure.add_subplot()
    axes.plot(benefits["thresholds"], benefits["model"], color=style.BLUE, lw=1.8, label="the network")
    axes.plot(benefits["thresholds"], benefits["all"], color=style.ORANGE, ls="--", lw=1.3, label="act on every image")
    axes.plot(benefits["thresholds"], benefits["none"], color=style.BLACK, ls=":", lw=1.3, label="act on none")
    for number, point in enumerate(point for point in points if point["threshold"] is not None):
        if point["threshold"] < MAX_THRESHOLD:
            name = "Youden" if point["target"] is None else f"{point['criterion']} {100 * point['target']:g} %"
            width = max(1.0, 3 - number)
            axes.axvline(point["threshold"], color=style.CYCLE[1 + number % 6], lw=width, label=f"threshold, {name}")
    top = max(prevalence, float(benefits["model"].max()))
    axes.set(
        xlim=(0, MAX_THRESHOLD), ylim=(-0.25 * top, 1.15 * top), xlabel="threshold of the calibrated probability",
        ylabel="net benefit",
    )  # fmt: skip
    axes.grid()
    figure.legend(loc="outside upper center", ncols=3, title=title or None)
    return figure


@style.styled
def coverage_by_tier(sets: Mapping[str, Any], title: str = "") -> Figure:
    """Coverage of each kind of set in head, medium and tail with intervals, and the mean size of sets.

    Args:
        sets: as `ltmed.evaluation.sets.conformal_sets`.
        title: above the figure.
    """
    kinds = sets["kinds"]
    figure = style.new_figure(1.5 + 0.46 * len(kinds))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2.4, 1))
    for row, kind in enumerate(kinds):
        for offset, (tier, cell) in zip((-0.22, 0, 0.22), kind["tiers"].items(), strict=True):
            value, look = cell["coverage"]["value"], style.TIERS[tier]
            if value is None:
                continue
            low, high = cell["coverage"]["interval"]
            left.plot([low, high], [row + offset] * 2, color=look.colour, lw=1.3)
            left.plot([value], [row + offset], color=look.colour, marker=look.marker, ms=6, ls="")
        size = kind["mean_size"]
        right.barh(row, size["value"], height=0.6, color=style.GREY)
        right.annotate(f"{size['value']:.2f}", (size["value"], row), (4, 0), textcoords="offset points", va="center")
    left.axvline(sets["target"], color=style.BLACK, ls="--", lw=1)
    style.class_rows(left, [f"{MEANING[kind['score']]}, {MEANING[kind['condition']]}" for kind in kinds])
    left.set(xlim=(0, 1.02), xlabel="coverage on test images, with 95 % interval")
    right.set(xlabel="classes per set", xlim=(0, 1.25 * max(kind["mean_size"]["value"] for kind in kinds)))
    right.tick_params(axis="y", length=0)
    figure.legend(handles=style.tier_handles(list(kinds[0]["tiers"])), loc="outside upper center", ncols=3,
                  title=title or None)  # fmt: skip
    return figure


@style.styled
def operating_points(points: Sequence[Mapping[str, Any]], title: str = "") -> Figure:
    """Sensitivity and specificity of every operating point on test images, with intervals, one row for each.

    Args:
        points: rows of class and `ltmed.evaluation.thresholds.operating_point`; those without test rates are left out.
        title: above the figure.
    """
    tested = [point for point in points if point["test"] is not None]
    figure = style.new_figure(1.2 + 0.27 * len(tested))
    axes = figure.add_subplot()
    looks = {"sensitivity": (style.BLUE, "o", -0.14), "specificity": (style.ORANGE, "s", 0.14)}
    for row, point in enumerate(tested):
        for name, (colour, marker, offset) in looks.items():
            cell = point["test"][name]
            if cell["value"] is None:
                continue
            axes.plot(cell["interval"], [row + offset] * 2, color=colour, lw=1.4)
            axes.plot([cell["value"]], [row + offset], color=colour, marker=marker, ms=5, ls="")
    codes = list(dict.fromkeys(str(point["class"]) for point in tested))
    short = dict(zip(codes, style.labels(codes), strict=True))
    names = [
        f"{short[point['class']]}, "
        + ("Youden" if point["target"] is None else f"{point['criterion']} {100 * point['target']:g} %")
        for point in tested
    ]
    style.class_rows(axes, names)
    for name, (colour, marker, _) in looks.items():
        axes.plot([], [], color=colour, marker=marker, ms=5, lw=1.4, label=name)
    axes.set(xlim=(0, 1.02), xlabel="on test images, with 95 % interval")
    figure.legend(loc="outside upper center", ncols=2, title=title or None)
    return figure
