"""Freezing and reinitialising parts of a network for a later stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ltmed.errors import UserError


def freeze(module: nn.Module) -> None:
    """Disables the gradient of all parameters of `module`, and puts it into evaluation mode.

    BatchNorm keeps its running statistics, and dropout is off until `module.train()` is called.
    """
    module.requires_grad_(False)
    module.eval()


def reset_parameters(module: nn.Module) -> None:
    """Initialises all parameters of `module` again, from torch's global generator.

    Raises:
        UserError: a layer with parameters has no `reset_parameters`.
    """
    for layer in module.modules():
        reset = getattr(layer, "reset_parameters", None)
        if reset is not None:
            reset()
        elif any(True for _ in layer.parameters(recurse=False)):
            raise UserError(
                f"{type(layer).__name__} cannot be reinitialised",
                "Use method.network.classifier._target_=ltmed.nn.heads.Linear, or give it reset_parameters().",
            )


class Frozen(nn.Module):
    """A frozen encoder: in evaluation mode, without gradient, and not part of any state dict.

    Cached features pass through unchanged, so that a method works on them as on images. Copies (momentum teachers)
    share the encoder. A run saves its weights once, beside the checkpoints.

    Args:
        model: `[B, 3, H, W] -> [B, D]`, with `num_features` (= D).
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        freeze(model)
        self.__dict__["_model"] = model  # Bypasses nn.Module, which would register it as a submodule.
        self.num_features = int(model.num_features)  # pyright: ignore[reportArgumentType]

    @property
    def model(self) -> nn.Module:
        """The encoder itself."""
        return self.__dict__["_model"]

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Images `[B, 3, H, W]` -> features `[B, D]`; features `[B, D]` -> themselves."""
        return images if images.ndim == 2 else self.model(images)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Frozen:
        """Also moves the encoder to a device or a memory format."""
        self.model._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def __deepcopy__(self, memo: dict[int, Any]) -> Frozen:
        return Frozen(self.model)
