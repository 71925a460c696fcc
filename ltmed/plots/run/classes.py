"""The classes of one run by their size: images in each part of the split, and recall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from ltmed.plots import style, titles

MAX_THICK = 30
"""Up to so many classes have large points and intervals."""
_PARTS = {"val": ("D", style.GREY), "test": ("|", style.BLACK)}


@style.styled
def class_distribution(
    counts: Mapping[str, Sequence[int]], classes: Sequence[str], tiers: Sequence[str], title: str = ""
) -> Figure:
    """Bars of training images on a logarithmic axis, largest class first, with marks for the other parts.

    Up to `style.MAX_NAMED` classes are rows with their names and numbers; more are columns without names.

    Args:
        counts: images per class of the parts; "train" must be there, "val" and "test" are shown if they are.
        classes: K names.
        tiers: K times "head", "medium" or "tail".
        title: above the figure.
    """
    order = style.by_size(counts["train"])
    return (_rows if len(classes) <= style.MAX_NAMED else _columns)(counts, classes, tiers, order, title)


def _rows(
    counts: Mapping[str, Sequence[int]], classes: Sequence[str], tiers: Sequence[str], order: list[int], title: str
) -> Figure:
    train = [counts["train"][k] for k in order]
    figure = style.new_figure(1.3 + 0.24 * len(order))
    axes = figure.add_subplot()
    bars = axes.barh(range(len(order)), train, height=0.72)
    for bar, k in zip(bars, order, strict=True):
        tier_style = style.TIERS[tiers[k]]
        bar.set(facecolor=tier_style.colour, hatch=tier_style.hatch, edgecolor="white")
    top = max(max(values) for values in counts.values())
    for row, number in enumerate(train):
        # Beyond the marks of the other parts, which may lie right of the bar's end.
        edge = max(number, *(counts[part][order[row]] for part in _PARTS if part in counts), 1)
        axes.annotate(f"{number:,}", (edge, row), (6, 0), textcoords="offset points", va="center", fontsize=8)
    for part, (marker, colour) in _PARTS.items():
        if part in counts:
            values = [counts[part][k] or float("nan") for k in order]
            mark: dict[str, Any] = {"ms": 5, "mec": "white", "mew": 0.8} if marker == "D" else {"ms": 9, "mew": 1.6}
            axes.plot(values, range(len(order)), marker, color=colour, label=part, **mark)
    axes.set(xscale="log", xlim=(0.7, top * 2.2), xlabel="images")
    style.plain_numbers(axes.xaxis)
    style.class_rows(axes, style.labels(classes[k] for k in order))
    _legend(figure, axes, tiers, title)
    return figure


def _columns(
    counts: Mapping[str, Sequence[int]], classes: Sequence[str], tiers: Sequence[str], order: list[int], title: str
) -> Figure:
    figure = style.new_figure(3.6)
    axes = figure.add_subplot()
    bars = axes.bar(range(len(order)), [counts["train"][k] for k in order], width=1)
    for bar, k in zip(bars, order, strict=True):
        bar.set(facecolor=style.TIERS[tiers[k]].colour)
    for part, (_, colour) in _PARTS.items():
        if part in counts:
            values = [counts[part][k] or float("nan") for k in order]
            axes.plot(range(len(order)), values, ".", color=colour, ms=3, label=part)
    axes.set(yscale="log", ylim=(0.7, None), xlim=(-1, len(order)), ylabel="images")
    style.plain_numbers(axes.yaxis)
    axes.set_xlabel(f"{len(classes)} classes by training images")
    axes.grid(axis="y")
    _legend(figure, axes, tiers, title)
    return figure


def _legend(figure: Figure, axes: object, tiers: Sequence[str], title: str) -> None:
    lines = axes.get_legend_handles_labels()[0]  # pyright: ignore[reportAttributeAccessIssue]
    bars = style.tier_handles(tiers, filled=True)
    for bar in bars:
        bar.set_label(f"train, {bar.get_label()}")
    figure.legend(handles=[*bars, *lines], loc="outside upper center", ncols=5, title=title or None)


@style.styled
def recall_by_size(
    recall: Sequence[float | None],
    intervals: Sequence[Sequence[float | None]],
    classes: Sequence[str],
    tiers: Sequence[str],
    counts: Sequence[int],
    title: str = "",
) -> Figure:
    """Recall of each class against its training images, with its interval.

    Args:
        recall: K values, None where undefined.
        intervals: K pairs of bounds.
        classes: K names.
        tiers: K times "head", "medium" or "tail".
        counts: K training images.
        title: above the figure.
    """
    defined = [k for k in style.by_size(counts) if recall[k] is not None]
    figure = style.new_figure(4.2)
    axes = figure.add_subplot()
    thin = len(defined) > MAX_THICK
    for name, look in style.TIERS.items():
        members = [k for k in defined if tiers[k] == name]
        x, y = [counts[k] for k in members], [float(recall[k] or 0) for k in members]
        size: dict[str, Any] = {"ms": 4, "lw": 0.5} if thin else {}
        points_with_bounds(axes, x, y, [intervals[k] for k in members], look, **size)
    size_axis(axes, counts)
    axes.set(ylabel="recall", ylim=(-0.04, 1.04), title=title)
    points = [(counts[k], float(recall[k] or 0)) for k in defined]
    titles.name_points(axes, points, [classes[k] for k in defined], [tiers[k] for k in defined])
    return figure


def size_axis(axes: Axes, counts: Sequence[int]) -> None:
    """Makes the x axis one of training images, logarithmic."""
    axes.set_xscale("log")
    # Room on the right for the names of the largest classes.
    axes.set_xlim(min(counts) / 1.4, max(counts) * (max(counts) / min(counts)) ** 0.14 * 1.4)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(counts) < 300 * min(counts) else (1,)))
    style.plain_numbers(axes.xaxis)
    axes.set_xlabel("training images of the class")
    axes.grid()


def points_with_bounds(
    axes: Axes, x: Sequence[float], y: Sequence[float], bounds: Sequence[Sequence[float | None]], look: style.Tier, *,
    ms: float = 7, lw: float = 1.2,
) -> None:  # fmt: skip
    """Points of one tier with their intervals from bound to bound, which need not contain the value.

    Args:
        axes: to plot on.
        x: N positions.
        y: N values.
        bounds: N pairs (low, high); one that is None is at the value.
        look: of the tier.
        ms: size of a point.
        lw: width of an interval's line.
    """
    ends = [[value if bound is None else bound for bound in pair] for value, pair in zip(y, bounds, strict=True)]
    axes.vlines(x, [low for low, _ in ends], [high for _, high in ends], color=look.colour, lw=lw)
    axes.plot(x, y, ls="", marker=look.marker, color=look.colour, ms=ms)
