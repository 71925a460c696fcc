"""Every plotting function: what is plotted is what was given, for 2, 23 and 198 classes, and without any warning."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from ltmed.evaluation.metrics import ECE_BINS
from ltmed.plots import features, style
from ltmed.plots.run import classes, confusion, curves, reliability
from ltmed.plots.runs import side_by_side
from tests.plots.cases import LONG, case, saved
from tests.plots.runs.test_side_by_side import require_readable

pytestmark = pytest.mark.filterwarnings("error")  # Missing letters, axes without room and the like.


def row_names(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_yticklabels()]


def test_class_distribution(many, tmp_path):
    counts = {"train": many.counts, "val": [1] * len(many.counts), "test": [0] * len(many.counts)}
    figure = saved(classes.class_distribution(counts, many.classes, many.tiers, "title"), tmp_path)
    bars = figure.axes[0].patches
    lengths = [bar.get_height() if len(bars) > style.MAX_NAMED else bar.get_width() for bar in bars]  # pyright: ignore
    assert lengths == sorted(many.counts, reverse=True)
    assert len(set(row_names(figure))) == len(many.classes) or len(bars) > style.MAX_NAMED


def test_confusion_matrix(many, tmp_path):
    figure = saved(confusion.confusion_matrix(many.confusion, many.classes, many.tiers, many.counts), tmp_path)
    shares = np.asarray(figure.axes[0].images[0].get_array())
    order = np.argsort(-np.array(many.counts), kind="stable")
    diagonal = [np.nan if many.recall[k] is None else 100 * many.recall[k] for k in order]
    np.testing.assert_allclose(np.ma.filled(shares, np.nan).diagonal(), diagonal)
    assert np.isnan(shares[list(order).index(len(order) - 1)]).all()
    assert len(row_names(figure)) == (len(order) if len(order) <= style.MAX_NAMED else 0)


@pytest.mark.parametrize("number", [2, 9])
def test_bars_of_several_methods(many, number, tmp_path):
    values = {f"method {i}": [None if r is None else r * (i + 1) / 10 for r in many.recall] for i in range(number)}
    figure = saved(side_by_side.scores(values, many.classes, many.tiers, many.counts), tmp_path)
    rows = min(len(many.classes) - 1, style.MAX_NAMED)  # One class is undefined.
    assert len(row_names(figure)) == rows
    axes = figure.axes[0]
    if number * rows <= side_by_side.MAX_BARS:
        shown = [bar.get_width() for bar in axes.patches]  # pyright: ignore[reportAttributeAccessIssue]
    else:
        shown = [x for line in axes.lines for x in np.asarray(line.get_xdata())]
    worst = sorted(r for r in many.recall if r is not None)[:rows]
    expected = [r * (i + 1) / 10 for i in range(number) for r in worst]
    np.testing.assert_allclose(sorted(shown), sorted(expected))


def test_recall_by_size(many, tmp_path):
    arguments = many.recall, many.intervals, many.classes, many.tiers, many.counts
    figure = saved(classes.recall_by_size(*arguments), tmp_path)
    points = {(x, y) for line in figure.axes[0].lines for x, y in np.asarray(line.get_xydata()).tolist()}
    assert points == {(n, r) for n, r in zip(many.counts, many.recall, strict=True) if r is not None}
    texts = [text.get_text() for text in figure.axes[0].texts]
    listed = [str(k) for k in range(1, len(points) + 1)]
    assert texts == {1: ["1"], 22: listed, 197: []}[len(points)]


def test_an_interval_is_drawn_from_bound_to_bound_though_its_value_lies_outside():
    """A bootstrap is biased where images are few; mirrored whiskers reached to bounds that no table has."""
    intervals = [[0.5, 0.8], [None, None], [0.35, 0.6]]
    axes = classes.recall_by_size([0.9, 0.4, 0.3], intervals, ["a", "b", "c"], list(style.TIERS), [9, 5, 2]).axes[0]
    drawn = [segment[:, 1].tolist() for lines in axes.collections for segment in lines.get_segments()]  # pyright: ignore
    assert drawn == [[0.5, 0.8], [0.4, 0.4], [0.35, 0.6]]


def test_the_learning_rate_of_a_single_epoch_is_visible():
    stage = curves.StageCurves("train", [1.0], {"balanced_accuracy": [0.5]}, 0, ([0], [0.1]))
    (rate,) = curves.training_curves([stage]).axes[2].lines
    assert rate.get_marker() == "o"
    assert np.asarray(rate.get_xydata()).tolist() == [[0, 0.1]]


def test_short_names_are_beside_their_points(tmp_path):
    few = case(7)
    figure = saved(classes.recall_by_size(few.recall, few.intervals, few.classes, few.tiers, few.counts), tmp_path)
    assert {text.get_text() for text in figure.axes[0].texts} == set(few.classes[:-1])
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_recall_of_methods(many, tmp_path):
    both = {"one": many.recall, "two": many.recall}
    figure = saved(side_by_side.recall_by_size(both, many.classes, many.tiers, many.counts), tmp_path)
    sizes = [len(np.asarray(line.get_xdata())) for line in figure.axes[0].lines]
    assert sizes == {2: [1, 1], 23: [22, 22], 198: [197, 8, 197, 8]}[len(many.counts)]


def test_curves_have_a_column_for_each_stage(tmp_path):
    one = curves.StageCurves("one", [3.0, 2, 1], {"balanced_accuracy": [0.1, 0.3, 0.2]}, 1, ([0, 3], [0.1, 0.1]))
    two = curves.StageCurves("two", [1000.0, 1], {"balanced_accuracy": [0.1, 0.2], "tail_recall": [0.0, 0.1]})
    figure = saved(curves.training_curves([one, two], "title"), tmp_path)
    assert len(figure.axes) == 6
    loss, metric = figure.axes[0], figure.axes[2]
    np.testing.assert_array_equal(loss.lines[0].get_xydata(), [[1, 3], [2, 2], [3, 1]])
    assert metric.lines[-1].get_xdata() == [2, 2]  # The epoch with index 1 is the second.
    assert figure.axes[1].get_yscale() == "log"
    assert metric.get_ylim() == figure.axes[3].get_ylim()
    with pytest.raises(ValueError, match="no stage"):
        curves.training_curves([curves.StageCurves("empty", [], {})])


def test_reliability_bins_agree_with_the_calibration_error(tmp_path):
    rng = np.random.default_rng(0)
    confidence = np.append(rng.random(500), 1.0)
    correct = rng.random(501) < 0.6
    number, mean, true = reliability.bin_confidences(confidence, correct)
    assert number.sum() == 501
    for b in range(ECE_BINS):
        inside = [(c, k) for c, k in zip(confidence, correct, strict=True) if min(int(c * ECE_BINS), ECE_BINS - 1) == b]
        assert mean[b] == pytest.approx(np.mean([c for c, _ in inside]))
        assert true[b] == pytest.approx(np.mean([k for _, k in inside]))
    figure = saved(reliability.reliability_diagram(confidence, correct, 0.25), tmp_path)
    assert figure.axes[0].get_title("right") == "ECE 0.250"
    saved(reliability.reliability_diagram(np.array([0.5]), np.array([True]), None), tmp_path)


def test_feature_map(many, tmp_path):
    labels = np.arange(400) % len(many.classes)
    points = np.random.default_rng(0).normal(size=(400, 2))
    panels = [features.Points("", points, labels)]
    figure = saved(features.feature_map(panels, many.classes, many.tiers, many.counts, "title"), tmp_path)
    assert sum(len(np.asarray(c.get_offsets())) for c in figure.axes[0].collections) == 400


def test_feature_map_has_shades_of_the_tiers_and_names_by_size():
    classes, tiers = ["a", "b", "c", "d"], ["tail", "head", "medium", "head"]
    points = np.random.default_rng(0).normal(size=(40, 2))
    panels = [features.Points("", points, np.arange(40) % 4)]
    figure = features.feature_map(panels, classes, tiers, [5, 100, 30, 300])
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["d (head)", "b (head)", "c (medium)", "a (tail)"]
    colours = {classes[int(str(c.get_label()))]: to_rgb(c.get_facecolor()[0]) for c in figure.axes[0].collections}
    assert colours["a"] == to_rgb(style.TIERS["tail"].colour)
    assert len(set(colours.values())) == 4
    assert sum(colours["d"]) < sum(colours["b"]), "the larger class is darker"


@pytest.mark.parametrize(("classes", "number"), [(2, 2), (2, 4), (23, 4), (198, 2)])
def test_feature_maps_of_several_runs_are_panels(classes, number):
    """Few classes are named beside one row of panels and two; of many, whose number does not matter, the tiers are."""
    many, rng = case(classes, LONG), np.random.default_rng(0)
    labels = np.arange(300) % len(many.classes)
    panels = [features.Points(f"run {i}", rng.normal(size=(300, 2)), labels) for i in range(number)]
    figure = features.feature_map(panels, many.classes, many.tiers, many.counts, "title")
    assert [axes.get_title() for axes in figure.axes] == [f"run {i}" for i in range(number)]
    for axes, panel in zip(figure.axes, panels, strict=True):
        shown = np.concatenate([np.asarray(c.get_offsets()) for c in axes.collections])
        assert {tuple(point) for point in shown.tolist()} == {tuple(point) for point in panel.positions.tolist()}
    require_readable(figure)


def test_chosen_classes_are_told_apart_by_colour_though_they_are_of_one_tier(tmp_path):
    classes, tiers = list("abcde"), ["head", "tail", "tail", "tail", "tail"]
    panels = [features.Points("", np.random.default_rng(0).normal(size=(40, 2)), np.arange(40) % 4 + 1)]
    figure = saved(features.feature_map(panels, classes, tiers, [90, 5, 4, 3, 2], selected=[1, 2, 3, 4]), tmp_path)
    colours = [to_rgb(c.get_facecolor()[0]) for c in figure.axes[0].collections]
    assert len(set(colours)) == 4
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [f"{code} (tail)" for code in "bcde"]


def test_losses_by_class(many):
    losses = {code: [(e, 1.0 + k / 10 - e / 5) for e in range(4)] for k, code in enumerate(many.classes[:-1])}
    del losses[many.classes[0]][1]  # No image of it in the second epoch.
    panels = {"one": losses, "two": losses}
    figure = curves.class_losses(panels, many.classes, many.tiers, many.counts, "title")
    assert [axes.get_title() for axes in figure.axes] == ["one", "two"]
    lines = [np.asarray(line.get_xydata()) for line in figure.axes[0].lines][: len(many.classes)]
    order = style.by_size(many.counts)
    np.testing.assert_allclose(lines[order.index(0)], [[e + 1, loss] for e, loss in losses[many.classes[0]]])
    means = figure.axes[0].lines[len(many.classes) :]
    assert len(means) == (0 if len(many.classes) <= curves.MAX_LINES else 3)
    if means:
        tail = [k for k, tier in enumerate(many.tiers) if tier == "tail" and many.classes[k] in losses and k]
        expected = np.mean([1 + k / 10 - 1 / 5 for k in tail])
        assert np.asarray(means[2].get_ydata())[1] == pytest.approx(expected)
    require_readable(figure)


def test_embedding_keeps_clusters_apart_and_is_repeatable():
    rng = np.random.default_rng(0)
    found = np.concatenate([rng.normal(size=(20, 6)), rng.normal(size=(20, 6)) + 40])
    points = features.embed(found, "tsne")
    assert points.shape == (40, 2)
    np.testing.assert_array_equal(points, features.embed(found, "tsne"))
    within = max(np.ptp(points[:20], 0).max(), np.ptp(points[20:], 0).max())
    assert np.linalg.norm(points[:20].mean(0) - points[20:].mean(0)) > within / 2


def test_choice_of_images_spares_small_classes():
    labels = np.repeat([0, 1, 2], [1000, 50, 1])
    chosen = features.choose_images(labels, limit=120)
    counts = np.bincount(labels[chosen])
    assert counts[2] == 1
    assert counts[1] == 50
    assert counts.sum() <= 120
    np.testing.assert_array_equal(features.choose_images(labels, 2000), np.arange(1051))


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_files_are_equal_every_time(kind, tmp_path):
    for name in ("one", "two"):
        style.save(curves.training_curves([curves.StageCurves("train", [1.0, 0.5], {})]), tmp_path / f"{name}.{kind}")
    assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()


def test_names_fit_and_stay_different():
    assert style.label("a $x^2$ naïve\nline") == "a $x^2$ naïve line"
    assert len(style.label("x" * 99)) == len(style.label("x" * 32)) == 32
    names = style.labels([LONG.format(k) for k in range(30)])
    assert len(set(names)) == 30
    assert max(map(len, names)) <= 32


def test_the_users_style_is_neither_used_nor_changed():
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 40}):
        figure = curves.training_curves([curves.StageCurves("train", [1.0], {})])
        assert mpl.rcParams["font.size"] == 40
    assert figure.axes[0].xaxis.label.get_fontsize() < 15
