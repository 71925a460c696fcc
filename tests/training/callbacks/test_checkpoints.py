"""Which epochs are saved, what a moved or stopped stage remembers of them, and when a stage counts as finished."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from ltmed.errors import TrainingError, UserError
from ltmed.losses.classification import cross_entropy
from ltmed.methods.erm import ERM
from ltmed.nn.heads import Linear
from ltmed.runs import checkpoint
from ltmed.runs.checkpoint import DamagedCheckpointError
from ltmed.training.callbacks.checkpoints import EpochCheckpoints
from ltmed.training.trainer import fit_stage, is_finished, make_trainer, stage_start
from tests.harness import ROOT
from tests.methods.small_decoupling import Data, make

MONITOR = "train/val/score"


class Scored(ERM):
    """Has the validation scores that a test wants, one an epoch."""

    scores: tuple[float, ...] = ()

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self.log(MONITOR, torch.tensor(self.scores[self.current_epoch]))


def node(**settings: Any) -> DictConfig:
    cfg = OmegaConf.load(ROOT / "conf/trainer/default.yaml")
    assert isinstance(cfg, DictConfig)
    return DictConfig({**cfg, "enable_progress_bar": False, **settings})


class Stop(pl.Callback):
    """Ends the training like a kill, or like a callback that has had enough."""

    def __init__(self, epoch: int, how: str) -> None:
        self.epoch, self.how = epoch, how

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == self.epoch and self.how == "kill":
            raise KilledError

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (trainer.current_epoch, batch_idx) == (self.epoch, 0) and self.how == "cut":
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == self.epoch and self.how == "stop":
            trainer.should_stop = True


class KilledError(Exception):
    pass


def fit(
    folder: Path, scores: tuple[float, ...], *, mode: str = "max", keep: str = "best", extra: tuple[Any, ...] = ()
) -> Scored:
    stage = make(Scored, Linear, loss=cross_entropy)
    stage.scores = scores
    trainer = make_trainer(
        node(), "cpu", 1, max_epochs=len(scores), logger=False, default_root_dir=folder,
        callbacks=[EpochCheckpoints(folder, MONITOR, mode), *extra],
    )  # fmt: skip
    fit_stage(stage, Data(), folder, trainer, keep, stage_start(folder))  # pyright: ignore[reportArgumentType]
    return stage


def epoch(folder: Path, name: str = "best") -> int:
    return checkpoint.read(folder / f"{name}.ckpt")["epoch"]


def weights(stage: pl.LightningModule) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in stage.state_dict().items()}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("scores", "mode", "best"),
    [
        ((0.2, 0.8, 0.5), "max", 1),
        ((0.5, 0.5, 0.5), "max", 0),
        ((0.5, 0.2, 0.2), "min", 1),
        ((math.nan, 0.1, 0.1), "max", 1),
        ((math.nan, math.nan), "max", 0),
        ((0.1, math.nan, 0.1), "min", 0),
    ],
)
def test_the_first_of_the_best_epochs_is_chosen(
    scores: tuple[float, ...], mode: str, best: int, tmp_path: Path
) -> None:
    stage = fit(tmp_path, scores, mode=mode)
    assert (epoch(tmp_path), epoch(tmp_path, "last")) == (best, len(scores) - 1)
    assert_same(weights(stage), checkpoint.read(tmp_path / "best.ckpt")["state_dict"])
    assert json.loads((tmp_path / "finished.json").read_text()) == {"kept": "best", "epochs": len(scores)}


@pytest.mark.parametrize("moved", [True, False])
def test_a_moved_stage_remembers_its_best_epoch(moved: bool, tmp_path: Path) -> None:
    """Lightning's callback holds the path of its folder, and begins to choose anew where it finds another one."""
    scores = (0.9, 0.2, 0.5)
    straight = fit(tmp_path / "straight", scores)
    first = tmp_path / "first"
    with pytest.raises(KilledError):
        fit(first, scores, extra=(Stop(2, "kill"),))
    here = tmp_path / "elsewhere" / "train" if moved else first
    if moved:
        shutil.copytree(first, here)
        shutil.rmtree(first)
    resumed = fit(here, scores)
    assert epoch(here) == epoch(tmp_path / "straight") == 0
    assert_same(weights(resumed), weights(straight))


