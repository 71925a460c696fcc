"""An encoder that stays as it is, whatever the modules around it do."""

from __future__ import annotations

import copy

import torch

from ltmed.nn.frozen import Frozen
from ltmed.nn.heads import Linear
from ltmed.nn.network import Network
from tests.methods.small import Encoder


def network() -> Network:
    torch.manual_seed(0)
    return Network(Frozen(Encoder()), Linear, 3)


def test_it_neither_trains_nor_follows_the_mode() -> None:
    made = network().train()
    images = torch.randn(4, 3, 8, 8)
    before = {key: value.clone() for key, value in made.encoder.model.state_dict().items()}  # pyright: ignore
    made(images).sum().backward()
    for key, value in made.encoder.model.state_dict().items():  # pyright: ignore
        assert torch.equal(value, before[key]), key
    assert all(p.grad is None and not p.requires_grad for p in made.encoder.model.parameters())  # pyright: ignore
    assert torch.equal(made(images), made.eval()(images))


def test_features_pass_through() -> None:
    made, images = network(), torch.randn(4, 3, 8, 8)
    features = made.encoder(images)
    assert features.shape == (4, made.num_features)
    assert torch.equal(made(features), made(images))


def test_it_is_no_part_of_the_state_and_copies_share_it() -> None:
    made = network()
    assert {name.split(".")[0] for name in made.state_dict()} == {"classifier"}
    twin = copy.deepcopy(made)
    assert twin.encoder.model is made.encoder.model
    assert twin.classifier.weight is not made.classifier.weight


def test_it_moves_with_the_network() -> None:
    assert network().double().encoder.model.layers[0].weight.dtype == torch.float64  # pyright: ignore
