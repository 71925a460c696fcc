"""The style of every figure: colours, markers of the tiers, sizes, legible labels, and how it is saved.

Colours are those of Okabe and Ito (2008, "Color Universal Design"), which people with any colour vision tell apart;
tiers and methods have a marker or hatch besides, so that no figure depends on colour alone.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullFormatter

from ltmed.plots import fonts
from ltmed.utils.files import whole_file

P = ParamSpec("P")


BLUE, VERMILLION, GREEN, ORANGE, SKY, PURPLE, BLACK = (
    "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#000000",
)  # fmt: skip
CYCLE = (BLUE, VERMILLION, GREEN, ORANGE, SKY, PURPLE, BLACK)
"""Okabe and Ito without yellow, which is too light for lines on white."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
HATCHES = ("", "///", "xxx", "...", "\\\\\\", "ooo")
GREY = "#767676"

WIDTH = 7.0
"""Inches."""
MAX_NAMED = 40
"""Up to so many classes are named; of more a figure shows the worst ones, or all without names."""
MAX_MARKED = 60
"""Curves of up to so many epochs have a mark for each."""
_MAX_LENGTH = 32
_DPI = 150
_RC: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "text.parse_math": False,  # A class may have a dollar in its name.
    "svg.hashsalt": "ltmed",
    "pdf.fonttype": 42,
}


class Tier(NamedTuple):
    """The style of one of the groups head, medium and tail."""

    colour: str
    marker: str
    hatch: str
    sign: str
    """The marker as a letter, for the names of classes."""


TIERS = {
    "head": Tier(BLUE, "o", "", "\u25cf"),
    "medium": Tier(GREEN, "s", "///", "\u25a0"),
    "tail": Tier(VERMILLION, "^", "xxx", "\u25b2"),
}


@contextmanager
def _look() -> Iterator[None]:
    finder = logging.getLogger("matplotlib.font_manager")
    level = finder.level
    with mpl.rc_context(), warnings.catch_warnings():
        # Where no font has a letter, `fonts.require` has warned of it already.
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from")
        mpl.rcdefaults()
        for key, value in {**_RC, "font.family": fonts.families()}.items():
            mpl.rcParams[key] = value
        finder.setLevel(logging.ERROR)  # It reports every fallback font whose weight is not the requested one.
        try:
            yield
        finally:
            finder.setLevel(level)


def styled(plot: Callable[P, Figure]) -> Callable[P, Figure]:
    """Makes a plotting function use this module's style, whatever the user's matplotlibrc says, and fonts that fit."""

    @wraps(plot)
    def with_style(*args: P.args, **options: P.kwargs) -> Figure:
        fonts.require(fonts.strings([args, options]))
        with _look():
            return plot(*args, **options)

    return with_style


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure that keeps its labels apart; without pyplot, so that it ends with its last reference.

    Args:
        height: in inches.
        width: in inches.
    """
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, file: Path) -> None:
    """Writes the figure as a whole or not at all, in the format of the file's suffix, with equal bytes every time.

    Args:
        figure: to be written.
        file: in a folder that is made if needed.

    Raises:
        UserError: it cannot be written.
    """
    with whole_file(file) as partial:
        write(figure, partial, file.suffix[1:])


def write(figure: Figure, target: Path | BinaryIO, kind: str) -> None:
    """Writes the figure, with equal bytes every time.

    Args:
        figure: to be written.
        target: a file, or a binary stream.
        kind: "png", "svg" or "pdf".
    """
    without_date = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    with _look():
        figure.savefig(target, format=kind, dpi=_DPI, metadata=without_date)


def file_name(text: str) -> str:
    """A name without characters that are special to a file system or a shell."""
    return re.sub(r"[^\w.=+-]+", "_", text).strip("_")


def label(text: str, max_length: int = _MAX_LENGTH) -> str:
    """A class or method name that fits: one line, cut in the middle, a box for each letter that no font has.

    Args:
        text: any name.
        max_length: the largest number of letters.
    """
    text = fonts.printable(" ".join(text.split()))
    if len(text) <= max_length:
        return text
    tail = (max_length - 1) // 3
    return f"{text[: max_length - 1 - tail]}…{text[-tail:]}"


def labels(names: Iterable[str], max_length: int = _MAX_LENGTH) -> list[str]:
    """`label` for each name, and different for different names: without a common beginning, or else numbered."""
    names = list(names)
    short = [label(name, max_length) for name in names]
    for text in {text for text in short if short.count(text) > 1}:
        equal = [name for name, cut in zip(names, short, strict=True) if cut == text]
        same = len(list(takewhile(lambda letters: len(set(letters)) == 1, zip(*equal, strict=False))))
        short = [
            label(f"…{name[same:]}", max_length) if cut == text else cut for name, cut in zip(names, short, strict=True)
        ]
    if len(set(short)) < len(set(names)):
        short = [label(f"{number} {name}", max_length) for number, name in enumerate(names, 1)]
    return short


def by_size(counts: Sequence[int]) -> list[int]:
    """Class indices from the largest class to the smallest, ties in class order."""
    return sorted(range(len(counts)), key=lambda k: -counts[k])


def plain_numbers(axis: Axis) -> None:
    """Writes a logarithmic axis without powers, which would need the mathematics that is switched off for names."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())


