"""A report's tables for LaTeX, with booktabs: best bold, second best underlined."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ltmed.report.shown import Document, Grid, Shown

MARKS = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "missing": r"\textit{{{}}}"}
SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "<": "$<$",
    ">": "$>$", "|": "$|$", "-": "-", **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}  # fmt: skip


def render(document: Document) -> str:
    """One `table` per grid; everything else as comments."""
    return "\n".join(_lines(document)).rstrip() + "\n"


def escape(text: str) -> str:
    """Text that LaTeX prints as it is; a number's minus is a real one."""
    text = "".join(SPECIAL.get(sign, sign) for sign in text)
    return re.sub(r"(?<![\w.)}-])-(?=\d)", "$-$", text)


def _lines(document: Document) -> Iterator[str]:
    yield from (f"% {document.title}", r"% needs \usepackage{booktabs}; best bold, second best underlined")
    yield from (f"% ! {warning}" for warning in document.warnings)
    for grid in document.grids:
        yield from ("", *_table(grid))
    for column, facts in document.facts:
        yield from ("", f"% Protocol: {column}", *(f"% {term}: {sentence}" for term, sentence in facts))
    for place, commands in document.missing:
        yield from (f"% missing: {place}", *(f"%   {command}" for command in commands))
    yield from ("", *(f"% {note}" for note in document.notes))


def _table(grid: Grid) -> Iterator[str]:
    yield from (r"\begin{table}", r"\centering", f"\\caption{{{escape(grid.title)}}}")
    yield f"\\begin{{tabular}}{{l{'r' * len(grid.headings)}}}"
    yield from (r"\toprule", _row("", *map(escape, grid.headings)), r"\midrule")
    yield from (_row(escape(row), *map(_cell, cells)) for row, cells in grid.rows)
    yield from (r"\bottomrule", r"\end{tabular}", *(f"% {note}" for note in grid.notes), r"\end{table}")


def _row(*cells: str) -> str:
    # A bracket or star after the \\ of the line before would be taken for its argument, hence the empty group. It
    # cannot stand at the end of that line: \midrule must follow \\ at once.
    guard = "{}" if cells[0].startswith(("[", "*")) else ""
    return f"{guard}{' & '.join(cells)} \\\\"


def _cell(shown: Shown) -> str:
    text = MARKS.get(shown.mark, "{}").format(escape(shown.text)) if shown.text else ""
    return f"{text} {{\\scriptsize {escape(shown.small)}}}" if shown.small else text
