"""Learning rates by layer, against timm and by hand."""

from __future__ import annotations

from functools import partial

import pytest
import timm
import torch
from torch import nn

from ltmed.errors import UserError
from ltmed.nn.param_groups import build_optimizer

SGD = partial(torch.optim.SGD, lr=0.1, weight_decay=0.3)


class Both(nn.Module):
    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(int(encoder.num_features), 3)  # pyright: ignore


def rates(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[str, tuple[float, float]]:
    """Name -> learning rate and weight decay; every parameter once."""
    actual = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(actual)
    return {name: actual[id(p)] for name, p in module.named_parameters() if id(p) in actual}


def test_without_options_there_is_one_group() -> None:
    both = Both(timm.create_model("test_vit", num_classes=0))
    optimizer = build_optimizer(SGD, both, both.encoder)
    assert len(optimizer.param_groups) == 1
    assert optimizer.param_groups[0]["params"] == list(both.parameters())


def test_heads_learn_at_another_rate() -> None:
    both = Both(timm.create_model("test_vit", num_classes=0))
    for name, (rate, decay) in rates(build_optimizer(SGD, both, both.encoder, head_lr_scale=10), both).items():
        assert rate == pytest.approx(1.0 if name.startswith("head") else 0.1)
        assert decay == 0.3


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "tf_efficientnet_lite0"])
def test_layers_learn_as_timm_groups_them(name: str) -> None:
    from timm.optim._param_groups import param_groups_layer_decay

    both = Both(timm.create_model(name, num_classes=0))
    actual = rates(build_optimizer(SGD, both, both.encoder, layer_decay=0.5, head_lr_scale=2), both)
    spared = tuple(getattr(both.encoder, "no_weight_decay", set)())
    timms = param_groups_layer_decay(both.encoder, 0.3, no_weight_decay_list=spared, layer_decay=0.5)
    expected = {id(p): (0.1 * g["lr_scale"], g["weight_decay"]) for g in timms for p in g["params"]}
    for key, parameter in both.encoder.named_parameters():
        assert actual[f"encoder.{key}"] == pytest.approx(expected[id(parameter)]), key
    assert actual["head.weight"] == pytest.approx((0.2, 0.3))
    assert actual["head.bias"] == pytest.approx((0.2, 0.0))
    assert len({rate for rate, _ in actual.values()}) > 3


def test_a_schedule_keeps_the_ratios() -> None:
    both = Both(timm.create_model("test_vit", num_classes=0))
    optimizer = build_optimizer(SGD, both, both.encoder, head_lr_scale=10)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    optimizer.step()
    schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.5])


def test_what_wants_no_gradient_is_left_out() -> None:
    both = Both(timm.create_model("test_vit", num_classes=0))
    both.encoder.requires_grad_(False)
    assert set(rates(build_optimizer(SGD, both, both.encoder, layer_decay=0.5), both)) == {"head.weight", "head.bias"}


def test_an_encoder_without_layers_is_refused() -> None:
    encoder = nn.Linear(4, 4)
    encoder.num_features = 4  # pyright: ignore
    both = Both(encoder)
    with pytest.raises(UserError, match="layer_decay"):
        build_optimizer(SGD, both, both.encoder, layer_decay=0.5)
