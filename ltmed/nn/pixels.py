"""How pixels reach a network: a fact about its weights, not about the images.

timm knows it of every model (`timm.data.resolve_model_data_config`): ImageNet's mean and standard deviation for most,
0.5 for EfficientNet-Lite, Inception and many vision transformers, CLIP's own for CLIP. Random weights have no
preference and get ImageNet's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltmed.errors import UserError, suggest
from ltmed.nn.hub import reached
from ltmed.nn.weights import first_line, flatten, read_checkpoint

Channels = tuple[float, float, float]
IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)
RUN_KEY = "pixels"
"""Under this key a checkpoint of a run says what its network saw."""


@dataclass(frozen=True)
class Pixels:
    """What a network wants to see. The defaults are those of random weights."""

    mean: Channels = IMAGENET_MEAN
    """Per channel (red, green, blue), of pixels scaled to [0, 1]."""
    std: Channels = IMAGENET_STD
    interpolation: str = "bilinear"
    """How whole images become squares: `bilinear` or `bicubic`, both with antialiasing."""


def timm_pixels(
    name: str, pretrained: bool = False, weights: str | Path | None = None, package: str | None = None, **_: Any
) -> Pixels:
    """What `ltmed.nn.encoder.timm_encoder` with the same arguments wants to see; nothing is built.

    A file of weights is taken to be what timm says of the model's name, except that a checkpoint of a run says it
    itself, and that self-supervised training in the manner of MoCo and DINO normalises with ImageNet's values whatever
    the architecture.

    Args:
        name: a timm model.
        pretrained: whether it has the weights that belong to its name.
        weights: a local checkpoint in place of them.
        package: where `pretrained` weights come from, if not from timm's hub.

    Raises:
        UserError: the file cannot be read, or the hub that the name is of cannot be reached.
    """
    if weights is not None:
        stored = read_checkpoint(Path(weights).expanduser())
        if isinstance(stored, Mapping) and isinstance(stored.get(RUN_KEY), Mapping):
            said = stored[RUN_KEY]
            return Pixels(tuple(said["mean"]), tuple(said["std"]), str(said["interpolation"]))
        if any(word in key for key in flatten(stored) for word in ("encoder_q.", "base_encoder.", "teacher.")):
            return Pixels(interpolation="bicubic")
    elif not pretrained:
        return Pixels()
    from timm.data.config import resolve_data_config

    found = resolve_data_config(args={"verbose": False}, pretrained_cfg=model_facts(name))
    smooth = "bilinear" if found["interpolation"] in ("bilinear", "nearest") else "bicubic"
    return Pixels(tuple(found["mean"]), tuple(found["std"]), smooth)


def model_facts(name: str) -> dict[str, Any]:
    """What timm knows of the weights of a name, without fetching them (of a hub's model: only its small config file).

    Raises:
        UserError: timm does not know the name, or the hub that it is of cannot be reached.
    """
    import timm

    if name.startswith(("hf-hub:", "hf_hub:")):
        from timm.models import load_model_config_from_hf

        with reached(name):
            facts, _, _ = load_model_config_from_hf(name.partition(":")[2])
        return dict(facts)
    if not timm.is_model(name):
        raise UserError(f"timm has no model '{name}' (backbone.name)", suggest(name, timm.list_models()))
    try:
        known = timm.get_pretrained_cfg(name)
    except Exception as error:  # A tag that it does not know, of a class that changes between versions of timm.
        raise UserError(f"timm cannot make '{name}': {first_line(error)}", _tags(name)) from error
    return known.to_dict() if known else {}


def _tags(name: str) -> str:
    import timm

    architecture, _, tag = name.partition(".")
    known = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
    return suggest(tag, known)
