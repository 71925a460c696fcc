"""A run from command to numbers: results, resume after a kill, no-op, refusals, two ranks, sweeps."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from tests.harness import Finished, run_command

METHODS = ("erm", "proco")


@dataclass(frozen=True)
class SignalAt:
    """Sends this process a signal in the middle of an epoch."""

    epoch: int
    step: int
    number: int = signal.SIGKILL

    def __call__(self) -> None:
        from ltmed.stage import Stage

        original = Stage.on_train_batch_end

        def hook(stage: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if (stage.current_epoch, batch_idx) == (self.epoch, self.step) and stage.global_rank == 0:
                os.kill(os.getpid(), self.number)
            original(stage, outputs, batch, batch_idx)

        Stage.on_train_batch_end = hook  # pyright: ignore[reportAttributeAccessIssue]


def weights(runs: Path, name: str = "last") -> dict[str, torch.Tensor]:
    """The stage's state in the only run below `runs`."""
    (file,) = runs.rglob(f"stages/*/{name}.ckpt")
    return torch.load(file, weights_only=True)["state_dict"]


def only_run(runs: Path) -> Path:
    (file,) = runs.rglob("config.yaml")
    return file.parent


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for key in one:
        assert torch.equal(one[key], other[key]), key


def ok(done: Finished) -> Finished:
    assert done.code == 0, done.out + done.err
    return done


@pytest.mark.parametrize("method", METHODS)
def test_killed_and_continued_is_as_if_never_killed(method: str, tiny: list[str], tmp_path: Path) -> None:
    words = [*tiny, f"method={method}", "epochs=3"]
    ok(run_command(*words, f"runs={tmp_path / 'straight'}", cwd=tmp_path))
    killed = run_command(*words, cwd=tmp_path, before=SignalAt(epoch=1, step=3))
    assert killed.code == -signal.SIGKILL
    run = only_run(tmp_path / "runs")
    assert (run / "stages/train/last.ckpt").exists()
    assert not (run / "metrics.json").exists()
    assert "train 1/3" not in ok(run_command(*words, cwd=tmp_path)).out, "the finished epoch was trained again"
    straight = only_run(tmp_path / "straight")
    for name in ("best", "last"):
        assert_same_weights(weights(tmp_path / "straight", name), weights(tmp_path / "runs", name))
    assert (run / "metrics.csv").read_text() == (straight / "metrics.csv").read_text()
    for part in ("test", "val"):
        assert (
            json.loads((run / "metrics.json").read_text())[part]
            == json.loads((straight / "metrics.json").read_text())[part]
        )

    before = {file: file.stat().st_mtime_ns for file in run.rglob("*") if file.is_file()}
    again = ok(run_command(*words, cwd=tmp_path))
    assert "train 1/3" not in again.out
    assert "balanced" in again.out.lower()
    assert before == {file: file.stat().st_mtime_ns for file in run.rglob("*") if file.is_file()}


def test_results_of_a_run(tiny: list[str], tiny_ham: Path, tmp_path: Path) -> None:
    done = ok(run_command(*tiny, "method=erm", "epochs=2", cwd=tmp_path))
    run = only_run(tmp_path / "runs")
    assert run == tmp_path / "runs/isic2018/erm/backbone=tiny,batch_size=16,epochs=2,image_size=32/fold0-seed0"
    found = json.loads((run / "metrics.json").read_text())
    predictions = pd.read_parquet(run / "predictions.parquet")
    accuracy = (predictions["label"] == predictions["predicted"]).mean()
    assert found["test"]["scalars"]["accuracy"] == pytest.approx(accuracy)
    per_class = predictions.groupby("label").apply(lambda rows: (rows["label"] == rows["predicted"]).mean())
    assert found["test"]["scalars"]["balanced_accuracy"] == pytest.approx(per_class.mean())
    assert predictions.filter(like="prob_").sum(axis=1).to_numpy() == pytest.approx(1)
    assert found["split"]["name"] == "grouped"
    assert found["split"]["hash"] in done.out
    assert found["split"]["leakage"]["leaking"] == 0
    assert len(predictions) == found["split"]["images"]["test"]


def test_another_config_in_the_folder_is_refused(tiny: list[str], tmp_path: Path) -> None:
    words = [*tiny, f"run_dir={tmp_path / 'mine'}", "epochs=1"]
    ok(run_command(*words, cwd=tmp_path))
    refused = run_command(*words, "seed=1", cwd=tmp_path)
    assert refused.code == 2
    assert "seed: 0 there, 1 now" in refused.err
    assert refused.err.count("\n") == 1


def test_other_data_in_the_folder_is_refused(tiny: list[str], tiny_ham: Path, tmp_path: Path) -> None:
    ok(run_command(*tiny, "epochs=1", cwd=tmp_path))
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "HAM10000_images_part_1").symlink_to(tiny_ham / "HAM10000_images_part_1")
    table = (tiny_ham / "HAM10000_metadata.csv").read_text().splitlines()
    (copy / "HAM10000_metadata.csv").write_text("\n".join(table))
    ok(run_command(*tiny, "epochs=1", f"dataset.root={copy}", cwd=tmp_path))
    (copy / "HAM10000_metadata.csv").write_text("\n".join(table[:-4]))
    refused = run_command(*tiny, "epochs=1", f"dataset.root={copy}", cwd=tmp_path)
    assert refused.code == 2
    assert "was begun with the split" in refused.err


