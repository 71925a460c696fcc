"""Several methods beside each other, class by class: as bars and lines where they are few, as tables where many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator

from ltmed.plots import fonts, style, titles
from ltmed.plots.run.classes import size_axis

MAX_TOGETHER = 10
"""Up to so many methods share axes; more have a table row or a panel each."""
MAX_BARS = 80
"""With more bars each method is a mark in the row of its class."""
MAX_JOINED = 30
"""Up to so many classes have points on a line; more are summarised by the means of equal groups."""
MAX_NUMBERED = 15
"""Up to so many classes have numbers in the cells of a table."""
_GROUPS = 8
_MAX_METHOD_LENGTH, _MAX_CLASS_LENGTH = 60, 24
"""Letters of the name of a method (with its settings), and of a class."""
_SMALL = 7.0
_AND = "  "
"""Between the name of a class and its number of images."""
_WIDEST_CELL = 0.8
_OTHERS_COLOUR = "#D0D0D0"
Values = Mapping[str, Sequence[float | None]]
"""For each method a score of 0 to 1 of each class, None where undefined."""


@style.styled
def scores(
    values: Values,
    classes: Sequence[str],
    tiers: Sequence[str],
    counts: Sequence[int],
    metric: str = "F1",
    title: str = "",
    note: str = "",
    width: float = style.WIDTH,
) -> Figure:
    """A score of every class: bars or marks in a row of each class, or of many methods a table, best method first.

    Args:
        values: for each method K scores.
        classes: K names; of more than `style.MAX_NAMED` the lowest are shown.
        tiers: K times "head", "medium" or "tail".
        counts: K training images.
        metric: what the scores are.
        title: above the figure.
        note: below the title.
        width: in inches, of bars and marks.
    """
    table = _table(values)
    order = [k for k in style.by_size(counts) if np.isfinite(table[:, k]).any()]
    selected = set(sorted(order, key=lambda k: np.nanmean(table[:, k]))[: style.MAX_NAMED])
    rule = f"the {len(selected)} lowest of {len(classes)} classes" if len(order) > len(selected) else "classes"
    order = [k for k in order if k in selected]
    caption = f"{rule} and their training images: {style.signs(tiers)}"
    class_names = _class_names(classes, tiers, counts, order)
    if len(values) > MAX_TOGETHER:
        caption += "; mean: over all classes"
        return _heatmap(list(values), table, order, class_names, caption, metric, title, note)
    return _rows(list(values), table[:, order], class_names, caption, metric, title, note, width)


def _table(values: Values) -> np.ndarray:
    return np.array([[np.nan if v is None else v for v in row] for row in values.values()], dtype=float)


def _class_names(
    classes: Sequence[str], tiers: Sequence[str], counts: Sequence[int], order: Sequence[int]
) -> list[str]:
    names = style.labels((classes[k] for k in order), _MAX_CLASS_LENGTH)
    return [f"{style.TIERS[tiers[k]].sign} {name}{_AND}{counts[k]:,}" for name, k in zip(names, order, strict=True)]


def _upright(class_names: Sequence[str], inches: float, size: float) -> tuple[list[str], float, float]:
    """Names for the ticks of an x axis, their rotation and their height in inches: in two lines if these have room."""
    lines = [name.replace(_AND, "\n") for name in class_names]
    if max(fonts.width(line, size) for line in lines) < inches - 0.06:
        return lines, 0, 2.6 * size / 72
    return list(class_names), 90, max(fonts.width(name, size) for name in class_names)


def _rows(
    methods: list[str],
    table: np.ndarray,
    class_names: list[str],
    caption: str,
    metric: str,
    title: str,
    note: str,
    width: float,
) -> Figure:
    bars = table.size <= MAX_BARS
    figure = style.new_figure(1.1 + len(class_names) * (0.12 + 0.13 * len(methods) if bars else 0.24), width)
    axes = figure.add_subplot()
    handles = []
    for number, (name, row) in enumerate(zip(style.labels(methods, _MAX_METHOD_LENGTH), table, strict=True)):
        rows = np.arange(len(row))
        if bars:
            height = 0.84 / len(methods)
            looks: dict[str, Any] = {"facecolor": _colour(number), "hatch": style.HATCHES[number % len(style.HATCHES)]}
            looks |= {"edgecolor": "white", "lw": 0.4}
            axes.barh(rows + (number - (len(methods) - 1) / 2) * height, row, height=height, **looks)
            handles.append(Patch(label=name, **looks))
        else:
            axes.plot(row, rows, ls="", label=name, ms=5, alpha=0.85, **style.line_look(number))
            handles.append(axes.lines[-1])
    axes.set(xlim=(-0.01 if bars else -0.03, 1.03), xlabel=metric)
    style.class_rows(axes, class_names)
    axes.grid(visible=not bars, axis="y")
    figure.supxlabel(titles.wrap(caption, width - 0.3, 8), fontsize=8)
    titles.legend(figure, handles, title, note)
    return figure


def _colour(number: int) -> str:
    return style.CYCLE[number % len(style.CYCLE)]


def _heatmap(
    methods: list[str], table: np.ndarray, order: list[int], class_names: list[str], caption: str, metric: str,
    title: str, note: str,
) -> Figure:  # fmt: skip
    """Rows of methods by their mean over all classes, which is the first column."""
    means = np.nanmean(table, 1)
    best = np.argsort(-means, kind="stable")
    sorted_table = np.column_stack([means, table[:, order]])[best]
    names = style.labels([methods[row] for row in best], _MAX_METHOD_LENGTH)
    numbered = len(order) <= MAX_NUMBERED
    size, cell = 8.0, 0.2
    if numbered:
        lines = max(fonts.width(name.replace(_AND, "\n"), size) + 0.08 for name in class_names)
        cell = max(0.52, lines if lines < _WIDEST_CELL else 0)
    beside = max(fonts.width(name, size) for name in names)
    class_names, rotation, below = _upright(class_names, cell, size)
    figure = style.new_figure(1.0, max(6.0, beside + cell * (1 + len(order)) + 1.4))
    caption = titles.wrap(caption, figure.get_figwidth() - 0.3, 8)
    height = 0.2 * len(names) + below + 0.6 + 0.14 * (1 + caption.count("\n"))
    figure.set_figheight(height + titles.title_height(figure, title, note))
    axes = figure.add_subplot()
    image = axes.imshow(sorted_table, cmap="Blues", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    figure.colorbar(image, ax=axes, label=metric, shrink=min(1.0, 3 / height), pad=0.02)
    for (row, column), value in np.ndenumerate(sorted_table):
        if np.isfinite(value) and (numbered or column == 0):
            tint = "white" if value > 0.65 else "black"
            axes.text(
                column, row, f"{value:.2f}".removeprefix("0"), ha="center", va="center", color=tint,
                fontsize=_SMALL, in_layout=False,
            )  # fmt: skip
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.set_xticks(range(1 + len(order)), ["mean", *class_names], rotation=rotation, fontsize=size)
    axes.axvline(0.5, color="white", lw=3)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.supxlabel(caption, fontsize=8)
    titles.title(figure, title, note)
    return figure


@style.styled
def recall_by_size(
    recall: Values,
    classes: Sequence[str],
    tiers: Sequence[str],
    counts: Sequence[int],
    title: str = "",
    note: str = "",
    width: float = style.WIDTH,
) -> Figure:
    """Recall of the classes from large to small: the trade of each method between head and tail.

    Up to `MAX_TOGETHER` methods are lines in common axes; more have a panel each, best mean first, in which the other
    methods are grey. Classes are named on the axis at equal distances; more than `MAX_JOINED` have no names, and lines
    through the means of groups of classes against the training images.

    Args:
        recall: for each method K values.
        classes: K names.
        tiers: K times "head", "medium" or "tail".
        counts: K training images.
        title: above the figure.
        note: below the title.
        width: in inches, of lines in common axes.
    """
    table = _table(recall)
    order = [k for k in style.by_size(counts) if np.isfinite(table[:, k]).any()]
    sizes, table = [counts[k] for k in order], table[:, order]
    class_names = _class_names(classes, tiers, counts, order) if len(order) <= MAX_JOINED else None
    prefix = "classes and their training images: "
    caption = prefix + style.signs(tiers) if class_names else "training images of the class"
    if len(recall) > MAX_TOGETHER:
        return _panels(list(recall), table, sizes, class_names, caption, title, note)
    return _lines(list(recall), table, sizes, class_names, caption, title, note, width)


def _lines(
    methods: list[str], table: np.ndarray, sizes: list[int], class_names: list[str] | None, caption: str, title: str,
    note: str, width: float,
) -> Figure:  # fmt: skip
    below, rotation = 0.3, 0.0
    if class_names:
        class_names, rotation, below = _upright(class_names, (width - 0.7) / len(class_names), 8)
    figure = style.new_figure(3.4 + below, width)
    axes = figure.add_subplot()
    handles = []
    for number, (name, row) in enumerate(zip(style.labels(methods, _MAX_METHOD_LENGTH), table, strict=True)):
        line_style, line = style.line_look(number), ("-", "--")[number // len(style.CYCLE)]
        if class_names is None:
            axes.plot(sizes, row, ls="", ms=3, alpha=0.25, mec="none", **line_style)
        x, y = _curve(row, sizes, class_names is not None)
        (curve,) = axes.plot(x, y, ls=line, ms=5, lw=1.2, label=name, **line_style)
        handles.append(curve)
    _class_axis(axes, sizes, class_names, 8, rotation)
    axes.set(ylabel="recall", ylim=(-0.04, 1.04))
    axes.set_xlabel(titles.wrap(caption, width - 0.7, 8), fontsize=8)
    titles.legend(figure, handles, title, note)
    return figure


def _curve(row: np.ndarray, sizes: list[int], each: bool) -> tuple[np.ndarray, np.ndarray]:
    """Positions and recalls of every class, or the means of groups of classes against the geometric means of sizes."""
    defined = np.flatnonzero(np.isfinite(row))
    if each:
        return defined, row[defined]
    groups = [part for part in np.array_split(defined, _GROUPS) if len(part)]
    x = [np.exp(np.log(np.asarray(sizes, float)[part]).mean()) for part in groups]
    return np.array(x), np.array([row[part].mean() for part in groups])


def _class_axis(axes: Axes, sizes: list[int], class_names: list[str] | None, size: float, rotation: float) -> None:
    if class_names is None:
        size_axis(axes, sizes)
        axes.set_xlim(max(sizes) * 1.4, min(sizes) / 1.4)  # Large classes on the left, as in the other figures.
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3) if max(sizes) < 300 * min(sizes) else (1,)))
        axes.tick_params(which="minor", length=0)
        return
    axes.set_xticks(range(len(class_names)), class_names, rotation=rotation, fontsize=size)
    axes.set_xlim(-0.5, len(class_names) - 0.5)
    axes.grid()


def _panels(
    methods: list[str], table: np.ndarray, sizes: list[int], class_names: list[str] | None, caption: str, title: str,
    note: str,
) -> Figure:  # fmt: skip
    means = np.nanmean(table, 1)
    best = np.argsort(-means, kind="stable")
    total = 8.0
    # Names below a panel need an eighth of an inch each.
    columns = max(1, min(4, int((total - 0.6) / (0.2 + 0.125 * len(class_names or ())))))
    inches = (total - 0.6) / columns - 0.15
    labels = style.labels([methods[row] for row in best], _MAX_METHOD_LENGTH)
    heads = [titles.wrap(f"{name}: {means[row]:.2f}", inches, _SMALL) for name, row in zip(labels, best, strict=True)]
    rows = -(-len(best) // columns)
    below, rotation = 0.3, 0.0
    if class_names:
        class_names, rotation, below = _upright(class_names, inches / len(class_names), _SMALL)
    figure = style.new_figure(1.0, total)
    handles = [
        Line2D([], [], color=style.BLUE, marker="o", ms=3, lw=1.4, label="the method named above, with its mean"),
        Line2D([], [], color=_OTHERS_COLOUR, lw=0.8, label="the other methods"),
    ]
    heights = rows * (0.85 + 0.13 * max(1 + head.count("\n") for head in heads))
    figure.set_figheight(heights + below + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    curves = [_curve(row, sizes, class_names is not None) for row in table]
    curves_of_others = [np.column_stack(curve) for curve in curves]
    for index, axes in enumerate(grid.flat):
        if index >= len(best):
            axes.remove()
            continue
        axes.add_collection(LineCollection(curves_of_others, colors=_OTHERS_COLOUR, linewidths=0.5))
        axes.plot(*curves[best[index]], color=style.BLUE, marker="o", ms=3, lw=1.4)
        _class_axis(axes, sizes, class_names, _SMALL, rotation)
        axes.set(ylim=(-0.05, 1.05), yticks=(0, 0.5, 1), xlabel="")
        axes.set_title(heads[index], fontsize=_SMALL)
        axes.tick_params(labelsize=_SMALL, length=2)
        if index + columns < len(best):
            axes.tick_params(labelbottom=False)
        # Above an empty panel there is room for them, which the rows need not make.
        axes.xaxis.set_in_layout(index // columns == rows - 1)
    figure.supylabel("recall", fontsize=8)
    figure.supxlabel(caption, fontsize=8)
    titles.legend(figure, handles, title, note)
    return figure
