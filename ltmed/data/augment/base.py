"""Interface of augmentations, and their composition from operations."""

from __future__ import annotations

import copy as copies
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import numpy as np

from ltmed.errors import UserError


class Augmentation(Protocol):
    """Computes one view of one image."""

    @property
    def size(self) -> int | None:
        """Side of the square view in pixels; None when the view is as large as the image."""
        ...

    def __call__(self, image: np.ndarray, rng: np.random.Generator, out: np.ndarray) -> None:
        """Writes a view of `image` (uint8 [S, S, 3], RGB) into `out` (uint8 [H, W, 3], contiguous)."""
        ...


class Operation(ABC):
    """One step: random parameters are sampled first and then applied, so that the same parameters can be reused.

    `out` may be `image` itself when the operation keeps the size.
    """

    @property
    def size(self) -> int | None:
        """Side of the square that the operation makes, in pixels; None when it keeps the size."""
        return None

    @abstractmethod
    def draw(self, rng: np.random.Generator, height: int, width: int) -> Any:
        """Samples the parameters for an image of `height` x `width` pixels."""

    @abstractmethod
    def apply(self, image: np.ndarray, sampled: Any, out: np.ndarray) -> None:
        """Writes `image` (uint8 [h, w, 3]) changed by `sampled` into `out` (uint8 [H, W, 3])."""

    def unmirrored(self) -> Operation:
        """The same without flips: itself, unless it mirrors or holds an operation that does."""
        return self

    def __call__(self, image: np.ndarray, rng: np.random.Generator, out: np.ndarray) -> None:
        """Samples the parameters and applies them.

        Raises:
            ValueError: `out` has another size than the result, or is not contiguous.
        """
        side = self.size
        # With another `out`, OpenCV would allocate a new array without an error.
        if out.shape != (image.shape if side is None else (side, side, 3)) or not out.flags.c_contiguous:
            raise ValueError(f"{type(self).__name__} of size {side} from {image.shape} cannot write into {out.shape}")
        self.apply(image, self.draw(rng, image.shape[0], image.shape[1]), out)


class RandomApply(Operation):
    """Applies an operation with probability `p`, as torchvision's RandomApply.

    Args:
        operation: one that keeps the size.
        p: probability in [0, 1].

    Raises:
        UserError: `p` is no probability, or the operation changes the size.
    """

    def __init__(self, operation: Operation, p: float) -> None:
        if operation.size is not None:
            raise UserError(
                f"RandomApply holds {type(operation).__name__}, which changes the size of the image",
                "Every view of a batch needs the same size: put it beside RandomApply.",
            )
        self.operation, self.p = operation, probability(p)

    def unmirrored(self) -> Operation:
        """The same, of an operation without flips."""
        kept = self.operation.unmirrored()
        return self if kept is self.operation else RandomApply(kept, self.p)

    def draw(self, rng: np.random.Generator, height: int, width: int) -> tuple[Any] | None:
        """The operation's own draw in a tuple, or None for "leave the image"."""
        return (self.operation.draw(rng, height, width),) if rng.random() < self.p else None

    def apply(self, image: np.ndarray, sampled: tuple[Any] | None, out: np.ndarray) -> None:
        """Applies the operation with `sampled[0]`, or copies."""
        if sampled is None:
            copy(image, out)
        else:
            self.operation.apply(image, sampled[0], out)


class OneOf(Operation):
    """Applies one of several operations, sampled for each image, as albumentations' OneOf.

    Args:
        weights: relative frequencies by name, 1 where a name is absent; None for equal frequencies.
        operations: named, each keeps the size; None is left out.

    Raises:
        UserError: something is not an operation, changes the size, or no operation is left; a weight is negative or
            belongs to no operation, or all of them are 0.
    """

    def __init__(self, *, weights: Mapping[str, float] | None = None, **operations: Operation | None) -> None:
        weights = weights or {}
        named = _require_operations("OneOf", operations)
        for name, operation in named.items():
            if operation.size is not None:
                raise UserError(
                    f"'{name}' of OneOf is {type(operation).__name__}, which changes the size of the image",
                    "Every view of a batch needs the same size: put it beside OneOf.",
                )
        chances = [float(weights.get(name, 1)) for name in named]
        if not set(weights) <= set(operations) or not all(0 <= c < math.inf for c in chances) or not sum(chances):
            raise UserError(
                f"OneOf cannot draw from {list(named)} with weights {dict(weights)}",
                "Give at least one operation, weights from 0 up under the operations' names, and one above 0.",
            )
        self.operations = list(named.values())
        self._below = np.cumsum(chances) / np.cumsum(chances)[-1]

    def unmirrored(self) -> OneOf:
        """The same, of operations without flips; the others keep their frequencies."""
        return _without_flips(self)

    def draw(self, rng: np.random.Generator, height: int, width: int) -> tuple[int, Any]:
        """Number of the operation, and its own draw."""
        index = int(np.searchsorted(self._below, rng.random(), side="right"))
        return index, self.operations[index].draw(rng, height, width)

    def apply(self, image: np.ndarray, sampled: tuple[int, Any], out: np.ndarray) -> None:
        """Applies operation number `sampled[0]` with `sampled[1]`."""
        self.operations[sampled[0]].apply(image, sampled[1], out)


