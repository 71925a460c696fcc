"""`ltmed plot`: figures of finished runs, of a study, and of losses."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ltmed.cli.plot_images import Features, feature_map, maps_of_errors, require_umap
from ltmed.errors import UserError, require_choice

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ltmed.runs.reader import Run


@click.command()
@click.argument("what", nargs=-1)
@click.option("--output", type=click.Path(path_type=Path), help="Folder for all figures; made if needed.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["png", "svg", "pdf"]),
    default="png",
    show_default=True,
    help="Of all figures.",
)
@click.option("--trust", is_flag=True, help="Also build classes that are not part of ltmed: runs their author's code.")
@click.option(
    "--features",
    "projection",
    type=click.Choice(["tsne", "umap", "none"]),
    default="tsne",
    show_default=True,
    help="Map of the features of each run's images; needs the images.",
)
@click.option(
    "--part",
    type=click.Choice(["train", "val", "test"]),
    default="test",
    show_default=True,
    help="Whose images the map shows.",
)
@click.option("--class", "classes", multiple=True, metavar="CODE", help="Classes of the map, if not all. Repeatable.")
@click.option(
    "--maps",
    type=click.IntRange(1),
    metavar="N",
    help="Also Grad-CAM maps of each run's N worst errors of tail classes, of several labels of the misses of --class; "
    "needs the images and pip install 'ltmed[explain]'.",
)
@click.option("--side-by-side", is_flag=True, help="Of several runs one figure of maps, and one of losses by class.")
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="Of a study, in order. Repeatable.")
@click.option("--scale", metavar="NAME", help="Of a study that has several sizes.")
@click.option(
    "--loss",
    "losses",
    multiple=True,
    metavar="'NAME [KEY=VALUE ...]'",
    help="Instead of WHAT: the gradient of a loss against the probability. Repeatable.",
)
@click.option("--counts", default="1000,10", show_default=True, help="Images of two classes, for --loss.")
def command(
    what: tuple[str, ...],
    output: Path | None,
    kind: str,
    projection: str,
    part: str,
    classes: tuple[str, ...],
    maps: int | None,
    side_by_side: bool,
    metrics: tuple[str, ...],
    scale: str | None,
    losses: tuple[str, ...],
    counts: str,
    trust: bool,
) -> None:
    """Plots WHAT: folders of runs, or folders that hold them; or one study, for instance lmd/curve_r [runs=DIR].

    Figures of each run go into its own folder `figures`. With several runs, methods are compared for each data set and
    split, in the folder `figures` of the runs' common folder. A study is plotted against the parameter that it varies.
    """
    from ltmed.studies import catalogue

    if bool(what) == bool(losses):
        raise UserError(
            "Nothing to plot" if not what else "--loss is plotted alone", "Give folders, a study or --loss."
        )
    if projection == "umap" and not losses:
        require_umap()
    if output is not None:
        _make(output)
    from ltmed.config.targets import trusted

    of_runs = {"--maps": maps, "--class": classes, "--side-by-side": side_by_side}
    if losses:
        _require_unset({**of_runs, "--metric": metrics, "--scale": scale}, "beside --loss")
        _plot_losses(losses, counts, output or Path(), kind)
    elif what[0] in catalogue.names() and not Path(what[0]).is_dir():
        _require_unset(of_runs, f"on the figure of {what[0]}")
        _plot_study(what[0], scale, what[1:], metrics, output, kind)
    else:
        _require_no_study_options(metrics, scale)
        if side_by_side:
            _require_unset({"--maps": maps}, "beside --side-by-side")
        runs = _finished([Path(folder) for folder in what])
        plot = _plot_side_by_side if side_by_side else _plot_runs
        with trusted(trust):
            plot(runs, output, Features(projection, part, classes, maps), kind)


def _require_unset(options: Mapping[str, object], where: str) -> None:
    """Refuses options that would have no effect."""
    for option, value in options.items():
        if value:
            raise UserError(f"{option} has no effect {where}", "Leave it out.")


def _make(folder: Path) -> None:
    """Creates the output folder before anything is plotted, which may take minutes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is a file" if folder.is_file() else error.strerror or error
        raise UserError(f"--output={folder} cannot be made: {reason}", "Choose another folder.") from None


def _save(figure: Figure, file: Path) -> None:
    from ltmed.plots import style

    style.save(figure, file)
    click.echo(f"Written: {file}")


# --- runs -----------------------------------------------------------------------------------------------------


def _require_no_study_options(metrics: Sequence[str], scale: str | None) -> None:
    if metrics or scale is not None:
        option = "--metric" if metrics else "--scale"
        raise UserError(f"{option} is for studies", "Leave it out for folders of runs.")


def _finished(folders: Sequence[Path]) -> list[Run]:
    from ltmed.runs.reader import find_runs

    finished, unfinished = find_runs(folders)
    for folder in unfinished:
        click.echo(f"skipped, not finished: {folder}", err=True)
    if not finished:
        raise UserError("None of the runs is finished", "The command that started a run also finishes it.")
    return finished


