"""`ltmed evaluate`: a finished run on its own test part or on another data set, with subgroups."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ltmed.errors import UserError, require_choice

if TYPE_CHECKING:
    from ltmed.inference.evaluate import EvaluationResult
    from ltmed.report.model import Document


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("arguments", nargs=-1, metavar="[RUN]... [OVERRIDES]...")
@click.option("--by", metavar="NAME[,NAME]", help="Attributes for metrics of subgroups, for instance sex,age.")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME[:CLASS]",
    help="Of subgroups, for instance macro_f1 or auroc:MEL; default: balanced_accuracy, of several labels macro_ap and "
    "the AUROC of each. Repeatable.",
)
@click.option(
    "--tta",
    default="none",
    show_default=True,
    metavar="none|flips",
    help="Test-time views that are averaged; flips: as it is, and mirrored left to right, top to bottom, and both.",
)
@click.option("--name", metavar="NAME", help="Of the folder of results; default: own, or the other data set's name.")
@click.option("--leave-out-trained", is_flag=True, help="Leave out images that the run was trained or chosen on.")
@click.option("--figures/--no-figures", default=True, help="Whether figures are plotted (default: yes).")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or what else torch knows.")
@click.option("--trust", is_flag=True, help="Also build classes that are not part of ltmed: runs their author's code.")
def command(
    run: Path,
    arguments: tuple[str, ...],
    by: str | None,
    metrics: tuple[str, ...],
    tta: str,
    name: str | None,
    leave_out_trained: bool,
    figures: bool,
    device: str,
    trust: bool,
) -> None:
    """Evaluates the finished run in the folder RUN: on its own test part, or on another data set with dataset=NAME
    dataset.root=DIR [key=value ...] [map=FILE].

    FILE is YAML that says which class of the run the classes of the data set are: 'AKIEC: [AK, SCC]'; also 'drop: [X]',
    and 'other: [X]' for images of none of the classes. Without it classes are matched by code. Images that the run was
    trained on are refused. Several RUNs of the same classes are an ensemble: probabilities are the mean over its
    members. Results go into RUN/evaluations/NAME, of an ensemble in its first run.
    """
    runs, settings = _runs_and_overrides(run, arguments)
    overrides = tuple(override for override in settings if not override.startswith("map="))
    maps = [Path(override.removeprefix("map=")).expanduser() for override in settings if override.startswith("map=")]
    if len(maps) > 1:
        raise UserError("map= is given twice", "One file holds the whole map.")
    if name is not None and not re.fullmatch(r"[\w.+-]*\w[\w.+-]*", name):
        raise UserError(f"--name={name} is no name of a folder", "Use letters, digits, '_', '-', '.' and '+'.")
    from ltmed.evaluation.scalars import require_metric
    from ltmed.inference.restore import finished_run

    members = [finished_run(folder) for folder in runs]  # Reports mistakes before the slow import of torch.
    opened, *others = members
    for metric in metrics:
        require_metric(metric, opened.classes, multilabel=opened.multilabel)
    attributes = tuple(dict.fromkeys(part.strip() for part in (by or "").split(",") if part.strip()))
    if metrics and not attributes:
        raise UserError(
            "--metric is of subgroups", "Add --by NAME; evaluation.json has every metric of all images without it."
        )
    from ltmed.config.targets import trusted
    from ltmed.inference import evaluate, evaluation_folder
    from ltmed.inference.decide import DECISIONS
    from ltmed.inference.ensemble import VIEWS

    require_choice("--tta", tta, tuple(VIEWS))
    request = evaluate.Request(
        overrides=overrides, map_file=maps[0] if maps else None, by=attributes,
        metrics=tuple(dict.fromkeys(metrics)), leave_out_trained=leave_out_trained, device=device, tta=tta,
    )  # fmt: skip
    with trusted(trust):
        done = evaluate.evaluate_run(opened, request, others)
    from ltmed.plots.style import file_name
    from ltmed.report.decisions.evaluation import evaluation_document

    default = "own" if done.results["data"]["own"] else file_name(done.results["data"]["dataset"])
    default += f"-ensemble{len(members)}" if others else ""
    default += "" if tta == "none" else f"-{tta}"
    folder = (
        opened.path / evaluation_folder.FOLDER / name if name else
        evaluation_folder.free_folder(opened.path, default, done.results)
    )  # fmt: skip
    document = evaluation_document(done.results)
    try:
        remove_figures(folder)
        evaluation_folder.write(folder, done)
        _write_page(folder / "evaluation.md", document)
    except OSError as error:
        raise UserError(f"{error.filename or folder} cannot be written: {error.strerror or error}") from None
    show(document)
    if figures:
        _plot(folder / "figures", done)
    click.echo(f"\nResults are in {folder}")
    if (opened.path / DECISIONS / folder.name).is_dir():
        click.echo(
            f"{DECISIONS}/{folder.name} is of the evaluation before this one: repeat ltmed decide --on {folder.name}."
        )


def _runs_and_overrides(run: Path, arguments: tuple[str, ...]) -> tuple[list[Path], list[str]]:
    """Splits the arguments into the folders of runs, which come first, and overrides.

    Raises:
        UserError: a folder of a run comes after an override.
    """
    from ltmed.runs.directory import CONFIG

    def is_run(argument: str) -> bool:
        # The folder of a run has settings in its name, and no key of an override but Hydra's own has a slash.
        return "/" in argument.partition("=")[0] or "=" not in argument or (Path(argument) / CONFIG).is_file()

    number = next((index for index, argument in enumerate(arguments) if not is_run(argument)), len(arguments))
    for argument in arguments[number:]:
        if is_run(argument):
            raise UserError(f"'{argument}' comes after an override", "Give all folders of runs first, then key=value.")
    return [run, *map(Path, arguments[:number])], list(arguments[number:])


def remove_figures(folder: Path) -> None:
    """Removes the figures of an earlier command from a folder of results: they would show other numbers than these.

    Args:
        folder: of the results; its `figures` are removed if there are any.

    Raises:
        OSError: one cannot be removed.
    """
    for file in (folder / "figures").glob("*.png"):
        file.unlink()


def show(document: Document) -> None:
    """Prints a document on the terminal, or into a pipe."""
    from rich.console import Console

    from ltmed.report.renderers import terminal

    console = Console()
    terminal.show(document, console if console.is_terminal else Console(width=terminal.WIDTH))


def _write_page(file: Path, document: Document) -> None:
    from ltmed.report.renderers import markdown
    from ltmed.utils.files import write_atomic

    write_atomic(file, markdown.render(document))


def _plot(folder: Path, done: EvaluationResult) -> None:
    from ltmed.plots import style
    from ltmed.plots.run import evaluation

    for name, figure in evaluation.figures(done.results, done.scored):
        style.save(figure, folder / f"{style.file_name(name)}.png")
