"""The figures of an HTML report: the classes of each column, method beside method, and the confusions of methods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from ltmed.plots.embedded import embedded
from ltmed.plots.run import classes, confusion, labels, reliability
from ltmed.plots.runs import comparisons, side_by_side
from ltmed.report.model import Cell, Table
from ltmed.report.renderers.html import EmbeddedFigure, FigureGroup
from ltmed.report.statistics import mean, values
from ltmed.runs.reader import Run

NARROW = 4.2
"""Inches of figures for narrow screens."""
MAX_ROWS = 8
"""At most so many methods of a column have confusion matrices and reliability diagrams."""


class _Row(NamedTuple):
    """The runs of one method in one column, as one."""

    name: str
    runs: tuple[Run, ...]

    @property
    def title(self) -> str:
        """The method, and how many runs are joined."""
        return self.name if len(self.runs) == 1 else f"{self.name}, {len(self.runs)} runs"

    @property
    def codes(self) -> list[str]:
        return self.runs[0].classes

    @property
    def tiers(self) -> list[str]:
        return [row["tier"] for row in self.runs[0].metrics["test"]["per_class"]]

    @property
    def counts(self) -> list[int]:
        parts = [list(run.metrics["split"]["counts"]["train"].values()) for run in self.runs]
        return [round(float(number)) for number in np.mean(parts, 0)]


def report_figures(table: Table) -> list[FigureGroup]:
    """Recall by class size and F1 by class, confusion matrices and reliability diagrams of every column.

    A figure that cannot be plotted (for instance without predictions) causes a warning and does not prevent others.

    Args:
        table: of finished runs.
    """
    groups = []
    for column in table.columns:
        cells = {row: table.cells.get((row, column), Cell()).runs for row in table.rows}
        rows = [_Row(row, runs) for row, runs in cells.items() if runs]
        if not rows:
            continue
        if table.multilabel(column):
            if figures := tuple(_of_labels(rows)):
                groups.append(FigureGroup(f"Labels: {column}", figures))
            continue
        title = f"Classes: {column}"
        if figures := tuple(_by_class(rows)):
            groups.append(FigureGroup(title, figures))
        best = sorted(rows, key=lambda row: -(mean(values(row.runs, table.metrics[0])) or 0))[:MAX_ROWS]
        note = f"The {MAX_ROWS} best of {len(rows)} methods." if len(rows) > MAX_ROWS else ""
        if figures := tuple(figure for row in best for figure in _of_row(row)):
            groups.append(
                FigureGroup(f"Confusion and reliability: {column}", figures, note, folded=len(table.columns) > 1)
            )
    return groups


def _of_labels(rows: Sequence[_Row]) -> Iterator[EmbeddedFigure]:
    """AP of each label against its positives, of each row's first run."""
    for row in rows:
        plot = partial(labels.ap_by_positives, row.runs[0])
        yield from embedded(f"{row.title}: AP of each label", f"AP of each label of {row.name}", plot, wide=True)


def _by_class(rows: Sequence[_Row]) -> Iterator[EmbeddedFigure]:
    codes = f"{len(rows[0].codes)} classes"
    comparable = comparisons.comparable_runs({row.name: row.runs for row in rows})
    if comparable is None:
        row = rows[0]
        plot = partial(_recall, row)
        yield from embedded(f"{row.title}: recall of each class", f"Recall of {codes} by size", plot, wide=True)
        f1 = {row.name: comparisons.mean_by_class(row.runs, "f1")}
        plot = partial(side_by_side.scores, f1, row.codes, row.tiers, row.counts)
        yield from embedded(f"{row.title}: F1 of each class", f"F1 of {codes}", plot, wide=True, narrow=NARROW)
        return
    end = f", {comparable.repetitions}" + (f"; {comparable.note}" if comparable.note else "")
    # For more methods the figures are tables and panels, which cannot be narrower.
    narrow = NARROW if len(comparable.runs) <= side_by_side.MAX_TOGETHER else None
    for name, plot in (("Recall", comparisons.recall_by_size), ("F1", comparisons.f1_by_class)):
        description = f"{name} of {codes} for {len(comparable.runs)} methods"
        plot = partial(plot, comparable)
        yield from embedded(f"{name} of each class{end}", description, plot, wide=True, narrow=narrow)


def _recall(row: _Row) -> Figure:
    first, *others = row.runs
    if others:
        recalls = {row.name: comparisons.mean_by_class(row.runs, "recall")}
        return side_by_side.recall_by_size(recalls, row.codes, row.tiers, row.counts)
    test = first.metrics["test"]
    recall = [row_of_class["recall"] for row_of_class in test["per_class"]]
    bounds = [test["intervals"]["per_class"][code]["recall"] for code in row.codes]
    return classes.recall_by_size(recall, bounds, row.codes, row.tiers, row.counts)


def _of_row(row: _Row) -> Iterator[EmbeddedFigure]:
    yield from embedded(f"{row.title}: confusion", f"Confusion matrix of {row.name}", partial(_confusion, row))
    yield from embedded(f"{row.title}: reliability", f"Reliability diagram of {row.name}", partial(_reliability, row))


def _confusion(row: _Row) -> Figure:
    matrix = np.sum([run.metrics["test"]["confusion"] for run in row.runs], 0)
    return confusion.confusion_matrix(matrix.tolist(), row.codes, row.tiers, row.counts)


def _reliability(row: _Row) -> Figure:
    confidence, correct = (np.concatenate(parts) for parts in zip(*map(reliability.confidences, row.runs), strict=True))
    return reliability.reliability_diagram(confidence, correct, mean(values(row.runs, "ece")))