def _common(runs: Sequence[Run]) -> Path:
    return Path(os.path.commonpath([run.path.resolve() for run in runs]))


def _plot_runs(runs: list[Run], output: Path | None, features: Features, kind: str) -> None:
    """The figures of each run, and comparisons of their methods."""
    from ltmed.plots.run import figures as run_figures

    common = _common(runs)
    for number, run in enumerate(runs, 1):
        folder = run.path / run_figures.FOLDER
        if output is not None:
            folder = output / run.path.resolve().relative_to(common)
        if features.projection != "none" and len(runs) > 1:
            # A map of features takes up to half a minute.
            click.echo(f"{number} of {len(runs)}: {run.path}", err=True)
        files = run_figures.save(run, folder, kind)
        files += feature_map(run, folder, features, kind)
        files += maps_of_errors(run, folder, features, kind)
        click.echo(f"{len(files)} figures in {folder}")
    if len(runs) > 1:
        _compare(runs, (common / run_figures.FOLDER) if output is None else output, kind)


def _compare(runs: list[Run], folder: Path, kind: str) -> None:
    from ltmed.plots import style
    from ltmed.plots.runs.comparisons import comparisons

    left_out: dict[str, None] = {}
    number = 0
    for name, figure, reason in comparisons(runs):
        style.save(figure, folder / f"{name}.{kind}")
        left_out.update({reason: None} if reason else {})
        number += 1
    for reason in left_out:
        click.echo(f"not compared: {reason}", err=True)
    if number:
        click.echo(f"{number} comparisons in {folder}")
    else:
        click.echo("Nothing to compare: no two methods were run on one data set, split and fold.")


def _plot_side_by_side(runs: list[Run], output: Path | None, features: Features, kind: str) -> None:
    """One figure with a panel for each run."""
    from ltmed.plots import feature_maps
    from ltmed.plots.run import curves
    from ltmed.plots.run.data import RunData
    from ltmed.plots.run.figures import FOLDER
    from ltmed.plots.runs.comparisons import run_titles

    feature_maps.require_same_classes(runs)
    titled = run_titles(runs)
    folder = output or _common(runs) / FOLDER
    if features.projection != "none":
        figure = feature_maps.side_by_side(titled, features.projection, features.part, features.classes)
        _save(figure, folder / f"{features.file}-side_by_side.{kind}")
    logged = {
        title if len(data.stages) == 1 else f"{title}: {stage}": losses
        for title, data in ((title, RunData(run)) for title, run in titled.items())
        for stage in data.stages
        if (losses := data.class_losses(stage))
    }
    if logged:
        data = RunData(runs[0])
        figure = curves.class_losses(logged, data.classes, data.tiers, data.counts)
        _save(figure, folder / f"class_losses-side_by_side.{kind}")
    elif features.projection == "none":
        raise UserError("No run has losses by class", "They are logged with class_losses=true.")


# --- studies --------------------------------------------------------------------------------------------------


def _plot_study(
    name: str, scale: str | None, further: Sequence[str], metrics: Sequence[str], output: Path | None, kind: str
) -> None:
    from ltmed.config import overrides
    from ltmed.evaluation.scalars import ALL_SCALARS
    from ltmed.plots.run.figures import FOLDER
    from ltmed.plots.runs.study_curves import missing_cells, study_figure
    from ltmed.plots.style import file_name
    from ltmed.report import study_table
    from ltmed.report.build import separate

    table = study_table.table(name, scale, further)
    if separate(table).columns != table.columns:
        raise UserError(
            f"A column of {name} has runs of several splits, which cannot share an axis",
            "ltmed report tells them apart; choose one folder of runs with runs=DIR.",
        )
    for metric in metrics:
        require_choice("--metric", metric, ALL_SCALARS)
    figure = study_figure(replace(table, metrics=tuple(dict.fromkeys(metrics))) if metrics else table)
    for cell in missing_cells(table):
        click.echo(f"not run: {cell}", err=True)
    runs = overrides.choice(list(further), "runs") or "runs"
    _save(figure, (output or Path(runs) / FOLDER) / f"{file_name(name.replace('/', '-'))}.{kind}")


# --- losses ---------------------------------------------------------------------------------------------------


def _plot_losses(descriptions: Sequence[str], counts: str, folder: Path, kind: str) -> None:
    from ltmed.plots.loss_gradients import loss_gradients, named_loss

    try:
        first, second = (int(number) for number in counts.split(","))
    except ValueError:
        first = second = 0
    if min(first, second) < 1:
        raise UserError(f"--counts={counts}", "Give the training images of two classes, for instance 1000,10.")
    losses = {text: named_loss(text) for text in dict.fromkeys(descriptions)}
    _save(loss_gradients(losses, (first, second)), folder / f"loss_gradients.{kind}")
