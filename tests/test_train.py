"""A run from command to numbers: results, resume after a kill, no-op, refusals."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

import ltmed
from ltmed.errors import UserError
from ltmed.runs.job import job_of
from ltmed.train import train
from tests.harness import (
    METHODS,
    QUICK,
    SignalAt,
    assert_same_weights,
    ok,
    only_run,
    run_command,
    stages,
    stopped,
    weights,
)

OURS = ("warning: isic2018: ", "warning: The backbone is frozen with random weights")


OF_EACH_KIND = ("lmd", "pcct", "proco")
"""Two stages with a loop of its own in the second, a network that changes between stages, a queue with a teacher."""


@pytest.mark.parametrize("method", OF_EACH_KIND)
def test_killed_and_continued_is_as_if_never_killed(method: str, tiny: list[str], tmp_path: Path) -> None:
    overrides = [*tiny, f"method={method}", "epochs=2", *QUICK.get(method, [])]
    done = ok(run_command(*overrides, f"runs={tmp_path / 'straight'}", cwd=tmp_path))
    raw = [line for line in done.err.splitlines() if not line.startswith(OURS)]
    assert not raw, "what Lightning says about itself is for nobody"
    for stage in stages(method):
        killed = run_command(*overrides, cwd=tmp_path, before=SignalAt(epoch=1, step=3, stage=stage))
        assert killed.code == -signal.SIGKILL, killed.err
        run = only_run(tmp_path / "runs")
        assert (run / f"stages/{stage}/last.ckpt").exists()
        assert not (run / "metrics.json").exists()
    assert f"{stages(method)[-1]} 1/2" not in ok(run_command(*overrides, cwd=tmp_path)).out, "a finished epoch, again"
    _assert_same_runs(only_run(tmp_path / "runs"), only_run(tmp_path / "straight"))


@pytest.mark.parametrize("method", [method for method in METHODS if method not in OF_EACH_KIND])
def test_stopped_and_continued_is_as_if_never_stopped(
    method: str, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As above, in this process; what the saved state lacks would differ just as much."""
    overrides = [*tiny, f"method={method}", "epochs=2", *QUICK.get(method, [])]
    straight, job = job_of([*overrides, f"runs={tmp_path / 'straight'}"]), job_of(overrides)
    train(straight)
    for name in job.cfg.method.stages:
        with stopped(1, 3, name):
            train(job)
        assert (job.run_dir / f"stages/{name}/last.ckpt").exists()
        assert not (job.run_dir / "metrics.json").exists()
    capsys.readouterr()
    train(job)
    assert f"{[*job.cfg.method.stages][-1]} 1/2" not in capsys.readouterr().out, "a finished epoch, again"
    _assert_same_runs(job.run_dir, straight.run_dir)


def _assert_same_runs(run: Path, straight: Path) -> None:
    for name in ("best", "last"):
        assert_same_weights(weights(straight, name), weights(run, name))
    assert (run / "metrics.csv").read_text() == (straight / "metrics.csv").read_text()
    found, expected = (json.loads((folder / "metrics.json").read_text()) for folder in (run, straight))
    assert found["test"] == expected["test"]
    assert found["val"] == expected["val"]


