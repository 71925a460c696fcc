"""Intensity changes and dropout: RGB shift, brightness and contrast, grid dropout."""

from __future__ import annotations

import cv2
import numpy as np

from ltmed.data.augment.base import Operation, limit
from ltmed.errors import UserError


class RGBShift(Operation):
    """Adds a random whole number of grey levels to each channel, clipped to [0, 255].

    Args:
        red: sampled from -red, ..., red; at most 255.
        green: likewise.
        blue: likewise.

    Raises:
        UserError: a strength is negative, above 255 or not whole.
    """

    def __init__(self, red: int = 20, green: int = 20, blue: int = 20) -> None:
        for name, levels in {"red": red, "green": green, "blue": blue}.items():
            if limit(name, levels, 255) != int(levels):
                raise UserError(f"{name} = {levels} of RGBShift is not a whole number", "Give whole grey levels.")
        self.levels = np.array([red, green, blue], np.int64)

    def draw(self, rng: np.random.Generator, height: int, width: int) -> tuple[int, int, int]:
        """Grey levels for red, green and blue."""
        red, green, blue = rng.integers(-self.levels, self.levels + 1).tolist()
        return red, green, blue

    def apply(self, image: np.ndarray, sampled: tuple[int, int, int], out: np.ndarray) -> None:
        """Adds the levels."""
        cv2.add(image, (*sampled, 0), dst=out)  # pyright: ignore[reportCallIssue, reportArgumentType]


class BrightnessContrast(Operation):
    """Multiplies by a random factor and adds a random part of 255, clipped to [0, 255].

    As albumentations' RandomBrightnessContrast: all channels alike, and the factor acts from black, not from the mean.

    Args:
        brightness: the part of 255 is sampled from [-brightness, brightness], at most 1.
        contrast: the factor is sampled from [1 - contrast, 1 + contrast], at most 1.

    Raises:
        UserError: a strength is out of range.
    """

    def __init__(self, brightness: float = 0.2, contrast: float = 0.2) -> None:
        self.brightness, self.contrast = limit("brightness", brightness, 1.0), limit("contrast", contrast, 1.0)

    def draw(self, rng: np.random.Generator, height: int, width: int) -> tuple[float, float]:
        """The factor and the part of 255."""
        return 1 + rng.uniform(-self.contrast, self.contrast), rng.uniform(-self.brightness, self.brightness)

    def apply(self, image: np.ndarray, sampled: tuple[float, float], out: np.ndarray) -> None:
        """Multiplies and adds, in one rounding."""
        factor, part = sampled
        cv2.addWeighted(image, factor, image, 0.0, 255 * part, dst=out)


class GridDropout(Operation):
    """Blackens a rectangle in the upper left of every cell of a regular grid.

    Args:
        cells: in each direction; the cells are whole pixels, at least 2, and what is left over begins another row.
        ratio: side of the rectangle as a fraction of the cell's, at most 1; one pixel of the cell always stays.
        random_offset: move the rectangles within their cells, all alike; False always drops the same pixels.

    Raises:
        UserError: `cells` is not a positive whole number, or `ratio` is out of range.
    """

    def __init__(self, cells: int = 10, ratio: float = 0.5, random_offset: bool = False) -> None:
        if cells < 1 or cells != int(cells):
            raise UserError(f"cells = {cells} of GridDropout is no number of cells", "Give 1 or more.")
        self.cells, self.ratio, self.random_offset = int(cells), limit("ratio", ratio, 1.0), random_offset

    def draw(self, rng: np.random.Generator, height: int, width: int) -> tuple[int, int]:
        """Top and left of the first rectangle in pixels."""
        if not self.random_offset:
            return 0, 0
        top, left = (int(rng.integers(cell - hole + 1)) for cell, hole in map(self._cell, (height, width)))
        return top, left

    def apply(self, image: np.ndarray, sampled: tuple[int, int], out: np.ndarray) -> None:
        """Blackens the rectangles."""
        h, w = image.shape[:2]
        rows, columns = (self._keep_mask(side, offset) for side, offset in zip((h, w), sampled, strict=True))
        keep = np.bitwise_or.outer(rows, np.repeat(columns, 3))
        cv2.bitwise_and(image, keep.reshape(h, w, 3), dst=out)

    def _cell(self, side: int) -> tuple[int, int]:
        """Length of a cell and of its hole in pixels, in an image of `side` pixels."""
        cell = max(2, side // self.cells)
        return cell, min(int(cell * self.ratio), cell - 1)

    def _keep_mask(self, side: int, offset: int) -> np.ndarray:
        """255 where a line of `side` pixels is outside the holes, 0 inside: uint8 [side]."""
        cell, hole = self._cell(side)
        return np.where((np.arange(side) - offset) % cell < hole, 0, 255).astype(np.uint8)