class Compose:
    """Operations one after the other, in the order given.

    After the last operation that sets the size, everything happens in place in `out`.

    Args:
        operations: named, so that each can be changed by `augment.<name>.<argument>=...` and removed by
            `augment.<name>=null`; None is left out.

    Raises:
        UserError: something is not an operation, or none of them sets the size of the view.
    """

    def __init__(self, **operations: Operation | None) -> None:
        self.operations = list(_require_operations("an augmentation", operations).values())
        sized = [(index, step.size) for index, step in enumerate(self.operations) if step.size is not None]
        if not sized:
            raise UserError(
                f"No operation of an augmentation ({', '.join(operations) or 'empty'}) sets the size of the view",
                "Begin with a crop or a Resize of size ${image_size}.",
            )
        self._last_sized, self.size = sized[-1]

    def unmirrored(self) -> Compose:
        """The same without flips: itself, unless one of the operations mirrors."""
        return _without_flips(self)

    def __call__(self, image: np.ndarray, rng: np.random.Generator, out: np.ndarray) -> None:
        """Writes one view of `image` (uint8 [S, S, 3]) into `out` (uint8 [size, size, 3])."""
        for index, operation in enumerate(self.operations):
            target = out
            if index < self._last_sized:
                side = operation.size
                target = np.empty_like(image) if side is None else np.empty((side, side, 3), np.uint8)
            operation(image, rng, target)
            image = target


def copy(image: np.ndarray, out: np.ndarray) -> None:
    """Fills `out` with `image`, unless they are the same array."""
    if image is not out:
        np.copyto(out, image)


def probability(p: float) -> float:
    """Returns `p`; raises UserError outside [0, 1]."""
    if not 0 <= p <= 1:
        raise UserError(f"p = {p} of an augmentation is not a probability", "Give a number from 0 to 1.")
    return p


def interval(name: str, values: tuple[float, float]) -> tuple[float, float]:
    """Returns `values` as an ordered pair of floats; raises UserError unless 0 < low <= high."""
    if len(values) != 2 or not 0 < values[0] <= values[1]:
        raise UserError(f"{name} = {list(values)} of an augmentation is not a range", "Give [low, high], both above 0.")
    return float(values[0]), float(values[1])


def limit(name: str, value: float, maximum: float) -> float:
    """Returns `value`, the strength of an operation; raises UserError unless 0 <= value <= most."""
    if not 0 <= value <= maximum:
        raise UserError(f"{name} = {value} of an augmentation is out of range", f"Give a number from 0 to {maximum}.")
    return value


def _require_operations(where: str, operations: Mapping[str, Operation | None]) -> dict[str, Operation]:
    """The operations that are not None; raises UserError for anything else."""
    for name, operation in operations.items():
        if operation is not None and not isinstance(operation, Operation):
            raise UserError(f"'{name}' of {where} is {operation!r}, not an operation", "Give it a _target_.")
    return {name: operation for name, operation in operations.items() if operation is not None}


_Holder = TypeVar("_Holder", OneOf, Compose)


def _without_flips(holder: _Holder) -> _Holder:
    """A copy that holds its operations without flips; itself if none of them mirrors."""
    kept = [operation.unmirrored() for operation in holder.operations]
    if all(new is old for new, old in zip(kept, holder.operations, strict=True)):
        return holder
    result = copies.copy(holder)
    result.operations = kept
    return result
