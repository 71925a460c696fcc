"""The pictures of finished runs, from what their folders hold.

`pictures` needs no images and no network, and a run draws them at its end; `feature_picture` needs both. What only some
methods have is recognised by what it left behind: a buffer in the checkpoint, a column in metrics.csv, a stage.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltmed.errors import UserError
from ltmed.inference.restore import read_checkpoint
from ltmed.plots import confusion, curves, distribution, methods, per_class, reliability, style
from ltmed.runs.reader import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from omegaconf import DictConfig
    from torch import Tensor

FOLDER = "figures"
_SHOWN = ("balanced_accuracy", "head_recall", "medium_recall", "tail_recall")
Picture = Callable[[], "Figure | None"]
"""Draws, or gives None where the run has nothing to draw from."""


class _Sources:
    """What the pictures of one run are drawn from, each read once."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.rows: list[dict[str, Any]] = run.found["test"]["per_class"]
        self.classes = run.classes
        self.tiers: list[str] = [row["tier"] for row in self.rows]
        self.counts = list(run.found["split"]["counts"]["train"].values())
        about = run.found["run"]
        self.title = f"{about['method']} on {about['dataset']}, fold {about['fold']}, seed {about['seed']}"

    @cached_property
    def logged(self) -> dict[str, list[tuple[int, int, float]]]:
        """metrics.csv: name -> (epoch, step, value) of each epoch."""
        found: dict[str, list[tuple[int, int, float]]] = {}
        file = self.run.path / "metrics.csv"
        try:
            with file.open(newline="", encoding="utf-8") as lines:
                for row in csv.DictReader(lines):
                    if row["epoch"] and row["step"]:
                        numbers = int(row["epoch"]), int(row["step"]), float(row["value"])
                        found.setdefault(row["name"], []).append(numbers)
        except FileNotFoundError:
            warnings.warn(f"{file} is missing: no curves of training are drawn", stacklevel=2)
        except (ValueError, LookupError, TypeError):
            warnings.warn(f"{file} is damaged: what follows the damage is not drawn", stacklevel=2)
        return found

    def series(self, name: str) -> list[float]:
        """The values of one logged name, epoch by epoch."""
        return [value for *_, value in self.logged.get(name, ())]

    @cached_property
    def metrics(self) -> list[str]:
        """Validation metrics that are drawn: the one that chose the weights, and recall by tier."""
        return list(dict.fromkeys((str(self.run.config.monitor), *_SHOWN)))

    @cached_property
    def stages(self) -> dict[str, DictConfig]:
        """Name -> recipe."""
        return dict(self.run.config.method.stages)

    @cached_property
    def kept(self) -> dict[str, dict[str, Any]]:
        """Stage -> the checkpoint that it handed on, its tensors mapped and not read; no stage without a sound one."""
        found = {}
        for name, recipe in self.stages.items():
            file = self.run.path / "stages" / name / f"{recipe.keep}.ckpt"
            if file.exists():
                try:
                    found[name] = read_checkpoint(file)
                except UserError as error:
                    warnings.warn(f"{error} What needs it is not drawn.", stacklevel=2)
        return found

    def kept_epoch(self, stage: str) -> int | None:
        """The epoch, from 0, of the weights that the stage handed on."""
        return int(self.kept[stage]["epoch"]) if stage in self.kept else None

    def tensor(self, name: str) -> Tensor | None:
        """A tensor of the last stage's state."""
        last = self.kept.get(list(self.stages)[-1])
        return None if last is None else last["state_dict"].get(name)


def pictures(run: Run) -> dict[str, Picture]:
    """Name -> what draws it, for all pictures that need the run's folder alone."""
    sources = _Sources(run)
    draws: dict[str, Callable[[_Sources], Figure | None]] = {
        "class_distribution": _distribution,
        "confusion_matrix": _confusion,
        "recall_by_size": _recall,
        "reliability": _reliability,
        "training_curves": _curves,
        "centre_distances": _centres,
        "em_trajectory": _em,
        "omega": _omega,
        "alpha": _alpha,
    }
    return {name: _bind(draw, sources) for name, draw in draws.items()}


