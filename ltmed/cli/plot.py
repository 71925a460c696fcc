"""`ltmed plot`: pictures of finished runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ltmed.errors import UserError

if TYPE_CHECKING:
    from ltmed.runs.reader import Run


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="Folder for all pictures; made if needed.")
@click.option(
    "--features",
    type=click.Choice(["tsne", "umap", "none"]),
    default="tsne",
    show_default=True,
    help="Map of the test images' features; needs the images.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["png", "svg", "pdf"]),
    default="png",
    show_default=True,
    help="Of all pictures.",
)
@click.option("--trust", is_flag=True, help="Also build classes that are not part of ltmed: runs their author's code.")
def command(runs: tuple[Path, ...], output: Path | None, features: str, kind: str, trust: bool) -> None:
    """Draws finished runs: RUNS are folders of runs, or folders that hold such folders.

    The pictures of each run go into its own folder `figures`. With several runs, methods are compared for each data
    set and split, in the folder `figures` of the runs' common folder.
    """
    from ltmed.runs.reader import find_runs

    finished, unfinished = find_runs(runs)
    for folder in unfinished:
        click.echo(f"skipped, not finished: {folder}", err=True)
    if not finished:
        raise UserError("None of the runs is finished", "The command that started a run also finishes it.")
    if features == "umap":
        _require_umap()
    if output is not None:
        _make(output)
    from ltmed.config.targets import trusted

    with trusted(trust):
        _draw_all(finished, output, features, kind)


def _make(folder: Path) -> None:
    """Before anything is drawn, which may take minutes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is a file" if folder.is_file() else error.strerror or error
        raise UserError(f"--output={folder} cannot be made: {reason}", "Choose another folder.") from None


def _draw_all(runs: list[Run], output: Path | None, how: str, kind: str) -> None:
    from ltmed.plots import style
    from ltmed.plots.comparisons import comparisons
    from ltmed.plots.run_figures import FOLDER, save

    common = Path(os.path.commonpath([run.path.resolve() for run in runs]))
    for number, run in enumerate(runs, 1):
        folder = run.path / FOLDER
        if output is not None:
            folder = output / run.path.resolve().relative_to(common)
        if how != "none" and len(runs) > 1:
            # A map of features takes up to half a minute.
            click.echo(f"{number} of {len(runs)}: {run.path}", err=True)
        files = save(run, folder, kind)
        files += _features(run, folder, how, kind)
        click.echo(f"{len(files)} figures in {folder}")
    if len(runs) == 1:
        return
    folder = (common / FOLDER) if output is None else output
    left_out: dict[str, None] = {}
    drawn = 0
    for name, figure, without in comparisons(runs):
        style.save(figure, folder / f"{name}.{kind}")
        left_out.update({without: None} if without else {})
        drawn += 1
    for without in left_out:
        click.echo(f"not compared: {without}", err=True)
    if drawn:
        click.echo(f"{drawn} comparisons in {folder}")
    else:
        click.echo("Nothing to compare: no two methods were run on one data set, split and fold.")


def _features(run: Run, folder: Path, how: str, kind: str) -> list[Path]:
    """The map of features; without the images one line that says why there is none."""
    if how not in ("tsne", "umap"):
        return []
    from ltmed.plots import style
    from ltmed.plots.feature_maps import feature_picture

    try:
        figure = feature_picture(run, how)
    except (UserError, FileNotFoundError) as error:
        said = str(error).splitlines()[0]
        click.echo(f"no map of features for {run.path}: {said} (--features none says nothing)", err=True)
        return []
    file = folder / f"features_{how}.{kind}"
    style.save(figure, file)
    return [file]


def _require_umap() -> None:
    from importlib.util import find_spec

    if find_spec("umap") is None:
        raise UserError("--features umap needs umap-learn", "pip install 'ltmed[umap]', or choose --features tsne.")
