"""DICOM files, through the package pydicom: stored values, modality transform and display window."""

from __future__ import annotations

import importlib
import io
from typing import Any

import cv2
import numpy as np

from ltmed.data.cache.intensity import BadImageError, Values
from ltmed.errors import UserError

_GROUPS = (b"\x02\x00", b"\x08\x00")
_MACROS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")
_BEYOND = 1e12


def is_dicom(data: bytes) -> bool:
    """Whether the content of a file is DICOM, independent of its name; also without the preamble of 128 bytes."""
    # Without it the file begins with a data element of group 2 or 8, which no other image format does.
    return data[128:132] == b"DICM" or (data[:2] in _GROUPS and data[3:4] == b"\0" and len(data) > 132)


def read_dicom(data: bytes) -> tuple[Values, bool]:
    """Reads the one image of a DICOM file.

    Grey values are those after the modality LUT, or rescale slope and intercept. Colours are converted to RGB.

    Args:
        data: content of the file.

    Returns:
        The values, and whether they are inverted (MONOCHROME1).

    Raises:
        BadImageError: damaged, not a single image, or a compression that pydicom does not support.
        UserError: pydicom is not installed.
    """
    try:
        pydicom = importlib.import_module("pydicom")
        pixels_of = importlib.import_module("pydicom.pixels")
    except ImportError:
        raise UserError("DICOM images need the package pydicom", "Install it: pip install 'ltmed[dicom]'") from None
    try:
        file = pydicom.dcmread(io.BytesIO(data), force=True)
        _raise_frame_macros(file)
        pixels = file.pixel_array
        kind = file.PhotometricInterpretation
        if kind == "PALETTE COLOR" and pixels.ndim == 2:
            pixels = pixels_of.apply_color_lut(pixels, file)
            if pixels.dtype == np.uint16:  # Entries of a palette use the full range of their type.
                pixels = (pixels >> 8).astype(np.uint8)
        if pixels.ndim == 2:
            return _grey(pixels, file, pixels_of), kind == "MONOCHROME1"
    except Exception as error:  # pydicom has no common error class for damaged files and unknown codecs.
        raise BadImageError(f"pydicom cannot decode it ({' '.join(str(error).split())})") from None
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise BadImageError(f"DICOM of {' x '.join(map(str, pixels.shape))} values is not one image")
    return Values(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), 8), False


def _grey(stored: np.ndarray, file: Any, pixels_of: Any) -> Values:
    bits = int(file.get("BitsStored") or 8 * stored.dtype.itemsize)
    if np.issubdtype(stored.dtype, np.integer):
        wide = stored.astype(
            np.int32
        )  # LUTs of pydicom would overflow where a table is longer than the range of the type.
        padding = _padding(wide, file)
        if bits == 8 and stored.min() >= 0:
            stored = stored.astype(np.uint8)
    else:
        wide, padding = stored, None
    modality = pixels_of.apply_modality_lut(wide, file)
    if np.array_equal(modality, wide):
        modality = wide
    plain = stored.dtype == np.uint8 and modality is wide
    return Values(stored if plain else modality, bits, padding, lambda: _windowed(modality, file, pixels_of))


def _padding(stored: np.ndarray, file: Any) -> np.ndarray | None:
    """Mask of pixels with the padding value, or a value of the padding range."""
    value = file.get("PixelPaddingValue")
    if value is None:
        return None
    limit = file.get("PixelPaddingRangeLimit")
    low, high = sorted((int(value), int(value if limit is None else limit)))
    mask = (stored >= low) & (stored <= high)
    return mask if mask.any() else None


def _windowed(values: np.ndarray, file: Any, pixels_of: Any) -> np.ndarray | None:
    """The image with the first window of the file applied, from 0 to 1; None if the file has no valid window."""
    if tables := file.get("VOILUTSequence"):
        entries, first, bits = tables[0].LUTDescriptor
        if first >= 1 << 15 and values.min() < 0:
            first -= 1 << 16  # It is signed if the values are, which not every file encodes.
        # pydicom computes indices of the table in the type of its entries, which overflows for 8 bits.
        tables[0].add_new("LUTDescriptor", "SL", [entries, first, 16])
        return pixels_of.apply_voi(np.rint(values).astype(np.int64), file) / (2.0**bits - 1)
    if file.get("WindowCenter") is None or file.get("WindowWidth") is None:
        return None
    try:
        with np.errstate(over="ignore"):
            windowed = pixels_of.apply_windowing(values, file)
            black, white = pixels_of.apply_windowing(np.array([-_BEYOND, _BEYOND]), file)
    except (ValueError, TypeError):  # Not a number, or a width of 0.
        return None
    return (windowed - black) / (white - black) if black != white else None


def _raise_frame_macros(file: Any) -> None:
    """Copies the attributes of the (first) frame of an enhanced file to the top level, where pydicom reads them."""
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for groups in (file.get(name) or [])[:1]:
            for macro in _MACROS:
                for item in (groups.get(macro) or [])[:1]:
                    file.update({element.tag: element for element in item})
