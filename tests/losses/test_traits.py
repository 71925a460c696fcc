"""What losses say about their options, and which heads and methods refuse them for it."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from torch import nn

from ltmed.errors import UserError
from ltmed.losses.classification import cross_entropy
from ltmed.losses.gcl import gcl
from ltmed.losses.margins import ldam
from ltmed.losses.traits import is_class_weighted, require_scale
from ltmed.nn.cosine import Cosine
from ltmed.nn.decoupled import ScaledLinear
from ltmed.nn.heads import Linear
from tests.losses.test_every_loss import NAMES, load


def test_only_losses_whose_beta_makes_class_weights_say_so() -> None:
    assert [name for name in NAMES if name != "gcl" and is_class_weighted(load(name))] == ["cb_ce", "cb_focal", "ldam"]


@pytest.mark.parametrize("loss", [ldam, gcl])
@pytest.mark.parametrize(
    ("options", "head", "said"),
    [
        ({"scale": 30.0}, Linear(6, 3), "cosines times a scale, not Linear"),
        ({"scale": 30.0}, ScaledLinear(6, 3), "cosines times a scale, not ScaledLinear"),
        ({"scale": None}, Linear(6, 3), "method=ldam"),
        ({"scale": 16.0}, Cosine(6, 3, scale=30), "is 16.0, but that of the head is 30"),
        ({"scale": None}, Cosine(6, 3, scale=30), "is None, but that of the head is 30"),
    ],
)
def test_scales_that_do_not_fit_are_user_errors(loss: Any, options: dict[str, Any], head: nn.Module, said: str) -> None:
    with pytest.raises(UserError, match=said):
        require_scale(partial(loss, **options), head)


def test_scales_that_fit_and_losses_without_one_are_accepted() -> None:
    for loss, head in (
        (partial(ldam, scale=30), Cosine(6, 3)),
        (partial(gcl, scale=16.0, strength=0.1), Cosine(6, 3, scale=16)),
        (cross_entropy, Linear(6, 3)),
        (cross_entropy, Cosine(6, 3)),
    ):
        require_scale(loss, head)
