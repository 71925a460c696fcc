"""Low-rank adapters: what is trained, what is merged, and names that fit nothing."""

from __future__ import annotations

import copy

import pytest
import timm
import torch

from ltmed.errors import UserError
from ltmed.nn.adapters import Adapted
from ltmed.nn.heads import Linear
from ltmed.nn.network import Network

pytest.importorskip("peft")


def vit() -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model("test_vit", num_classes=0, img_size=64).eval()


def test_they_begin_as_the_encoder_and_merge_into_it() -> None:
    images, plain = torch.randn(2, 3, 64, 64), vit()
    adapted = Adapted(vit(), rank=3).eval()
    assert torch.allclose(adapted(images), plain(images), atol=1e-6)
    trained = {name: p for name, p in adapted.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name and "qkv" in name for name in trained)
    with torch.no_grad():
        for parameter in trained.values():
            parameter.normal_(std=0.3)
    changed = adapted(images)
    assert not torch.allclose(changed, plain(images), atol=1e-2)
    merged = adapted.merge()
    assert merged.state_dict().keys() == plain.state_dict().keys()
    assert torch.allclose(merged.eval()(images), changed, atol=1e-4)


def test_only_the_adapters_of_a_copy_are_trained_again() -> None:
    network = copy.deepcopy(Network(Adapted(vit(), rank=2), Linear, 3))
    network.requires_grad_(False).unfreeze_encoder()
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in network.named_parameters() if "lora_" in name} != set()


def test_a_layer_is_its_weights_and_the_scaled_product() -> None:
    adapted = Adapted(vit(), rank=2, alpha=6)
    parts = dict(adapted.named_parameters())
    before = vit().state_dict()["blocks.0.attn.qkv.weight"]
    first, second = (next(p for n, p in parts.items() if f"blocks.0.attn.qkv.lora_{ab}" in n) for ab in "AB")
    with torch.no_grad():
        second.normal_()
    merged = adapted.merge().state_dict()["blocks.0.attn.qkv.weight"]
    assert torch.allclose(merged, before + 6 / 2 * second @ first, atol=1e-5)


def test_layers_are_chosen_by_name_also_convolutions() -> None:
    adapted = Adapted(timm.create_model("test_resnet", num_classes=0), rank=2, targets=["conv1"])
    trained = [name for name, p in adapted.named_parameters() if p.requires_grad]
    assert trained
    assert all("conv1.lora_" in name for name in trained)


@pytest.mark.parametrize(
    ("name", "targets", "hint"),
    [("test_vit", ["qvk"], "Did you mean 'qkv'"), ("test_resnet", None, "finetune.peft.targets=")],
)
def test_names_that_fit_nothing_are_refused_with_near_ones(name: str, targets, hint: str) -> None:
    with pytest.raises(UserError, match=hint):
        Adapted(timm.create_model(name, num_classes=0), rank=2, targets=targets)
