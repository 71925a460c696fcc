"""Learning rates that differ between the layers of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from ltmed.errors import UserError

Make = Callable[[Iterable[Any]], Optimizer]


def build_optimizer(
    make: Make, module: nn.Module, encoder: nn.Module, *, layer_decay: float | None = None, head_lr_scale: float = 1.0
) -> Optimizer:
    """One optimiser over all parameters of `module` that require a gradient.

    Args:
        make: parameters, or groups of them, -> optimiser; its learning rate is that of the encoder's last layer.
        module: everything that is trained.
        encoder: the pretrained part of it; a timm model where `layer_decay` is set.
        layer_decay: d; a layer that is i layers below the encoder's last one has d^i times the learning rate (Clark et
            al., ICLR 2020; Bao et al., BEiT, ICLR 2022), in timm's division into layers. Biases, norms and
            parameters that the model itself excludes then have no weight decay. None: one rate.
        head_lr_scale: factor of the learning rate of all parameters outside the encoder.

    Raises:
        UserError: a layer decay for an encoder that does not declare its layers.
    """
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if layer_decay is None and head_lr_scale == 1:
        return make(trainable)
    encoder_ids = {id(parameter) for parameter in encoder.parameters()}
    head = [parameter for parameter in trainable if id(parameter) not in encoder_ids]
    if layer_decay is None:
        groups = [
            {"params": [p for p in trainable if id(p) in encoder_ids]},
            {"params": head, "lr_scale": head_lr_scale},
        ]
    else:
        groups = _layers(encoder, layer_decay)
        matrices, vectors = [p for p in head if p.ndim > 1], [p for p in head if p.ndim <= 1]
        groups += [
            {"params": matrices, "lr_scale": head_lr_scale},
            {"params": vectors, "lr_scale": head_lr_scale, "weight_decay": 0.0},
        ]
    optimizer = make([group for group in groups if group["params"]])
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * group.pop("lr_scale", 1.0)
    return optimizer


def require_layers(encoder: nn.Module) -> None:
    """Raises UserError unless the encoder declares its layers (timm's `group_matcher`)."""
    if not hasattr(encoder, "group_matcher"):
        raise UserError(
            f"finetune.layer_decay needs layers, and {type(encoder).__name__} does not declare its layers",
            "Leave out finetune.layer_decay, or use a timm model.",
        )


def _layers(encoder: Any, layer_decay: float) -> list[dict[str, Any]]:
    from timm.optim._param_groups import param_groups_layer_decay

    require_layers(encoder)
    without_decay = encoder.no_weight_decay() if hasattr(encoder, "no_weight_decay") else ()
    groups = param_groups_layer_decay(
        encoder, weight_decay=1.0, no_weight_decay_list=tuple(without_decay), layer_decay=layer_decay
    )
    for group in groups:
        if group["weight_decay"]:
            del group["weight_decay"]  # Use that of the optimiser.
    return groups
