"""`ltmed card`: one page on a trained network, for those who decide about its use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ltmed.errors import UserError
from ltmed.utils.files import require_writable, write_atomic

if TYPE_CHECKING:
    from ltmed.runs.reader import Run

_MARKDOWN, _HTML = (".md",), (".html", ".htm")


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="FILE.html or FILE.md; RUN/card.html if absent.",
)
def command(run: Path, output: Path | None) -> None:
    """Writes the card of the finished run in the folder RUN: one page with data, split, leakage, training, figures with
    intervals, calibration, operating points, subgroups and limits, and blanks for its intended use.

    Operating points and subgroups are those that ltmed decide and ltmed evaluate left in RUN; where there are none they
    are computed from the predictions in RUN.

    An HTML page has its figures inside; beside FILE.md there is a folder FILE_figures.
    """
    from ltmed.inference.restore import finished_run

    opened = finished_run(run)
    file = output or opened.path / "card.html"
    if file.suffix.lower() not in (*_MARKDOWN, *_HTML):
        raise UserError(f"--output={file} ends in neither .html nor .md", "The ending chooses the format.")
    require_writable(file)
    from ltmed.plots.run import card_figures

    if file.suffix.lower() in _HTML:
        card_figures.write_html(opened, file)
    else:
        _markdown(opened, file)
    click.echo(f"Written: {file}")


def _markdown(run: Run, file: Path) -> None:
    from ltmed.inference.card_results import card_results
    from ltmed.plots.run.card_figures import card_figures
    from ltmed.report.card import card
    from ltmed.report.renderers.card import render_markdown

    results = card_results(run)
    figures = card_figures(run, results)
    folder = file.with_name(f"{file.stem}_figures")
    folder.mkdir(exist_ok=True)
    for name, figure in figures.items():
        (folder / f"{name}.svg").write_bytes(figure.svg)
    address = folder.name.replace(" ", "%20")
    write_atomic(file, render_markdown(card(run, results), {name: f"{address}/{name}.svg" for name in figures}))
