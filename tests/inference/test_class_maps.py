"""Grad-CAM: against CAM and autograd, on networks that must be refused, and sanity checks on trained networks."""

from __future__ import annotations

import copy
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from ltmed.data.phantom.recipes import draw_lesion
from ltmed.data.phantom.render import paint, photograph
from ltmed.errors import UserError
from ltmed.nn.encoder import timm_encoder
from ltmed.nn.network import Network

pytest.importorskip("pytorch_grad_cam")
from ltmed.inference.class_maps import ClassMaps, spatial_layer

CLASSES = torch.tensor([2, 0, 1])


def _network(name: str, size: int, **options: Any) -> Network:
    torch.manual_seed(0)
    network = Network(timm_encoder(name, image_size=size, **options), nn.Linear, 3)
    return network.eval()


def _images(size: int) -> torch.Tensor:
    return torch.randn(len(CLASSES), 3, size, size, generator=torch.Generator().manual_seed(1))


def _scaled(maps: torch.Tensor, size: int) -> np.ndarray:
    """As the library scales them: rectified, from 0 to 1, enlarged with OpenCV, from 0 to 1 again."""
    found = []
    for one in maps.clamp(min=0).numpy():
        one = (one - one.min()) / (1e-7 + (one - one.min()).max())
        one = cv2.resize(one, (size, size))
        found.append((one - one.min()) / (1e-7 + (one - one.min()).max()))
    return np.stack(found)


@pytest.mark.parametrize(("name", "layer"), [("test_resnet", None), ("test_efficientnet", "bn2")])
def test_with_pooling_and_a_linear_head_it_is_cam(name, layer):
    """There dlogit/dA is w / (h w), so that Grad-CAM is Zhou et al.'s CAM, ReLU(sum_c w_c A_c)."""
    network, images = _network(name, 96), _images(96)
    head: Any = network.classifier
    with torch.no_grad():
        head.weight.normal_()
    weights = head.weight.detach()
    explain = ClassMaps(network, 96)
    assert layer is None or explain.layer.name == layer
    probabilities, maps = explain(images, CLASSES)
    with torch.no_grad():
        encoder: Any = network.encoder
        activations = encoder.forward_features(images)
        expected = torch.einsum("bchw,bc->bhw", activations, weights[CLASSES])
        assert np.abs(probabilities - network(images).softmax(1).numpy()).max() < 1e-6
    assert tuple(activations.shape[2:]) == explain.layer.cells
    assert np.abs(maps - _scaled(expected, 96)).max() < 1e-3
    assert [p.grad for p in network.parameters() if p.grad is not None and p.grad.any()] == []


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_a_vision_transformer_by_autograd(pool):
    network, images = _network("test_vit", 64, global_pool=pool), _images(64)
    encoder: Any = network.encoder
    encoder.requires_grad_(False)  # As a frozen backbone is.
    explain = ClassMaps(network, 64)
    assert explain.layer.cells == encoder.patch_embed.grid_size
    _, maps = explain(images, CLASSES)
    kept: list[torch.Tensor] = []
    handle = encoder.blocks[-1].norm1.register_forward_hook(lambda *call: kept.append(call[2]))
    logits = network(images.requires_grad_(True))
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[torch.arange(3), CLASSES].sum(), kept[0])
    height, width = explain.layer.cells
    patches = [
        one.detach()[:, encoder.num_prefix_tokens :].unflatten(1, (height, width)) for one in (kept[0], gradient)
    ]
    expected = torch.einsum("bhwc,bc->bhw", patches[0], patches[1].mean((1, 2)))
    assert maps.max() == pytest.approx(1, abs=1e-3)
    assert np.abs(maps - _scaled(expected, 64)).max() < 1e-3


class _Flat(nn.Module):
    num_features = 4

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4), nn.ReLU())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


def test_a_network_without_places_is_refused():
    with pytest.raises(UserError, match="no spatial map") as refused:
        ClassMaps(Network(_Flat(), nn.Linear, 3), 8)
    assert "\n" not in str(refused.value)


