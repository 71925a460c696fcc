"""Loads files of pretrained weights, in any common wrapper, into a timm model without its classifier.

A file may hold the state dict itself or a checkpoint around it, at any depth and under any prefix: `state_dict`,
`model` or `teacher` around it; `module.` (DataParallel), `_orig_mod.` (compiled), `encoder_q.` (MoCo),
`teacher.backbone.` (DINO), `model.` (Lightning), `network.encoder.` (a run of this package) before its keys. The part
of the file that matches the model completely is loaded; names of the original repositories are translated by timm's own
`checkpoint_filter_fn`.
"""

from __future__ import annotations

import argparse
import pickle
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ltmed.errors import UserError

State = dict[str, Tensor]

RUN = "network.encoder."
"""Prefix of the encoder in a checkpoint of a run of this package."""
_PREFERRED = (RUN, "ema", "teacher", "encoder_q", "base_encoder", "query_encoder")
"""If a file holds several complete networks, the one whose prefix contains the first of these is loaded: timm and DINO
evaluate the moving average (`state_dict_ema`, `teacher`), MoCo the query encoder."""
_PATCHES = "patch_embed.proj.weight"
_TOKENS = ("reg_token", "register_tokens", "dist_token")
_DEPTH = 6
_SCALAR: Any = np.float64(0).__reduce__()[0]
_RECORDS: list[Any] = [
    argparse.Namespace, np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType, np.dtypes.Int64DType,
    (_SCALAR, "numpy.core.multiarray.scalar"), (_SCALAR, "numpy._core.multiarray.scalar"),
]  # fmt: skip
"""Types that DINO, MAE and others save beside the weights (command line, best accuracy): values, no code."""


def load_weights(model: nn.Module, name: str, file: Path) -> None:
    """Loads a file into a timm model; its classifier is left out.

    Args:
        model: created with `num_classes=0`.
        name: name of the model in messages.
        file: `.pth`, `.pt`, `.ckpt`, `.safetensors`.

    Raises:
        UserError: the file cannot be read, does not match the model, holds layers between the model's own, or several
            matching networks of which none is preferred.
    """
    stored = flatten(read_checkpoint(file))
    required = _needed(model)
    fitting: dict[str, State] = {}
    for prefix, state in _candidates(stored, model):
        # An untranslated match is preferred to a translated one, unless that has a place for more of its layers.
        if _fits(state, required) and (
            prefix not in fitting or len(_between(state, model)) < len(_between(fitting[prefix], model))
        ):
            fitting[prefix] = state
    if not fitting:
        raise _misfit(model, name, file, stored)
    prefix = _choose(list(fitting), file)
    state = fitting[prefix]
    model_state, heads = model.state_dict(), _heads(model)
    if between := _between(state, model):
        raise UserError(
            f"backbone.weights={file} holds more layers than '{name}' has, whose features would differ without them: "
            f"{_listed(between)}",
            "Choose the backbone that it was saved from.",
        )
    extra = [key for key in state if key not in model_state and not (heads and key.startswith(heads))]
    if extra:
        warnings.warn(f"{file}: left out, not in '{name}': {_listed(extra)}", stacklevel=2)
    model.load_state_dict({key: value for key, value in state.items() if key in model_state}, strict=False)


def load_in_order(model: nn.Module, name: str, file: Path) -> None:
    """Loads a state dict whose names differ from the model's but whose order, shapes and last names are the model's.

    Args:
        model: with its classifier, so that all entries correspond.
        name: name of the model in messages.
        file: a plain state dict.

    Raises:
        UserError: the file cannot be read, or is not such a state dict.
    """
    state, model_state = flatten(read_checkpoint(file)), model.state_dict()
    pairs = list(zip(model_state.items(), state.items(), strict=False))
    differing = [
        f"{file_key} for {model_key}"
        for (model_key, parameter), (file_key, value) in pairs
        if parameter.shape != value.shape or model_key.rpartition(".")[2] != file_key.rpartition(".")[2]
    ]
    if len(model_state) != len(state) or differing:
        raise UserError(
            f"{file} does not hold the weights of '{name}' ({len(state)} entries for {len(model_state)}; "
            f"{_listed(differing)})",
            "Install the version of the package that pyproject.toml names.",
        )
    model.load_state_dict({model_key: value for (model_key, _), (_, value) in pairs})


def read_checkpoint(file: Path) -> Any:
    """The content of a file of weights; no pickled code is run.

    Raises:
        UserError: there is no such file, or it is not one of weights.
    """
    if not file.is_file():
        raise UserError(f"backbone.weights={file} is not a file", "Give the path of a checkpoint.")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(str(file))
        with torch.serialization.safe_globals(_RECORDS):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # On other content the pickle reader may raise any error.
        raise UserError(
            f"backbone.weights={file} cannot be read as a file of weights ({why_unread(error)})",
            "Pickled code is never run: save a state dict (`torch.save(model.state_dict(), FILE)`) or a .safetensors.",
        ) from error


def flatten(node: Any, prefix: str = "", depth: int = 0) -> State:
    """All tensors of nested mappings under dotted keys; anything else (epochs, arguments, lists) is left out."""
    tensors: State = {}
    if not isinstance(node, Mapping) or depth > _DEPTH:
        return tensors
    for key, value in node.items():
        if isinstance(value, Tensor):
            tensors[f"{prefix}{key}"] = value
        elif isinstance(value, Mapping):
            tensors |= flatten(value, f"{prefix}{key}.", depth + 1)
    return tensors


