"""The data of a report: a table of runs, and the formatted document that renderers lay out.

A `Table` has rows of methods, columns of data sets, and runs in each cell. A `Document` has the same as titles, grids
of text, and sentences.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ltmed.evaluation.scalars import scalars_of
from ltmed.runs.reader import Run
from ltmed.studies.axis import Axis
from ltmed.studies.published import Published

BEST, SECOND, MISSING = "best", "second", "missing"
"""Marks of a cell."""

METRICS = {
    False: ("balanced_accuracy", "macro_f1", "macro_auroc", "accuracy"),
    True: ("macro_ap", "macro_auroc", "macro_f1", "micro_f1"),
}
"""Whether images carry several labels -> the default metrics, the main one first."""
TIERS = {
    False: ("head_recall", "medium_recall", "tail_recall"),
    True: ("head_ap", "medium_ap", "tail_ap"),
}
"""Likewise, by class frequency."""


@dataclass(frozen=True)
class Cell:
    """One method on one data set: its repetitions over folds, random splits and seeds of one split protocol."""

    runs: tuple[Run, ...] = ()
    missing: tuple[str, ...] = ()
    """The commands of repetitions that are not finished."""
    published: tuple[Published, ...] = ()
    note: str = ""
    """Why no run is expected, such as "reported, not re-run"; empty where runs are."""


@dataclass(frozen=True)
class Table:
    """A cell for each (row, column) with runs, missing runs, published values or a note."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    """Data sets under one split protocol: rows of one column have the same test images in each of its divisions."""
    cells: dict[tuple[str, str], Cell] = field(default_factory=dict)
    metrics: tuple[str, ...] = METRICS[False]
    """Which metrics are shown first; others are in the long tables. Columns whose images carry several labels have
    those of `METRICS`, unless metrics that they have were selected."""
    notes: tuple[str, ...] = ()
    """Sentences below the table."""
    axis: Axis | None = None
    """The parameter that the rows or columns of a study vary."""
    reference: str | None = None
    """The row that all others are compared with; None, or where it was not run, takes the first that was."""

    def multilabel(self, column: str) -> bool:
        """Whether the images of a column carry several labels; all runs of a column are of one kind."""
        cells = (self.cells.get((row, column), Cell()) for row in self.rows)
        return any(run.multilabel for cell in cells for run in cell.runs)

    def by_kind(self) -> list[tuple[bool, Table]]:
        """The columns of one label, then those of several, each with the metrics that they have."""
        parts = []
        for kind in (False, True):
            columns = tuple(column for column in self.columns if self.multilabel(column) == kind)
            applicable = tuple(metric for metric in self.metrics if metric in scalars_of(kind))
            metrics = METRICS[kind] if self.metrics == METRICS[False] or not applicable else applicable
            if columns:
                parts.append((kind, replace(self, columns=columns, metrics=metrics)))
        return parts


@dataclass(frozen=True)
class FormattedCell:
    """The text of one cell: its figure, smaller lines below, and its mark."""

    text: str
    small: str = ""
    """Lines, divided by line breaks."""
    mark: str = ""
    """BEST, SECOND, MISSING or none."""


@dataclass(frozen=True)
class Grid:
    """One table."""

    title: str
    headings: tuple[str, ...]
    """Of the columns after the first, which names the row."""
    rows: tuple[tuple[str, tuple[FormattedCell, ...]], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """Sentences and commands under one heading."""

    title: str
    sentences: tuple[str, ...]
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Document:
    """A whole report, from top to bottom."""

    title: str
    warnings: tuple[str, ...]
    grids: tuple[Grid, ...]
    facts: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    """Column -> (term, sentence) pairs: the protocol."""
    missing: tuple[tuple[str, tuple[str, ...]], ...]
    """"row, column" -> commands."""
    notes: tuple[str, ...]
    sections: tuple[Section, ...] = ()
    """Sections above the tables."""

    @property
    def ranked(self) -> bool:
        """Whether the best figures of a column are marked, which renderers then explain."""
        return any(cell.mark in (BEST, SECOND) for grid in self.grids for _, cells in grid.rows for cell in cells)
