"""Several processes: the numbers of one, equal ranks, sweeps with ranks, launchers."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from ltmed.runs.job import Job, job_of
from ltmed.train import train
from tests.harness import (
    METHODS,
    QUICK,
    assert_same_weights,
    ok,
    run_command,
    run_ranks,
    run_torchrun,
    weights,
)


@dataclass(frozen=True)
class Dump:
    """Saves the first step's gradients, and the state of the stage at the end of the fit, of every rank."""

    folder: Path

    def __call__(self) -> None:
        from ltmed.training.stage import Stage

        folder = self.folder

        def gradients(stage: Any, optimizer: Any) -> None:
            if stage.global_step == 0:
                found = {name: p.grad.clone() for name, p in stage.named_parameters() if p.grad is not None}
                torch.save(found, folder / f"grad{stage.global_rank}.pt")

        def state(stage: Any) -> None:
            torch.save(stage.state_dict(), folder / f"{stage.context.name}{stage.global_rank}.pt")

        Stage.on_before_optimizer_step = gradients  # pyright: ignore[reportAttributeAccessIssue]
        Stage.on_fit_end = state  # pyright: ignore[reportAttributeAccessIssue]


@dataclass(frozen=True)
class TrainEach:
    """Trains one method after another in this process, which is a rank, as a sweep would."""

    jobs: tuple[Job, ...]
    folder: Path

    def __call__(self) -> None:
        from ltmed.cli.boundary import tidy_output
        from ltmed.train import train

        tidy_output()
        for job in self.jobs:
            folder = self.folder / job.name.method
            folder.mkdir(exist_ok=True)
            Dump(folder)()
            train(job)


DISTRIBUTED = [name for name in METHODS if name != "probe"]  # Cached features: one process.
TESTED_ALONE = ("erm", "pcct", "lmd")
PARTS = 4


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(PARTS))
def test_two_ranks_end_alike_and_test_every_image_once(part: int, tiny: list[str], tmp_path: Path) -> None:
    methods = DISTRIBUTED[part::PARTS]
    overrides = [*tiny, "epochs=1"]
    jobs = {name: job_of([*overrides, f"method={name}", "trainer.devices=2", *QUICK.get(name, [])]) for name in methods}
    first, second = run_ranks(TrainEach(tuple(jobs.values()), tmp_path), tmp_path, timeout=560)
    expected = ("warning: isic2018: ", "Another process is decoding ")
    assert not [line for line in ok(first).err.splitlines() if not line.startswith(expected)]
    assert not ok(second).out
    for method, job in jobs.items():
        for stage in job.cfg.method.stages:
            assert f"{stage} 1/1" in first.out, method
            assert_same_weights(*(torch.load(tmp_path / method / f"{stage}{rank}.pt") for rank in range(2)))
        found = json.loads((job.run_dir / "metrics.json").read_text())
        images = pd.read_parquet(job.run_dir / "predictions.parquet")["image"]
        assert images.is_unique
        assert len(images) == found["split"]["images"]["test"]
        if method not in TESTED_ALONE:
            continue
        # One process that tests the same weights finds the same numbers.
        (job.run_dir / "metrics.json").unlink()
        train(job_of([*overrides, f"method={method}", *QUICK.get(method, [])]))
        alone = json.loads((job.run_dir / "metrics.json").read_text())
        assert found["test"]["confusion"] == alone["test"]["confusion"]
        for name, value in found["test"]["scalars"].items():
            assert alone["test"]["scalars"][name] == pytest.approx(value, abs=1e-5), name


@pytest.mark.slow
def test_first_gradient_does_not_depend_on_the_number_of_processes(tiny: list[str], tmp_path: Path) -> None:
    # Without BatchNorm, whose statistics are those of each process's own part of the batch.
    overrides = [*tiny, "method=erm", "epochs=1", "backbone=timm", "backbone.name=test_convnext"]
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    ok(run_command(*overrides, f"runs={tmp_path / 'a'}", cwd=tmp_path, before=Dump(folders[0])))
    for done in run_torchrun(*overrides, f"runs={tmp_path / 'b'}", cwd=tmp_path, before=Dump(folders[1])):
        ok(done)
    alone, shared = (torch.load(folder / "grad0.pt") for folder in folders)
    assert alone.keys() == shared.keys()
    for name, gradient in alone.items():
        torch.testing.assert_close(shared[name], gradient, rtol=1e-3, atol=1e-6 + 1e-4 * float(gradient.abs().max()))


SWEEP = ["-m", "method=erm", "seed=0,1", "trainer.devices=2", "trainer.accelerator=cpu"]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_sweep_with_two_ranks(tiny: list[str], tmp_path: Path) -> None:
    overrides = [*SWEEP, *tiny, "epochs=1"]
    ok(run_command(*overrides, cwd=tmp_path, before=_single_slurm_task, timeout=380))
    runs = sorted(str(file.parent.relative_to(tmp_path / "runs")) for file in (tmp_path / "runs").rglob("metrics.json"))
    place = "backbone=smallest,batch_size=14,epochs=1,image_size=32"
    assert runs == [f"isic2018/erm/{place}/fold0-seed{seed}" for seed in (0, 1)]
    allowed = {"runs", "cache", "stdout.txt", "stderr.txt"}
    assert {path.name for path in tmp_path.iterdir()} <= allowed, "stray files beside the runs"
    assert {path.name for path in (tmp_path / "runs").iterdir()} <= {"isic2018", "multirun.yaml"}
    states = [weights(tmp_path / "runs" / run) for run in runs]
    assert not torch.equal(*(state["train/network.classifier.weight"] for state in states))
    again = ok(run_command(*overrides, cwd=tmp_path))
    assert "train 1/1" not in again.out


def _single_slurm_task() -> None:
    """What Slurm tells the one task of a job; Lightning took the ranks that it starts for tasks that are missing."""
    os.environ |= {
        "SLURM_NTASKS": "1",
        "SLURM_STEP_NUM_TASKS": "1",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
    }
    os.environ |= {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "run", "SLURM_NODEID": "0", "SLURM_NODELIST": "localhost"}


@pytest.mark.slow
def test_submitit_runs_each_job_in_a_process_of_its_own(tiny: list[str], tmp_path: Path) -> None:
    overrides = ["-m", "hydra/launcher=submitit_local", "seed=3", *tiny, "epochs=1"]
    ok(run_command(*overrides, cwd=tmp_path))
    assert len(list((tmp_path / "runs").rglob("metrics.json"))) == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"runs", "cache", "stdout.txt", "stderr.txt"}


@pytest.mark.slow
def test_a_dead_rank_ends_the_run_and_a_dead_run_its_ranks(tiny: list[str], tmp_path: Path) -> None:
    import psutil

    done = run_command(*tiny, "epochs=2", "trainer.devices=2", cwd=tmp_path, before=_kill_the_worker)
    assert done.code == 2
    assert "error: Rank 1 ended with code -9. Run the same command to continue" in done.err
    workers = [p for p in psutil.process_iter(["cmdline"]) if "ltmed.cli.worker" in (p.info["cmdline"] or [])]
    assert not [p for p in workers if p.cwd() == str(tmp_path)]


def _kill_the_worker() -> None:
    import psutil

    from ltmed.training.stage import Stage

    def kill(stage: Any) -> None:
        (worker,) = psutil.Process().children()
        worker.kill()

    Stage.on_validation_epoch_start = kill  # pyright: ignore[reportAttributeAccessIssue]