def first_line(error: BaseException) -> str:
    """The first line of an error's message, at most 200 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")


def why_unread(error: BaseException) -> str:
    """Why torch cannot read a file, without its advice to run the pickled code in it."""
    return "pickled code or other content" if isinstance(error, pickle.UnpicklingError) else first_line(error)


def _needed(model: nn.Module) -> State:
    """The entries that a file must have: all but BatchNorm's batch counters, which old checkpoints lack."""
    return {key: value for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}


def _fits(state: Mapping[str, Tensor], required: State) -> bool:
    return all(key in state and state[key].shape == value.shape for key, value in required.items())


def _between(state: State, model: nn.Module) -> list[str]:
    """Entries without a place in the model that stand in parts which it has (`layer1.2.` in a ResNet-18's `layer1.`),
    and tokens that all others attend to.

    Whole numbers are left out: they are indices that a model computes itself.
    """
    own, heads = model.state_dict(), _heads(model)
    parts = {key.partition(".")[0] for key in own if "." in key}.union(_TOKENS)
    return [
        key
        for key, value in state.items()
        if key not in own and key.partition(".")[0] in parts and value.is_floating_point()
        and not (heads and key.startswith(heads))
    ]  # fmt: skip


def _candidates(stored: State, model: nn.Module) -> Iterator[tuple[str, State]]:
    """(prefix, state dict in the model's names) of every part of a file that has enough entries for the model."""
    translate = _translation(model)
    min_keys = len(_needed(model)) // 2
    for prefix in _prefixes(stored, min_keys):
        state = {key.removeprefix(prefix): value for key, value in stored.items() if key.startswith(prefix)}
        yield prefix, state
        if translate is not None:
            try:
                translated = translate(dict(state), model)
            except Exception:  # It may fail in any way on files of another repository.
                continue
            translated = {key: value for key, value in translated.items() if isinstance(value, Tensor)}
            yield prefix, _with_stored_patches(translated, state)


def _with_stored_patches(translated: State, state: State) -> State:
    """A translated state dict whose patch embedding is that of the file, if timm has resized it.

    A network of other patches is another one (`vit_small_patch8_224` in place of `patch16`): it would be loaded without
    a word, and its features would not be those of the file's network.
    """
    patches = translated.get(_PATCHES)
    convolutions = [value for value in state.values() if value.ndim == 4]
    if patches is None or any(value.shape == patches.shape for value in convolutions):
        return translated
    stored = next((value for value in convolutions if value.shape[:2] == patches.shape[:2]), patches)
    return {**translated, _PATCHES: stored}


def _prefixes(stored: State, min_keys: int) -> list[str]:
    """The empty prefix and the dotted prefixes that at least `enough` keys share, shortest first."""
    counts: Counter[str] = Counter()
    for key in stored:
        dots = [index for index, letter in enumerate(key) if letter == "."][: 2 * _DEPTH]
        counts.update(key[: index + 1] for index in dots)
    return ["", *sorted((prefix for prefix, number in counts.items() if number >= max(1, min_keys)), key=len)]


def _translation(model: nn.Module) -> Callable[[State, nn.Module], Mapping[str, Any]] | None:
    """Timm's function that converts a checkpoint of the original repository to the model's names and shapes."""
    return getattr(sys.modules.get(type(model).__module__), "checkpoint_filter_fn", None)


def _choose(prefixes: list[str], file: Path) -> str:
    if len(prefixes) == 1:
        return prefixes[0]
    for preferred in _PREFERRED:
        matching = [prefix for prefix in prefixes if preferred in prefix]
        if len(matching) == 1:
            return matching[0]
    raise UserError(
        f"backbone.weights={file} holds several networks that fit: {_listed(prefixes)}",
        "Save the one that you mean in a file of its own: torch.save(model.state_dict(), FILE).",
    )


def _misfit(model: nn.Module, name: str, file: Path, stored: State) -> UserError:
    """The error that lists the differences between the model and the best matching part of the file."""
    required, heads = _needed(model), _heads(model)

    def matching(part: tuple[str, State]) -> int:
        return sum(key in part[1] and part[1][key].shape == value.shape for key, value in required.items())

    _, state = max(_candidates(stored, model), key=matching)
    missing = [key for key in required if key not in state]
    shapes = [
        f"{key} ({list(state[key].shape)} in the file, {list(value.shape)} in the model)"
        for key, value in required.items()
        if key in state and state[key].shape != value.shape
    ]
    extra = [key for key in state if key not in model.state_dict() and not (heads and key.startswith(heads))]
    faults = [f"missing: {_listed(missing)}"] * bool(missing) + [f"other shape: {_listed(shapes)}"] * bool(shapes)
    faults += [f"not in the model: {_listed(extra)}"] * bool(extra)
    return UserError(
        f"backbone.weights={file} does not fit '{name}'; " + "; ".join(faults),
        "Give a checkpoint of the same timm model, or choose the backbone that it was saved from.",
    )


def _heads(model: Any) -> tuple[str, ...]:
    """Prefixes of the names of the classifier, with the layers around its last one (`head.fc.` for `head.fc.fc2`)."""
    classifier = model.default_cfg.get("classifier") or ()
    own = tuple(model.state_dict())
    heads = []
    for name in (classifier,) if isinstance(classifier, str) else classifier:
        parts = name.split(".")
        outer = (".".join(parts[:depth]) + "." for depth in range(1, len(parts) + 1))
        heads.append(next((prefix for prefix in outer if not any(key.startswith(prefix) for key in own)), f"{name}."))
    return tuple(heads)


def _listed(items: list[str], max_items: int = 3) -> str:
    return ", ".join(item or "(no prefix)" for item in items[:max_items]) + (
        f" and {len(items) - max_items} more" if len(items) > max_items else ""
    )
