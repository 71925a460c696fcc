"""The trainer of a stage: what it switches on for every run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from lightning.fabric.plugins.environments import SLURMEnvironment
from omegaconf import OmegaConf

from ltmed.training.trainer import make_trainer
from tests.harness import ROOT


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)
    torch.use_deterministic_algorithms(False)


def gradient(labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    prototypes = torch.zeros(7, 256, requires_grad=True)
    (prototypes[labels] * weights).sum().backward()
    assert prototypes.grad is not None
    return prototypes.grad


def test_several_threads_find_the_same_gradient_every_time(two_threads: None) -> None:
    """ProCo on two cores gave other numbers each time: threads added up the rows of a class in an order of chance."""
    node = OmegaConf.load(ROOT / "conf/trainer/default.yaml")
    make_trainer(node, "cpu", 1, logger=False, enable_checkpointing=False)  # pyright: ignore[reportArgumentType]
    generator = torch.Generator().manual_seed(0)
    labels, weights = torch.randint(7, (4096,), generator=generator), torch.randn(4096, 256, generator=generator)
    first = gradient(labels, weights)
    assert all(torch.equal(gradient(labels, weights), first) for _ in range(20))


def test_slurm_does_not_requeue_behind_our_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning would save in the middle of an epoch, and resume from that instead of from `last.ckpt`."""
    tasks = {"NTASKS": "2", "STEP_NUM_TASKS": "2", "NTASKS_PER_NODE": "2", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    for name, value in {**tasks, "JOB_ID": "7", "JOB_NAME": "run", "NODELIST": "localhost"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    node = OmegaConf.load(ROOT / "conf/trainer/default.yaml")
    trainer = make_trainer(node, "cpu", 2, logger=False, enable_checkpointing=False)  # pyright: ignore[reportArgumentType]
    environment = trainer._accelerator_connector.cluster_environment
    assert isinstance(environment, SLURMEnvironment)
    assert not environment.auto_requeue
