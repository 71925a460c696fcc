"""Normalisation and interpolation of the input: a property of the weights, not of the images.

timm records it for every model (`timm.data.resolve_model_data_config`): ImageNet's mean and standard deviation for
most, 0.5 for EfficientNet-Lite, Inception and many vision transformers, CLIP's own for CLIP. Random weights use
ImageNet's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltmed.errors import UserError, suggest
from ltmed.nn.hub import hub_errors
from ltmed.nn.weights import first_line, flatten, read_checkpoint

Channels = tuple[float, float, float]
IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)
RUN_KEY = "pixels"
"""Key of these settings in a checkpoint of a run, in its file of a frozen encoder, and in its export."""


@dataclass(frozen=True)
class Pixels:
    """The input settings of a network. The defaults are those of random weights."""

    mean: Channels = IMAGENET_MEAN
    """Per channel (red, green, blue), of pixels scaled to [0, 1]."""
    std: Channels = IMAGENET_STD
    interpolation: str = "bilinear"
    """How images are resized to squares: `bilinear` or `bicubic`, both with antialiasing."""


def timm_pixels(
    name: str, pretrained: bool = False, weights: str | Path | None = None, package: str | None = None, **_: Any
) -> Pixels:
    """The input settings of `ltmed.nn.encoder.timm_encoder` with the same arguments; no model is built.

    For a file of weights they are timm's settings of the model's name, with two exceptions: a file that a run saved
    contains its own, and self-supervised training (MoCo, DINO) normalises with ImageNet's values for any architecture.

    Args:
        name: a timm model.
        pretrained: whether it has the pretrained weights of that name.
        weights: a local checkpoint instead.
        package: where `pretrained` weights come from, if not from timm's hub.

    Raises:
        UserError: the file cannot be read, or the hub of that model cannot be reached.
    """
    if weights is not None:
        stored = read_checkpoint(Path(weights).expanduser())
        if isinstance(stored, Mapping) and isinstance(stored.get(RUN_KEY), Mapping):
            recorded = stored[RUN_KEY]
            return Pixels(tuple(recorded["mean"]), tuple(recorded["std"]), str(recorded["interpolation"]))
        if any(prefix in key for key in flatten(stored) for prefix in ("encoder_q.", "base_encoder.", "teacher.")):
            return Pixels(interpolation="bicubic")
    elif not pretrained:
        return Pixels()
    from timm.data.config import resolve_data_config

    config = resolve_data_config(args={"verbose": False}, pretrained_cfg=model_facts(name))
    interpolation = "bilinear" if config["interpolation"] in ("bilinear", "nearest") else "bicubic"
    return Pixels(tuple(config["mean"]), tuple(config["std"]), interpolation)


def model_facts(name: str) -> dict[str, Any]:
    """Timm's configuration of a model's weights, without downloading them (for a model on a hub: its config file only).

    Raises:
        UserError: timm does not know the name, or its hub cannot be reached.
    """
    import timm

    if name.startswith(("hf-hub:", "hf_hub:")):
        from timm.models import load_model_config_from_hf

        with hub_errors(name):
            facts, _, _ = load_model_config_from_hf(name.partition(":")[2])
        return dict(facts)
    if not timm.is_model(name):
        raise UserError(f"timm has no model '{name}' (backbone.name)", suggest(name, timm.list_models()))
    try:
        pretrained = timm.get_pretrained_cfg(name)
    except Exception as error:  # An unknown tag; the class of the error differs between versions of timm.
        raise UserError(f"timm cannot make '{name}': {first_line(error)}", _tags(name)) from error
    return pretrained.to_dict() if pretrained else {}


def _tags(name: str) -> str:
    import timm

    architecture, _, tag = name.partition(".")
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
    return suggest(tag, tags)
