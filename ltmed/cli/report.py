"""`ltmed report`: finished runs, or a study, as tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ltmed.errors import UserError, require_choice, suggest
from ltmed.utils.files import require_writable, whole_file

if TYPE_CHECKING:
    from ltmed.report.html import FigureGroup
    from ltmed.report.model import Table

FORMATS = {".txt": "terminal", ".md": "markdown", ".tex": "latex", ".csv": "csv", ".html": "html", ".htm": "html"}


@click.command()
@click.argument("what", nargs=-1, required=True)
@click.option("--format", "form", type=click.Choice(list(dict.fromkeys(FORMATS.values()))), help="Default: terminal.")
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write a file; its ending says which format."
)
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="What the tables show, in order. Repeatable.")
@click.option("--reference", metavar="ROW", help="The row that the others are compared with; default: the first.")
@click.option("--scale", metavar="NAME", help="Of a study that has several sizes.")
@click.option("--figures/--no-figures", default=True, help="Whether an HTML page has figures (default: yes).")
def command(
    what: tuple[str, ...],
    form: str | None,
    output: Path | None,
    metrics: tuple[str, ...],
    reference: str | None,
    scale: str | None,
    figures: bool,
) -> None:
    """Reports on WHAT: folders of runs, for instance runs/isic2018, or one study, for instance lmd/table1 [runs=DIR].

    Means over folds and seeds, intervals, significance, head/medium/tail, splits and leakage. Runs of different splits
    are never in one column.
    """
    form = form or _format_of(output)
    if output is not None:
        require_writable(output)
    table = _chosen(_table(what, scale), metrics, reference)
    if form == "terminal" and output is None:
        from rich.console import Console

        from ltmed.report import terminal
        from ltmed.report.document import document

        console = Console()
        terminal.show(document(table), console if console.is_terminal else Console(width=terminal.WIDTH))
        return
    text = _rendered(table, form, figures=figures)
    if output is None:
        click.echo(text, nl=False)
        return
    with whole_file(output) as partial:
        partial.write_text(text, encoding="utf-8")
    click.echo(f"Written: {output}")


def _format_of(output: Path | None) -> str:
    if output is None:
        return "terminal"
    if output.suffix not in FORMATS:
        known = ", ".join(FORMATS)
        raise UserError(f"--output={output} does not say which format", f"End it in one of {known}, or give --format.")
    return FORMATS[output.suffix]


def _table(what: tuple[str, ...], scale: str | None) -> Table:
    from ltmed.report import study_table
    from ltmed.report.build import from_runs, separate
    from ltmed.studies import catalogue

    first, *further = what
    if first in catalogue.names() and not Path(first).is_dir():
        return separate(study_table.table(first, scale, further))
    for word in what:
        if not os.path.isdir(word):
            raise _neither(word, catalogue.names())
    if scale is not None:
        raise UserError("--scale is for studies", "Leave it out for folders of runs.")
    from ltmed.runs.reader import find_runs

    runs, unfinished = find_runs(Path(word) for word in what)
    return from_runs(runs, unfinished, title=f"Runs in {', '.join(what)}")


def _neither(word: str, known: Sequence[str]) -> UserError:
    """What to say of a word that is no folder and no study."""
    if os.path.exists(word):
        return UserError(f"{word} is a file", "Give the folder of a run, or one that holds runs.")
    close = suggest(word, known)
    if close.startswith("Did you mean") and word.count("/") < 2 and not os.path.isdir(word.split("/")[0]):
        return UserError(f"There is no study or folder '{word}'", close)
    if "=" in word and not word.startswith("="):
        return UserError(f"{word} is for studies", "What is reported comes first, for instance lmd/table1 runs=DIR.")
    return UserError(
        f"{word} does not exist", "Give folders of runs, or one study; ltmed train --help lists the studies."
    )


def _chosen(table: Table, metrics: tuple[str, ...], reference: str | None) -> Table:
    from ltmed.evaluation.scalars import SCALARS

    for metric in metrics:
        require_choice("--metric", metric, SCALARS)
    if reference is not None:
        if reference not in table.rows:
            raise UserError(f"--reference: there is no row '{reference}'", suggest(reference, table.rows))
        table = replace(table, reference=reference)
    return replace(table, metrics=tuple(dict.fromkeys(metrics))) if metrics else table


def _rendered(table: Table, form: str, *, figures: bool) -> str:
    from ltmed.report import csv, html, latex, markdown, terminal
    from ltmed.report.document import document

    if form == "csv":
        return csv.render(table)
    if form == "html":
        # Here and not in the renderer: what plots is a room above what reports.
        return html.render(document(table), _figures(table) if figures else ())
    renderers = {"terminal": terminal, "markdown": markdown, "latex": latex}
    return renderers[form].render(document(table))


def _figures(table: Table) -> list[FigureGroup]:
    from ltmed.plots.report_figures import report_figures

    return report_figures(table)
