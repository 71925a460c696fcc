"""Where in an image a network saw evidence for a class: Grad-CAM, through the library `grad-cam`.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017,
Eq. 1-2: the activations of the last spatial layer, weighted by the mean gradient of the class's logit, rectified.

Letters: B images, S side of an image, K classes, C channels and h x w cells of a layer's output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ltmed.errors import UserError
from ltmed.nn.network import Network

PACKAGE = "pytorch_grad_cam"


@dataclass(frozen=True)
class SpatialLayer:
    """The layer whose output is explained."""

    name: str
    """Within the encoder."""
    module: nn.Module
    cells: tuple[int, int]
    """h, w."""
    reshape: Callable[[Tensor], Tensor] | None
    """The layer's output -> [B, C, h, w]; None where it is that already."""


class ClassMaps:
    """Grad-CAM of one network.

        probabilities, maps = ClassMaps(network, size=224)(images, classes)

    Args:
        network: in evaluation mode.
        size: S of its input images.
        multilabel: whether its outputs are independent labels, and not classes of which an image has one.

    Raises:
        UserError: the package grad-cam is missing, or no layer of the network has a spatial output.
    """

    def __init__(self, network: Network, size: int, *, multilabel: bool = False) -> None:
        if find_spec(PACKAGE) is None:
            raise UserError("Maps of evidence need the package grad-cam", "Install it: pip install 'ltmed[explain]'")
        self.network, self.multilabel = network, multilabel
        self.layer = spatial_layer(network, size)

    def __call__(self, images: Tensor, classes: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """The probabilities of images and the maps of one class of each.

        Args:
            images: [B, 3, S, S], normalised, on the network's device.
            classes: int64 [B], indices.

        Returns:
            float32 [B, K], and maps float32 [B, S, S]: each has its largest evidence at 1 and its smallest at 0, or is
            0 everywhere if nothing speaks for the class.
        """
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        targets: list[Any] = [ClassifierOutputTarget(int(k)) for k in classes]
        with (
            torch.enable_grad(),
            GradCAM(self.network, [self.layer.module], self.layer.reshape) as explain,  # Removes its hooks at the end.
        ):
            # A frozen encoder has gradients only where its input has one.
            maps = explain(images.detach().requires_grad_(True), targets)
            logits = explain.outputs.detach().float()
            probabilities = (logits.sigmoid() if self.multilabel else logits.softmax(1)).cpu().numpy()
        self.network.zero_grad()
        return probabilities, maps


def spatial_layer(network: Network, size: int) -> SpatialLayer:
    """The last layer of an encoder with spatial positions: of a vision transformer the first norm of its last block
    (its class token depends on no later one), else the last layer with an output of at least 2 x 2 cells.

    Args:
        network: in evaluation mode.
        size: S of its input images.

    Raises:
        UserError: there is none.
    """
    encoder: Any = network.encoder
    tokens = _token_layer(encoder)
    candidates: list[tuple[str, nn.Module, Tensor]] = []

    def record(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, _: Any, output: Any) -> None:
            if not isinstance(output, Tensor):
                return
            if (module is tokens and output.ndim == 3) or (tokens is None and _is_map(output)):
                candidates.append((name, module, output))

        return hook

    handles = [module.register_forward_hook(record(name)) for name, module in encoder.named_modules() if name]
    try:
        with torch.no_grad():
            encoder(torch.zeros(1, 3, size, size, device=next(encoder.parameters()).device))
    finally:
        for handle in handles:
            handle.remove()
    if candidates and tokens is None:
        name, module, output = candidates[-1]
        height, width = _cells(output)
        last = tuple(output.shape[1:3]) == (height, width) and tuple(output.shape[2:]) != (height, width)
        return SpatialLayer(name, module, (height, width), _channels_first if last else None)
    if candidates:
        name, module, output = candidates[-1]
        height, width = (int(side) for side in encoder.patch_embed.grid_size)
        prefix = int(encoder.num_prefix_tokens)
        if output.shape[1] == prefix + height * width and min(height, width) > 1:
            return SpatialLayer(name, module, (height, width), _Grid(prefix, height, width))
    raise UserError(
        f"{type(encoder).__name__} has no spatial map of images of {size} px, which Grad-CAM needs",
        "Explain a run of a convolutional network or of a vision transformer, with images that leave it several cells.",
    )


@dataclass(frozen=True)
class _Grid:
    """Tokens [B, prefix + h w, C] -> [B, C, h, w]."""

    prefix: int
    height: int
    width: int

    def __call__(self, tokens: Tensor) -> Tensor:
        places = tokens[:, self.prefix :]
        return places.transpose(1, 2).reshape(len(places), -1, self.height, self.width)


def _channels_first(output: Tensor) -> Tensor:
    return output.permute(0, 3, 1, 2)


def _token_layer(encoder: Any) -> nn.Module | None:
    """The first norm of the last block of one of timm's vision transformers."""
    blocks = getattr(encoder, "blocks", None)
    is_transformer = all(hasattr(encoder, name) for name in ("patch_embed", "num_prefix_tokens"))
    if not is_transformer or not isinstance(blocks, nn.Sequential | nn.ModuleList) or not len(blocks):
        return None
    if getattr(encoder.patch_embed, "grid_size", None) is None:
        return None
    return getattr(blocks[-1], "norm1", None)


def _is_map(output: Tensor) -> bool:
    return output.ndim == 4 and min(_cells(output)) > 1


def _cells(output: Tensor) -> tuple[int, int]:
    """h, w of [1, C, h, w] or [1, h, w, C]; images are square, and so are their feature maps."""
    _, first, second, third = output.shape
    if second == third:
        return second, third
    return (first, second) if first == second else (0, 0)
