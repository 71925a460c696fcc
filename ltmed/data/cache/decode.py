"""Decoding of an image file to the square of pixels that the cache stores.

One decoder (OpenCV, over libjpeg-turbo) and one resize (PyTorch's bilinear with antialiasing: equal to PIL's up to
rounding, and faster than PIL's and than OpenCV's area average) for every file, so that results do not depend on the
format of a file. The format is determined by the content, not by the name. Unusual images:

- EXIF orientation (JPEG and PNG) is applied, as in an image viewer.
- Grey images are repeated in three channels; palettes are looked up; CMYK is converted.
- Alpha is dropped, not blended: a transparent pixel has its stored colour.
- Images of more than eight bits are scaled by `ltmed.data.cache.intensity`.
- Of animations and files of several pages, the first image is used.
- DICOM needs the package pydicom (`ltmed.data.cache.dicom`).
- Grey whose zero is white (MONOCHROME1 of DICOM, `WhiteIsZero` of TIFF) is inverted.
"""

from __future__ import annotations

import io
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.nn import functional

from ltmed.data.cache.dicom import is_dicom, read_dicom
from ltmed.data.cache.intensity import AUTO, BadImageError, Intensity, Values, to_eight_bits
from ltmed.data.cache.tiff import is_inverted, is_tiff, without_alpha

FITS = ("squash", "crop")
INTERPOLATIONS = ("bilinear", "bicubic")

_START_OF_SCAN, _END_OF_IMAGE = 0xDA, b"\xff\xd9"
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xDA)}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}


class Decoded(NamedTuple):
    """One image, and properties of its file."""

    image: np.ndarray
    """uint8 [h, w, 3], BGR; a large JPEG is reduced."""
    height: int
    """Of the image in the file after EXIF orientation, in pixels, like the width."""
    width: int
    bits: int
    """Of one stored value."""
    extremes: tuple[float, float] | None
    """Smallest and largest value of an image that is scaled."""
    scaled_by: str
    """The source of the black and white levels, see `ltmed.data.cache.intensity`."""


class Decoding(NamedTuple):
    """Options of decoding: the arguments of `decode_square` after `size`."""

    fit: str = "squash"
    interpolation: str = "bilinear"
    intensity: Intensity = AUTO

    @property
    def key_parts(self) -> list[object]:
        """The part of a cache's key that depends on decoding, as JSON."""
        return [*self[:2], self.intensity.option]


def decode_square(
    data: bytes,
    size: int,
    fit: str = "squash",
    interpolation: str = "bilinear",
    intensity: Intensity = AUTO,
) -> np.ndarray:
    """Decodes an image file and makes it a square.

    Args:
        data: content of the file (JPEG, PNG, TIFF, BMP, WebP, GIF and others that OpenCV reads; DICOM with pydicom).
        size: S, side of the square in pixels.
        fit: `squash` resizes the whole image, without keeping its proportions; `crop` resizes the short side to S
            and crops the centre, as torchvision's Resize and CenterCrop.
        interpolation: `bilinear` or `bicubic`.
        intensity: scaling of images of more than eight bits.

    Returns:
        uint8 [S, S, 3], RGB.

    Raises:
        BadImageError: not an image, or truncated; the message is the reason.
        UserError: DICOM, and pydicom is not installed.
    """
    return fitted(decode(data, size, intensity).image, size, fit, interpolation)


