"""The moving average of the weights, against timm's."""

from __future__ import annotations

import copy
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from timm.utils.model_ema import ModelEmaV3

from ltmed.losses.classification import cross_entropy
from ltmed.methods.erm import ERM
from ltmed.nn.heads import Linear
from ltmed.training.callbacks.ema import Ema
from tests.harness import assert_same_weights
from tests.methods.small_decoupling import Data, make, trainer_for


class Timm(pl.Callback):
    """timm's average, updated after every step as its training loop does."""

    def __init__(self, decay: float, warmup: bool) -> None:
        self.options = {"decay": decay, "use_warmup": warmup}

    def on_fit_start(self, trainer, pl_module) -> None:
        self.ema = ModelEmaV3(copy.deepcopy(pl_module.network), **self.options)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step > getattr(self, "step", 0):
            self.step = trainer.global_step
            self.ema.update(pl_module.network, step=trainer.global_step)


def fitted(epochs: int = 3, decay: float = 0.9, warmup: bool = False, accumulate: int = 1):
    stage, callbacks = make(ERM, Linear, loss=cross_entropy), [Ema(decay, warmup), Timm(decay, warmup)]
    trainer = trainer_for(epochs)
    trainer.accumulate_grad_batches = accumulate
    trainer.callbacks += callbacks  # pyright: ignore
    trainer.fit(stage, datamodule=Data())
    return stage, trainer, *callbacks


@pytest.mark.parametrize(("warmup", "accumulate"), [(False, 1), (True, 1), (False, 2)])
def test_it_is_that_of_timm(warmup: bool, accumulate: int) -> None:
    stage, _, ours, timms = fitted(warmup=warmup, accumulate=accumulate)
    expected = timms.ema.module.state_dict()
    assert stage.validates_average
    assert len(ours.average) == len([key for key in expected if "num_batches" not in key])
    for name, tensor in ours.average.items():
        assert torch.allclose(tensor, expected[name], atol=1e-6), name
        assert not torch.equal(tensor, stage.network.state_dict()[name]), name


@torch.no_grad()
def test_what_is_evaluated_is_the_average_and_the_weights_come_back() -> None:
    stage, _, _, timms = fitted()
    plain = make(ERM, Linear, loss=cross_entropy)
    trainer_for(3).fit(plain, datamodule=Data())
    assert_same_weights(plain.network.state_dict(), stage.network.state_dict())
    data = Data().val_part
    images = stage.on_after_batch_transfer(data, 0).images
    expected = timms.ema.module.eval()(images).softmax(1)
    assert torch.allclose(stage.evaluations["val"].probabilities, expected, atol=1e-5)
    assert not torch.allclose(expected, stage.network.eval()(images).softmax(1), atol=1e-4)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_checkpoint_has_the_average_and_training_goes_on_from_the_weights(accumulate: int, tmp_path: Path) -> None:
    whole, _, ours, _ = fitted(epochs=3, accumulate=accumulate)
    _, trainer, half, _ = fitted(epochs=2, accumulate=accumulate)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    for name, tensor in half.average.items():
        assert torch.equal(saved[f"network.{name}"], tensor)
    resumed, again = make(ERM, Linear, loss=cross_entropy), Ema(0.9)
    trainer = trainer_for(3)
    trainer.accumulate_grad_batches = accumulate
    trainer.callbacks.append(again)  # pyright: ignore
    trainer.fit(resumed, datamodule=Data(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert_same_weights(whole.state_dict(), resumed.state_dict())
    assert_same_weights(ours.average, again.average)
