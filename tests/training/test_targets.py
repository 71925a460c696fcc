"""Stages on several labels per image: sigmoids, unknown labels, labels that nothing can be learnt of."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from ltmed.config.targets import trusted
from ltmed.data.batch import Batch
from ltmed.errors import UserError
from ltmed.evaluation.tiers import tiers
from ltmed.losses.sigmoid import bce
from ltmed.methods.erm import ERM
from ltmed.methods.mixing import Mixing
from ltmed.nn.heads import Linear
from ltmed.nn.network import Network
from ltmed.training.recipes import Recipe
from ltmed.training.stage import Stage
from ltmed.training.targets import multilabel_losses, require_possible
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


def data_with(train: np.ndarray, val: np.ndarray) -> Any:
    """A stand-in for a data set with one of K classes per image, or with several labels."""
    labels, known = np.concatenate([train, val]), np.arange(len(train) + len(val))
    several = labels.ndim == 2
    counts = (train == 1).sum(0) if several else np.bincount(train, minlength=K)
    classes = ("a", "b", "c")
    return SimpleNamespace(
        multilabel=several, manifest=SimpleNamespace(name="toy", classes=classes, labels=labels),
        split=SimpleNamespace(train=known[: len(train)], val=known[len(train) :]), tiers=tiers(counts, classes),
    )  # fmt: skip


ONE = np.repeat(np.arange(K), (6, 3, 2))
SEVERAL = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1], [1, 0, 0]], np.float32)


@pytest.mark.parametrize(
    ("train", "val", "monitor", "undefined"),
    [
        (ONE, np.array([0, 1, 1, 2]), "tail_recall", False),
        (ONE, np.array([0, 1, 1, 1]), "tail_recall", True),
        (ONE, np.array([0, 1, 1, 1]), "balanced_accuracy", False),
        (ONE, np.array([0, 0, 0, 0]), "macro_auroc", True),
        (ONE, np.array([0, 0, 0, 0]), "ece", False),
        (SEVERAL, SEVERAL[1:], "tail_ap", False),
        (SEVERAL, SEVERAL[:2], "tail_ap", True),
        (SEVERAL, SEVERAL[:2], "macro_ap", False),
        (SEVERAL, np.array([[np.nan, 0, np.nan]], np.float32), "macro_ap", True),
    ],
)
def test_a_monitor_without_any_value_is_refused(
    train: np.ndarray, val: np.ndarray, monitor: str, undefined: bool
) -> None:
    """Every epoch would be NaN, and the weights after the first one would be the result."""
    stages = {"train": {"keep": "best", "module": {"_target_": "ltmed.methods.erm.ERM", "_partial_": True}}}
    cfg = OmegaConf.create({
        "monitor": monitor, "method": {"name": "toy", "stages": stages}, "finetune": asdict(Recipe()),
        "class_losses": False,
    })  # fmt: skip
    cfg.method.stages.train.module["loss"] = {"_target_": "ltmed.losses.sigmoid.bce", "_partial_": True}
    data = data_with(train, val)
    refused = pytest.raises(UserError, match=f"monitor={monitor} is undefined for the validation part of toy")
    with trusted():
        with refused if undefined else nullcontext():
            require_possible(cfg, data)
        cfg.method.stages.train.keep = "last"
        require_possible(cfg, data)  # No epoch is chosen by it.
        cfg.finetune.early_stopping = 3
        with refused if undefined else nullcontext():
            require_possible(cfg, data)
