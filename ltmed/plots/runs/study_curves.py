"""A study as a figure: metrics against the parameter that its rows or columns vary, or against the rows themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from ltmed.errors import UserError
from ltmed.plots import fonts, style, titles
from ltmed.report.formatting import metric_name
from ltmed.report.model import Cell, Table
from ltmed.report.statistics import collect, independent, mean
from ltmed.runs.reader import Run
from ltmed.studies.axis import Axis as StudyAxis

HOURS = "hours of training"
_PANEL = 3.4
"""Inches of a panel's width."""
_MAX_LISTED = 6
"""Up to so many cells are named in the note; of more it gives the number."""


class _Point(NamedTuple):
    x: float
    mean: float
    std: float | None
    partial: bool
    """Whether some repetitions of the cell are missing."""


@dataclass
class _Line:
    label: str
    points: list[_Point] = field(default_factory=list)
    published: list[_Point] = field(default_factory=list)
    level: float | None = None
    """Instead of points, the value of a row without the parameter."""


@dataclass
class _Panel:
    title: str
    lines: dict[str, dict[str, _Line]]
    """Metric -> label -> line."""


def study_figure(table: Table) -> Figure:
    """Metrics of a study: against its parameter if it has an axis, else row by row.

    Points are means over folds or seeds with their standard deviation; hollow points are published values, and an open
    centre says that some repetitions are missing.

    Args:
        table: of the study, as `ltmed.report.study_table.table` gives it.

    Raises:
        UserError: no cell of the study has a finished run or a published value.
    """
    hours = (HOURS,) if table.axis is not None and table.axis.hours else ()
    measured = [metric for metric in (*table.metrics, *hours) if any(_values(table, metric))]
    if not measured:
        raise UserError(
            f"No run of '{table.title}' is finished, and no value of it is published",
            "ltmed report lists the commands of the missing runs.",
        )
    fonts.require([table.title, *table.rows, *table.columns])
    return _plot(table, measured, _note(table, missing_cells(table)))


def missing_cells(table: Table) -> list[str]:
    """The cells that should have a run and have none, by row, and by column where there are several."""
    return [
        f"{row}, {column}" if len(table.columns) > 1 else row
        for (row, column), cell in table.cells.items()
        if not cell.runs and not cell.note
    ]


@style.styled
def _plot(table: Table, metrics: Sequence[str], note: str) -> Figure:
    return (_rows if table.axis is None else _curves)(table, metrics, note)


def _values(table: Table, metric: str) -> Iterator[bool]:
    for cell in table.cells.values():
        yield _point(cell, metric, 0) is not None or _published(cell, metric, 0) is not None


def _note(table: Table, missing: Sequence[str]) -> str:
    """The note of the figure: its error bars, and missing cells."""
    notes = ["bars: standard deviation"] if any(len(cell.runs) > 1 for cell in table.cells.values()) else []
    if missing:
        listed = "; ".join(missing) if len(missing) <= _MAX_LISTED else f"{len(missing)} of {len(table.cells)} cells"
        notes.append(f"not run: {listed}")
    if partial := sum(bool(cell.runs and cell.missing) for cell in table.cells.values()):
        notes.append(f"hollow centre: {partial} cell{'s' * (partial > 1)} with missing repetitions")
    return "; ".join(notes)


# --- values ---------------------------------------------------------------------------------------------------


def _measure(metric: str) -> Callable[[Run], float | None]:
    if metric != HOURS:
        return lambda run: run.metrics["test"]["scalars"].get(metric)

    def hours(run: Run) -> float | None:
        stages = run.metrics.get("stages") or {}
        return sum(stage["seconds"] * stage["processes"] for stage in stages.values()) / 3600 if stages else None

    return hours


def _point(cell: Cell, metric: str, x: float) -> _Point | None:
    values = collect(cell.runs, _measure(metric))
    centre = mean(values)
    if centre is None:
        return None
    units = list(independent(values)[0].values())
    std = float(np.std(units, ddof=1)) if len(units) > 1 else None
    return _Point(x, centre, std, bool(cell.missing))


