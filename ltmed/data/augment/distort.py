"""Geometric distortions, as the operations of the same names in albumentations 1.3.

Each computes for every pixel of the result where it comes from, interpolates bilinearly, and mirrors the image at its
border. Letters: h, w height and width of the image.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from ltmed.data.augment.base import Operation, limit
from ltmed.errors import UserError


class ShiftScaleRotateParameters(NamedTuple):
    """The sampled parameters of a ShiftScaleRotate."""

    angle: float
    """Degrees counter-clockwise."""
    scale: float
    """Scale factor."""
    right: float
    """Shift as a fraction of the width."""
    down: float
    """Shift as a fraction of the height."""


class ShiftScaleRotate(Operation):
    """Rotates and scales about the centre, and shifts.

    Args:
        shift: in each direction sampled from [-shift, shift] of the side, at most 1.
        scale: the enlargement is sampled from [1 - scale, 1 + scale], at most 0.99.
        rotate: the angle is sampled from [-rotate, rotate] degrees, at most 180.

    Raises:
        UserError: a strength is negative or too large.
    """

    def __init__(self, shift: float = 0.0625, scale: float = 0.1, rotate: float = 45.0) -> None:
        self.shift, self.scale, self.rotate = (
            limit("shift", shift, 1.0), limit("scale", scale, 0.99), limit("rotate", rotate, 180.0),
        )  # fmt: skip

    def draw(self, rng: np.random.Generator, height: int, width: int) -> ShiftScaleRotateParameters:
        """Angle, scale and both shifts, each uniformly."""
        spans = (self.rotate, self.scale, self.shift, self.shift)
        angle, growth, right, down = (rng.uniform(-span, span) for span in spans)
        return ShiftScaleRotateParameters(angle, 1 + growth, right, down)

    def apply(self, image: np.ndarray, sampled: ShiftScaleRotateParameters, out: np.ndarray) -> None:
        """Rotates, scales and shifts."""
        h, w = image.shape[:2]
        matrix = cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), sampled.angle, sampled.scale)
        matrix[:, 2] += sampled.right * w, sampled.down * h
        cv2.warpAffine(image, matrix, (w, h), dst=out, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


class GridDistortion(Operation):
    """Stretches or squeezes each column and each row of a grid of cells by its own factor.

    The cells follow one another from the upper left corner, so that distortions add up to the lower right.

    Args:
        steps: cells in each direction.
        strength: the factors are sampled from [1 - strength, 1 + strength], at most 1.

    Raises:
        UserError: `steps` is not a positive whole number, or `strength` is out of range.
    """

    def __init__(self, steps: int = 5, strength: float = 0.3) -> None:
        if steps < 1 or steps != int(steps):
            raise UserError(f"steps = {steps} of GridDistortion is no number of cells", "Give 1 or more.")
        self.steps, self.strength = int(steps), limit("strength", strength, 1.0)

    def draw(self, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        """Factors of the columns and of the rows, [2, steps]."""
        return rng.uniform(1 - self.strength, 1 + self.strength, (2, self.steps))

    def apply(self, image: np.ndarray, sampled: np.ndarray, out: np.ndarray) -> None:
        """Resamples along both axes."""
        h, w = image.shape[:2]
        x, y = (_piecewise(side, factors) for side, factors in zip((w, h), sampled, strict=True))
        _remap(image, cv2.repeat(x[None], h, 1), cv2.repeat(y[:, None], 1, w), out)


class OpticalDistortion(Operation):
    """Bends like a lens: a pixel at distance r from the centre comes from r (1 + k r^2 + k r^4), r in sides.

    Args:
        strength: k is sampled from [-strength, strength], at most 1; positive k makes a barrel.

    Raises:
        UserError: `strength` is out of range.
    """

    def __init__(self, strength: float = 0.05) -> None:
        self.strength = limit("strength", strength, 1.0)

    def draw(self, rng: np.random.Generator, height: int, width: int) -> float:
        """K."""
        return rng.uniform(-self.strength, self.strength)

    def apply(self, image: np.ndarray, sampled: float, out: np.ndarray) -> None:
        """Bends by k."""
        (h, w), k = image.shape[:2], np.float32(sampled)
        u, v = (np.arange(side, dtype=np.float32) - (side - 1) / 2 for side in (w, h))
        square = np.add.outer((v / h) ** 2, (u / w) ** 2)
        factor = k * square * (1 + square) + 1
        _remap(image, u * factor + (w - 1) / 2, v[:, None] * factor + (h - 1) / 2, out)


class ElasticTransform(Operation):
    """Moves three points of the image at random, the rest affinely with them, and adds smooth random displacements.

    The displacements are noise from U(-1, 1) in every pixel, smoothed by a Gaussian and multiplied by alpha (Simard et
    al., ICDAR 2003). With alpha = 1 and sigma = 50, albumentations' values, they are some thousandths of a pixel, and
    the affine part is what shows.

    A wide Gaussian leaves nothing that changes from pixel to pixel. So the noise is sampled on a grid four times finer
    than sigma, scaled as the mean of as many values as a cell has pixels, and the smoothed field is enlarged linearly.

    Args:
        alpha: factor of the displacements in pixels, from 0 up.
        sigma: standard deviation of the Gaussian in pixels, above 0.
        affine: each coordinate of the three points moves by U(-affine, affine) pixels.

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(self, alpha: float = 1.0, sigma: float = 50.0, affine: float = 50.0) -> None:
        if not 0 < sigma < math.inf:
            raise UserError(f"sigma = {sigma} of ElasticTransform is out of range", "Give a number above 0.")
        self.alpha, self.sigma, self.affine = limit("alpha", alpha, math.inf), sigma, limit("affine", affine, math.inf)
        self.spacing = max(1, int(sigma / 4))
        sigma /= self.spacing
        self._kernel = cv2.getGaussianKernel(2 * int(4 * sigma + 0.5) + 1, sigma, cv2.CV_32F)

    def draw(self, rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Movement of the three points in pixels, [3, 2], and the noise, float32 [grid rows, grid columns, 2]."""
        shifts = rng.uniform(-self.affine, self.affine, (3, 2))
        grid = (math.ceil(height / self.spacing), math.ceil(width / self.spacing), 2)
        return shifts, (2 * rng.random(grid, dtype=np.float32) - 1) / np.float32(self.spacing)

    def displacements(self, noise: np.ndarray, height: int, width: int) -> np.ndarray:
        """Noise as it was sampled, smoothed and enlarged: float32 [h, w, 2], columns then rows, in pixels."""
        field = cv2.sepFilter2D(noise, -1, self._kernel, self._kernel, borderType=cv2.BORDER_REFLECT)
        if self.spacing > 1:
            field = cv2.resize(field, None, fx=self.spacing, fy=self.spacing, interpolation=cv2.INTER_LINEAR)
        return field[:height, :width] * np.float32(self.alpha)

    def apply(self, image: np.ndarray, sampled: tuple[np.ndarray, np.ndarray], out: np.ndarray) -> None:
        """Moves both ways in one interpolation."""
        h, w = image.shape[:2]
        shifts, noise = sampled
        coordinates = self.displacements(noise, h, w)
        coordinates[..., 0] += np.arange(w, dtype=np.float32)
        coordinates[..., 1] += np.arange(h, dtype=np.float32)[:, None]
        s = min(h, w) // 3
        points = np.array([w // 2, h // 2]) + np.array([[s, s], [s, -s], [-s, -s]])
        backwards = cv2.getAffineTransform((points + shifts).astype(np.float32), points.astype(np.float32))
        _remap(image, cv2.transform(coordinates, backwards), None, out)


def _piecewise(side: int, factors: np.ndarray) -> np.ndarray:
    """Where each of `side` pixels comes from when equal cells are stretched by `factors`: float32 [side]."""
    ends = np.linspace(0, side, len(factors) + 1)
    sources = np.concatenate([[0.0], np.cumsum(factors) * side / len(factors)])
    return np.interp(np.arange(side), ends, sources).astype(np.float32)


def _remap(image: np.ndarray, x: np.ndarray, y: np.ndarray | None, out: np.ndarray) -> None:
    cv2.remap(image, x, y, cv2.INTER_LINEAR, dst=out, borderMode=cv2.BORDER_REFLECT_101)  # pyright: ignore[reportCallIssue, reportArgumentType]
