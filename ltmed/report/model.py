"""What a report shows, independent of where it is shown: rows of methods, columns of data sets, runs in each cell."""

from __future__ import annotations

from dataclasses import dataclass, field

from ltmed.runs import Run


@dataclass(frozen=True)
class Published:
    """One figure as a paper prints it."""

    metric: str
    """Name as in metrics.json; for a single class the name of its column there (`recall`, `f1`)."""
    mean: float
    """As a fraction, not percent."""
    std: float | None = None
    part: str = "all"
    """"all" classes, the name of one class, or a tier."""


@dataclass(frozen=True)
class Cell:
    """One method on one data set: its repetitions over folds and seeds, all on one split protocol."""

    runs: tuple[Run, ...] = ()
    missing: tuple[str, ...] = ()
    """The commands of repetitions that are not finished."""
    published: tuple[Published, ...] = ()
    note: str = ""
    """For instance "reported, not re-run"."""


@dataclass(frozen=True)
class Table:
    """A cell for each (row, column) that has anything to show."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    """Data sets; figures of different splits are never in one column."""
    cells: dict[tuple[str, str], Cell] = field(default_factory=dict)
    metrics: tuple[str, ...] = ("balanced_accuracy", "macro_f1", "macro_auroc", "accuracy")
    """Which metrics are shown first; others are in the long tables."""
    notes: tuple[str, ...] = ()
    """Sentences below the table."""
    reference: str | None = None
    """The row that all others are compared with; None takes the first."""
