"""Encoders: any timm model without its classifier."""

from __future__ import annotations

import logging
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from torch import Tensor, nn

from ltmed.errors import UserError, suggest

_RUN_PREFIX = "network.encoder."


def timm_encoder(name: str, pretrained: bool = False, weights: str | Path | None = None, **options: Any) -> nn.Module:
    """A timm model that ends in pooled features: `[B, 3, H, W] -> [B, num_features]`.

    Args:
        name: a timm model, also with a tag (`resnet50.a1_in1k`).
        pretrained: whether timm fetches (or finds in its cache) the weights that belong to the name.
        weights: a local checkpoint of the same architecture (`.pth`, `.pt`, `.safetensors`, or a `best.ckpt` of a run);
            it is used in place of `pretrained`. Its classifier is dropped.
        options: passed on to `timm.create_model`, for example `img_size` of a vision transformer.

    Raises:
        UserError: an unknown name, weights that cannot be fetched or read, or a file that does not fit the model.
    """
    import timm

    if not name.startswith(("hf-hub:", "hf_hub:")) and not timm.is_model(name):
        raise UserError(f"timm has no model '{name}' (backbone.name)", suggest(name, timm.list_models()))
    fetch = pretrained and weights is None
    try:
        with _patient_for_seconds() if fetch else nullcontext():
            model = timm.create_model(name, pretrained=fetch, num_classes=0, **options)
    except TypeError:
        raise  # A misspelt option; it is named where configs are built.
    except Exception as error:  # Hub clients raise errors of their own HTTP libraries.
        if not fetch:
            raise UserError(
                f"timm cannot make '{name}': {_first_line(error)}", _tags(name) if "tag" in str(error) else ""
            ) from error
        raise UserError(
            f"The pretrained weights of '{name}' could not be fetched ({_first_line(error)})",
            "Pass a local checkpoint with backbone.weights=FILE, or start from random weights with "
            "backbone.pretrained=false.",
        ) from error
    # The width after pooling; models with a convolution behind the pooling (MobileNetV3) name it differently.
    model.num_features = getattr(model, "head_hidden_size", None) or model.num_features
    if weights is not None:
        _load(model, name, Path(weights).expanduser())
    return model


@contextmanager
def _patient_for_seconds() -> Iterator[None]:
    """Keeps the hub's client to its cache where the hub cannot be reached: it would try, and say so, for a minute."""
    from huggingface_hub import constants

    logger, offline = logging.getLogger("huggingface_hub"), constants.HF_HUB_OFFLINE
    level, reason = logger.level, None if offline else _unreachable(constants.ENDPOINT)
    logger.setLevel(logging.ERROR)
    constants.HF_HUB_OFFLINE = offline or reason is not None
    try:
        yield
    except Exception as error:  # The hub's own classes, among others.
        if reason is None:
            raise
        raise ConnectionError(reason) from error
    finally:
        logger.setLevel(level)
        constants.HF_HUB_OFFLINE = offline


def _unreachable(address: str) -> str | None:
    """Why there is no connection to a server, or None if there is one or a proxy would make it."""
    parts = urlsplit(address)
    if getproxies().get(parts.scheme):
        return None
    try:
        socket.create_connection((parts.hostname, parts.port or 443), timeout=5).close()
    except OSError as error:
        return f"no connection to {parts.hostname}: {error.strerror or error}"
    return None


def _tags(name: str) -> str:
    import timm

    architecture, _, tag = name.partition(".")
    known = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
    return suggest(tag, known)


def _load(model: Any, name: str, file: Path) -> None:
    """Loads `file` into `model`; a parameter that the file lacks or holds in another shape is an error."""
    state = _read(file)
    if any(key.startswith(_RUN_PREFIX) for key in state):
        state = {key.removeprefix(_RUN_PREFIX): state[key] for key in state if key.startswith(_RUN_PREFIX)}
    classifier = model.default_cfg.get("classifier") or ()
    heads = tuple(f"{head}." for head in ((classifier,) if isinstance(classifier, str) else classifier))
    own = model.state_dict()
    extra = [key for key in state if key not in own and not (heads and key.startswith(heads))]
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    shapes = [
        f"{key} ({list(state[key].shape)} in the file, {list(own[key].shape)} in the model)"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if missing or shapes:
        faults = [f"missing: {_some(missing)}"] * bool(missing) + [f"other shape: {_some(shapes)}"] * bool(shapes)
        faults += [f"not in the model: {_some(extra)}"] * bool(extra)
        raise UserError(
            f"backbone.weights={file} does not fit '{name}'; " + "; ".join(faults),
            "Give a checkpoint of the same timm model, or choose the backbone that it was saved from.",
        )
    if extra:
        warnings.warn(f"{file}: left out, not in '{name}': {_some(extra)}", stacklevel=2)
    model.load_state_dict({key: value for key, value in state.items() if key in own}, strict=False)


def _read(file: Path) -> dict[str, Tensor]:
    from timm.models import load_state_dict

    if not file.is_file():
        raise UserError(f"backbone.weights={file} is not a file", "Give the path of a checkpoint.")
    try:
        state = load_state_dict(str(file), weights_only=True)
        return {key: value for key, value in state.items() if isinstance(value, Tensor)}
    except Exception as error:  # Bytes that are no weights may be anything to a reader of pickles.
        raise UserError(
            f"backbone.weights={file} cannot be read as a file of weights ({_first_line(error)})",
            "Pickled code is never run: save a state dict (`torch.save(model.state_dict(), FILE)`) or a .safetensors.",
        ) from error


def _some(items: list[str], most: int = 3) -> str:
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
