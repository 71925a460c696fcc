"""Deferred re-weighting: the weights come with the last epochs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from ltmed.errors import UserError
from ltmed.losses.alpa import alpa
from ltmed.losses.classification import cross_entropy
from ltmed.losses.margins import ldam
from ltmed.losses.reweighted import class_balanced_ce
from ltmed.methods.erm_drw import ERMDRW
from ltmed.nn.cosine import Cosine
from ltmed.nn.network import Network
from tests.methods.small import Encoder, K, batch, context, updated


def make(epochs: int = 10, **options: Any) -> ERMDRW:
    torch.manual_seed(0)
    network = Network(Encoder(), partial(Cosine, scale=30.0), K)
    selected = {"loss": partial(ldam, scale=30.0), **options}
    return ERMDRW(network, replace(context(), epochs=epochs), **selected)


def test_updates_every_parameter() -> None:
    updated(make(), batch())


@pytest.mark.parametrize(
    ("epochs", "share", "first"), [(200, 0.2, 160), (10, 0.2, 8), (14, 0.2, 11), (1, 0.2, 0), (2, 0.2, 1), (4, 1.0, 0)]
)
def test_which_epoch_is_the_first_with_weights(epochs: int, share: float, first: int) -> None:
    assert make(epochs, share=share).first_late == first


@pytest.mark.parametrize("loss", [partial(ldam, scale=30.0), class_balanced_ce, partial(class_balanced_ce, beta=0.5)])
def test_weights_come_in_the_last_epochs(loss: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, data = make(loss=loss, beta=0.999).eval(), batch()
    for epoch, beta in ((0, 0.0), (7, 0.0), (8, 0.999), (9, 0.999)):
        monkeypatch.setattr(ERMDRW, "current_epoch", epoch)
        expected = loss(stage(data.images), data.labels, context().counts, beta=beta)
        torch.testing.assert_close(stage.training_step(data, 0), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": cross_entropy}, "loss=ldam"),
        ({"loss": alpa}, "loss=ldam"),  # Its beta is the weight of negatives.
        ({"loss": partial(alpa, beta=1.0)}, "loss=ldam"),
        ({"share": 0.0}, r"module\.share=0.0"),
        ({"share": 1.1}, r"module\.share=1.1"),
        ({"beta": 1.0}, "module.beta=1.0"),
    ],
)
def test_wrong_options_are_user_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(**options)
