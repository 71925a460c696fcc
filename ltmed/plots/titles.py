"""Legible titles, legends and names of points: measured before they are placed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from ltmed.plots import style
from ltmed.plots.fonts import width

_MAX_DIRECT, _MAX_DIRECT_LENGTH = 12, 12
"""Points have their names beside them up to so many classes, and letters of a name."""

LEGEND_SIZE = 8.0
"""Points, of a legend's labels."""
_TITLE_SIZE = 9.0
_LINE = 1.5
"""Height of a line of a legend, in letters."""
_HANDLE, _BESIDE, _BETWEEN = 3.0, 0.8, 1.6
"""Lengths in a legend, in letters: of a handle, from it to its label, and between columns."""


def wrap(text: str, inches: float, size: float) -> str:
    """Breaks a text at its spaces into lines of at most so many inches; a longer word has a line of its own."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and width(f"{lines[-1]} {word}", size) <= inches:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines)


def title(figure: Figure, text: str, note: str = "") -> None:
    """Writes the title of the whole figure, and a smaller note under it, in as many lines as they need.

    Args:
        figure: of its final width.
        text: the title; an empty one takes no room.
        note: further information for the reader.
    """
    inches = figure.get_figwidth() - 0.3
    lines = [wrap(line, inches, _TITLE_SIZE) for line in (text, note) if line]
    if lines:
        figure.suptitle("\n".join(lines), fontsize=_TITLE_SIZE)


def title_height(figure: Figure, text: str, note: str = "") -> float:
    """Inches that `title` takes."""
    inches = figure.get_figwidth() - 0.3
    number = sum(len(wrap(line, inches, _TITLE_SIZE).splitlines()) for line in (text, note) if line)
    return number * _TITLE_SIZE * 1.25 / 72


def legend(figure: Figure, handles: Sequence[Any], text: str = "", note: str = "") -> None:
    """A legend above everything, in as many columns as the width of its labels allows; the figure grows by its height.

    Args:
        figure: of its final width.
        handles: with labels; one too long for the figure widens it.
        text: the title of the figure.
        note: see `title`.
    """
    widths = [width(str(handle.get_label()), LEGEND_SIZE) for handle in handles]
    letter, total = LEGEND_SIZE / 72, figure.get_figwidth() - 0.3
    columns = next((n for n in range(min(4, len(widths)), 1, -1) if _needed(widths, n) <= total), 1)
    if columns == 1 and _needed(widths, 1) > total:
        figure.set_figwidth(_needed(widths, 1) + 0.3)
        total = figure.get_figwidth() - 0.3
    rows = -(-len(widths) // columns)
    lines = "\n".join(wrap(line, total, _TITLE_SIZE) for line in (text, note) if line)
    figure.set_figheight(figure.get_figheight() + rows * _LINE * letter + title_height(figure, text, note))
    added = figure.legend(
        handles=list(handles), loc="outside upper center", ncols=columns, title=lines or None, fontsize=LEGEND_SIZE,
        title_fontsize=_TITLE_SIZE, handlelength=_HANDLE, handletextpad=_BESIDE, columnspacing=_BETWEEN,
    )  # fmt: skip
    added.get_title().set_multialignment("center")


def _needed(widths: Sequence[float], columns: int) -> float:
    """Inches of a legend with so many columns; matplotlib fills them one after the other, the first ones fuller."""
    base, remainder = divmod(len(widths), columns)
    ends = [0]
    for column in range(columns):
        ends.append(ends[-1] + base + (column < remainder))
    labels = sum(max(widths[start:end], default=0) for start, end in pairwise(ends))
    return labels + (columns * (_HANDLE + _BESIDE) + (columns - 1) * _BETWEEN + 1) * LEGEND_SIZE / 72


def name_points(axes: Axes, points: Sequence[tuple[float, float]], names: Sequence[str], tiers: Sequence[str]) -> None:
    """Labels each point with its class, by name or by number with a list, unless there are many; adds the legend.

    Args:
        axes: with final limits.
        points: in data coordinates, one for each class.
        names: of the classes.
        tiers: of the classes.
    """
    figure: Any = axes.figure
    texts, listed = (
        style.labels(names),
        len(names) > _MAX_DIRECT or max(map(len, names), default=0) > _MAX_DIRECT_LENGTH,
    )
    if len(names) > style.MAX_NAMED:
        figure.legend(handles=style.tier_handles(tiers), loc="outside right upper", title="tier")
        return
    handles = style.tier_handles(tiers)
    if listed:
        for number, (text, tier) in enumerate(zip(texts, tiers, strict=True), 1):
            look = style.TIERS[tier]
            handles.append(Line2D([], [], ls="", marker=look.marker, color=look.colour, ms=4, label=f"{number} {text}"))
        figure.set_figheight(max(figure.get_figheight(), 1 + 0.15 * len(handles)))
    figure.legend(handles=handles, loc="outside right upper", title="tier", fontsize=7 if listed else 8)
    figure.draw_without_rendering()
    _place(axes, points, [str(number) for number in range(1, 1 + len(names))] if listed else texts)


def _place(axes: Axes, points: Sequence[tuple[float, float]], texts: Sequence[str]) -> None:
    """Beside each point, moved up or down where it would lie on another text."""
    boxes: list[Any] = []
    for point, name in zip(points, texts, strict=True):
        text = axes.annotate(name, point, (5, 0), textcoords="offset points", va="center", fontsize=8, zorder=9)
        text.set(in_layout=False, path_effects=[withStroke(linewidth=2, foreground="white")])
        for shift in (0, 9, -9, 18, -18, 27, -27):
            text.set_position((5, shift))
            box = text.get_window_extent()
            if not any(box.overlaps(other) for other in boxes):
                break
        boxes.append(text.get_window_extent())
