"""Parts of a network that a later stage leaves as they are, or begins anew."""

from __future__ import annotations

from torch import nn

from ltmed.errors import UserError


def freeze(module: nn.Module) -> None:
    """Stops the training of all parameters of `module`, and puts it into evaluation mode.

    BatchNorm keeps its running statistics and dropout is off until somebody calls `module.train()`.
    """
    module.requires_grad_(False)
    module.eval()


def start_anew(module: nn.Module) -> None:
    """Draws all parameters of `module` again, from torch's global generator.

    Raises:
        UserError: a layer with parameters has no `reset_parameters`.
    """
    for layer in module.modules():
        draw = getattr(layer, "reset_parameters", None)
        if draw is not None:
            draw()
        elif any(True for _ in layer.parameters(recurse=False)):
            raise UserError(
                f"{type(layer).__name__} cannot be initialised anew",
                "Use method.network.classifier._target_=ltmed.nn.heads.Linear, or give it reset_parameters().",
            )
