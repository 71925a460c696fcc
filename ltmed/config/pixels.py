"""The normalisation and interpolation of a run's pixels, resolved before anything is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.utils import get_class, get_object
from omegaconf import DictConfig, OmegaConf

from ltmed.config.instantiate import build, without
from ltmed.nn.encoder import timm_encoder
from ltmed.nn.pixels import Pixels, timm_pixels

KEYS = ("mean", "std", "interpolation")


def resolve_pixels(cfg: DictConfig, run_dir: Path | None = None) -> dict[str, Any]:
    """`cfg.pixels` with what is null in it filled in: from the data set if it says it, else from the weights.

    Args:
        cfg: the composed config; it is not changed.
        run_dir: of the run; its config.yaml takes precedence, so that a run that began does not need its file of
            weights again.

    Raises:
        UserError: the weights cannot be read, see `ltmed.nn.pixels.timm_pixels`.
    """
    pixels: Any = OmegaConf.to_container(cfg.pixels, resolve=True)
    configured = {key: pixels[key] for key in KEYS}
    if all(value is not None for value in configured.values()):
        return configured
    file = None if run_dir is None else run_dir / "config.yaml"
    begun = OmegaConf.select(OmegaConf.load(file), "pixels") if file and file.exists() else None
    if begun is not None:
        defaults: Any = OmegaConf.to_container(begun)
    else:
        reader, of_weights = get_class(cfg.dataset._target_), _of_backbone(cfg.backbone)
        defaults = {
            "mean": list(getattr(reader, "mean", None) or of_weights.mean),
            "std": list(getattr(reader, "std", None) or of_weights.std),
            "interpolation": of_weights.interpolation,
        }
    return {key: defaults[key] if value is None else value for key, value in configured.items()}


def _of_backbone(node: DictConfig) -> Pixels:
    """The values of the backbone's weights; ImageNet's for an encoder that is not from timm."""
    if get_object(node._target_) is not timm_encoder:
        return Pixels()
    pixels_node = without(node, "freeze")
    pixels_node._target_ = f"{timm_pixels.__module__}.{timm_pixels.__name__}"
    return build(pixels_node)
