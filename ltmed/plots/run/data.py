"""The data of a run's figures; each file of the run is read once, when it is first needed."""

from __future__ import annotations

import csv
import warnings
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ltmed.errors import UserError
from ltmed.runs.checkpoint import read as read_checkpoint
from ltmed.runs.reader import Run

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from torch import Tensor

_TIERS = ("balanced_accuracy", "head_recall", "medium_recall", "tail_recall")

_TIERS_OF_LABELS = ("macro_ap", "head_ap", "medium_ap", "tail_ap")


class RunData:
    """The data of a finished run's figures.

    Args:
        run: with its folder.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.per_class: list[dict[str, Any]] = run.metrics["test"]["per_class"]
        """Test metrics of each class."""
        self.classes = run.classes
        self.tiers: list[str] = [row["tier"] for row in self.per_class]
        self.counts = list(run.metrics["split"]["counts"]["train"].values())
        """Training images of each class."""
        run_facts = run.metrics["run"]
        self.title = (
            f"{run_facts['method']} on {run_facts['dataset']}, fold {run_facts['fold']}, seed {run_facts['seed']}"
        )

    @cached_property
    def logged(self) -> dict[str, list[tuple[int, int, float]]]:
        """metrics.csv: name -> (epoch, step, value) of each epoch."""
        series: dict[str, list[tuple[int, int, float]]] = {}
        file = self.run.path / "metrics.csv"
        try:
            with file.open(newline="", encoding="utf-8") as lines:
                for row in csv.DictReader(lines):
                    if row["epoch"] and row["step"]:
                        numbers = int(row["epoch"]), int(row["step"]), float(row["value"])
                        series.setdefault(row["name"], []).append(numbers)
        except FileNotFoundError:
            warnings.warn(f"{file} is missing: training curves are not plotted", stacklevel=2)
        except (ValueError, LookupError, TypeError):
            warnings.warn(f"{file} is damaged: what follows the damage is not plotted", stacklevel=2)
        return series

    def series(self, name: str) -> list[float]:
        """The values of one logged name, epoch by epoch."""
        return [value for *_, value in self.logged.get(name, ())]

    def validation(self, stage: str) -> dict[str, list[float]]:
        """Validation metrics of each epoch of a stage: the one that selected the checkpoint, and recall by tier."""
        tiers = _TIERS_OF_LABELS if self.run.multilabel else _TIERS
        metrics = dict.fromkeys((str(self.run.config.monitor), *tiers))
        series = {metric: self.series(f"{stage}/val/{metric}") for metric in metrics}
        return {metric: values for metric, values in series.items() if values}

    def class_losses(self, stage: str) -> dict[str, list[tuple[int, float]]]:
        """Class code -> (epoch from 0, mean training loss); empty where the run did not log them."""
        names = {code: f"{stage}/train/class_loss/{code}" for code in self.classes}
        losses = {
            code: [(epoch, value) for epoch, _, value in self.logged.get(name, ())] for code, name in names.items()
        }
        return {code: values for code, values in losses.items() if values}

    @cached_property
    def stages(self) -> dict[str, DictConfig]:
        """Name -> recipe, in the order of training."""
        return dict(self.run.config.method.stages)

    @cached_property
    def checkpoints(self) -> dict[str, dict[str, Any]]:
        """Stage -> its selected checkpoint, with mapped tensors; without stages whose checkpoint cannot be read."""
        checkpoints = {}
        for name, recipe in self.stages.items():
            file = self.run.path / "stages" / name / f"{recipe.keep}.ckpt"
            if file.exists():
                try:
                    checkpoints[name] = read_checkpoint(file)
                except UserError as error:
                    warnings.warn(f"{error} Figures that need it are not plotted.", stacklevel=2)
        return checkpoints

    def selected_epoch(self, stage: str) -> int | None:
        """The selected epoch of a stage, counted from 0; None without its checkpoint."""
        return int(self.checkpoints[stage]["epoch"]) if stage in self.checkpoints else None

    def tensor(self, stage: str, name: str) -> Tensor | None:
        """A tensor of a stage's selected checkpoint; None if there is none."""
        saved = self.checkpoints.get(stage)
        return None if saved is None else saved["state_dict"].get(name)