def decode(data: bytes, size: int, intensity: Intensity = AUTO) -> Decoded:
    """Decodes an image file.

    A JPEG much larger than the square is reduced by 2, 4 or 8 while it is decoded (in the discrete cosine transform),
    which about halves the time, as long as both sides remain at least 1.5 times the square, so that the effect on the
    result is small (0.4 grey levels from a full decoding of 2851 x 2133 pixels for S = 256).

    Arguments and errors are those of `decode_square`.
    """
    if not data:
        raise BadImageError("empty file")
    if is_dicom(data):
        values, inverted = read_dicom(data)
        image, scaled_by = to_eight_bits(values, intensity)
        image = 255 - image if inverted else image
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image
        return _as_decoded(image, values, scaled_by)
    reduction, sides = _reduction(data, size) if data[:2] == b"\xff\xd8" else (1, (0, 0))
    inverted = is_tiff(data) and is_inverted(data)
    image = without_alpha(data) if is_tiff(data) else None
    try:
        # IMREAD_ANYDEPTH: otherwise OpenCV keeps the high byte of 16 bits, a few grey levels of 12-bit data.
        flags = _REDUCED.get(reduction, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if image is None else image
    except cv2.error as error:
        raise BadImageError(_reason(error)) from None
    if image is None:
        image = _unusual(data)
    values = Values(image, 8 * image.dtype.itemsize)
    image, scaled_by = to_eight_bits(values, intensity)
    decoded = _as_decoded(255 - image if inverted else image, values, scaled_by)
    if reduction == 1:
        return decoded
    rotated = (sides[0] < sides[1]) != (image.shape[0] < image.shape[1])
    return decoded._replace(height=sides[rotated], width=sides[not rotated])


def _as_decoded(image: np.ndarray, values: Values, scaled_by: str) -> Decoded:
    extremes = None if values.as_stored else values.extremes()
    return Decoded(image, image.shape[0], image.shape[1], values.bits, extremes, scaled_by)


def _reason(error: cv2.error) -> str:
    """The reason why OpenCV cannot decode a file."""
    if "MAX_IMAGE" in error.err:
        return (
            "more pixels than OpenCV decodes (2^30, or 2^20 in one direction); store it smaller, or raise the "
            "environment variable OPENCV_IO_MAX_IMAGE_PIXELS"
        )
    return f"OpenCV cannot decode it ({error.err or error.code})"


def _unusual(data: bytes) -> np.ndarray:
    """Decodes images that OpenCV does not decode in colour: 32-bit grey, and GIF in older versions; [h, w, 3], BGR."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYDEPTH)
        if image is not None and image.dtype.itemsize > 2:
            return np.dstack([image] * 3)
        if data[:4] == b"GIF8":
            from PIL import Image

            with Image.open(io.BytesIO(data), formats=("GIF",)) as file:
                return np.asarray(file.convert("RGB"))[..., ::-1].copy()
    except (cv2.error, OSError, ValueError, SyntaxError):
        pass
    raise BadImageError("damaged, truncated or not an image")


def fitted(image: np.ndarray, size: int, fit: str = "squash", interpolation: str = "bilinear") -> np.ndarray:
    """Resizes uint8 [h, w, 3], BGR, to [size, size, 3], RGB."""
    if fit == "squash":
        return _resize(image, size, size, interpolation)
    height, width = image.shape[:2]
    short = min(height, width)
    image = _resize(image, size * height // short, size * width // short, interpolation)
    top, left = (round((side - size) / 2) for side in image.shape[:2])
    return np.ascontiguousarray(image[top : top + size, left : left + size])


def _resize(image: np.ndarray, height: int, width: int, interpolation: str) -> np.ndarray:
    """Resizes and turns BGR into RGB."""
    if image.shape[:2] == (height, width):
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    blue, green, red = functional.interpolate(pixels, (height, width), mode=interpolation, antialias=True)[0].numpy()
    # OpenCV interleaves ten times faster than a permuted copy in PyTorch, which would also start threads.
    return cv2.merge((red, green, blue))


def _reduction(data: bytes, size: int) -> tuple[int, tuple[int, int]]:
    """The largest of 8, 4, 2, 1 that leaves a JPEG at least 1.5 `size` pixels in both directions; its (height, width).

    Also checks that the image has an end marker: libjpeg only warns of a truncated file, and some decoders then fill
    the rest with grey. The search starts after the header, since a thumbnail in it has its own end marker.

    Raises:
        BadImageError: the file is truncated.
    """
    position, sides = 2, (0, 0)
    while (position := data.find(b"\xff", position)) >= 0 and position + 4 <= len(data):
        marker = data[position + 1]
        if marker == _START_OF_SCAN:
            if data.rfind(_END_OF_IMAGE, position) < 0:
                break
            return next((factor for factor in _REDUCED if min(sides) >= 1.5 * factor * size), 1), sides
        if marker == 0xFF:
            position += 1
        elif marker in _WITHOUT_LENGTH or marker == 0:
            position += 2
        else:
            if marker in _FRAMES:
                sides = (
                    int.from_bytes(data[position + 5 : position + 7], "big"),
                    int.from_bytes(data[position + 7 : position + 9], "big"),
                )
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    raise BadImageError("truncated JPEG")
