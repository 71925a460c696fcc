"""`ltmed report`: finished runs, a study, or saved results, as tables."""

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
    from ltmed.report.model import Document, Table
    from ltmed.report.renderers.html import FigureGroup

FORMATS = {".txt": "terminal", ".md": "markdown", ".tex": "latex", ".csv": "csv", ".html": "html", ".htm": "html"}
RESULTS = "results"
"""The format of results.csv, one line for each run and metric, which no file ending selects."""


@click.command()
@click.argument("what", nargs=-1, required=True)
@click.option(
    "--format", "form", type=click.Choice([*dict.fromkeys(FORMATS.values()), RESULTS]), help="Default: terminal."
)
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
    """Reports on WHAT: folders of runs, for instance runs/isic2018; one study, for instance lmd/table1 [runs=DIR]; or a
    file of results that --format results wrote.

    Means over folds and seeds, intervals, significance, head/medium/tail, splits and leakage. Runs of different splits
    are never in one column. An HTML page has figures as well.
    """
    form = form or _format_of(output)
    if output is not None:
        require_writable(output)
    if len(what) == 1 and what[0].endswith(".csv") and os.path.isfile(what[0]):
        from ltmed.report.results import document_of_results

        _require_plain(form, metrics, reference, scale)
        _show(document_of_results(Path(what[0])), form, output, ())
        return
    table = _with_choices(_table(what, scale), metrics, reference)
    if form in ("csv", RESULTS):
        from ltmed.report.renderers import csv

        _write(csv.render(table) if form == "csv" else csv.render_results(table), output)
        return
    from ltmed.report.document import document

    _show(document(table), form, output, _figures(table) if form == "html" and figures else ())


def _require_plain(form: str, metrics: Sequence[str], reference: str | None, scale: str | None) -> None:
    """Refuses options that need the runs themselves."""
    options = {
        "--metric": metrics,
        "--reference": reference,
        "--scale": scale,
        f"--format {form}": form in ("csv", RESULTS),
    }
    for option, value in options.items():
        if value:
            raise UserError(f"{option} needs the runs", "A file of results is shown as it is.")


def _show(document: Document, form: str, output: Path | None, figures: Sequence[FigureGroup]) -> None:
    from ltmed.report.renderers import html, latex, markdown, terminal

    if form == "terminal" and output is None:
        from rich.console import Console

        console = Console()
        terminal.show(document, console if console.is_terminal else Console(width=terminal.WIDTH))
    elif form == "html":
        _write(html.render(document, figures), output)
    else:
        renderers = {"terminal": terminal, "markdown": markdown, "latex": latex}
        _write(renderers[form].render(document), output)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    with whole_file(output) as partial:
        partial.write_text(text, encoding="utf-8")
    click.echo(f"Written: {output}")


def _figures(table: Table) -> list[FigureGroup]:
    """Not in the renderer, since ltmed.plots may import ltmed.report but not the reverse."""
    from ltmed.plots.runs.report_figures import report_figures

    return report_figures(table)


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
    for argument in what:
        if not os.path.isdir(argument):
            raise _neither(argument, catalogue.names())
    if scale is not None:
        raise UserError("--scale is for studies", "Leave it out for folders of runs.")
    from ltmed.runs.reader import find_runs

    runs, unfinished = find_runs(Path(argument) for argument in what)
    return from_runs(runs, unfinished, title=f"Runs in {', '.join(what)}")


def _neither(argument: str, studies: Sequence[str]) -> UserError:
    """The error about an argument that is neither a folder nor a study."""
    if os.path.exists(argument):
        return UserError(f"{argument} is a file", "Give the folder of a run, or one that holds runs.")
    close = suggest(argument, studies)
    if close.startswith("Did you mean") and argument.count("/") < 2 and not os.path.isdir(argument.split("/")[0]):
        return UserError(f"There is no study or folder '{argument}'", close)
    if "=" in argument and not argument.startswith("="):
        return UserError(f"{argument} is for studies", "Name the study first, for instance lmd/table1 runs=DIR.")
    return UserError(
        f"{argument} does not exist", "Give folders of runs, or one study; ltmed train --help lists the studies."
    )


def _with_choices(table: Table, metrics: tuple[str, ...], reference: str | None) -> Table:
    from ltmed.evaluation.scalars import ALL_SCALARS

    for metric in metrics:
        require_choice("--metric", metric, ALL_SCALARS)
    if reference is not None:
        if reference not in table.rows:
            raise UserError(f"--reference: there is no row '{reference}'", suggest(reference, table.rows))
        table = replace(table, reference=reference)
    return replace(table, metrics=tuple(dict.fromkeys(metrics))) if metrics else table