def draw(run: Run, folder: Path, kind: str = "png") -> list[Path]:
    """Writes `pictures` into a folder; one that cannot be drawn is a warning and stops no other.

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
    for name, picture in pictures(run).items():
        try:
            figure = picture()
        except Exception as error:  # A picture must never cost the numbers of a run that has just been trained.
            said = error if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            warnings.warn(f"no picture {name} of {run.path}: {' '.join(str(said).split())}", stacklevel=2)
            continue
        if figure is not None:
            written.append(folder / f"{name}.{kind}")
            style.save(figure, written[-1])
    return written


def _bind(picture: Callable[[_Sources], Figure | None], sources: _Sources) -> Picture:
    return lambda: picture(sources)


def _distribution(of: _Sources) -> Figure:
    split = of.run.found["split"]
    counts = {part: list(numbers.values()) for part, numbers in split["counts"].items()}
    title = f"{of.run.found['run']['dataset']}, {split['name']} split"
    return distribution.class_distribution(counts, of.classes, of.tiers, title)


def _confusion(of: _Sources) -> Figure:
    return confusion.confusion_matrix(of.run.found["test"]["confusion"], of.classes, of.tiers, of.counts, of.title)


def _recall(of: _Sources) -> Figure:
    intervals = of.run.found["test"]["intervals"]["per_class"]
    bounds = [intervals[code]["recall"] for code in of.classes]
    recall = [row["recall"] for row in of.rows]
    return per_class.recall_by_size(recall, bounds, of.classes, of.tiers, of.counts, of.title)


def _reliability(of: _Sources) -> Figure | None:
    table = of.run.predictions
    confidence = table[[f"prob_{code}" for code in of.classes]].to_numpy().max(1)
    correct = (table["label"] == table["predicted"]).to_numpy()
    return reliability.reliability_diagram(confidence, correct, of.run.found["test"]["scalars"]["ece"], of.title)


def _curves(of: _Sources) -> Figure | None:
    stages = [
        curves.StageCurves(
            name=name,
            loss=of.series(f"{name}/train/loss"),
            metrics=_validation(of, name),
            kept=of.kept_epoch(name),
            # Of the first parameter group, at the start of each epoch.
            rate=(range(len(of.series(f"{name}/train/lr"))), of.series(f"{name}/train/lr")),
        )
        for name in of.stages
    ]
    stages = [stage for stage in stages if stage.loss or stage.metrics]
    return curves.training_curves(stages, of.title) if stages else None


def _validation(of: _Sources, stage: str) -> dict[str, list[float]]:
    found = {metric: of.series(f"{stage}/val/{metric}") for metric in of.metrics}
    return {metric: values for metric, values in found.items() if values}


def _centres(of: _Sources) -> Figure | None:
    centres = of.tensor("network.classifier.centres")
    if centres is None:
        return None
    title = f"{of.title}: distances of class centres"
    return methods.centre_distances(centres.double().numpy(), of.classes, of.counts, title)


def _em(of: _Sources) -> Figure | None:
    """A stage that iterates E and M steps, and the one before it."""
    names = list(of.stages)
    for place, name in enumerate(names):
        if of.stages[name].module._target_ == "ltmed.methods.lmd.Calibrate" and _validation(of, name):
            before = {}
            if place and (epoch := of.kept_epoch(names[place - 1])) is not None:
                earlier = _validation(of, names[place - 1])
                before = {metric: values[epoch] for metric, values in earlier.items() if epoch < len(values)}
            title = f"{of.title}: EM calibration"
            kept = of.kept_epoch(name)
            losses, kept = of.series(f"{name}/train/loss"), None if kept is None else kept + 1
            return methods.em_trajectory(_validation(of, name), before, losses, title, kept)
    return None


def _omega(of: _Sources) -> Figure | None:
    omega = of.tensor("omega")
    if omega is None:
        return None
    return methods.omega_per_class(omega.tolist(), of.classes, of.tiers, of.counts, f"{of.title}: confidence omega")


def _alpha(of: _Sources) -> Figure | None:
    for stage in of.stages:
        if values := of.series(f"{stage}/train/alpha"):
            return methods.alpha_curve(values, f"{of.title}: weight of positives")
    return None
