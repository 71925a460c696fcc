"""PCCT on two processes, and stopped and continued."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn

from ltmed.data.batch import Batch
from ltmed.methods.pcct import CentreStage, SampleStage
from ltmed.training import feature_pass
from tests.methods.small import batch
from tests.methods.small_pcct import LOSSES, TRAINABLE, class_means, make, own_centres
from tests.methods.two_ranks import TwoRanks, assert_mean_gradient, half


@pytest.mark.parametrize("metric_loss", LOSSES)
@pytest.mark.parametrize(
    ("kind", "options"), [(SampleStage, {"ce_weight": 0.5}), (CentreStage, {}), (CentreStage, TRAINABLE)]
)
def test_two_ranks_with_half_the_batch_are_one_with_all_of_it(
    kind: Any, options: dict[str, Any], metric_loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def over(stage: nn.Module) -> Iterator[Batch]:
        whole = batch(11, seed=5)
        yield half(whole, ranks.local.rank) if hasattr(ranks.local, "rank") else whole

    def train(stage: Any, data: Batch) -> Tensor:
        stage._estimate_centres()
        if stage.__dict__["_parameters"].get("centres") is not None:
            stage.centres.data.copy_(own_centres(stage))
        loss = stage.training_step(data, 0)
        loss.backward()
        return loss.detach()

    ranks, data = TwoRanks(monkeypatch), batch()
    monkeypatch.setattr(feature_pass, "over_training_part", over)
    one, *two = (make(kind, norm=False, metric_loss=metric_loss, **options) for _ in range(3))
    expected = train(one, data)
    for loss in ranks.run(lambda rank: train(two[rank], half(data, rank))):
        torch.testing.assert_close(loss, expected)
    for stage in two:
        torch.testing.assert_close(own_centres(stage), own_centres(one))
    assert_mean_gradient(one, two)


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
