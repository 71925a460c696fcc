"""From the bytes of an image file to the square of pixels that the cache keeps.

One decoder (OpenCV, over libjpeg-turbo) and one resize (PyTorch's bilinear with antialiasing: equal to PIL's up to
rounding, and faster than PIL's and than OpenCV's area average) for every file, so that nothing depends on the path that
an image took. What becomes of unusual images:

- EXIF orientation (JPEG and PNG) is applied: the image is as a viewer shows it.
- Grey images are repeated in three channels; palettes are looked up; CMYK is converted.
- Alpha is dropped, not blended: a transparent pixel keeps the colour that is stored under it.
- Of 16 bits the high 8 are kept (some formats round); there is no windowing, so that 12-bit data in a 16-bit file come
  out dark. 32 bits and more are refused.
- DICOM needs the package pydicom. Eight bits are kept as they are stored; of more, the file's window if it has one, and
  then the range of the image, become 0 to 255. Inverted grey (MONOCHROME1) is inverted.
"""

from __future__ import annotations

import importlib
import io

import cv2
import numpy as np
import torch
from torch.nn import functional

from ltmed.errors import UserError

FITS = ("squash", "crop")
INTERPOLATIONS = ("bilinear", "bicubic")

_START_OF_SCAN, _END_OF_IMAGE = 0xDA, b"\xff\xd9"
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xDA)}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}


class BadImageError(ValueError):
    """A file that is no image, or not all of one."""


def decode_square(data: bytes, size: int, fit: str = "squash", interpolation: str = "bilinear") -> np.ndarray:
    """Decodes an image file and makes it a square.

    A JPEG much larger than the square is reduced by 2, 4 or 8 while it is decoded (in the discrete cosine transform),
    which about halves the time; as long as 1.5 times the square is left in both directions, so that the resize still
    decides what it looks like (0.4 grey levels from a full decoding of 2851 x 2133 pixels for S = 256).

    Args:
        data: content of the file (JPEG, PNG, TIFF, BMP, WebP and what else OpenCV reads; DICOM with pydicom).
        size: S, side of the square in pixels.
        fit: `squash` resizes the whole image, without keeping its proportions; `crop` resizes the short side to S
            and cuts the centre, as torchvision's Resize and CenterCrop.
        interpolation: `bilinear` or `bicubic`.

    Returns:
        uint8 [S, S, 3], RGB.

    Raises:
        BadImageError: not an image, or truncated, with the reason in a few words.
        UserError: DICOM, and pydicom is not installed.
    """
    if not data:
        raise BadImageError("empty file")
    if data[128:132] == b"DICM":
        return _fit(_dicom(data), size, fit, interpolation)
    reduction = _reduction(data, size) if data[:2] == b"\xff\xd8" else 1
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _REDUCED.get(reduction, cv2.IMREAD_COLOR))
    except cv2.error as error:
        raise BadImageError(f"OpenCV cannot decode it ({error.err or error.code})") from None
    if image is None:
        raise BadImageError(_reason(data))
    return _fit(image, size, fit, interpolation)


def _reason(data: bytes) -> str:
    """Why OpenCV makes no colours of a file."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is not None and image.dtype.itemsize > 2:
        # Which of its values are black and white is not said anywhere.
        return f"pixels of {8 * image.dtype.itemsize} bits ({image.dtype}) are not supported; store 8 or 16 bits"
    return "damaged, truncated or not an image"


def _dicom(data: bytes) -> np.ndarray:
    """One image in DICOM as uint8 [h, w, 3], BGR."""
    try:
        dcmread = importlib.import_module("pydicom").dcmread
        apply_voi_lut = importlib.import_module("pydicom.pixels").apply_voi_lut
    except ImportError:
        raise UserError("DICOM images need the package pydicom", "Install it: pip install 'ltmed[dicom]'") from None
    try:
        file = dcmread(io.BytesIO(data))
        pixels = file.pixel_array
        grey = pixels.ndim == 2
        if grey and pixels.dtype != np.uint8:
            pixels = apply_voi_lut(pixels, file).astype(np.float32)
            pixels = (pixels - pixels.min()) * (255 / max(float(np.ptp(pixels)), 1e-6))
        inverted = file.PhotometricInterpretation == "MONOCHROME1"
    except Exception as error:  # pydicom has no common class for what damaged files and unknown codecs lead to.
        raise BadImageError(f"pydicom cannot decode it ({error})") from None
    if not grey and (pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8):
        raise BadImageError(f"DICOM of {' x '.join(map(str, pixels.shape))} values is not one image")
    image = np.rint(pixels).astype(np.uint8)
    return cv2.cvtColor(255 - image if inverted else image, cv2.COLOR_GRAY2BGR if grey else cv2.COLOR_RGB2BGR)


def _fit(image: np.ndarray, size: int, fit: str, interpolation: str) -> np.ndarray:
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
    # OpenCV interleaves ten times faster than a permuted copy, which would also start threads of its own.
    return cv2.merge((red, green, blue))


def _reduction(data: bytes, size: int) -> int:
    """The largest of 8, 4, 2, 1 that leaves a JPEG at least 1.5 `size` pixels in both directions.

    Also makes sure that the image has an end: libjpeg only warns of a truncated file and some decoders then return
    grey for the rest. The search starts behind the header, since the thumbnail in it has an end of its own.

    Raises:
        BadImageError: the file is truncated.
    """
    at, sides = 2, (0, 0)
    while (at := data.find(b"\xff", at)) >= 0 and at + 4 <= len(data):
        marker = data[at + 1]
        if marker == _START_OF_SCAN:
            if data.rfind(_END_OF_IMAGE, at) < 0:
                break
            return next((factor for factor in _REDUCED if min(sides) >= 1.5 * factor * size), 1)
        if marker == 0xFF:
            at += 1
        elif marker in _WITHOUT_LENGTH or marker == 0:
            at += 2
        else:
            if marker in _FRAMES:
                sides = int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise BadImageError("truncated JPEG")
