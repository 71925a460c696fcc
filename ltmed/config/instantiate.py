"""From config nodes to typed objects, with errors that name the setting."""

from __future__ import annotations

import inspect
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from ltmed.config.targets import is_trusted, require_known
from ltmed.errors import UserError, suggest

if TYPE_CHECKING:
    from ltmed.nn.network import Network


def build(node: DictConfig | None, **arguments: Any) -> Any:
    """Hydra's `instantiate`; an argument that the target does not take is a UserError with the nearest names.

    None gives None.

    Exceptions that the target raises itself pass through unchanged. Outside of `ltmed.config.targets.trusted`, where
    configurations are read back from files, it builds only what that module lists.

    Raises:
        UntrustedTargetError: a target that is not listed.
    """
    if node is None:
        return None
    if not is_trusted():
        plain = OmegaConf.to_container(node, resolve=True)
        require_known(plain)
        node = OmegaConf.create(plain)  # pyright: ignore  # Interpolations might resolve to other values later.
    try:
        built = instantiate(node, **arguments)
        for part in built.values() if isinstance(built, DictConfig) else [built]:  # The heads of a network are a map.
            if isinstance(part, partial):
                _check(part)
        return _plain(built)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        wrong = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if wrong:
            target = re.search(r"'([\w.]+)'", str(error))
            known = _arguments(target[1]) if target else []
            raise UserError(
                f"{target[1] if target else node} has no setting '{wrong[1]}'", suggest(wrong[1], known)
            ) from None
        raise


def _check(built: partial[Any]) -> None:
    """Checks the arguments of a partial now; it would otherwise fail when it is called, in the middle of a run."""
    target = f"{built.func.__module__}.{built.func.__qualname__}"
    parameters = inspect.signature(built.func).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for name, value in built.keywords.items():
        if name not in parameters and not takes_any:
            raise UserError(f"{target} has no setting '{name}'", suggest(name, parameters))
        if isinstance(value, partial):
            _check(value)
        annotation = parameters[name].annotation if name in parameters else None
        kinds = _numbers(annotation)
        if kinds and not _fits(value, kinds):
            shown, possible = "null" if value is None else value, " | ".join(kinds).replace("None", "null")
            raise UserError(f"{target} cannot have {name}={shown}", f"It takes: {possible}.")


def _plain(built: Any) -> Any:
    """Python's own `partial` in place of Hydra's, which checks whether the call is allowed every time.

    That check takes longer than a loss of a small batch. Targets have been checked by then, and what a loss or an
    optimizer returns is not built by Hydra.
    """
    if not isinstance(built, partial):
        return built
    return partial(
        built.func, *map(_plain, built.args), **{key: _plain(value) for key, value in built.keywords.items()}
    )


def _numbers(annotation: Any) -> list[str]:
    """The types of an annotation, as text, if it is one of numbers, bool or None; else nothing."""
    kinds = annotation.split(" | ") if isinstance(annotation, str) else []
    return kinds if set(kinds) <= {"int", "float", "bool", "None"} else []


def _fits(value: Any, kinds: list[str]) -> bool:
    """Whether a value may be one of some kinds of numbers; a whole one is a float too."""
    if value is None:
        return "None" in kinds
    if isinstance(value, float):
        return "float" in kinds
    return not isinstance(value, str)


def _arguments(target: str) -> list[str]:
    return [name for name in inspect.signature(get_object(target)).parameters if name != "self"]


def per_stage(value: Any, stages: list[str], key: str) -> dict[str, Any]:
    """Spreads a short top-level setting over stages.

    Args:
        value: None (each stage's own), one value for all, or a map stage -> value.
        stages: the method's stage names.
        key: the setting's name, for messages.

    Raises:
        UserError: the map names a stage that the method does not have.
    """
    if not isinstance(value, (dict, DictConfig)):
        return dict.fromkeys(stages, value)
    for name in value:
        if name not in stages:
            raise UserError(f"{key} names the stage '{name}'", suggest(str(name), stages))
    return {stage: value.get(stage) for stage in stages}


def _adapted(encoder: Any, peft: DictConfig, *, frozen: bool) -> Any:
    from ltmed.nn.adapters import Adapted

    if frozen:
        raise UserError("finetune.peft trains the encoder, and backbone.freeze=true", "Leave out one of them.")
    targets = None if peft.targets is None else list(peft.targets)
    return Adapted(encoder, peft.rank, peft.alpha, targets, peft.dropout)


def without(node: DictConfig, key: str) -> DictConfig:
    """A copy of a node of a config, in its place, that lacks a key."""
    node = node.copy()
    OmegaConf.set_readonly(node, False)
    OmegaConf.set_struct(node, False)
    node.pop(key, None)
    return node


def is_frozen(cfg: DictConfig) -> bool:
    """Whether the encoder stays as it is: `backbone.freeze`, or what the method says."""
    freeze = cfg.backbone.get("freeze")
    return bool(cfg.method.get("freeze", False) if freeze is None else freeze)


def build_network(cfg: DictConfig, num_classes: int) -> Network:
    """The method's heads on the chosen backbone, with initial weights that depend on `cfg.seed` alone."""
    import torch

    from ltmed.nn.frozen import Frozen
    from ltmed.nn.network import Network
    from ltmed.utils.seeding import derive

    torch.manual_seed(derive(cfg.seed, "network"))
    encoder = build(without(cfg.backbone, "freeze"))
    if is_frozen(cfg):
        encoder = Frozen(encoder)
    peft = OmegaConf.select(cfg, "finetune.peft")
    if peft is not None and peft.rank is not None:
        encoder = _adapted(encoder, peft, frozen=is_frozen(cfg))
    network = Network(encoder, num_classes=num_classes, **build(cfg.method.network))
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
