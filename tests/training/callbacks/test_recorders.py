"""Learning rates and durations of epochs, of a real fit of a tiny model, over a restart."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

from ltmed.logging.csv import CSVLogger
from ltmed.runs import facts
from ltmed.runs.job import RunName
from ltmed.training.callbacks.recorders import Durations, LearningRates
from ltmed.training.schedules import cosine
from tests.run_json import write_facts

NAME = RunName("toy", "erm", "grouped", (), fold=0, seed=0)
RATES = (0.1, 0.003)
EPOCHS, STEPS = 3, 4


class StoppedError(Exception):
    pass


class Tiny(LightningModule):
    """Two groups of parameters under a schedule of every step."""

    def __init__(self, stopped_in: int | None) -> None:
        super().__init__()
        self.stopped_in = stopped_in
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if (self.current_epoch, batch_idx) == (self.stopped_in, 2):
            raise StoppedError
        return self.layer(batch[0]).square().mean()

    def configure_optimizers(self) -> Any:
        groups = [{"params": [p], "lr": rate} for p, rate in zip(self.layer.parameters(), RATES, strict=True)]
        optimizer = torch.optim.SGD(groups)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": cosine(optimizer, EPOCHS * STEPS), "interval": "step"},
        }


def fit(run_dir: Path, stopped_in: int | None = None) -> None:
    """From the last checkpoint, if there is one."""
    last = run_dir / "last.ckpt"
    logger = CSVLogger(run_dir, NAME, {})
    logger.rewind("a", torch.load(last, weights_only=True)["epoch"] + 1 if last.exists() else 0)
    checkpoint = ModelCheckpoint(run_dir, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    trainer = Trainer(
        max_epochs=EPOCHS, accelerator="cpu", logger=logger, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[checkpoint, LearningRates("a"), Durations("a", run_dir)],
    )  # fmt: skip
    loader = DataLoader(TensorDataset(torch.ones(2 * STEPS, 2)), batch_size=2)
    trainer.fit(Tiny(stopped_in), loader, ckpt_path=last if last.exists() else None, weights_only=True)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    write_facts(tmp_path, {"method": {"name": "erm"}})
    return tmp_path


def logged(run_dir: Path) -> list[tuple[str, str, str, float]]:
    with (run_dir / "metrics.csv").open(newline="") as file:
        return [(row["epoch"], row["step"], row["name"], float(row["value"])) for row in csv.DictReader(file)]


@pytest.mark.parametrize("stopped_in", [None, 0, 1, 2])
def test_rates_of_all_groups_are_those_of_the_schedule(run_dir: Path, stopped_in: int | None) -> None:
    if stopped_in is not None:
        with pytest.raises(StoppedError):
            fit(run_dir, stopped_in)
    fit(run_dir)
    expected = []
    parameters = [torch.nn.Parameter(torch.zeros(())) for _ in RATES]
    optimizer = torch.optim.SGD([{"params": [p], "lr": rate} for p, rate in zip(parameters, RATES, strict=True)])
    schedule = cosine(optimizer, EPOCHS * STEPS)
    for step in range(EPOCHS * STEPS):
        if step % STEPS == 0:
            for name, group in zip(("a/train/lr", "a/train/lr_1"), optimizer.param_groups, strict=True):
                expected.append((str(step // STEPS), str(step), name, group["lr"]))
        optimizer.step()
        schedule.step()
    assert logged(run_dir) == expected, "to the last bit"


def test_every_epoch_has_its_seconds_once(run_dir: Path) -> None:
    with pytest.raises(StoppedError):
        fit(run_dir, 2)
    first = facts.read(run_dir)["stages"]["a"]["epochs"]
    assert len(first) == 2
    fit(run_dir)
    known = facts.read(run_dir)["stages"]["a"]
    assert known["epochs"][:2] == first
    assert len(known["epochs"]) == EPOCHS
    assert all(0 <= seconds < 60 for seconds in known["epochs"])
    assert (known["device"], known["processes"]) == ("CPU", 1)
    # A process with torch has hundreds of MB, and no machine has a petabyte.
    assert 1e8 < known["peak_memory_bytes"] < 1e15