def test_channels_last_are_known():
    encoder = nn.Sequential()
    encoder.add_module("first", nn.Conv2d(3, 5, 4, 4))
    encoder.add_module("last", _Permuted())
    encoder.add_module("pool", _Mean((1, 2)))
    encoder.num_features = 5  # pyright: ignore[reportAttributeAccessIssue]
    layer = spatial_layer(Network(encoder, nn.Linear, 3), 32)
    assert (layer.name, layer.cells) == ("last", (8, 8))
    assert layer.reshape is not None
    assert layer.reshape(torch.zeros(2, 8, 8, 5)).shape == (2, 5, 8, 8)


class _Permuted(nn.Module):
    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps.permute(0, 2, 3, 1)


class _Mean(nn.Module):
    def __init__(self, over: tuple[int, int]) -> None:
        super().__init__()
        self.over = over

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps.mean(self.over)


# --- sanity checks (Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018) ----------------------------------


def _phantoms(number: int, seed: int, *, outlined: bool = True) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Images [2 n, 3, 64, 64] of two classes, their labels, and bool [2 n, 64, 64]: where the lesion is, if asked for.

    The outline is where a lesion painted white gives another image than one painted black, all else being equal.
    """
    images, outlines = [], []
    for code in ("NV", "VASC"):
        for place in range(number):
            lesion = draw_lesion(code, place, np.random.default_rng([seed, place]))
            painted = paint(lesion)
            white, black = painted.copy(), painted.copy()
            white[..., :3], black[..., :3] = 255, 0
            seen = [
                photograph(one, lesion.skin, np.random.default_rng([seed, place, 1]))
                for one in ((painted, white, black) if outlined else (painted,))
            ]
            images.append(seen[0])
            if outlined:
                outlines.append(np.abs(seen[1].astype(int) - seen[2]).mean(2) > 100)
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return pixels, torch.arange(2).repeat_interleave(number), np.array(outlines)


def _small() -> nn.Module:
    """An encoder that leaves 8 x 8 cells of 64 x 64 pixels."""
    encoder = nn.Sequential()
    for number, (before, after) in enumerate([(3, 16), (16, 32), (32, 32)]):
        layers = nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()
        encoder.add_module(f"layer{number}", nn.Sequential(*layers))
    encoder.add_module("pool", _Mean((2, 3)))
    encoder.num_features = 32  # pyright: ignore[reportAttributeAccessIssue]
    return encoder


@pytest.mark.slow
def test_the_map_of_a_trained_network_lies_in_the_lesion_and_that_of_a_random_one_is_another():
    torch.manual_seed(0)
    network = Network(_small(), nn.Linear, 2)
    untrained = copy.deepcopy(network).eval()
    images, labels, _ = _phantoms(120, seed=1, outlined=False)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(6):
        for rows in torch.randperm(len(labels)).split(24):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[rows]), labels[rows]).backward()
            optimizer.step()
    network.eval()
    images, labels, outlines = _phantoms(40, seed=2)
    probabilities, maps = ClassMaps(network, 64)(images, labels)
    right = probabilities.argmax(1) == labels.numpy()
    assert right.mean() > 0.8, "a test of a network that has learnt something"
    _, random = ClassMaps(untrained, 64)(images, labels)
    shares, chance = _shares(maps, outlines), outlines.mean((1, 2))
    known = ~np.isnan(shares)
    assert known.mean() > 0.8
    assert np.mean((shares > chance)[known]) > 0.8
    assert np.mean((shares - chance)[known]) > 0.2
    assert np.nanmean(_shares(random, outlines) - chance) < 0.1, "what has learnt nothing points nowhere"
    both = [(a, b) for a, b in zip(maps, random, strict=True) if a.any() and b.any()]
    assert len(both) > 20
    assert np.mean([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in both]) < 0.5


def _shares(maps: np.ndarray, outlines: np.ndarray) -> np.ndarray:
    """How much of each map lies inside the outline, [n]; NaN of a map that is 0."""
    inside = (maps * outlines).sum((1, 2))
    total = maps.sum((1, 2))
    return np.divide(inside, total, out=np.full(len(maps), np.nan), where=total > 0)