def _nan_loss() -> None:
    from ltmed.methods.erm import ERM

    original = ERM.training_step

    def broken(self: Any, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = original(self, batch, batch_idx)
        return loss * float("nan") if (self.current_epoch, batch_idx) == (1, 2) else loss

    ERM.training_step = broken  # pyright: ignore[reportAttributeAccessIssue]


def test_nan_loss_says_where_and_keeps_the_last_good_checkpoint(tiny: list[str], tmp_path: Path) -> None:
    done = run_command(*tiny, "epochs=3", cwd=tmp_path, before=_nan_loss)
    assert done.code == 2
    for said in ("stage 'train'", "epoch 1", "step 2", "stages/train/last.ckpt"):
        assert said in done.err
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path / "runs").values() if tensor.is_floating_point())


def _disk_full_at_second_epoch() -> None:
    import errno

    import lightning.pytorch.plugins.io.torch_io as io

    original, calls = io._atomic_save, []

    def full(checkpoint: Any, path: Any) -> None:
        calls.append(path)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        original(checkpoint, path)

    io._atomic_save = full


def test_full_disk_keeps_what_was_there(tiny: list[str], tmp_path: Path) -> None:
    done = run_command(*tiny, "epochs=3", cwd=tmp_path, before=_disk_full_at_second_epoch)
    assert done.code == 2
    assert "disk is full" in done.err
    assert "train 1/3" not in ok(run_command(*tiny, "epochs=3", cwd=tmp_path)).out


def test_ctrl_c(tiny: list[str], tmp_path: Path) -> None:
    done = run_command(*tiny, "epochs=3", cwd=tmp_path, before=SignalAt(epoch=1, step=1, number=signal.SIGINT))
    assert done.code == 130
    assert "Interrupted" in done.err
    assert "train 1/3" not in ok(run_command(*tiny, "epochs=3", cwd=tmp_path)).out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dataset.root=/nowhere"], "/nowhere"),
        (["dataset.root=null"], "HAM10000_metadata.csv"),
        (["fold=7"], "grouped has folds 0-4"),
        (["trainer.devices=64"], "processor core"),
        (["backbone=resnet18", "backbone.pretrained=true"], "backbone.pretrained=false"),
        (["backbone.name=resnt18"], "resnet18"),
        (["+dataset.treads=2"], "'threads'"),
        (["+method.stages.train.module.los=1"], "'loss'"),
        (["epochs={trian:3}"], "'train'"),
        (["batch_size=100000"], "batch_size"),
        (["monitor=balanced_acuracy"], "'balanced_accuracy'"),
    ],
)
def test_mistakes_end_in_one_line(words: list[str], said: str, tiny: list[str], tmp_path: Path) -> None:
    done = run_command(*tiny, "epochs=1", *words, cwd=tmp_path)
    assert done.code == 2, done.err
    assert done.err.startswith("error: ")
    assert said in done.err
    assert "Traceback" not in done.err


@pytest.mark.slow
def test_two_ranks_count_every_image_once_and_agree(tiny: list[str], tmp_path: Path) -> None:
    words = [*tiny, "method=erm", "epochs=2"]
    two = ok(run_command(*words, "trainer.devices=2", cwd=tmp_path))
    run = only_run(tmp_path / "runs")
    one_image_each = pd.read_parquet(run / "predictions.parquet")["image"]
    assert one_image_each.is_unique
    assert len(one_image_each) == json.loads((run / "metrics.json").read_text())["split"]["images"]["test"]
    found = json.loads((run / "metrics.json").read_text())
    # The same weights tested by one process give the same numbers.
    (run / "metrics.json").unlink()
    ok(run_command(*words, cwd=tmp_path))
    alone = json.loads((run / "metrics.json").read_text())
    assert found["test"]["confusion"] == alone["test"]["confusion"]
    for name, value in found["test"]["scalars"].items():
        assert alone["test"]["scalars"][name] == pytest.approx(value, abs=1e-6), name
    assert two.out.count("train 2/2") == 1


SWEEP = ["-m", "method=erm,proco", "seed=0,1", "trainer.devices=2", "trainer.accelerator=cpu"]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_sweep_with_two_ranks(tiny: list[str], tmp_path: Path) -> None:
    words = [*SWEEP, *tiny, "epochs=1"]
    killed = run_command(*words, cwd=tmp_path, before=SignalAt(epoch=0, step=1), timeout=300)
    assert killed.code == -signal.SIGKILL
    ok(run_command(*words, cwd=tmp_path, timeout=300))
    runs = sorted(str(file.parent.relative_to(tmp_path / "runs")) for file in (tmp_path / "runs").rglob("metrics.json"))
    place = "backbone=tiny,batch_size=16,epochs=1,image_size=32"
    assert runs == [f"isic2018/{method}/{place}/fold0-seed{seed}" for method in METHODS for seed in (0, 1)]
    allowed = {"runs", "cache", "stdout.txt", "stderr.txt"}
    assert {path.name for path in tmp_path.iterdir()} <= allowed, "stray files beside the runs"
    assert {path.name for path in (tmp_path / "runs").iterdir()} <= {"isic2018", "multirun.yaml"}
    again = ok(run_command(*words, cwd=tmp_path))
    assert "train 1/1" not in again.out
