"""Powers that have a derivative at 0 and are fast on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor


def power(x: Tensor, exponent: float) -> Tensor:
    """x^exponent, for x >= 0 and exponent >= 0.

    Squares and cubes cost as much as a product, any other power ten times that; e^9 is the cube of a cube.
    """
    if exponent == 0:
        return torch.ones_like(x)
    if exponent == 1:
        return x
    if exponent < 1:
        return x.clamp_min(torch.finfo(x.dtype).tiny) ** exponent  # Below 1 there is no derivative at 0.
    if exponent % 1 or exponent <= 3:
        return x**exponent
    for factor in (3, 2):
        if exponent % factor == 0:
            return power(x, exponent / factor) ** factor
    return x * power(x, exponent - 1)
