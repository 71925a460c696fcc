"""`ltmed explain`: where in an image a trained network saw evidence, and which training images it finds alike."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ltmed.cli.predict import EXIT_UNREADABLE
from ltmed.errors import UserError, suggest

if TYPE_CHECKING:
    import pandas as pd

    from ltmed.data.datamodule import DataModule
    from ltmed.data.inputs import Listed
    from ltmed.plots.explanations import Case, Explainer
    from ltmed.report.renderers.explanations import ExplainedImage
    from ltmed.runs.reader import Run

FOLDER = "explanations"
_BATCH = 16


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--errors",
    type=click.IntRange(1),
    metavar="N",
    help="In place of IMAGES: the N misclassified test images of tail classes whose label got the least probability; "
    "of several labels those with the label --class that were missed.",
)
@click.option(
    "--class",
    "code",
    metavar="CODE",
    help="The class whose evidence is shown; default: the predicted one. Of several labels it is needed.",
)
@click.option(
    "--neighbours", type=click.IntRange(0), default=4, show_default=True, help="Nearest training images of each image."
)
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="Folder; explanations in RUN if absent. Made if needed."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or what else torch knows.")
@click.option("--trust", is_flag=True, help="Also build classes that are not part of ltmed: runs their author's code.")
def command(
    run: Path,
    images: tuple[Path, ...],
    errors: int | None,
    code: str | None,
    neighbours: int,
    output: Path | None,
    device: str,
    trust: bool,
) -> None:
    """Shows where the network of the finished run in the folder RUN sees evidence for a class in IMAGES.

    IMAGES are files, folders and tables, as for ltmed predict. Written are a PNG for each image with its Grad-CAM map,
    and one page, images.html or errors.html: image, map, probabilities, and the training images that are nearest in the
    network's feature space (where the data of the run are on this machine). Needs pip install 'ltmed[explain]'.
    """
    from ltmed.inference.restore import finished_run

    if bool(images) == bool(errors):
        raise UserError("Nothing to explain" if not images else "--errors stands alone", "Give IMAGES or --errors N.")
    opened = finished_run(run)
    if code is not None and code not in opened.classes:
        raise UserError(f"--class: {run} has no class '{code}'", suggest(code, opened.classes))
    if opened.multilabel and code is None:
        raise UserError(
            f"The images of {run} carry several labels, and a map is of one of them",
            f"Choose it with --class, for instance --class {opened.classes[0]}; with --errors its misses are shown.",
        )
    from ltmed.config.targets import trusted
    from ltmed.data.inputs import list_images
    from ltmed.inference.predictor import device_named
    from ltmed.plots.explanations import Explainer, test_cases
    from ltmed.report.renderers.explanations import render
    from ltmed.runs.outputs import require_no_figures_of_run
    from ltmed.utils.files import write_atomic

    folder = output or opened.path / FOLDER
    listed = list_images(images)
    require_no_figures_of_run(listed.paths)
    _require_apart(folder, listed.paths)
    worst = None if errors is None else _worst(opened, errors, code)
    if worst is not None and not len(worst):
        none = f"with {code} is missed" if opened.multilabel else "of a tail class is misclassified"
        click.echo(f"No test image {none}: there is nothing to explain")
        return
    with trusted(trust):
        explainer = Explainer(opened, device_named(device))
        data = _data(opened, required=errors is not None, neighbours=neighbours > 0)
    if data is not None and neighbours:
        explainer.use_training_images(data, neighbours)
    if worst is None:
        cases: Iterator[Case | ExplainedImage] = _cases(listed, explainer)
    else:
        assert data is not None
        _require_apart(folder, [data.manifest.root / image for image in worst["image"]])
        cases = test_cases(opened, worst, data)
    _make(folder)
    explained = list(_explain(cases, explainer, code, folder))
    page = folder / ("images.html" if errors is None else "errors.html")
    layer, (height, width) = explainer.maps.layer.name, explainer.maps.layer.cells
    notes = [
        f"Network: {opened.path}. Grad-CAM (Selvaraju et al. 2017) of layer {layer}, {height} x {width} cells; each "
        "map has its strongest evidence at the brightest colour, whatever the probability.",
        "A map shows where a class's logit is sensitive, not why, and not whether the network is right.",
    ]
    if data is not None and neighbours:
        notes.append(
            "Nearest training images are by the cosine of the encoder's features; 1.000 may be the image itself."
        )
    write_atomic(page, render(_title(opened, errors, code), explained, notes))
    click.echo(f"Written: {page}")
    if unreadable := sum(bool(image.error) for image in explained):
        click.echo(f"{unreadable:,} of {len(explained):,} images cannot be read; the page says why", err=True)
        raise SystemExit(EXIT_UNREADABLE)


def _worst(run: Run, number: int, code: str | None) -> pd.DataFrame:
    from ltmed.plots.explanations import worst_errors, worst_misses

    if not run.multilabel:
        return worst_errors(run, number)
    assert code is not None
    return worst_misses(run, number, code)


def _title(run: Run, errors: int | None, code: str | None) -> str:
    facts = run.metrics["run"]
    worst = f"worst misses of {code}" if run.multilabel else "worst errors of tail classes"
    what = "where it looked" if errors is None else worst
    return f"{facts['method']} on {facts['dataset']}, fold {facts['fold']}, seed {facts['seed']}: {what}"


def _require_apart(folder: Path, images: Sequence[Path]) -> None:
    """Refuses to write into a folder of images: a map is named like its image, and would take its place."""
    target = folder.resolve()
    if any(parent.resolve() == target for parent in {image.parent for image in images}):
        raise UserError(f"--output={folder} holds the images themselves", "Choose a folder of its own for the maps.")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is a file" if folder.is_file() else error.strerror or error
        raise UserError(f"--output={folder} cannot be made: {reason}", "Choose another folder.") from None


def _data(run: Run, *, required: bool, neighbours: bool) -> DataModule | None:
    """Opens the run's images: required by --errors, optional for --neighbours."""
    from ltmed.inference.neighbours import open_images

    if not required and not neighbours:
        return None
    try:
        return open_images(run)
    except (UserError, FileNotFoundError) as error:
        if required:
            raise
        reason = str(error).splitlines()[0]
        click.echo(f"no nearest training images: {reason} (--neighbours 0 leaves them out)", err=True)
        return None


