"""Operations that move pixels: crops, resizes, flips."""

from __future__ import annotations

import math
from abc import abstractmethod

import cv2
import numpy as np

from ltmed.data.augment.base import Operation, copy, interval, probability
from ltmed.errors import UserError

Box = tuple[int, int, int, int]
"""Top, left, height and width in pixels."""


def resize(image: np.ndarray, out: np.ndarray) -> None:
    """Writes `image` (uint8 [h, w, 3]) into `out` (uint8 [H, W, 3]), bilinear.

    PIL's bilinear filter grows with the reduction; OpenCV's does not and would alias, so that reductions above 1.5
    average over areas instead.
    """
    height, width = out.shape[:2]
    if image.shape == out.shape:
        copy(image, out)
        return
    reductions = image.shape[0] / height, image.shape[1] / width
    averages = max(reductions) > 1.5
    if averages and min(reductions) < 1:  # OpenCV averages only where neither side grows, and else takes single pixels.
        shrunk = (image.shape[1], height) if reductions[0] > 1 else (width, image.shape[0])
        image, averages = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA), False
    cv2.resize(image, (width, height), dst=out, interpolation=cv2.INTER_AREA if averages else cv2.INTER_LINEAR)


class _Crop(Operation):
    """Draws a box and resizes it to a square; a box of the right size is only copied."""

    def __init__(self, size: int) -> None:
        self._side = size

    @property
    def size(self) -> int:
        """Side of the square in pixels."""
        return self._side

    @abstractmethod
    def draw(self, rng: np.random.Generator, height: int, width: int) -> Box:
        """The box to cut out of an image of `height` x `width` pixels."""

    def apply(self, image: np.ndarray, sampled: Box, out: np.ndarray) -> None:
        """Resizes the box of `image` (uint8 [h, w, 3]) into `out` (uint8 [size, size, 3])."""
        top, left, height, width = sampled
        resize(image[top : top + height, left : left + width], out)


class Resize(_Crop):
    """Resizes the whole image to a square, without keeping its proportions.

    Args:
        size: side in pixels.
    """

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Box:
        """The whole image; nothing is random."""
        return 0, 0, height, width


class CenterCrop(_Crop):
    """Cuts the central square, as torchvision's CenterCrop.

    Args:
        size: side in pixels.

    Raises:
        UserError: when called, on an image smaller than `size`.
    """

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Box:
        """The central box; nothing is random."""
        _require_at_least(self.size, height, width)
        return round((height - self.size) / 2), round((width - self.size) / 2), self.size, self.size


class EvaluationView(_Crop):
    """The deterministic view of validation and test images.

    Args:
        size: side in pixels.
        crop: True cuts the central square out of the cached image (resize, then centre crop: a cache of 256 px and
            size 224 are the usual evaluation); False resizes the whole cached image, so that nothing is lost at
            the border.

    Raises:
        UserError: when called with `crop` on an image smaller than `size`.
    """

    def __init__(self, size: int, crop: bool = True) -> None:
        super().__init__(size)
        self._box = CenterCrop(size) if crop else Resize(size)

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Box:
        """The central box or the whole image; nothing is random."""
        return self._box.draw(rng, height, width)


class RandomCrop(_Crop):
    """Cuts a square at a random place, as torchvision's RandomCrop.

    Args:
        size: side in pixels.
        padding: black border added on every side first, in pixels; for images that are no larger than `size`.

    Raises:
        UserError: `padding` is not a whole number from 0; when called, on a padded image smaller than `size`.
    """

    def __init__(self, size: int, padding: int = 0) -> None:
        super().__init__(size)
        if not isinstance(padding, int) or padding < 0:
            raise UserError(f"padding = {padding} of RandomCrop is no number of pixels", "Give 0 or more.")
        self.padding = padding

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Box:
        """A box in the padded image."""
        height, width = height + 2 * self.padding, width + 2 * self.padding
        _require_at_least(self.size, height, width)
        top, left = rng.integers(height - self.size + 1), rng.integers(width - self.size + 1)
        return int(top), int(left), self.size, self.size

    def apply(self, image: np.ndarray, sampled: Box, out: np.ndarray) -> None:
        """Copies the box of the padded image into `out` [size, size, 3]."""
        if self.padding:
            n = self.padding
            image = cv2.copyMakeBorder(image, n, n, n, n, cv2.BORDER_CONSTANT, value=(0, 0, 0))
        super().apply(image, sampled, out)


class RandomResizedCrop(_Crop):
    """Cuts a rectangle of random area and proportions and resizes it, as torchvision's RandomResizedCrop.

    Args:
        size: side of the result in pixels.
        scale: range of the rectangle's area as a fraction of the image's.
        ratio: range of width / height, sampled evenly on a logarithmic scale.

    Raises:
        UserError: a range is empty or not positive.
    """

    def __init__(
        self, size: int, scale: tuple[float, float] = (0.08, 1.0), ratio: tuple[float, float] = (3 / 4, 4 / 3)
    ) -> None:
        super().__init__(size)
        self.scale, self.ratio = interval("scale", scale), interval("ratio", ratio)

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Box:
        """The first of ten random boxes that fits into the image, otherwise the largest central one."""
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(10):
            area, aspect = height * width * rng.uniform(*self.scale), math.exp(rng.uniform(low, high))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
        h, w = height, width
        if width / height < self.ratio[0]:
            h = round(width / self.ratio[0])
        elif width / height > self.ratio[1]:
            w = round(height * self.ratio[1])
        return (height - h) // 2, (width - w) // 2, h, w


class _RandomFlip(Operation):
    """Mirrors with probability `p`, along OpenCV's axis `_axis`."""

    _axis: int

    def __init__(self, p: float = 0.5) -> None:
        self.p = probability(p)

    def unmirrored(self) -> Operation:
        """The same with probability 0."""
        return type(self)(0) if self.p else self

    def draw(self, rng: np.random.Generator, height: int, width: int) -> bool:
        """Whether to mirror."""
        return bool(rng.random() < self.p)

    def apply(self, image: np.ndarray, sampled: bool, out: np.ndarray) -> None:
        """Mirrors into `out`, or copies."""
        if sampled:
            cv2.flip(image, self._axis, dst=out)
        else:
            copy(image, out)


class HorizontalFlip(_RandomFlip):
    """Mirrors left and right with probability `p`.

    Args:
        p: probability in [0, 1].
    """

    _axis = 1


class VerticalFlip(_RandomFlip):
    """Mirrors top and bottom with probability `p`: for images without an up, such as skin, retina or cells.

    Args:
        p: probability in [0, 1].
    """

    _axis = 0


def _require_at_least(size: int, height: int, width: int) -> None:
    if height < size or width < size:
        raise UserError(
            f"A crop of {size} px does not fit into a cached image of {height} x {width} px",
            "Raise dataset.cache_scale to at least 1, lower image_size, or give the crop a padding.",
        )
