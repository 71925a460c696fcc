"""A report for the terminal, a pipe or a log file."""

from __future__ import annotations

import io

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ltmed.report.shown import Document, Grid, Shown

STYLES = {"best": "bold", "second": "underline", "missing": "dim"}
SIGNS = {"best": "¹", "second": "²"}
WIDTH = 160
"""Of output that is not a terminal: nothing is cut."""


def render(document: Document) -> str:
    """Plain text."""
    console = Console(file=io.StringIO(), width=WIDTH)
    show(document, console)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


def show(document: Document, console: Console) -> None:
    """Prints it; figures keep their signs where styles are lost."""
    console.print(Text(document.title, style="bold"))
    for warning in document.warnings:
        console.print(Text(f"! {warning}", style="yellow"))
    for grid in document.grids:
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
    for place, commands in document.missing:
        console.print(Text(place))
        for command in commands:
            console.print(Text(f"  {command}"), soft_wrap=True)
    console.print(Text("\n" + "\n".join(["¹ best, ² second best of a column.", *document.notes]), style="dim"))


def _table(grid: Grid) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    table.add_column("", overflow="fold")
    for heading in grid.headings:
        table.add_column(Text(heading), justify="right", overflow="fold")
    for row, cells in grid.rows:
        table.add_row(Text(row), *map(_cell, cells))
    return table


def _cell(shown: Shown) -> Text:
    text = Text(shown.text, style=STYLES.get(shown.mark, ""))
    text.append(SIGNS.get(shown.mark, ""), style="not underline")
    if shown.small:
        text.append(f"\n{shown.small}", style="dim not bold not underline")
    return text
