"""Random adjustment of sharpness."""

from __future__ import annotations

import cv2
import numpy as np

from ltmed.data.augment.base import Operation, copy, probability
from ltmed.errors import UserError

_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
"""PIL's `ImageFilter.SMOOTH`."""


def adjust_sharpness(image: np.ndarray, factor: float, out: np.ndarray) -> None:
    """Moves `image` (uint8 [h, w, 3]) away from (`factor` > 1) or to its smoothed self; the border stays as it is."""
    smooth = cv2.filter2D(image, -1, _SMOOTH)
    for line in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        smooth[line] = image[line]
    cv2.addWeighted(image, factor, smooth, 1 - factor, 0.0, dst=out)


class RandomAdjustSharpness(Operation):
    """Changes the sharpness with probability `p`, as torchvision's RandomAdjustSharpness.

    Args:
        factor: 0 is smoothed, 1 the image as it is, 2 as much sharper as 0 is softer.
        p: probability in [0, 1].

    Raises:
        UserError: a negative factor, or `p` is no probability.
    """

    def __init__(self, factor: float, p: float = 0.5) -> None:
        if not factor >= 0:
            raise UserError(f"factor = {factor} of RandomAdjustSharpness", "Give a number from 0.")
        self.factor, self.p = factor, probability(p)

    def draw(self, rng: np.random.Generator, height: int, width: int) -> bool:
        """Whether to change the sharpness."""
        return bool(rng.random() < self.p)

    def apply(self, image: np.ndarray, sampled: bool, out: np.ndarray) -> None:
        """Changes the sharpness into `out`, or copies."""
        if sampled:
            adjust_sharpness(image, self.factor, out)
        else:
            copy(image, out)
