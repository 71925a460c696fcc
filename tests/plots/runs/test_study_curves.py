"""A study as a figure: points are means of runs at their number, published ones beside, missing ones are gaps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from ltmed.errors import UserError
from ltmed.plots.runs.study_curves import HOURS, missing_cells, study_figure
from ltmed.report.model import Cell, Table
from ltmed.studies.axis import Axis
from ltmed.studies.published import Published
from tests.plots.cases import saved
from tests.plots.runs.test_side_by_side import require_readable
from tests.report.factory import METRIC, write

pytestmark = pytest.mark.filterwarnings("error")


def cell(folder: Path, *values: float, missing: int = 0, hours: float = 0, published: tuple = ()) -> Cell:
    """Runs of one fold each with these balanced accuracies."""
    runs = []
    for fold, value in enumerate(values):
        run = write(folder, "m", fold, scalars={METRIC: value, "tail_recall": value / 2})
        if hours:
            run.metrics["stages"] = {"a": {"seconds": 1800 * hours, "processes": 2}}
        runs.append(run)
    return Cell(tuple(runs), ("command",) * missing, published)


def curve(tmp_path: Path, **more) -> Table:
    printed = (Published(METRIC, 0.75, 0.05), Published("recall", 0.2, part="tail"))
    cells = {
        ("CE", "toy"): cell(tmp_path / "ce", 0.3),
        ("R=1", "toy"): cell(tmp_path / "1", 0.4, 0.6, hours=1),
        ("R=10", "toy"): Cell(missing=("command",)),
        ("R=100", "toy"): cell(tmp_path / "100", 0.7, missing=1, hours=3, published=printed),
    }
    axis = Axis.read({"row": "R={x}", "label": "size R", "log": True}, "f")
    return Table("A curve", ("CE", "R=1", "R=10", "R=100"), ("toy",), cells, metrics=(METRIC,), axis=axis, **more)


def series(figure: Figure, panel: int = 0) -> list[np.ndarray]:
    """Points of each line with markers."""
    lines = (line for line in figure.axes[panel].lines if str(line.get_marker()) not in ("None", "_", "|", "."))
    return [np.asarray(line.get_xydata(), dtype=float) for line in lines]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_points_are_means_at_their_numbers_and_missing_ones_are_gaps(tmp_path):
    table = curve(tmp_path)
    figure = saved(study_figure(table), tmp_path)
    published, ours = series(figure)
    np.testing.assert_allclose(ours, [[1, 0.5], [np.nan, np.nan], [100, 0.7]])
    np.testing.assert_allclose(published, [[100, 0.75]])
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "size R"
    assert list(axes.get_xticks()) == [1, 10, 100], "the number of the missing cell is on the axis too"
    bars = [segment for lines in axes.collections for segment in lines.get_segments()]  # pyright: ignore
    spread = np.std([0.4, 0.6], ddof=1)
    assert any(np.allclose(bar, [[1, 0.5 - spread], [1, 0.5 + spread]]) for bar in bars)
    (level,) = (line for line in axes.lines if str(line.get_label()) == "CE")
    assert np.asarray(level.get_ydata()) == pytest.approx([0.3, 0.3])
    title = figure.legends[0].get_title().get_text().replace("\n", " ")
    assert "not run: R=10" in title
    assert "1 cell with missing repetitions" in title
    assert missing_cells(table) == ["R=10"]
    require_readable(figure)


def test_of_one_curve_metrics_are_lines_with_the_colours_of_their_tiers(tmp_path):
    from dataclasses import replace

    table = replace(curve(tmp_path), metrics=(METRIC, "tail_recall"))
    figure = saved(study_figure(table), tmp_path)
    assert len(figure.axes) == 1
    assert legend(figure) == [
        "CE, balanced accuracy", "balanced accuracy", "balanced accuracy, published", "CE, tail recall", "tail recall",
        "tail recall, published",
    ]  # fmt: skip
    require_readable(figure)


def test_hours_of_all_processes_have_a_panel_of_their_own(tmp_path):
    from dataclasses import replace

    table = curve(tmp_path)
    assert len(study_figure(table).axes) == 1, "only where the study wants it"
    table = replace(table, axis=Axis.read({"row": "R={x}", "log": True, "hours": True}, "f"))
    figure = saved(study_figure(table), tmp_path)
    assert figure.axes[1].get_ylabel() == HOURS
    (hours,) = series(figure, 1)
    np.testing.assert_allclose(hours, [[1, 1], [np.nan, np.nan], [100, 3]])


def test_columns_can_be_the_points_and_rows_the_curves(tmp_path):
    rows, columns = ("CE", "PCCT"), ("outputs=32", "outputs=64")
    cells = {
        (row, column): cell(tmp_path / f"{i}{k}", 0.4 + 0.1 * i + 0.05 * k)
        for i, row in enumerate(rows)
        for k, column in enumerate(columns)
    }
    axis = Axis.read({"column": "outputs={x}"}, "f")
    table = Table("Widths", rows, columns, cells, metrics=(METRIC, "accuracy"), axis=axis)
    figure = saved(study_figure(table), tmp_path)
    assert [axes.get_ylabel() for axes in figure.axes] == ["balanced accuracy", "accuracy"]
    first = series(figure)
    np.testing.assert_allclose(first[0], [[32, 0.4], [64, 0.45]])
    np.testing.assert_allclose(first[1], [[32, 0.5], [64, 0.55]])
    assert legend(figure) == ["CE", "PCCT"]
    require_readable(figure)


def test_data_sets_have_panels(tmp_path):
    columns = ("one", "two")
    cells = {
        (row, column): cell(tmp_path / f"{row}{column}", 0.5)
        for row in ("a, R=1", "b, R=1", "a, R=2", "b, R=2")
        for column in columns
    }
    rows = tuple(dict.fromkeys(row for row, _ in cells))
    table = Table("t", rows, columns, cells, metrics=(METRIC,), axis=Axis.read({"row": "{line}, R={x}"}, "f"))
    figure = saved(study_figure(table), tmp_path)
    assert [axes.get_title() for axes in figure.axes] == list(columns)
    assert legend(figure) == ["a", "b"]
    require_readable(figure)


def test_a_study_without_a_parameter_is_shown_row_by_row(tmp_path):
    cells = {
        ("CE", "one"): cell(tmp_path / "a", 0.4, published=(Published(METRIC, 0.45),)),
        ("LMD", "one"): cell(tmp_path / "b", 0.6),
        ("CE", "two"): cell(tmp_path / "c", 0.3),
        ("quoted", "two"): Cell(published=(Published(METRIC, 0.5),), note="reported, not re-run"),
    }
    table = Table("t", ("CE", "LMD", "quoted"), ("one", "two"), cells, metrics=(METRIC,))
    figure = saved(study_figure(table), tmp_path)
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["CE", "LMD", "quoted"]
    assert set(legend(figure)) == {"one", "one, published", "two", "two, published"}
    shown = sorted(float(x) for line in figure.axes[0].lines for x in np.asarray(line.get_xdata()))
    np.testing.assert_allclose(shown, [0.3, 0.4, 0.45, 0.5, 0.6])
    assert missing_cells(table) == []
    require_readable(figure)


def test_nothing_finished_and_nothing_published_is_an_error(tmp_path):
    table = Table(
        "t", ("R=1",), ("toy",), {("R=1", "toy"): Cell(missing=("x",))}, axis=Axis.read({"row": "R={x}"}, "f")
    )
    with pytest.raises(UserError, match="No run of 't' is finished"):
        study_figure(table)
