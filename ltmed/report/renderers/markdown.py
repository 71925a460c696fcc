"""A report as GitHub's Markdown: best bold, second best underlined."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ltmed.report.model import Document, FormattedCell, Grid

MARKS = {"best": "**{}**", "second": "<ins>{}</ins>", "missing": "*{}*"}


def render(document: Document) -> str:
    """The whole report."""
    return "\n".join(_lines(document)).rstrip() + "\n"


def escape(text: str) -> str:
    """Text that is neither markup nor a table's border."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", text)


def _lines(document: Document) -> Iterator[str]:
    yield from (f"# {escape(document.title)}", "")
    yield from (f"> **Note:** {escape(warning)}\n" for warning in document.warnings)
    for section in document.sections:
        yield from (f"## {escape(section.title)}", "")
        yield from (f"{escape(sentence)}\n" for sentence in section.sentences)
        if section.commands:
            yield from (*(f"    {command}" for command in section.commands), "")
    for grid in document.grids:
        yield from grid_lines(grid)
    for column, facts in document.facts:
        yield from (f"## Protocol: {escape(column)}", "")
        yield from (f"- {term}: {escape(sentence)}" for term, sentence in facts)
        yield ""
    if document.missing:
        yield from ("## Missing", "")
    for cell, commands in document.missing:
        yield from (f"{escape(cell)}:", "", *(f"    {command}" for command in commands), "")
    if document.ranked:
        yield "**Best** and <ins>second best</ins> of a column."
    yield from map(escape, document.notes)


def grid_lines(grid: Grid, level: int = 2) -> Iterator[str]:
    """The lines of one table under its heading, which has `level` signs."""
    yield from (f"{'#' * level} {escape(grid.title)}", "")
    yield _row("", *map(escape, grid.headings))
    yield _row("---", *("---:" for _ in grid.headings))
    yield from (_row(escape(row), *map(_cell, cells)) for row, cells in grid.rows)
    yield ""
    yield from (f"{escape(note)}\n" for note in grid.notes)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: FormattedCell) -> str:
    text = MARKS.get(cell.mark, "{}").format(escape(cell.text)) if cell.text else ""
    return "<br>".join([text, *map(escape, cell.small.splitlines())])