def matrix_ticks(axes: Axes, names: Sequence[str], cell: float = 0.36) -> None:
    """Names the rows and columns of a matrix of classes, if they are few enough to be read.

    Args:
        axes: of the matrix.
        names: of the classes.
        cell: inches of a column; longer names are upright.
    """
    if len(names) > MAX_NAMED:
        axes.set(xticks=[], yticks=[])
        return
    size, positions = 9 if len(names) <= 15 else 7, range(len(names))
    rotation = 0 if max(fonts.width(name, size) for name in labels(names)) < cell else 90
    axes.set_xticks(positions, labels(names), rotation=rotation, fontsize=size)
    axes.set_yticks(positions, labels(names), fontsize=size)
    axes.tick_params(length=0)


def class_rows(axes: Axes, names: Sequence[str]) -> None:
    """Makes the y axis a list of classes from top to bottom."""
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def class_shades(order: Sequence[int], tiers: Sequence[str]) -> dict[int, tuple[float, float, float]]:
    """Shades of the tiers' colours for single classes, so that a colour means the same tier as in every other figure.

    Args:
        order: class indices from the largest to the smallest; the largest of a tier is the darkest.
        tiers: of all classes.
    """
    shades = {}
    for tier, look in TIERS.items():
        members = [k for k in order if tiers[k] == tier]
        base = np.array(to_rgb(look.colour))
        lightness = np.linspace(-0.45, 0.45, len(members)) if len(members) > 1 else [0.0]
        for k, amount in zip(members, lightness, strict=False):
            shade = base * (1 + amount) if amount < 0 else base + (1 - base) * amount
            shades[k] = (float(shade[0]), float(shade[1]), float(shade[2]))
    return shades


def signs(tiers: Sequence[str]) -> str:
    """A legend of the signs before the names of classes, for the tiers that occur."""
    return ", ".join(f"{look.sign} {name}" for name, look in TIERS.items() if name in tiers)


def plot_metrics(axes: Axes, metrics: Mapping[str, Sequence[float]], first: int = 1) -> None:
    """Lines over epochs: recall of the tiers with their colours and marks, other metrics thicker.

    Args:
        axes: to plot on.
        metrics: name -> values.
        first: where on the x axis the values begin.
    """
    looks = metric_looks(metrics)
    for name, values in metrics.items():
        look = looks[name] if len(values) <= MAX_MARKED else {**looks[name], "marker": ""}
        axes.plot(range(first, first + len(values)), values, label=name.replace("_", " "), ms=3, **look)


def metric_looks(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour, marker and line of each metric: recall of the tiers in their styles, other metrics thicker."""
    free = iter((BLACK, PURPLE, ORANGE, SKY))
    looks: dict[str, dict[str, Any]] = {}
    for name in names:
        if tier := TIERS.get(name.removesuffix("_recall")):
            looks[name] = {"color": tier.colour, "marker": tier.marker, "lw": 1.0, "ls": "--"}
        else:
            looks[name] = {"color": next(free, GREY), "marker": "o", "lw": 1.8, "ls": "-"}
    return looks


def line_look(number: int) -> dict[str, Any]:
    """Colour and marker of one of several lines, different for 63 of them."""
    return {"color": CYCLE[number % len(CYCLE)], "marker": MARKERS[(number + number // len(CYCLE)) % len(MARKERS)]}


def tier_handles(tiers: Sequence[str], filled: bool = False) -> list[Any]:
    """Entries of a legend for the tiers that occur.

    Args:
        tiers: of every class.
        filled: bars instead of points.
    """
    present = [(name, look) for name, look in TIERS.items() if name in tiers]
    if filled:
        return [Patch(facecolor=look.colour, hatch=look.hatch, edgecolor="white", label=name) for name, look in present]
    return [Line2D([], [], ls="", marker=look.marker, color=look.colour, label=name) for name, look in present]
