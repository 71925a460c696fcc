"""PCCT on two processes, and stopped and continued."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn

from ltmed import distributed, passes
from ltmed.data.batch import Batch
from ltmed.methods.pcct import CentreStage, SampleStage
from tests.methods.small import batch
from tests.methods.small_pcct import LOSSES, TRAINABLE, class_means, make, own_centres


class TwoRanks:
    """Two ranks as two threads below `ltmed.distributed`, whose gathering and sums work on top of these."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.local, self.barrier = threading.local(), threading.Barrier(2, timeout=60)
        self.given: list[Tensor] = [torch.empty(0)] * 2
        monkeypatch.setattr(distributed, "is_distributed", lambda: hasattr(self.local, "rank"))
        monkeypatch.setattr(distributed, "rank", lambda: self.local.rank)
        monkeypatch.setattr(distributed, "gather_equal", self.gather_equal)
        monkeypatch.setattr(distributed, "all_sum", lambda tensor: self.gather_equal(tensor[None]).sum(0))

    def gather_equal(self, tensor: Tensor) -> Tensor:
        if not hasattr(self.local, "rank"):
            return tensor.detach()
        self.given[self.local.rank] = tensor.detach()
        self.barrier.wait()
        both = torch.cat(self.given)
        self.barrier.wait()
        return both


@pytest.mark.parametrize("metric_loss", LOSSES)
@pytest.mark.parametrize(
    ("kind", "options"), [(SampleStage, {"ce_weight": 0.5}), (CentreStage, {}), (CentreStage, TRAINABLE)]
)
def test_two_ranks_with_half_the_batch_are_one_with_all_of_it(
    kind: Any, options: dict[str, Any], metric_loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(data: Batch, rank: int) -> Batch:
        cut = len(data.labels) // 2  # Uneven where the number is odd, as the shards of evaluation are.
        return Batch(*(part[:cut] if rank == 0 else part[cut:] for part in data if part is not None))

    def over(stage: nn.Module) -> Iterator[Batch]:
        whole = batch(11, seed=5)
        yield half(whole, ranks.local.rank) if hasattr(ranks.local, "rank") else whole

    def train(rank: int | None) -> None:
        if rank is not None:
            ranks.local.rank = rank
        stage = one if rank is None else two[rank]
        stage._estimate_centres()
        if stage.__dict__["_parameters"].get("centres") is not None:
            stage.centres.data.copy_(own_centres(stage))
        losses.append(stage.training_step(data if rank is None else half(data, rank), 0))
        losses[-1].backward()

    ranks, data, losses = TwoRanks(monkeypatch), batch(), []
    monkeypatch.setattr(passes, "over_training_part", over)
    one, *two = (make(kind, norm=False, metric_loss=metric_loss, **options) for _ in range(3))
    train(None)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(train, range(2)))
    for loss in losses[1:]:
        torch.testing.assert_close(loss, losses[0])
    for stage in two:
        torch.testing.assert_close(own_centres(stage), own_centres(one))
    for name, parameter in one.named_parameters():
        gradients = torch.stack([stage.get_parameter(name).grad for stage in two])
        torch.testing.assert_close(gradients.mean(0), parameter.grad, rtol=1e-4, atol=1e-6)


class Loader:
    """Batches of random pixels."""

    def __init__(self, *seeds: int) -> None:
        self.seeds = seeds

    def __len__(self) -> int:
        return len(self.seeds)

    def __iter__(self) -> Iterator[Batch]:
        for seed in self.seeds:
            made = batch(seed=seed)
            pixels = (made.images * 50 + 120).clamp(0, 255).byte().permute(0, 2, 3, 1)
            yield made._replace(images=pixels, views=None)


class Images(pl.LightningDataModule):
    """The loaders that a stage uses."""

    def train_dataloader(self) -> Loader:
        return Loader(0, 1, 2)

    def val_dataloader(self) -> Loader:
        return Loader(3)

    def training_part_loader(self) -> Loader:
        return Loader(0, 1, 2)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "options"), [(SampleStage, {"ce_weight": 0.5}), (CentreStage, {}), (CentreStage, TRAINABLE)]
)
def test_killed_and_continued_is_as_if_never_killed(kind: Any, options: dict[str, Any], tmp_path: Path) -> None:
    def fit(epochs: int, resume: Path | None) -> tuple[Any, Path]:
        stage = make(kind, **options)
        stage.context = replace(stage.context, tiers={"head": [2], "medium": [1], "tail": [0]})
        trainer = pl.Trainer(
            max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, num_sanity_val_steps=0,
        )  # fmt: skip
        trainer.fit(stage, datamodule=Images(), ckpt_path=resume, weights_only=True)
        trainer.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        return stage, tmp_path / f"{epochs}.ckpt"

    straight, _ = fit(3, None)
    _, stopped = fit(1, None)
    continued, _ = fit(3, stopped)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, continued.state_dict()[name]), name
    parts = [straight.on_after_batch_transfer(part, 0) for part in Images().training_part_loader()]
    torch.testing.assert_close(own_centres(straight), class_means(straight, parts), rtol=1e-4, atol=1e-5)
