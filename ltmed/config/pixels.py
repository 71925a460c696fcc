"""How the pixels of a run reach its network, found out before anything is computed and written into its config."""

from __future__ import annotations

from pathlib import Path

from hydra.utils import get_class, get_object
from omegaconf import DictConfig, OmegaConf

from ltmed.config.instantiate import build, without
from ltmed.nn.encoder import timm_encoder
from ltmed.nn.pixels import Pixels, timm_pixels

KEYS = ("mean", "std", "interpolation")


def resolve_pixels(cfg: DictConfig, run_dir: Path | None = None) -> None:
    """Fills what is null in `cfg.pixels`: from the data set if it says it, else from the weights.

    Args:
        cfg: the composed config, changed in place.
        run_dir: of the run; what its config.yaml says is taken, so that a run that began does not need its file of
            weights again.

    Raises:
        UserError: the weights cannot be read, see `ltmed.nn.pixels.timm_pixels`.
    """
    if all(cfg.pixels[key] is not None for key in KEYS):
        return
    file = None if run_dir is None else run_dir / "config.yaml"
    begun = OmegaConf.select(OmegaConf.load(file), "pixels") if file and file.exists() else None
    if begun is not None:
        known = {key: begun[key] for key in KEYS}
    else:
        reader, own = get_class(cfg.dataset._target_), _of_backbone(cfg.backbone)
        known = {
            "mean": list(getattr(reader, "mean", None) or own.mean),
            "std": list(getattr(reader, "std", None) or own.std),
            "interpolation": own.interpolation,
        }
    cfg.pixels.update({key: value for key, value in known.items() if cfg.pixels[key] is None})


def _of_backbone(node: DictConfig) -> Pixels:
    """What an encoder of somebody's own wants is not known: ImageNet's values."""
    if get_object(node._target_) is not timm_encoder:
        return Pixels()
    own = without(node, "freeze")
    own._target_ = f"{timm_pixels.__module__}.{timm_pixels.__name__}"
    return build(own)