@pytest.mark.parametrize("damaged", ["last", "best"])
def test_a_damaged_checkpoint_costs_epochs_and_no_bit(damaged: str, tmp_path: Path) -> None:
    scores = (0.2, 0.9, 0.5, 0.6)
    straight = fit(tmp_path / "straight", scores)
    folder = tmp_path / "run"
    with pytest.raises(KilledError):
        fit(folder, scores, extra=(Stop(3, "kill"),))
    (folder / f"{damaged}.ckpt").write_bytes((folder / f"{damaged}.ckpt").read_bytes()[:5000])
    if damaged == "best":  # The best epoch has gone, and no later one is better: nothing could take its place.
        with pytest.raises(DamagedCheckpointError):
            fit(folder, scores)
        assert not is_finished(folder)
        return
    with pytest.warns(UserWarning, match=r"last.ckpt is damaged: training continues from best.ckpt, epoch 2"):
        resumed = fit(folder, scores)
    assert_same(weights(resumed), weights(straight))
    assert_same(*(checkpoint.read(f / "last.ckpt")["state_dict"] for f in (folder, tmp_path / "straight")))


def test_a_stage_that_something_stopped_is_not_finished_and_goes_on(tmp_path: Path) -> None:
    scores = (0.2, 0.5, 0.9)
    with pytest.raises(TrainingError):
        fit(tmp_path, scores, extra=(Stop(1, "stop"),))
    assert not is_finished(tmp_path)
    fit(tmp_path, scores)
    assert is_finished(tmp_path)
    assert epoch(tmp_path) == 2


def test_an_epoch_that_was_cut_short_is_trained_anew(tmp_path: Path) -> None:
    """Lightning's Timer ends the training between two batches: a part of an epoch was saved as a whole one."""
    scores = (0.2, 0.5, 0.9)
    straight, folder = fit(tmp_path / "straight", scores), tmp_path / "run"
    with pytest.raises(TrainingError, match="after 1 of 3 epochs"):
        fit(folder, scores, extra=(Stop(1, "cut"),))
    assert_same(weights(fit(folder, scores)), weights(straight))


def test_beside_early_stopping_another_callback_ends_no_stage(tmp_path: Path) -> None:
    early = EarlyStopping(MONITOR, patience=3, mode="max")
    with pytest.raises(TrainingError, match="after 2 of 3 epochs"):
        fit(tmp_path, (0.2, 0.5, 0.9), extra=(Stop(1, "stop"), early))
    assert not is_finished(tmp_path)


def test_a_stage_whose_checkpoint_is_missing_is_not_finished(tmp_path: Path) -> None:
    class Remove(pl.Callback):
        def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            (tmp_path / "best.ckpt").unlink()

    with pytest.raises(UserError):
        fit(tmp_path, (0.5,), extra=(Remove(),))
    assert not is_finished(tmp_path)


def test_early_stopping_chooses_the_last_epoch_also_when_it_was_killed_right_after(tmp_path: Path) -> None:
    scores = (0.5, 0.9, 0.4, 0.4, 0.4, 0.4)

    def early() -> EarlyStopping:
        return EarlyStopping(MONITOR, patience=2, mode="max")

    fit(tmp_path, scores, extra=(early(),))
    assert (epoch(tmp_path), epoch(tmp_path, "last")) == (1, 3)
    assert json.loads((tmp_path / "finished.json").read_text())["epochs"] == 4
    (tmp_path / "finished.json").unlink()
    fit(tmp_path, scores, extra=(early(),))
    assert epoch(tmp_path, "last") == 3, "another epoch was trained"
    assert is_finished(tmp_path)


def test_callbacks_of_the_configuration_are_merged(tmp_path: Path) -> None:
    early = {"_target_": "lightning.pytorch.callbacks.EarlyStopping", "monitor": MONITOR, "patience": 1}
    timer = {"_target_": "lightning.pytorch.callbacks.Timer"}
    for given in ([early, timer], {"early": early, "timer": timer}):
        trainer = make_trainer(
            node(callbacks=given), "cpu", 1, logger=False, callbacks=[EpochCheckpoints(tmp_path, MONITOR, "max")]
        )
        names = [type(callback).__name__ for callback in trainer.callbacks]  # pyright: ignore
        assert {"EarlyStopping", "Timer", "EpochCheckpoints"} <= set(names)
        assert names[-1] == "EpochCheckpoints", "it saves the states of the others of the same epoch"
        assert "ModelCheckpoint" not in names
    with pytest.raises(UserError):
        make_trainer(node(callbacks=["early"]), "cpu", 1, logger=False)
