"""Full precision for losses: under autocast the matrix products inside a loss would run in half precision."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")


def full_precision(function: Callable[P, T]) -> Callable[P, T]:
    """Runs `function` with autocast off and its float16 and bfloat16 tensors cast to float32.

    float64 arguments stay float64. Gradients flow back through the casts. Only positional and keyword arguments that
    are tensors are converted, not tensors inside containers; the first of them determines the device.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        device = next(value.device.type for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        raised: Any = [_raise(value) for value in args]
        named: Any = {name: _raise(value) for name, value in kwargs.items()}
        if not torch.is_autocast_enabled(device):  # Entering the context costs more than a small loss.
            return function(*raised, **named)  # pyright: ignore[reportCallIssue]
        with torch.autocast(device, enabled=False):
            return function(*raised, **named)  # pyright: ignore[reportCallIssue]

    return wrapped


def _raise(value: Any) -> Any:
    half = isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if half else value
