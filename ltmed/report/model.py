"""What a report shows, independent of where it is shown: rows of methods, columns of data sets, runs in each cell."""

from __future__ import annotations

from dataclasses import dataclass, field

from ltmed.runs.reader import Run
from ltmed.studies.published import Published


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
    reference: str | None = None
    """The row that all others are compared with; None, or where it was not run, takes the first that was."""
