"""The classes and functions that a configuration from an untrusted source may name.

Hydra calls the object that `_target_` of a configuration names: `pandas.read_pickle` with an
address runs code of its author. The user's own command line may name anything. A run folder or an exported file that
was received may name only what is listed here; `trusted` lifts that.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from hydra.errors import HydraException
from hydra.utils import get_object

from ltmed.errors import UserError

_MODULES = (
    "ltmed.data.augment", "ltmed.data.readers", "ltmed.data.samplers", "ltmed.data.splits", "ltmed.logging",
    "ltmed.losses", "ltmed.methods", "ltmed.nn", "ltmed.training.schedules",
)  # fmt: skip
"""Of this package: the parts of a run, and nothing that writes, fetches or starts anything."""
_CLASSES = {
    "torch.nn": "torch.nn.modules.module.Module",
    "torch.optim": "torch.optim.optimizer.Optimizer",
    "torch.optim.lr_scheduler": "torch.optim.lr_scheduler.LRScheduler",
    "timm.layers": "torch.nn.modules.module.Module",
    "timm.optim": "torch.optim.optimizer.Optimizer",
}
"""Of libraries: package -> the base of the classes that may be built from it. Not `timm.create_model`, which can fetch
weights from anywhere and read files."""
_ENCODER = "ltmed.nn.encoder.timm_encoder"

_trust: ContextVar[bool] = ContextVar("trust", default=False)


class UntrustedTargetError(UserError):
    """A received configuration names something that is not on the list.

    Args:
        message: what it names.
    """

    def __init__(self, message: str) -> None:
        self.target_message = message
        super().__init__(
            message,
            "Building it would run code that the author of the run has chosen. If you trust them, or if it is your own "
            "class, add --trust (in Python: trust=True).",
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.target_message,)


@contextmanager
def trusted(trust: bool = True) -> Iterator[None]:
    """Lets the body build anything that its configurations name, because the user of this process wrote them.

    Args:
        trust: False changes nothing.
    """
    token = _trust.set(trust or _trust.get())
    try:
        yield
    finally:
        _trust.reset(token)


def is_trusted() -> bool:
    """Whether the caller is inside `trusted`."""
    return _trust.get()


def require_known(node: Any, name: str = "") -> None:
    """Checks everything that instantiating a resolved plain configuration would call.

    Args:
        node: of mappings, lists and leaves.
        name: dotted key of the node, for the message.

    Raises:
        UntrustedTargetError: a target is not on the list, or a text would be resolved again.
    """
    if isinstance(node, dict):
        if "_target_" in node:
            _require_target(node, name)
        for key, value in node.items():
            require_known(value, f"{name}.{key}" if name else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            require_known(value, f"{name}[{index}]")
    elif isinstance(node, str) and "${" in node:
        raise UntrustedTargetError(f"'{name}' holds the interpolation '{node}'")


def known(target: str) -> Any:
    """The class or function that `target` names.

    Raises:
        UntrustedTargetError: it is not on the list, and the caller is not inside `trusted`.
    """
    if not is_trusted() and not _is_known(target):
        raise UntrustedTargetError(f"The configuration names '{target}', which is not part of ltmed")
    return get_object(target)


def _require_target(node: dict[str, Any], key: str) -> None:
    target, where = node["_target_"], f"'{key}' " if key else "The configuration "
    if not isinstance(target, str) or not _is_known(target):
        raise UntrustedTargetError(f"{where}builds '{target}', which is not part of ltmed")
    if target == _ENCODER and (node.get("pretrained") or node.get("weights") or ":" in str(node.get("name"))):
        raise UntrustedTargetError(f"{where}fetches or reads weights: name={node.get('name')}")


def _is_known(target: str) -> bool:
    """Checks the name first, since resolving it imports modules, then the object: `ltmed.nn.x.os.system` is refused."""
    package = _package(target, (*_MODULES, *_CLASSES))
    if package is None or any(part.startswith("_") for part in target.split(".")):
        return False
    try:
        target_object = get_object(target)
    except (HydraException, ImportError, AttributeError, ValueError):
        return False
    module = getattr(target_object, "__module__", None) or ""
    if package in _CLASSES:
        base = get_object(_CLASSES[package])
        inside = _package(module, tuple(_CLASSES)) is not None
        return inside and inspect.isclass(target_object) and issubclass(target_object, base)
    inside = _package(module, _MODULES) is not None and "." not in getattr(target_object, "__qualname__", ".")
    return inside and (inspect.isclass(target_object) or inspect.isfunction(target_object))


def _package(name: str, packages: tuple[str, ...]) -> str | None:
    """The longest of the packages that a dotted name lies in."""
    inside = [package for package in packages if name == package or name.startswith(f"{package}.")]
    return max(inside, key=len, default=None)
