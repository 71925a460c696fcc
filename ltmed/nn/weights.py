"""Files of pretrained weights: whatever wrapper their authors saved them in, into a timm model without its classifier.

A file may hold the state dict itself or a checkpoint around it, at any depth and under any prefix: `state_dict`,
`model` or `teacher` around it; `module.` (DataParallel), `_orig_mod.` (compiled), `encoder_q.` (MoCo),
`teacher.backbone.` (DINO), `model.` (Lightning), `network.encoder.` (a run of this package) before its keys. The part
of the file that fills the model completely is taken; names of the original repositories are translated by timm's own
`checkpoint_filter_fn`.
"""

from __future__ import annotations

import argparse
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
"""Where a checkpoint of a run of this package has its encoder."""
_BETTER = (RUN, "ema", "teacher", "encoder_q", "base_encoder", "query_encoder")
"""Of several complete networks in one file, the one whose prefix contains the first of these is meant: the authors of
timm and DINO evaluate the average (`state_dict_ema`, `teacher`), those of MoCo the encoder of the queries."""
_DEPTH = 6
_SCALAR: Any = np.float64(0).__reduce__()[0]
_RECORDS: list[Any] = [
    argparse.Namespace, np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType, np.dtypes.Int64DType,
    (_SCALAR, "numpy.core.multiarray.scalar"), (_SCALAR, "numpy._core.multiarray.scalar"),
]  # fmt: skip
"""What DINO, MAE and others save beside the weights (their command line, a best accuracy): values, no code."""


def load_weights(model: nn.Module, name: str, file: Path) -> None:
    """Loads a file into a timm model; its classifier is left out.

    Args:
        model: made with `num_classes=0`.
        name: what the user calls the model.
        file: `.pth`, `.pt`, `.ckpt`, `.safetensors`.

    Raises:
        UserError: the file cannot be read, fits nowhere, or holds several networks of which none is the obvious one.
    """
    stored = flatten(read_checkpoint(file))
    own = _needed(model)
    fitting: dict[str, State] = {}
    for prefix, state in _parts(stored, model):
        if _fits(state, own):
            fitting.setdefault(prefix, state)  # What fits as it is comes before its translation.
    if not fitting:
        raise _misfit(model, name, file, stored)
    prefix = _choose(list(fitting), file)
    state = fitting[prefix]
    known, heads = model.state_dict(), _heads(model)
    extra = [key for key in state if key not in known and not (heads and key.startswith(heads))]
    if extra:
        warnings.warn(f"{file}: left out, not in '{name}': {_some(extra)}", stacklevel=2)
    model.load_state_dict({key: value for key, value in state.items() if key in known}, strict=False)


def load_in_order(model: nn.Module, name: str, file: Path) -> None:
    """Loads a state dict whose names differ from the model's but whose order, shapes and last names are the model's.

    Args:
        model: with its classifier, so that every entry has its place.
        name: what the user calls the model.
        file: a plain state dict.

    Raises:
        UserError: the file cannot be read, or is not such a state dict.
    """
    state, own = flatten(read_checkpoint(file)), model.state_dict()
    pairs = list(zip(own.items(), state.items(), strict=False))
    differing = [
        f"{theirs} for {ours}"
        for (ours, mine), (theirs, value) in pairs
        if mine.shape != value.shape or ours.rpartition(".")[2] != theirs.rpartition(".")[2]
    ]
    if len(own) != len(state) or differing:
        raise UserError(
            f"{file} does not hold the weights of '{name}' ({len(state)} entries for {len(own)}; {_some(differing)})",
            "Install the version of the package that pyproject.toml names.",
        )
    model.load_state_dict({ours: value for (ours, _), (_, value) in pairs})


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
    except Exception as error:  # Bytes that are no weights may be anything to a reader of pickles.
        raise UserError(
            f"backbone.weights={file} cannot be read as a file of weights ({first_line(error)})",
            "Pickled code is never run: save a state dict (`torch.save(model.state_dict(), FILE)`) or a .safetensors.",
        ) from error


