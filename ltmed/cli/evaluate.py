"""`ltmed evaluate`: a finished run on its own test part or on another data set, with subgroups."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ltmed.errors import UserError, require_choice

if TYPE_CHECKING:
    from ltmed.report.model import Document


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1)
@click.option("--by", metavar="NAME[,NAME]", help="Attributes for metrics of subgroups, for instance sex,age.")
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAME", help="Of subgroups; default: balanced_accuracy. Repeatable."
)
@click.option("--name", metavar="NAME", help="Of the folder of results; default: the data set's name.")
@click.option("--leave-out-trained", is_flag=True, help="Leave out images that the run was trained or chosen on.")
@click.option("--figures/--no-figures", default=True, help="Whether figures are plotted (default: yes).")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or what else torch knows.")
@click.option("--trust", is_flag=True, help="Also build classes that are not part of ltmed: runs their author's code.")
def command(
    run: Path,
    overrides: tuple[str, ...],
    by: str | None,
    metrics: tuple[str, ...],
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
    trained on are refused. Results go into RUN/evaluations/NAME.
    """
    from ltmed.evaluation.scalars import SCALARS

    for metric in metrics:
        require_choice("--metric", metric, SCALARS)
    of_hydra = [word for word in overrides if not word.startswith("map=")]
    maps = [Path(word.removeprefix("map=")).expanduser() for word in overrides if word.startswith("map=")]
    if len(maps) > 1:
        raise UserError("map= is given twice", "One file holds the whole map.")
    if name is not None and not re.fullmatch(r"[\w.+-]*\w[\w.+-]*", name):
        raise UserError(f"--name={name} is no name of a folder", "Use letters, digits, '_', '-', '.' and '+'.")
    from ltmed.inference.restore import one_label_run

    opened = one_label_run(run, "ltmed evaluate")  # A mistake is said before torch is imported, which takes long.
    from ltmed.config.targets import trusted
    from ltmed.inference import evaluate

    request = evaluate.Request(
        overrides=tuple(of_hydra), map_file=maps[0] if maps else None,
        by=tuple(dict.fromkeys(part.strip() for part in (by or "").split(",") if part.strip())),
        metrics=tuple(dict.fromkeys(metrics)) or ("balanced_accuracy",), leave_out_trained=leave_out_trained,
        device=device,
    )  # fmt: skip
    with trusted(trust):
        done = evaluate.evaluate_run(opened, request)
    from ltmed.plots.style import file_name
    from ltmed.report.decisions.evaluation import evaluation_document

    default = "own" if done.found["data"]["own"] else file_name(done.found["data"]["dataset"])
    folder = opened.path / evaluate.FOLDER / (name or default)
    document = evaluation_document(done.found)
    try:
        evaluate.write(folder, done)
        _write_page(folder / "evaluation.md", document)
    except OSError as error:
        raise UserError(f"{error.filename or folder} cannot be written: {error.strerror or error}") from None
    show(document)
    if figures:
        _plot(folder / "figures", done)
    click.echo(f"\nResults are in {folder}")


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


def _plot(folder: Path, done: Any) -> None:
    from ltmed.evaluation.calibration import apply_temperature
    from ltmed.plots import style
    from ltmed.plots.run import confusion, reliability, subgroups

    found, known = done.found, done.labelled.predictions
    known = known.select(known.labels >= 0)
    title = f"{found['run']['name']} on {found['data']['dataset']}"
    correct = known.probabilities.argmax(1) == known.labels
    ece = found["test"]["scalars"]["ece"]
    style.save(
        reliability.reliability_diagram(known.probabilities.max(1), correct, ece, title), folder / "reliability.png"
    )
    if calibrated := found["calibration"]:
        scaled = apply_temperature(known.probabilities, calibrated["temperature"])
        after = reliability.reliability_diagram(
            scaled.max(1), correct, calibrated["after"]["ece"]["value"], f"{title}, calibrated"
        )
        style.save(after, folder / "reliability_calibrated.png")
    tiers = [row["tier"] for row in found["test"]["per_class"]]
    matrix = confusion.confusion_matrix(
        found["test"]["confusion"], list(known.classes), tiers, known.counts.tolist(), title
    )
    style.save(matrix, folder / "confusion_matrix.png")
    for metric in dict.fromkeys(report["metric"] for report in found["subgroups"]):
        reports = [report for report in found["subgroups"] if report["metric"] == metric]
        figure = subgroups.forest(reports, found["test"]["scalars"][metric], title)
        style.save(figure, folder / f"subgroups_{metric}.png")
