"""The figures of a finished run, from its folder alone: no images and no network are needed.

Figures of every run are plotted here. Figures of a method are declared by its stages (`ltmed.training.stage.Stage.
figures`) and found through the stages' recorded `_target_`, so that this module contains no method.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ltmed.config.targets import known
from ltmed.errors import UserError
from ltmed.plots import style
from ltmed.plots.run import classes, confusion, curves, labels, reliability
from ltmed.plots.run.data import RunData
from ltmed.runs.reader import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ltmed.training.stage import Stage

FOLDER = "figures"
Plot = Callable[[], "Figure | None"]
"""Plots a figure, or gives None where the run has no data for it."""


def figures(run: Run) -> dict[str, Plot]:
    """Name -> plotting function, for all figures that need the run's folder alone.

    Args:
        run: a finished run. Stages outside of ltmed are imported inside `ltmed.config.targets.trusted` only, as in the
            process that has just trained with them.
    """
    data = RunData(run)
    of_kind: dict[str, Callable[[RunData], Figure | None]]
    if run.multilabel:
        of_kind = {
            "ap_by_positives": lambda data: labels.ap_by_positives(data.run, data.title),
            "precision_recall": lambda data: labels.precision_recall(data.run, data.title),
            "co_occurrence": lambda data: labels.co_occurrence(data.run, data.title),
        }
    else:
        of_kind = {"confusion_matrix": _confusion, "recall_by_size": _recall, "reliability": _reliability}
    common: dict[str, Callable[[RunData], Figure | None]] = {
        "class_distribution": _distribution,
        **of_kind,
        "training_curves": _curves,
        "class_losses": _class_losses,
    }
    return {name: partial(plot, data) for name, plot in common.items()} | _declared(data)


def save(run: Run, folder: Path, kind: str = "png") -> list[Path]:
    """Writes all `figures` into a folder; one that cannot be plotted causes a warning and does not prevent others.

    Args:
        run: a finished run.
        folder: made if needed.
        kind: "png", "svg" or "pdf".

    Returns:
        the files.

    Raises:
        UserError: the folder cannot be written to.
    """
    written = []
    for name, plot in figures(run).items():
        try:
            figure = plot()
        except Exception as error:  # A figure must never cost the results of a run that has just been trained.
            reason = error if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            warnings.warn(f"no figure {name} of {run.path}: {' '.join(str(reason).split())}", stacklevel=2)
            continue
        if figure is not None:
            written.append(folder / f"{name}.{kind}")
            style.save(figure, written[-1])
    return written


def _declared(data: RunData) -> dict[str, Plot]:
    """The figures that the run's stages declare; a later stage replaces a figure of the same name."""
    plots: dict[str, Plot] = {}
    for stage, recipe in data.stages.items():
        try:
            declared = stage_class(str(recipe.module._target_)).figures()
        except UserError as error:
            warnings.warn(f"no figures of stage '{stage}' of {data.run.path}: {error}", stacklevel=2)
            continue
        plots.update({name: partial(plot, data, stage) for name, plot in declared.items()})
    return plots


def stage_class(target: str) -> type[Stage]:
    """The class of a stage by its import path.

    Args:
        target: for instance `ltmed.methods.erm.ERM`.

    Raises:
        UserError: it does not exist, is not a stage, or lies outside of ltmed and is not trusted.
    """
    from ltmed.training.stage import Stage

    try:
        stage = known(target)
    except UserError:
        raise
    except Exception as error:  # Importing a module may raise anything.
        raise UserError(
            f"'{target}' cannot be imported: {(str(error).splitlines() or [type(error).__name__])[0]}"
        ) from None
    if not (isinstance(stage, type) and issubclass(stage, Stage)):
        raise UserError(f"'{target}' is not a stage")
    return stage


def _distribution(data: RunData) -> Figure:
    split = data.run.metrics["split"]
    counts = {part: list(numbers.values()) for part, numbers in split["counts"].items()}
    title = f"{data.run.metrics['run']['dataset']}, {split['name']} split"
    return classes.class_distribution(counts, data.classes, data.tiers, title)


def _confusion(data: RunData) -> Figure:
    return confusion.confusion_matrix(
        data.run.metrics["test"]["confusion"], data.classes, data.tiers, data.counts, data.title
    )


def _recall(data: RunData) -> Figure:
    intervals = data.run.metrics["test"]["intervals"]["per_class"]
    bounds = [intervals[code]["recall"] for code in data.classes]
    recall = [row["recall"] for row in data.per_class]
    return classes.recall_by_size(recall, bounds, data.classes, data.tiers, data.counts, data.title)


def _reliability(data: RunData) -> Figure | None:
    confidence, correct = reliability.confidences(data.run)
    return reliability.reliability_diagram(confidence, correct, data.run.metrics["test"]["scalars"]["ece"], data.title)


def _curves(data: RunData) -> Figure | None:
    stages = [
        curves.StageCurves(
            name=name,
            loss=data.series(f"{name}/train/loss"),
            metrics=data.validation(name),
            selected=data.selected_epoch(name),
            # Of the first parameter group, at the start of each epoch.
            rate=(range(len(data.series(f"{name}/train/lr"))), data.series(f"{name}/train/lr")),
        )
        for name in data.stages
    ]
    stages = [stage for stage in stages if stage.loss or stage.metrics]
    return curves.training_curves(stages, data.title) if stages else None


def _class_losses(data: RunData) -> Figure | None:
    panels = {stage: losses for stage in data.stages if (losses := data.class_losses(stage))}
    if not panels:
        return None
    return curves.class_losses(panels, data.classes, data.tiers, data.counts, data.title)
