"""A report's tables for LaTeX, with booktabs: best bold, second best underlined."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ltmed.report import formatting
from ltmed.report.model import Document, FormattedCell, Grid

MARKS = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "missing": r"\textit{{{}}}"}
SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "<": "$<$",
    ">": "$>$", "|": "$|$", "-": "-", **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}  # fmt: skip

ROOM, COMFORT, GAP, SMALL = 76, 12, 3, 0.75
"""Characters of an article's line in small type, of words that can be broken, and between columns; the width of an
interval's character."""


def render(document: Document) -> str:
    """One `table` per grid; everything else as comments."""
    return "\n".join(_lines(document)).rstrip() + "\n"


def escape(text: str) -> str:
    """Text that LaTeX prints as it is; a number's sign is a minus."""
    text = "".join(SPECIAL.get(sign, sign) for sign in text)
    return re.sub(r"(?<![\w.)}-])-(?=\d)", "$-$", text)


def _lines(document: Document) -> Iterator[str]:
    yield from (f"% {document.title}", r"% needs \usepackage{booktabs}; best bold, second best underlined")
    yield from (f"% ! {warning}" for warning in document.warnings)
    for section in document.sections:
        yield from (f"% {line}" for line in (section.title, *section.sentences, *section.commands))
    for grid in (part for whole in document.grids for part in _parts(whole)):
        yield from ("", *_table(grid))
    for column, facts in document.facts:
        yield from ("", f"% Protocol: {column}", *(f"% {term}: {sentence}" for term, sentence in facts))
    for cell, commands in document.missing:
        yield from (f"% missing: {cell}", *(f"%   {command}" for command in commands))
    yield from ("", *(f"% {note}" for note in document.notes))


def _parts(grid: Grid) -> Iterator[Grid]:
    label = max((len(row) for row, _ in grid.rows), default=0)
    return formatting.divide(grid, ROOM, lambda heading, cells: GAP + _width(heading, cells), label)


def _width(heading: str, cells: Sequence[FormattedCell]) -> float:
    texts = formatting.width(COMFORT, heading, *(cell.text for cell in cells))
    return max(texts, SMALL * formatting.width(COMFORT, *(cell.small for cell in cells)))


def _table(grid: Grid) -> Iterator[str]:
    yield from (r"\begin{table}", r"\centering\small", f"\\caption{{{escape(grid.title)}}}")
    yield f"\\begin{{tabular}}{{l{'r' * len(grid.headings)}}}"
    yield from (r"\toprule", _row("", *map(_heading, grid.headings)), r"\midrule")
    yield from (_row(escape(row), *map(_cell, cells)) for row, cells in grid.rows)
    yield from (r"\bottomrule", r"\end{tabular}", *(f"% {note}" for note in grid.notes), r"\end{table}")


def _row(*cells: str) -> str:
    # A bracket or star after the \\ of the line before would be taken for its argument, hence the empty group. It
    # cannot stand at the end of that line: \midrule must follow \\ at once.
    guard = "{}" if cells[0].startswith(("[", "*")) else ""
    return f"{guard}{' & '.join(cells)} \\\\"


def _heading(text: str) -> str:
    return _stacked("b", [escape(line) for line in _wrapped(text)])


def _wrapped(text: str) -> list[str]:
    return formatting.wrap(text, formatting.width(COMFORT, text))


def _cell(cell: FormattedCell) -> str:
    mark = MARKS.get(cell.mark, "{}")
    text = [mark.format(escape(line)) for line in _wrapped(cell.text) if line]
    small = _wrapped(cell.small) if cell.small else []
    return _stacked("t", [*text, *(f"{{\\scriptsize {escape(line)}}}" for line in small)])


def _stacked(position: str, lines: Sequence[str]) -> str:
    """Lines in one cell of a table, with its first (t) or last (b) on the row's own line."""
    if len(lines) < 2:
        return "".join(lines)
    # As in _row, an empty group keeps a bracket from being the argument of the line break before it.
    text = r" \\{}".join(lines)
    return rf"\begin{{tabular}}[{position}]{{@{{}}r@{{}}}}{text}\end{{tabular}}"
