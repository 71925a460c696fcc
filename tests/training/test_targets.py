"""Stages on several labels per image: sigmoids, unknown labels, labels that nothing can be learnt of."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from ltmed.data.batch import Batch
from ltmed.losses.sigmoid import bce
from ltmed.methods.erm import ERM
from ltmed.methods.mixing import Mixing
from ltmed.nn.heads import Linear
from ltmed.nn.network import Network
from ltmed.training.stage import Stage
from ltmed.training.targets import multilabel_losses
from tests.methods.small import Encoder, K, context

COUNTS = torch.tensor([[5, 3, 0], [7, 9, 12]])


def make(kind: type[ERM] = ERM, **options: object) -> ERM:
    torch.manual_seed(0)
    about = replace(context(), counts=COUNTS, tiers={"head": [0], "medium": [1], "tail": [2]})
    return kind(Network(Encoder(), partial(Linear), K), about, loss=bce, **options)  # pyright: ignore


def several(size: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(0)
    targets = (torch.rand(size, K, generator=generator) < 0.5).float()
    targets[0, 0] = targets[3, 1] = torch.nan
    return Batch(torch.randn(size, 3, 8, 8, generator=generator), targets, torch.arange(size).flip(0))


@pytest.mark.parametrize(("kind", "options"), [(ERM, {}), (Mixing, {"mix": "mixup", "alpha": 0.2})])
def test_a_label_without_a_training_image_is_left_out_of_the_loss(kind: type[ERM], options: dict[str, object]) -> None:
    stage, batch = make(kind, **options), several()
    torch.manual_seed(1)
    stage.training_step(batch, 0).backward()
    head = stage.network.classifier
    gradients = {name: p.grad for name, p in head.named_parameters()}
    assert any(g is not None and g.ndim == 1 for g in gradients.values())
    for gradient in gradients.values():
        assert gradient is not None
        assert torch.isfinite(gradient).all()
        assert (gradient[2] == 0).all()
        assert (gradient[:2] != 0).any()


def test_evaluation_is_on_sigmoids_in_manifest_order() -> None:
    stage, batch = make().eval(), several()
    with torch.no_grad():
        stage.validation_step(batch, 0)
        found = stage.gather_evaluation()
        expected = stage(batch.images).sigmoid()
    assert found.multilabel
    torch.testing.assert_close(found.probabilities, expected.flip(0))
    torch.testing.assert_close(found.labels, batch.labels.flip(0), equal_nan=True)


def test_the_mean_over_known_entries_is_that_of_a_loop() -> None:
    stage, batch = make(), several()
    total = 0.0
    for row, wanted in zip(stage(batch.images).double().tolist(), batch.labels.tolist(), strict=True):
        for z, y in list(zip(row, wanted, strict=True))[:2]:
            if y == y:
                total += math.log1p(math.exp(-z if y else z))
    assert stage.training_step(batch, 0).item() == pytest.approx(total / len(batch.labels), rel=1e-5)


def test_stages_need_one_class_per_image_unless_they_say_otherwise() -> None:
    assert not Stage.multilabel
    assert ERM.multilabel
    assert "asl" in multilabel_losses()
    assert "ce" not in multilabel_losses()