@pytest.mark.parametrize(
    ("method", "overrides", "left_out"),
    [
        ("lmd", ["method.stages.calibrate.module.e_step=false"], None),
        ("lmd", ["method.stages.calibrate.module.virtual_per_class=0", "trainer.gradient_clip_val=1.0"], None),
        ("lmd", ["method.stages.represent.module.consistency=0"], None),
        ("pcct", ["~method.stages.second"], "second"),
        ("pcct", ["~method.stages.first"], "first"),
    ],
)
def test_ablations(
    method: str, overrides: list[str], left_out: str | None, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run = ltmed.train([*tiny, f"method={method}", "epochs=1", *QUICK.get(method, []), *overrides])
    assert (run.path / "metrics.json").exists()
    out = capsys.readouterr().out
    for stage in stages(method):
        assert (f"{stage} 1/1" in out) == (stage != left_out)


def test_a_finished_run_is_only_reported(tiny: list[str], tmp_path: Path) -> None:
    overrides = [*tiny, "method=erm", "epochs=1"]
    ok(run_command(*overrides, cwd=tmp_path))
    run = only_run(tmp_path / "runs")
    before = {file: file.stat().st_mtime_ns for file in run.rglob("*") if file.is_file()}
    again = ok(run_command(*overrides, cwd=tmp_path))
    assert "train 1/1" not in again.out
    assert "balanced" in again.out.lower()
    assert before == {file: file.stat().st_mtime_ns for file in run.rglob("*") if file.is_file()}


def test_results_of_a_run(tiny: list[str], tiny_ham: Path, tmp_path: Path) -> None:
    done = ok(run_command(*tiny, "method=erm", "epochs=2", cwd=tmp_path))
    run = only_run(tmp_path / "runs")
    assert run == tmp_path / "runs/isic2018/erm/backbone=smallest,batch_size=14,epochs=2,image_size=32/fold0-seed0"
    found = json.loads((run / "metrics.json").read_text())
    predictions = pd.read_parquet(run / "predictions.parquet")
    accuracy = (predictions["label"] == predictions["predicted"]).mean()
    assert found["test"]["scalars"]["accuracy"] == pytest.approx(accuracy)
    per_class = (predictions["label"] == predictions["predicted"]).groupby(predictions["label"]).mean()
    assert found["test"]["scalars"]["balanced_accuracy"] == pytest.approx(per_class.mean())
    assert predictions.filter(like="prob_").sum(axis=1).to_numpy() == pytest.approx(1)
    assert found["split"]["name"] == "grouped"
    assert found["split"]["hash"] in done.out
    assert found["split"]["leakage"]["leaking"] == 0
    assert len(predictions) == found["split"]["images"]["test"]


def test_a_finished_run_is_loaded_without_pickled_code(tiny: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not the folder of a run"):
        ltmed.load(tmp_path)
    network = ltmed.load(ltmed.train([*tiny, "method=proco", "epochs=1"]))
    assert not network.training
    saved = weights(tmp_path / "runs", "best")
    for key, value in network.state_dict().items():
        assert torch.equal(value, saved[f"train/network.{key}"])
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


def test_offline_wandb_is_one_run_over_a_kill(tiny: list[str], tmp_path: Path) -> None:
    overrides = [*tiny, "epochs=2", "logger=wandb", "logger.offline=true"]
    run_command(*overrides, cwd=tmp_path, before=SignalAt(epoch=1, step=1))
    ok(run_command(*overrides, cwd=tmp_path))
    run = only_run(tmp_path / "runs")
    ids = {folder.name.rsplit("-", 1)[1] for folder in (run / "wandb").glob("offline-run-*")}
    assert len(ids) == 1
    assert not (tmp_path / "wandb").exists()
    assert "train/val/balanced_accuracy" in (run / "metrics.csv").read_text()


def test_a_run_records_its_facts_and_names_an_equal_one(tiny: list[str], tmp_path: Path) -> None:
    overrides = [*tiny, "epochs=1", "dataset.cache_budget_gb=0"]
    first = ok(run_command(*overrides, "method=erm", "loss=focal", cwd=tmp_path))
    assert "note:" not in first.err
    run = only_run(tmp_path / "runs")
    assert OmegaConf.load(run / "overrides.yaml") == [*overrides, "method=erm", "loss=focal"]
    known = json.loads((run / "run.json").read_text())
    assert known["choices"] | {"dataset": "isic2018", "loss": "focal", "split": "grouped"} == known["choices"]
    assert known["uses"] == ["loss", "sampler", "augment"]
    assert known["split_seeds"] == {"split.seed": 0}
    assert (known["pixels"]["store"], known["pixels"]["side"], known["pixels"]["fit"]) == ("jpeg", 37, "squash")
    results = json.loads((run / "metrics.json").read_text())
    assert known["split"]["hash"] == results["split"]["hash"]
    assert results["stages"]["train"]["seconds"] == pytest.approx(sum(known["stages"]["train"]["epochs"]), abs=1e-3)
    config = (run / "config.yaml").read_text()
    assert OmegaConf.load(run / "config.yaml").method.stages.train.epochs == 1
    again = ok(run_command(*overrides, "method=focal", cwd=tmp_path))
    assert f"note: {run.parents[2] / 'focal'}/" in again.err
    assert f" computes the same as {run}, which is finished" in again.err
    assert (run / "config.yaml").read_text() == config
    other = next(path for path in (tmp_path / "runs").rglob("metrics.json") if path.parent != run)
    assert json.loads(other.read_text())["test"] == results["test"]


def test_another_config_in_the_folder_is_refused(tiny: list[str], tmp_path: Path) -> None:
    overrides = [*tiny, f"run_dir={tmp_path / 'mine'}", "epochs=1"]
    ltmed.train(overrides)
    refused = run_command(*overrides, "seed=1", cwd=tmp_path)
    assert refused.code == 2
    assert "seed: 0 there, 1 now" in refused.err
    assert refused.err.count("\n") == 1


def test_other_data_in_the_folder_is_refused(tiny: list[str], tiny_ham: Path, tmp_path: Path) -> None:
    ltmed.train([*tiny, "epochs=1"])
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "HAM10000_images_part_1").symlink_to(tiny_ham / "HAM10000_images_part_1")
    table = (tiny_ham / "HAM10000_metadata.csv").read_text().splitlines()
    (copy / "HAM10000_metadata.csv").write_text("\n".join(table))
    ltmed.train([*tiny, "epochs=1", f"dataset.root={copy}"])
    (copy / "HAM10000_metadata.csv").write_text("\n".join(table[:-4]))
    with pytest.raises(UserError, match="was begun with the split"):
        ltmed.train([*tiny, "epochs=1", f"dataset.root={copy}"])


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

    from ltmed.training.callbacks import checkpoints

    original = checkpoints.write

    def full(file: Path, state: Any) -> None:
        if state["epoch"] == 1:
            raise OSError(errno.ENOSPC, "No space left on device", str(file))
        original(file, state)

    checkpoints.write = full


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


def _offline() -> None:
    """The hub's client would try for most of a minute before it says that there is no network."""
    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = True  # Its environment variable was read when the fork server imported it.


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["dataset.root=/nowhere"], "/nowhere"),
        (["dataset.root=null"], "HAM10000_metadata.csv"),
        (["fold=7"], "grouped has folds 0-4"),
        (["trainer.devices=64"], "CPU core"),
        (["backbone=resnet18", "backbone.pretrained=true"], "backbone.pretrained=false"),
        (["backbone.name=resnt18"], "resnet18"),
        (["+dataset.treads=2"], "'threads'"),
        (["+method.stages.train.module.los=1"], "'loss'"),
        (["epochs={trian:3}"], "'train'"),
        (["batch_size=100000"], "batch_size"),
        (["monitor=balanced_acuracy"], "'balanced_accuracy'"),
        (["run_dir=/etc/passwd"], "/etc/passwd cannot be written"),
        (["runs=null"], "runs=null"),
        (["epochs=0"], "epochs=0"),
        (["method=pcct", "loss=focal"], "method=pcct does not use loss"),
        (["method=aduni", "loss.gamma=1", "loss=focal"], "method=aduni does not use loss"),
    ],
)
def test_mistakes_end_in_one_line(overrides: list[str], said: str, tiny: list[str], tmp_path: Path) -> None:
    done = run_command(*tiny, "epochs=1", *overrides, cwd=tmp_path, before=_offline)
    assert done.code == 2, done.err
    (error,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert said in done.err[done.err.index(error) :]
    assert "Traceback" not in done.err
