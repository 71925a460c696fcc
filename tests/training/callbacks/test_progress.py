"""What is printed while a stage trains."""

from __future__ import annotations

import re
import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn

from ltmed.training.callbacks import progress
from ltmed.training.callbacks.progress import EpochLines, StageBar

LINE = r"train (\d)/4  loss 0\.5000  val/mcc 0\.2500  \d\.\d s(?:, about (\d+) s left)?"


def trainer(epoch: int = 0, first: bool = True, **more: Any) -> Any:
    return SimpleNamespace(
        current_epoch=epoch, max_epochs=4, is_global_zero=first, validating=False, num_training_batches=10,
        state=SimpleNamespace(fn=TrainerFn.FITTING),
        callback_metrics={"train/train/loss": torch.tensor(0.5), "train/val/mcc": torch.tensor(0.25)},
        fit_loop=SimpleNamespace(
            epoch_loop=SimpleNamespace(batch_progress=SimpleNamespace(current=SimpleNamespace(completed=5)))
        ),
        **more,
    )  # fmt: skip


def module() -> Any:
    return None


def test_a_line_per_epoch_with_the_time_left_of_the_stage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A continued stage, of which this process has seen one epoch of ten seconds and has two to go."""
    lines = EpochLines("train/val/mcc")
    clock = [100.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    lines.on_train_start(trainer(1), module())
    lines.on_train_epoch_start(trainer(1), module())
    clock[0] += 10
    lines.on_train_epoch_end(trainer(1, first=False), module())
    lines.on_train_epoch_end(trainer(1), module())
    lines.on_train_epoch_start(trainer(3), module())
    lines.on_train_epoch_end(trainer(3), module())
    found = [
        re.fullmatch(LINE.replace(r"\d\.\d s", r"\d+\.\d s"), line) for line in capsys.readouterr().out.splitlines()
    ]
    assert [line and line.groups() for line in found] == [("2", "20"), ("4", None)]


def test_lines_within_a_long_epoch_on_the_first_rank_alone(capsys: pytest.CaptureFixture[str]) -> None:
    for first in (False, True):
        lines = EpochLines("train/val/mcc", every=0.1)
        lines.setup(trainer(first=first), module(), "fit")
        lines.on_train_start(trainer(), module())
        lines.on_train_epoch_start(trainer(), module())
        time.sleep(0.35)
        lines.teardown(trainer(), module(), "fit")
        lines.on_exception(trainer(), module(), KeyboardInterrupt())
        out = capsys.readouterr().out.splitlines()
        assert bool(out) == first
    # Half an epoch of four is an eighth.
    assert re.fullmatch(r"train 1/4  step 5 of 10, 0 s in this epoch, about [12] s left", out[0])


def test_validation_and_evaluations_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    lines = EpochLines("train/val/mcc")
    now = trainer(2)
    now.validating = True
    assert lines._now(now).startswith("train 3/4  validation, ")
    now.state.fn = TrainerFn.TESTING
    assert lines._now(now).startswith("evaluating")


def test_the_bar_counts_as_the_lines_do(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = StageBar("train")
    bar._trainer = trainer()
    assert bar._get_train_description(0).strip() == "train 1/4"
    assert bar._get_train_description(3).strip() == "train 4/4"
    monkeypatch.setattr(progress.RichProgressBar, "get_metrics", lambda *_: {"loss": 1.0, "v_num": "fold0-seed0"})
    assert bar.get_metrics(trainer(), module()) == {"loss": 1.0}


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_on_a_terminal_and_lines_elsewhere(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal, raising=False)
    made = progress.progress("train/val/mcc", bar=True)
    assert any(isinstance(one, StageBar) for one in made) == terminal
    assert [one.every is None for one in made if isinstance(one, EpochLines)] == [terminal]
    assert len(progress.progress("train/val/mcc", bar=False)) == 1
