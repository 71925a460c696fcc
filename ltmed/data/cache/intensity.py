"""Scaling of the stored values of an image file to the eight bits of the cache.

Eight-bit values are not changed. Files of more bits seldom specify which value is black and which is white: a 12-bit
detector uses a sixteenth of the range of a 16-bit file, and a CT slice has Hounsfield units from -1024 to 3071. These
values are scaled here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ltmed.errors import UserError, suggest

MODES = ("auto", "window", "range")
STORED, WINDOW, RANGE, FIXED = "as stored", "the file's window", "each image's own range", "a fixed range"
"""Sources of the black and white levels."""


class BadImageError(ValueError):
    """A file that is not an image, is truncated, or has values without a meaning as grey levels."""


@dataclass(frozen=True)
class Intensity:
    """Which values of more than eight bits become black (0) and white (255), with linear interpolation between them.

    - `auto`: the window in the file's DICOM tags (VOI LUT, or window centre and width) if it has one, else the smallest
      and largest value of the image.
    - `window`: the file's window, which 8-bit DICOM files may have too; a file of more bits without one is a bad image.
    - `range`: the smallest and largest value of the image, independent of its tags.
    - `fixed`: `low` and `high`, the same for all images, so that a tissue has the same grey level in all of them.

    DICOM values are those after the modality LUT or the rescale slope and intercept (for CT Hounsfield units), and
    padding is excluded from the range of an image.
    """

    mode: str = "auto"
    low: float = 0.0
    high: float = 0.0

    @classmethod
    def of(cls, option: str | Sequence[float]) -> Intensity:
        """Reads the setting `dataset.intensity`: `auto`, `window`, `range` or `[low, high]`.

        Raises:
            UserError: anything else.
        """
        if isinstance(option, str):
            if option not in MODES:
                raise UserError(
                    f"dataset.intensity={option} is not possible",
                    f"{suggest(option, MODES)} Or give a fixed range: dataset.intensity=[LOW,HIGH].",
                )
            return cls(option)
        bounds = list(option) if isinstance(option, Sequence) else []
        if len(bounds) != 2 or not all(type(bound) in (int, float) and np.isfinite(bound) for bound in bounds):
            raise UserError(
                f"dataset.intensity={option} is not possible",
                f"It must be one of {', '.join(MODES)}, or a fixed range of two numbers, for instance [-1000,400].",
            )
        if not bounds[0] < bounds[1]:
            raise UserError(
                f"dataset.intensity=[{bounds[0]},{bounds[1]}] is no range", "The first number must be the smaller one."
            )
        return cls("fixed", float(bounds[0]), float(bounds[1]))

    @property
    def option(self) -> str | list[float]:
        """The value of the setting, which `Intensity.of` reads."""
        return [self.low, self.high] if self.mode == "fixed" else self.mode


AUTO = Intensity()


@dataclass(frozen=True, eq=False)
class Values:
    """Stored values of an image file, and their properties."""

    pixels: np.ndarray
    """[h, w] or [h, w, 3] (BGR), any number type."""
    bits: int
    """Bits of one value in the file."""
    padding: np.ndarray | None = None
    """bool [h, w]: pixels outside the image, which have no value."""
    window: Callable[[], np.ndarray | None] = lambda: None
    """Returns the pixels with the file's window applied, float [h, w] from 0 (black) to 1 (white); None without one."""

    @property
    def as_stored(self) -> bool:
        """Whether the values are grey levels already."""
        return self.pixels.dtype == np.uint8 and self.bits == 8

    def extremes(self) -> tuple[float, float]:
        """The smallest and the largest value, without padding.

        Raises:
            BadImageError: values that are not finite.
        """
        inside = self.pixels if self.padding is None or self.padding.all() else self.pixels[~self.padding]
        low, high = float(inside.min()), float(inside.max())
        if not np.isfinite([low, high]).all():
            raise BadImageError("it has values that are not finite (NaN or infinite)")
        return low, high


def to_eight_bits(values: Values, intensity: Intensity = AUTO) -> tuple[np.ndarray, str]:
    """Scales the values.

    Args:
        values: of one image.
        intensity: the black and white levels.

    Returns:
        uint8, of the shape of `values.pixels`, and the source of the levels: `STORED`, `WINDOW`, `RANGE` or `FIXED`.

    Raises:
        BadImageError: values that are not finite, or whose black and white levels are unknown.
    """
    if values.as_stored and intensity.mode != "window":
        return values.pixels, STORED
    if intensity.mode in ("auto", "window"):
        windowed = values.window()
        if windowed is not None:
            return _scaled(windowed, 0.0, 1.0), WINDOW
        if values.as_stored:
            return values.pixels, STORED
        if intensity.mode == "window":
            raise BadImageError("no window in the file; dataset.intensity=auto, range or [LOW,HIGH] needs none")
        if values.bits > 16:
            raise BadImageError(
                f"pixels of {values.bits} bits ({values.pixels.dtype}), and nothing says which values are black and "
                "white; dataset.intensity=range or [LOW,HIGH] does"
            )
    low, high = values.extremes()
    if intensity.mode == "fixed":
        return _scaled(values.pixels, intensity.low, intensity.high), FIXED
    return _scaled(values.pixels, low, high), RANGE


def _scaled(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    precise: Any = np.float64 if pixels.dtype.itemsize > 2 else np.float32
    if not high > low:
        return np.zeros(pixels.shape, np.uint8)
    scaled = (pixels.astype(precise) - precise(low)) * precise(255 / (high - low))
    return np.rint(np.clip(scaled, 0, 255, out=scaled), out=scaled).astype(np.uint8)
