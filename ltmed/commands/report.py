"""`ltmed report`: finished runs, or a study, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ltmed.errors import UserError, nearest, require_choice

if TYPE_CHECKING:
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
def command(
    what: tuple[str, ...],
    form: str | None,
    output: Path | None,
    metrics: tuple[str, ...],
    reference: str | None,
    scale: str | None,
) -> None:
    """Reports on WHAT: folders of runs, for instance runs/isic2018, or one study, for instance lmd/table1 [runs=DIR].

    Means over folds and seeds, intervals, significance, head/medium/tail, splits and leakage. Runs of different splits
    are never in one column.
    """
    form = form or _format_of(output)
    table = _chosen(_table(what, scale), metrics, reference)
    if form == "terminal" and output is None:
        from rich.console import Console

        from ltmed.report import terminal
        from ltmed.report.document import document

        console = Console()
        terminal.show(document(table), console if console.is_terminal else Console(width=terminal.WIDTH))
        return
    text = _rendered(table, form)
    if output is None:
        click.echo(text, nl=False)
        return
    from ltmed.rundir import write_atomic

    if not output.parent.is_dir() or output.is_dir():
        raise UserError(f"{output} cannot be written", "Give a file in a folder that exists.")
    write_atomic(output, text)
    click.echo(f"Written: {output}")


def _format_of(output: Path | None) -> str:
    if output is None:
        return "terminal"
    if output.suffix not in FORMATS:
        known = ", ".join(FORMATS)
        raise UserError(f"--output={output} does not say which format", f"End it in one of {known}, or give --format.")
    return FORMATS[output.suffix]


def _table(what: tuple[str, ...], scale: str | None) -> Table:
    from ltmed.report.build import from_runs, separate

    if not Path(what[0]).is_dir() and all("=" in word and not Path(word).is_dir() for word in what[1:]):
        return separate(_study(what[0], scale, what[1:]))
    if scale is not None:
        raise UserError("--scale is for studies", "Leave it out for folders of runs.")
    from ltmed.runs import find_runs

    runs, unfinished = find_runs(Path(word) for word in what)
    return from_runs(runs, unfinished, title=f"Runs in {', '.join(what)}")


def _study(name: str, scale: str | None, further: Sequence[str]) -> Table:
    from ltmed import studies

    known = studies.names()
    if name not in known:
        raise UserError(f"'{name}' is neither a folder nor a study", nearest(name, known))
    return studies.table(name, scale, further)


def _chosen(table: Table, metrics: tuple[str, ...], reference: str | None) -> Table:
    from ltmed.metrics import SCALARS

    for metric in metrics:
        require_choice("--metric", metric, SCALARS)
    if reference is not None:
        if reference not in table.rows:
            raise UserError(f"--reference: there is no row '{reference}'", nearest(reference, table.rows))
        table = replace(table, reference=reference)
    return replace(table, metrics=tuple(dict.fromkeys(metrics))) if metrics else table


def _rendered(table: Table, form: str) -> str:
    from ltmed.report import csv, html, latex, markdown, terminal
    from ltmed.report.document import document

    if form == "csv":
        return csv.render(table)
    renderers = {"terminal": terminal, "markdown": markdown, "latex": latex, "html": html}
    return renderers[form].render(document(table))
