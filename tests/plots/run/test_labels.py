"""Figures of several labels: lines that are told apart, names that fit, intervals and areas that are right."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from ltmed.plots import style
from ltmed.plots.run import labels, reliability

pytestmark = pytest.mark.filterwarnings("error")
LONG = "an unusually long finding number {} in the right lower lobe of the lung"


def run(number: int, name: str = LONG) -> Any:
    """What the figures read of a run: 200 test images, scores with many ties, some labels unknown."""
    rng = np.random.default_rng(0)
    codes, shares = [name.format(k) for k in range(number)], np.geomspace(0.5, 0.05, number)
    targets = (rng.random((200, number)) < shares).astype(float)
    scores = np.round(np.clip(rng.normal(0.3 + 0.3 * targets, 0.2), 0, 1), 1)
    targets[rng.random(targets.shape) < 0.1] = np.nan
    rows = []
    for k, code in enumerate(codes):
        known = ~np.isnan(targets[:, k])
        ap = float(average_precision_score(targets[known, k], scores[known, k]))
        tier = ("head", "medium", "tail")[3 * k // number]
        rows.append({"class": code, "tier": tier, "ap": ap, "recall": 0.5, "precision": 0.5, "prevalence": 0.1})
    columns = {f"label_{code}": targets[:, k] for k, code in enumerate(codes)}
    columns |= {f"prob_{code}": scores[:, k] for k, code in enumerate(codes)}
    intervals = {row["class"]: {"ap": [row["ap"] + 0.01, row["ap"] + 0.2]} for row in rows}
    counts = {code: int(1000 * share) for code, share in zip(codes, shares, strict=True)}
    metrics = {
        "test": {"per_class": rows, "intervals": {"per_class": intervals}},
        "split": {"counts": {"train": counts}},
    }
    return SimpleNamespace(predictions=pd.DataFrame(columns), classes=codes, metrics=metrics)


def test_curves_are_told_apart_without_seeing_hues_and_their_area_is_the_average_precision():
    several = run(labels.MAX_NAMED_CURVES)
    figure = labels.precision_recall(several)
    axes = figure.axes[0]
    drawn = [line for line in axes.lines if line.get_drawstyle() == "steps-pre"]
    looks = [(line.get_color(), line.get_linestyle()) for line in drawn]
    assert len(set(looks)) == labels.MAX_NAMED_CURVES
    assert {colour for colour, _ in looks} == set(style.CYCLE)
    for line, row in zip(drawn, several.metrics["test"]["per_class"], strict=True):
        recall, precision = np.asarray(line.get_xydata()).T
        assert np.sum(np.diff(recall, prepend=0) * precision) == pytest.approx(row["ap"])
    figure.draw_without_rendering()
    assert axes.get_window_extent().width > 0.5 * figure.bbox.width, "names leave no room for the curves"
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(set(names)) == labels.MAX_NAMED_CURVES


def test_average_precision_has_the_intervals_of_the_table():
    several = run(3)
    axes = labels.ap_by_positives(several).axes[0]
    drawn = [segment[:, 1].tolist() for lines in axes.collections for segment in lines.get_segments()]  # pyright: ignore
    assert drawn == [bounds["ap"] for bounds in several.metrics["test"]["intervals"]["per_class"].values()]


def test_long_names_above_small_diagrams_differ_and_do_not_overlap():
    several = run(12)
    targets = several.predictions[[f"label_{code}" for code in several.classes]].to_numpy()
    scores = several.predictions[[f"prob_{code}" for code in several.classes]].to_numpy()
    figure = reliability.label_reliability([("as predicted", scores)], targets, several.classes, "title")
    figure.draw_without_rendering()
    titles = [axes.title for axes in figure.axes]
    assert len({title.get_text() for title in titles}) == 12
    boxes = [title.get_window_extent() for title in titles]
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.width for box in boxes)
