"""Whole commands under faults: refused ones leave nothing; killed, terminated and moved ones lose nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import ltmed
from ltmed.errors import UserError
from tests.harness import (
    SignalAt,
    assert_same_weights,
    ok,
    only_run,
    run_command,
    run_torchrun,
    small_disk,
    weights,
)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["fold=7"], "grouped has folds 0-4"),
        (["logger=wandb"], "wandb login"),
        (["+trainer.callbacks=[{_target_: nowhere.Callback}]"], "nowhere.Callback"),
        (["method=paco", "method.stages.train.views=1"], "views=2"),  # Found out by the first step.
    ],
)
def test_a_refused_command_is_one_line(overrides: list[str], said: str, tiny: list[str], tmp_path: Path) -> None:
    done = run_command(*tiny, "epochs=1", *overrides, cwd=tmp_path, before=_nobody_is_logged_in)
    assert done.code == 2, done.err
    (error,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert said in done.err[done.err.index(error) :]
    assert "Traceback" not in done.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["dataset.root=/nowhere"], "/nowhere"),
        (["batch_size=100000"], "batch_size"),
        (["batch_size=1"], "BatchNorm"),
        (["trainer.devices=64"], "trainer.devices=64"),
        (["backbone.weights=/nowhere.pt"], "backbone.weights=/nowhere.pt"),
        (["+backbone.in_chans=1"], "channels"),
        (["+trainer.max_epochs=3"], "epochs="),
        (["method=lmd", "method.stages.calibrate.module.classifier_batch=0"], "classifier_batch=0"),
    ],
)
def test_a_refused_run_leaves_no_folder(overrides: list[str], said: str, tiny: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        ltmed.train([*tiny, "epochs=1", *overrides])
    assert not (tmp_path / "runs").exists()


def _nobody_is_logged_in() -> None:
    os.environ |= {"HOME": "/nowhere", "NETRC": "/nowhere/.netrc", "WANDB_API_KEY": ""}


def test_a_refusal_keeps_what_was_there(tiny: list[str], tmp_path: Path) -> None:
    overrides = [*tiny, "epochs=2", "method=paco"]
    run_command(*overrides, cwd=tmp_path, before=SignalAt(epoch=1, step=1))
    run = only_run(tmp_path / "runs")
    refused = run_command(*overrides, "method.stages.train.views=1", f"run_dir={run}", cwd=tmp_path)
    assert refused.code == 2
    assert (run / "stages/train/last.ckpt").exists()


@dataclass(frozen=True)
class KillInWrite:
    """Kills the process while it waits for the disk, or just before the rename, of a checkpoint of an epoch."""

    name: str
    epoch: int
    call: str

    def __call__(self) -> None:
        from ltmed.runs import checkpoint

        original, call = checkpoint.write, self.call

        def write(file: Path, state: dict[str, Any]) -> None:
            if (file.name, state["epoch"]) == (self.name, self.epoch):
                target = os if call == "fsync" else Path
                setattr(target, call, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            original(file, state)

        checkpoint.write = write
        from ltmed.training.callbacks import checkpoints

        checkpoints.write = write


def test_kills_during_writes_to_another_file_system_cost_no_bit(tiny: list[str], tmp_path: Path) -> None:
    """The temporary folder and the runs lie on two file systems."""
    overrides = [*tiny, "epochs=3"]
    ltmed.train([*overrides, f"runs={tmp_path / 'straight'}"])
    with small_disk(tmp_path / "other", "64m") as disk:
        overrides.append(f"runs={disk / 'runs'}")
        for kill in (KillInWrite("best.ckpt", 0, "fsync"), KillInWrite("last.ckpt", 1, "replace")):
            assert run_command(*overrides, cwd=tmp_path, before=kill).code == -signal.SIGKILL
        done = ok(run_command(*overrides, cwd=tmp_path))
        assert "train 1/3" not in done.out
        for name in ("best", "last"):
            assert_same_weights(weights(tmp_path / "straight", name), weights(disk / "runs", name))
        found, expected = (only_run(folder) / "metrics.json" for folder in (disk / "runs", tmp_path / "straight"))
        assert json.loads(found.read_text())["test"] == json.loads(expected.read_text())["test"]
        assert not list(only_run(disk / "runs").rglob("*.partial"))


def test_a_full_disk_is_named_and_the_run_goes_on_when_there_is_room(tiny: list[str], tmp_path: Path) -> None:
    overrides = [*tiny, "epochs=2", "backbone=tiny", "image_size=16"]
    with small_disk(tmp_path / "small", "8m") as disk:  # A checkpoint has 3 MB: three at a time are too many.
        overrides.append(f"runs={disk / 'runs'}")
        full = run_command(*overrides, cwd=tmp_path)
        assert full.code == 2, full.err
        assert f"The disk is full while writing {disk}" in full.err
        assert "Traceback" not in full.err
        subprocess.run(["mount", "-o", "remount,size=40m", str(disk)], check=True)
        ok(run_command(*overrides, cwd=tmp_path))
        resumed = weights(disk / "runs")
        overrides[-1] = f"runs={tmp_path / 'straight'}"
        ltmed.train(overrides)
        assert_same_weights(weights(tmp_path / "straight"), resumed)


def test_a_moved_run_ends_as_if_it_had_stayed(tiny: list[str], tmp_path: Path) -> None:
    overrides = [*tiny, "epochs=3"]
    ltmed.train([*overrides, f"run_dir={tmp_path / 'straight'}"])
    run_command(*overrides, f"run_dir={tmp_path / 'first'}", cwd=tmp_path, before=SignalAt(epoch=2, step=1))
    shutil.move(tmp_path / "first", tmp_path / "elsewhere")
    moved = ok(run_command(*overrides, f"run_dir={tmp_path / 'elsewhere'}", cwd=tmp_path))
    assert "train 1/3" not in moved.out
    for name in ("best", "last"):
        one, other = (
            torch.load(tmp_path / run / f"stages/train/{name}.ckpt", weights_only=True)
            for run in ("straight", "elsewhere")
        )
        assert one["epoch"] == other["epoch"]
        assert_same_weights(one["state_dict"], other["state_dict"])
    for name in ("metrics.csv", "stages/train/finished.json"):
        assert (tmp_path / "straight" / name).read_text() == (tmp_path / "elsewhere" / name).read_text()


@dataclass(frozen=True)
class KillIn:
    """Kills the process when it comes to the figures, or to the last rows of metrics.csv."""

    what: str

    def __call__(self) -> None:
        import ltmed.train as train
        from ltmed.logging.csv import CSVLogger

        def die(*_: Any, **__: Any) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        if self.what == "figures":
            train._plot = die  # pyright: ignore[reportAttributeAccessIssue]
        else:
            CSVLogger.log_final = die


def test_a_run_killed_at_its_very_end_is_completed(tiny: list[str], tmp_path: Path) -> None:
    overrides = [*tiny, "epochs=1", "figures=true"]
    for what in ("figures", "rows"):
        assert run_command(*overrides, cwd=tmp_path, before=KillIn(what)).code == -signal.SIGKILL
        run = only_run(tmp_path / "runs")
        assert (run / "predictions.parquet").exists()
        assert not (run / "metrics.json").exists()
    assert "train 1/1" not in ok(run_command(*overrides, cwd=tmp_path)).out
    assert (run / "figures" / "confusion_matrix.png").exists()
    assert (run / "metrics.csv").read_text().count("test/balanced_accuracy") == 1
    newest = max(run.rglob("*"), key=lambda file: file.stat().st_mtime_ns if file.is_file() else 0)
    assert newest.name == "metrics.json"


@dataclass(frozen=True)
class Terminate:
    """Sends SIGTERM to the first rank alone, in the middle of an epoch, and notes when."""

    clock: Path

    def __call__(self) -> None:
        from ltmed.training.stage import Stage

        original, clock = Stage.on_train_batch_end, self.clock

        def hook(stage: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if (stage.current_epoch, batch_idx, stage.global_rank) == (1, 2, 0):
                clock.write_text(str(time.time()))
                os.kill(os.getpid(), signal.SIGTERM)
            original(stage, outputs, batch, batch_idx)

        Stage.on_train_batch_end = hook  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.slow
@pytest.mark.parametrize("started_by", ["ltmed", "torchrun"])
def test_sigterm_to_the_first_rank_ends_all_and_the_run_goes_on(
    started_by: str, tiny: list[str], tmp_path: Path
) -> None:
    overrides, clock = [*tiny, "epochs=2"], tmp_path / "clock"
    if started_by == "torchrun":
        first, second = run_torchrun(*overrides, cwd=tmp_path, before=Terminate(clock))
        assert second.code != 0
        assert not list((tmp_path / "rank1").glob("core*"))
    else:
        first = run_command(*overrides, "trainer.devices=2", cwd=tmp_path, before=Terminate(clock))
    assert time.time() - float(clock.read_text()) < 10
    assert first.code == 143, first.err
    assert "Terminated. Finished epochs are kept" in first.err
    assert "Traceback" not in first.err
    goes_on = ok(run_command(*overrides, cwd=tmp_path))
    assert "train 1/2" not in goes_on.out
    assert "train 2/2" in goes_on.out


def test_a_diverging_run_is_told_apart_from_a_mistake(tiny: list[str], tmp_path: Path) -> None:
    """A search reports it as failed and goes on; its folder stays, and so does the checkpoint before."""
    done = run_command(*tiny, "epochs=2", "method.stages.train.optimizer.lr=1e30", cwd=tmp_path)
    assert done.code == 2
    assert "NaN or infinite" in done.err
    assert (only_run(tmp_path / "runs") / "config.yaml").exists()