def _published(cell: Cell, metric: str, x: float) -> _Point | None:
    tier, _, kind = metric.partition("_")
    key = (kind, tier) if tier in ("head", "medium", "tail") else (metric, "all")
    matches = (value for value in cell.published if (value.metric, value.part) == key)
    return next((_Point(x, value.mean, value.std, False) for value in matches), None)


# --- against a parameter --------------------------------------------------------------------------------------


def _curves(table: Table, metrics: Sequence[str], note: str) -> Figure:
    axis = table.axis
    assert axis is not None
    panels = _panels(table, axis, metrics)
    single = all(len(lines) == 1 for panel in panels for lines in _with_points(panel))
    # Of one curve the metrics are lines of one panel; several curves have a panel for each metric.
    scores = [metric for metric in metrics if metric != HOURS]
    groups = [scores] if single and scores else [[metric] for metric in scores]
    groups += [[HOURS]] * (HOURS in metrics)
    rows, columns = (len(groups), len(panels)) if len(panels) > 1 else (1, len(groups))
    figure = style.new_figure(0.5 + 2.5 * rows, max(style.WIDTH, 0.6 + _PANEL * columns))
    grid = figure.subplots(rows, columns, squeeze=False, sharex=len(panels) == 1 and rows > 1)
    labels = list(dict.fromkeys(label for panel in panels for lines in panel.lines.values() for label in lines))
    names = table.rows if axis.along == "row" else table.columns
    values = sorted({point[0] for name in names if (point := axis.point(name))})
    handles: dict[str, Any] = {}
    cells = [(group, panel) for group in groups for panel in panels]
    for axes, (group, panel) in zip(grid.flat, cells, strict=True):
        _panel(axes, panel, group, labels, style.metric_looks(scores), values, handles)
        _parameter_axis(axes, values, axis, (figure.get_figwidth() - 0.6) / columns)
        if len(panels) > 1:
            axes.set_title(panel.title, fontsize=9)
        axes.set_ylabel(", ".join(map(metric_name, group)) if len(group) == 1 else "")
    titles.legend(figure, list(handles.values()), table.title, note)
    return figure


def _with_points(panel: _Panel) -> Iterator[list[_Line]]:
    for lines in panel.lines.values():
        if lines_with_points := [line for line in lines.values() if line.points or line.published]:
            yield lines_with_points


def _panels(table: Table, axis: StudyAxis, metrics: Sequence[str]) -> list[_Panel]:
    """A panel for each column of a study whose rows are points; one panel where its columns are."""
    by_row = axis.along == "row"
    panels = []
    for title in table.columns if by_row else ("",):
        panel = _Panel(title, {metric: {} for metric in metrics})
        for (row, column), cell in table.cells.items():
            if by_row and column != title:
                continue
            point = axis.point(row if by_row else column)
            label = row if point is None else (point[1] or "") if by_row else row
            for metric in metrics:
                _add(panel.lines[metric].setdefault(label, _Line(label)), cell, metric, point)
        panels.append(panel)
    return panels


def _add(line: _Line, cell: Cell, metric: str, position: tuple[float, str] | None) -> None:
    point = _point(cell, metric, position[0] if position else 0)
    if position is None:
        line.level = point.mean if point else line.level
        return
    if point:
        line.points.append(point)
    if published := _published(cell, metric, position[0]):
        line.published.append(published)


def _panel(
    axes: Axes, panel: _Panel, group: Sequence[str], labels: Sequence[str], looks: dict[str, dict[str, Any]],
    values: Sequence[float], handles: dict[str, Any],
) -> None:  # fmt: skip
    """Draws the lines of a group of metrics, and collects one entry of the legend for each kind of line."""
    together = len(group) > 1
    for metric in group:
        for label, line in panel.lines[metric].items():
            look = looks[metric] if together else {**style.line_look(labels.index(label)), "lw": 1.4, "ls": "-"}
            name = ", ".join(filter(None, (label, metric_name(metric) if together else ""))) or metric_name(metric)
            if line.level is not None:
                level = axes.axhline(line.level, color=look["color"], lw=1, ls=(0, (1, 1.5)), label=name)
                handles.setdefault(name, level)
                continue
            _points(axes, line, values, look)
            if line.points:
                handles.setdefault(name, Line2D([], [], ms=5, label=name, **look))
            if line.published:
                text = f"{name}, published"
                handles.setdefault(text, Line2D([], [], **_hollow(look), label=text))


