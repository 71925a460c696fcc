"""What the renderers lay out: a report as titles, grids of text, and sentences."""

from __future__ import annotations

from dataclasses import dataclass

BEST, SECOND, MISSING = "best", "second", "missing"


@dataclass(frozen=True)
class Shown:
    """One cell: its figure, smaller lines below, and its mark."""

    text: str
    small: str = ""
    """Lines, divided by line breaks."""
    mark: str = ""
    """"best", "second", "missing" or ""."""


@dataclass(frozen=True)
class Grid:
    """One table."""

    title: str
    headings: tuple[str, ...]
    """Of the columns after the first, which names the row."""
    rows: tuple[tuple[str, tuple[Shown, ...]], ...]
    notes: tuple[str, ...] = ()


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
