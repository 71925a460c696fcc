"""What a report is made from: a table of runs, and the formatted document that renderers lay out.

A `Table` has rows of methods, columns of data sets, and runs in each cell. A `Document` has the same as titles, grids
of text, and sentences.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ltmed.runs.reader import Run
from ltmed.studies.axis import Axis
from ltmed.studies.published import Published

BEST, SECOND, MISSING = "best", "second", "missing"
"""Marks of a cell."""


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
    """A cell for each (row, column) that has anything to show."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    """Data sets under one split protocol: rows of one column have the same test images in each of its divisions."""
    cells: dict[tuple[str, str], Cell] = field(default_factory=dict)
    metrics: tuple[str, ...] = ("balanced_accuracy", "macro_f1", "macro_auroc", "accuracy")
    """Which metrics are shown first; others are in the long tables."""
    notes: tuple[str, ...] = ()
    """Sentences below the table."""
    axis: Axis | None = None
    """The parameter that the rows or columns of a study vary."""
    reference: str | None = None
    """The row that all others are compared with; None, or where it was not run, takes the first that was."""


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
    """What stands above the tables."""

    @property
    def ranked(self) -> bool:
        """Whether the best figures of a column are marked, which renderers then explain."""
        return any(cell.mark in (BEST, SECOND) for grid in self.grids for _, cells in grid.rows for cell in cells)