def _hollow(look: dict[str, Any]) -> dict[str, Any]:
    return {"color": look["color"], "marker": look["marker"], "mfc": "white", "ms": 7, "ls": ":", "lw": 0.8}


def _points(axes: Axes, line: _Line, values: Sequence[float], look: dict[str, Any]) -> None:
    published, points = sorted(line.published), sorted(line.points)
    if published:
        axes.errorbar(*_arrays(published), capsize=2, elinewidth=0.7, **_hollow(look))
    if points:
        # The line has a gap where a cell was not run.
        by_x = {point.x: point for point in points}
        nothing = _Point(np.nan, np.nan, None, False)
        axes.errorbar(*_arrays([by_x.get(x, nothing) for x in values]), capsize=3, elinewidth=1, ms=5, **look)
    if partial := [point for point in points if point.partial]:
        axes.plot(*_arrays(partial)[:2], ls="", marker=".", ms=3, color="white", zorder=5)


def _arrays(points: Sequence[_Point]) -> tuple[list[float], list[float], list[float]]:
    return [p.x for p in points], [p.mean for p in points], [p.std or 0 for p in points]


def _parameter_axis(axes: Axes, values: Sequence[float], axis: StudyAxis, inches: float) -> None:
    """All values of the study are on the axis, those without a run as well."""
    texts = [f"{value:,g}" if abs(value) < 1e6 else f"{value:.0e}" for value in values]
    if axis.log and values and values[0] > 0:
        axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    upright = sum(fonts.width(text, 9) + 0.1 for text in texts) < inches - 0.6
    axes.set_xticks(values, texts, rotation=0 if upright else 45)
    axes.set_xlabel(axis.label)
    axes.margins(x=0.06)
    axes.grid()


# --- row by row -----------------------------------------------------------------------------------------------


def _rows(table: Table, metrics: Sequence[str], note: str) -> Figure:
    """A panel for each metric; in it a row for each row of the study, and a marker for each column."""
    metrics = [metric for metric in metrics if metric != HOURS]
    rows = list(table.rows)
    names = style.labels(rows, 48)
    beside = max(fonts.width(name, 9) for name in names)
    figure = style.new_figure(0.9 + 0.24 * len(rows), max(style.WIDTH, beside + 2.4 * len(metrics) + 0.4))
    grid = figure.subplots(1, len(metrics), squeeze=False, sharey=True)[0]
    handles: dict[str, Any] = {}
    shifts = np.linspace(-0.25, 0.25, len(table.columns)) if len(table.columns) > 1 else [0.0]
    for axes, metric in zip(grid, metrics, strict=True):
        for number, (column, shift) in enumerate(zip(table.columns, shifts, strict=True)):
            look = {**style.line_look(number), "ls": ""}
            for number_of_row, row in enumerate(rows):
                cell = table.cells.get((row, column), Cell())
                for kind, point in (("published", _published(cell, metric, 0)), ("", _point(cell, metric, 0))):
                    if point is None:
                        continue
                    marks = {**_hollow(look), "ls": ""} if kind else {**look, "ms": 5}
                    text = ", ".join(filter(None, (column, kind)))
                    axes.errorbar(
                        [point.mean], [number_of_row + float(shift)], xerr=[point.std or 0], elinewidth=1, **marks
                    )
                    handles.setdefault(text, Line2D([], [], label=text, **marks))
        style.class_rows(axes, names)
        axes.grid(axis="y")
        axes.set_xlabel(metric_name(metric))
    titles.legend(figure, list(handles.values()), table.title, note)
    return figure
