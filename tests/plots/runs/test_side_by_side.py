"""Figures of several methods can be read: measured for few and many methods, classes and long names."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from ltmed.plots import fonts
from ltmed.plots.runs import side_by_side
from tests.plots.cases import LONG, case

pytestmark = pytest.mark.filterwarnings("error")
TITLE = "a data set, grouped, 5 folds: mean of folds 0, 1, 2, seed 0"
NOTE = "left out: " + ", ".join(f"method_{i} (loss=focal)" for i in range(6))


def require_readable(figure: Figure) -> None:
    """Every text and legend is inside the picture, and no two of them lie on each other."""
    figure.draw_without_rendering()
    picture = figure.bbox.padded(1)
    hidden = _labels_not_drawn(figure)
    boxes = []
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if text.get_text().strip() and text.get_visible() and id(text) not in hidden:
            box = text.get_window_extent()
            assert picture.x0 <= box.x0 <= box.x1 <= picture.x1, f"'{text.get_text()}' is cut"
            assert picture.y0 <= box.y0 <= box.y1 <= picture.y1, f"'{text.get_text()}' is cut"
            boxes.append((text.get_text(), box))
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert picture.x0 <= box.x0 <= box.x1 <= picture.x1
    for place, (one, box) in enumerate(boxes):
        for other, another in boxes[:place]:
            assert not box.overlaps(another), f"'{one}' lies on '{other}'"


def _labels_not_drawn(figure: Figure) -> set[int]:
    """Labels of ticks beyond an axis, or switched off, are kept by matplotlib and not drawn."""
    hidden = set()
    for axis in [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]:
        low, high = sorted(axis.get_view_interval())
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not (tick.get_visible() and low - 1e-9 <= tick.get_loc() <= high + 1e-9):
                hidden |= {id(tick.label1), id(tick.label2)}
    return hidden


@pytest.mark.parametrize("draw", [side_by_side.scores, side_by_side.recall_by_size])
@pytest.mark.parametrize(
    ("methods", "name", "classes", "class_name"),
    [
        (3, "method_{}", 7, "AKIEC{}"),
        (10, "posthoc_logit_adjustment_{}", 3, "pneumonia {}"),
        (10, "decoupling_tau_{} (method.stages.train.optimizer.lr=0.05, loss=focal, sampler=rs)", 23, LONG),
        (15, "balanced_softmax_{}", 7, "AKIEC{}"),
        (15, "method {}", 60, LONG),
        (38, "weighted_focal_{} (loss=cross_entropy)", 8, "C{}"),
    ],
)
def test_nothing_is_cut_or_lies_on_something_else(draw, methods, name, classes, class_name):
    data = case(classes, class_name)
    rng = np.random.default_rng(0)
    values = {name.format(i): [None if r is None else float(rng.random()) for r in data.recall] for i in range(methods)}
    figure = draw(values, data.classes, data.tiers, data.counts, title=TITLE, note=NOTE)
    require_readable(figure)
    shown = " ".join(text.get_text().replace("\n", " ") for text in figure.findobj(Text))  # pyright: ignore
    assert all(f"{i}" in shown for i in range(methods))
    assert "left out: method_0" in shown


def test_many_methods_are_a_table_with_the_best_first():
    data = case(5)
    values = {f"m{i}": [i / 20] * 4 + [None] for i in range(12)}
    values["odd"] = [1.0, None, None, None, None]
    figure = side_by_side.scores(values, data.classes, data.tiers, data.counts)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["odd", *(f"m{i}" for i in reversed(range(12)))]
    shown = np.asarray(axes.images[0].get_array(), dtype=float)
    np.testing.assert_allclose(shown[1], 11 / 20)
    assert shown.shape == (13, 1 + 4)  # The class without a value is left out, and the mean added.
    assert {text.get_text() for text in axes.texts} >= {"1.00", ".55", ".00"}


def test_equal_sizes_are_apart_and_named():
    figure = side_by_side.recall_by_size(
        {"one": [0.1, 0.2, 0.3], "two": [0.3, 0.2, 0.1]}, ["a", "b", "c"], ["head", "head", "tail"], [360, 360, 89]
    )
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["● a\n360", "● b\n360", "▲ c\n89"]
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[0, 0.1], [1, 0.2], [2, 0.3]])


def test_bars_differ_in_more_than_colour():
    data = case(4)
    figure = side_by_side.scores({str(i): [0.5] * 4 for i in range(7)}, data.classes, data.tiers, data.counts)
    looks = [handle.get_hatch() for handle in figure.legends[0].legend_handles]  # pyright: ignore
    assert all(one != other for one, other in pairwise(looks))
    assert {text.get_color() for text in figure.axes[0].get_yticklabels()} == {"black"}


def test_text_is_as_wide_as_measured():
    figure = Figure()
    for size in (7.0, 9.0):
        text = figure.text(0, 0, "weighted_focal (lr=0.05)\n● AKIEC", fontsize=size)
        drawn = text.get_window_extent().width / figure.dpi
        assert drawn <= fonts.width(text.get_text(), size) <= 1.15 * drawn
