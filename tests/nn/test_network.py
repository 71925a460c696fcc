"""What every network does, whatever its parts are."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from ltmed.nn.adjusted import LogitAdjusted
from ltmed.nn.dropout_head import DropoutLinear
from ltmed.nn.heads import EmbeddedLinear, Linear
from ltmed.nn.network import Network
from ltmed.nn.standardised import StandardisedLinear

D, K = 16, 3


class Encoder(nn.Module):
    """One layer, in half precision under autocast like any other."""

    num_features = D

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, D)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images.flatten(1))


@pytest.mark.parametrize(
    "head", [Linear, partial(EmbeddedLinear, width=8), DropoutLinear, LogitAdjusted, StandardisedLinear]
)
def test_logits_under_autocast_are_those_of_float32_for_the_same_features(head: type[nn.Module]) -> None:
    """In bfloat16, logits between 8 and 16 are multiples of 1/16: classes tie, and the first one would be predicted."""
    torch.manual_seed(0)
    network = Network(Encoder(), head, K).eval()
    images = torch.randn(20, 3, 2, 2)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        features, logits = network.encoder(images), network(images)
    assert features.dtype == torch.bfloat16
    assert logits.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(logits, network.classifier(features.float()))


def test_classes_that_would_tie_in_bfloat16_do_not() -> None:
    network = Network(Encoder(), Linear, 2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.classifier.bias.copy_(torch.tensor([10, 10.01]))  # pyright: ignore[reportCallIssue]
        with torch.autocast("cpu", torch.bfloat16):
            assert network(torch.ones(1, 3, 2, 2)).argmax(1).item() == 1
