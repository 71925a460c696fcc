"""Rotation, translation, scaling and shear of the whole image. Pixels from outside the image are black."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import cv2
import numpy as np

from ltmed.data.augment.base import Operation, interval
from ltmed.errors import UserError, suggest

Interpolation = Literal["nearest", "bilinear"]
_FLAGS = {"nearest": cv2.INTER_NEAREST, "bilinear": cv2.INTER_LINEAR}


class Affine(NamedTuple):
    """Parameters of one transform, in torchvision's order and units."""

    angle: float
    """Degrees, clockwise."""
    translate: tuple[int, int] = (0, 0)
    """Right and down, in pixels."""
    scale: float = 1.0
    shear: tuple[float, float] = (0.0, 0.0)
    """Along x and y, in degrees."""


def warp(image: np.ndarray, transform: Affine, interpolation: Interpolation, out: np.ndarray) -> None:
    """Writes `image` (uint8 [h, w, 3]), transformed about its centre, into `out` of the same size."""
    if out is image:  # Every output pixel may need every input pixel.
        image = image.copy()
    flags = _FLAGS[interpolation] | cv2.WARP_INVERSE_MAP
    height, width = image.shape[:2]
    cv2.warpAffine(
        image, _backward(transform, height, width), (width, height), out, flags, cv2.BORDER_CONSTANT, (0, 0, 0)
    )


def _backward(transform: Affine, height: int, width: int) -> np.ndarray:
    """Where in the image (x, y) each output pixel comes from, float64 [2, 3], as OpenCV counts pixels.

    With R a rotation, S a scaling and H the shears, the forward map about the centre is R S Hy Hx, then the shift.
    OpenCV has the centre of the first pixel at 0 and PIL at 1/2, so that the centre is (w - 1) / 2 here, w / 2 there.
    """
    angle, tan_x, tan_y = (
        math.radians(transform.angle),
        *(math.tan(math.radians(degrees)) for degrees in transform.shear),
    )
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    shear = np.array([[1, 0], [-tan_y, 1]]) @ np.array([[1, -tan_x], [0, 1]])
    linear = np.linalg.inv(transform.scale * rotation @ shear)
    centre = np.array([width - 1, height - 1]) / 2
    return np.column_stack([linear, centre - linear @ (centre + transform.translate)])


class RandomAffine(Operation):
    """Rotates, shifts, scales and shears about the centre, as torchvision's RandomAffine.

    Args:
        degrees: range of the angle.
        translate: largest shift to either side, as fractions of width and height; None for no shift.
        scale: range of the scale; None for no scaling.
        shear: range of the shear along x in degrees, or [x low, x high, y low, y high]; None for no shear.
        interpolation: "nearest" as torchvision, or "bilinear", which is smoother and as fast.

    Raises:
        UserError: a range is empty or an option out of range.
    """

    def __init__(
        self,
        degrees: tuple[float, float],
        translate: tuple[float, float] | None = None,
        scale: tuple[float, float] | None = None,
        shear: tuple[float, ...] | None = None,
        interpolation: Interpolation = "nearest",
    ) -> None:
        self.degrees = _ordered("degrees", degrees)
        self.translate = (0.0, 0.0) if translate is None else tuple(translate)
        if len(self.translate) != 2 or not all(0 <= part <= 1 for part in self.translate):
            raise UserError(f"translate = {list(self.translate)} of RandomAffine", "Give two fractions from 0 to 1.")
        self.scale = (1.0, 1.0) if scale is None else interval("scale", scale)
        shear = (0.0, 0.0) if shear is None else shear
        self.shear_x = _ordered("shear", shear[:2])
        self.shear_y = _ordered("shear", shear[2:]) if len(shear) > 2 else (0.0, 0.0)
        if not all(-90 < bound < 90 for bound in (*self.shear_x, *self.shear_y)):
            raise UserError(f"shear = {list(shear)} of RandomAffine is out of range", "Give angles between -90 and 90.")
        self.interpolation: Interpolation = _require_interpolation(interpolation)

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Affine:
        """Every parameter uniformly from its range; shifts are whole pixels."""
        angle = rng.uniform(*self.degrees)
        x, y = (
            round(rng.uniform(-part * side, part * side))
            for part, side in zip(self.translate, (width, height), strict=True)
        )
        scale = rng.uniform(*self.scale)
        return Affine(angle, (x, y), scale, (rng.uniform(*self.shear_x), rng.uniform(*self.shear_y)))

    def apply(self, image: np.ndarray, sampled: Affine, out: np.ndarray) -> None:
        """Transforms into `out`."""
        warp(image, sampled, self.interpolation, out)


class RandomRotation(Operation):
    """Rotates about the centre by up to `degrees` to either side, as torchvision's RandomRotation.

    Args:
        degrees: the largest angle.
        interpolation: "nearest" as torchvision, or "bilinear".

    Raises:
        UserError: a negative angle or an unknown interpolation.
    """

    def __init__(self, degrees: float, interpolation: Interpolation = "nearest") -> None:
        self.degrees = _ordered("degrees", (-degrees, degrees))
        self.interpolation: Interpolation = _require_interpolation(interpolation)

    def draw(self, rng: np.random.Generator, height: int, width: int) -> float:
        """The angle in degrees, counter-clockwise."""
        return rng.uniform(*self.degrees)

    def apply(self, image: np.ndarray, sampled: float, out: np.ndarray) -> None:
        """Rotates into `out`."""
        warp(image, Affine(-sampled), self.interpolation, out)


def _ordered(name: str, values: tuple[float, ...]) -> tuple[float, float]:
    if len(values) != 2 or not values[0] <= values[1]:
        raise UserError(f"{name} = {list(values)} of an augmentation is not a range", "Give [low, high].")
    return float(values[0]), float(values[1])


def _require_interpolation(interpolation: Interpolation) -> Interpolation:
    if interpolation not in _FLAGS:
        raise UserError(
            f"interpolation has no choice '{interpolation}'", suggest(str(interpolation), get_args(Interpolation))
        )
    return interpolation
