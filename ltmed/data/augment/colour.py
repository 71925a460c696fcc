"""Pixelwise operations and blur: colour jitter, greyscale, Gaussian blur."""

from __future__ import annotations

import math

import cv2
import numpy as np

from ltmed.data.augment.base import Operation, copy, interval, probability
from ltmed.errors import UserError

LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in PIL's grey (ITU-R 601)."""

# PIL truncates where OpenCV rounds; slightly more than -1/2, so that integers do not change.
_CUT = -0.499


def adjust_brightness(image: np.ndarray, factor: float, out: np.ndarray) -> None:
    """Multiplies `image` (uint8 [h, w, 3]) by `factor` >= 0 into `out`, clipped to [0, 255]."""
    cv2.convertScaleAbs(image, dst=out, alpha=factor, beta=_CUT)


def adjust_contrast(image: np.ndarray, factor: float, out: np.ndarray) -> None:
    """Moves `image` (uint8 [h, w, 3]) away from (`factor` > 1) or to the whole number nearest its mean grey."""
    mean = int(np.dot(LUMA, cv2.mean(image)[:3]) + 0.5)
    cv2.addWeighted(image, factor, image, 0.0, (1 - factor) * mean + _CUT, dst=out)


def adjust_saturation(image: np.ndarray, factor: float, out: np.ndarray) -> None:
    """Moves each pixel of `image` (uint8 [h, w, 3]) away from (`factor` > 1) or to its own grey."""
    cv2.transform(image, factor * np.eye(3) + (1 - factor) * LUMA, dst=out)


def adjust_hue(image: np.ndarray, factor: float, out: np.ndarray) -> None:
    """Turns the hue of `image` (uint8 [h, w, 3]) by `factor` in [-0.5, 0.5] of a circle, in 8-bit HSV as PIL."""
    cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL, dst=out)
    # Adding a whole row of (turn, 0, 0) is three times faster than adding to every third byte.
    turn = np.zeros(out.shape[1:], np.uint8)
    turn[:, 0] = int(factor * 255) % 256
    np.add(out, turn, out=out)
    cv2.cvtColor(out, cv2.COLOR_HSV2RGB_FULL, dst=out)


_ADJUST = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)
_JITTER_LIMITS = {"brightness": math.inf, "contrast": math.inf, "saturation": math.inf, "hue": 0.5}

Jitter = tuple[list[int], tuple[float | None, ...]]
"""Order of the four adjustments (numbers as in `brightness, contrast, saturation, hue`), and their factors."""


class ColorJitter(Operation):
    """Changes brightness, contrast, saturation and hue in random order, as torchvision's ColorJitter.

    Args:
        brightness: the factor is sampled from [max(0, 1 - brightness), 1 + brightness]; 0 leaves brightness alone.
        contrast: likewise.
        saturation: likewise.
        hue: the turn is sampled from [-hue, hue], in circles, at most 0.5; 0 leaves hue alone.

    Raises:
        UserError: a strength is negative, or hue is above 0.5.
    """

    def __init__(
        self, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0, hue: float = 0.0
    ) -> None:
        strengths = (brightness, contrast, saturation, hue)
        for (name, limit), strength in zip(_JITTER_LIMITS.items(), strengths, strict=True):
            if not 0 <= strength <= limit:
                raise UserError(
                    f"{name} = {strength} of ColorJitter is out of range", f"Give a number from 0 to {limit}."
                )
        self.ranges = [(max(0.0, 1 - s), 1.0 + s) if s else None for s in strengths[:3]]
        self.ranges.append((-hue, hue) if hue else None)

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Jitter:
        """Order and factors; a factor is None where the strength is 0."""
        order = rng.permutation(4).tolist()
        return order, tuple(None if bounds is None else rng.uniform(*bounds) for bounds in self.ranges)

    def apply(self, image: np.ndarray, sampled: Jitter, out: np.ndarray) -> None:
        """Adjusts one after the other, with clipping to 8 bits after each."""
        order, factors = sampled
        for step in order:
            factor = factors[step]
            if factor is not None:
                _ADJUST[step](image, factor, out)
                image = out
        copy(image, out)


class RandomGrayscale(Operation):
    """Replaces all three channels by the grey value with probability `p`.

    Args:
        p: probability in [0, 1].
    """

    def __init__(self, p: float = 0.1) -> None:
        self.p = probability(p)

    def draw(self, rng: np.random.Generator, height: int, width: int) -> bool:
        """Whether to turn grey."""
        return bool(rng.random() < self.p)

    def apply(self, image: np.ndarray, sampled: bool, out: np.ndarray) -> None:
        """Writes grey, or copies."""
        if sampled:
            cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB, dst=out)
        else:
            copy(image, out)


class GaussianBlur(Operation):
    """Blurs with a Gaussian of random width, as MoCo-v2 does with PIL's `ImageFilter.GaussianBlur(radius=sigma)`.

    Args:
        sigma: range of the standard deviation in pixels.

    Raises:
        UserError: the range is empty or not positive.
    """

    def __init__(self, sigma: tuple[float, float] = (0.1, 2.0)) -> None:
        self.sigma = interval("sigma", sigma)

    def draw(self, rng: np.random.Generator, height: int, width: int) -> float:
        """The standard deviation in pixels."""
        return rng.uniform(*self.sigma)

    def apply(self, image: np.ndarray, sampled: float, out: np.ndarray) -> None:
        """Blurs into `out`; the image goes on beyond its border with the border's colours."""
        if sampled < 0.3:  # In 8 bits both PIL and OpenCV return the image as it was.
            copy(image, out)
            return
        # sepFilter2D is up to twice as fast as cv2.GaussianBlur, which promises the same bits on every machine.
        kernel = cv2.getGaussianKernel(2 * math.ceil(2.5 * sampled) + 1, sampled)
        cv2.sepFilter2D(image, -1, kernel, kernel, dst=out, borderType=cv2.BORDER_REPLICATE)
