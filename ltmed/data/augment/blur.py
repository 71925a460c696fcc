"""Blurs whose kernel has a random odd size: box, median, motion; as albumentations' Blur, MedianBlur, MotionBlur."""

from __future__ import annotations

import cv2
import numpy as np

from ltmed.data.augment.base import Operation
from ltmed.errors import UserError

Point = tuple[int, int]
"""Column and row."""


class BoxBlur(Operation):
    """Replaces each pixel by the mean of the square around it; the image is mirrored at its border.

    Args:
        sizes: smallest and largest side of the square in pixels, both odd; all odd sides between are equally likely.

    Raises:
        UserError: a side is even or not positive, or they are out of order.
    """

    def __init__(self, sizes: tuple[int, int] = (3, 7)) -> None:
        self.sizes = _odd_sizes(sizes, minimum=1)

    def draw(self, rng: np.random.Generator, height: int, width: int) -> int:
        """Side of the square in pixels."""
        return _odd_size(rng, self.sizes)

    def apply(self, image: np.ndarray, sampled: int, out: np.ndarray) -> None:
        """Averages `sampled` x `sampled` pixels."""
        cv2.blur(image, (sampled, sampled), dst=out)


class MedianBlur(Operation):
    """Replaces each pixel by the median, channel by channel, of the square around it; the border's colours go on.

    Above 5 pixels OpenCV has only a slow algorithm.

    Args:
        sizes: as in BoxBlur.

    Raises:
        UserError: as in BoxBlur.
    """

    def __init__(self, sizes: tuple[int, int] = (3, 7)) -> None:
        self.sizes = _odd_sizes(sizes, minimum=1)

    def draw(self, rng: np.random.Generator, height: int, width: int) -> int:
        """Side of the square in pixels."""
        return _odd_size(rng, self.sizes)

    def apply(self, image: np.ndarray, sampled: int, out: np.ndarray) -> None:
        """Takes the median of `sampled` x `sampled` pixels."""
        cv2.medianBlur(image, sampled, dst=out)


class MotionBlur(Operation):
    """Averages the pixels along a random line near each pixel; the image is mirrored at its border.

    The line joins two random cells of a square around the pixel. It need not pass through its centre, so that the
    image also moves by up to half the side.

    Args:
        sizes: as in BoxBlur, at least 3.

    Raises:
        UserError: a side is even or below 3, or they are out of order.
    """

    def __init__(self, sizes: tuple[int, int] = (3, 7)) -> None:
        self.sizes = _odd_sizes(sizes, minimum=3)

    def draw(self, rng: np.random.Generator, height: int, width: int) -> tuple[int, Point, Point]:
        """Side of the square, and the two different ends of the line in it."""
        side = _odd_size(rng, self.sizes)
        start, end = rng.choice(side * side, 2, replace=False).tolist()
        return side, (start % side, start // side), (end % side, end // side)

    def apply(self, image: np.ndarray, sampled: tuple[int, Point, Point], out: np.ndarray) -> None:
        """Averages along the line."""
        side, start, end = sampled
        kernel = np.zeros((side, side), np.float32)
        cv2.line(kernel, start, end, 1.0)
        cv2.filter2D(image, -1, kernel / kernel.sum(), dst=out)


def _odd_size(rng: np.random.Generator, sizes: tuple[int, int]) -> int:
    return 2 * int(rng.integers(sizes[0] // 2, sizes[1] // 2 + 1)) + 1


def _odd_sizes(sizes: tuple[int, int], minimum: int) -> tuple[int, int]:
    if len(sizes) != 2 or not minimum <= sizes[0] <= sizes[1] or not all(side % 2 == 1 for side in sizes):
        raise UserError(
            f"sizes = {list(sizes)} of a blur is not a range of odd sizes",
            f"Give [smallest, largest], both odd, from {minimum} up.",
        )
    return int(sizes[0]), int(sizes[1])
