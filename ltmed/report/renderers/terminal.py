"""A report for the terminal, a pipe or a log file."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ltmed.report import formatting
from ltmed.report.model import Document, FormattedCell, Grid

STYLES = {"best": "bold", "second": "underline", "missing": "dim"}
SIGNS = {"best": "¹", "second": "²"}
WIDTH = 160
"""Of output that is not a terminal."""

LABEL, COMFORT, GAP = 40, 20, 2
"""Longest line of a row's name and of other words that can be broken, and the blanks between columns."""


def render(document: Document) -> str:
    """Plain text."""
    console = Console(file=io.StringIO(), width=WIDTH)
    show(document, console)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


def show(document: Document, console: Console) -> None:
    """Prints a document; marks are also signs, for output without styles."""
    console.print(Text(document.title, style="bold"))
    for warning in document.warnings:
        console.print(Text(f"! {warning}", style="yellow"))
    for section in document.sections:
        console.print(Text(f"\n{section.title}", style="bold"))
        for sentence in section.sentences:
            console.print(Text(sentence))
        for command in section.commands:
            console.print(Text(f"  {command}"), soft_wrap=True)
    for grid in (part for whole in document.grids for part in _parts(whole, console.width)):
        console.print(Text(f"\n{grid.title}", style="bold"))
        console.print(_table(grid))
        for note in grid.notes:
            console.print(Text(note, style="dim"))
    for column, facts in document.facts:
        console.print(Text(f"\nProtocol: {column}", style="bold"))
        for term, sentence in facts:
            console.print(Text(f"{term}: {sentence}"))
    if document.missing:
        console.print(Text("\nMissing", style="bold"))
    for cell, commands in document.missing:
        console.print(Text(cell))
        for command in commands:
            console.print(Text(f"  {command}"), soft_wrap=True)
    ranked = ["¹ best, ² second best of a column."] if document.ranked else []
    console.print(Text("\n" + "\n".join([*ranked, *document.notes]), style="dim"))


def _parts(grid: Grid, room: int) -> Iterator[Grid]:
    label = max((max(map(len, formatting.wrap(row, LABEL))) for row, _ in grid.rows), default=0)
    return formatting.divide(grid, room, lambda heading, cells: GAP + _width(heading, cells), label)


def _width(heading: str, cells: Sequence[FormattedCell]) -> int:
    figures = [cell.text + SIGNS.get(cell.mark, "") for cell in cells]
    return formatting.width(COMFORT, heading, *figures, *(cell.small for cell in cells))


def _table(grid: Grid) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    table.add_column("", overflow="fold")
    widths = []
    for number, heading in enumerate(grid.headings):
        widths.append(_width(heading, [cells[number] for _, cells in grid.rows]))
        table.add_column(Text("\n".join(formatting.wrap(heading, widths[-1]))), justify="right", no_wrap=True)
    for row, cells in grid.rows:
        texts = (_cell(cell, wide) for cell, wide in zip(cells, widths, strict=True))
        table.add_row(Text("\n".join(formatting.wrap(row, LABEL))), *texts)
    return table


def _cell(cell: FormattedCell, width: int) -> Text:
    sign = SIGNS.get(cell.mark, "")
    text = Text("\n".join(formatting.wrap(cell.text, width - len(sign))), style=STYLES.get(cell.mark, ""))
    text.append(sign, style="not underline")
    if cell.small:
        small = "\n".join(formatting.wrap(cell.small, width))
        text.append(f"\n{small}", style="dim not bold not underline")
    return text
