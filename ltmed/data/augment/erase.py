"""Random erasing of rectangles."""

from __future__ import annotations

import math

import numpy as np

from ltmed.data.augment.base import Operation, copy, interval, probability
from ltmed.data.augment.geometry import Box
from ltmed.errors import UserError


class RandomErasing(Operation):
    """Fills a random rectangle with one colour, as torchvision's RandomErasing (Zhong et al., AAAI 2020).

    torchvision erases after normalisation, with 0, which is the mean colour of the data. Here images are bytes until
    they are on the device, so that the fill is a colour: by default ImageNet's mean, which normalisation takes to 0
    within half a grey level.

    Args:
        p: probability in [0, 1].
        scale: range of the rectangle's area as a fraction of the image's.
        ratio: range of height / width, sampled evenly on a logarithmic scale.
        fill: red, green and blue, 0 to 255.

    Raises:
        UserError: an option out of range.
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        fill: tuple[int, int, int] = (124, 116, 104),
    ) -> None:
        self.p, self.scale, self.ratio = probability(p), interval("scale", scale), interval("ratio", ratio)
        if len(fill) != 3 or not all(0 <= value <= 255 for value in fill):
            raise UserError(f"fill = {list(fill)} of RandomErasing is no colour", "Give three numbers from 0 to 255.")
        self.fill = np.array(fill, np.uint8)

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Box | None:
        """The first of ten random boxes that fits into the image, or None for "leave the image"."""
        if rng.random() >= self.p:
            return None
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(10):
            area, aspect = height * width * rng.uniform(*self.scale), math.exp(rng.uniform(low, high))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if h < height and w < width:
                return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
        return None

    def apply(self, image: np.ndarray, sampled: Box | None, out: np.ndarray) -> None:
        """Copies with the box filled."""
        copy(image, out)
        if sampled is not None:
            top, left, height, width = sampled
            out[top : top + height, left : left + width] = self.fill
