"""Starting ranks: device counts, launchers from outside, and what happens when a rank dies."""

from __future__ import annotations

import os

import pytest
import torch

from ltmed.errors import UserError
from ltmed.training import launcher
from ltmed.utils import processes


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    tasks = ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS_PER_NODE", "SLURM_PROCID")
    for name in ("LOCAL_RANK", "RANK", "TORCHELASTIC_RUN_ID", *tasks):
        monkeypatch.delenv(name, raising=False)


def test_devices_are_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launcher.count_devices("auto", 1, 1) == ("cpu", 1)
    assert launcher.count_devices("cpu", 2, 1) == ("cpu", 2)
    assert launcher.count_devices("cpu", "auto", 1) == ("cpu", 1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert launcher.count_devices("auto", -1, 1) == ("gpu", 4)
    assert launcher.count_devices("gpu", 3, 1) == ("gpu", 3)
    assert launcher.count_devices("cpu", 1, 1) == ("cpu", 1)


@pytest.mark.parametrize(
    ("accelerator", "devices", "nodes", "said"),
    [
        ("auto", 4, 1, "add trainer.accelerator=cpu"),
        ("cpu", 3, 1, "this machine has 2 CPU cores"),
        ("gpu", 1, 1, "torch sees no GPU"),
        ("cpu", 0, 1, "Use trainer.devices=1 to 2"),
        ("tpu", 1, 1, "Known: auto, cpu, gpu"),
        ("cpu", 1, 2, "srun or torchrun"),
    ],
)
def test_impossible_devices_are_refused(accelerator: str, devices: int, nodes: int, said: str) -> None:
    with pytest.raises(UserError, match=said):
        launcher.count_devices(accelerator, devices, nodes)


def test_too_many_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="trainer.devices=4, but this machine has 1 GPU"):
        launcher.count_devices("auto", 4, 1)


def test_outside_launchers_are_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not processes.launched_from_outside()
    assert processes.is_first_process()
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
    monkeypatch.setenv("SLURM_PROCID", "3")
    assert processes.launched_from_outside()
    assert processes.is_left_to_lightning()
    assert not processes.is_first_process()
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    with pytest.raises(UserError, match=r"devices=1, but Slurm started 2 tasks.*ntasks-per-node=1"):
        launcher.count_devices("cpu", 1, 4)
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS")
    monkeypatch.delenv("SLURM_PROCID")
    monkeypatch.setenv("RANK", "4")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert processes.launched_from_outside()
    assert not processes.is_first_process()


@pytest.mark.parametrize(
    ("variables", "program"),
    [
        ({"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4"}, "torchrun"),
        ({"SLURM_STEP_NUM_TASKS": "4"}, "Slurm"),  # srun --ntasks=4 does not say how many there are on each machine.
    ],
)
def test_as_many_processes_as_were_started(
    variables: dict[str, str], program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one device, each of them trained the whole run, all in one folder."""
    for name, value in {**variables, "LOCAL_RANK": "0", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    for devices, nodes in ((1, 1), (2, 1), (1, 2)):
        with pytest.raises(UserError, match=f"{program} started 4 processes"):
            launcher.count_devices("cpu", devices, nodes)
    assert launcher.count_devices("cpu", 2, 2) == ("cpu", 2)
    assert launcher.count_devices("cpu", 1, 4) == ("cpu", 1)


def test_torchrun_in_one_task_of_slurm_for_each_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was refused: the tasks were counted in place of the processes."""
    variables = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS_PER_NODE": "1", "SLURM_PROCID": "0"}
    for name, value in {**variables, "TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert launcher.count_devices("cpu", 2, 2) == ("cpu", 2)


@pytest.mark.parametrize("step", [{"SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1"}, {"SLURM_NTASKS": "2"}])
def test_a_single_task_of_slurm_starts_its_own_ranks(step: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One task of srun, and a batch script that asked for two and calls the program without srun."""
    for name, value in step.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "1")
    assert launcher.count_devices("cpu", 2, 1) == ("cpu", 2)
    assert not processes.launched_from_outside()
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert processes.launched_from_outside()
    assert not processes.is_left_to_lightning()
    assert not processes.is_first_process(), "SLURM_PROCID is that of the rank that started this one"


def test_ranks_is_nothing_for_one_device() -> None:
    before = dict(os.environ)
    with launcher.ranks({}, 1):
        assert dict(os.environ) == before


def test_a_worker_whose_end_is_seen_late_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection breaks first: a collective raised here while the exit code could not be read yet."""

    class Dying:
        looks, returncode = 0, -9

        def poll(self) -> int | None:
            self.looks += 1
            return -9 if self.looks > 3 else None

        def kill(self) -> None: ...

        def wait(self, timeout: float | None = None) -> int:
            return -9

    monkeypatch.setattr(launcher, "_start", lambda *_: Dying())
    monkeypatch.setattr(launcher, "_watch", lambda *_: None)
    with pytest.raises(UserError, match="Rank 1 ended with code -9"), launcher.ranks({}, 2):
        raise RuntimeError("Connection reset by peer")