def flatten(node: Any, prefix: str = "", depth: int = 0) -> State:
    """All tensors of nested mappings under dotted keys; anything else (epochs, arguments, lists) is left out."""
    found: State = {}
    if not isinstance(node, Mapping) or depth > _DEPTH:
        return found
    for key, value in node.items():
        if isinstance(value, Tensor):
            found[f"{prefix}{key}"] = value
        elif isinstance(value, Mapping):
            found |= flatten(value, f"{prefix}{key}.", depth + 1)
    return found


def first_line(error: BaseException) -> str:
    """Of the message, at most 200 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")


def _needed(model: nn.Module) -> State:
    """What a file must have: all but the counters of batches, which old checkpoints lack."""
    return {key: value for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}


def _fits(state: Mapping[str, Tensor], own: State) -> bool:
    return all(key in state and state[key].shape == value.shape for key, value in own.items())


def _parts(stored: State, model: nn.Module) -> Iterator[tuple[str, State]]:
    """(prefix, state dict in the model's names) of every part of a file that is large enough to fill the model."""
    translate = _translation(model)
    enough = len(_needed(model)) // 2
    for prefix in _prefixes(stored, enough):
        state = {key.removeprefix(prefix): value for key, value in stored.items() if key.startswith(prefix)}
        yield prefix, state
        if translate is not None:
            try:
                translated = translate(dict(state), model)
            except Exception:  # Written for one repository's files, it may do anything with another's.
                continue
            yield prefix, {key: value for key, value in translated.items() if isinstance(value, Tensor)}


def _prefixes(stored: State, enough: int) -> list[str]:
    """The empty prefix and the dotted beginnings that at least `enough` keys share, shortest first."""
    counts: Counter[str] = Counter()
    for key in stored:
        places = [place for place, letter in enumerate(key) if letter == "."][: 2 * _DEPTH]
        counts.update(key[: place + 1] for place in places)
    return ["", *sorted((prefix for prefix, number in counts.items() if number >= max(1, enough)), key=len)]


def _translation(model: nn.Module) -> Callable[[State, nn.Module], Mapping[str, Any]] | None:
    """Timm's function that turns the files of the original repository into the model's names and sizes."""
    return getattr(sys.modules.get(type(model).__module__), "checkpoint_filter_fn", None)


def _choose(prefixes: list[str], file: Path) -> str:
    if len(prefixes) == 1:
        return prefixes[0]
    for word in _BETTER:
        named = [prefix for prefix in prefixes if word in prefix]
        if len(named) == 1:
            return named[0]
    raise UserError(
        f"backbone.weights={file} holds several networks that fit: {_some(prefixes)}",
        "Save the one that you mean in a file of its own: torch.save(model.state_dict(), FILE).",
    )


def _misfit(model: nn.Module, name: str, file: Path, stored: State) -> UserError:
    """What keeps the part that comes nearest from fitting."""
    own, heads = _needed(model), _heads(model)

    def matching(part: tuple[str, State]) -> int:
        return sum(key in part[1] and part[1][key].shape == value.shape for key, value in own.items())

    _, state = max(_parts(stored, model), key=matching)
    missing = [key for key in own if key not in state]
    shapes = [
        f"{key} ({list(state[key].shape)} in the file, {list(value.shape)} in the model)"
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    ]
    extra = [key for key in state if key not in model.state_dict() and not (heads and key.startswith(heads))]
    faults = [f"missing: {_some(missing)}"] * bool(missing) + [f"other shape: {_some(shapes)}"] * bool(shapes)
    faults += [f"not in the model: {_some(extra)}"] * bool(extra)
    return UserError(
        f"backbone.weights={file} does not fit '{name}'; " + "; ".join(faults),
        "Give a checkpoint of the same timm model, or choose the backbone that it was saved from.",
    )


def _heads(model: Any) -> tuple[str, ...]:
    """Beginnings of the names of the classifier."""
    classifier = model.default_cfg.get("classifier") or ()
    return tuple(f"{head}." for head in ((classifier,) if isinstance(classifier, str) else classifier))


def _some(items: list[str], most: int = 3) -> str:
    return ", ".join(item or "(no prefix)" for item in items[:most]) + (
        f" and {len(items) - most} more" if len(items) > most else ""
    )
