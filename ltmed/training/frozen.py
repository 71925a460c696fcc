"""Runs with a frozen encoder: features in place of images, and the limits of such runs."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from ltmed.data.cache import features
from ltmed.errors import UserError
from ltmed.nn.frozen import Frozen
from ltmed.nn.network import Network
from ltmed.nn.pixels import Pixels
from ltmed.training.stage import Stage

if TYPE_CHECKING:
    from ltmed.data.datamodule import DataModule

_NOT_IN_KEY = ("pretrained", "package", "weights", "freeze")
"""Settings of a backbone that do not identify its features, since a digest of its weights does."""


def attach_features(cfg: DictConfig, network: Network, data: DataModule, accelerator: str) -> None:
    """Makes `data` yield features instead of images, if the encoder is frozen and features are cached.

    Args:
        cfg: of the run.
        network: with its initial weights.
        data: opened.
        accelerator: "cpu" or "gpu".
    """
    if not isinstance(network.encoder, Frozen):
        return
    if not (cfg.backbone.get("pretrained") or cfg.backbone.get("weights")):
        warnings.warn("The backbone is frozen with random weights: give it backbone.pretrained=true", stacklevel=2)
    if not cfg.features.cache:
        return
    settings: Any = OmegaConf.to_container(cfg.backbone, resolve=True)
    options = {key: value for key, value in settings.items() if key not in _NOT_IN_KEY}
    cache = features.FeatureCache(
        network.encoder.model, options, mean=tuple(cfg.pixels.mean), std=tuple(cfg.pixels.std), folder=data.cache_dir,
        dtype=cfg.features.dtype, device=accelerator.replace("gpu", "cuda"), threads=data.threads,
    )  # fmt: skip
    data.use_features(cache, view_descriptions(cfg.evaluation, 1)[0])


def view_descriptions(node: Any, views: int) -> tuple[str, ...]:
    """The configuration of every view as text.

    Args:
        node: one augmentation, or a list of one for each view.
        views: of an image in a batch.
    """
    nodes = list(node) if isinstance(node, ListConfig) else [node] * views
    return tuple(json.dumps(OmegaConf.to_container(view, resolve=True), sort_keys=True) for view in nodes)


def require_possible(stage: Stage, data: DataModule) -> None:
    """Refuses a stage without a trainable parameter beside a frozen encoder, or that needs images in place of features.

    Raises:
        UserError: no parameter of the stage is trained; or it changes pixels.
    """
    if not isinstance(stage.network.encoder, Frozen):
        return
    name = stage.context.name
    if not any(parameter.requires_grad for parameter in stage.parameters()):
        raise UserError(
            f"Stage '{name}' trains only the encoder, and the backbone is frozen",
            "Use backbone.freeze=false; of LMD, method.stages.calibrate.module.e_step=false.",
        )
    if stage.needs_images and data.features is not None:
        raise UserError(
            f"Stage '{name}' mixes images, and a frozen backbone provides cached features in their place",
            "Add features.cache=false.",
        )


def save_encoder(network: Network, pixels: Pixels, data: DataModule, run_dir: Path) -> None:
    """Puts the weights of a frozen encoder, which checkpoints lack, into the folder of its run.

    Args:
        network: with its initial weights; nothing is done unless its encoder is frozen.
        pixels: of the run.
        data: whose `cache_dir` the runs share a file in.
        run_dir: folder of the run.
    """
    if isinstance(network.encoder, Frozen):
        features.save_encoder(network.encoder.model, pixels, data.cache_dir, run_dir)
