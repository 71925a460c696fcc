"""The scale of ProCo's prototypes at the start, a table of the fidelity page: `python experiments/proco_scale.py`."""

from __future__ import annotations

import torch
from torch import nn

from ltmed.nn.encoder import timm_encoder
from ltmed.nn.heads import Linear, PrototypeHead


def measure(encoder: nn.Module, head: nn.Module, images: torch.Tensor) -> tuple[float, float]:
    """Standard deviation of the logits; mean norm of the gradient of one logit with respect to the features."""
    features = encoder(images).detach().requires_grad_()
    logits = head(features)
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), features)
    return float(logits.detach().std()), float(gradient.norm(dim=1).mean())


def main() -> None:
    """Prints one row per head and network."""
    images = torch.randn(64, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for name in ("resnet18", "resnet50"):
        torch.manual_seed(0)
        encoder = timm_encoder(name)
        width = int(encoder.num_features)  # pyright: ignore[reportArgumentType]
        heads = {
            f"s = {std}, batch_norm={norm}": PrototypeHead(width, 7, init_std=std, batch_norm=norm)
            for norm in (False, True)
            for std in (0.05, 0.125, 0.3)
        }
        for title, head in {**heads, "linear": Linear(width, 7)}.items():
            deviation, gradient = measure(encoder.train(), head.train(), images)
            print(f"{name} {title}: logits {deviation:.2f}, gradient {gradient:.2f}")


if __name__ == "__main__":
    main()