def _cases(listed: Listed, explainer: Explainer) -> Iterator[Case | ExplainedImage]:
    """The images of the command line; an unreadable one carries its error instead."""
    from ltmed.data.cache.build import UNREADABLE
    from ltmed.plots.explanations import Case
    from ltmed.report.renderers.explanations import ExplainedImage

    for title, path in zip(listed.names, listed.paths, strict=True):
        try:
            yield Case(title, explainer.member.preprocessing(path.read_bytes()))
        except OSError as error:
            reason = f"{UNREADABLE}: {error.strerror or type(error).__name__}"
            yield ExplainedImage(title, (), (), (), (), error=reason)
        except (ValueError, UserError) as error:
            yield ExplainedImage(title, (), (), (), (), error=str(error))


def _explain(
    cases: Iterator[Case | ExplainedImage], explainer: Explainer, code: str | None, folder: Path
) -> Iterator[ExplainedImage]:
    """Explains every case in order and writes its map into the folder; an unreadable one is passed on as it came."""
    from ltmed.report.renderers.explanations import ExplainedImage
    from ltmed.utils.files import replacing

    used: set[str] = set()
    while batch := list(islice(cases, _BATCH)):
        readable = [case for case in batch if not isinstance(case, ExplainedImage)]
        done = iter(explainer(readable, code) if readable else ())
        for case in batch:
            if isinstance(case, ExplainedImage):
                yield case
                continue
            explained, png = next(done)
            with replacing(folder / _file_name(case.title, used)) as partial:
                partial.write_bytes(png)
            yield explained


def _file_name(title: str, used: set[str]) -> str:
    """A file name for an image's map that no other image of this command has."""
    base = re.sub(r"[^\w.-]+", "_", Path(title.replace("\\", "/")).stem).strip("_.") or "image"
    name, number = base[:100], 1
    while name.lower() in used:
        number += 1
        name = f"{base[:100]}-{number}"
    used.add(name.lower())
    return f"{name}.png"
