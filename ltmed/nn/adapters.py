"""Low-rank adapters: the encoder's weights W are frozen, and a trained product of two thin matrices is added to them.

E. J. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022: W + (alpha / r) B A with A `[r, in]`
and B `[out, r]`, B = 0 at the start; through Hugging Face's `peft`. `merge` adds the product to W permanently.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ltmed.errors import UserError, suggest

_DEFAULT_TARGETS = ("qkv",)
"""Layers that are adapted by default: the attention of timm's vision transformers."""


class Adapted(nn.Module):
    """An encoder with low-rank adapters: only those are trained, and running statistics of norms are updated.

    Args:
        encoder: `[B, 3, H, W] -> [B, D]`, with `num_features` (= D).
        rank: r.
        alpha: None for 2 r.
        targets: names of the layers (their ends) that are adapted; None for the attention of vision transformers.
        dropout: dropout probability of the adapters' input.

    Raises:
        UserError: the package peft is missing, or a name matches no layer that can be adapted.
    """

    def __init__(
        self,
        encoder: nn.Module,
        rank: int,
        alpha: float | None = None,
        targets: Sequence[str] | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        try:
            peft = importlib.import_module("peft")
        except ImportError:
            raise UserError("finetune.peft needs the package peft", "Install it: pip install 'ltmed[peft]'") from None
        self.num_features = int(encoder.num_features)  # pyright: ignore[reportArgumentType]
        self.default_cfg = getattr(encoder, "default_cfg", {})
        layers = _layers(encoder, targets)
        settings = peft.LoraConfig(
            r=rank, lora_alpha=2 * rank if alpha is None else alpha, target_modules=layers, lora_dropout=dropout
        )
        self.adapted = peft.get_peft_model(encoder, settings)
        self._adapters = [parameter for parameter in self.adapted.parameters() if parameter.requires_grad]

    def forward(self, images: Tensor) -> Tensor:
        """`[B, 3, H, W]` -> `[B, D]`."""
        return self.adapted(images)

    def unfreeze(self) -> None:
        """Makes the adapters trainable again, and nothing else."""
        for parameter in self._adapters:
            parameter.requires_grad_(True)

    def merge(self) -> nn.Module:
        """The encoder itself, with the adapters added to its weights."""
        merged: Any = self.adapted
        return merged.merge_and_unload()


def _layers(encoder: nn.Module, targets: Sequence[str] | None) -> list[str]:
    """Full names of the layers that are adapted."""
    adaptable = [name for name, layer in encoder.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d)) and name]
    targeted = list(_DEFAULT_TARGETS if targets is None else targets)
    selected = [name for name in adaptable if any(name == target or name.endswith(f".{target}") for target in targeted)]
    ends = {name.rpartition(".")[2] for name in adaptable}
    for target in targeted:
        if not any(name == target or name.endswith(f".{target}") for name in adaptable):
            raise UserError(
                f"finetune.peft.targets={target} is no layer of {type(encoder).__name__} that can be adapted",
                suggest(target, ends) if targets is not None else f"Name some: finetune.peft.targets=[{min(ends)}].",
            )
    return selected
