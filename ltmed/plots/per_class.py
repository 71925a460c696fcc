"""Scores of single classes: of one method with its intervals, or of several side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from ltmed.plots import style

MOST_BARS = 80
"""Beyond so many bars each method is a mark in the row of its class."""
MOST_JOINED = 30
"""Classes up to which the points of a method are joined; more are summarised by the means of equal groups."""
_GROUPS = 8
_LONGEST = 90
"""Letters of a method's name with its settings; such names have a line of the legend each."""


@style.styled
def class_bars(
    values: Mapping[str, Sequence[float | None]],
    classes: Sequence[str],
    tiers: Sequence[str],
    counts: Sequence[int],
    metric: str = "F1",
    title: str = "",
) -> Figure:
    """One row per class, largest first, with a bar or a mark for each method; of many classes the worst.

    Args:
        values: for each method K scores of 0 to 1, None where undefined.
        classes: K names.
        tiers: K times "head", "medium" or "tail"; the names have their colours.
        counts: K training images, written behind the names.
        metric: what the scores are.
        title: above the picture.
    """
    table = np.array([[np.nan if v is None else v for v in row] for row in values.values()], dtype=float)
    order = [k for k in style.by_size(counts) if np.isfinite(table[:, k]).any()]
    shown = set(sorted(order, key=lambda k: np.nanmean(table[:, k]))[: style.MOST_NAMED])
    cut = len(order) > len(shown)
    order = [k for k in order if k in shown]
    bars = len(values) * len(order) <= MOST_BARS
    figure = style.new_figure(1.4 + len(order) * (0.12 + 0.13 * len(values) if bars else 0.24))
    axes = figure.add_subplot()
    for number, (name, row) in enumerate(zip(values, table[:, order], strict=True)):
        (_bars if bars else _marks)(axes, row, number, len(values), style.label(name, _LONGEST))
    axes.set(xlim=(-0.01 if bars else -0.03, 1.03), xlabel=metric)
    names = style.labels(classes[k] for k in order)
    style.class_rows(axes, [f"{name}  {counts[k]:,}" for name, k in zip(names, order, strict=True)])
    for text, k in zip(axes.get_yticklabels(), order, strict=True):
        text.set_color(style.TIERS[tiers[k]].colour)
    axes.grid(visible=not bars, axis="y")
    rule = f"the {len(order)} lowest of {len(classes)} classes" if cut else "classes"
    colours = ", ".join(f"{tier} {_COLOUR_NAMES[tier]}" for tier in style.TIERS if tier in tiers)
    figure.supxlabel(f"{rule} and their training images; {colours}", fontsize=8)
    columns = 1 if max(map(len, values)) > 40 else min(4, len(values))
    figure.legend(loc="outside upper center", ncols=columns, title=title or None)
    return figure


_COLOUR_NAMES = {"head": "blue", "medium": "green", "tail": "red"}


def _bars(axes: Axes, row: np.ndarray, number: int, of: int, name: str) -> None:
    height = 0.84 / of
    places = np.arange(len(row)) + (number - (of - 1) / 2) * height
    look: dict[str, Any] = {
        "color": style.CYCLE[number % len(style.CYCLE)],
        "hatch": style.HATCHES[number // len(style.CYCLE) % len(style.HATCHES)],
    }
    axes.barh(places, row, height=height, edgecolor="white", lw=0.4, label=name, **look)


def _marks(axes: Axes, row: np.ndarray, number: int, of: int, name: str) -> None:
    axes.plot(row, np.arange(len(row)), ls="", label=name, ms=5, alpha=0.85, **_look(number))


def _look(number: int) -> dict[str, Any]:
    """Colour and marker, different for 63 methods."""
    return {
        "color": style.CYCLE[number % len(style.CYCLE)],
        "marker": style.MARKERS[(number + number // len(style.CYCLE)) % len(style.MARKERS)],
    }


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
        title: above the picture.
    """
    there = [k for k in style.by_size(counts) if recall[k] is not None]
    figure = style.new_figure(4.2)
    axes = figure.add_subplot()
    thin = len(there) > MOST_JOINED
    for name, look in style.TIERS.items():
        members = [k for k in there if tiers[k] == name]
        x, y = [counts[k] for k in members], [float(recall[k] or 0) for k in members]
        bounds = [[y_k if b is None else b for b in intervals[k]] for k, y_k in zip(members, y, strict=True)]
        spread = np.abs(np.array(bounds).reshape(-1, 2).T - np.array(y))
        axes.errorbar(
            x, y, spread, ls="", marker=look.marker, color=look.colour, ms=4 if thin else 7, lw=0.5 if thin else 1.2,
                    )  # fmt: skip
    _size_axis(axes, counts)
    axes.set(ylabel="recall", ylim=(-0.04, 1.04), title=title)
    points = [(counts[k], float(recall[k] or 0)) for k in there]
    style.name_points(axes, points, [classes[k] for k in there], [tiers[k] for k in there])
    return figure


@style.styled
def recall_by_size_of_methods(
    recall: Mapping[str, Sequence[float | None]], counts: Sequence[int], title: str = ""
) -> Figure:
    """Recall against training images for several methods: what each gives the tail and takes from the head.

    Args:
        recall: for each method K values, None where undefined.
        counts: K training images.
        title: above the picture.
    """
    figure = style.new_figure(4.4 + 0.17 * len(recall))
    axes = figure.add_subplot()
    for number, (name, values) in enumerate(recall.items()):
        there = [k for k in style.by_size(counts) if values[k] is not None]
        x, y = np.array([counts[k] for k in there], float), np.array([values[k] for k in there], float)
        look, said = _look(number), style.label(name, _LONGEST)
        line = ("-", "--", ":", "-.")[number // len(style.CYCLE) % 4]
        if len(there) <= MOST_JOINED:
            axes.plot(x, y, ls=line, ms=5, lw=1.2, label=said, **look)
            continue
        axes.plot(x, y, ls="", ms=3, alpha=0.25, mec="none", **look)
        groups = [part for part in np.array_split(np.arange(len(x)), _GROUPS) if len(part)]
        middle = [float(np.exp(np.log(x[part]).mean())) for part in groups]
        axes.plot(middle, [float(y[part].mean()) for part in groups], ls=line, ms=7, lw=1.6, label=said, **look)
    _size_axis(axes, counts)
    axes.set(ylabel="recall", ylim=(-0.04, 1.04))
    columns = 1 if max(map(len, recall)) > 40 else min(4, len(recall))
    figure.legend(loc="outside upper center", ncols=columns, title=title or None)
    return figure


def _size_axis(axes: Axes, counts: Sequence[int]) -> None:
    axes.set_xscale("log")
    # Room on the right for the names of the largest classes.
    axes.set_xlim(min(counts) / 1.4, max(counts) * (max(counts) / min(counts)) ** 0.14 * 1.4)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(counts) < 300 * min(counts) else (1,)))
    style.plain_numbers(axes.xaxis)
    axes.set_xlabel("training images of the class")
    axes.grid()
