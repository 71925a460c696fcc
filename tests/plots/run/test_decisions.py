"""Figures of decisions and subgroups show the numbers that they are given."""

from __future__ import annotations

import numpy as np
import pytest

from ltmed.evaluation.sets import KINDS, conformal_sets
from ltmed.evaluation.thresholds import Scores, operating_point
from ltmed.plots.run.decisions import coverage_by_tier, net_benefits, operating_curves, operating_points
from ltmed.plots.run.subgroups import forest


@pytest.fixture(scope="module")
def parts() -> list[Scores]:
    rng = np.random.default_rng(0)
    found = []
    for images in (300, 200):
        labels = rng.choice(3, images, p=[0.6, 0.3, 0.1])
        scores = rng.dirichlet([1, 1, 1], images) + np.eye(3)[labels]
        found.append(Scores(scores / scores.sum(1, keepdims=True), labels))
    return found


def test_the_operating_point_is_where_the_rates_are(parts):
    point = operating_point(*parts, 1, "sensitivity", 0.9, resamples=20)
    roc, precision = operating_curves(parts[1], 1, [point], "title").axes
    (marker,) = [line for line in roc.lines if line.get_marker() == "o"]
    rates = point["test"]
    expected = [1 - rates["specificity"]["value"], rates["sensitivity"]["value"]]
    assert np.ravel(marker.get_xydata()) == pytest.approx(expected)
    (marker,) = [line for line in precision.lines if line.get_marker() == "o"]
    assert np.ravel(marker.get_xydata()) == pytest.approx([rates["sensitivity"]["value"], rates["ppv"]["value"]])
    (axes,) = net_benefits(parts[1], 1, [point]).axes
    names = [str(line.get_label()) for line in axes.lines]
    assert "threshold, sensitivity 90 %" in names


def test_operating_points_of_long_names_are_whole_and_differ(parts):
    long = "ulcerative colitis, grade {}, endoscopy of the lower gastrointestinal tract, not otherwise specified"
    points = [{"class": long.format(k), **operating_point(*parts, k, "youden", None, resamples=5)} for k in range(3)]
    figure = operating_points(points)
    figure.draw_without_rendering()
    labels = figure.axes[0].get_yticklabels()
    assert len({label.get_text() for label in labels}) == 3
    assert all(label.get_window_extent().x0 >= 0 for label in labels)
    assert figure.axes[0].get_window_extent().width > 0.4 * figure.bbox.width


def test_coverage_has_a_mark_for_each_tier_of_each_kind(parts):
    sets = conformal_sets(*parts, prior=np.ones(3), tiers={"head": [0], "medium": [1], "tail": [2]}, resamples=10)
    left, right = coverage_by_tier(sets).axes
    marks = [line for line in left.lines if line.get_marker() in ("o", "s", "^")]
    assert len(marks) == 3 * len(KINDS)
    assert marks[0].get_xdata()[0] == sets["kinds"][0]["tiers"]["head"]["coverage"]["value"]
    assert [bar.get_width() for bar in right.patches] == [kind["mean_size"]["value"] for kind in sets["kinds"]]


def test_a_forest_marks_the_worst_and_withholds_small_subgroups():
    groups = [
        {"value": "female", "images": 300, "units": 200, "metric": 0.4, "interval": [0.3, 0.5]},
        {"value": "male", "images": 400, "units": 250, "metric": 0.6, "interval": [0.5, 0.7]},
        {"value": "other", "images": 3, "units": 3, "metric": None, "interval": None},
    ]
    report = {
        "attribute": "sex", "metric": "balanced_accuracy", "subgroups": groups, "left_out": [],
        "gap": {"worst": "female"},
    }  # fmt: skip
    (axes,) = forest([report], 0.5).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        "sex", "female (n = 300)", "male (n = 400)", "other (n = 3)",
    ]  # fmt: skip
    worst = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "D" and len(line.get_xdata())]
    assert worst == [0.4]
    assert "too few images" in [text.get_text() for text in axes.texts]
    (legend,) = forest([report], 0.5).legends
    assert legend.get_texts()[-1].get_text() == "worst of its attribute"
    (legend,) = forest([{**report, "left_out": ["DF"]}], 0.5).legends
    assert legend.get_texts()[-1].get_text() == "worst of its attribute, by the classes of all its subgroups"
